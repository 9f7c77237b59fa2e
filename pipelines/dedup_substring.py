"""Substring deduplication: byte spans of at least 500 bytes that stand somewhere before are cut from the text.

Reads a view; writes attributes/substring-v1/ whose spans are an edit of the view: spans in bytes of the original text,
repeated_bytes, left_bytes, and little_left (something was cut and less than min_left_bytes stayed). A corpus of up to pool_bytes is one
suffix array; a larger one is searched as a whole by anchors (pipelines/global_repeats.py), or, with scope: pool, in pools by corpus
order, where a repeat is found when both occurrences are in one pool. Its artifact repeats.json names the texts that were cut most often
(pipelines/repeated_passages.py).

    spark-submit pipelines/dedup_substring.py --config substring.yaml
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from dedup.substring import SubstringConfig, find_repeated_spans, slice_spans
from dolma_py import config, parquet_files, storage, views
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.corpus import Corpus, ViewBatch, read_view
from dolma_py.documents import SPANS
from dolma_py.listing import Split
from dolma_py.report_repeats import ARTIFACT
from dolma_py.spans import Spans, build_spans, count_bytes
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.attribute_sets import write_attribute_sets
from pipelines.global_repeats import find_global, gathered_bytes, index_bytes, tasks_bytes
from pipelines.pairs_by_split import table_writer
from pipelines.repeat_regions import FOUND_SCHEMA
from pipelines.repeated_passages import FOUND_LAYOUT, span_anchors_bytes, write_passages, write_span_anchors
from pipelines.steps import Rule, StepContext, StepResult, Unit

VERSION = 3
POOL_MB_PER_CORE_SEC, GLOBAL_MB_PER_CORE_SEC = (
    4.0,
    2.0,
)  # one suffix array over a pool, a search through the whole corpus
INDEX_SCHEMA = pa.schema([("path", pa.string()), ("first", pa.int64()), ("last", pa.int64())])
SET = "substring-v1"
SET_SCHEMA = pa.schema([
    pa.field("spans", SPANS), pa.field("repeated_bytes", pa.int64()), pa.field("left_bytes", pa.int64()),
    pa.field("little_left", pa.bool_()),
])  # fmt: skip


def default_rules() -> list[Rule]:
    """Cut the spans; drop what they left too little of. A short text that lost nothing stays."""
    return [Rule(name="repeated_spans", edit="spans"), Rule(name="little_text_left", keep="not little_left")]


class DedupSubstringConfig(SubstringConfig):
    """dedup.substring's settings, the pools, and the rules that follow."""

    scope: Literal["corpus", "pool"] = Field(
        "corpus",
        description="where both occurrences of a repeat may be: anywhere, or in one pool of texts that follow each other",
    )
    pool_bytes: int = Field(
        default=256 << 20,
        ge=1 << 10,
        lt=1 << 30,
        description="text in one suffix array, in bytes; memory is about 7 times it",
    )
    min_left_bytes: int = Field(
        200, ge=0, description="a text that lost something and has fewer bytes left is marked little_left"
    )
    rules: list[Rule] = Field(default_factory=default_rules, description="added to the view")


def is_global(substring: DedupSubstringConfig, text_bytes: int) -> bool:
    """Whether a corpus of that size is searched as a whole by anchors."""
    return substring.scope == "corpus" and text_bytes > substring.pool_bytes


def mb_per_core_sec(substring: DedupSubstringConfig, text_bytes: int) -> float:
    """For a plan: docs/substring.md has the runs."""
    return GLOBAL_MB_PER_CORE_SEC if is_global(substring, text_bytes) else POOL_MB_PER_CORE_SEC


def worker_memory_bytes(substring: DedupSubstringConfig, text_bytes: int) -> int:
    """Of the tasks that hold no suffix array: anchors, of the corpus or of spans."""
    return tasks_bytes(text_bytes, substring.min_length_bytes)


def driver_memory_bytes(substring: DedupSubstringConfig, text_bytes: int) -> int:
    """Beside what every driver holds: the index of a search through the whole corpus."""
    return index_bytes(text_bytes, substring) if is_global(substring, text_bytes) else 0


