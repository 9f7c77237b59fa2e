"""Slow twins of dedup/candidates."""


def candidate_edges(entries):
    """Edges of (key, address) entries in any order: the smallest address of a key with each other one."""
    buckets = {}
    for key, address in entries:
        buckets.setdefault(key, set()).add(address)
    return sorted((min(bucket), member) for bucket in buckets.values() for member in bucket if member != min(bucket))


def unique_edges(edges):
    return sorted(set(edges))
