"""Repeated lines and paragraphs: every occurrence but the first in corpus order, or every one, leaves its text.

Reads a view; writes attributes/paragraphs-v1/ (lines-v1 for lines; -normalised and -source in the name as the settings say):
`spans` in bytes of the original text, an edit of the view, `num_units` compared, `repeated_units` and `repeated_bytes` that leave,
`left_bytes` and `little_left` (something left, and less than min_left_bytes stayed).

1. units (units): the different digests of each row group with their counts. A line that stands ten million times costs a row per
   row group; no text and no position is shuffled, for the order of row groups is the order of the corpus.
2. lost (one shuffle): which digests each row group loses, since they stand in an earlier one. One file per shard.
3. attributes (units): texts are split again, digests met with what the row group loses, and with each other.

    spark-submit pipelines/dedup_paragraphs.py --config paragraphs.yaml
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from pyspark.sql import DataFrame

from dedup.alarms import SourceAlarms, SourceCounts, check_sources, count_sources
from dedup.exact import Digests, add_source, number_digests
from dedup.paragraphs import ParagraphConfig, Units, count_digests, cut_units, digest_units, mark_repeats
from dolma_py import config, storage
from dolma_py.arrow_buffers import view_text
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.documents import SPANS
from dolma_py.listing import ROW_BITS
from dolma_py.spans import build_spans, count_bytes
from dolma_py.storage import WrittenFile
from dolma_py.xxh3 import pack_digests
from pipelines.attribute_sets import write_attribute_sets
from pipelines.dedup_decisions import describe_sources, spark_fields
from pipelines.keyed_files import files_by_shard, write_files
from pipelines.mapped_filters import find_seen
from pipelines.seen_keys import (
    BloomConfig,
    IndexConfig,
    Seen,
    asked_bytes,
    bucket_of,
    check_seen,
    count_buckets,
    fingerprint_seen,
    read_indexes,
    save_seen,
    saved_bytes,
    seen_disk_bytes,
)  # fmt: skip
from pipelines.shuffles import as_signed, read_frame, reduce_groups
from pipelines.split_files import key_settings, make_split_files, remove_unused, write_split_file
from pipelines.steps import Rule, StepContext, StepResult

VERSION = 2
CHANGES_NO_BYTE = ("alarms", "keep_keys")
UNITS = "units"
UNITS_VERSION = 1  # of the rows in unit files
MEAN_WORD_BYTES = 5  # with the sign after it; what a dry run counts with
SET_SCHEMA = pa.schema([
    pa.field("spans", SPANS), pa.field("num_units", pa.int64()), pa.field("repeated_units", pa.int64()),
    pa.field("repeated_bytes", pa.int64()), pa.field("left_bytes", pa.int64()), pa.field("little_left", pa.bool_()),
])  # fmt: skip
# of a digest in a row group: shard << 40 | row group, and how often it stands there (0: it comes from an index)
UNIT_FIELDS = [
    pa.field("high", pa.int64()), pa.field("low", pa.int64()), pa.field("seen", pa.bool_()), pa.field("first", pa.int64()),
    pa.field("members", pa.int64()),
]  # fmt: skip
LOST_FIELDS = [pa.field("first", pa.int64()), pa.field("high", pa.int64()), pa.field("low", pa.int64())]
MEMBERS_AND_SHARD = [pa.field("members", pa.int64()), pa.field("shard", pa.int32())]


def default_rules() -> list[Rule]:
    """Cut the spans; drop what has too little text left."""
    return [Rule(name="repeated_units", edit="spans"), Rule(name="little_text_left", keep="not little_left")]


class DedupParagraphsConfig(ParagraphConfig):
    """dedup.paragraphs' settings, earlier data, and the rules that follow."""

    min_left_bytes: int = Field(
        200, ge=0, description="a text that lost something and has fewer bytes left is marked little_left"
    )
    bloom: BloomConfig = Field(BloomConfig(), description="filters of earlier data, and the filter of this")
    index: IndexConfig = Field(IndexConfig(), description="indexes of earlier data, and the index of this")
    alarms: SourceAlarms = Field(default=SourceAlarms(), description="what stops the step before it is complete")
    keep_keys: bool = Field(
        default=True,
        description="leave digests in the run folder, so that a grown corpus costs its new documents alone",
    )
    rules: list[Rule] = Field(default_factory=default_rules, description="added to the view")