def work_disk_bytes(substring: DedupSubstringConfig, corpus: Corpus, text_bytes: int) -> int:
    """What a search needs until it ends: anchors of spans, and of one through the whole corpus what it gathers."""
    gathered = gathered_bytes(text_bytes, substring.min_length_bytes) if is_global(substring, text_bytes) else 0
    return gathered + span_anchors_bytes(text_bytes, substring.min_length_bytes)


def run(context: StepContext, substring: DedupSubstringConfig) -> StepResult:
    """Find spans, then write them as attributes."""
    lines, numbers, task_sec = find_spans(context, substring)
    options = {"root": context.corpus.root, "min_left_bytes": substring.min_left_bytes} | write_span_index(
        context, lines
    )
    fingerprint = config.fingerprint(context.fingerprint, SET)
    times = write_attribute_sets(context, "pipelines.dedup_substring:SpanMaker", options, {SET: fingerprint})
    names = ("documents", "documents_with_spans", "spans", "repeated_bytes", "text_bytes")
    sums = {name: sum(line["facts"][name] for line in lines) for name in names}
    facts = sums | numbers | {"scope": substring.scope}
    artifacts = {ARTIFACT: write_passages(context, [line["files"][1] for line in lines])}
    return StepResult({SET: fingerprint}, artifacts, facts=facts, times=times._asdict() | {"search_task_sec": task_sec})


def find_spans(
    context: StepContext, substring: DedupSubstringConfig
) -> tuple[list[dict[str, Any]], dict[str, int], float]:
    """(lines of a done file with a file of FOUND_SCHEMA and one of anchors each, in corpus order; numbers for the manifest; seconds of tasks)."""
    pools = plan_pools(context.plan_splits(), substring.pool_bytes)
    if len(pools) > 1 and substring.scope == "corpus":
        return find_global(context, substring)
    base = {
        "root": context.corpus.root, "view": config.dump_config(context.need_view()),
        "substring": config.dump_config(substring), "work": context.work,
    }  # fmt: skip
    units = [
        Unit(
            f"pool-{number:05d}",
            base | {"splits": [list(split) for split in pool], "number": number},
            sum(split.text_bytes for split in pool),
        )
        for number, pool in enumerate(pools)
    ]
    done, times = context.run_units("pools", units, find_pool, layout=FOUND_LAYOUT)
    return [done.units[name] for name in sorted(done.units)], {"pools": len(pools)}, times.task_sec


def plan_pools(splits: list[Split], pool_bytes: int) -> list[list[Split]]:
    """Consecutive splits whose texts together stay within `pool_bytes`; a larger split is a pool of its own."""
    pools: list[list[Split]] = []
    room = 0
    for split in splits:
        if not pools or split.text_bytes > room:
            pools.append([])
            room = pool_bytes
        pools[-1].append(split)
        room -= split.text_bytes
    return pools


