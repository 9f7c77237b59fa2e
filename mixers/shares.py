"""Tokens divided by weights under caps, and rounded to whole ones that sum to what was divided.

Legend: R rows that are divided independently, n parts of each.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def fill_to_caps(budget: float, *, weights: Floats, caps: Floats) -> Floats:
    """Divide `budget` in proportion to `weights`, nobody above its cap; what is cut off goes to the others in proportion.

    That is min(cap, weight * level) with one level for all, float64 (n,). When all caps are reached, the caps.

    Examples
    --------
    >>> fill_to_caps(10.0, weights=np.array([1.0, 1.0, 2.0]), caps=np.array([1.0, 9.0, 9.0])).tolist()
    [1.0, 3.0, 6.0]
    """
    return fill_rows(np.array([budget]), weights=weights[None, :], caps=caps[None, :])[0]


def fill_rows(budgets: Floats, *, weights: Floats, caps: Floats) -> Floats:
    """fill_to_caps for each row: budgets float64 (R,), weights and caps float64 (R, n), the parts float64 (R, n)."""
    active = weights > 0
    if not active.any():
        return np.zeros(weights.shape)
    limit = np.divide(caps, weights, out=np.full(weights.shape, np.inf), where=active)
    order = np.argsort(limit, axis=1, kind="stable")  # parts without weight come last
    cap = np.take_along_axis(np.where(active, caps, 0.0), order, axis=1)
    weight = np.take_along_axis(np.where(active, weights, 0.0), order, axis=1)
    # with the first k at their caps the level is (budget - their caps) / (weights of the others); the first k that holds is it
    capped_before = np.cumsum(cap, axis=1) - cap
    weight_from = np.cumsum(weight[:, ::-1], axis=1)[:, ::-1]
    used = weight > 0
    levels = np.divide(budgets[:, None] - capped_before, weight_from, out=np.zeros(cap.shape), where=used)
    holds = used & (levels <= np.take_along_axis(limit, order, axis=1))
    rows = np.arange(len(budgets))
    level = np.where(holds.any(axis=1), levels[rows, np.argmax(holds, axis=1)], np.inf)
    reached = np.multiply(weights, level[:, None], out=np.zeros(weights.shape), where=active)
    return np.where(active, np.minimum(caps, reached), 0.0)


def round_to_total(values: Floats, total: int) -> Ints:
    """Whole numbers near `values` that sum to `total`: all rounded down, then one more to the largest remainders.

    Where `values` do not sum to within len(values) of `total` (a float sum), the difference goes by the same order in rounds, what
    is too much is taken from the smallest remainders first; nothing goes below zero, and zeros stay zero. ConfigError when all
    values are zero and total is not.

    Examples
    --------
    >>> round_to_total(np.array([2.5, 0.0, 1.5]), 4).tolist(), round_to_total(np.array([10.4, 0.4]), 9).tolist()
    ([3, 0, 1], [9, 0])
    """
    return round_rows(values[None, :], np.array([total], np.int64))[0]


def round_rows(values: Floats, totals: Ints, most: Ints | None = None) -> Ints:
    """round_to_total for each row: values float64 (R, n), totals int64 (R,), whole numbers int64 (R, n).

    most : int64 (R, n)     nobody gets more; each at least floor(values). ConfigError where a total is above what they leave
    """
    whole = np.floor(values).astype(np.int64)
    missing = totals - whole.sum(axis=1)
    used = values > 0
    num_used = used.sum(axis=1)
    stuck = np.flatnonzero((num_used == 0) & (missing != 0))
    if len(stuck):
        raise ConfigError("plan", int(totals[stuck[0]]), "expected something to divide the tokens between")
    order = np.argsort(np.where(used, -(values - whole), np.inf), axis=1, kind="stable")
    rank = np.empty(values.shape, np.int64)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(values.shape[1]), values.shape), axis=1)
    rounded = np.where(used & (rank < missing[:, None]), whole + 1, whole)
    is_plain = (missing >= 0) & (missing <= num_used)
    if most is not None:
        is_plain &= (rounded <= most).all(axis=1)
    for row in np.flatnonzero(~is_plain):
        room = np.full(len(whole[row]), int(totals[row])) if most is None else most[row] - whole[row]
        rounded[row] = _spread(whole[row], int(missing[row]), order[row, : num_used[row]], room)
    return rounded


def _spread(whole: Ints, missing: int, order: Ints, room: Ints) -> Ints:
    """One row with `missing` more, or fewer where it is negative, by `order` in even rounds; nobody beyond its room, or below 0."""
    sign = 1 if missing > 0 else -1
    parts, left = whole.copy(), abs(missing)
    if sign < 0:
        order, room = order[::-1], whole
    room = room.copy()
    while left:
        is_open = order[room[order] > 0]
        if not len(is_open):
            raise ConfigError("plan", left, "expected room for these tokens below the caps of their group")
        each = max(min(left // len(is_open), int(room[is_open].min())), 1)  # whole rounds until the first is full
        is_open = is_open[: left // each]
        parts[is_open] += sign * each
        room[is_open] -= each
        left -= each * len(is_open)
    return parts
