"""Slow twin of mixers.rates: the rates of one group by one rule, in plain loops; curves come from tests.reference.curve."""

from __future__ import annotations

from tests.reference import curve
from tests.reference.plan import fill_to_caps


def rate_buckets(tokens, *, rule, target, max_rate, throwaway_frac=0.4, weights=None):
    """Rates of one group that take `target` tokens, or None where the rule cannot."""
    if rule == "exponential":
        solved = curve.solve_curve(tokens, target_tokens=target, max_rate=max_rate, powers=(0.0,))
        return None if solved is None else solved[2]
    if rule == "flat":
        weights = [1.0] * len(tokens)
    if rule == "flat-filter":
        kept = curve.find_edges(tokens, throwaway_frac)[1]
        weights = [1.0 if bucket in kept else 0.0 for bucket in range(len(tokens))]
    parts = [weight * held for weight, held in zip(weights, tokens, strict=True)]
    if target > sum(max_rate * held for part, held in zip(parts, tokens, strict=True) if part > 0) * (1 + 1e-12):
        return None
    filled = fill_to_caps(target, weights=parts, caps=[max_rate * held for held in tokens])
    return [got / held if held else 0.0 for got, held in zip(filled, tokens, strict=True)]