def find_pool(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the repeated spans of one pool, positions in the edited texts."""
    corpus, view = Corpus(params["root"]), View.model_validate(params["view"])
    substring = config.build_config(DedupSubstringConfig, params["substring"])
    texts, lengths, addresses = [], [], []
    for split in params["splits"]:
        for batch in read_view(corpus, view, Split(*split), ["text"]):
            text = view_text(batch.documents.column("text"))
            texts.append(np.array(text.data[text.offsets[0] : text.offsets[-1]]))
            lengths.append(np.diff(text.offsets))
            addresses.append(batch.addresses)
    address = np.concatenate(addresses)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    data = np.concatenate(texts)
    del texts
    spans = find_repeated_spans(data, offsets, config=substring)
    counts = np.diff(spans.offsets)
    firsts = np.cumsum([0, *map(len, addresses)])  # of each batch

    def write_anchors(sink: HashingWriter) -> int:
        batches = (
            (address[first:end], TextView(data, offsets[first : end + 1]), slice_spans(spans, first, end))
            for first, end in zip(firsts.tolist(), firsts.tolist()[1:], strict=False)
        )
        return write_span_anchors(sink, batches, substring.min_length_bytes)

    table = pa.table(
        [pa.array(np.repeat(address, counts)), pa.array(spans.start_byte), pa.array(spans.end_byte)],
        schema=FOUND_SCHEMA,
    ).sort_by([("address", "ascending"), ("start", "ascending")])
    facts = {
        "documents": len(address), "documents_with_spans": int((counts > 0).sum()), "spans": len(spans.start_byte),
        "repeated_bytes": int((spans.end_byte - spans.start_byte).sum(dtype=np.int64)), "text_bytes": len(data),
        "first": int(address.min(initial=np.iinfo(np.int64).max)), "last": int(address.max(initial=-1)),
    }  # fmt: skip
    path = f"{params['work']}/pools/pool-{params['number']:05d}"
    written = [
        write_attempt(corpus.root, attempts, f"{path}.parquet", table_writer(table)),
        write_attempt(corpus.root, attempts, f"{path}-anchors.parquet", write_anchors),
    ]
    return written, facts


def write_span_index(context: StepContext, lines: list[dict[str, Any]]) -> dict[str, str]:
    """Which documents each file of spans is about, as a file beside them: {"index": its path, "found": a fingerprint of them all}."""
    some = [line for line in lines if line["facts"]["first"] <= line["facts"]["last"]]
    rows = [
        {"path": line["files"][0]["path"]} | {end: line["facts"][end] for end in ("first", "last")} for line in some
    ]
    relative = f"{context.work}/spans-index.parquet"
    parquet_files.write_table(context.corpus.path(relative), pa.Table.from_pylist(rows, INDEX_SCHEMA))
    return {"index": relative, "found": config.fingerprint([line["files"][0]["checksum"] for line in lines])}


class SpanMaker:
    """Spreads the spans that were found over the documents of a shard."""

    columns: list[str] | None = []
    schemas = {SET: SET_SCHEMA}

    def __init__(self, options: dict[str, Any]) -> None:
        self.root, self.min_left_bytes = options["root"], options["min_left_bytes"]
        with parquet_files.open_parquet(storage.join_path(self.root, options["index"])) as file:
            index = file.read()
        self.paths = index.column("path")
        self.first, self.last = (index.column(end).to_numpy() for end in ("first", "last"))  # in corpus order, apart

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """SET_SCHEMA of the batch's documents; sizes are those of the view's texts, and no text is read."""
        first, last = int(batch.addresses[0]), int(batch.addresses[-1])
        rows = [("address", ">=", first), ("address", "<=", last)]
        tables = []
        for number in range(np.searchsorted(self.last, first), np.searchsorted(self.first, last, side="right")):
            filesystem, inner = storage.find_filesystem(storage.join_path(self.root, self.paths[number].as_py()))
            tables.append(pq.read_table(inner, filesystem=filesystem, filters=rows, use_threads=False))
        table = pa.concat_tables([FOUND_SCHEMA.empty_table(), *tables])
        address = table.column("address").to_numpy()
        index = np.searchsorted(batch.addresses, address)
        counts = np.bincount(index, minlength=len(batch.addresses))
        starts, ends = table.column("start").to_numpy(), table.column("end").to_numpy()
        spans = Spans(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), starts.astype(np.int64), ends.astype(np.int64)
        )
        repeated = np.bincount(index, weights=ends - starts, minlength=len(batch.addresses)).astype(np.int64)
        sizes = views.read_attributes(self.root, views.SIZES, batch.shard, [batch.group]).column("text_bytes")
        left = sizes.to_numpy()[batch.rows] - count_bytes(batch.removed) - repeated
        little = (repeated > 0) & (left < self.min_left_bytes)
        columns = [build_spans(spans), pa.array(repeated), pa.array(left.astype(np.int64)), pa.array(little)]
        return {SET: pa.RecordBatch.from_arrays(columns, schema=SET_SCHEMA)}


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("dedup_substring", argv)


if __name__ == "__main__":
    sys.exit(main())