def name_set(paragraphs: ParagraphConfig) -> str:
    """The attribute set of these settings."""
    parts = ["normalised"] if paragraphs.text == "normalised" else []
    parts += ["source"] if paragraphs.scope == "source" else []
    return "-".join([f"{paragraphs.unit}s", *parts, "v1"])


def run(context: StepContext, paragraphs: DedupParagraphsConfig) -> StepResult:
    """Count digests per row group, find what each loses, write spans."""
    keys = {"unit": paragraphs.unit, "text": paragraphs.text, "scope": paragraphs.scope}
    seen = Seen(paragraphs.bloom, paragraphs.index, keys)
    filters = check_seen(context.corpus, seen)
    settings, name = key_settings(paragraphs), name_set(paragraphs)
    shared = {"version": UNITS_VERSION, "step": settings, "filters": list(filters.values())}
    made_units = make_split_files(context, UNITS, count_split, shared, keep=paragraphs.keep_keys, places=list(filters))
    counts: dict[str, Any] = {"documents": 0, "units": 0, "digests": 0} | made_units.counts
    candidates = read_units(context, made_units.paths, seen)
    lost = write_files(
        context, find_lost(candidates, paragraphs.keep), phase="lost", key="shard", order=["first", "high", "low"],
        schema=pa.schema([*LOST_FIELDS, MEMBERS_AND_SHARD[0]]), count=count_lost,
    )  # fmt: skip
    fingerprint = config.fingerprint(context.fingerprint, name)
    files = lost["files"]
    options = {"root": context.corpus.root, "set": name, "settings": settings}
    sources: dict[str, SourceCounts] = {}

    def accept(found: dict[str, SourceCounts]) -> None:
        sources.update(found)
        check_sources(context.name, found, paragraphs.alarms, context.setting_key("alarms"))

    maker = "pipelines.dedup_paragraphs:SpanMaker"
    made = write_attribute_sets(
        context, maker, options, {name: fingerprint}, by_shard=files_by_shard(files, "lost"), accept=accept
    )
    sums = {"lost": 0, "lost_members": 0} | lost["facts"]
    inside = counts["units"] - counts["digests"] if paragraphs.keep == "first" else 0
    # under "first" a row group keeps one of each digest that it does not lose
    repeated = inside + sums["lost"] if paragraphs.keep == "first" else sums["lost_members"]
    facts = {
        "hash": "xxh3-128",
        **keys,
        "documents": counts["documents"],
        "units": counts["units"],
        "repeated_units": repeated,
        "sources": describe_sources(sources),
        "alarms": config.dump_config(paragraphs.alarms),
    }
    saved: dict[str, int] = {}
    if seen.bloom.save is not None or seen.index.save is not None:
        kept = find_kept(candidates, paragraphs.keep, count_buckets(counts["digests"]))
        saved, kept_facts = save_seen(context, seen, kept, with_ids=False)
        facts |= kept_facts
    remove_unused(context, UNITS, made_units.paths)
    times = made._asdict() | {"units_task_sec": made_units.times.task_sec, "units_found": made_units.found}
    return StepResult({name: fingerprint}, files=saved, facts=facts, times=times)


def fingerprint_inputs(corpus: Corpus, paragraphs: DedupParagraphsConfig) -> dict[str, str]:
    """What of earlier data decides the output."""
    return fingerprint_seen(corpus, paragraphs.bloom, paragraphs.index)


def driver_memory_bytes(paragraphs: DedupParagraphsConfig, text_bytes: int) -> int:
    """Beside what every driver holds: the filter that is to be saved."""
    return saved_bytes(paragraphs.bloom, count_units(paragraphs, text_bytes))


