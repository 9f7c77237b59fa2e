"""Copies by key: documents of one 128-bit key are one cluster, the keep policy names who stays. Exact and URL deduplication.

1. keys (units): the key of every document, its id, and what the keep policy compares, one file per split. Over a corpus that grew,
   those of earlier documents are not made again (pipelines/split_files.py).
2. decisions (one shuffle): before it each row group is reduced to one row per key - how many, the first, the best - so that a key
   of ten million copies costs one row per row group. The rows of a key meet, the best of all is found, and every row group
   learns it. One file per shard.
3. attributes (units): keys of a row group meet its decisions.
4. kept (one shuffle), where a Bloom filter or an index is saved: the keys of what stays, sorted.

What a filter or an index of earlier data has seen is a duplicate, with all its copies here: kept_id is the id that the index has,
cluster_size counts this corpus alone. A filter names no document and is wrong at times: kept_id and similarity are null where it alone
has seen a key.

Nothing of this is held on the driver but a row per shard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from dedup.alarms import CopyAlarms, SourceCounts
from dedup.exact import Digests, number_digests
from dedup.keepers import KeepPolicy, keep_order
from dolma_py import parquet_files, storage
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.documents import DUPLICATE_SCHEMA
from dolma_py.listing import ROW_BITS
from dolma_py.storage import WrittenFile
from dolma_py.xxh3 import pack_digests
from pipelines.dedup_decisions import (
    count_duplicates,
    keep_columns,
    keep_fields,
    keep_reads,
    keep_sets,
    spark_fields,
    write_duplicates,
)
from pipelines.keyed_files import files_by_shard, write_files
from pipelines.mapped_filters import find_seen
from pipelines.seen_keys import (
    Seen,
    bucket_of,
    check_seen,
    count_buckets,
    read_indexes,
    save_seen,
)
from pipelines.shuffles import as_signed, read_frame, reduce_groups
from pipelines.split_files import make_split_files, remove_unused, write_split_file
from pipelines.steps import StepContext, StepResult
from pipelines.units import Work

KEY_FIELDS = [
    pa.field("high", pa.int64()), pa.field("low", pa.int64()), pa.field("seen", pa.bool_()), pa.field("id", pa.string()),
]  # fmt: skip
# of a key in a row group: its first address there, how many documents have it
MEMBER_FIELDS = [pa.field("first", pa.int64()), pa.field("members", pa.int64())]
DECISION_FIELDS = [
    pa.field("first", pa.int64()), pa.field("high", pa.int64()), pa.field("low", pa.int64()), pa.field("members", pa.int64()),
    pa.field("cluster_id", pa.int64()), pa.field("cluster_size", pa.int64()), pa.field("kept_address", pa.int64()),
    pa.field("kept_id", pa.string()), pa.field("seen", pa.bool_()),
]  # fmt: skip
SHARD = pa.field("shard", pa.int32())
Keys = Callable[[ViewBatch], tuple[Digests, dict[str, Any]]]  # and what is counted of the batch
KEYS = "keys"
KEYS_VERSION = 1  # of the rows in key files
DOCUMENT_DISK_BYTES = 200  # of a document: key, rows in two shuffles, decision, attributes; with ids of 32 bytes


class KeyJob(NamedTuple):
    """What is a copy, who stays, and where it is written."""

    set_name: str
    keep: KeepPolicy
    facts: dict[str, Any]  # what was hashed, for the manifest
    seen: Seen
    alarms: CopyAlarms
    settings: dict[str, Any]  # what decides the keys, for the tasks
    keep_keys: bool  # leave them in the run folder


def write_keys(
    params: dict[str, Any], attempts: str, *, keep: KeepPolicy, columns: list[str], make_keys: Keys
) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: keys of one split, one row group per row group of documents; documents without a key have no row.

    columns: of a document that make_keys reads, beside those of the keep policy.
    """
    corpus = Corpus(params["root"])
    schema = pa.schema([*KEY_FIELDS, *keep_fields(keep)])

    def make(batch: ViewBatch) -> tuple[pa.Table, dict[str, Any]]:
        keys, counts = make_keys(batch)
        compared = keep_columns(corpus, batch, keep)
        seen = pa.array(find_seen(params["places"], params["settings"]["filters"], keys.high, keys.low))
        made = [as_signed(keys.high), as_signed(keys.low), seen, batch.documents.column("id"), *compared.columns]
        table = pa.table(made, schema=schema).filter(pa.array(keys.is_valid))
        num_docs = len(keys.is_valid)
        return table, {"documents": num_docs, "without_key": num_docs - table.num_rows, **counts}

    return write_split_file(params, attempts, schema=schema, columns=[*columns, *keep_reads(keep)], make=make)


