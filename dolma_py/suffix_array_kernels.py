"""Longest common prefixes of neighbouring suffixes, in text order.

Legend: B bytes of text, SA the suffix array, phi[i] = the suffix just before suffix i in SA order, PLCP[i] = bytes that they share.
Source: Karkkainen, Manzini, Puglisi, "Permuted Longest-Common-Prefix Array", CPM 2009, section 4 (the Phi algorithm).
Deviation: phi and PLCP share one array.
Why PLCP and not LCP: PLCP[i] >= PLCP[i - 1] - 1, so both texts are read forward, and all comparisons together cost O(B).
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.numba_options import KERNEL

from numba import njit  # isort: skip


@njit(**KERNEL)
def permuted_lcp_kernel(text, suffixes, out_plcp):
    """PLCP of a text, in text order.

    text uint8 (B,), suffixes int32 (B,) its suffix array, out_plcp int32 (B,)
    Example: "abab" has SA 2 0 3 1 and PLCP 2 1 0 0. Cost: O(B) time, no memory beyond the output.
    """
    num_bytes = len(text)
    if num_bytes == 0:
        return
    out_plcp[suffixes[0]] = -1
    for r in range(1, num_bytes):
        out_plcp[suffixes[r]] = suffixes[r - 1]
    shared = 0
    for i in range(num_bytes):
        before = out_plcp[i]
        if before < 0:
            shared = 0
        else:
            limit = num_bytes - max(i, before)
            while shared < limit and text[i + shared] == text[before + shared]:
                shared += 1
        out_plcp[i] = shared
        shared = max(shared - 1, 0)
