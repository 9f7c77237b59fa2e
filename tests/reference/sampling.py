"""Slow twin of mixers.sampling: plain Python integers, one pool after the other."""

from __future__ import annotations

from tests.reference.prefix_search import fill_pools

MASK = (1 << 64) - 1


def mix64(key):
    """The splitmix64 finaliser."""
    state = (key + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def mix_key(key, seed):
    """An independent key under a seed."""
    return mix64(key ^ mix64(seed))


def sample_copies(documents, *, planned_tokens, chains):
    """documents: (pool, high, low, place, tokens). Copies of each, and the tokens of each pool's edge."""
    available = [sum(row[4] for row in documents if row[0] == pool) for pool in range(len(planned_tokens))]
    rest = [planned % max(tokens, 1) for planned, tokens in zip(planned_tokens, available, strict=True)]
    taken, edges = fill_pools(documents, rest, chains)
    copies = [
        0 if pool < 0 else planned_tokens[pool] // max(available[pool], 1) + (place in taken[pool])
        for pool, _, _, place, _ in documents
    ]
    return copies, edges


def select_heldout(source, *, id_hash, hash_seed, heldout_docs):
    """Per source the heldout_docs documents with the smallest hash, at most half of them."""
    heldout = [False] * len(source)
    for wanted in set(source):
        rows = sorted(
            (i for i in range(len(source)) if source[i] == wanted),
            key=lambda i: (mix_key(id_hash[i], hash_seed), id_hash[i]),
        )
        for i in rows[: min(heldout_docs, len(rows) // 2)]:
            heldout[i] = True
    return heldout
