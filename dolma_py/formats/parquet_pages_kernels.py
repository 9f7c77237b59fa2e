"""The words of a Parquet dictionary, see parquet_pages.py."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.numba_options import KERNEL_BORROWING

import numpy as np  # isort: skip
from numba import njit  # isort: skip


@njit(**KERNEL_BORROWING)
def longest_word_kernel(data):
    """Bytes of the longest string of a PLAIN page, -1 where the page does not end with a string's end; data uint8 (B,).

    Each string stands behind its length, four bytes with the least first.
    """
    at = longest = np.int64(0)
    while at + 4 <= len(data):
        length = np.int64(0)
        for place in range(4):
            length |= np.int64(data[at + place]) << (8 * place)
        longest = max(longest, length)
        at += 4 + length
    return longest if at == len(data) else np.int64(-1)
