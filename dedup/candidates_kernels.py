"""Candidate edges from band keys that lie in order.

Legend: M entries (one per document and band), E edges.
Linking every member of a bucket to the first one, instead of all pairs, keeps a bucket of n documents at n - 1 edges; the connected
components are the same, and they are all that edges are used for. 100,000 copies of one page cost 99,999 edges per band.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

from numba import njit  # isort: skip


@njit(**KERNEL)
def candidate_edges_kernel(keys, addresses, out_first, out_member):
    """Edges (smallest address of a run of equal keys, each other address); returns E.

    keys uint64 (M,) ascending, and addresses int64 (M,); out_first, out_member int64 (M,)
    Example: keys 5 5 5 9, addresses 4 1 6 2 give the edges (1, 4), (1, 6). An address that stands twice in a run gives no edge to
    itself; two to the smallest where it is not that. Cost: O(M).
    """
    num_edges = 0
    start = 0
    while start < len(keys):
        end = start + 1
        first = addresses[start]
        while end < len(keys) and keys[end] == keys[start]:
            first = min(first, addresses[end])
            end += 1
        for i in range(start, end):
            if addresses[i] != first:
                out_first[num_edges] = first
                out_member[num_edges] = addresses[i]
                num_edges += 1
        start = end
    return num_edges
