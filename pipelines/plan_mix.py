"""Plan a mix: tokens per source, topic and bucket, by shares, caps and a rule of rates, to a token budget.

Writes runs/<recipe>/<step>/plan.yaml (to read), cells.parquet (to sample from), and the pictures plan-heat.svg, plan-curves.svg and
plan-shares.svg; artifacts `plan` and `cells`.

    spark-submit pipelines/plan_mix.py --config plan.yaml
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from dolma_py import parquet_files, plan_charts, storage
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from dolma_py.report_charts import as_file
from mixers.duplicate_weights import weigh_sizes
from mixers.percentiles import count_cells
from mixers.plan import Plan, PlanConfig, make_plan
from mixers.plan_checks import list_shortages
from mixers.plan_settings import find_rule
from mixers.plan_text import render_plan
from pipelines.mix_passes import RowPasses, list_cells
from pipelines.mix_table import (
    CHANGES_NO_BYTE,
    MEAN_TEXT_BYTES,
    MixInputs,
    MixTable,
    add_removals,
    assign_cells,
    driver_memory_bytes,
    load_mix_rows,
    write_mix_rows,
)
from pipelines.steps import StepContext, StepResult, file_lists

__all__ = [
    "CHANGES_NO_BYTE",
    "VERSION",
    "PlanMixConfig",
    "document_disk_bytes",
    "driver_memory_bytes",
    "plan_table",
    "run",
    "work_disk_bytes",
]

VERSION = 5
FILE_ROW_BYTES = 40
logger = logging.getLogger("dolma_py.mix")


class PlanMixConfig(MixInputs):
    """What is mixed and into how many buckets quality is cut."""

    num_buckets: int = Field(
        default=20, ge=1, le=1000, description="quality buckets per source; 20 vigintiles as in Olmo 3"
    )
    budget_frac: float | None = Field(
        default=None,
        gt=0,
        description="token budget as a share of the view's tokens that are not held out; null: plan.token_budget",
    )
    plan: PlanConfig = Field(
        description="mixers.plan's settings; sources that the corpus lacks are left out when skip_missing is set"
    )
    skip_missing: bool = Field(
        default=False, description="whether plan.sources may name sources that the corpus does not have"
    )


def run(context: StepContext, settings: PlanMixConfig) -> StepResult:
    """Count cells, solve, write."""
    plan, values, passes = plan_view(context, settings)
    for shortage in plan.shortages:
        logger.warning("%s", shortage.say())
    folder = context.folder
    storage.write_bytes(context.corpus.path(folder, "plan.yaml"), render_plan(values).encode())
    parquet_files.write_table(context.corpus.path(folder, "cells.parquet"), plan.cells)
    files = {}
    for name, picture in plan_charts.draw_plan(plan.cells, plan.sources, plan.groups).items():
        path, content = f"{folder}/plan-{name}.svg", as_file(picture).encode()
        storage.write_bytes(context.corpus.path(path), content)
        files[path] = len(content)
    return StepResult(
        artifacts={"plan": f"{folder}/plan.yaml", "cells": f"{folder}/cells.parquet"}, files=files, facts=values,
        times={"passes": passes},
    )  # fmt: skip


def plan_view(context: StepContext, settings: PlanMixConfig) -> tuple[Plan, dict[str, Any], list[dict[str, Any]]]:
    """The plan over the view's documents, its values, and what passes over more than `max_docs` of them left open."""
    done = write_mix_rows(context, settings)
    files = file_lists(done)
    removals = add_removals(line["facts"]["removals"] for line in done.units.values())
    if sum(file["rows"] for file in files) <= settings.max_docs:
        return *plan_table(MixTable(load_mix_rows(context, files), removals), settings, context.seed), []
    rows = RowPasses(context, settings, settings.num_buckets, files, {})
    counted = rows.count_cells()
    return *plan_cells(list_cells(counted, settings.num_buckets), counted.heldout[0], removals, settings), rows.passes


