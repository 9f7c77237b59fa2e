"""The words of a Parquet dictionary and how often they are named, see parquet_words.py."""

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


@njit(**KERNEL_BORROWING)
def count_indices_kernel(data, num_values, counts):
    """Count how often a page names each word of its dictionary: indices counted, at most num_values, or -1 where the page is cut
    off or names a word that there is not; data uint8 (B,), counts int64 (words,), added to.

    A page is the bits of an index, in a byte, and runs: a varint 2 n + 1 before 8 n indices packed from the lowest bit on, or 2 n
    before one of whole bytes that stands n times.
    """
    if len(data) == 0:
        return np.int64(-1)
    width = np.int64(data[0])
    if width > 32:
        return np.int64(-1)
    at, done = np.int64(1), np.int64(0)
    while done < num_values and at < len(data):
        head, shift, byte = np.int64(0), 0, np.int64(128)
        while byte >= 128:
            if at >= len(data) or shift > 28:
                return np.int64(-1)
            byte = np.int64(data[at])
            head |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
        left = num_values - done
        if head & 1 and width:
            groups = head >> 1
            if groups * width > len(data) - at:
                return np.int64(-1)
            for number in range(min(8 * groups, left)):
                bit, index = number * width, np.int64(0)
                for place in range((bit & 7) + width + 7 >> 3):
                    index |= np.int64(data[at + (bit >> 3) + place]) << (8 * place)
                index = (index >> (bit & 7)) & ((np.int64(1) << width) - 1)
                if index >= len(counts):
                    return np.int64(-1)
                counts[index] += 1
            at, done = at + groups * width, done + min(8 * groups, left)
        else:
            size, index, run = width + 7 >> 3, np.int64(0), (head >> 1) * (8 if head & 1 else 1)
            if size > len(data) - at:
                return np.int64(-1)
            for place in range(size):
                index |= np.int64(data[at + place]) << (8 * place)
            if index >= len(counts):
                return np.int64(-1)
            counts[index] += min(run, left)
            at, done = at + size, done + min(run, left)
    return done
