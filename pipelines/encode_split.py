"""Pass 1 of make_tokens, one task: the drawn documents of a split as tokens, in order of ranges of their keys, and the held-out documents.

Memory of a task: the documents of a row group, the tokens of all copies drawn from the split (4 bytes each, about one for 3 to 4 bytes
of text), and those of one row group twice. A document is encoded once, whatever the number of its copies; fill-in-the-middle encodes
three parts of each copy that it cuts.
"""

from __future__ import annotations

import functools
import heapq
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
from mixers import piece_files, shards
from mixers.fim import MODE_NAMES, PLAIN, Cuts, FimConfig, FimTokens, choose_cuts, encode_copies, find_fim_tokens
from mixers.instruction_text import check_plain, list_special_tokens, make_markers
from mixers.piece_files import RangedRows
from mixers.shards import PIECE_SCHEMA
from mixers.tokenization import LoadedTokenizer
from pipelines.named_tokenizers import cached_tokenizer
from pipelines.steps import split_name

COUNTS = ("tokens", "documents", "bytes")
Line = tuple[int, bytes]  # a held-out document: hash of its id, Dolma JSON


def encode_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """Pass 1, one task: encode the drawn documents of a split; a file of pieces, and the held-out documents with the smallest hashes."""
    corpus, split, view = Corpus(params["root"]), Split(*params["split"]), View.model_validate(params["view"])
    tokenizer = cached_tokenizer(params["tokenizer"], params["tokenizer_checksum"], params["eos_token"])
    name, work = split_name(split), params["work"]
    parts: list[RangedRows] = []
    heldout: dict[str, list[Line]] = {}
    sources: dict[str, dict[str, int]] = {}
    cut = dict.fromkeys(MODE_NAMES[1:], 0)
    for batch in read_view(corpus, view, split, ["text", "metadata", "created", "added"]):
        drawn = views.read_attributes(corpus.root, params["sample"], batch.shard, [batch.group]).take(
            pa.array(batch.rows)
        )
        number = drawn.column("copies").to_numpy()
        _keep_heldout(heldout, batch, drawn.column("is_heldout").to_numpy(), params)
        chosen = np.flatnonzero(number > 0)
        if len(chosen):
            table = _encode_rows(batch, chosen, number[chosen], tokenizer, params)
            add_counts(sources, shards.count_sources(table, count_tokens(table)))
            for mode in cut:
                cut[mode] += pc.sum(pc.equal(table.column("fim_mode"), mode)).as_py() or 0
            parts.append(piece_files.sort_by_range(table, params["num_ranges"]))
    files = []
    if parts:
        write = functools.partial(piece_files.write_ranges, parts, params["num_ranges"])
        files.append(write_attempt(corpus.root, attempts, f"{work}/pieces/{name}.pieces", write))
    for source, lines in sorted(heldout.items()):
        path = f"{work}/heldout/{name}/{storage.safe_name(source)}.jsonl"
        content = b"".join(b"%020d %s\n" % line for line in sorted(lines))
        files.append(write_attempt(corpus.root, attempts, path, functools.partial(write_lines, content, len(lines))))
    return files, {
        "copies": sum(counts["documents"] for counts in sources.values()),
        "sources": {source: sources[source] for source in sorted(sources)},
        "heldout": {source: len(lines) for source, lines in sorted(heldout.items())},
        "fim": cut,
    }


def count_tokens(table: pa.Table) -> np.ndarray:
    """Of each row of PIECE_SCHEMA, int64 (N,)."""
    lengths: np.ndarray = pc.list_value_length(table.column("tokens")).to_numpy()
    return lengths.astype(np.int64)


def add_counts(sums: dict[str, dict[str, int]], found: dict[str, dict[str, int]]) -> None:
    """Add what was found of each source to the sums, in place."""
    for source, counts in found.items():
        total = sums.setdefault(source, dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            total[name] += counts[name]


def _keep_heldout(
    kept: dict[str, list[Line]], batch: ViewBatch, is_heldout: np.ndarray, params: dict[str, Any]
) -> None:
    """Add the batch's held-out documents; of each source those with the smallest hashes stay, no more than all splits together may give."""
    for source, line in _heldout_lines(batch, is_heldout, params["seed"]):
        kept.setdefault(source, []).append(line)
    for source, lines in kept.items():
        if len(lines) > params["max_heldout_docs"]:
            kept[source] = heapq.nsmallest(params["max_heldout_docs"], lines)


def write_lines(content: bytes, count: int, sink: HashingWriter) -> int:
    """Write `content`; returns `count`, the lines in it."""
    sink.write(content)
    return count


def _encode_rows(
    batch: ViewBatch, chosen: np.ndarray, number: np.ndarray, tokenizer: LoadedTokenizer, params: dict[str, Any]
) -> pa.Table:
    """PIECE_SCHEMA rows, one per copy."""
    documents = batch.documents.take(pa.array(chosen))
    if params["special_tokens"] == "error":
        own = list_special_tokens(tokenizer.backend)
        markers = make_markers(own, chat=True, allowed=params["allowed_special_tokens"])
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
    return pa.Table.from_arrays(made, schema=PIECE_SCHEMA)


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