def decide_copies(context: StepContext, job: KeyJob, work: Work) -> StepResult:
    """Run the phases; `work` is a module's function that calls write_keys. Filters and indexes are looked at first."""
    filters = check_seen(context.corpus, job.seen)
    settings = {"version": KEYS_VERSION, "step": job.settings, "filters": list(filters.values())}
    keys = make_split_files(
        context, KEYS, work, settings, keep=job.keep_keys, sets=keep_sets(job.keep), places=list(filters)
    )
    candidates = read_candidates(context, keys.paths, job)
    decided = write_files(
        context, find_clusters(candidates, job.keep), phase="decisions", key="shard", order=["first", "high", "low"],
        schema=pa.schema(DECISION_FIELDS), count=count_decisions,
    )  # fmt: skip
    facts = {"clusters": 0, "members": 0, "duplicates": 0, "seen_before": 0} | decided["facts"]
    facts["largest"] = [{"kept_id": kept_id, "size": size} for size, _, kept_id in facts.get("largest", [])]
    own = files_by_shard(decided["files"], "decisions")
    for split, path in zip(context.plan_splits(), keys.paths, strict=True):
        own.setdefault(split.shard, {}).setdefault("keys", []).append([split.first_group, split.last_group, path])
    options = {"root": context.corpus.root, "set": job.set_name}
    maker = "pipelines.dedup_keys:CopyMaker"
    result = write_duplicates(context, maker, options, own, largest=facts["largest"], alarms=job.alarms)
    counts: dict[str, Any] = {"documents": 0, "without_key": 0} | keys.counts
    files: dict[str, int] = {}
    if job.seen.bloom.save is not None or job.seen.index.save is not None:
        num_bits = count_buckets(counts["documents"] - counts["without_key"])
        files, kept = save_seen(context, job.seen, find_kept(candidates, job.keep, num_bits), with_ids=True)
        counts |= kept
    remove_unused(context, KEYS, keys.paths)
    return result._replace(
        files=result.files | files, facts=job.facts | counts | facts | result.facts,
        times=result.times | {"keys_task_sec": keys.times.task_sec, "keys_found": keys.found},
    )  # fmt: skip


def read_candidates(context: StepContext, paths: list[str], job: KeyJob) -> DataFrame:
    """One row per key and row group: the best document there with what it is compared by, the first address, the members.

    And one per key of an index, without members.
    """
    fields = [*KEY_FIELDS, *keep_fields(job.keep)]
    schema = spark_fields([*fields, *MEMBER_FIELDS])

    def reduce(table: pa.Table) -> pa.Table:
        best, first, members = reduce_keys(table, job.keep)
        return best.append_column(MEMBER_FIELDS[0], pa.array(first)).append_column(MEMBER_FIELDS[1], pa.array(members))

    frame = read_frame(context, paths, [field.name for field in fields], schema=schema, transform=reduce)
    known = read_indexes(context, job.seen, schema, [*fields, *MEMBER_FIELDS])
    return frame if known is None else frame.unionByName(known)


def reduce_keys(table: pa.Table, keep: KeepPolicy) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """(best row, smallest address, rows) of each key of a row group."""
    table = table.combine_chunks()
    number = number_digests(_bits(table, "high"), _bits(table, "low"))
    order = np.lexsort((keep_order(table, policy=keep), number))
    members = np.bincount(number).astype(np.int64)
    starts = np.cumsum(members) - members
    address = table.column("address").to_numpy()[order]
    first = np.minimum.reduceat(address, starts) if len(starts) else address
    return table.take(pa.array(order[starts])), first, members


class Clusters(NamedTuple):
    """Candidates of whole keys, those of indexes folded into the others."""

    table: pa.Table  # rows with members
    best: np.ndarray  # int64 (N,) row of the best of the same key
    head: np.ndarray  # int64 (K,) best row of each key
    size: np.ndarray  # int64 (N,) documents of the same key
    cluster_id: np.ndarray  # int64 (N,) smallest address of the same key
    seen: np.ndarray  # bool (N,) the key was in earlier data
    known_id: pa.Array  # string (N,) the smallest id that an index has for it, null when none


