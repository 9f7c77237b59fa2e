"""The plan of a mix: how many tokens come from each cell, at what rate, and which constraint decides.

A budget is divided between sources (by given shares, the rest in proportion to their tokens), inside a source between its
topics in the same way, and inside a (source, topic) group between its quality buckets: evenly, or by the curve.
No document is repeated more often than its source's max_repetition; what a source cannot give goes to the others or is an error.
Legend: G groups, B buckets per group, C = G * B cells, S sources.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError
from mixers.curve import CurveConfig, Curves, draw_steep_curves, max_curve_tokens, solve_curves
from mixers.percentiles import CELL_SCHEMA
from mixers.released_curve import RELEASED_POWER, fit_topic, load_released

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class SourceConfig(Config):
    """How one source takes part."""

    share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of the budget, 0 to 1; null: the rest, in proportion to the sources' tokens",
    )
    max_repetition: float = Field(
        7.0, gt=0, description="most copies of a document on average over any cell; Olmo 3 report 3.4.4 (4 to 7), A.2.4"
    )
    curve: bool = Field(False, description="rates by quality along the curve; false: one rate for all buckets")
    topics: dict[str, float] = Field(
        default_factory=dict,
        description="share of the source's tokens by topic, 0 to 1; topics that are not named divide the rest in proportion to their tokens",
    )


class PlanConfig(Config):
    """What the mix shall be."""

    token_budget: int = Field(gt=0, description="tokens of the whole mix, end-of-text tokens included")
    sources: dict[str, SourceConfig] = Field(default_factory=dict, description="settings by source name")
    default: SourceConfig = Field(SourceConfig(), description="for sources that are not named")
    curve: CurveConfig = Field(CurveConfig(), description="ranges of the curve")
    on_shortage: Literal["redistribute", "error"] = Field(
        "redistribute", description="when a source cannot give its share: the others give more in proportion, or stop"
    )


# CELL_SCHEMA and what the plan decides
PLAN_SCHEMA = pa.schema(
    [
        *CELL_SCHEMA,
        pa.field("rate", pa.float64(), nullable=False),  # copies per document on average
        pa.field("planned_tokens", pa.int64(), nullable=False),
        pa.field("binds", pa.string(), nullable=False),  # empty throwaway max_repetition steepness share natural
    ]
)


class Plan(NamedTuple):
    """cells: one row per cell (PLAN_SCHEMA), in the order of the input; groups and sources: plain data for YAML."""

    cells: pa.Table
    groups: list[dict[str, Any]]
    sources: list[dict[str, Any]]


class _Groups(NamedTuple):
    """The cells as matrices, and the settings of each group's source."""

    names: list[tuple[str, str]]  # G of (source, topic)
    tokens: Ints  # (G, B)
    sources: list[str]  # S
    source_of: npt.NDArray[np.int64]  # (G,)
    configs: list[SourceConfig]  # S


def make_plan(cells: pa.Table, config: PlanConfig) -> Plan:
    """Decide the tokens of every cell.

    Parameters
    ----------
    cells : table of CELL_SCHEMA        from percentiles.count_cells: sorted, every group with all its buckets

    Returns
    -------
    plan : Plan                         planned_tokens are whole and sum to the budget exactly

    Raises
    ------
    SchemaError                         cells not of that form
    ConfigError                         a named source that does not exist, shares above 1, a budget or (on_shortage: error) a
                                        share that cannot be met, with the amount

    Guarantees                          a function of the cells and the config; 100,000 cells in about a second
    Source                              Olmo 3 report 3.4.4 and A.2.4; largest-remainder rounding as in OLMo-core
    """
    groups = _read_groups(cells, config)
    max_rate = np.array([groups.configs[s].max_repetition for s in groups.source_of], np.float64)
    has_curve = np.array([groups.configs[s].curve for s in groups.source_of], np.bool_)
    group_tokens = groups.tokens.sum(axis=1)
    caps = group_tokens * max_rate
    if has_curve.any() and config.curve.rule == "as-written":
        caps[has_curve] = max_curve_tokens(groups.tokens[has_curve], max_rate=max_rate[has_curve], config=config.curve)
    wanted, source_targets = _divide_between_sources(groups, caps, config)
    targets = np.zeros(len(caps))
    for source in range(len(groups.sources)):
        mine = np.flatnonzero(groups.source_of == source)
        weights = _weigh_topics(groups, source, mine, group_tokens[mine])
        filled = fill_to_caps(float(source_targets[source]), weights=weights, caps=caps[mine])
        targets[mine] = round_to_total(filled, int(source_targets[source]))
    # rounding must not push a curve beyond what its top bucket allows
    solvable = np.minimum(targets, caps)
    rates, curves, curved = _rate_cells(groups, solvable, max_rate, has_curve, config)
    planned = (
        np.stack([round_to_total(row, int(total)) for row, total in zip(rates * groups.tokens, targets, strict=True)])
        if len(targets)
        else np.zeros(groups.tokens.shape, np.int64)
    )
    binds = _name_bindings(groups, rates, max_rate, has_curve & (config.curve.rule == "as-released"))
    columns = [
        pa.array(rates.ravel()),
        pa.array(planned.ravel()),
        pa.array(binds.ravel().tolist(), pa.string()),
    ]
    table = pa.Table.from_arrays([*cells.columns, *columns], schema=PLAN_SCHEMA)
    group_rows = _describe_groups(groups, rates, planned, curves, curved, config.curve.rule)
    return Plan(table, group_rows, _describe_sources(groups, wanted, source_targets))


