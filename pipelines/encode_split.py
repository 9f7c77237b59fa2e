"""Pass 1 of make_tokens, one task: the drawn documents of a split as tokens, sorted into pieces by bucket, and the held-out documents.

Memory of a task: the documents of a row group, the tokens of all copies drawn from the split (4 bytes each, about one for 3 to 4 bytes
of text), and those of one row group twice. A document is encoded once, whatever the number of its copies; fill-in-the-middle encodes
three parts of each copy that it cuts.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py import hashing, storage, views
from dolma_py.corpus import Corpus, ViewBatch, read_view
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from mixers import shards
from mixers.fim import MODE_NAMES, PLAIN, Cuts, FimConfig, FimTokens, choose_cuts, encode_copies, find_fim_tokens
from mixers.instruction_text import check_plain, list_special_tokens, make_markers
from mixers.shards import PIECE_SCHEMA
from mixers.tokenization import LoadedTokenizer, load_tokenizer, use_one_thread
from pipelines.steps import checksum_if_file, split_name


def cached_tokenizer(path: str) -> LoadedTokenizer:
    """The tokenizer, loaded once in a process for as long as its file stays the same."""
    return _load_tokenizer(path, checksum_if_file(path))


@functools.lru_cache(maxsize=2)
def _load_tokenizer(path: str, checksum: str) -> LoadedTokenizer:
    use_one_thread()
    return load_tokenizer(path)


def encode_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """Pass 1, one task: encode the drawn documents of a split; a piece per bucket, and the held-out documents."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    tokenizer = cached_tokenizer(params["tokenizer"])
    name, work = split_name(split), params["work"]
    rows: dict[int, list[pa.Table]] = {}
    heldout: dict[str, list[tuple[int, bytes]]] = {}
    copies = 0
    cut = dict.fromkeys(MODE_NAMES[1:], 0)
    for batch in read_view(corpus, view, split, ["text", "metadata", "created", "added"]):
        drawn = views.read_attributes(corpus.root, params["sample"], batch.shard, [batch.group]).take(
            pa.array(batch.rows)
        )
        number = drawn.column("copies").to_numpy()
        for source, line in _heldout_lines(batch, drawn.column("is_heldout").to_numpy(), params["seed"]):
            heldout.setdefault(source, []).append(line)
        chosen = np.flatnonzero(number > 0)
        if len(chosen):
            table, bucket = _encode_rows(batch, chosen, number[chosen], tokenizer, params)
            copies += table.num_rows
            for mode in cut:
                cut[mode] += pc.sum(pc.equal(table.column("fim_mode"), mode)).as_py() or 0
            for value in np.unique(bucket).tolist():
                rows.setdefault(value, []).append(table.filter(pa.array(bucket == value)))
    files = []
    for value, tables in sorted(rows.items()):
        path = f"{work}/pieces/{name}/bucket-{value:05d}.arrow"
        files.append(write_attempt(corpus.root, attempts, path, functools.partial(shards.write_piece, tables)))
    for source, lines in sorted(heldout.items()):
        path = f"{work}/heldout/{name}/{storage.safe_name(source)}.jsonl"
        content = b"".join(b"%020d %s\n" % line for line in sorted(lines))
        files.append(write_attempt(corpus.root, attempts, path, functools.partial(write_lines, content, len(lines))))
    sizes = {str(value): sum(table.num_rows for table in tables) for value, tables in rows.items()}
    return files, {
        "copies": copies,
        "buckets": sizes,
        "heldout": {source: len(lines) for source, lines in sorted(heldout.items())},
        "fim": cut,
    }


def write_lines(content: bytes, count: int, sink: HashingWriter) -> int:
    """Write `content`; returns `count`, the lines in it."""
    sink.write(content)
    return count


