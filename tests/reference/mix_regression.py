"""Slow twin of mixers/mix_regression.py: scipy's optimizers from many random starts, as the published fits are made."""

from __future__ import annotations

import random

import numpy as np
import scipy.optimize
import scipy.stats


def huber_loss(residuals: list[float], delta: float) -> float:
    total = 0.0
    for residual in residuals:
        size = abs(residual)
        total += size * size / 2 if size <= delta else delta * (size - delta / 2)
    return total


def fit_log_linear(shares: list[list[float]], values: list[float], delta: float) -> tuple[float, list[float], float]:
    """(floor, coefficients, loss) of the best of twenty starts."""
    draw = random.Random(0)
    matrix, target = np.array(shares), np.array(values)
    best = None
    for _ in range(20):
        start = [draw.uniform(0, min(values))] + [draw.uniform(-2, 1) for _ in shares[0]]
        found = scipy.optimize.least_squares(
            lambda p: p[0] + np.exp(np.minimum(matrix @ p[1:], 50)) - target, start, loss="huber", f_scale=delta,
            bounds=([0] + [-np.inf] * len(shares[0]), np.inf), xtol=1e-14, ftol=1e-14, gtol=1e-14,
        )  # fmt: skip
        if best is None or found.cost < best.cost:
            best = found
    return float(best.x[0]), best.x[1:].tolist(), float(best.cost)


def rank_correlation(left: list[float], right: list[float]) -> float:
    return float(scipy.stats.spearmanr(left, right).statistic)
