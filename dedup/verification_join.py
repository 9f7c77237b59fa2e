"""Which members of a large component are worth an exact comparison: index keys from a prefix filter or from MinHash bands.

Legend: D documents of one component in keep order, K keys, M slots.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedup.minhash import band_keys, draw_permutations, signatures
from dedup.shingles import Shingles
from dedup.verification_join_kernels import (
    count_slots_kernel,
    join_pairs_kernel,
    join_representatives_kernel,
    prefix_keys_kernel,
)

# Olmo 3 A.2.2: components of 500 documents and more
OLMO3_BANDS, OLMO3_ROWS = 200, 31
BANDS_AT_ONCE = 20  # 2.5 kB of signatures a document
# of one component, at most: 200 keys twice, their postings and positions, and starts of half as many slots
OLMO3_DOC_BYTES = OLMO3_BANDS * 20
MIN_SLOTS, MAX_SLOTS = 1 << 10, 1 << 26


class IndexKeys(NamedTuple):
    """Documents that share no key are not compared."""

    keys: npt.NDArray[np.int32]  # int32 (K,)  slots
    offsets: npt.NDArray[np.int64]  # int64 (D + 1,)
    num_slots: int
    is_ordered: bool  # a document's keys stand in one order of all slots: positions tell how much two can share


def prefix_keys(sets: Shingles, *, threshold: float) -> IndexKeys:
    """Keys of the prefix filter: every pair whose similarity reaches the threshold shares one; see verification_join_kernels."""
    counts = np.zeros(_num_slots(len(sets.hashes) / 4), np.int32)
    count_slots_kernel(sets.hashes[sets.offsets[0] : sets.offsets[-1]], counts)
    keys, offsets = np.empty(len(sets.hashes), np.int32), np.empty(len(sets.offsets), np.int64)
    total = prefix_keys_kernel(sets.hashes, sets.offsets, threshold, counts, keys, offsets)
    return IndexKeys(keys[:total].copy(), offsets, len(counts), True)


def olmo3_keys(sets: Shingles, *, seed: int = 1) -> IndexKeys:
    """Keys of 200 MinHash bands of 31 rows, which large components of Olmo 3 met under.

    Two documents of similarity s share one with chance 1 - (1 - s^31)^200: 0.18 at 0.80, 0.73 at 0.85, 0.9996 at 0.90. So most
    pairs just above 0.80 are not compared and both stay. A key that one document alone has is left out.
    Memory: OLMO3_DOC_BYTES a document with all that join_component makes of them, or the signatures of BANDS_AT_ONCE bands.
    """
    num_docs, num_keys = len(sets.offsets) - 1, 0
    multiplier, increment = draw_permutations(OLMO3_BANDS * OLMO3_ROWS, seed=seed)
    keys = np.full((num_docs, OLMO3_BANDS), -1, np.int32)
    for band in range(0, OLMO3_BANDS, BANDS_AT_ONCE):
        part = slice(band * OLMO3_ROWS, (band + BANDS_AT_ONCE) * OLMO3_ROWS)
        rows = signatures(sets, multiplier=multiplier[part], increment=increment[part])
        found = band_keys(rows, num_bands=BANDS_AT_ONCE, num_rows=OLMO3_ROWS)
        for column in range(BANDS_AT_ONCE):
            _, number, count = np.unique(found[:, column], return_inverse=True, return_counts=True)
            is_shared = count > 1
            slot = num_keys + np.cumsum(is_shared) - 1
            keys[:, band + column] = np.where(is_shared, slot, -1)[number]
            num_keys += int(is_shared.sum())
            if num_keys > np.iinfo(np.int32).max:
                raise OverflowError(f"{num_keys} keys of {num_docs} documents of one component")
    keys[np.diff(sets.offsets) == 0] = -1
    has_key = keys >= 0
    offsets = np.concatenate([[0], np.cumsum(has_key.sum(axis=1))]).astype(np.int64)
    return IndexKeys(keys[has_key], offsets, num_keys, False)


def join_component(
    sets: Shingles, index: IndexKeys, *, rule: str, threshold: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """(kept int64 (D,), similarity float32 (D,)) of one component under a rule, comparing pairs that share a key alone.

    With prefix_keys the answer is that of verification.verify_components' own kernels, which compare all pairs.
    """
    num_docs = len(sets.offsets) - 1
    kept, similarity = np.empty(num_docs, np.int64), np.empty(num_docs, np.float32)
    arguments = (sets.hashes, sets.offsets, *index, threshold, kept, similarity)
    join_representatives_kernel(*arguments)
    if rule == "pairs":
        join_pairs_kernel(*arguments)
    return kept, similarity


def _num_slots(num_keys: float) -> int:
    """A power of two, at least as many slots as keys unless memory says otherwise."""
    wanted = 1 << max(0, int(num_keys)).bit_length()
    return min(max(wanted, MIN_SLOTS), MAX_SLOTS)
