"""Sample a mix from its plan: how many copies of every document, by hash of its id, exact to one document per cell.

Writes attributes/sample-v1/ (copies, is_heldout, bucket) for the view, and in the step's folder sampled.parquet (artifact `sampled`): of
every cell what was planned and what was sampled. Planned = sampled to within one document of each cell, checked. docs/sampling.md.

    spark-submit pipelines/sample_mix.py --config sample.yaml
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from dolma_py import config, manifest, parquet_files, storage
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.done import read_done_lines
from dolma_py.errors import ConfigError
from mixers.plan import PLAN_SCHEMA
from mixers.sampling import SAMPLED_SCHEMA, check_conservation, cut_to_caps, split_budget
from mixers.selection import Pools, SelectionConfig, make_pools
from pipelines.attribute_sets import write_attribute_sets
from pipelines.excluded_documents import ExclusionConfig, checksum_ids, find_excluded
from pipelines.mix_passes import CellSums, Drawn, open_rows, sum_pools
from pipelines.mix_table import CHANGES_NO_BYTE, MEAN_TEXT_BYTES, MixInputs, driver_memory_bytes, write_mix_rows
from pipelines.steps import StepContext, StepResult, file_lists

__all__ = [
    "CHANGES_NO_BYTE",
    "VERSION",
    "DrawnMaker",
    "SampleMixConfig",
    "describe_sources",
    "document_disk_bytes",
    "driver_memory_bytes",
    "find_planned_sources",
    "fingerprint_inputs",
    "run",
    "work_disk_bytes",
]

VERSION = 6
SET = "sample-v1"
logger = logging.getLogger("dolma_py.mix")
SET_SCHEMA = pa.schema(
    [pa.field("copies", pa.int32()), pa.field("is_heldout", pa.bool_()), pa.field("bucket", pa.int32())]
)
PLANNED_BY = (
    "num_buckets",
    "score",
    "topic",
    "tokens",
    "duplicates",
    "heldout",
)  # settings that a sample shares with its plan
MAX_NAMED = 5  # cells that are named in warnings
FILE_ROW_BYTES = 60  # a narrow row, and what was drawn


class SampleMixConfig(MixInputs):
    """The same inputs as the plan's, and the plan."""

    cells: str = Field(
        default="artifact:cells", description="cells.parquet of a plan: artifact:cells, or its path below the corpus"
    )
    num_buckets: int = Field(default=20, ge=1, le=1000, description="as in the plan")
    selection: dict[str, SelectionConfig] = Field(
        default_factory=dict,
        description="source -> how its documents are chosen, where not by hash within each cell",
    )
    exclude: ExclusionConfig = Field(default=ExclusionConfig(), description="documents that are never sampled")


def run(context: StepContext, settings: SampleMixConfig) -> StepResult:
    """Rows, cells, pools, copies; then the check, the table and the attributes."""
    _check_selection(settings)
    found = _find_cells(context, settings.cells)
    _check_settings(context, found, settings)
    files = file_lists(write_mix_rows(context, settings))
    excluded = find_excluded(context, settings.exclude)
    rows = open_rows(context, settings, settings.num_buckets, files, excluded.files)
    counted = rows.count_cells()
    cells = parquet_files.read_row_groups(found, None, None)
    keys = _check_cells(cells, counted, settings.num_buckets)
    planned = cells.column("planned_tokens").to_numpy()
    cut = _cut_cells(keys, cells, counted, settings.selection)
    pools = make_pools(
        keys, planned=planned - cut, num_buckets=settings.num_buckets, selection=settings.selection, seed=context.seed
    )
    available, _ = sum_pools(pools, counted)
    whole, rest = split_budget(
        pools.planned, available=available, names=_name_pools(keys, pools), max_repetition=pools.max_repetition
    )
    drawn = rows.draw(pools, whole, rest)
    sampled = _tell_cells(keys, (planned, cut), pools, counted, drawn)
    check_conservation(sampled)
    path = f"{context.folder}/sampled.parquet"
    parquet_files.write_table(context.corpus.path(path), sampled)
    fingerprint = config.fingerprint(context.fingerprint, SET)
    options = {"root": context.corpus.root, "files": drawn.files.get(-1, [])}
    by_shard = {number: {"files": paths} for number, paths in drawn.files.items() if number >= 0}
    times = write_attribute_sets(
        context, "pipelines.sample_mix:DrawnMaker", options, {SET: fingerprint}, by_shard=by_shard
    )
    facts = {
        "planned_tokens": int(planned.sum()), "cut_tokens": int(cut.sum()), "sampled_tokens": int(drawn.sampled_tokens.sum()),
        "documents": int(drawn.sampled_documents.sum()), "copies": int(drawn.copies.sum()), "heldout_documents": counted.heldout[0],
        "heldout_tokens": counted.heldout[1], "excluded_documents": excluded.documents, "sources": describe_sources(cells),
    }  # fmt: skip
    return StepResult(
        {SET: fingerprint}, {"sampled": path}, facts=facts, times=times._asdict() | {"passes": rows.passes}
    )