def gather_clusters(table: pa.Table, keep: KeepPolicy) -> Clusters:
    """What a shuffle brought together."""
    everything = table.combine_chunks()
    number = number_digests(_bits(everything, "high"), _bits(everything, "low"))
    seen = np.zeros(int(number.max(initial=-1)) + 1, np.bool_)
    seen[number[everything.column("seen").to_numpy(zero_copy_only=False)]] = True
    members = everything.column("members").to_numpy()
    known = np.flatnonzero(members == 0)
    ids = sorted(
        zip(number[known].tolist(), everything.column("id").take(pa.array(known)).to_pylist(), strict=True),
        reverse=True,
    )
    known_id = dict(ids)  # the smallest id of a key comes last and stays
    own = np.flatnonzero(members > 0)
    table, number = everything.take(pa.array(own)).combine_chunks(), number[own]
    order = np.lexsort((keep_order(table, policy=keep), number))
    starts = np.flatnonzero(np.append(True, np.diff(number[order]) != 0))[: len(order)]
    run = np.empty(len(order), np.int64)
    run[order] = np.cumsum(np.append(0, np.diff(number[order]) != 0))[: len(order)]
    head = order[starts]
    size = np.bincount(run, weights=members[own]).astype(np.int64)[run]
    first = table.column("first").to_numpy()
    smallest = np.minimum.reduceat(first[order], starts) if len(order) else first
    names = pa.array([known_id.get(key) for key in number.tolist()] if known_id else [None] * len(number), pa.string())
    return Clusters(table, head[run], head, size, smallest[run], seen[number], names)


def find_clusters(candidates: DataFrame, keep: KeepPolicy) -> DataFrame:
    """DECISION_FIELDS and the shard for each candidate whose key has several documents or was seen before."""

    def decide(table: pa.Table) -> pa.Table:
        found = gather_clusters(table, keep)
        address = found.table.column("address").to_numpy()[found.best]
        kept_id = pa.compute.if_else(
            pa.array(found.seen), found.known_id, found.table.column("id").take(pa.array(found.best))
        )
        made = found.table.select(["first", "high", "low", "members"])
        for name, values in (
            ("cluster_id", found.cluster_id), ("cluster_size", found.size), ("kept_address", np.where(found.seen, -1, address)),
            ("kept_id", kept_id), ("seen", found.seen), ("shard", _shards(made).astype(np.int32)),
        ):  # fmt: skip
            made = made.append_column(
                name, values if isinstance(values, pa.ChunkedArray | pa.Array) else pa.array(values)
            )
        return made.filter(pa.array((found.size > 1) | found.seen))

    schema = spark_fields([*DECISION_FIELDS, SHARD])
    return reduce_groups(candidates, keys=["high", "low"], order=["first", "id"], reduce=decide, schema=schema)


def find_kept(candidates: DataFrame, keep: KeepPolicy, num_bits: int) -> DataFrame:
    """(bucket, digest, id) of the best document of every key that was not seen before."""

    def choose(table: pa.Table) -> pa.Table:
        found = gather_clusters(table, keep)
        rows = found.head[~found.seen[found.head]]
        kept = found.table.take(pa.array(rows)).combine_chunks()
        high = _bits(kept, "high")
        digest = pack_digests(high, _bits(kept, "low")).cast(pa.binary())
        return pa.table({"bucket": pa.array(bucket_of(high, num_bits)), "digest": digest, "id": kept.column("id")})

    schema = "bucket int, digest binary, id string"
    return reduce_groups(candidates, keys=["high", "low"], order=["first", "id"], reduce=choose, schema=schema)


def _shards(table: pa.Table) -> np.ndarray:
    shards: np.ndarray = table.column("first").to_numpy() >> ROW_BITS
    return shards


