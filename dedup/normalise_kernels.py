"""What counts as a word when near-duplicates are looked for: lower-cased runs of letters and digits, as byte positions.

Legend: N documents, B bytes of all of them, W words. Positions are bytes of the ORIGINAL text: lower-casing here never
changes the length of anything, so a word found in the normalised bytes stands at the same place in the text.

The rules, on bytes, so that invalid UTF-8 has an answer as well:
- ASCII letters and digits belong to words, letters are lower-cased; every other ASCII byte separates words.
- U+0080-00BF but for the three letters U+00AA, U+00B5, U+00BA, then U+2000-27FF and U+3000-303F separate words:
  Latin-1 and typographic punctuation, symbols, CJK punctuation.
- U+3040-9FFF (kana, Han) are words of one character each, because their scripts write no spaces.
- Every other byte belongs to a word and stays as it is. Case is folded in ASCII only: folding by table would change
  byte lengths (and depend on a Unicode version), and two copies of one text seldom differ in the case of an accent.
Source: the lower-case, no punctuation, collapsed spaces of Olmo 3's deduplication (arXiv 2512.13961, A.2.2, and its released
tool); deviation: that rule knows ASCII punctuation only and joins words across it ("non-stop" is "nonstop" there, two words here).
"""

from __future__ import annotations

from dolma_py.hashing_kernels import load64_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

SEPARATOR = np.uint8(0)
WORD = np.uint8(1)
WORD_START = np.uint8(3)  # a word byte that starts a word even when the byte before it belongs to one
SPACE = np.uint8(32)
HIGH_BITS = np.uint64(0x8080808080808080)
NONE, ONE = np.uint64(0), np.uint64(1)


@njit(**KERNEL)
def fold_ascii_kernel(data, start_byte, end_byte, out_lower, out_kind):
    """Lower-case data[start_byte:end_byte] into out_lower[0:] and write SEPARATOR or WORD per byte into out_kind[0:].

    Bytes from 128 up count as WORD here. No branch and no table, so that the compiler makes it 32 bytes at a time.
    Example: b"A-b" gives b"a-b" and 1, 0, 1.
    """
    text = data[start_byte:end_byte]
    for i in range(len(text)):
        byte = text[i]
        is_upper = (byte >= np.uint8(65)) & (byte <= np.uint8(90))
        lower = byte | np.uint8(np.uint8(is_upper) << np.uint8(5))
        is_letter = (lower >= np.uint8(97)) & (lower <= np.uint8(122))
        is_digit = (byte >= np.uint8(48)) & (byte <= np.uint8(57))
        out_lower[i] = lower
        out_kind[i] = np.uint8(is_letter | is_digit | (byte >= np.uint8(128)))


@njit(**KERNEL)
def is_continuation_kernel(byte):
    """Whether a byte is the second or later byte of a UTF-8 character."""
    return (byte & np.uint8(0xC0)) == np.uint8(0x80)


@njit(**KERNEL)
def mark_wide_kernel(lower, num_bytes, out_kind):
    """Apply the rules for characters beyond ASCII to out_kind, which fold_ascii_kernel has filled.

    Whole blocks of 8 ASCII bytes are skipped. Example: the right quote in "it's" as E2 80 99 turns 3 bytes into SEPARATOR.
    """
    i = 0
    while i < num_bytes:
        if i + 8 <= num_bytes and (load64_kernel(lower, np.uint64(i)) & HIGH_BITS) == NONE:
            i += 8
            continue
        lead = lower[i]
        width = 1
        if lead == 0xC2 and i + 1 < num_bytes and is_continuation_kernel(lower[i + 1]):
            width = 2
            second = lower[i + 1]
            if second != 0xAA and second != 0xB5 and second != 0xBA:
                out_kind[i] = SEPARATOR
                out_kind[i + 1] = SEPARATOR
        elif (
            lead >= 0xE2
            and lead <= 0xE9
            and i + 2 < num_bytes
            and is_continuation_kernel(lower[i + 1])
            and is_continuation_kernel(lower[i + 2])
        ):
            width = 3
            second = lower[i + 1]
            if (lead == 0xE2 and second <= 0x9F) or (lead == 0xE3 and second == 0x80):
                out_kind[i] = SEPARATOR
                out_kind[i + 1] = SEPARATOR
                out_kind[i + 2] = SEPARATOR
            elif lead >= 0xE3:
                out_kind[i] = WORD_START
                if i + 3 < num_bytes and out_kind[i + 3] == WORD:
                    out_kind[i + 3] = WORD_START  # what follows a one-character word is another word
        i += width