def _read_groups(cells: pa.Table, config: PlanConfig) -> _Groups:
    if not cells.schema.equals(CELL_SCHEMA):
        raise SchemaError("cells", CELL_SCHEMA.names, cells.schema.names)
    bucket = cells.column("bucket").to_numpy()
    num_buckets = int(bucket.max()) + 1 if len(bucket) else 1
    if len(bucket) == 0 or len(bucket) % num_buckets:
        raise SchemaError("cells", "every group with all its buckets", f"{len(bucket)} rows")
    if not np.array_equal(bucket, np.tile(np.arange(num_buckets), len(bucket) // num_buckets)):
        raise SchemaError("bucket", f"0 to {num_buckets - 1} in order for every group", "another order")
    pairs = list(zip(cells.column("source").to_pylist(), cells.column("topic").to_pylist(), strict=True))
    names = pairs[::num_buckets]
    if names != sorted(set(names)) or pairs != [name for name in names for _ in range(num_buckets)]:
        raise SchemaError("cells", "unique groups sorted by (source, topic)", "another order")
    sources = sorted({source for source, _ in names})
    unknown = sorted(set(config.sources) - set(sources))
    if unknown:
        raise ConfigError("plan.sources", unknown[0], f"expected one of {sources}")
    index = {source: i for i, source in enumerate(sources)}
    source_of = np.array([index[source] for source, _ in names], np.int64)
    tokens = cells.column("tokens").to_numpy().reshape(-1, num_buckets)
    if int(tokens.min()) < 0:
        raise SchemaError("tokens", "non-negative counts", int(tokens.min()))
    return _Groups(names, tokens, sources, source_of, [config.sources.get(s, config.default) for s in sources])


def _divide_between_sources(groups: _Groups, caps: Floats, config: PlanConfig) -> tuple[Floats, Ints]:
    """Tokens wanted (S,) by the shares alone, and tokens planned (S,) after the caps; the planned ones sum to the budget."""
    num_sources = len(groups.sources)
    tokens = np.zeros(num_sources, np.int64)
    np.add.at(tokens, groups.source_of, groups.tokens.sum(axis=1))
    source_caps = np.zeros(num_sources)
    np.add.at(source_caps, groups.source_of, caps)
    shares = np.array([np.nan if c.share is None else c.share for c in groups.configs])
    is_natural = np.isnan(shares)
    given = float(np.nansum(shares))
    if given > 1 + 1e-9:
        raise ConfigError("plan.sources.share", given, "the shares sum to at most 1")
    if not is_natural.any() and given < 1 - 1e-6:
        raise ConfigError("plan.sources.share", given, "the shares of all sources sum to 1")
    natural_tokens = np.where(is_natural, tokens, 0).astype(np.float64)
    rest = max(0.0, 1 - given) / max(float(natural_tokens.sum()), 1.0)
    weights = np.where(is_natural, natural_tokens * rest, shares)
    wanted = weights * config.token_budget
    most = float(source_caps[weights > 0].sum())
    if config.token_budget > most * (1 + 1e-12):
        rule = f"the sources give at most {int(most)} tokens under their max_repetition"
        hint = f"Lower it by {config.token_budget - int(most)}, raise max_repetition or add text."
        raise ConfigError("plan.token_budget", config.token_budget, rule, hint)
    short = np.flatnonzero(wanted > source_caps * (1 + 1e-9))
    if len(short) and config.on_shortage == "error":
        s = int(short[0])
        rule = f"{groups.sources[s]} gives at most {int(source_caps[s])} of the {int(wanted[s])} tokens of its share"
        hint = f"{int(wanted[s] - source_caps[s])} are missing: lower the share or set on_shortage to redistribute."
        raise ConfigError(f"plan.sources.{groups.sources[s]}.share", groups.configs[s].share, rule, hint)
    filled = fill_to_caps(float(config.token_budget), weights=weights, caps=source_caps)
    return wanted, round_to_total(filled, config.token_budget)


def _weigh_topics(groups: _Groups, source: int, mine: npt.NDArray[np.int64], tokens: Ints) -> Floats:
    """Weights (K,) of the source's K topics: their shares, and natural parts of what the shares leave."""
    shares, name = groups.configs[source].topics, groups.sources[source]
    topics = [groups.names[number][1] for number in mine]
    unknown = sorted(set(shares) - set(topics))
    if unknown:
        raise ConfigError(
            f"plan.sources.{name}.topics", unknown[0], f"expected topics of the source, some of {topics[:30]}"
        )
    given = sum(shares.values())
    if min(shares.values(), default=0.0) < 0 or given > 1 + 1e-9:
        raise ConfigError(f"plan.sources.{name}.topics", given, "the shares are 0 or more and sum to at most 1")
    named = np.array([topic in shares for topic in topics], np.bool_)
    if named.all() and given < 1 - 1e-6:
        raise ConfigError(f"plan.sources.{name}.topics", given, "the shares of all topics sum to 1")
    natural = np.where(named, 0, tokens).astype(np.float64)
    rest = max(0.0, 1 - given) * natural / max(float(natural.sum()), 1.0)
    return np.array([shares.get(topic, 0.0) for topic in topics]) + rest


def fill_to_caps(budget: float, *, weights: Floats, caps: Floats) -> Floats:
    """Divide `budget` in proportion to `weights`, nobody above its cap; what is cut off goes to the others in proportion.

    That is min(cap, weight * level) with one level for all, float64 (n,). When all caps are reached, the caps.

    Examples
    --------
    >>> fill_to_caps(10.0, weights=np.array([1.0, 1.0, 2.0]), caps=np.array([1.0, 9.0, 9.0])).tolist()
    [1.0, 3.0, 6.0]
    """
    filled = np.zeros(len(weights))
    active = np.flatnonzero(weights > 0)
    if len(active) == 0:
        return filled
    order = active[np.argsort(caps[active] / weights[active], kind="stable")]
    cap, weight = caps[order], weights[order]
    # with the first k at their caps the level is (budget - their caps) / (weights of the others); the first k that holds is it
    capped_before = np.cumsum(cap) - cap
    weight_from = np.cumsum(weight[::-1])[::-1]
    levels = (budget - capped_before) / weight_from
    holds = levels <= cap / weight
    level = levels[int(np.argmax(holds))] if holds.any() else np.inf
    filled[order] = np.minimum(cap, weight * level)
    return filled


def round_to_total(values: Floats, total: int) -> Ints:
    """Whole numbers near `values` that sum to `total`: all rounded down, then one more to the largest remainders.

    Where `values` do not sum to within len(values) of `total` (a float sum), the difference goes by the same order in rounds;
    zeros stay zero. ConfigError when all values are zero and total is not.
    """
    whole = np.floor(values).astype(np.int64)
    missing = total - int(whole.sum())
    used = np.flatnonzero(values > 0)
    if missing == 0:
        return whole
    if len(used) == 0:
        raise ConfigError("plan", total, "expected something to divide the tokens between")
    each, extra = divmod(missing, len(used))
    order = used[np.argsort(-(values[used] - whole[used]), kind="stable")]
    whole[used] += each
    whole[order[:extra]] += 1
    return whole


def _rate_cells(
    groups: _Groups, targets: Floats, max_rate: Floats, has_curve: npt.NDArray[np.bool_], config: PlanConfig
) -> tuple[Floats, Curves | None, dict[int, int]]:
    """Rates (G, B), the solved curves, and which of them belongs to which group."""
    group_tokens = groups.tokens.sum(axis=1)
    flat = targets / np.maximum(group_tokens, 1)
    rates = np.where(groups.tokens > 0, flat[:, None], 0.0)
    rows = np.flatnonzero(has_curve & (group_tokens > 0))
    if len(rows) == 0:
        return rates, None, {}
    wanted, names = targets[rows].astype(np.float64), ["/".join(filter(None, groups.names[row])) for row in rows]
    if config.curve.rule == "as-released":
        steepness = np.array([_find_steepness(groups.names[row][1], config.curve) for row in rows])
        curves = draw_steep_curves(
            groups.tokens[rows],
            target_tokens=wanted,
            steepness=steepness,
            power=RELEASED_POWER,
            config=config.curve,
            names=names,
        )
        rates[rows] = curves.rates
        return rates, curves, {int(row): i for i, row in enumerate(rows)}
    curves = solve_curves(
        groups.tokens[rows], target_tokens=wanted, max_rate=max_rate[rows], config=config.curve, names=names
    )
    # the solver allows the top rate an excess of 1e-6; no document gets a copy more for that
    rates[rows] = np.minimum(curves.rates, max_rate[rows, None])
    return rates, curves, {int(row): i for i, row in enumerate(rows)}


def _find_steepness(topic: str, config: CurveConfig) -> float:
    if topic in config.steepness:
        return config.steepness[topic]
    if topic in load_released():
        return fit_topic(topic).steepness
    raise ConfigError(
        f"plan.curve.steepness.{topic}", None, "expected the steepness of a topic that the released mix does not have",
        f"Released are: {', '.join(load_released())}.",
    )  # fmt: skip


def _name_bindings(
    groups: _Groups, rates: Floats, max_rate: Floats, is_steep: npt.NDArray[np.bool_]
) -> npt.NDArray[np.str_]:
    has_share = np.array([groups.configs[s].share is not None for s in groups.source_of], np.bool_)
    by_source = np.where(has_share, "share", "natural")[:, None]
    conditions = [
        groups.tokens == 0, (rates > 0) & is_steep[:, None], rates >= max_rate[:, None] - 1e-5, rates == 0,
    ]  # fmt: skip
    names = ["empty", "steepness", "max_repetition", "throwaway"]
    return np.select(conditions, names, np.broadcast_to(by_source, rates.shape))


def _describe_groups(
    groups: _Groups, rates: Floats, planned: Ints, curves: Curves | None, curved: dict[int, int], rule: str
) -> list[dict[str, Any]]:
    rows = []
    for g, (source, topic) in enumerate(groups.names):
        row: dict[str, Any] = {"source": source, "topic": topic, "tokens": int(groups.tokens[g].sum())}
        row["planned_tokens"] = int(planned[g].sum())
        row["rates"] = [float(f"{rate:.6g}") for rate in rates[g]]
        row["planned_by_bucket"] = planned[g].tolist()
        if curves is not None and g in curved:
            i = curved[g]
            row["curve"] = {
                "power": float(curves.power[i]),
                "growth": float(curves.growth[i]),
                "scale": float(curves.scale[i]),
                "start": float(curves.start[i]),
                "top_width": float(curves.top_width[i]),
                "top_rate": float(curves.top_rate[i]),
                "binds": "steepness"
                if rule == "as-released"
                else "max_repetition"
                if curves.is_capped[i]
                else "max_growth",
            }
        rows.append(row)
    return rows


def _describe_sources(groups: _Groups, wanted: Floats, planned: Ints) -> list[dict[str, Any]]:
    rows = []
    for s, source in enumerate(groups.sources):
        tokens = int(groups.tokens[groups.source_of == s].sum())
        row: dict[str, Any] = {"source": source, "tokens": tokens, "wanted_tokens": round(float(wanted[s]))}
        row["planned_tokens"] = int(planned[s])
        row["repetition"] = round(int(planned[s]) / tokens, 6) if tokens else 0.0
        given = "natural" if groups.configs[s].share is None else "share"
        row["binds"] = "max_repetition" if planned[s] < wanted[s] - 1 else given
        rows.append(row)
    return rows


def describe_plan(plan: Plan, config: PlanConfig) -> dict[str, Any]:
    """The plan as plain data for YAML: the settings, then sources, then groups with their rates and curves."""
    return {"config": config.model_dump(mode="json"), "sources": plan.sources, "groups": plan.groups}