def _encode_rows(
    batch: ViewBatch, chosen: np.ndarray, number: np.ndarray, tokenizer: LoadedTokenizer, params: dict[str, Any]
) -> tuple[pa.Table, np.ndarray]:
    """PIECE_SCHEMA rows, one per copy, and each row's bucket."""
    documents = batch.documents.take(pa.array(chosen))
    if params["special_tokens"] == "error":
        markers = make_markers(list_special_tokens(tokenizer.backend), chat=False)
        check_plain(documents.column("text"), documents.column("id"), markers)
    index = np.repeat(np.arange(len(chosen)), number)
    copy = (np.arange(len(index)) - np.repeat(np.cumsum(number) - number, number)).astype(np.int32)
    id_hash = hashing.hash_ids(documents.column("id"), seed=0, name="document")[index]
    # of the document's own id: a cut copy keeps the place that it would have uncut
    key = shards.order_hash(id_hash, copy=copy, copies=number[index].astype(np.int32), seed=params["seed"])
    cuts, columns, tokens = _cut_copies(documents, index, copy, id_hash, tokenizer, params)
    ids, offsets = encode_copies(tokenizer, documents.column("text"), index=index, cuts=cuts, tokens=tokens)
    paths, lines = _origins(documents, batch, chosen)
    rows = batch.addresses[chosen] & np.int64((1 << 40) - 1)
    take = pa.array(index)
    made = [
        pa.array(key), _name_copies(documents.column("id"), index, copy, cuts), pa.array(copy), documents.column("source").take(take),
        paths.take(take), lines.take(take), pa.array(np.full(len(index), batch.shard.number, np.int32)), pa.array(rows[index]),
        pc.binary_length(documents.column("text")).cast(pa.int64()).take(take), *columns, shards.build_tokens(ids, offsets),
    ]  # fmt: skip
    return pa.Table.from_arrays(made, schema=PIECE_SCHEMA), shards.bucket_of(key, params["num_buckets"])


def _cut_copies(
    documents: pa.RecordBatch, index: np.ndarray, copy: np.ndarray, id_hash: np.ndarray, tokenizer: LoadedTokenizer,
    params: dict[str, Any],
) -> tuple[Cuts, list[pa.Array], FimTokens | None]:  # fmt: skip
    """Which copies fill-in-the-middle cuts, the columns of FIM_FIELDS, and its tokens; none without the setting."""
    if params["fim"] is None:
        none = np.zeros(len(index), np.int64)
        return Cuts(none.astype(np.int8), none, none), shards.without_fim(len(index)), None
    config = FimConfig.model_validate(params["fim"])
    rate = np.array([config.rate_of(source) for source in documents.column("source").to_pylist()], np.float64)
    cuts = choose_cuts(
        documents.column("text"), index=index, copy=copy, id_hash=id_hash, rate=rate[index], spm_frac=config.spm_frac,
        seed=params["seed"],
    )  # fmt: skip
    modes = pa.array(MODE_NAMES, pa.string()).take(pa.array(cuts.mode))
    uncut = cuts.mode == PLAIN
    places = [pa.array(values, pa.int64(), mask=uncut) for values in (cuts.start, cuts.end)]
    return cuts, [modes, *places], find_fim_tokens(tokenizer, config)


def _name_copies(ids: pa.Array, index: np.ndarray, copy: np.ndarray, cuts: Cuts) -> pa.Array:
    """The id of each copy: that of its document, or <id>#fim-<copy> of one that is cut."""
    names = ids.take(pa.array(index))
    is_cut = cuts.mode != PLAIN
    if not is_cut.any():
        return names
    made = pc.binary_join_element_wise(names, pa.array(copy).cast(pa.string()), "#fim-")
    return pc.if_else(pa.array(is_cut), made, names)


def _origins(documents: pa.RecordBatch, batch: ViewBatch, chosen: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """File of origin and its line (1-based): metadata.origin as file:line where the reader left it, else the shard and row."""
    paths, lines = [], []
    rows = (batch.addresses[chosen] & np.int64((1 << 40) - 1)).tolist()
    for metadata, row in zip(documents.column("metadata").to_pylist(), rows, strict=True):
        origin = orjson.loads(metadata).get("origin") if metadata else None
        path, _, line = origin.rpartition(":") if isinstance(origin, str) else ("", "", "")
        paths.append(path if path and line.isdigit() else batch.shard.path)
        lines.append(int(line) if path and line.isdigit() else row + 1)
    return pa.array(paths, pa.string()), pa.array(lines, pa.int64())


def _heldout_lines(batch: ViewBatch, is_heldout: np.ndarray, seed: int) -> list[tuple[str, tuple[int, bytes]]]:
    """(source, (hash of the id, Dolma JSON)) of the batch's held-out documents."""
    documents = batch.documents.take(pa.array(np.flatnonzero(is_heldout)))
    order = hashing.hash_ids(documents.column("id"), seed=seed, name="heldout order")
    lines = []
    for key, row in zip(order.tolist(), documents.to_pylist(), strict=True):
        times = {name: row[name].isoformat() for name in ("added", "created") if row.get(name) is not None}
        metadata = orjson.loads(row["metadata"]) if row["metadata"] else {}
        values = {"id": row["id"], "text": row["text"], "source": row["source"], **times, "metadata": metadata}
        lines.append((row["source"], (key, orjson.dumps(values, option=orjson.OPT_SORT_KEYS))))
    return lines