@njit(**KERNEL)
def find_document_words_kernel(data, start_byte, end_byte, out_lower, out_kind, out_start, out_end):
    """Words of one document data[start_byte:end_byte]; returns how many.

    out_lower uint8 (n + 8,)    its bytes, lower-cased
    out_kind uint8 (n + 1,)     SEPARATOR, WORD or WORD_START per byte; one SEPARATOR behind the last
    out_start, out_end int32 (n // 2 + 2,)   word k is out_lower[out_start[k]:out_end[k]]
    Example: b"Ab, c" gives starts 0, 4 and ends 2, 5.

    Every byte stores a possible start and a possible end and then moves on by 0 or 1: a branch on "is this a border" would
    be mispredicted once per word, which costs more than all the stores.
    """
    num_bytes = end_byte - start_byte
    fold_ascii_kernel(data, start_byte, end_byte, out_lower, out_kind)
    mark_wide_kernel(out_lower, num_bytes, out_kind)
    out_kind[num_bytes] = SEPARATOR
    num_starts = NONE
    num_ends = NONE
    before = NONE  # 1 when the byte before belongs to a word
    kind = np.uint64(out_kind[0])
    for i in range(num_bytes):
        after = np.uint64(out_kind[i + 1])
        is_word = kind & ONE
        is_start = is_word & ((before ^ ONE) | (kind >> ONE))
        is_end = is_word & ((after & ONE ^ ONE) | (after >> ONE))
        out_start[num_starts] = np.int32(i)
        num_starts += is_start
        out_end[num_ends] = np.int32(i + 1)
        num_ends += is_end
        before = is_word
        kind = after
    return np.int64(num_starts)


@njit(**KERNEL)
def find_words_kernel(data, offsets, out_lower, out_kind, out_start, out_end, out_word_offsets):
    """Words of N documents; starts and ends count from the first byte of their document.

    data uint8 (B,), offsets int64 (N + 1,), out_lower and out_kind as for the longest document, out_start and out_end
    int32 (>= W + longest // 2 + 2,), out_word_offsets int64 (N + 1,)
    Example: b"a b" and b"" and b"C" give starts 0, 2, 0, ends 1, 3, 1, word offsets 0, 2, 2, 3.
    Cost: O(B) time; memory of the longest document.
    """
    num_words = 0
    out_word_offsets[0] = 0
    for i in range(len(offsets) - 1):
        num_words += find_document_words_kernel(
            data, offsets[i], offsets[i + 1], out_lower, out_kind, out_start[num_words:], out_end[num_words:]
        )
        out_word_offsets[i + 1] = num_words


@njit(**KERNEL)
def normalise_texts_kernel(data, offsets, lower, kind, start, end, out_data, out_offsets):
    """Words of each document joined by single spaces, into out_data uint8 (>= B,); out_offsets int64 (N + 1,).

    lower, kind, start, end are scratch as for find_document_words_kernel and the longest document.
    Example: b" The  CAT!" gives b"the cat". Cost: O(B).
    """
    at = 0
    out_offsets[0] = 0
    for i in range(len(offsets) - 1):
        num_words = find_document_words_kernel(data, offsets[i], offsets[i + 1], lower, kind, start, end)
        for k in range(num_words):
            if k > 0:
                out_data[at] = SPACE
                at += 1
            for j in range(start[k], end[k]):
                out_data[at] = lower[j]
                at += 1
        out_offsets[i + 1] = at
