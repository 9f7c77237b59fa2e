"""Verification of candidates in two phases: each text is read once for its shingle set, then sets meet bucket by bucket.

Phase `sets`: one task per split with candidates reads their row groups in order and writes their sets, sorted by bucket; a bucket
is a function of the component's root. Disk: 8 bytes for each distinct shingle of a candidate, with 3-word shingles some 1.4 times
its text, until the step is complete. Memory: the sets of one split, twice.
Phase `verify`: one task per bucket reads its row group of every file that has one, verifies whole components and decides.
Memory: three times the bucket's sets, at most 3 x max_bucket_bytes; a component is never cut.
A task of `verify` opens each file of `sets` that has its bucket: with S splits and B buckets at most S x B reads of consecutive
bytes, so unit_docs should grow with the corpus. B = candidates / unit_docs, or more where their sets are estimated larger than
`bucket_bytes` each (long documents); a done phase stands as long as B is the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedup.keepers import keep_order
from dedup.minhash_cost import SETS_PER_TEXT
from dedup.shingles import Shingles, shingle_sets
from dedup.verification import count_rules, verify_components
from dedup.verification_join import OLMO3_DOC_BYTES
from dolma_py import config, hashing, parquet_files, storage
from dolma_py.arrow_buffers import view_text
from dolma_py.corpus import Corpus, ViewBatch, read_view
from dolma_py.errors import ConfigError
from dolma_py.listing import Shard, Split, unpack_address
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.candidate_graph import Graph, members_path
from pipelines.dedup_decisions import DECISION_SCHEMA, clusters_of, keep_columns, keep_fields, keep_reads
from pipelines.mix_table import MEAN_TEXT_BYTES
from pipelines.packed_pairs import HELD_FACTOR, HELD_PAIRS, PAIR_BYTES
from pipelines.steps import StepContext, Unit, file_lists, split_name, split_params

if TYPE_CHECKING:
    from pipelines.dedup_minhash import DedupMinhashConfig

# Estimated sets of a bucket: no settings, so that a raised max_bucket_bytes does not move the buckets. Small ones keep memory the same for
# any corpus up to MANY_BUCKETS of them; beyond, they grow to the largest, since each costs a read in nearly every file of sets.
SMALL_BUCKET_BYTES, LARGE_BUCKET_BYTES, MANY_BUCKETS = 64 << 20, 512 << 20, 256
INDEX_SCHEMA = pa.schema([("bucket", pa.int32()), ("path", pa.string()), ("group", pa.int32())])


def verify_candidates(
    context: StepContext, graph: Graph, minhash: DedupMinhashConfig
) -> tuple[list[str], dict[str, Any]]:
    """(files of decisions about members of components, what verification counted)."""
    num_buckets = count_buckets(graph, minhash.unit_docs)
    shared = {"minhash": config.dump_config(minhash), "work": context.work, "num_buckets": num_buckets}
    units = [
        Unit(
            split_name(split),
            split_params(context, split) | shared | {"members": members_path(context, split)},
            split.text_bytes,
        )
        for split in graph.splits
    ]
    sets, _ = context.run_units("sets", units, write_sets, layout=num_buckets)
    index = write_index(context, file_lists(sets), [line["facts"] for _, line in sorted(sets.units.items())])
    params = shared | {"root": context.corpus.root, "index": index}
    buckets = [
        Unit(f"bucket-{bucket:05d}", params | {"bucket": bucket}, minhash.unit_docs) for bucket in range(num_buckets)
    ]
    done, _ = context.run_units("verify", buckets, verify_bucket, layout=num_buckets)
    facts = [line["facts"] for line in done.units.values()]
    names = ("representative", "pairs", "pairs_not_counted")
    return [file["path"] for file in file_lists(done)], {name: sum(fact[name] for fact in facts) for name in names}


def count_buckets(graph: Graph, unit_docs: int) -> int:
    """Buckets of at most unit_docs members and bucket_bytes of sets, on the average; 0 without members.

    A member's text is taken to be as long as the mean of its split.
    """
    text_bytes = sum(
        split.text_bytes * count / max(split.rows, 1) for split, count in zip(graph.splits, graph.counts, strict=True)
    )
    set_bytes = SETS_PER_TEXT * text_bytes
    return max(-(-graph.members // unit_docs), math.ceil(set_bytes / bucket_bytes(set_bytes)))


def bucket_bytes(set_bytes: float) -> float:
    """Bytes of sets that a bucket should have when all sets together have `set_bytes`.

    Examples
    --------
    >>> [bucket_bytes(gib * 2.0**30) / 2**20 for gib in (0.1, 16, 64, 1000)]
    [64.0, 64.0, 256.0, 512.0]
    """
    return min(max(set_bytes / MANY_BUCKETS, SMALL_BUCKET_BYTES), LARGE_BUCKET_BYTES)


def worker_memory_bytes(minhash: DedupMinhashConfig, text_bytes: int) -> int:
    """What a task holds at most, for documents of MEAN_TEXT_BYTES or more on average.

    Of phase verify three times its sets and index, which are max_bucket_bytes or those of all the text; before it HELD_PAIRS band keys
    with their addresses, HELD_FACTOR times.
    """
    num_pairs = minhash.settings.num_bands * text_bytes // MEAN_TEXT_BYTES
    held = int(SETS_PER_TEXT * text_bytes) + index_bytes(minhash) * (text_bytes // MEAN_TEXT_BYTES)
    verify = 3 * min(minhash.max_bucket_bytes, held)
    return max(verify, HELD_FACTOR * PAIR_BYTES * min(HELD_PAIRS, num_pairs))


def index_bytes(minhash: DedupMinhashConfig) -> int:
    """Of each member in the account of max_bucket_bytes, beside its set; memory is three times that. A prefix index follows the sets."""
    return -(-OLMO3_DOC_BYTES // 3) if minhash.checking.large_index == "olmo3" else 0


def sets_schema(minhash: DedupMinhashConfig) -> pa.Schema:
    """Columns of a sets file: hashes are the ascending uint64 of a document's set, as bytes."""
    others = [field for field in keep_fields(minhash.keep) if field.name != "address"]
    return pa.schema([
        ("root", pa.int64()), ("address", pa.int64()), ("id", pa.string()), *others, ("hashes", pa.large_binary())
    ])  # fmt: skip


