"""Slow twin of dolma_py.xxh3: the xxhash package, one call per range."""

import xxhash


def digest_ranges(data, pairs):
    """(high, low) of data[start:end] for each pair."""
    numbers = [xxhash.xxh3_128_intdigest(data[start:end]) for start, end in pairs]
    return [(number >> 64, number & (2**64 - 1)) for number in numbers]
