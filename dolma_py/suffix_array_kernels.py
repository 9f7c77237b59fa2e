"""Longest common prefixes of neighbouring suffixes, in text order, of every position or of every 2^k-th.

Legend: B bytes of text, SA the suffix array, phi[i] = the suffix just before suffix i in SA order, PLCP[i] = bytes that they share.
Source: Karkkainen, Manzini, Puglisi, "Permuted Longest-Common-Prefix Array", CPM 2009, section 4 (the Phi algorithm, and its sparse form).
Deviation: phi and PLCP share one array.
Why PLCP and not LCP: PLCP[i] >= PLCP[i - q] - q, so both texts are read forward, and all comparisons together cost O(B).
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip


@njit(**KERNEL)
def permuted_lcp_kernel(text, suffixes, shift, out_plcp):
    """PLCP of the positions 0, q, 2 q, ... of a text, in text order; q = 2^shift.

    text uint8 (B,), suffixes int32 (B,) its suffix array, out_plcp int32 (ceil(B / q),)
    Example: "abab" has SA 2 0 3 1 and PLCP 2 1 0 0; with q = 2 that is 2 0. Cost: SA is read once in its order, then of each
    sampled position a line of the text and one of the output in random order; no memory beyond the output.
    """
    num_bytes = np.int64(len(text))
    step = np.int64(1) << shift
    inside = np.int32(step - 1)
    before = np.int32(-1)
    for r in range(num_bytes):
        suffix = suffixes[r]
        if suffix & inside == 0:
            out_plcp[suffix >> shift] = before
        before = suffix
    shared = np.int64(0)
    for sample in range(len(out_plcp)):
        first, second = np.int64(sample) << shift, np.int64(out_plcp[sample])
        if second < 0:
            shared = np.int64(0)
        else:
            limit = num_bytes - max(first, second)
            while shared < limit and text[first + shared] == text[second + shared]:
                shared += 1
        out_plcp[sample] = shared
        shared = max(shared - step, np.int64(0))