def shared_memory_bytes(paragraphs: DedupParagraphsConfig, corpus: Corpus, text_bytes: int) -> int:
    """The filters that are asked."""
    return asked_bytes(corpus, paragraphs.bloom, count_units(paragraphs, text_bytes))


def work_disk_bytes(paragraphs: DedupParagraphsConfig, corpus: Corpus, text_bytes: int) -> int:
    """What is kept of filters and indexes, beside what every such step writes."""
    return seen_disk_bytes(corpus, paragraphs.bloom, paragraphs.index, count_units(paragraphs, text_bytes))


def count_units(paragraphs: DedupParagraphsConfig, text_bytes: int) -> int:
    """The most units that are compared, with words of MEAN_WORD_BYTES or more on average."""
    return text_bytes // max(paragraphs.min_bytes, MEAN_WORD_BYTES * paragraphs.min_words)


def find_units(batch: ViewBatch, paragraphs: ParagraphConfig) -> Units:
    """The units of a row group's documents, digests apart by source where the scope says so."""
    text = view_text(batch.documents.column("text"))
    units = digest_units(text.data, text.offsets, paragraphs=paragraphs)
    if paragraphs.scope == "source":
        digests = Digests(units.high, units.low, np.ones(len(units.high), np.bool_))
        sources = batch.documents.column("source").take(pa.array(units.document))
        units = units._replace(high=add_source(digests, sources).high)
    return units


