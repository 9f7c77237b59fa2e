"""Slow twins of mixers.quality_thresholds: everything is sorted, keys are Python tuples."""

from __future__ import annotations


def bucket_by_middle(documents, num_buckets):
    """documents: {name: (key, weight)} of one group; {name: bucket} by the middle of each in sorted order."""
    total = sum(weight for _, weight in documents.values())
    before, buckets = 0, {}
    for name in sorted(documents, key=lambda name: documents[name][0]):
        weight = documents[name][1]
        buckets[name] = num_buckets * (2 * before + weight) // (2 * total)
        before += weight
    return buckets


def assign_by_thresholds(group, key, bounds):
    """bounds: for each group a list of keys; how many are at or below each document's key, -1 for group -1."""
    return [-1 if g < 0 else sum(bound <= k for bound in bounds[g]) for g, k in zip(group, key, strict=True)]


def find_bins(group, prefix, bins):
    """bins: list of (group, prefix); the index of each document's, -1 where it is not there."""
    return [bins.index((g, p)) if (g, p) in bins else -1 for g, p in zip(group, prefix, strict=True)]


def count_digits(found, digit, weight, num_bins, num_digits):
    """(weights, counts) as nested lists."""
    weights = [[0] * num_digits for _ in range(num_bins)]
    counts = [[0] * num_digits for _ in range(num_bins)]
    for f, d, w in zip(found, digit, weight, strict=True):
        if f >= 0:
            weights[f][d] += w
            counts[f][d] += 1
    return weights, counts
