"""Slow twin of mixers.selection: one document after the other, Python's floats."""

from __future__ import annotations

import math

from tests.reference.sampling import mix_key


def log_exactly(value):
    """ln of a positive float by the series in (m - 1) / (m + 1), rounded as the vector code rounds."""
    mantissa, exponent = math.frexp(value)
    if mantissa < 0.7071067811865476:
        mantissa, exponent = mantissa * 2, exponent - 1
    s = (mantissa - 1) / (mantissa + 1)
    square, total = s * s, 0.0
    for term in range(12, 0, -1):
        total = (total + 1 / (2 * term + 1)) * square
    return exponent * 0.6931471805599453 + (2 * s + 2 * s * total)


def rank_document(mode, id_hash, score, seed):
    """What documents of a pool are sorted by."""
    key = mix_key(id_hash ^ seed, 0)
    if mode == "hash":
        return (key,)
    if mode == "top":
        return (-score, key)
    if score <= 0:
        return (math.inf, key)
    return (-log_exactly(((key >> 12) + 0.5) / 2**52) / score, key)
