"""Seconds of planning a mix: the cells of G groups of 20 buckets, by every rule.

    python -m benchmarks.plan_speed [CELLS]

CPU seconds of this process, the best of three; text is plan.yaml, pictures are those of the step. 100,000 cells where no number is given.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import plan_charts
from mixers.curve import CurveConfig
from mixers.percentiles import CELL_SCHEMA
from mixers.plan import Plan, make_plan
from mixers.plan_settings import PlanConfig, SourceConfig
from mixers.plan_text import render_plan

NUM_BUCKETS = 20
NUM_TOPICS = 100
RULES = ("flat", "as-written", "exponential", "as-released", "flat-filter", "duplicates")


def make_cells(num_cells: int, seed: int = 11) -> pa.Table:
    """Cells of NUM_TOPICS topics a source, 0 to 10^9 tokens each."""
    num_groups = num_cells // NUM_BUCKETS
    tokens = np.random.default_rng(seed).integers(0, 10**9, num_groups * NUM_BUCKETS)
    group = np.repeat(np.arange(num_groups), NUM_BUCKETS)
    sources = pa.array([f"s{g // NUM_TOPICS:05d}" for g in group.tolist()])
    topics = pa.array([f"t{g % NUM_TOPICS:02d}" for g in group.tolist()])
    bucket = pa.array(np.tile(np.arange(NUM_BUCKETS, dtype=np.int32), num_groups))
    columns = [sources, topics, bucket, pa.array(tokens // 100), pa.array(tokens), pa.array(tokens * 4)]
    return pa.Table.from_arrays(columns, schema=CELL_SCHEMA)


def make_rule_plan(cells: pa.Table, rule: str) -> Plan:
    """A plan of twice the tokens of the cells by one rule."""
    source = SourceConfig(curve=False) if rule == "flat" else SourceConfig.model_validate({"curve": rule})
    steepness = {f"t{topic:02d}": topic / 10 for topic in range(NUM_TOPICS)}
    config = PlanConfig(
        token_budget=2 * int(np.sum(cells.column("tokens").to_numpy())), default=source,
        curve=CurveConfig(steepness=steepness),
    )  # fmt: skip
    weights = {name: np.linspace(1, 10, NUM_BUCKETS) for name in set(cells.column("source").to_pylist())}
    return make_plan(cells, config, weights)


def time_best(work: Callable[[], Any]) -> float:
    """CPU seconds of the fastest of three runs."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def main() -> None:
    """Print the table."""
    cells = make_cells(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print(f"{cells.num_rows} cells\n\n| | CPU s |\n|---|---|")
    for rule in RULES:
        print(f"| {rule} | {time_best(lambda rule=rule: make_rule_plan(cells, rule)):.2f} |")
    plan = make_rule_plan(cells, "as-written")
    print(f"| plan.yaml | {time_best(lambda: render_plan({'sources': plan.sources, 'groups': plan.groups})):.2f} |")
    print(f"| pictures | {time_best(lambda: plan_charts.draw_plan(plan.cells, plan.sources, plan.groups)):.2f} |")


if __name__ == "__main__":
    main()