def count_decisions(table: pa.Table) -> dict[str, Any]:
    """Of the rows of one file: members, clusters that begin here, documents that leave, and the largest clusters."""
    heads = table.filter(pa.compute.equal(table.column("first"), table.column("cluster_id")))
    seen = table.filter(table.column("seen"))
    members, seen_before = (int(pa.compute.sum(part.column("members")).as_py() or 0) for part in (table, seen))
    staying = heads.num_rows - int(pa.compute.sum(heads.column("seen")).as_py() or 0)
    largest = heads.sort_by([("cluster_size", "descending"), ("cluster_id", "ascending")]).slice(0, 10)
    rows = largest.select(["cluster_size", "cluster_id", "kept_id"]).to_pylist()
    return {
        "members": members, "clusters": heads.num_rows, "duplicates": members - staying, "seen_before": seen_before,
        "largest": [list(row.values()) for row in rows],
    }  # fmt: skip


def _bits(table: pa.Table, name: str) -> np.ndarray:
    bits: np.ndarray = table.column(name).to_numpy().view(np.uint64)
    return bits


class CopyMaker:
    """Duplicate columns of a row group's documents from their keys and the row group's decisions."""

    columns: list[str] | None = []

    def __init__(self, options: dict[str, Any]) -> None:
        self.set, self.root = options["set"], options["root"]
        self.schemas = {self.set: DUPLICATE_SCHEMA}
        self.keys: list[tuple[int, int, str]] = options["keys"]
        self.decided: str | None = options["decisions"][0] if "decisions" in options else None

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """Duplicate columns of the batch; a document without a key, or with a key of its own, is alone."""
        keys = self._read_keys(batch)
        decisions = self._read_decisions(batch)
        row = match_keys(keys, decisions)
        index = np.full(len(batch.addresses), -1, np.int64)
        index[np.searchsorted(batch.addresses, keys.column("address").to_numpy())] = row
        chosen = decisions.take(pa.array(index, mask=index < 0)).combine_chunks()
        address = pa.array(batch.addresses)
        kept_address = pa.compute.coalesce(chosen.column("kept_address"), address)
        columns = [
            pa.compute.not_equal(kept_address, address),
            pa.compute.coalesce(chosen.column("cluster_id"), address),
            chosen.column("cluster_size").fill_null(1).cast(pa.int32()),
            pa.compute.if_else(pa.array(index < 0), batch.documents.column("id"), chosen.column("kept_id")),
        ]
        is_certain = columns[3].is_valid()  # a filter names no document
        columns.append(pa.compute.if_else(is_certain, pa.scalar(1.0, pa.float32()), pa.scalar(None, pa.float32())))
        arrays = [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]
        return {self.set: pa.RecordBatch.from_arrays(arrays, schema=DUPLICATE_SCHEMA)}

    def count_removed(self, batch: ViewBatch, made: dict[str, pa.RecordBatch]) -> dict[str, SourceCounts]:
        """Duplicates by source."""
        return count_duplicates(self.root, batch, made[self.set].column("is_duplicate"))

    def _read_keys(self, batch: ViewBatch) -> pa.Table:
        """(high, low, address) of the row group's documents that have a key."""
        group = batch.group
        first, _, path = next(split for split in self.keys if split[0] <= group <= split[1])
        path = storage.join_path(self.root, path)
        return parquet_files.read_row_groups(path, [group - first], ["high", "low", "address"])

    def _read_decisions(self, batch: ViewBatch) -> pa.Table:
        """Decisions whose first document is in the row group."""
        if self.decided is None:  # no copies in this shard
            return pa.schema(DECISION_FIELDS).empty_table()
        filesystem, inner = storage.find_filesystem(storage.join_path(self.root, self.decided))
        rows = [("first", ">=", int(batch.addresses[0])), ("first", "<=", int(batch.addresses[-1]))]
        return pq.read_table(inner, filesystem=filesystem, filters=rows, use_threads=False).combine_chunks()


def match_keys(keys: pa.Table, decisions: pa.Table) -> np.ndarray:
    """For each key the row of `decisions` that has it, -1 when none; decisions have each key once."""
    high = np.concatenate([_bits(decisions, "high"), _bits(keys, "high")])
    low = np.concatenate([_bits(decisions, "low"), _bits(keys, "low")])
    number = number_digests(high, low)
    row_of = np.full(len(number), -1, np.int64)
    row_of[number[: decisions.num_rows]] = np.arange(decisions.num_rows)
    found: np.ndarray = row_of[number[decisions.num_rows :]]
    return found