def _check_settings(context: StepContext, path: str, settings: SampleMixConfig) -> None:
    """Raise ConfigError for a setting that is not the plan's; of cells that no step's manifest lies beside, nothing is known."""
    planned = manifest.read_manifest(path.rpartition("/")[0])
    if planned is None or planned.get("kind") != "plan_mix":
        return
    given = config.dump_config(settings)
    for name in PLANNED_BY:
        if planned["config"].get(name) != given[name]:
            rule = f"expected {planned['config'].get(name)!r} as in the plan"
            raise ConfigError(name, given[name], rule, "Set it so, or plan again.")


def _check_cells(cells: pa.Table, counted: CellSums, num_buckets: int) -> list[tuple[str, str, int]]:
    """The plan's cells, which must be those of this view: the same ones, of as many documents and tokens."""
    if cells.schema.names != PLAN_SCHEMA.names:
        rule = f"expected a plan's columns, {PLAN_SCHEMA.names}"
        raise ConfigError("cells", cells.schema.names, rule, "Plan again with this version.")
    columns = (cells.column(name).to_pylist() for name in ("source", "topic", "bucket"))
    keys = list(zip(*columns, strict=True))
    expected = [(source, topic, bucket) for source, topic in counted.groups for bucket in range(num_buckets)]
    hint = "Plan again after changing the view, its attributes or the seed."
    if keys != expected:
        raise ConfigError("cells", len(keys), f"expected the {len(expected)} cells of this view", hint)
    documents, tokens = (cells.column(name).to_numpy() for name in ("documents", "tokens"))
    other = np.flatnonzero((documents != counted.documents) | (tokens != counted.tokens))
    if len(other):
        first = int(other[0])
        rule = (
            f"{len(other)} of {len(keys)} cells are not those of this view, the first {_name_cell(keys[first])}: here it has "
            f"{counted.documents[first]} documents and {counted.tokens[first]} tokens"
        )
        raise ConfigError("cells", f"{documents[first]} and {tokens[first]} in the plan", rule, hint)
    return keys


def _cut_cells(
    keys: list[tuple[str, str, int]], cells: pa.Table, counted: CellSums, selection: dict[str, SelectionConfig]
) -> np.ndarray:
    """Tokens by cell, int64 (C,), that excluded documents take from the plan, with warnings; none where a selection has its own cap."""
    caps = cells.column("max_repetition").to_numpy()
    cut = cut_to_caps(
        cells.column("planned_tokens").to_numpy(), tokens=counted.tokens, excluded_tokens=counted.excluded_tokens, max_repetition=caps
    )  # fmt: skip
    cut[[source in selection for source, _, _ in keys]] = 0
    most = np.argsort(-cut, kind="stable")[:MAX_NAMED]
    for at in most[cut[most] > 0].tolist():
        logger.warning(
            "%s is %d tokens short: documents are excluded, and the others give at most %g copies (max_repetition)",
            _name_cell(keys[at]), cut[at], caps[at],
        )  # fmt: skip
    if int((cut > 0).sum()) > MAX_NAMED:
        logger.warning("%d cells are short, %d tokens (cut_tokens in sampled.parquet)", (cut > 0).sum(), cut.sum())
    return cut


def _name_cell(key: tuple[str, str, int]) -> str:
    source, topic, bucket = key
    return "/".join(filter(None, (source, topic, f"bucket {bucket}")))


def _check_selection(settings: SampleMixConfig) -> None:
    """Raise ConfigError for a source that would be chosen by score, where its scores are cluster sizes."""
    by_size = settings.duplicates
    for name, chosen in sorted(settings.selection.items()):
        if by_size is not None and chosen.mode != "hash" and (by_size.sources is None or name in by_size.sources):
            rule = "expected hash: buckets of this source are cluster sizes, not quality"
            raise ConfigError(f"selection.{name}.mode", chosen.mode, rule)


def _name_pools(keys: list[tuple[str, str, int]], pools: Pools) -> list[str]:
    """source, topic and bucket of each pool; without the bucket where it has several."""
    names: dict[int, list[tuple[str, str, int]]] = {}
    for key, number in zip(keys, pools.of_budget.tolist(), strict=True):
        names.setdefault(number, []).append(key)
    told = []
    for number in range(len(pools.planned)):
        name = _name_cell(names[number][0])
        told.append(name if len(names[number]) == 1 else name.rpartition("/")[0])
    return told


