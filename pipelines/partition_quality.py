"""Divide a view's documents into cells: by source and topic, then by exact quality percentile within them.

Writes attributes/partition-v1/ (topic, bucket, label; set_name names another set) for the view, and in the step's folder cells.parquet, the
table of documents and tokens of every cell (artifact `partition_cells`), and thresholds.json (artifact `quality_thresholds`), by which later
data fall into the same cells. A narrow row for each document (its group, 96 bits of key, its sizes) is written once and read again for every
pass of the search; the driver sorts at most `max_docs` of them.

    spark-submit pipelines/partition_quality.py --config partition.yaml
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import config, parquet_files, storage
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.errors import ConfigError, DataError, SchemaError
from dolma_py.manifest import render_json
from mixers import quality_thresholds
from mixers.percentiles import CELL_SCHEMA
from mixers.quality_thresholds import Bins, Thresholds
from pipelines import mix_table, partition_rows
from pipelines.attribute_sets import write_attribute_sets
from pipelines.mix_passes import MAX_UNITS, add_places
from pipelines.partition_rows import VIGINTILES, PartitionConfig
from pipelines.steps import StepContext, StepResult, Unit, split_name, split_params
from pipelines.units import Work

__all__ = [
    "CHANGES_NO_BYTE",
    "VERSION",
    "CellMaker",
    "PartitionConfig",
    "document_disk_bytes",
    "driver_memory_bytes",
    "fingerprint_inputs",
    "run",
    "work_disk_bytes",
]

VERSION = 1
SET_VERSION = 1
SET_SCHEMA = pa.schema([pa.field("topic", pa.string()), pa.field("bucket", pa.int32()), pa.field("label", pa.string())])
CHANGES_NO_BYTE = ("max_docs",)
MAX_BINS = 4096  # that one pass counts; more take more passes
HISTOGRAM_BYTES = (
    (2 * 8 + 3 * 8) * quality_thresholds.NUM_DIGITS * MAX_BINS
)  # sums and one task's table of them, at most
MAX_CELLS = 1_000_000  # what the driver holds of each is some 200 bytes
ROW_BYTES = 160  # of the driver for a row that is gathered and sorted
MEAN_TEXT_BYTES = 200  # a plan's bounds hold for documents of this many bytes of text on average, or more
FILE_ROW_BYTES = 40  # of a narrow row on the disk


def run(context: StepContext, settings: PartitionConfig) -> StepResult:
    """Rows, thresholds, cells, attributes."""
    _check_columns(context.corpus, settings)
    rows = _Rows(context, settings)
    if not rows.groups:
        view = context.need_view().name
        raise ConfigError("view", view, "expected documents to rank, every one was dropped", "Read the funnel.")
    if len(rows.groups) * settings.num_buckets > MAX_CELLS:
        rule = f"expected at most {MAX_CELLS} cells, {len(rows.groups)} sources and topics have {settings.num_buckets} each"
        raise ConfigError(context.setting_key("topic"), settings.topic, rule, "Is it a column of topics?")
    facts: dict[str, Any] = {"documents": int(rows.docs.sum()), "groups": len(rows.groups)}
    if settings.against is None:
        found, passes = _search(rows, settings)
    else:
        found, passes = _load_earlier(context, settings, rows.groups), []
    saved = quality_thresholds.dump_thresholds(found, rows.groups, _identity(settings))
    cells_path, path = f"{context.folder}/cells.parquet", f"{context.folder}/thresholds.json"
    storage.write_bytes(context.corpus.path(path), render_json(saved))
    cells = _count_cells(rows, saved)
    parquet_files.write_table(context.corpus.path(cells_path), cells)
    sums = cells.group_by(["source", "topic"]).aggregate([("documents", "sum"), ("tokens", "sum")])
    facts["cells"] = sums.sort_by([("source", "ascending"), ("topic", "ascending")]).to_pylist()
    name = name_set(settings)
    fingerprint = config.fingerprint(context.fingerprint, name)
    options = {
        "root": context.corpus.root,
        "settings": config.dump_config(settings),
        "thresholds": context.corpus.path(path),
    }
    times = write_attribute_sets(context, "pipelines.partition_quality:CellMaker", options, {name: fingerprint})
    return StepResult(
        {name: fingerprint},
        {"partition_cells": cells_path, "quality_thresholds": path},
        facts=facts,
        times=times._asdict() | {"passes": passes},
    )


def name_set(settings: PartitionConfig) -> str:
    """The attribute set that the step writes."""
    return f"{settings.set_name}-v{SET_VERSION}"


def _check_columns(corpus: Corpus, settings: PartitionConfig) -> None:
    """Raise ConfigError or DataError for attributes that are not there or of another type: before the tasks, which would all say it."""
    shards, nothing = corpus.read_listing().shards, np.empty(0, np.int64)
    if not shards:
        return
    of_documents = pa.array([], pa.string())
    partition_rows.read_keys(corpus, settings, shards[0], 0, nothing, of_documents, of_documents)
    if settings.tokens is None:
        return
    try:
        mix_table.read_tokens(corpus, settings.tokens, shards[0], 0, nothing)
    except DataError as error:
        hint = "Count tokens (docs/quality-buckets.md), or --set tokens=null: bytes of text stand for them."
        raise DataError(error.path, error.problem, hint=hint) from error


def fingerprint_inputs(corpus: Corpus, settings: PartitionConfig) -> str | None:
    """The thresholds that are used again."""
    path = None if settings.against is None else _find_against(corpus, settings.against)
    return None if path is None else storage.checksum_file(path)


def driver_memory_bytes(settings: PartitionConfig, text_bytes: int) -> int:
    """What the driver sorts at most, and the histograms of one pass; documents of MEAN_TEXT_BYTES on average and more."""
    num_docs = text_bytes // MEAN_TEXT_BYTES
    histograms = HISTOGRAM_BYTES if num_docs > settings.max_docs else 0
    return ROW_BYTES * min(settings.max_docs, num_docs) + histograms


def document_disk_bytes(settings: PartitionConfig) -> int:
    """Of the work folder for a document: its narrow row, written once; and those of open bins."""
    return FILE_ROW_BYTES * 2


def work_disk_bytes(settings: PartitionConfig, corpus: Corpus, text_bytes: int) -> int:
    """The same of a text of which nothing more is known: documents of MEAN_TEXT_BYTES on average and more."""
    return document_disk_bytes(settings) * (text_bytes // MEAN_TEXT_BYTES)


def _identity(settings: PartitionConfig) -> dict[str, Any]:
    """What later data must share with the thresholds: stands in their file."""
    return {
        "score": settings.score,
        "topic": settings.topic,
        "by_source": settings.by_source,
        "weight": settings.weight,
    }


def _find_against(corpus: Corpus, path: str) -> str | None:
    """The file, below the corpus or anywhere; None where it is not there."""
    for candidate in (corpus.path(path), storage.resolve_path(path)):
        if storage.file_bytes(candidate) is not None:
            return candidate
    return None


def _load_earlier(context: StepContext, settings: PartitionConfig, groups: list[tuple[str, str]]) -> Thresholds:
    """The thresholds of `against` for the groups of this view, in their order."""
    path = _find_against(context.corpus, str(settings.against))
    key = context.setting_key("against")
    if path is None:
        raise ConfigError(
            key,
            settings.against,
            "expected a file below the corpus, or a path",
            "Such as runs/mix-partition/00-mix-partition/thresholds.json",
        )
    try:
        values = json.loads(storage.read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise SchemaError(path, "thresholds that `mix partition` saved", f"no JSON ({type(error).__name__})") from error
    earlier, names = quality_thresholds.load_thresholds(values, path)
    wanted = _identity(settings) | {"num_buckets": settings.num_buckets}
    for name, value in wanted.items():
        if values.get(name) != value:
            raise ConfigError(
                context.setting_key(name), value, f"expected {values.get(name)!r}, as in {settings.against}"
            )
    missing = sorted(set(groups) - set(names))
    if missing:
        raise ConfigError(
            key, settings.against, f"expected thresholds of every source and topic, it has none of {missing[:3]}",
            "Partition all data again, or drop these documents by a rule.",
        )  # fmt: skip
    numbers = {name: number for number, name in enumerate(names)}
    order = [numbers[group] for group in groups]
    bounds = [slice(int(earlier.first[number]), int(earlier.first[number + 1])) for number in order]
    first = np.cumsum([0, *(bound.stop - bound.start for bound in bounds)]).astype(np.int64)
    high, low = (np.concatenate([column[bound] for bound in bounds]) for column in (earlier.high, earlier.low))
    return Thresholds(earlier.num_buckets, first, high, low)


class _Rows:
    """The narrow rows of all splits, and passes over them."""

    def __init__(self, context: StepContext, settings: PartitionConfig) -> None:
        params = {"settings": config.dump_config(settings), "work": context.work}
        units = [
            Unit(split_name(split), split_params(context, split) | params, split.text_bytes)
            for split in context.plan_splits()
        ]
        self.context = context
        self.done, _ = context.run_units("rows", units, partition_rows.write_rows)
        sums: dict[tuple[str, str], list[int]] = {}
        for line in self.done.units.values():
            for source, topic, docs, weight in line["facts"]["groups"]:
                mine = sums.setdefault((source, topic), [0, 0])
                mine[0] += docs
                mine[1] += weight
        self.groups = sorted(sums)
        self.docs = np.array([sums[group][0] for group in self.groups], np.int64)
        self.weights = np.array([sums[group][1] for group in self.groups], np.int64)

    def run_pass(self, phase: str, work: Work, state: dict[str, Any]) -> Iterator[pa.Table]:
        """The tables that at most MAX_UNITS tasks of one pass made, read one by one, in the order of splits.

        `state` goes to the tasks through a file.
        """
        corpus, path = self.context.corpus, f"{self.context.work}/{phase}.json"
        data = render_json(state | {"groups": self.groups})
        checksum = config.fingerprint(data.decode())
        storage.write_bytes(corpus.path(path), data)
        splits = sorted(self.done.units)
        num_units = min(MAX_UNITS, len(splits))
        units = []
        for number in range(num_units):
            mine = splits[number * len(splits) // num_units : (number + 1) * len(splits) // num_units]
            lines = [self.done.units[name] for name in mine]
            params = {
                "root": corpus.root, "splits": [[line["files"][0]["path"], [group[:2] for group in line["facts"]["groups"]]] for line in lines],
                "state": path, "checksum": checksum, "work": f"{self.context.work}/{phase}", "name": mine[0],
            }  # fmt: skip
            units.append(Unit(mine[0], params, sum(line["files"][0]["bytes"] for line in lines)))
        done, _ = self.context.run_units(phase, units, work, layout=[checksum, num_units])
        files = [file["path"] for unit in units for file in done.units[unit.name]["files"]]
        return (parquet_files.read_row_groups(corpus.path(file), None, None) for file in files)


def _search(rows: _Rows, settings: PartitionConfig) -> tuple[Thresholds, list[dict[str, int]]]:
    """Narrow the bins by histograms until their documents fit, then sort those; with what each pass left open."""
    bins = quality_thresholds.start_bins(rows.docs)
    passes: list[dict[str, int]] = []
    while int(bins.num_docs.sum()) > settings.max_docs and bins.level < len(quality_thresholds.LEVEL_BITS):
        parts = [
            _narrow(rows, settings, part, number)
            for number, part in enumerate(quality_thresholds.part_bins(bins, MAX_BINS))
        ]
        bins = quality_thresholds.join_bins(parts)
        passes.append({"bins": len(bins.high), "documents": int(bins.num_docs.sum())})
    tables = rows.run_pass(f"gather-{bins.level}", partition_rows.gather_rows, _dump_bins(bins))
    keys = partition_rows.keys_of(pa.concat_tables([partition_rows.ROW_SCHEMA.empty_table(), *tables]))
    return quality_thresholds.find_thresholds(keys, bins, total=rows.weights, num_buckets=settings.num_buckets), passes


def _narrow(rows: _Rows, settings: PartitionConfig, bins: Bins, number: int) -> Bins:
    """One pass: the histograms of these bins, and the bins of the next level in them."""
    tables = rows.run_pass(f"histogram-{bins.level}-{number}", partition_rows.count_rows, _dump_bins(bins))
    sums = add_places(tables, len(bins.high) * quality_thresholds.NUM_DIGITS, ("weight", "count"))
    weights, counts = (total.reshape(-1, quality_thresholds.NUM_DIGITS) for total in sums)
    return quality_thresholds.narrow_bins(bins, weights, counts, total=rows.weights, num_buckets=settings.num_buckets)


def _dump_bins(bins: Bins) -> dict[str, Any]:
    return {name: column if isinstance(column, int) else column.tolist() for name, column in bins._asdict().items()}


def _count_cells(rows: _Rows, saved: dict[str, Any]) -> pa.Table:
    """CELL_SCHEMA rows of all groups and buckets."""
    num_buckets = int(saved["num_buckets"])
    tables = rows.run_pass("cells", partition_rows.count_cells, {"thresholds": saved})
    sums = add_places(tables, len(rows.groups) * num_buckets, ("documents", "tokens", "bytes"))
    names = [name for name in rows.groups for _ in range(num_buckets)]
    bucket = np.tile(np.arange(num_buckets, dtype=np.int32), len(rows.groups))
    columns = [pa.array([name[part] for name in names], pa.string()) for part in (0, 1)]
    return pa.table([*columns, pa.array(bucket), *map(pa.array, sums)], schema=CELL_SCHEMA)


def name_cells(topic: str, num_buckets: int) -> list[str]:
    """Labels of a topic's cells from the lowest bucket to the highest: TOPIC/vigintile_0001 to _0020, bucket_ where there are not 20.

    >>> name_cells("health", 20)[19], name_cells("", 2)
    ('health/vigintile_0020', ['bucket_0001', 'bucket_0002'])
    """
    kind = "vigintile" if num_buckets == VIGINTILES else "bucket"
    return [f"{topic}/{kind}_{number:04d}".lstrip("/") for number in range(1, num_buckets + 1)]


class CellMaker:
    """Topic, bucket and label of every document of a batch, from the thresholds."""

    columns: list[str] | None = []

    def __init__(self, options: dict[str, Any]) -> None:
        self.corpus = Corpus(options["root"])
        self.settings = PartitionConfig.model_validate(options["settings"])
        self.schemas = {name_set(self.settings): SET_SCHEMA}
        values = json.loads(storage.read_bytes(options["thresholds"]))
        self.thresholds, names = quality_thresholds.load_thresholds(values, options["thresholds"])
        self.numbers = {name: number for number, name in enumerate(names)}
        self.labels = {topic: name_cells(topic, self.thresholds.num_buckets) for _, topic in names}

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """One cell for each document."""
        names, keys = partition_rows.read_keys(
            self.corpus,
            self.settings,
            batch.shard,
            batch.group,
            batch.rows,
            batch.documents.column("id"),
            batch.documents.column("source"),
        )
        numbers = np.array([self.numbers[name] for name in names], np.int32)
        bucket = quality_thresholds.assign_by_thresholds(keys._replace(group=numbers[keys.group]), self.thresholds)
        topics = [names[group][1] for group in keys.group.tolist()]
        labels = [self.labels[topic][number] for topic, number in zip(topics, bucket.tolist(), strict=True)]
        columns = [pa.array(topics, pa.string()), pa.array(bucket), pa.array(labels, pa.string())]
        return {name_set(self.settings): pa.RecordBatch.from_arrays(columns, schema=SET_SCHEMA)}


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("partition", argv)


if __name__ == "__main__":
    sys.exit(main())
