"""The quality-aware upsampling curve: f(x) = 0 below a, C (x - a)^p exp(lambda (x - a)) above, x the quality percentile.

The three constraints (the integral is the wanted share, the mean over the top bucket is at most M, lambda >= 0) leave p and
lambda open: even a flat line can meet them. So the rule that picks one curve is part of the method. Here it is the one of the
released solver ("as written"): p from 20 values between 0.01 and 2, lambda from 0 to 2; the largest p that can be met with
lambda = 0, then the largest lambda by 50 halvings. (The published rates of the 6T mix do not
follow these ranges: `rule: as-released`, see mixers.released_curve. The plain exponential is the same solver with p = 0.)
Legend: G curves solved at once, B buckets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError

Floats = npt.NDArray[np.float64]

Rule = Literal["as-written", "as-released", "exponential", "flat-filter", "duplicates"]
RULES_WITH_CUT = ("as-written", "as-released", "exponential", "flat-filter")
NUM_HALVINGS = 50  # released solver
TOLERANCE = 1e-6  # released solver: allowed excess of the top bucket's rate. Here only of whether a group's tokens can be met at all
EDGE_TOLERANCE = 1e-9  # a bucket edge this close to the throw-away point counts as on it
NARROW_FRAC = 1e-6  # below this width a mean by difference of integrals would lose digits


class CurveConfig(Config):
    """Ranges and selection rule of the curve; defaults are those of the released solver."""

    throwaway_frac: float = Field(
        0.40, ge=0, lt=1, description="lowest share of a group's tokens that is dropped, 0 to 1; Olmo 3 report, A.2.4"
    )
    min_power: float = Field(0.01, ge=0, le=100, description="smallest p tried; released solver")
    max_power: float = Field(2.0, ge=0, le=100, description="largest p tried; released solver")
    num_powers: int = Field(20, ge=1, le=10_000, description="values of p tried, evenly spaced; released solver")
    max_growth: float = Field(2.0, ge=0, le=100, description="largest lambda tried; released solver")
    rule: Rule = Field(
        "as-written",
        description="as-written: the released solver's choice of p and lambda under the cap; as-released: what was done for the 6T mix, p = 0.40 "
        "and a steepness for each topic, which no cap bounds; exponential: p = 0, the largest lambda under the cap; flat-filter: one rate for "
        "what is not thrown away; duplicates: by plan.duplicates, where the step's `duplicates` makes buckets of cluster sizes",
    )
    steepness: dict[str, float] = Field(
        default_factory=dict,
        description="as-released: lambda times the kept width by topic, in place of those fitted to the released rates, and for other topics",
    )


class Curves(NamedTuple):
    """G solved curves; x is measured in shares of the group's tokens, from the lowest quality."""

    power: Floats  # (G,)          p
    growth: Floats  # (G,)         lambda
    scale: Floats  # (G,)          C
    start: Floats  # (G,)          a: left edge of the bucket that holds the throw-away point
    top_width: Floats  # (G,)      b: share of the highest bucket that has tokens
    top_rate: Floats  # (G,)       mean of f over that bucket
    rates: Floats  # (G, B)        mean of f over each bucket, 0 below a and in empty buckets
    is_capped: npt.NDArray[np.bool_]  # (G,)  the top rate stopped lambda (else the range of lambda did)


def integrate_curve(x: Floats, *, power: Floats, growth: Floats) -> Floats:
    """Integral of t^p exp(lambda t) for t from 0 to x, elementwise; all arguments broadcast, x >= 0, p > -1, lambda >= 0.

    x^(p + 1) * sum over k of (lambda x)^k / (k! (p + 1 + k)): every term is positive, so nothing cancels and the error is a
    few units in the last place.

    Examples
    --------
    >>> float(integrate_curve(np.float64(2.0), power=np.float64(1.0), growth=np.float64(0.0)))
    2.0
    """
    z = np.asarray(growth * x, np.float64)
    shape = np.broadcast_shapes(np.shape(z), np.shape(power))
    term = np.ones(shape)
    total = term / (power + 1.0)
    k = 0
    while term.size and float(term.max()) > 1e-18:
        k += 1
        term = term * z / k
        total = total + term / (power + 1.0 + k)
    return np.asarray(x ** (power + 1.0) * total)


class _Layout(NamedTuple):
    """Where the buckets lie."""

    left: Floats  # (G, B)   edges in shares of tokens
    right: Floats  # (G, B)
    kept: npt.NDArray[np.bool_]  # (G, B)  has tokens and is not below a
    start: Floats  # (G,)
    top_width: Floats  # (G,)