def count_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the different digests of one split, one row group per row group of documents."""
    paragraphs = config.build_config(DedupParagraphsConfig, params["settings"]["step"])
    schema = pa.schema(UNIT_FIELDS)

    def make(batch: ViewBatch) -> tuple[pa.Table, dict[str, Any]]:
        units = find_units(batch, paragraphs)
        high, low, counts = count_digests(units.high, units.low)
        place = np.full(len(high), (batch.shard.number << ROW_BITS) | batch.group, np.int64)
        seen = find_seen(params["places"], params["settings"]["filters"], high, low)
        columns = [as_signed(high), as_signed(low), pa.array(seen), pa.array(place), pa.array(counts)]
        facts = {"documents": batch.documents.num_rows, "units": len(units.high), "digests": len(high)}
        return pa.table(columns, schema=schema), facts

    return write_split_file(params, attempts, schema=schema, columns=["text"], make=make)


def read_units(context: StepContext, paths: list[str], seen: Seen) -> DataFrame:
    """One row per digest and row group, and one per digest of an index."""
    schema = spark_fields(UNIT_FIELDS)
    frame = read_frame(context, paths, [field.name for field in UNIT_FIELDS], schema=schema)
    known = read_indexes(context, seen, schema, UNIT_FIELDS)
    return frame if known is None else frame.unionByName(known)


def _judge(table: pa.Table, keep: str) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """(table in one chunk, lost bool (N,), whether the row is the one that keeps its digest bool (N,)) of whole digests."""
    table = table.combine_chunks()
    number = number_digests(*(table.column(name).to_numpy().view(np.uint64) for name in ("high", "low")))
    members, place = table.column("members").to_numpy(), table.column("first").to_numpy()
    num_keys = int(number.max(initial=-1)) + 1
    seen = np.zeros(num_keys, np.bool_)
    seen[number[table.column("seen").to_numpy(zero_copy_only=False)]] = True
    earliest = np.full(num_keys, np.iinfo(np.int64).max)
    own = members > 0
    np.minimum.at(earliest, number[own], place[own])
    total = np.bincount(number, weights=members, minlength=num_keys)
    is_first = own & (place == earliest[number])
    lost = own & (seen[number] | (~is_first if keep == "first" else total[number] > 1))
    return table, lost, is_first & ~lost


def find_lost(candidates: DataFrame, keep: str) -> DataFrame:
    """LOST_FIELDS, members and shard of each digest that a row group loses altogether."""

    def choose(table: pa.Table) -> pa.Table:
        table, lost, _ = _judge(table, keep)
        made = table.select(["first", "high", "low", "members"]).filter(pa.array(lost))
        shard = made.column("first").to_numpy() >> ROW_BITS
        return made.append_column(MEMBERS_AND_SHARD[1], pa.array(shard.astype(np.int32)))

    schema = spark_fields([*LOST_FIELDS, *MEMBERS_AND_SHARD])
    return reduce_groups(candidates, keys=["high", "low"], order=["first"], reduce=choose, schema=schema)


def find_kept(candidates: DataFrame, keep: str, num_bits: int) -> DataFrame:
    """(bucket, digest) of every digest that still stands somewhere."""

    def choose(table: pa.Table) -> pa.Table:
        table, _, stays = _judge(table, keep)
        high, low = (table.column(name).to_numpy().view(np.uint64)[stays] for name in ("high", "low"))
        digest = pack_digests(high, low).cast(pa.binary())
        return pa.table({"bucket": pa.array(bucket_of(high, num_bits)), "digest": digest})

    schema = "bucket int, digest binary"
    return reduce_groups(candidates, keys=["high", "low"], order=["first"], reduce=choose, schema=schema)


def count_lost(table: pa.Table) -> dict[str, Any]:
    """Digests that row groups lose, and how often they stood there."""
    return {"lost": table.num_rows, "lost_members": int(pa.compute.sum(table.column("members")).as_py() or 0)}


class SpanMaker:
    """Spans of a row group's documents from what the row group loses."""

    columns: list[str] | None = ["text"]

    def __init__(self, options: dict[str, Any]) -> None:
        self.set, self.root = options["set"], options["root"]
        self.lost: str | None = options["lost"][0] if "lost" in options else None
        self.paragraphs = config.build_config(DedupParagraphsConfig, options["settings"])
        self.schemas = {self.set: SET_SCHEMA}

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """SET_SCHEMA of the batch."""
        units = find_units(batch, self.paragraphs)
        leaves = mark_repeats(units, self._read_lost(batch), keep=self.paragraphs.keep)
        num_docs = batch.documents.num_rows
        spans = cut_units(units, leaves, num_docs)
        gone = count_bytes(spans)
        left = np.diff(view_text(batch.documents.column("text")).offsets) - gone
        columns = [
            build_spans(spans),
            pa.array(np.bincount(units.document, minlength=num_docs)),
            pa.array(np.bincount(units.document[leaves], minlength=num_docs)),
            pa.array(gone),
            pa.array(left),
            pa.array((gone > 0) & (left < self.paragraphs.min_left_bytes)),
        ]
        return {self.set: pa.RecordBatch.from_arrays(columns, schema=SET_SCHEMA)}

    def count_removed(self, batch: ViewBatch, made: dict[str, pa.RecordBatch]) -> dict[str, SourceCounts]:
        """Documents with too little text left, and the bytes cut, by source."""
        columns = made[self.set]
        gone, left = (columns.column(name).to_numpy() for name in ("repeated_bytes", "left_bytes"))
        leaves = columns.column("little_left").to_numpy(zero_copy_only=False)
        return count_sources(batch.documents.column("source"), gone + left, leaves, gone)

    def _read_lost(self, batch: ViewBatch) -> tuple[np.ndarray, np.ndarray]:
        if self.lost is None:  # nothing of this shard
            return np.empty(0, np.uint64), np.empty(0, np.uint64)
        filesystem, inner = storage.find_filesystem(storage.join_path(self.root, self.lost))
        rows = [("first", "==", (batch.shard.number << ROW_BITS) | batch.group)]
        table = pq.read_table(inner, columns=["high", "low"], filesystem=filesystem, filters=rows, use_threads=False)
        return table.column("high").to_numpy().view(np.uint64), table.column("low").to_numpy().view(np.uint64)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("dedup_paragraphs", argv)


if __name__ == "__main__":
    sys.exit(main())
