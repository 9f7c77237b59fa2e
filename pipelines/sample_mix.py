"""Sample a mix from its plan: how many copies of every document, by hash of its id, exact to half a document per cell.

Writes attributes/sample-v1/ (copies, is_heldout, bucket) for the view.

    spark-submit pipelines/sample_mix.py --config sample.yaml
"""

from __future__ import annotations

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
from mixers.sampling import derive_cell_seeds, sample_copies
from pipelines.attribute_sets import write_attribute_sets
from pipelines.mix_table import CHANGES_NO_BYTE, MixInputs, assign_cells, driver_memory_bytes, read_mix_table
from pipelines.steps import StepContext, StepResult

__all__ = [
    "CHANGES_NO_BYTE",
    "VERSION",
    "DrawnMaker",
    "SampleMixConfig",
    "describe_sources",
    "driver_memory_bytes",
    "find_planned_sources",
    "fingerprint_inputs",
    "run",
]

VERSION = 3
SET = "sample-v1"
SET_SCHEMA = pa.schema(
    [pa.field("copies", pa.int32()), pa.field("is_heldout", pa.bool_()), pa.field("bucket", pa.int32())]
)
DRAWN_SCHEMA = pa.schema([pa.field("address", pa.int64()), *SET_SCHEMA])


class SampleMixConfig(MixInputs):
    """The same inputs as the plan's, and the plan."""

    cells: str = Field(
        default="artifact:cells", description="cells.parquet of a plan: artifact:cells, or its path below the corpus"
    )
    num_buckets: int = Field(default=20, ge=1, le=1000, description="as in the plan")


def run(context: StepContext, settings: SampleMixConfig) -> StepResult:
    """Draw copies, write attributes."""
    table = read_mix_table(context, settings)
    groups, cell, heldout = assign_cells(table, settings, context.seed, settings.num_buckets)
    cells = parquet_files.read_row_groups(_find_cells(context, settings.cells), None, None)
    keys = list(
        zip(
            cells.column("source").to_pylist(),
            cells.column("topic").to_pylist(),
            cells.column("bucket").to_pylist(),
            strict=True,
        )
    )
    expected = [(source, topic, bucket) for source, topic in groups for bucket in range(settings.num_buckets)]
    if keys != expected:
        raise ConfigError(
            "cells",
            len(keys),
            f"expected the {len(expected)} cells of this view",
            "Plan again after changing the view.",
        )
    tokens = table.column("tokens").to_numpy()
    planned = cells.column("planned_tokens").to_numpy()
    copies = sample_copies(
        cell, tokens=tokens, id_hash=table.column("id_hash").to_numpy(), planned_tokens=planned,
        cell_seeds=derive_cell_seeds(keys, seed=context.seed),
    )  # fmt: skip
    bucket = np.where(cell < 0, -1, cell % settings.num_buckets).astype(np.int32)
    drawn = pa.table(
        [table.column("address"), pa.array(copies), pa.array(heldout), pa.array(bucket)], schema=DRAWN_SCHEMA
    )
    path = f"{context.work}/drawn.parquet"
    checksum = parquet_files.write_table(context.corpus.path(path), drawn)
    fingerprint = config.fingerprint(context.fingerprint, SET)
    options = {"path": context.corpus.path(path), "checksum": checksum}
    times = write_attribute_sets(context, "pipelines.sample_mix:DrawnMaker", options, {SET: fingerprint})
    facts = {
        "planned_tokens": int(planned.sum()), "sampled_tokens": int((tokens * copies).sum()), "documents": int((copies > 0).sum()),
        "copies": int(copies.sum()), "heldout_documents": int(heldout.sum()), "heldout_tokens": int(tokens[heldout].sum()),
        "sources": describe_sources(cells),
    }  # fmt: skip
    return StepResult({SET: fingerprint}, facts=facts, times=times._asdict())


def fingerprint_inputs(corpus: Corpus, settings: SampleMixConfig) -> str | None:
    """The plan's cells, when they are named by path."""
    path = corpus.path(settings.cells)
    if settings.cells.startswith("artifact:") or storage.file_bytes(path) is None:
        return None
    return storage.checksum_file(path)


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
        self.path = options["path"]

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """The drawn rows of the batch; every document of the view has one."""
        rows = [("address", ">=", int(batch.addresses[0])), ("address", "<=", int(batch.addresses[-1]))]
        filesystem, inner = storage.find_filesystem(self.path)
        table = pq.read_table(inner, filesystem=filesystem, filters=rows, use_threads=False).combine_chunks()
        if not np.array_equal(table.column("address").to_numpy(), batch.addresses):
            raise ConfigError("view", batch.shard.path, "expected the documents that were drawn", "Sample again.")
        return {SET: table.select(SET_SCHEMA.names).to_batches()[0]}


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("sample_mix", argv)


if __name__ == "__main__":
    sys.exit(main())
