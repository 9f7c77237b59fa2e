"""Rates of the buckets of a group, copies per document, for every rule: what a group can give at most, and its rates for a target.

flat            one rate for all buckets
as-written      the released solver's curve (mixers.curve)
as-released     the curve of the 6T mix (mixers.released_curve); no cap bounds a bucket
exponential     the curve with p = 0, f = C exp(lambda (x - a)): the largest lambda up to max_growth whose top rate keeps the cap
flat-filter     one rate for what is not thrown away (Olmo 3 report, T39: "top 50 %" and so on)
duplicates      in proportion to the weights of classes of cluster sizes, nobody above the cap (mixers.duplicate_weights)
given           by hand
Legend: G groups, B buckets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError
from mixers.curve import CurveConfig, Curves, draw_steep_curves, lay_out_buckets, max_curve_tokens, solve_curves
from mixers.plan_groups import Groups
from mixers.released_curve import RELEASED_POWER, compare_rates, fit_topic, load_released
from mixers.shares import fill_rows

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Rated(NamedTuple):
    """Rates, and where a curve made them, that curve."""

    rates: Floats  # (G, B)
    kept: Bools  # (G, B)  what the rule can take of: not empty, not thrown away
    curves: dict[int, dict[str, Any]]  # group -> its curve in words and numbers


def limit_tokens(groups: Groups, config: CurveConfig) -> Floats:
    """Tokens, float64 (G,), that a group can give at most with no bucket above its max_repetition; inf-free, 0 for an empty group.

    Of rates given by hand, what they take. Of as-released, max_repetition times all of its tokens.
    """
    limits = np.where(groups.rules == "as-released", groups.tokens.sum(axis=1), _keep_buckets(groups, groups.tokens))
    limits = limits * groups.max_rate
    for rule in ("as-written", "exponential"):
        mine = np.flatnonzero((groups.rules == rule) & (groups.tokens.sum(axis=1) > 0))
        if len(mine):
            limits[mine] = max_curve_tokens(
                groups.tokens[mine],
                max_rate=groups.max_rate[mine],
                config=_narrow(config, rule),
                throwaway_frac=groups.throwaway_frac[mine],
            )
    fixed = np.flatnonzero(groups.rules == "given")
    limits[fixed] = (groups.given[fixed] * groups.tokens[fixed]).sum(axis=1)
    return limits


def rate_buckets(groups: Groups, targets: Floats, config: CurveConfig) -> Rated:
    """Rates that take `targets` tokens, float64 (G,), of the groups; each at most limit_tokens.

    ConfigError where a curve cannot: see solve_curves; and for a topic of as-released without a steepness.
    """
    rates, curves = np.zeros(groups.tokens.shape), {}
    kept = _find_kept(groups)
    has_tokens = groups.tokens.sum(axis=1) > 0
    for rule in ("as-written", "exponential", "as-released"):
        rows = np.flatnonzero((groups.rules == rule) & has_tokens)
        if len(rows):
            solved = _draw_curves(groups, rows, targets[rows], rule, config)
            # above the cap only by what the last digits of two ways to the top rate differ
            rates[rows] = (
                solved.rates if rule == "as-released" else np.minimum(solved.rates, groups.max_rate[rows, None])
            )
            kept[rows] &= solved.rates > 0
            for i, row in enumerate(rows.tolist()):
                curves[row] = _describe_curve(solved, i, groups, row, config)
    even = np.flatnonzero(np.isin(groups.rules, ("flat", "flat-filter", "duplicates")) & has_tokens)
    weights = groups.weights[even] * kept[even]
    tokens = groups.tokens[even]
    filled = fill_rows(targets[even], weights=weights * tokens, caps=groups.max_rate[even, None] * tokens)
    rates[even] = filled / np.maximum(tokens, 1)
    fixed = groups.rules == "given"
    rates[fixed] = np.where(groups.tokens[fixed] > 0, groups.given[fixed], 0.0)
    return Rated(rates, kept, curves)


def _narrow(config: CurveConfig, rule: str) -> CurveConfig:
    if rule != "exponential":
        return config
    return config.model_copy(update={"min_power": 0.0, "max_power": 0.0, "num_powers": 1})


def _find_kept(groups: Groups) -> Bools:
    """Buckets, bool (G, B), with tokens that the rule does not throw away."""
    kept = groups.tokens > 0
    cut = groups.rules == "flat-filter"
    if cut.any():
        kept[cut] = lay_out_buckets(groups.tokens[cut], groups.throwaway_frac[cut]).kept
    return kept & (groups.weights > 0)


def _keep_buckets(groups: Groups, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.where(_find_kept(groups), tokens, 0).sum(axis=1)


def _draw_curves(
    groups: Groups, rows: npt.NDArray[np.int64], targets: Floats, rule: str, config: CurveConfig
) -> Curves:
    names = ["/".join(filter(None, groups.names[row])) for row in rows]
    cut = groups.throwaway_frac[rows]
    if rule == "as-released":
        steepness = np.array([_find_steepness(groups.names[row][1], config) for row in rows])
        return draw_steep_curves(
            groups.tokens[rows], target_tokens=targets, steepness=steepness, power=RELEASED_POWER, config=config,
            names=names, throwaway_frac=cut,
        )  # fmt: skip
    return solve_curves(
        groups.tokens[rows], target_tokens=targets, max_rate=groups.max_rate[rows], config=_narrow(config, rule),
        names=names, throwaway_frac=cut,
    )  # fmt: skip


def _find_steepness(topic: str, config: CurveConfig) -> float:
    if topic in config.steepness:
        return config.steepness[topic]
    if topic in load_released():
        return fit_topic(topic).steepness
    raise ConfigError(
        f"plan.curve.steepness.{topic}", None, "expected the steepness of a topic that the released mix does not have",
        f"Released are: {', '.join(load_released())}.",
    )  # fmt: skip


def _describe_curve(curves: Curves, i: int, groups: Groups, row: int, config: CurveConfig) -> dict[str, Any]:
    """One curve in words and numbers. For a released topic with its own steepness, how far log rates are from the released ones (rms):

    fit_rms_log_rate            of the fit to the released numbers, what their rounding explains left out; the same in every plan
    fit_rms_log_rate_written    the same fit, against the numbers as they are written
    rms_log_rate                of this plan's rates, against the numbers as written; only where it has rates at all released buckets
    """
    described: dict[str, Any] = {
        name: float(getattr(curves, name)[i]) for name in ("power", "growth", "scale", "start", "top_width", "top_rate")
    }
    topic = groups.names[row][1]
    if groups.rules[row] == "as-released":
        described["binds"] = "steepness"
        if topic not in config.steepness:
            fit = fit_topic(topic)
            described |= {"fit_rms_log_rate": fit.rms, "fit_rms_log_rate_written": fit.rms_as_written}
            rms = compare_rates(topic, curves.rates[i])
            if rms is not None:
                described["rms_log_rate"] = rms
    else:
        described["binds"] = "max_repetition" if curves.is_capped[i] else "max_growth"
    return described