def lay_out_buckets(tokens: npt.NDArray[np.int64], throwaway_frac: float | Floats) -> _Layout:
    """Edges of the buckets, and the curve's start: buckets wholly inside the lowest share go, the one that crosses it stays.

    throwaway_frac : one number, or float64 (G,) of each group
    """
    sums = np.cumsum(tokens, axis=1)
    total = np.maximum(sums[:, -1:], 1).astype(np.float64)
    right = sums / total
    left = (sums - tokens) / total
    cut = np.broadcast_to(np.asarray(throwaway_frac, np.float64), (len(tokens),))
    kept = (tokens > 0) & (right > cut[:, None] + EDGE_TOLERANCE)
    rows = np.arange(len(tokens))
    first = np.argmax(kept, axis=1)
    last = tokens.shape[1] - 1 - np.argmax(kept[:, ::-1], axis=1)
    return _Layout(left, right, kept, left[rows, first], tokens[rows, last] / total[:, 0])


def max_curve_tokens(
    tokens: npt.NDArray[np.int64], *, max_rate: npt.NDArray[np.float64], config: CurveConfig,
    throwaway_frac: Floats | None = None,
) -> Floats:  # fmt: skip
    """Tokens, float64 (G,), that each group can give at most: the flattest curve (smallest p, lambda 0) at top rate max_rate.

    tokens : int64 (G, B), max_rate : float64 (G,), throwaway_frac : float64 (G,) in place of the config's
    """
    layout = lay_out_buckets(tokens, config.throwaway_frac if throwaway_frac is None else throwaway_frac)
    unit = _top_rate_of_mean(layout, np.full(len(tokens), config.min_power), np.zeros(len(tokens)))
    return np.where(unit > 0, tokens.sum(axis=1) * max_rate / np.where(unit > 0, unit, 1), 0.0)


def _top_rate_of_mean(layout: _Layout, power: Floats, growth: Floats) -> Floats:
    """Mean of f over the top bucket when its integral is 1; broadcasts over a leading axis of `power`."""
    width = 1.0 - layout.start
    whole = integrate_curve(width, power=power, growth=growth)
    below = integrate_curve(np.maximum(width - layout.top_width, 0), power=power, growth=growth)
    return np.asarray((whole - below) / (np.where(layout.top_width > 0, layout.top_width, 1.0) * whole))


def solve_curves(
    tokens: npt.NDArray[np.int64],
    *,
    target_tokens: Floats,
    max_rate: Floats,
    config: CurveConfig,
    names: Sequence[str],
    throwaway_frac: Floats | None = None,
) -> Curves:
    """Fit one curve per group by the rule of the released solver.

    Parameters
    ----------
    tokens : int64 (G, B)           tokens available in each bucket, lowest quality first; each row has at least one
    target_tokens : float64 (G,)    tokens wanted of each group, >= 0
    max_rate : float64 (G,)         M: most the top bucket may be repeated on average, > 0
    names : G str                   for messages
    throwaway_frac : float64 (G,)   in place of the config's

    Returns
    -------
    curves : Curves                 sum over buckets of rate * tokens is target_tokens to 1e-6 relative; top rate <= M, or <= M + 1e-6
                                    where even the flattest curve has more than M

    Raises
    ------
    SchemaError                     shapes differ, a group without tokens, a negative count
    ConfigError                     no curve meets the constraints: says which group, which constraint and by how much

    Guarantees                      each group's result is a function of its own row
    Cost                            O(G (P + 50 K)) for P powers and some K = 25 terms of the series
    Source                          Olmo 3 report A.2.4; released mixing utilities for the rule; deviation: the integrals are
                                    a series and not adaptive quadrature, and p and lambda keep M itself, not M + 1e-6 (3,597 tokens
                                    too many of a released topic)
    """
    _check_inputs(tokens, target_tokens, max_rate, names)
    layout = lay_out_buckets(tokens, config.throwaway_frac if throwaway_frac is None else throwaway_frac)
    mean = target_tokens / tokens.sum(axis=1)  # Z / X: the integral of f
    powers = np.linspace(config.min_power, config.max_power, config.num_powers)
    flat_rates = mean * _top_rate_of_mean(layout, powers[:, None], np.zeros((1, len(tokens))))
    _check_feasible(flat_rates[0] <= max_rate + TOLERANCE, flat_rates[0], target_tokens, max_rate, names)
    fits = flat_rates <= max_rate  # (P, G), and true for every smaller p too
    power = powers[np.maximum(fits.sum(axis=0) - 1, 0)]
    growth = _largest_growth(layout, power, mean, max_rate, config.max_growth)
    is_capped = growth < config.max_growth * (1 - 1e-9)
    return _draw_curves(layout, power, growth, mean, is_capped)


