"""Slow twin of mixers.percentiles: one group after the other, fractions of whole numbers."""

from __future__ import annotations

from fractions import Fraction


def assign_buckets(score, *, group, tokens, id_hash, num_buckets):
    """Bucket of each document: which of num_buckets equal parts of its group's tokens holds the document's middle."""
    buckets = [0] * len(score)
    for wanted in set(group):
        rows = [i for i in range(len(score)) if group[i] == wanted]
        rows.sort(key=lambda i: (score[i], id_hash[i]))
        weights = [tokens[i] for i in rows]
        if sum(weights) == 0:
            weights = [1] * len(rows)
        before = 0
        for i, weight in zip(rows, weights, strict=True):
            middle = (Fraction(before) + Fraction(weight, 2)) / sum(weights)
            buckets[i] = min(int(middle * num_buckets), num_buckets - 1)
            before += weight
    return buckets


def count_cells(cell, *, tokens, num_bytes, num_cells):
    """(documents, tokens, bytes) of every cell."""
    counts = [(0, 0, 0)] * num_cells
    for c, t, b in zip(cell, tokens, num_bytes, strict=True):
        if c >= 0:
            counts[c] = (counts[c][0] + 1, counts[c][1] + t, counts[c][2] + b)
    return counts
