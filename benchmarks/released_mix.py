"""The web part of the released 6T mix, topic by topic: rates as released, as the rule of that mix gives them, and as the written rule does.

    python -m benchmarks.released_mix [FOLDER]

Nothing is measured: the released numbers are those of mixers/released_rates.yaml, the others are solved from the same kept tokens, 40% of a
topic's tokens lying below them, evenly over the buckets there. Then the rates of two topics by every rule that quality decides. With a FOLDER,
the pictures of docs/mixing.md are written there: those of the plans as written and as released.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from dolma_py import plan_charts
from dolma_py.report_charts import as_file
from mixers.curve import CurveConfig, Rule
from mixers.percentiles import CELL_SCHEMA, NUM_BUCKETS
from mixers.plan import Plan, make_plan
from mixers.plan_settings import PlanConfig, SourceConfig
from mixers.released_curve import RELEASED_POWER, fit_topic, load_released, mean_rates

UNIT = 1 << 30
SHOWN = ("health", "software_development")
RULES: dict[str, tuple[Rule, CurveConfig]] = {
    "as written": ("as-written", CurveConfig()),
    "as released": ("as-released", CurveConfig()),
    "exponential, lambda to 2": ("exponential", CurveConfig()),
    "exponential, lambda to 100": ("exponential", CurveConfig(max_growth=100)),
    "flat filter": ("flat-filter", CurveConfig()),
}


def make_cells() -> pa.Table:
    """The topics as cells of 20 vigintiles: kept tokens as released, those below them evenly."""
    rows = []
    for name, topic in sorted(load_released().items()):
        kept = np.rint(topic.tokens * UNIT).astype(np.int64)
        tokens = np.zeros(NUM_BUCKETS, np.int64)
        tokens[np.array(topic.bucket) - 1] = kept
        first = topic.bucket[0] - 1
        below = round(int(kept.sum()) * 0.4 / 0.6)
        tokens[:first] = below // first
        tokens[0] += below % first
        rows += [
            {"source": "web", "topic": name, "bucket": b, "documents": int(n) // 1000, "tokens": int(n), "bytes": 4 * int(n)}
            for b, n in enumerate(tokens)
        ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=CELL_SCHEMA)


def make_rule_plan(cells: pa.Table, rule: Rule, curve: CurveConfig, times: float = 1.0) -> Plan:
    """The released mix' tokens by topic, or a multiple of them, at rates of a rule."""
    topics = load_released()
    total = sum(topic.mix_tokens for topic in topics.values())
    shares = {name: topic.mix_tokens / total for name, topic in topics.items()}
    web = SourceConfig(share=1.0, curve=rule, topics=shares)
    return make_plan(cells, PlanConfig(token_budget=round(times * total * UNIT), sources={"web": web}, curve=curve))


def print_topics(written: Plan) -> None:
    """A line per topic: how well the steepness fits, and what the written rule makes of it."""
    print(
        "| topic | kept, mix | steepness | rms | with rounding | top rate released, fitted | written p, lambda | its top rate |"
    )
    print("|---|---|---|---|---|---|---|---|")
    curves = {row["topic"]: row["curve"] for row in written.groups}
    for name, topic in load_released().items():
        fit, curve = fit_topic(name), curves[name]
        kept = float(topic.tokens.sum())
        fitted = mean_rates(topic.tokens, power=RELEASED_POWER, steepness=fit.steepness, mean=topic.mix_tokens / kept)
        print(
            f"| {name} | {kept:.1f}, {topic.mix_tokens:.1f} | {fit.steepness:.2f} | {fit.rms:.3f} | {fit.rms_as_written:.3f} | "
            f"{topic.rate[-1]:g}, {fitted[-1]:.2f} | {curve['power']:.2f}, {curve['growth']:.2f} | {curve['top_rate']:.2f} |"
        )


def print_rates(plans: dict[str, Plan], name: str) -> None:
    """The rates of one topic, a line per rule."""
    topic = load_released()[name]
    print(f"\n| {name} | " + " | ".join(f"v{bucket}" for bucket in topic.bucket) + " |")
    print("|---" * (len(topic.bucket) + 1) + "|")
    print("| released | " + " | ".join(f"{rate:g}" for rate in topic.rate) + " |")
    for rule, plan in plans.items():
        rates = next(row["rates"] for row in plan.groups if row["topic"] == name)
        print(f"| {rule} | " + " | ".join(f"{rates[bucket - 1]:.3g}" for bucket in topic.bucket) + " |")


def main() -> None:
    """Print the tables, write the pictures."""
    cells = make_cells()
    plans = {name: make_rule_plan(cells, *rule) for name, rule in RULES.items()}
    print_topics(plans["as written"])
    for name in SHOWN:
        print_rates(plans, name)
    for folder in sys.argv[1:]:
        for rule, name in (("as released", "heat"), ("as released", "curves"), ("as written", "curves")):
            plan = plans[rule]
            picture = plan_charts.draw_plan(plan.cells, plan.sources, plan.groups)[name]
            Path(folder, f"mixing_{rule.replace(' ', '_')}_{name}.svg").write_text(as_file(picture))


if __name__ == "__main__":
    main()
