"""Slow twin of dedup.bloom: a set of (block, bit) pairs in Python integers."""

MASK = 2**64 - 1


def _mix64(key):
    state = (key + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def places(high, low, num_hashes, num_blocks):
    """The (block, bit) pairs of one key."""
    block = ((high >> 32) * num_blocks) >> 32
    words = [low] + [_mix64(low ^ turn) for turn in range(1, 4)]
    return {(block, (words[j // 7] >> (9 * (j % 7))) & 511) for j in range(num_hashes)}


def insert_keys(keys, num_hashes, num_blocks):
    """The pairs of all keys."""
    return set().union(*(places(high, low, num_hashes, num_blocks) for high, low in keys))


def find_keys(keys, num_hashes, num_blocks, pairs):
    """Whether each key's pairs are all there."""
    return [places(high, low, num_hashes, num_blocks) <= pairs for high, low in keys]