def draw_steep_curves(
    tokens: npt.NDArray[np.int64],
    *,
    target_tokens: Floats,
    steepness: Floats,
    power: float,
    config: CurveConfig,
    names: Sequence[str],
    throwaway_frac: Floats | None = None,
) -> Curves:
    """Curves of a given power and steepness, float64 (G,): lambda times the kept width; no cap bounds them, is_capped is False.

    Other arguments, errors and the outcome as in solve_curves.
    """
    _check_inputs(tokens, target_tokens, np.ones(len(names)), names)
    layout = lay_out_buckets(tokens, config.throwaway_frac if throwaway_frac is None else throwaway_frac)
    growth = steepness / (1.0 - layout.start)
    mean = target_tokens / tokens.sum(axis=1)
    return _draw_curves(layout, np.full(len(names), power), growth, mean, np.zeros(len(names), np.bool_))


def _draw_curves(
    layout: _Layout, power: Floats, growth: Floats, mean: Floats, is_capped: npt.NDArray[np.bool_]
) -> Curves:
    scale = mean / integrate_curve(1.0 - layout.start, power=power, growth=growth)
    rates = _bucket_rates(layout, power, growth, scale)
    top_rate = mean * _top_rate_of_mean(layout, power, growth)
    return Curves(power, growth, scale, layout.start, layout.top_width, top_rate, rates, is_capped)


def _check_inputs(tokens: npt.NDArray[np.int64], target_tokens: Floats, max_rate: Floats, names: Sequence[str]) -> None:
    if tokens.ndim != 2 or not len(tokens) == len(target_tokens) == len(max_rate) == len(names):
        raise SchemaError("tokens", f"({len(names)}, buckets) and as many targets and rates", tokens.shape)
    if tokens.size and int(tokens.min()) < 0:
        raise SchemaError("tokens", "non-negative counts", int(tokens.min()))
    empty = np.flatnonzero(tokens.sum(axis=1) == 0)
    if len(empty):
        raise SchemaError("tokens", "at least one token in every group", f"none in {names[int(empty[0])]}")
    bad = np.flatnonzero(~((target_tokens >= 0) & np.isfinite(target_tokens) & (max_rate > 0)))
    if len(bad):
        i = int(bad[0])
        raise SchemaError("target_tokens", ">= 0 with a rate > 0", f"{target_tokens[i]}, {max_rate[i]} ({names[i]})")


def _check_feasible(
    feasible: npt.NDArray[np.bool_], needed: Floats, target_tokens: Floats, max_rate: Floats, names: Sequence[str]
) -> None:
    if feasible.all():
        return
    i = int(np.argmin(feasible))
    possible = int(target_tokens[i] * max_rate[i] / needed[i])
    more = f" ({int((~feasible).sum())} groups fail)" if (~feasible).sum() > 1 else ""
    raise ConfigError(
        f"curve.{names[i]}.target_tokens",
        int(target_tokens[i]),
        f"the top bucket's rate is at most {max_rate[i]:g}, but the flattest curve already needs {needed[i]:.6f}, "
        f"{needed[i] - max_rate[i]:.6f} too much{more}",
        f"Ask for at most {possible} tokens, or raise max_repetition.",
    )


def _largest_growth(layout: _Layout, power: Floats, mean: Floats, max_rate: Floats, max_growth: float) -> Floats:
    """The largest lambda in [0, max_growth] whose top rate is at most max_rate, by halving; 0 is known to do."""
    low, high = np.zeros(len(power)), np.full(len(power), max_growth)
    fits = mean * _top_rate_of_mean(layout, power, high) <= max_rate
    low = np.where(fits, high, low)
    for _ in range(NUM_HALVINGS):
        middle = (low + high) / 2
        fits = mean * _top_rate_of_mean(layout, power, middle) <= max_rate
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return low


def _bucket_rates(layout: _Layout, power: Floats, growth: Floats, scale: Floats) -> Floats:
    """Mean of f over each kept bucket, (G, B)."""
    p, lam = power[:, None], growth[:, None]
    x_left = np.maximum(layout.left - layout.start[:, None], 0)
    x_right = np.maximum(layout.right - layout.start[:, None], 0)
    width = np.where(layout.kept, x_right - x_left, 1.0)
    mean = (integrate_curve(x_right, power=p, growth=lam) - integrate_curve(x_left, power=p, growth=lam)) / width
    middle = (x_left + x_right) / 2
    narrow = (width < NARROW_FRAC) & (x_left > 0)
    mean = np.where(narrow, middle**p * np.exp(lam * middle), mean)
    return np.where(layout.kept, scale[:, None] * mean, 0.0)
