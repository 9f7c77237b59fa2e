"""How often given words stand in stretches of text, as whole words.

A word is a longest run of word characters: those that `is_word` marks by code point. Bytes that are no UTF-8 are none, each by itself.
Legend: B bytes, K stretches, W words, L bytes of all words.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dolma_py.numba_options import KERNEL, KERNEL_INNER


@njit(**KERNEL_INNER)
def _continues(data, place, end):
    return place < end and (data[place] & 0xC0) == 0x80


@njit(**KERNEL_INNER)
def _read_character(data, place, end):
    """(code point, bytes) of the character at `place`, (-1, 1) where it is no UTF-8: as Python's strict decoder judges."""
    first = np.int64(data[place])
    if first < 0x80:
        return first, 1
    if 0xC2 <= first <= 0xDF and _continues(data, place + 1, end):
        return (first & 0x1F) << 6 | np.int64(data[place + 1] & 0x3F), 2
    if 0xE0 <= first <= 0xEF and _continues(data, place + 1, end) and _continues(data, place + 2, end):
        code = (first & 0x0F) << 12 | np.int64(data[place + 1] & 0x3F) << 6 | np.int64(data[place + 2] & 0x3F)
        if code >= 0x800 and not 0xD800 <= code <= 0xDFFF:
            return code, 3
    elif (
        0xF0 <= first <= 0xF4
        and _continues(data, place + 1, end)
        and _continues(data, place + 2, end)
        and _continues(data, place + 3, end)
    ):
        code = (
            (first & 0x07) << 18
            | np.int64(data[place + 1] & 0x3F) << 12
            | np.int64(data[place + 2] & 0x3F) << 6
            | np.int64(data[place + 3] & 0x3F)
        )
        if 0x10000 <= code <= 0x10FFFF:
            return code, 4
    return np.int64(-1), 1


@njit(**KERNEL)
def count_whole_words_kernel(data, starts, ends, is_word, words, word_offsets, first_words, out_counts):
    """Count each word in its own stretch; a stretch that begins inside a word of the data sees what lies in the stretch alone.

    data: uint8 (B,), any bytes. starts, ends: int64 (K,). is_word: uint8 (0x110000,), by code point. words: uint8 (L,), word_offsets:
    int64 (W + 1,). first_words: int64 (K + 1,), stretch k asks for the words first_words[k] to first_words[k + 1]. out_counts: int64 (W,).
    Example: in b"a aa a" the word b"a" stands twice.
    """
    out_counts[:] = 0
    for row in range(len(starts)):
        place, end = starts[row], ends[row]
        while place < end:
            begin = place
            length = 1
            while place < end:
                code, length = _read_character(data, place, end)
                if code < 0 or is_word[code] == 0:
                    break
                place += length
            if place > begin:
                for word in range(first_words[row], first_words[row + 1]):
                    first = word_offsets[word]
                    if word_offsets[word + 1] - first == place - begin:
                        is_same = True
                        for step in range(place - begin):
                            if words[first + step] != data[begin + step]:
                                is_same = False
                                break
                        out_counts[word] += is_same
            if place < end:
                place += length
