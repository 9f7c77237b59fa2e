"""The mix with the least predicted bits per byte, under caps and fixed shares.

The objective is the weighted mean over tasks of c + exp(t . w), a convex function of the shares w, so a local minimum is the minimum. It is
searched by moving share from one source to another, the pair that promises most first (as in sequential minimal optimisation), until no
pair promises anything; how far the result can be from the minimum is computed at its end, not hoped for.
Source: Olmo 3 report 3.4.4 (least mean prediction over the simplex under repetition caps). Deviation: no penalty on the distance from the
natural distribution, which Olmix's exact solver has.
Legend: S sources, K tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError
from mixers.mix_limits import MixLimits, natural_shares
from mixers.mix_regression import LogLinear

Floats = npt.NDArray[np.float64]
MAX_MOVES = 100_000
PROMISE = 1e-12  # bits per byte: a pair that promises less is not moved


class Law(Protocol):
    """What says the bits per byte of a task."""

    def predict(self, shares: Floats) -> Floats:
        """Of mixes (M, S), float64 (M,)."""
        ...


class Optimum(NamedTuple):
    """A mix and what is said of it."""

    shares: Floats  # float64 (S,), sums to 1
    predicted: float  # weighted mean over tasks, bits per byte
    gap: float | None  # no mix within the limits is predicted better by more than this, bits per byte; None: not known
    binds: tuple[str, ...]  # of each source: fixed, cap, zero, or free


def find_optimum(laws: Sequence[LogLinear], limits: MixLimits, weights: Floats) -> Optimum:
    """The minimum of the weighted mean of the laws within the limits.

    weights: float64 (K,), of the tasks, 0 or more and one above; they are divided by their sum. ConfigError otherwise.

    Examples
    --------
    >>> from mixers.mix_limits import find_limits
    >>> limits = find_limits({"web": 90, "code": 10}, budget=100, max_repetition={"web": 4.0, "code": 3.0}, fixed={}, frozen={})
    >>> found = find_optimum([LogLinear(1.0, np.array([0.0, -1.0]))], limits, np.ones(1))
    >>> found.shares.round(6).tolist(), found.binds
    ([0.7, 0.3], ('free', 'cap'))
    """
    parts = task_parts(laws, weights)
    coefficients = np.array([law.coefficients for law in laws])  # (K, S)
    floor = float(sum(part * law.floor for part, law in zip(parts, laws, strict=True)))
    shares = natural_shares(limits)
    for _ in range(MAX_MOVES):
        grown = parts * np.exp(coefficients @ shares)  # (K,)
        move = _choose_move(grown, coefficients, shares, limits)
        if move is None:
            break
        giver, taker, most = move
        amount = _line_minimum(grown, coefficients[:, taker] - coefficients[:, giver], most)
        if amount >= most:  # whatever stands in the way, its bound or the giver's, is reached to the last bit
            amount = most
        shares[giver] = max(shares[giver] - amount, limits.lowest[giver])
        shares[taker] = min(shares[taker] + amount, limits.highest[taker])
    shares = _close_sum(shares, limits)
    grown = parts * np.exp(coefficients @ shares)
    return Optimum(
        shares, floor + float(grown.sum()), _gap(grown @ coefficients, shares, limits), name_bounds(shares, limits)
    )


def _choose_move(
    grown: Floats, coefficients: Floats, shares: Floats, limits: MixLimits
) -> tuple[int, int, float] | None:
    """(giver, taker, most that may move) of the pair that promises most; None when none promises anything."""
    slope = grown @ coefficients  # (S,), of the objective
    curve = (coefficients.T * grown) @ coefficients  # (S, S)
    # rows give, columns take
    gain = slope[:, None] - slope[None, :]
    bend = np.maximum(np.diag(curve)[:, None] + np.diag(curve)[None, :] - 2 * curve, 1e-300)
    most = np.minimum((shares - limits.lowest)[:, None], (limits.highest - shares)[None, :])
    allowed = (gain > 0) & (most > 0)
    # what a parabola of this slope and bend loses by the best step that is allowed
    step = np.where(allowed, np.minimum(gain / bend, most), 0.0)
    promise = step * gain - 0.5 * bend * step**2
    giver, taker = (int(place) for place in np.unravel_index(int(np.argmax(promise)), promise.shape))
    if promise[giver, taker] <= PROMISE:
        return None
    return giver, taker, float(most[giver, taker])


def _line_minimum(grown: Floats, across: Floats, most: float) -> float:
    """Where sum(grown * exp(across * s)) is least for s in [0, most]: Newton steps inside a bracket that shrinks."""
    low, high = 0.0, most
    if float((grown * across * np.exp(across * most)).sum()) <= 0:
        return most
    at = 0.0
    for _ in range(100):
        terms = grown * np.exp(across * at)
        slope, bend = float((terms * across).sum()), float((terms * across**2).sum())
        low, high = (at, high) if slope < 0 else (low, at)
        newton = at - slope / bend if bend > 0 else low
        new = newton if low < newton < high else 0.5 * (low + high)
        if abs(new - at) <= 1e-15:
            break
        at = new
    return at


def _close_sum(shares: Floats, limits: MixLimits) -> Floats:
    """Shares that sum to 1: the source with the most room on both sides takes what rounding left."""
    room = np.minimum(shares - limits.lowest, limits.highest - shares)
    shares[int(np.argmax(room))] += 1.0 - shares.sum()
    return shares


def _gap(slope: Floats, shares: Floats, limits: MixLimits) -> float:
    """Of a convex objective: the most that a mix within the limits can gain along the slope, the bound of Frank and Wolfe."""
    best = limits.lowest.copy()
    left = 1.0 - float(best.sum())
    for source in np.argsort(slope, kind="stable"):
        taken = min(left, float(limits.highest[source] - limits.lowest[source]))
        best[source] += taken
        left -= taken
    return max(0.0, float(slope @ (shares - best)))


def task_parts(laws: Sequence[Law], weights: Floats) -> Floats:
    """Weights of the tasks divided by their sum, float64 (K,); ConfigError as find_optimum has it."""
    weights = np.asarray(weights, np.float64)
    if weights.shape != (len(laws),) or not len(laws) or weights.min() < 0 or weights.sum() <= 0:
        raise ConfigError("tasks.weight", weights.tolist(), "expected 0 or more for every task, and one above 0")
    return weights / weights.sum()


def name_bounds(shares: Floats, limits: MixLimits) -> tuple[str, ...]:
    """What decided each share: fixed, cap, zero, or free where no bound did."""
    names = []
    for share, low, high in zip(shares, limits.lowest, limits.highest, strict=True):
        if low == high:
            names.append("fixed")
        elif share >= high - 1e-9 and high < 1:
            names.append("cap")
        else:
            names.append("zero" if share <= low + 1e-9 else "free")
    return tuple(names)
