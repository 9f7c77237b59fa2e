"""Exact Jaccard similarity inside candidate components, and which members really repeat one another.

Legend: D documents in keep order within their component, C components, H hashes of all documents' shingle sets.
A document's set is hashes[offsets[d]:offsets[d + 1]], ascending, each once. Similarity = |A & B| / |A | B|, 0 for two empty sets.
Source: verification on 3-gram sets, Olmo 3 A.2.2; the representative rule is ours (see verification.py).
"""

from __future__ import annotations

from dedup.components_kernels import find_root_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

NOT_YET = np.int64(-1)
SLACK = 1.0 - 1e-12  # bounds that save work are this much too generous, so that rounding loses no pair


@njit(**KERNEL)
def jaccard_kernel(hashes, first, second, threshold):
    """Jaccard similarity of two sets, or -1.0 as soon as it is certain to stay below the threshold.

    first and second are pairs (start, end) of positions in hashes uint64 (H,), ascending and unique within each
    Example: 1 2 3 and 2 3 4 give 0.5; with threshold 0.8 they give -1.0. Cost: O(|A| + |B|).
    """
    i, end_1 = first
    j, end_2 = second
    size_1, size_2 = end_1 - i, end_2 - j
    if size_1 == 0 or size_2 == 0:
        return -1.0 if threshold > 0.0 else 0.0
    # the smaller set inside the larger one is the best case
    if min(size_1, size_2) / max(size_1, size_2) < threshold:
        return -1.0
    # |A & B| >= t / (1 + t) (|A| + |B|) where similarity >= t; every hash in one set alone takes from what is left
    least = np.int64(np.ceil(threshold / (1.0 + threshold) * (size_1 + size_2) * SLACK))
    limit = i + j + size_1 + size_2 - 2 * least
    shared = 0
    while i < end_1 and j < end_2 and i + j - 2 * shared <= limit:
        a, b = hashes[i], hashes[j]
        shared += a == b
        i += a <= b
        j += b <= a
    if i + j - 2 * shared > limit:
        return -1.0
    similarity = shared / (size_1 + size_2 - shared)
    return similarity if similarity >= threshold else -1.0


@njit(**KERNEL)
def jaccard_pairs_kernel(hashes, offsets, first, second, out_similarity):
    """Jaccard similarity of E pairs of documents, float32 (E,); first and second int64 (E,) number documents."""
    for e in range(len(first)):
        a, b = first[e], second[e]
        out_similarity[e] = jaccard_kernel(hashes, (offsets[a], offsets[a + 1]), (offsets[b], offsets[b + 1]), 0.0)


@njit(**KERNEL)
def verify_representatives_kernel(hashes, offsets, component_offsets, threshold, out_kept, out_similarity):
    """The best remaining member takes every member whose similarity with it reaches the threshold; repeat.

    hashes uint64 (H,), offsets int64 (D + 1,), component_offsets int64 (C + 1,): component c owns documents
    component_offsets[c]:component_offsets[c + 1], best first; threshold float64
    out_kept int64 (D,)          number of the document that stays in this one's place, itself when it stays
    out_similarity float32 (D,)  with that document, 1 for itself

    Example: one component of the sets 123, 1234, 34 and threshold 0.7: document 0 takes 1 (3/4), 2 stays (1/4).
    Cost: O(representatives x members) set comparisons per component, all of them O(H) when the first one takes all.
    """
    for c in range(len(component_offsets) - 1):
        first, last = component_offsets[c], component_offsets[c + 1]
        for d in range(first, last):
            out_kept[d] = NOT_YET
        for best in range(first, last):
            if out_kept[best] != NOT_YET:
                continue
            out_kept[best] = best
            out_similarity[best] = np.float32(1.0)
            best_set = (offsets[best], offsets[best + 1])
            for d in range(best + 1, last):
                if out_kept[d] == NOT_YET:
                    similarity = jaccard_kernel(hashes, best_set, (offsets[d], offsets[d + 1]), threshold)
                    if similarity >= 0.0:
                        out_kept[d] = best
                        out_similarity[d] = np.float32(similarity)


@njit(**KERNEL)
def verify_pairs_kernel(hashes, offsets, component_offsets, threshold, out_kept, out_similarity):
    """Members joined by chains of pairs that reach the threshold; the best member of each chain stays.

    Arguments as verify_representatives_kernel. out_similarity is with the member that stays and may lie below the threshold.
    Example: the sets 1234, 123, 12 and threshold 0.6: 0-1 (3/4) and 1-2 (2/3) pass, so 0 takes both, 2 with similarity 0.5.
    Cost: O(members^2) set comparisons per component, less those whose members are already joined.
    """
    for c in range(len(component_offsets) - 1):
        first, last = component_offsets[c], component_offsets[c + 1]
        for d in range(first, last):
            out_kept[d] = d
        for a in range(first, last):
            for b in range(a + 1, last):
                root_a, root_b = find_root_kernel(out_kept, a), find_root_kernel(out_kept, b)
                if root_a == root_b:
                    continue
                pair = jaccard_kernel(hashes, (offsets[a], offsets[a + 1]), (offsets[b], offsets[b + 1]), threshold)
                if pair >= 0.0:
                    out_kept[max(root_a, root_b)] = min(root_a, root_b)
        for d in range(first, last):
            best = find_root_kernel(out_kept, d)
            out_kept[d] = best
            similarity = 1.0
            if best != d:
                similarity = jaccard_kernel(
                    hashes, (offsets[best], offsets[best + 1]), (offsets[d], offsets[d + 1]), 0.0
                )
            out_similarity[d] = np.float32(similarity)
