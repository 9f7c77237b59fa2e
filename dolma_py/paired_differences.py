"""Is one side better than another? Differences in bits per byte, paired over what was measured, with standard errors.

A side is one run or several that differ in their seeds alone; both sides are measured on the same instances (documents or items). Two things
make a difference uncertain: other instances might have been asked (error_instances: the paired difference of each instance, runs of a side
averaged), and other runs of the same mix end elsewhere (error_runs: the spread of the runs' values, sides apart, as the runs of two
sides are not pairs). The error is the root of the sum of both squares; what varies by instance and run alike counts in both, so it is
somewhat too large. Few runs say little of their spread: a verdict needs two standard errors where there are many, and as many more as
Student's distribution asks for with Welch's degrees of freedom, so that equal sides get a verdict in about one of 20 comparisons, with two
runs a side as with many.
Legend: R runs of a side, N instances.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Verdict = Literal["better", "worse"]
ERRORS_NEEDED = 2.0  # standard errors, where degrees of freedom are many
COVERAGE = math.erf(ERRORS_NEEDED / math.sqrt(2))  # 95.45%, of a normal distribution within two standard errors


class Variance(NamedTuple):
    """Of a difference, with what it is worth."""

    value: float
    freedom: float  # degrees of freedom


class Difference(NamedTuple):
    """Of two sides on one task, or on the weighted mean of some; bits per byte, the smaller the better."""

    left: float
    right: float
    left_runs: tuple[float, ...]  # value of each run
    right_runs: tuple[float, ...]
    num_instances: int
    by_instances: Variance | None  # None: fewer than two instances
    by_runs: Variance | None  # None: a side has one run

    @property
    def difference(self) -> float:
        """left - right; below 0 the left side is better."""
        return self.left - self.right

    @property
    def total(self) -> Variance | None:
        """By instances and runs; None where either is not known."""
        if self.by_instances is None or self.by_runs is None:
            return None
        return _add_variances([self.by_instances, self.by_runs])

    @property
    def error(self) -> float | None:
        """Standard error over instances and runs."""
        return None if self.total is None else math.sqrt(self.total.value)

    @property
    def errors_needed(self) -> float | None:
        """Standard errors that a verdict asks for: two or more."""
        return None if self.total is None else find_quantile(self.total.freedom)

    @property
    def verdict(self) -> Verdict | None:
        """Of the left side; None where the difference may be chance, or its error is not known."""
        if self.error is None or self.errors_needed is None or abs(self.difference) <= self.errors_needed * self.error:
            return None
        return "better" if self.difference < 0 else "worse"


def pair_instances(left: Floats, right: Floats, sizes: Floats) -> Difference:
    """The difference of two sides on one task.

    Parameters
    ----------
    left, right : float64 (R, N)    bits of each instance in each run; R may differ between the sides, N is 1 or more
    sizes : float64 (N,)            bytes of the instances, above 0; ones where `left` and `right` are bits per byte already, and the
                                    task's value is their mean: then all instances weigh the same

    Returns  values are sums of bits over sums of sizes; the variance over instances is that of a ratio, linearised

    Examples
    --------
    >>> found = pair_instances(np.array([[2.0, 4.0, 9.0]]), np.array([[3.0, 6.0, 9.0]]), np.array([1.0, 2.0, 3.0]))
    >>> found.left, found.right, found.difference, found.by_runs
    (2.5, 3.0, -0.5, None)
    """
    num_instances, total = len(sizes), float(sizes.sum())
    left_runs, right_runs = left.sum(axis=1) / total, right.sum(axis=1) / total
    by_instances = None
    if num_instances > 1:
        bits = left.mean(axis=0) - right.mean(axis=0)
        rest = bits - bits.sum() / total * sizes  # of each instance, what a constant difference by size does not say
        value = num_instances / (num_instances - 1) * float(rest @ rest) / total**2
        by_instances = Variance(value, num_instances - 1)
    return Difference(
        float(left_runs.mean()), float(right_runs.mean()), tuple(left_runs.tolist()), tuple(right_runs.tolist()), num_instances,
        by_instances, _spread_of_runs(left_runs, right_runs),
    )  # fmt: skip


def weigh_differences(differences: Sequence[Difference], weights: Sequence[float]) -> Difference:
    """The difference of the weighted means of tasks; all have the same runs, and no instance in common.

    weights: 0 or more, one above 0
    """
    parts = np.asarray(weights, np.float64) / sum(weights)
    used = [(d, part) for d, part in zip(differences, parts.tolist(), strict=True) if part > 0]
    left_runs = np.array([part * np.array(d.left_runs) for d, part in used]).sum(axis=0)
    right_runs = np.array([part * np.array(d.right_runs) for d, part in used]).sum(axis=0)
    known = [
        Variance(part**2 * d.by_instances.value, d.by_instances.freedom)
        for d, part in used
        if d.by_instances is not None
    ]
    return Difference(
        float(left_runs.mean()), float(right_runs.mean()), tuple(left_runs.tolist()), tuple(right_runs.tolist()),
        sum(d.num_instances for d, _ in used), _add_variances(known) if len(known) == len(used) else None,
        _spread_of_runs(left_runs, right_runs),
    )  # fmt: skip


@functools.lru_cache(maxsize=1000)
def find_quantile(freedom: float) -> float:
    """How many standard errors of `freedom` degrees (1 or more) hold what two hold of a normal distribution.

    >>> [round(find_quantile(freedom), 2) for freedom in (1, 2, 4, 30, math.inf)]
    [13.97, 4.53, 2.87, 2.09, 2.0]
    """
    low, high = ERRORS_NEEDED, 14.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _share_within(middle, freedom) > COVERAGE else (middle, high)
    return high if math.isfinite(freedom) else ERRORS_NEEDED


def _share_within(limit: float, freedom: float) -> float:
    """Share of Student's distribution between -limit and limit: with t = sqrt(freedom) tan(x), an integral of cos(x)^(freedom - 1)."""
    if freedom > 1e6:
        return math.erf(limit / math.sqrt(2))
    nodes, weights = _list_nodes()
    end = math.atan(limit / math.sqrt(freedom))
    x = (nodes + 1) / 2 * end
    log_constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(math.pi)
    return float(end * weights @ np.exp(log_constant + (freedom - 1) * np.log(np.cos(x))))


@functools.cache
def _list_nodes() -> tuple[Floats, Floats]:
    """Of Gauss and Legendre's quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    return nodes, weights


def _spread_of_runs(left: Floats, right: Floats) -> Variance | None:
    if len(left) < 2 or len(right) < 2:
        return None
    return _add_variances([Variance(float(side.var(ddof=1)) / len(side), len(side) - 1) for side in (left, right)])


def _add_variances(parts: Sequence[Variance]) -> Variance:
    """Of a sum of independent parts; degrees of freedom by Welch and Satterthwaite."""
    value = math.fsum(part.value for part in parts)
    if value == 0:
        return Variance(0.0, math.inf)
    return Variance(value, 1 / max(math.fsum((part.value / value) ** 2 / part.freedom for part in parts), 1e-300))
