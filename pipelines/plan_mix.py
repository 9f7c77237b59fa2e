"""Plan a mix: tokens per source and quality bucket, by shares, caps and the upsampling curve, to a token budget.

Writes runs/<recipe>/<step>/plan.yaml (to read) and cells.parquet (to sample from), artifacts `plan` and `cells`.

    spark-submit pipelines/plan_mix.py --config plan.yaml
"""

from __future__ import annotations

import sys

from pydantic import Field

from dolma_py import config, parquet_files, storage
from mixers.percentiles import count_cells
from mixers.plan import PlanConfig, make_plan
from pipelines.mix_table import CHANGES_NO_BYTE, MixInputs, assign_cells, driver_memory_bytes, read_mix_table
from pipelines.steps import StepContext, StepResult

__all__ = ["CHANGES_NO_BYTE", "VERSION", "PlanMixConfig", "driver_memory_bytes", "run"]

VERSION = 2


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
    table = read_mix_table(context, settings)
    groups, cell, heldout = assign_cells(table, settings, context.seed, settings.num_buckets)
    tokens = table.column("tokens").to_numpy()
    cells = count_cells(
        groups, cell=cell, tokens=tokens, num_bytes=table.column("bytes").to_numpy(), num_buckets=settings.num_buckets
    )  # fmt: skip
    wanted = settings.plan
    if settings.budget_frac is not None:
        wanted = wanted.model_copy(update={"token_budget": int(settings.budget_frac * int(tokens[~heldout].sum()))})
    if settings.skip_missing:
        known = {name for name, _ in groups}
        wanted = wanted.model_copy(
            update={"sources": {name: value for name, value in wanted.sources.items() if name in known}}
        )
    plan = make_plan(cells, wanted)
    folder = context.folder
    values = {
        "token_budget": wanted.token_budget, "num_buckets": settings.num_buckets, "sources": plan.sources, "groups": plan.groups,
        "heldout_documents": int(heldout.sum()),
    }  # fmt: skip
    storage.write_bytes(context.corpus.path(folder, "plan.yaml"), config.render_yaml(values).encode())
    parquet_files.write_table(context.corpus.path(folder, "cells.parquet"), plan.cells)
    return StepResult(artifacts={"plan": f"{folder}/plan.yaml", "cells": f"{folder}/cells.parquet"}, facts=values)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("plan_mix", argv)


if __name__ == "__main__":
    sys.exit(main())
