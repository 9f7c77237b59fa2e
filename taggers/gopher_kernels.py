"""Gopher quality statistics over UTF-8 bytes: one sweep over each line gives words, symbols, bullets, ellipses, segments.

Legend: N documents, B bytes of all texts together, L lines or paragraphs of one document.
Source: Rae et al. 2021 (Gopher), table A1; the readings of DCLM (baselines/mappers/filters/content_filters.py, commit
c7ed275), see taggers/gopher.py for what they decide.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import xxh64_kernel
from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import ALPHA_BIT, SPACE_BIT
from taggers.stop_words import PACKED_STOP_WORDS

# columns of out_counts that this file fills
SPACED_WORDS, SPACED_WORD_CHARS, ALPHA_WORDS, STOP_WORDS, SYMBOLS, LINES, BULLET_LINES, ELLIPSIS_LINES = range(8)
NUM_QUALITY_COUNTS = 8

_SEED = np.uint64(0)
_LINE_FEED, _SPACE, _HASH_SIGN, _STAR, _HYPHEN, _DOT = 10, 32, 35, 42, 45, 46
_ELLIPSIS = 0x2026
_THE, _BE, _TO, _OF, _AND, _THAT, _HAVE, _WITH = PACKED_STOP_WORDS


@njit(inline="always", **KERNEL)
def is_stop_word_kernel(data, start, end):
    """Whether data[start:end], lower-cased, is one of the eight stop words: b"The" is, b"then" is not."""
    width = end - start
    if width < 2 or width > 4:
        return False
    packed = 0
    for i in range(width):
        # 0x20 turns A-Z into a-z and no other byte into a letter
        packed |= (np.int64(data[start + i]) | 0x20) << (8 * i)
    if width == 2:
        return (packed == _BE) | (packed == _TO) | (packed == _OF)
    if width == 3:
        return (packed == _THE) | (packed == _AND)
    return (packed == _THAT) | (packed == _HAVE) | (packed == _WITH)


@njit(inline="always", **KERNEL)
def starts_with_bullet_kernel(data, start, end):
    """Whether data[start:end] starts with one of: black circle U+25CF, bullet U+2022, "*", "-"."""
    first = data[start]
    if (first == _STAR) | (first == _HYPHEN):
        return True
    if first != 0xE2 or start + 2 >= end:
        return False
    return (data[start + 1] == 0x97 and data[start + 2] == 0x8F) or (
        data[start + 1] == 0x80 and data[start + 2] == 0xA2
    )


@njit(inline="always", **KERNEL)
def ends_with_ellipsis_kernel(data, start, end):
    """Whether data[start:end] ends with "...", ". . ." or U+2026."""
    if end - start < 3:
        return False
    if data[end - 1] == _DOT:
        if data[end - 2] == _DOT and data[end - 3] == _DOT:
            return True
        spaced = end - start >= 5 and data[end - 2] == _SPACE and data[end - 3] == _DOT
        return spaced and data[end - 4] == _SPACE and data[end - 5] == _DOT
    return data[end - 1] == 0xA6 and data[end - 2] == 0x80 and data[end - 3] == 0xE2


@njit(**KERNEL)
def sweep_line_kernel(data, start, end, table, out_row):
    """Add the words and symbols of one line, data[start:end], to out_row.

    Returns (first byte, end byte, first char, end char, chars): where the line without outer white space lies, counted from
    `start` in characters, and how many characters the whole line has. A blank line gives first byte == end byte.

    b" The # x... " adds 3 words with 8 chars, 2 with letters, 1 stop word, 2 symbols, and returns (1, 11, 1, 11, 12)
    """
    at = start
    chars = first_byte = end_byte = first_char = end_char = np.int64(0)
    word_start = np.int64(-1)
    has_alpha = False
    words = word_chars = alpha_words = stop_words = symbols = np.int64(0)
    dots = spaced_dots = np.int64(0)  # length of the current run of "." and of the current run of ". "
    # branches at word borders, because sums without branches were measured slower here
    while at < end:
        code, width = decode_kernel(data, at, end)
        entry = character_class_kernel(table, code)
        if entry & SPACE_BIT:
            if word_start >= 0:
                alpha_words += has_alpha
                stop_words += is_stop_word_kernel(data, word_start, at)
                word_start = np.int64(-1)
        else:
            if word_start < 0:
                if words == 0:
                    first_byte, first_char = at, chars
                word_start = at
                has_alpha = False
                words += 1
            has_alpha |= entry & ALPHA_BIT != 0
            word_chars += 1
            end_byte, end_char = at + width, chars + 1
        if code == _DOT:
            dots += 1
            follows = at - start >= 2 and data[at - 1] == _SPACE and data[at - 2] == _DOT
            spaced_dots = spaced_dots + 1 if follows else np.int64(1)
            # like str.count: occurrences do not overlap, so every third one counts
            symbols += (dots % 3 == 0) + (spaced_dots % 3 == 0)
        else:
            dots = np.int64(0)
            symbols += (code == _HASH_SIGN) | (code == _ELLIPSIS)
        at += width
        chars += 1
    if word_start >= 0:
        alpha_words += has_alpha
        stop_words += is_stop_word_kernel(data, word_start, end)
    out_row[SPACED_WORDS] += words
    out_row[SPACED_WORD_CHARS] += word_chars
    out_row[ALPHA_WORDS] += alpha_words
    out_row[STOP_WORDS] += stop_words
    out_row[SYMBOLS] += symbols
    return first_byte, end_byte, first_char, end_char, chars


@njit(**KERNEL)
def sweep_document_kernel(data, start, end, table, segments, out_row):
    """Quality counts of one document into out_row, its lines and paragraphs into `segments`.

    segments : SegmentScratch   line_hashes[:L] and line_chars[:L], paragraph_hashes and paragraph_chars likewise: segments
                                without outer white space, blank ones left out. A paragraph ends at an empty line.
    out_row : int64 (8,)        columns SPACED_WORDS ... ELLIPSIS_LINES

    Returns (lines, paragraphs); counts beyond the capacity of `segments` are not stored, the caller enlarges and calls again.
    """
    out_row[:NUM_QUALITY_COUNTS] = 0
    lines = paragraphs = chars_before = np.int64(0)
    open_start = open_end = open_first_char = open_end_char = np.int64(-1)  # the paragraph being read
    line_start = start
    while line_start <= end:
        line_end = line_start
        while line_end < end and data[line_end] != _LINE_FEED:
            line_end += 1
        first, last, first_char, end_char, chars = sweep_line_kernel(data, line_start, line_end, table, out_row)
        if first < last:
            if lines < len(segments.line_hashes):
                segments.line_hashes[lines] = xxh64_kernel(data, first, last, _SEED)
                segments.line_chars[lines] = end_char - first_char
            lines += 1
            out_row[BULLET_LINES] += starts_with_bullet_kernel(data, first, last)
            out_row[ELLIPSIS_LINES] += ends_with_ellipsis_kernel(data, first, last)
            if open_start < 0:
                open_start, open_first_char = first, chars_before + first_char
            open_end, open_end_char = last, chars_before + end_char
        if open_start >= 0 and (line_start == line_end or line_end >= end):
            if paragraphs < len(segments.paragraph_hashes):
                segments.paragraph_hashes[paragraphs] = xxh64_kernel(data, open_start, open_end, _SEED)
                segments.paragraph_chars[paragraphs] = open_end_char - open_first_char
            paragraphs += 1
            open_start = np.int64(-1)
        chars_before += chars + 1
        line_start = line_end + 1
    out_row[LINES] = lines
    return lines, paragraphs
