"""The rules of verification on one large component without comparing all pairs: an index says which pairs can reach the threshold.

Legend: D documents of one component in keep order, H hashes of their shingle sets, K index keys of all documents, M slots.
A key is the number of a slot. Two documents are compared when they share a key; whether a key was shared by chance or not is
settled by the exact comparison, so slots that several hashes share cost time and change nothing.

Prefix filter: if |A & B| / |A | B| >= t then |A & B| >= t |A|, so A's first |A| - ceil(t |A|) + 1 hashes, in any one order of all
hashes, cannot all be missing from B's first |B| - ceil(t |B|) + 1: the pairs that share a key are all pairs that can pass, none is lost.
The order is rarest first, so that shared templates make no keys. Positional filter: when the first shared key stands at position p of
A and q of B, at most min(|A| - p, |B| - q) hashes are shared; a pair that this rules out costs no comparison.
Source: Bayardo, Ma, Srikant 2007 (AllPairs); Xiao, Wang, Lin, Yu 2008 (PPJoin), sections 3.1 and 3.2; deviation: frequencies are counts of
slots, the index holds kept documents alone under the rule `representative`.
"""

from __future__ import annotations

from dedup.components_kernels import find_root_kernel
from dedup.verification_kernels import SLACK, jaccard_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip


@njit(**KERNEL)
def count_slots_kernel(hashes, out_counts):
    """How many hashes fall into each slot; hashes uint64 (H,), out_counts int32 (M,) zeros, M a power of two."""
    mask = np.uint64(len(out_counts) - 1)
    for i in range(len(hashes)):
        out_counts[hashes[i] & mask] += 1


@njit(**KERNEL)
def prefix_keys_kernel(hashes, offsets, threshold, counts, out_keys, out_key_offsets):
    """The slots of each document's rarest hashes, as many as the prefix filter asks for; returns their number.

    hashes uint64 (H,), offsets int64 (D + 1,), counts int32 (M,) from count_slots_kernel
    out_keys int32 (>= H,), out_key_offsets int64 (D + 1,)
    Example: 10 hashes and threshold 0.8 give 10 - 8 + 1 = 3 keys; no hashes give none. Cost: O(H log H).
    """
    mask = np.uint64(len(counts) - 1)
    total = 0
    out_key_offsets[0] = 0
    for d in range(len(offsets) - 1):
        own = hashes[offsets[d] : offsets[d + 1]]
        size = len(own)
        num_keys = 0 if size == 0 else size - np.int64(np.ceil(threshold * size * SLACK)) + 1
        rarity = np.empty(size, np.int64)
        for i in range(size):
            slot = own[i] & mask
            rarity[i] = np.int64(counts[slot]) * len(counts) + np.int64(slot)
        order = np.argsort(rarity, kind="mergesort")
        for i in range(min(num_keys, size)):
            out_keys[total] = np.int32(own[order[i]] & mask)
            total += 1
        out_key_offsets[d + 1] = total
    return total


@njit(**KERNEL)
def _slot_starts_kernel(keys, num_slots):
    """Where each slot's postings begin, int64 (M + 1,)."""
    starts = np.zeros(num_slots + 1, np.int64)
    for i in range(len(keys)):
        starts[keys[i] + 1] += 1
    for slot in range(num_slots):
        starts[slot + 1] += starts[slot]
    return starts


@njit(**KERNEL)
def _may_pass_kernel(size, position, other_size, other_position, threshold):
    """Whether two sets can reach the threshold when their first shared key stands at these positions."""
    smaller, larger = min(size, other_size), max(size, other_size)
    if smaller < threshold * larger * SLACK:
        return False
    return (
        min(size - position, other_size - other_position) >= threshold / (1.0 + threshold) * (size + other_size) * SLACK
    )


