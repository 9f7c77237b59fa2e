"""Slow twin of mixers.sampling: plain Python integers, one cell after the other."""

from __future__ import annotations

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


def sample_copies(cell, *, tokens, id_hash, planned_tokens, cell_seeds):
    """Copies of each document: whole copies for all, then the smallest hashes while that brings the sum nearer."""
    copies = [0] * len(cell)
    for c, planned in enumerate(planned_tokens):
        rows = [i for i in range(len(cell)) if cell[i] == c]
        available = sum(tokens[i] for i in rows)
        if available == 0:
            assert planned == 0
            continue
        for i in rows:
            copies[i] = planned // available
        rest = planned % available
        rows.sort(key=lambda i: (mix_key(id_hash[i] ^ cell_seeds[c], 0), id_hash[i]))
        sums = [0]
        for i in rows:
            sums.append(sums[-1] + tokens[i])
        nearest = min(range(len(sums)), key=lambda k: (abs(sums[k] - rest), k))
        for i in rows[:nearest]:
            copies[i] += 1
    return copies


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
