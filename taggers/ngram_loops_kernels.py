"""The longest run of one n-gram repeated behind itself, over any items: bytes, tokens, or words of UTF-8.

Legend: N documents, B bytes of all texts, I items of all documents.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import SPACE_BIT


@njit(**KERNEL_INNER)
def _longest_loop(items, begin, end, max_period):
    """(repeats, period) of items[begin:end]: most whole copies of an n-gram in a row, and the shortest n that has them.

    A run of m items that equal those n before holds m // n + 1 copies. Only runs that would beat the best so far are looked for: the
    last place of such a run is tried first, and where it differs all runs across it are passed over.
    """
    if begin == end:
        return np.int64(0), np.int64(0)
    best, best_period = np.int64(1), np.int64(1)
    for period in range(1, max_period + 1):
        at = begin + period  # items from here on may equal those a period before
        while True:
            stop = at + best * period  # a run of that many items has one copy more than the best
            if stop > end:
                break
            place = stop - 1
            while place >= at and items[place] == items[place - period]:
                place -= 1
            if place >= at:
                at = place + 1
                continue
            while stop < end and items[stop] == items[stop - period]:
                stop += 1
            best, best_period = np.int64((stop - at) // period + 1), np.int64(period)
            at = stop
    return best, best_period


@njit(**KERNEL)
def find_loops_kernel(items, offsets, max_period, out_loops):
    """Fill one row per document: most copies of an n-gram of at most max_period items in a row, and its n.

    items : uint8 or uint32 (I,), offsets : int64 (N + 1,)     document i has items[offsets[i]:offsets[i + 1]]
    out_loops : int64 (N, 2)                                   repeats and period; (0, 0) without items, (1, 1) without a repeat

    "xabababc" has "ab" three times: (3, 2)
    """
    for row in range(len(offsets) - 1):
        repeats, period = _longest_loop(items, offsets[row], offsets[row + 1], max_period)
        out_loops[row, 0] = repeats
        out_loops[row, 1] = period


@njit(**KERNEL)
def find_word_loops_kernel(data, offsets, table, max_period, scratch, out_loops):
    """As find_loops_kernel over the words of texts: runs of characters that are not white space, by a hash of their bytes.

    data : uint8 (B,), offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    table : uint8 (TABLE_SIZE,)                    taggers.characters.character_table
    scratch : uint64 (words,)                      at least half the bytes of the longest text, rounded up
    """
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        words = 0
        in_word, state = False, np.uint64(0)
        while at < end:
            code, width = decode_kernel(data, at, end)
            if character_class_kernel(table, code) & SPACE_BIT:
                if in_word:
                    scratch[words] = state
                    words += 1
                in_word = False
            else:
                if not in_word:
                    state = np.uint64(0xCBF29CE484222325)
                in_word = True
                for i in range(at, at + width):
                    state = (state ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
                    state ^= state >> np.uint64(29)  # FNV-1a alone leaves the low bits of short words too alike
            at += width
        if in_word:
            scratch[words] = state
            words += 1
        repeats, period = _longest_loop(scratch, 0, words, max_period)
        out_loops[row, 0] = repeats
        out_loops[row, 1] = period