@njit(**KERNEL)
def join_representatives_kernel(
    hashes, offsets, keys, key_offsets, num_slots, is_ordered, threshold, out_kept, out_similarity
):
    """The rule `representative` on one component: each document goes to the best kept one that is similar enough, or stays.

    hashes uint64 (H,), offsets int64 (D + 1,); keys int32 (K,), key_offsets int64 (D + 1,), below num_slots; is_ordered: keys are
    those of prefix_keys_kernel, so positions mean something
    out_kept int64 (D,), out_similarity float32 (D,) as verify_representatives_kernel, numbers within the component
    Cost: O(K + M) and one comparison per document and kept document that share a key.
    """
    num_docs = len(offsets) - 1
    starts = _slot_starts_kernel(keys, num_slots)
    ends = starts.copy()
    postings, positions = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
    seen_by = np.full(num_docs, -1, np.int32)
    for d in range(num_docs):
        size = offsets[d + 1] - offsets[d]
        own = (offsets[d], offsets[d + 1])
        best, similarity = d, 1.0
        for k in range(key_offsets[d], key_offsets[d + 1]):
            for p in range(starts[keys[k]], ends[keys[k]]):
                other = postings[p]  # ascending: kept documents enter in keep order
                if other >= best:
                    break
                if seen_by[other] == d:
                    continue
                seen_by[other] = d
                other_size = offsets[other + 1] - offsets[other]
                if not is_ordered or _may_pass_kernel(size, k - key_offsets[d], other_size, positions[p], threshold):
                    pair = jaccard_kernel(hashes, (offsets[other], offsets[other + 1]), own, threshold)
                    if pair >= 0.0:
                        best, similarity = other, pair
        out_kept[d] = best
        out_similarity[d] = np.float32(similarity)
        if best == d:
            for k in range(key_offsets[d], key_offsets[d + 1]):
                postings[ends[keys[k]]] = d
                positions[ends[keys[k]]] = k - key_offsets[d]
                ends[keys[k]] += 1


@njit(**KERNEL)
def join_pairs_kernel(hashes, offsets, keys, key_offsets, num_slots, is_ordered, threshold, out_kept, out_similarity):
    """The rule `pairs` on one component; out_kept comes in as join_representatives_kernel leaves it, whose pairs all pass.

    Arguments as there. A slot whose documents are all joined already is passed over: near copies of one text, however many,
    are compared with one kept document each.
    Cost: O(K + M), and one comparison per pair of documents that share a slot and are not joined yet: quadratic in documents that
    share rare hashes and yet stay below the threshold.
    """
    num_docs = len(offsets) - 1
    starts = _slot_starts_kernel(keys, num_slots)
    ends = starts[:-1].copy()
    postings, positions = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
    for d in range(num_docs):
        for k in range(key_offsets[d], key_offsets[d + 1]):
            postings[ends[keys[k]]] = d
            positions[ends[keys[k]]] = k - key_offsets[d]
            ends[keys[k]] += 1
    is_mixed = np.zeros(num_slots, np.bool_)
    for slot in range(num_slots):
        for p in range(starts[slot] + 1, starts[slot + 1]):
            if out_kept[postings[p]] != out_kept[postings[starts[slot]]]:
                is_mixed[slot] = True
                break
    seen_by = np.full(num_docs, -1, np.int32)
    for d in range(num_docs):
        for k in range(key_offsets[d], key_offsets[d + 1]):
            slot = keys[k]
            if not is_mixed[slot]:
                continue
            for p in range(starts[slot], starts[slot + 1]):
                other = postings[p]
                if other >= d:
                    break
                if seen_by[other] == d:
                    continue
                seen_by[other] = d
                size, other_size = offsets[d + 1] - offsets[d], offsets[other + 1] - offsets[other]
                if is_ordered and not _may_pass_kernel(size, k - key_offsets[d], other_size, positions[p], threshold):
                    continue
                root, other_root = find_root_kernel(out_kept, d), find_root_kernel(out_kept, other)
                if root == other_root:
                    continue
                other_set, own = (offsets[other], offsets[other + 1]), (offsets[d], offsets[d + 1])
                if jaccard_kernel(hashes, other_set, own, threshold) >= 0.0:
                    out_kept[max(root, other_root)] = min(root, other_root)
    for d in range(num_docs):
        best = find_root_kernel(out_kept, d)
        out_kept[d] = best
        similarity = 1.0
        if best != d:
            similarity = jaccard_kernel(hashes, (offsets[best], offsets[best + 1]), (offsets[d], offsets[d + 1]), 0.0)
        out_similarity[d] = np.float32(similarity)
