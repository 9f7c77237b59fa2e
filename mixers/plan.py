"""The plan of a mix: how many tokens come from each cell, at what rate, and which constraint decides.

A budget is divided between sources (by given shares, the rest in proportion to their tokens), inside a source between its
topics in the same way, and inside a (source, topic) group between its buckets by a rule (mixers.rates).
No document is repeated more often than its source's max_repetition; what a source cannot give goes to the others or is an error.
Legend: G groups, B buckets per group, C = G * B cells, S sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mixers.percentiles import CELL_SCHEMA
from mixers.plan_checks import Shortage, list_shortages
from mixers.plan_groups import Groups, read_groups
from mixers.plan_settings import PlanConfig, SourceConfig
from mixers.plan_targets import Targets, divide_budget
from mixers.rates import Rated, limit_tokens, rate_buckets
from mixers.shares import fill_to_caps, round_rows, round_to_total

__all__ = [
    "PLAN_SCHEMA",
    "Plan",
    "PlanConfig",
    "SourceConfig",
    "describe_plan",
    "fill_to_caps",
    "make_plan",
    "round_to_total",
]

Floats = npt.NDArray[np.float64]

# CELL_SCHEMA and what the plan decides
PLAN_SCHEMA = pa.schema(
    [
        *CELL_SCHEMA,
        pa.field("rate", pa.float64(), nullable=False),  # copies per document on average
        pa.field("planned_tokens", pa.int64(), nullable=False),
        pa.field("binds", pa.string(), nullable=False),  # one of BINDINGS
        # most copies of a document on average: the source's, or the rate as released where that is larger
        pa.field("max_repetition", pa.float64(), nullable=False),
    ]
)
BINDINGS = {
    "empty": "the cell has no tokens",
    "given": "its rate is given by hand",
    "no_share": "its source or topic has the share 0",
    "throwaway": "the rule throws it away: quality below the cut, or weight 0",
    "steepness": "the curve as released, which no cap bounds",
    "max_repetition": "it is repeated as often as it may be",
    "share": "the share of its source or topic decides how much",
    "natural": "its source and topic get tokens in proportion to theirs",
}


class Plan(NamedTuple):
    """cells: one row per cell (PLAN_SCHEMA), in the order of the input; groups and sources: plain data for YAML."""

    cells: pa.Table
    groups: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    shortages: list[Shortage] = []


def make_plan(cells: pa.Table, config: PlanConfig, size_weights: Mapping[str, Floats] = {}) -> Plan:
    """Decide the tokens of every cell.

    Parameters
    ----------
    cells : table of CELL_SCHEMA        from percentiles.count_cells: sorted, every group with all its buckets
    size_weights : source -> float64    weights of the buckets of sources whose buckets are classes of cluster sizes, for rule
                                        duplicates (duplicate_weights.weigh_sizes)

    Returns
    -------
    plan : Plan                         planned_tokens are whole and sum to the budget exactly

    Raises
    ------
    SchemaError                         cells not of that form
    ConfigError                         a named source that does not exist, shares above 1, a budget or (on_shortage: error) a
                                        share that cannot be met, with the amount

    Guarantees                          a function of its arguments; no cell has more than max_repetition * tokens + 1 tokens,
                                        but for rule as-released; 100,000 cells in about a second
    Source                              Olmo 3 report 3.4.4 and A.2.4; largest-remainder rounding as in OLMo-core
    """
    groups = read_groups(cells, config, size_weights)
    limits = limit_tokens(groups, config.curve)
    targets = divide_budget(groups, limits, config)
    # rounding must not push a curve beyond what its top bucket allows
    rated = rate_buckets(groups, np.minimum(targets.planned, limits), config.curve)
    most_rate = np.broadcast_to(groups.max_rate[:, None], rated.rates.shape)
    most_rate = np.where((groups.rules == "as-released")[:, None], np.maximum(most_rate, rated.rates), most_rate)
    most = np.floor(most_rate * groups.tokens).astype(np.int64) + 1
    planned = round_rows(rated.rates * groups.tokens, targets.planned, most)
    binds = _name_bindings(groups, rated, targets)
    columns = [
        pa.array(rated.rates.ravel()),
        pa.array(planned.ravel()),
        pa.DictionaryArray.from_arrays(pa.array(binds.ravel()), pa.array(list(BINDINGS), pa.string())).cast(
            pa.string()
        ),
        pa.array(most_rate.ravel()),
    ]
    table = pa.Table.from_arrays([*cells.columns, *columns], schema=PLAN_SCHEMA)
    described = _describe_groups(groups, rated, planned, targets, binds)
    return Plan(table, described, _describe_sources(groups, targets), targets.shortages)


def _name_bindings(groups: Groups, rated: Rated, targets: Targets) -> npt.NDArray[np.int32]:
    """Of each cell the number of its name in BINDINGS, int32 (G, B)."""
    by_share = np.array([c.share is not None for c in groups.configs], np.bool_)[groups.source_of]
    for s, settings in enumerate(groups.configs):
        if settings.topics:
            mine = groups.of_source(s)
            by_share[mine] |= np.array([topic in settings.topics for _, topic in groups.names[mine]], np.bool_)
    names = list(BINDINGS)
    conditions = {
        "empty": groups.tokens == 0,
        "given": (groups.rules == "given")[:, None],
        "no_share": (targets.wanted == 0)[:, None],
        "throwaway": ~rated.kept,
        "steepness": (groups.rules == "as-released")[:, None],
        "max_repetition": rated.rates >= groups.max_rate[:, None] - 1e-5,
        "share": by_share[:, None],
    }
    shape = rated.rates.shape
    return np.select(
        [np.broadcast_to(condition, shape) for condition in conditions.values()],
        [np.full(shape, names.index(name), np.int32) for name in conditions],
        np.full(shape, names.index("natural"), np.int32),
    )


def _describe_groups(
    groups: Groups, rated: Rated, planned: npt.NDArray[np.int64], targets: Targets, binds: npt.NDArray[np.int32]
) -> list[dict[str, Any]]:
    rows, words = [], list(BINDINGS)
    is_one = (binds == binds[:, :1]).all(axis=1).tolist()
    bound = binds.tolist()
    tokens, sums = groups.tokens.sum(axis=1).tolist(), planned.sum(axis=1).tolist()
    rates, by_bucket = rated.rates.tolist(), planned.tolist()
    wanted, max_rate = np.rint(targets.wanted).astype(np.int64).tolist(), groups.max_rate.tolist()
    for g, (source, topic) in enumerate(groups.names):
        row: dict[str, Any] = {"source": source, "topic": topic, "rule": str(groups.rules[g]), "tokens": tokens[g]}
        row["wanted_tokens"], row["planned_tokens"] = wanted[g], sums[g]
        row["repetition"] = round(sums[g] / tokens[g], 6) if tokens[g] else 0.0
        row["max_repetition"] = max_rate[g]
        if is_one[g]:
            row["binds"] = words[bound[g][0]]
        else:
            row["binds_by_bucket"] = [words[number] for number in bound[g]]
        if groups.rules[g] == "duplicates":
            row["weights"] = [float(f"{weight:.6g}") for weight in groups.weights[g].tolist()]
        row["rates"] = [float(f"{rate:.6g}") for rate in rates[g]]
        row["planned_by_bucket"] = by_bucket[g]
        if g in rated.curves:
            row["curve"] = rated.curves[g]
        rows.append(row)
    return rows


def _describe_sources(groups: Groups, targets: Targets) -> list[dict[str, Any]]:
    rows = []
    for s, source in enumerate(groups.sources):
        mine = groups.of_source(s)
        tokens, planned = int(groups.tokens[mine].sum()), int(targets.source_planned[s])
        row: dict[str, Any] = {"source": source, "tokens": tokens}
        row["wanted_tokens"] = round(float(targets.source_wanted[s]))
        row["planned_tokens"] = planned
        row["repetition"] = round(planned / tokens, 6) if tokens else 0.0
        row["binds"] = _name_source_binding(groups, s, planned < targets.source_wanted[s] - 1)
        rows.append(row)
    return rows


def _name_source_binding(groups: Groups, source: int, is_short: bool) -> str:
    mine = groups.of_source(source)
    has_tokens = groups.tokens[mine].sum(axis=1) > 0
    if not has_tokens.any():
        return "empty"
    if is_short:
        return "max_repetition"
    if bool((groups.rules[mine][has_tokens] == "given").all()):
        return "given"
    return "natural" if groups.configs[source].share is None else "share"


def describe_plan(plan: Plan, config: PlanConfig) -> dict[str, Any]:
    """The plan as plain data for YAML: the settings, then sources, shares that are not met, groups with their rates and curves."""
    return {
        "config": config.model_dump(mode="json"), "sources": plan.sources, "shortages": list_shortages(plan.shortages),
        "groups": plan.groups,
    }  # fmt: skip
