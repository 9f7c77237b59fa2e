"""Copies by key: documents of one 128-bit key are one cluster, the keep policy names who stays. Exact and URL deduplication.

1. keys (units): the key of every document, its id, and what the keep policy compares, one file per split.
2. decisions (one shuffle): before it each row group is reduced to one row per key - how many, the first, the best - so that a key
   of ten million copies costs one row per row group. The rows of a key meet, the best of all is found, and every row group
   learns it. One file per shard.
3. attributes (units): keys of a row group meet its decisions.

Nothing of this is held on the driver but a row per shard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from dedup.exact import Digests, number_digests
from dedup.keepers import KeepPolicy, keep_order
from dolma_py import config, parquet_files, storage
from dolma_py.corpus import Corpus, ViewBatch, read_view
from dolma_py.documents import DUPLICATE_SCHEMA
from dolma_py.listing import ROW_BITS, Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.attribute_sets import write_attribute_sets
from pipelines.dedup_decisions import keep_columns, keep_fields, keep_reads, spark_fields
from pipelines.keyed_files import merge_facts, write_files
from pipelines.shuffles import as_signed, read_frame, reduce_groups
from pipelines.steps import StepContext, StepResult, Unit, file_lists, split_name, split_params

KEY_FIELDS = [pa.field("high", pa.int64()), pa.field("low", pa.int64()), pa.field("id", pa.string())]
# of a key in a row group: its first address there, how many documents have it
MEMBER_FIELDS = [pa.field("first", pa.int64()), pa.field("members", pa.int64())]
DECISION_FIELDS = [
    pa.field("first", pa.int64()), pa.field("high", pa.int64()), pa.field("low", pa.int64()), pa.field("members", pa.int64()),
    pa.field("cluster_id", pa.int64()), pa.field("cluster_size", pa.int64()), pa.field("kept_address", pa.int64()),
    pa.field("kept_id", pa.string()),
]  # fmt: skip
SHARD = pa.field("shard", pa.int32())
Keys = Callable[[ViewBatch], Digests]


class KeyJob(NamedTuple):
    """What is a copy, who stays, and where it is written."""

    set_name: str
    keep: KeepPolicy
    facts: dict[str, Any]  # what was hashed, for the manifest


def plan_keys(context: StepContext, settings: dict[str, Any]) -> list[Unit]:
    """One unit per split, for a work function that calls write_keys."""
    return [
        Unit(split_name(split), split_params(context, split) | {"settings": settings, "work": context.work}, split.text_bytes)
        for split in context.plan_splits()
    ]  # fmt: skip


def write_keys(
    params: dict[str, Any], attempts: str, *, keep: KeepPolicy, columns: list[str], make_keys: Keys
) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: keys of one split, one row group per row group of documents; documents without a key have no row.

    columns: of a document that make_keys reads, beside those of the keep policy.
    """
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    schema = pa.schema([*KEY_FIELDS, *keep_fields(keep)])
    facts = {"documents": 0, "without_key": 0}

    def write(sink: HashingWriter) -> int:
        with parquet_files.open_writer(sink, schema) as writer:
            for batch in read_view(corpus, view, split, [*columns, *keep_reads(keep)]):
                keys = make_keys(batch)
                compared = keep_columns(corpus, batch, keep)
                made = [as_signed(keys.high), as_signed(keys.low), batch.documents.column("id"), *compared.columns]
                table = pa.table(made, schema=schema).filter(pa.array(keys.is_valid))
                parquet_files.write_row_group(writer, table)
                facts["documents"] += len(keys.is_valid)
                facts["without_key"] += len(keys.is_valid) - table.num_rows
        return facts["documents"] - facts["without_key"]

    return [write_attempt(corpus.root, attempts, f"{params['work']}/keys/{split_name(split)}.parquet", write)], facts


def decide_copies(
    context: StepContext, job: KeyJob, units: list[Unit], work: Callable[..., tuple[list[WrittenFile], dict[str, Any]]]
) -> StepResult:
    """Run the three phases; `work` is a module's function that calls write_keys."""
    keys, times = context.run_units("keys", units, work)
    candidates = read_candidates(context, [file["path"] for file in file_lists(keys)], job.keep)
    decided = write_files(
        context, find_clusters(candidates, job.keep), phase="decisions", key="shard", order=["first", "high", "low"],
        schema=pa.schema(DECISION_FIELDS), count=count_decisions,
    )  # fmt: skip
    fingerprint = config.fingerprint(context.fingerprint, job.set_name)
    options = {
        "root": context.corpus.root, "set": job.set_name, "work": context.work,
        "splits": [[split.shard, split.first_group, split.last_group] for split in context.plan_splits()],
        "decided": [file["path"] for file in decided["files"]], "checksums": [file["checksum"] for file in decided["files"]],
    }  # fmt: skip
    made = write_attribute_sets(context, "pipelines.dedup_keys:CopyMaker", options, {job.set_name: fingerprint})
    counts: dict[str, Any] = {"documents": 0, "without_key": 0}
    for line in keys.units.values():
        counts = merge_facts(counts, line["facts"])
    facts = {"clusters": 0, "members": 0, "duplicates": 0} | decided["facts"]
    largest = [{"kept_id": kept_id, "size": size} for size, _, kept_id in facts.pop("largest", [])]
    return StepResult(
        {job.set_name: fingerprint}, facts=job.facts | counts | facts | {"largest": largest},
        times=made._asdict() | {"keys_task_sec": times.task_sec},
    )  # fmt: skip