def write_sets(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task of phase sets: the sets of a split's candidates, one row group per bucket."""
    from pipelines.dedup_minhash import DedupMinhashConfig

    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    minhash = config.build_config(DedupMinhashConfig, params["minhash"])
    members = parquet_files.read_row_groups(corpus.path(params["members"]), None, None)
    address, root = members.column("address").to_numpy(), members.column("root").to_numpy()
    table = read_sets(corpus, view, address, minhash)
    table = table.add_column(0, "root", pa.array(root)).select(sets_schema(minhash).names)
    bucket = find_buckets(root, params["num_buckets"])
    order = np.lexsort((address, root, bucket))
    table, bucket = table.take(pa.array(order)), bucket[order]
    bounds = np.flatnonzero(np.concatenate([[True], bucket[1:] != bucket[:-1], [True]]))

    def write(sink: HashingWriter) -> int:
        with parquet_files.open_writer(sink, sets_schema(minhash)) as writer:
            for start, end in zip(bounds, bounds[1:], strict=False):
                parquet_files.write_row_group(writer, table.slice(start, end - start))
        return int(table.num_rows)

    path = f"{params['work']}/sets/{split_name(split)}.parquet"
    return [write_attempt(corpus.root, attempts, path, write)], {"buckets": bucket[bounds[:-1]].tolist()}


def find_buckets(root: np.ndarray, num_buckets: int) -> np.ndarray:
    """The bucket of each component by its root, int64: the same whoever found the components."""
    mixed = hashing.mix_keys(root.view(np.uint64), seed=0)
    return (mixed % np.uint64(num_buckets)).astype(np.int64)


def read_sets(corpus: Corpus, view: View, addresses: np.ndarray, minhash: DedupMinhashConfig) -> pa.Table:
    """keep_columns, id and hashes of documents of one shard by address (ascending); reads only their row groups."""
    numbers, rows = unpack_address(addresses)
    shard = corpus.read_listing().shards[int(numbers[0])]
    pieces = []
    columns = ["text", *keep_reads(minhash.keep)]
    for split in _groups_with(shard, rows):
        for batch in read_view(corpus, view, split, columns):
            chosen = _select(batch, np.flatnonzero(np.isin(batch.addresses, addresses)))
            text = view_text(chosen.documents.column("text"))
            sets = shingle_sets(*text, num_words=minhash.checking.shingle_words)
            piece = keep_columns(corpus, chosen, minhash.keep)
            piece = piece.append_column("id", chosen.documents.column("id"))
            pieces.append(piece.append_column("hashes", _as_bytes(sets)))
    return pa.concat_tables(pieces)


def _groups_with(shard: Shard, rows: np.ndarray) -> list[Split]:
    """One split per row group that holds any of the rows."""
    bounds = np.concatenate([[0], np.cumsum([count for count, _ in shard.row_groups])])
    groups = np.unique(np.searchsorted(bounds, rows, side="right") - 1).tolist()
    return [Split(shard.number, group, group, int(bounds[group]), *shard.row_groups[group]) for group in groups]


def _select(batch: ViewBatch, index: np.ndarray) -> ViewBatch:
    return batch._replace(
        rows=batch.rows[index], addresses=batch.addresses[index], documents=batch.documents.take(pa.array(index))
    )


def _as_bytes(sets: Shingles) -> pa.Array:
    start, end = int(sets.offsets[0]), int(sets.offsets[-1])
    hashes, offsets = np.ascontiguousarray(sets.hashes[start:end]), 8 * (sets.offsets - start)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(hashes)]
    )


