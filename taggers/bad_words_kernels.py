"""Words of a list in texts, as C4's readers look for them, over UTF-8 bytes.

Legend: B bytes of a text, P words of the list, Q bytes of all of them.
Source: datatrove 0.10.1 C4BadWordsFilter; tensorflow_datasets text/c4_utils.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import decode_kernel, lower_ascii_kernel
from taggers.spacy_signs_kernels import WORD_SIGN, class_bits_kernel


class BadWords(NamedTuple):
    """A list of words in small letters, sorted by first byte."""

    firsts: np.ndarray  # int32 (257,)   words that begin with byte b are those from firsts[b] up to firsts[b + 1]
    bounds: np.ndarray  # int64 (P + 1,) word i is letters[bounds[i]:bounds[i + 1]]
    letters: np.ndarray  # uint8 (Q,)


@njit(**KERNEL_BORROWING_INNER)
def _word_at_kernel(text, at, end, words, i):
    """Bytes of word i if the small letters of text[at:end] begin with it, else 0."""
    start, stop = words.bounds[i], words.bounds[i + 1]
    if stop - start > end - at:
        return np.int64(0)
    for k in range(stop - start):
        if words.letters[start + k] != lower_ascii_kernel(text[at + k]):
            return np.int64(0)
    return stop - start


@njit(**KERNEL_BORROWING_INNER)
def _parts_words_kernel(text, at, end, classes, ascii_only):
    """Whether the character at text[at] may stand beside a word: no letter, number or "_"; with ascii_only none of a-z."""
    code, _ = decode_kernel(text, at, end)
    if ascii_only:
        return not (97 <= code <= 122 or 65 <= code <= 90)
    return not class_bits_kernel(classes, code) & WORD_SIGN


@njit(**KERNEL_BORROWING_INNER)
def count_bad_words_kernel(text, start, end, classes, words, ascii_only):
    """Places in text[start:end] where a word of the list stands by itself.

    With ascii_only a character other than a-z must stand on both sides (tensorflow_datasets); otherwise one that is no letter,
    number or "_", or an end of the text (datatrove). "ass" stands in "(ass)" and not in "class".
    """
    found = np.int64(0)
    free = not ascii_only  # whether a word may begin here
    at = start
    while at < end:
        small = np.int64(lower_ascii_kernel(text[at]))
        if free:
            for i in range(words.firsts[small], words.firsts[small + 1]):
                width = _word_at_kernel(text, at, end, words, i)
                if width == 0:
                    continue
                if at + width == end:
                    free_behind = not ascii_only
                else:
                    free_behind = _parts_words_kernel(text, at + width, end, classes, ascii_only)
                if free_behind:
                    found += 1
                    break
        free = _parts_words_kernel(text, at, end, classes, ascii_only)
        _, width = decode_kernel(text, at, end)
        at += width
    return found


@njit(**KERNEL_BORROWING)
def bad_words_kernel(data, offsets, classes, words, out_counts):
    """Places with bad words of each row, in datatrove's reading, into out_counts int64 (N,)."""
    for row in range(len(offsets) - 1):
        out_counts[row] = count_bad_words_kernel(data, offsets[row], offsets[row + 1], classes, words, False)
    return np.int64(len(offsets) - 1)