def read_candidates(context: StepContext, paths: list[str], keep: KeepPolicy) -> DataFrame:
    """One row per key and row group: the best document there with what it is compared by, the first address, the members."""
    fields = [*KEY_FIELDS, *keep_fields(keep)]

    def reduce(table: pa.Table) -> pa.Table:
        best, first, members = reduce_keys(table, keep)
        return best.append_column(MEMBER_FIELDS[0], pa.array(first)).append_column(MEMBER_FIELDS[1], pa.array(members))

    return read_frame(
        context, paths, [field.name for field in fields], schema=spark_fields([*fields, *MEMBER_FIELDS]), transform=reduce
    )  # fmt: skip


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


def find_clusters(candidates: DataFrame, keep: KeepPolicy) -> DataFrame:
    """DECISION_FIELDS and the shard for each candidate whose key has several documents."""

    def decide(table: pa.Table) -> pa.Table:
        table = table.combine_chunks()
        number = number_digests(_bits(table, "high"), _bits(table, "low"))
        order = np.lexsort((keep_order(table, policy=keep), number))
        counts = np.bincount(number)
        starts = np.cumsum(counts) - counts
        best = order[starts][number]
        sizes = np.bincount(number, weights=table.column("members").to_numpy()).astype(np.int64)[number]
        first = table.column("first").to_numpy()
        cluster_id = np.minimum.reduceat(first[order], starts)[number]
        made = table.select(["first", "high", "low", "members"])
        made = made.append_column("cluster_id", pa.array(cluster_id)).append_column("cluster_size", pa.array(sizes))
        made = made.append_column("kept_address", table.column("address").take(pa.array(best)))
        made = made.append_column("kept_id", table.column("id").take(pa.array(best)))
        made = made.append_column(SHARD, pa.array((first >> ROW_BITS).astype(np.int32)))
        return made.filter(pa.array(sizes > 1))

    schema = spark_fields([*DECISION_FIELDS, SHARD])
    return reduce_groups(candidates, keys=["high", "low"], order=["first"], reduce=decide, schema=schema)


def count_decisions(table: pa.Table) -> dict[str, Any]:
    """Of the rows of one file: members, clusters that begin here, documents that leave, and the largest clusters."""
    heads = table.filter(pa.compute.equal(table.column("first"), table.column("cluster_id")))
    members = int(pa.compute.sum(table.column("members")).as_py() or 0)
    largest = heads.sort_by([("cluster_size", "descending"), ("cluster_id", "ascending")]).slice(0, 10)
    rows = largest.select(["cluster_size", "cluster_id", "kept_id"]).to_pylist()
    return {
        "members": members, "clusters": heads.num_rows, "duplicates": members - heads.num_rows,
        "largest": [list(row.values()) for row in rows],
    }  # fmt: skip


def _bits(table: pa.Table, name: str) -> np.ndarray:
    bits: np.ndarray = table.column(name).to_numpy().view(np.uint64)
    return bits


class CopyMaker:
    """Duplicate columns of a row group's documents from their keys and the row group's decisions."""

    columns: list[str] | None = []

    def __init__(self, options: dict[str, Any]) -> None:
        self.set, self.root, self.work = options["set"], options["root"], options["work"]
        self.schemas = {self.set: DUPLICATE_SCHEMA}
        self.splits = [Split(*split, 0, 0, 0) for split in options["splits"]]
        self.decided = set(options["decided"])

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
            pa.compute.coalesce(chosen.column("kept_id"), batch.documents.column("id")),
            pa.array(np.ones(len(index), np.float32)),
        ]
        arrays = [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]
        return {self.set: pa.RecordBatch.from_arrays(arrays, schema=DUPLICATE_SCHEMA)}

    def _read_keys(self, batch: ViewBatch) -> pa.Table:
        """(high, low, address) of the row group's documents that have a key."""
        split = next(
            s for s in self.splits if s.shard == batch.shard.number and s.first_group <= batch.group <= s.last_group
        )
        path = storage.join_path(self.root, self.work, "keys", f"{split_name(split)}.parquet")
        return parquet_files.read_row_groups(path, [batch.group - split.first_group], ["high", "low", "address"])

    def _read_decisions(self, batch: ViewBatch) -> pa.Table:
        """Decisions whose first document is in the row group."""
        path = f"{self.work}/decisions/part-{batch.shard.number:05d}.parquet"
        if path not in self.decided:  # no copies in this shard
            return pa.schema(DECISION_FIELDS).empty_table()
        filesystem, inner = storage.find_filesystem(storage.join_path(self.root, path))
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
