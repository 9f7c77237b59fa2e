"""Slow twin of dolma_py/paired_differences.py: sums written out, quantiles of scipy."""

from __future__ import annotations

import math
import statistics

import scipy.stats


def pair_instances(left, right, sizes):
    """(left, right, variance over instances or None, variance over runs or None, degrees of freedom of both)."""
    total = sum(sizes)
    values = [[sum(run) / total for run in side] for side in (left, right)]
    means = [sum(side) / len(side) for side in values]
    ratio = means[0] - means[1]
    by_instances = by_runs = None
    if len(sizes) > 1:
        squares = 0.0
        for place, size in enumerate(sizes):
            mine = sum(run[place] for run in left) / len(left) - sum(run[place] for run in right) / len(right)
            squares += (mine - ratio * size) ** 2
        by_instances = len(sizes) / (len(sizes) - 1) * squares / total**2
    if len(left) > 1 and len(right) > 1:
        by_runs = sum(statistics.variance(side) / len(side) for side in values)
    freedom = None
    if by_instances is not None and by_runs is not None and by_instances + by_runs > 0:
        parts = [statistics.variance(side) / len(side) for side in values]
        runs = sum(parts) ** 2 / sum(v**2 / (len(s) - 1) for v, s in zip(parts, values, strict=True)) if by_runs else 1
        freedom = (by_instances + by_runs) ** 2 / (by_instances**2 / (len(sizes) - 1) + by_runs**2 / runs)
    return means[0], means[1], by_instances, by_runs, freedom


def find_quantile(freedom: float) -> float:
    inside = scipy.stats.norm.cdf(2) - scipy.stats.norm.cdf(-2)
    return 2.0 if math.isinf(freedom) else float(scipy.stats.t.ppf(0.5 + inside / 2, freedom))
