"""Slow twin of mixers.piece_files: which range a key falls into and which ranges a part wants, key by key."""

from __future__ import annotations


def sort_by_range(rows, num_ranges):
    """Rows {key, ...} by range, rows of one range in their order; with each row's range."""
    placed = [((row["key"] >> 32) * num_ranges // (1 << 32), row) for row in rows]
    return sorted(placed, key=lambda pair: pair[0])


def find_ranges(bucket, num_buckets, num_ranges, upper_bits):
    """(first, end) of the ranges of all numbers of `upper_bits` bits that fall into the bucket."""
    mine = [upper for upper in range(1 << upper_bits) if upper * num_buckets >> upper_bits == bucket]
    found = sorted({upper * num_ranges >> upper_bits for upper in mine})
    return found[0], found[-1] + 1
