"""Slow twin of mixers.duplicate_weights: one document, and one bucket, at a time."""

from __future__ import annotations


def find_size_buckets(sizes_of_documents, sizes):
    """The last bucket whose least size a document reaches."""
    return [max(k for k, least in enumerate(sizes) if max(size, 1) >= least) for size in sizes_of_documents]


def weigh_sizes(entered, removed, *, max_weight, min_documents):
    """1 where at least as large a share went as of all, max_weight where the smallest share went, a straight line between."""
    counted = [k for k, number in enumerate(entered) if number >= min_documents]
    if not counted:
        return [1.0] * len(entered)
    overall = sum(removed) / sum(entered)
    share = {k: removed[k] / entered[k] for k in counted}
    least = min(share.values())
    weights = []
    for k in range(len(entered)):
        if k not in share or share[k] >= overall:
            weights.append(1.0)
        else:
            way = (overall - share[k]) / (overall - least)
            weights.append((1 - way) * 1 + way * max_weight)
    return weights