def _as_sets(column: pa.ChunkedArray) -> Shingles:
    text = view_text(column.combine_chunks().cast(pa.large_binary()))
    start, end = int(text.offsets[0]), int(text.offsets[-1])
    return Shingles(np.frombuffer(text.data[start:end], np.uint64), (text.offsets - start) // 8)


def write_index(context: StepContext, files: list[dict[str, Any]], facts: list[dict[str, Any]]) -> str:
    """Where the row groups of each bucket lie; relative path of the file."""
    counts = [len(fact["buckets"]) for fact in facts]
    bucket = np.concatenate([np.empty(0, np.int64), *(np.array(fact["buckets"], np.int64) for fact in facts)])
    group = np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)])
    path = pa.array([file["path"] for file in files], pa.string()).take(
        pa.array(np.repeat(np.arange(len(files)), counts))
    )
    table = pa.table([pa.array(bucket.astype(np.int32)), path, pa.array(group.astype(np.int32))], schema=INDEX_SCHEMA)
    table = table.take(pa.array(np.argsort(bucket, kind="stable")))
    relative = f"{context.work}/sets/index.parquet"
    parquet_files.write_table(context.corpus.path(relative), table)
    return relative


def verify_bucket(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task of phase verify: whole components, verified and decided."""
    from pipelines.dedup_minhash import DedupMinhashConfig

    corpus = Corpus(params["root"])
    minhash = config.build_config(DedupMinhashConfig, params["minhash"])
    table = read_bucket(corpus, params["index"], params["bucket"], minhash)
    root = table.column("root").to_numpy()
    order = np.lexsort((keep_order(table.drop_columns(["hashes"]), policy=minhash.keep), root))
    table, root = table.take(pa.array(order)).combine_chunks(), root[order]
    bounds = np.flatnonzero(np.concatenate([[True], root[1:] != root[:-1], [True]])).astype(np.int64)
    bounds = bounds if len(root) else np.zeros(1, np.int64)
    sets = _as_sets(table.column("hashes"))
    verified = verify_components(sets, bounds, config=minhash.checking)
    counts = count_rules(sets, bounds, verified, config=minhash.checking)
    address, ids = table.column("address").to_numpy(), table.column("id").combine_chunks()
    decisions = clusters_of(address, address[verified.kept], ids, verified.similarity)

    def write(sink: HashingWriter) -> int:
        with parquet_files.open_writer(sink, DECISION_SCHEMA) as writer:
            parquet_files.write_row_group(writer, decisions.sort_by("address"))
        return int(decisions.num_rows)

    path = f"{params['work']}/verify/bucket-{params['bucket']:05d}.parquet"
    return [write_attempt(corpus.root, attempts, path, write)], counts


def read_bucket(corpus: Corpus, index: str, bucket: int, minhash: DedupMinhashConfig) -> pa.Table:
    """All rows of a bucket, from every file that has some. ConfigError when they exceed max_bucket_bytes, before they are read."""
    schema, max_bytes, row_bytes = sets_schema(minhash), minhash.max_bucket_bytes, index_bytes(minhash)
    filesystem, inner = storage.find_filesystem(corpus.path(index))
    places = pq.read_table(
        inner, filesystem=filesystem, filters=[("bucket", "==", bucket)], use_threads=False
    ).to_pylist()
    tables, num_bytes = [schema.empty_table()], 0
    for place in places:
        with parquet_files.open_parquet(corpus.path(place["path"])) as file:
            group = file.metadata.row_group(place["group"])
            num_bytes += group.total_byte_size + row_bytes * group.num_rows
            if num_bytes > max_bytes:
                raise ConfigError(
                    "max_bucket_bytes", max_bytes, f"bucket {bucket} of candidates has more than {num_bytes} bytes of shingle sets and their index",
                    "Raise it to 3 times less than a worker's memory; lower unit_docs; or find what joins so many documents (minhash.num_rows).",
                )  # fmt: skip
            tables.append(file.read_row_group(place["group"], use_threads=False).cast(schema))
    return pa.concat_tables(tables)
