"""Words of a list counted in texts, beside all words and letters. Legend: N documents, B bytes of all texts, L words of the list."""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import ALNUM_BIT, ALPHA_BIT, TABLE_SIZE

# columns of out_counts
CHARS, LETTERS, WORDS, LISTED = range(4)
NUM_COUNTS = 4
_UNDERSCORE = 95


@njit(**KERNEL)
def count_listed_kernel(data, offsets, table, lower, listed, listed_offsets, out_counts):
    """Fill one row of counts per document.

    data : uint8 (B,), offsets : int64 (N + 1,)            text i is data[offsets[i]:offsets[i + 1]]
    table : uint8 (TABLE_SIZE,)                            taggers.characters.character_table
    lower : uint32 (TABLE_SIZE,)                           taggers.characters.lower_table
    listed : uint8 (.,), listed_offsets : int64 (L + 1,)   the words of the list, ASCII, in lower case
    out_counts : int64 (N, 4)                              chars, letters, words, words of the list

    A word is a run of letters, numbers and underscores. With the list ["pdf"] "A PDF, pdfs!" has 12 chars, 8 letters, 3 words
    and one of the list: (12, 8, 3, 1)
    """
    longest = np.int64(0)
    for number in range(len(listed_offsets) - 1):
        longest = max(longest, listed_offsets[number + 1] - listed_offsets[number])
    word = np.zeros(longest, np.uint8)
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        chars = letters = words = found = size = np.int64(0)
        is_ascii = True
        while at <= end:
            is_part = False
            code = np.int64(0)
            if at < end:
                code, width = decode_kernel(data, at, end)
                at += width
                chars += 1
                entry = character_class_kernel(table, code)
                letters += entry & ALPHA_BIT != 0
                is_part = entry & ALNUM_BIT != 0 or code == _UNDERSCORE
            else:
                at += 1
            if is_part:
                small = np.int64(lower[code]) if code < TABLE_SIZE else code
                is_ascii &= small < 0x80
                if size < longest and small < 0x80:
                    word[size] = np.uint8(small)
                size += 1
            elif size > 0:
                words += 1
                if is_ascii and size <= longest:
                    found += _is_listed(word, size, listed, listed_offsets)
                size = np.int64(0)
                is_ascii = True
        out_counts[row, CHARS] = chars
        out_counts[row, LETTERS] = letters
        out_counts[row, WORDS] = words
        out_counts[row, LISTED] = found
    return np.int64(len(offsets) - 1)


@njit(**KERNEL)
def _is_listed(word, size, listed, listed_offsets):
    for number in range(len(listed_offsets) - 1):
        start = listed_offsets[number]
        if listed_offsets[number + 1] - start != size:
            continue
        same = True
        for at in range(size):
            if listed[start + at] != word[at]:
                same = False
                break
        if same:
            return np.int64(1)
    return np.int64(0)
