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
from numba.cpython.unsafe.numbers import trailing_zeros  # isort: skip

SEPARATOR = np.uint8(0)
WORD = np.uint8(1)
WORD_START = np.uint8(3)  # a word byte that starts a word even when the byte before it belongs to one
LEAD = np.uint8(4)  # bit of a first byte of characters that the rules beyond ASCII may speak of
SPACE = np.uint8(32)
BLOCK_BYTES = 64  # one bit per byte in a 64-bit mask
LOW_BITS = np.uint64(0x0101010101010101)
GATHER = np.uint64(0x0102040810204080)  # times 8 bytes of 0 or 1: byte j becomes bit 56 + j
NONE, ONE, TWO, EIGHT, FIFTY_SIX, LAST_BIT = (np.uint64(value) for value in (0, 1, 2, 8, 56, 63))


@njit(**KERNEL)
def fold_ascii_kernel(data, start_byte, end_byte, out_lower, out_kind):
    """Lower-case data[start_byte:end_byte] into out_lower[0:] and write SEPARATOR or WORD per byte into out_kind[0:].

    Bytes from 128 up count as WORD here; C2 and E2 to E9 carry LEAD as well. No branch, no table and every value brought back to
    8 bits (numba widens sums and shifts), so that the compiler makes it 32 bytes at a time: 12 times as fast as with wide values.
    Example: b"A-b" gives b"a-b" and 1, 0, 1.
    """
    text = data[start_byte:end_byte]
    num_bytes = len(text)
    out_lower, out_kind = out_lower[:num_bytes], out_kind[:num_bytes]
    for i in range(num_bytes):
        byte = text[i]
        is_upper = np.uint8(byte - np.uint8(65)) < np.uint8(26)
        lower = np.uint8(byte | np.uint8(np.uint8(is_upper) << np.uint8(5)))
        is_letter = np.uint8(lower - np.uint8(97)) < np.uint8(26)
        is_digit = np.uint8(byte - np.uint8(48)) < np.uint8(10)
        is_lead = (byte == np.uint8(0xC2)) | (np.uint8(byte - np.uint8(0xE2)) < np.uint8(8))
        is_word = np.uint8(is_letter | is_digit | (byte >= np.uint8(128)))
        out_lower[i] = lower
        out_kind[i] = np.uint8(is_word | np.uint8(np.uint8(is_lead) << np.uint8(2)))


@njit(**KERNEL)
def is_continuation_kernel(byte):
    """Whether a byte is the second or later byte of a UTF-8 character."""
    return (byte & np.uint8(0xC0)) == np.uint8(0x80)


@njit(**KERNEL)
def gather_bits_kernel(kind, at, shift):
    """Bit `shift` of the 64 bytes kind[at:at + 64] as one number, the first byte lowest."""
    bits = NONE
    for k in range(8):
        offset = np.uint64(k) * EIGHT
        eight = (load64_kernel(kind, at + offset) >> shift) & LOW_BITS
        bits |= ((eight * GATHER) >> FIFTY_SIX) << offset
    return bits


@njit(**KERNEL)
def mark_wide_kernel(lower, num_bytes, out_kind):
    """Apply the rules for characters beyond ASCII to out_kind, which fold_ascii_kernel has filled.

    Blocks of 8 bytes without LEAD are skipped. Example: the right quote in "it's" as E2 80 99 turns 3 bytes into SEPARATOR.
    """
    for block in range(0, num_bytes, 8):
        leads = (load64_kernel(out_kind, np.uint64(block)) >> TWO) & LOW_BITS
        leads = (leads * GATHER) >> FIFTY_SIX
        while leads != NONE:
            mark_character_kernel(lower, block + np.int64(trailing_zeros(leads)), num_bytes, out_kind)
            leads &= leads - ONE


@njit(**KERNEL)
def mark_character_kernel(lower, i, num_bytes, out_kind):
    """The rule for the character that starts at byte i with C2 or E2 to E9."""
    lead = lower[i]
    if i + 1 >= num_bytes or not is_continuation_kernel(lower[i + 1]):
        return
    second = lower[i + 1]
    if lead == 0xC2:
        if second != 0xAA and second != 0xB5 and second != 0xBA:
            out_kind[i] = SEPARATOR
            out_kind[i + 1] = SEPARATOR
    elif i + 2 < num_bytes and is_continuation_kernel(lower[i + 2]):
        if (lead == 0xE2 and second <= 0x9F) or (lead == 0xE3 and second == 0x80):
            out_kind[i] = SEPARATOR
            out_kind[i + 1] = SEPARATOR
            out_kind[i + 2] = SEPARATOR
        elif lead >= 0xE3:
            out_kind[i] = WORD_START
            if i + 3 < num_bytes:
                out_kind[i + 3] |= (out_kind[i + 3] & WORD) << np.uint8(1)  # what follows is another word


@njit(**KERNEL)
def find_document_words_kernel(data, start_byte, end_byte, out_lower, out_kind, out_start, out_end):
    """Words of one document data[start_byte:end_byte]; returns how many.

    out_lower uint8 (n + 8,)    its bytes, lower-cased
    out_kind uint8 (n + 72,)    SEPARATOR, WORD or WORD_START per byte, LEAD beside; SEPARATOR behind the last to the end of its block
    out_start, out_end int32 (n // 2 + 2,)   word k is out_lower[out_start[k]:out_end[k]]
    Example: b"Ab, c" gives starts 0, 4 and ends 2, 5.

    Borders are bits of 64-byte masks, and only set bits are visited: about 1 cycle per byte where a loop over bytes takes 10.
    """
    num_bytes = end_byte - start_byte
    out_kind[num_bytes : (num_bytes // BLOCK_BYTES + 1) * BLOCK_BYTES] = SEPARATOR
    fold_ascii_kernel(data, start_byte, end_byte, out_lower, out_kind)
    mark_wide_kernel(out_lower, num_bytes, out_kind)
    num_starts = NONE
    num_ends = NONE
    before = NONE  # 1 when the byte before the block belongs to a word
    for at in range(0, num_bytes + 1, BLOCK_BYTES):
        word = gather_bits_kernel(out_kind, np.uint64(at), NONE)
        first = gather_bits_kernel(out_kind, np.uint64(at), ONE)
        after_word = (word << ONE) | before
        before = word >> LAST_BIT
        border = ~after_word | first
        starts = word & border
        ends = after_word & (~word | first)
        while starts != NONE:
            out_start[num_starts] = np.int32(at + np.int64(trailing_zeros(starts)))
            num_starts += ONE
            starts &= starts - ONE
        while ends != NONE:
            out_end[num_ends] = np.int32(at + np.int64(trailing_zeros(ends)))
            num_ends += ONE
            ends &= ends - ONE
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
