"""Slow twin of mixers/mix_optimum.py: every mix of a grid that keeps the limits."""

from __future__ import annotations

import itertools
import math


def mean_prediction(laws: list[tuple[float, list[float]]], weights: list[float], shares: list[float]) -> float:
    total = 0.0
    for (floor, coefficients), weight in zip(laws, weights, strict=True):
        total += weight * (floor + math.exp(sum(c * s for c, s in zip(coefficients, shares, strict=True))))
    return total / sum(weights)


def find_optimum(
    laws: list[tuple[float, list[float]]], weights: list[float], lowest: list[float], highest: list[float], parts: int
) -> tuple[float, list[float]] | None:
    """(prediction, shares) of the best mix of whole `parts`-ths within the limits; None where the grid has none."""
    best = None
    for row in itertools.product(range(parts + 1), repeat=len(lowest)):
        shares = [count / parts for count in row]
        inside = all(low <= s <= high for low, s, high in zip(lowest, shares, highest, strict=True))
        if sum(row) == parts and inside:
            found = (mean_prediction(laws, weights, shares), shares)
            best = found if best is None or found < best else best
    return best