def _tell_cells(
    keys: list[tuple[str, str, int]],
    planned: tuple[np.ndarray, np.ndarray],
    pools: Pools,
    counted: CellSums,
    drawn: Drawn,
) -> pa.Table:
    """SAMPLED_SCHEMA rows; planned: tokens planned and cut."""
    takes_part = pools.of_cell >= 0
    columns = [pa.array([key[part] for key in keys]) for part in range(3)]
    numbers = [
        pools.of_budget, np.where(takes_part, counted.documents - counted.excluded_documents, 0),
        np.where(takes_part, counted.tokens - counted.excluded_tokens, 0), counted.excluded_documents, *planned,
        drawn.sampled_tokens, drawn.sampled_documents, drawn.copies, drawn.edge_tokens[pools.of_budget],
    ]  # fmt: skip
    arrays = [*columns, *map(pa.array, numbers)]
    return pa.table(
        [array.cast(field.type) for array, field in zip(arrays, SAMPLED_SCHEMA, strict=True)], schema=SAMPLED_SCHEMA
    )


def document_disk_bytes(settings: SampleMixConfig) -> int:
    """Of the work folder for a document: its narrow row, and what was drawn."""
    return FILE_ROW_BYTES


def work_disk_bytes(settings: SampleMixConfig, corpus: Corpus, text_bytes: int) -> int:
    """The same of a text of which nothing more is known: documents of MEAN_TEXT_BYTES on average and more."""
    return document_disk_bytes(settings) * (text_bytes // MEAN_TEXT_BYTES)


def fingerprint_inputs(corpus: Corpus, settings: SampleMixConfig) -> list[str] | None:
    """The plan's cells, when they are named by path, and the files of ids."""
    path, found = corpus.path(settings.cells), checksum_ids(corpus, settings.exclude)
    if not settings.cells.startswith("artifact:") and storage.file_bytes(path) is not None:
        found.insert(0, storage.checksum_file(path))
    return found or None


def describe_sources(cells: pa.Table) -> dict[str, dict[str, Any]]:
    """Of a plan's cells by source: planned_tokens, planned_share of all planned tokens, rate = planned over available tokens."""
    sums = (
        cells.group_by("source").aggregate([("planned_tokens", "sum"), ("tokens", "sum")]).sort_by("source").to_pylist()
    )
    total = sum(row["planned_tokens_sum"] for row in sums)
    return {
        row["source"]: {
            "planned_tokens": row["planned_tokens_sum"],
            "planned_share": row["planned_tokens_sum"] / total if total else 0.0,
            "rate": row["planned_tokens_sum"] / row["tokens_sum"] if row["tokens_sum"] else 0.0,
        }
        for row in sums
    }


def find_planned_sources(corpus: Corpus, sample: str) -> dict[str, dict[str, Any]] | None:
    """describe_sources of the step that drew the attribute set `sample`; None where no step of the corpus did."""
    lines = read_done_lines(corpus.path("attributes", sample, "_done.jsonl"))
    for found in manifest.iterate_manifests(corpus.path("runs")) if lines else []:
        if found.get("kind") == "sample_mix" and found["attributes"].get(sample) == lines[0]["fingerprint"]:
            sources: dict[str, dict[str, Any]] | None = found["facts"].get("sources")  # none before VERSION 2
            return sources
    return None


def _find_cells(context: StepContext, cells: str) -> str:
    """An artifact of an earlier step, or a path below the corpus."""
    if cells.startswith("artifact:"):
        return context.artifact(cells.removeprefix("artifact:"))
    path = context.corpus.path(cells)
    if storage.file_bytes(path) is None:
        raise ConfigError(
            "cells", cells, "expected a file below the corpus", "Such as runs/mix-plan/00-mix-plan/cells.parquet"
        )
    return path


class DrawnMaker:
    """Spreads what was drawn over the documents of a shard."""

    columns: list[str] | None = []
    schemas = {SET: SET_SCHEMA}

    def __init__(self, options: dict[str, Any]) -> None:
        self.files = [storage.join_path(options["root"], path) for path in options["files"]]

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """The drawn rows of the batch; every document of the view has one."""
        rows = [("address", ">=", int(batch.addresses[0])), ("address", "<=", int(batch.addresses[-1]))]
        tables = []
        for path in self.files:
            filesystem, inner = storage.find_filesystem(path)
            tables.append(pq.read_table(inner, filesystem=filesystem, filters=rows, use_threads=False))
        table = pa.concat_tables(tables).combine_chunks()
        if not np.array_equal(table.column("address").to_numpy(), batch.addresses):
            raise ConfigError("view", batch.shard.path, "expected the documents that were drawn", "Sample again.")
        return {SET: table.select(SET_SCHEMA.names).to_batches()[0]}


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("sample_mix", argv)


if __name__ == "__main__":
    sys.exit(main())