def document_disk_bytes(settings: PlanMixConfig) -> int:
    """Of the work folder for a document: its narrow row."""
    return FILE_ROW_BYTES


def work_disk_bytes(settings: PlanMixConfig, corpus: Corpus, text_bytes: int) -> int:
    """The same of a text of which nothing more is known: documents of MEAN_TEXT_BYTES on average and more."""
    return document_disk_bytes(settings) * (text_bytes // MEAN_TEXT_BYTES)


def plan_table(table: MixTable, settings: PlanMixConfig, seed: int) -> tuple[Plan, dict[str, Any]]:
    """The plan over the documents of a table, and its values for plan.yaml and the manifest."""
    rows = table.rows
    groups, cell, heldout = assign_cells(rows, settings, seed, settings.num_buckets)
    tokens = rows.column("tokens").to_numpy()
    cells = count_cells(
        groups, cell=cell, tokens=tokens, num_bytes=rows.column("bytes").to_numpy(), num_buckets=settings.num_buckets
    )
    return plan_cells(cells, int(heldout.sum()), table.removals, settings)


def plan_cells(
    cells: pa.Table, heldout_docs: int, removals: dict[str, list[list[int]]], settings: PlanMixConfig
) -> tuple[Plan, dict[str, Any]]:
    """The plan over counted cells, and its values."""
    wanted = fit_settings(
        settings, set(cells.column("source").to_pylist()), int(cells.column("tokens").to_numpy().sum())
    )
    plan = make_plan(cells, wanted, weigh_duplicates(removals, wanted, settings, cells))
    values = {
        "token_budget": wanted.token_budget, "num_buckets": settings.num_buckets, "heldout_documents": heldout_docs,
        "sources": plan.sources, "shortages": list_shortages(plan.shortages),
    }  # fmt: skip
    if settings.duplicates is not None:
        values["duplicates"] = {"sizes": settings.duplicates.sizes, "entered_and_removed": removals}
    return plan, values | {"groups": plan.groups}


def fit_settings(settings: PlanMixConfig, known: set[str], num_tokens: int) -> PlanConfig:
    """The plan's settings with the budget in tokens, and with skip_missing without sources that are not there."""
    wanted = settings.plan
    if settings.budget_frac is not None:
        wanted = wanted.model_copy(update={"token_budget": max(1, int(settings.budget_frac * num_tokens))})
    if settings.skip_missing:
        kept = {name: value for name, value in wanted.sources.items() if name in known}
        wanted = wanted.model_copy(update={"sources": kept})
    return wanted


def weigh_duplicates(
    removals: dict[str, list[list[int]]], wanted: PlanConfig, settings: PlanMixConfig, cells: pa.Table
) -> dict[str, np.ndarray]:
    """Weights by source of buckets of cluster sizes; ConfigError where they would come from rules that the view does not have."""
    by_size = settings.duplicates
    if by_size is None:
        return {}
    sources = sorted(set(cells.column("source").to_pylist()))
    named = sources if by_size.sources is None else by_size.sources
    size_weights = {}
    for source in named:
        rule = find_rule(wanted.sources.get(source, wanted.default), wanted.curve)
        if rule in ("as-written", "as-released", "exponential", "flat-filter"):
            key = f"plan.sources.{source}.curve"
            raise ConfigError(
                key, rule, "expected false, duplicates or rates: its buckets are cluster sizes, not quality"
            )
        entered, removed = np.array(removals.get(source, [[0] * len(by_size.sizes)] * 2), np.int64)
        if rule == "duplicates" and wanted.duplicates.weights is None and not removed.sum():
            raise ConfigError(
                "plan.duplicates.weights", None, f"no rule after {by_size.column.rpartition('.')[0]} removed a document of {source}",
                "Give the weights, one for each of duplicates.sizes, or deduplicate before the rules that filter.",
            )  # fmt: skip
        size_weights[source] = weigh_sizes(entered, removed, wanted.duplicates)
    return size_weights


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("plan_mix", argv)


if __name__ == "__main__":
    sys.exit(main())
