"""Slow twin of mixers.curve: one group at a time, Simpson's rule on 4,000 points, plain loops."""

from __future__ import annotations

import math

import numpy as np


def integrate_curve(x, *, power, growth):
    """Integral of t^power exp(growth t), t from 0 to x; with t = x s^8 the corner at 0 becomes smooth."""
    if x == 0:
        return 0.0
    num_steps = 4000
    s = np.linspace(0.0, 1.0, num_steps + 1)
    t = x * s**8
    with np.errstate(divide="ignore"):
        values = 8 * x ** (power + 1) * s ** (8 * (power + 1) - 1) * np.exp(growth * t)
    weights = np.ones(num_steps + 1)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    return float((values * weights).sum() / (3 * num_steps))


def find_edges(tokens, throwaway_frac=0.4):
    """(edges in shares of tokens, buckets that stay): the bucket that crosses the cut stays."""
    total = sum(tokens)
    edges = [sum(tokens[:i]) / total for i in range(len(tokens) + 1)]
    return edges, [i for i in range(len(tokens)) if tokens[i] > 0 and edges[i + 1] > throwaway_frac + 1e-9]


def mean_rate(tokens, bucket, *, power, growth, mean):
    """Mean of the curve over one bucket when its integral over all is `mean`."""
    edges, kept = find_edges(tokens)
    start, low = edges[kept[0]], edges[bucket]
    high = 1.0 if bucket == kept[-1] else edges[bucket + 1]
    scale = mean / integrate_curve(1 - start, power=power, growth=growth)
    upper = integrate_curve(high - start, power=power, growth=growth)
    lower = integrate_curve(max(low - start, 0.0), power=power, growth=growth)
    return scale * (upper - lower) / (tokens[bucket] / sum(tokens))


def solve_curve(tokens, *, target_tokens, max_rate, max_growth=2.0, powers=tuple(np.linspace(0.01, 2.0, 20))):
    """(power, growth, rates) of one group, or None when nothing fits; the rule step by step as the released solver has it."""
    mean = target_tokens / sum(tokens)
    _, kept = find_edges(tokens)

    def fits(power, growth):
        return mean_rate(tokens, kept[-1], power=power, growth=growth, mean=mean) <= max_rate + 1e-6

    best = None
    for power in powers:
        if not fits(power, 0.0):
            break  # a larger power only raises the top
        low, high = 0.0, max_growth
        if fits(power, high):
            low = high
        while high - low > 1e-10:
            middle = (low + high) / 2
            if fits(power, middle):
                low = middle
            else:
                high = middle
        best = (float(power), low)
    if best is None:
        return None
    power, growth = best
    rates = [
        mean_rate(tokens, i, power=power, growth=growth, mean=mean) if i in kept else 0.0 for i in range(len(tokens))
    ]
    assert math.isclose(sum(r * t for r, t in zip(rates, tokens, strict=True)), target_tokens, rel_tol=1e-5)
    return power, growth, rates
