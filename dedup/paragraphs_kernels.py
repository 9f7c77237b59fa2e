"""Lines and paragraphs of documents as byte positions.

Legend: N documents, B bytes of all of them, U units (lines or paragraphs). Positions count from the first byte of the document.

A line ends before "\n" or "\r\n", or with the text. A line without anything but spaces, tabs and "\r" is blank. Units are the lines
that are not empty, or the longest runs of lines that are not blank. What is cut with a unit reaches to the next unit's first line:
its line end, and the blank lines after it.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

NEWLINE, RETURN, SPACE, TAB = np.uint8(10), np.uint8(13), np.uint8(32), np.uint8(9)


@njit(**KERNEL)
def find_line_end_kernel(data, at, end):
    """The first byte from `at` on that is a newline, or `end`: b"ab\\nc" from 0 gives 2."""
    while at < end and data[at] != NEWLINE:
        at += 1
    return at


@njit(**KERNEL)
def is_blank_kernel(data, start, end):
    """Whether data[start:end] has nothing but spaces, tabs and carriage returns: b" \\t" is blank, b" a" is not."""
    while start < end and (data[start] == SPACE or data[start] == TAB or data[start] == RETURN):
        start += 1
    return start == end


@njit(**KERNEL)
def split_units_kernel(data, offsets, by_paragraph, out_start, out_end, out_cut, out_unit_offsets):
    """Units of N documents: [start, end) is the unit's own text, [start, cut) what leaves when it is cut.

    data uint8 (B,), offsets int64 (N + 1,), by_paragraph bool, out_start, out_end, out_cut int64 (>= newlines + N,),
    out_unit_offsets int64 (N + 1,)
    Example: b"a\\n\\nb\\r\\nc" has lines (0, 1, 2), (3, 4, 6), (6, 7, 7) and paragraphs (0, 1, 3), (3, 7, 7). Cost: O(B).
    """
    count = 0
    out_unit_offsets[0] = 0
    for i in range(len(offsets) - 1):
        first, end = offsets[i], offsets[i + 1]
        at = first
        is_open = False  # the paragraph before goes on
        has_unit = False  # the document has a unit whose cut is not known
        while at < end:
            line_end = find_line_end_kernel(data, at, end)
            text_end = line_end
            if text_end > at and data[text_end - 1] == RETURN and line_end < end:
                text_end -= 1
            is_unit = text_end > at and not (by_paragraph and is_blank_kernel(data, at, text_end))
            if is_unit and not is_open:
                if has_unit and by_paragraph:
                    out_cut[count - 1] = at - first
                out_start[count] = at - first
                count += 1
                has_unit = True
            after = min(line_end + 1, end)
            if is_unit:
                out_end[count - 1] = text_end - first
                out_cut[count - 1] = after - first
            is_open = is_unit and by_paragraph
            at = after
        if has_unit and by_paragraph:
            out_cut[count - 1] = end - first
        out_unit_offsets[i + 1] = count
    return count


@njit(**KERNEL)
def count_words_kernel(data, start_byte, end_byte, out_counts):
    """Words of U ranges of normalised text, whose words stand between single spaces. b"a cat" has 2, b"" none. Cost: O(bytes)."""
    for i in range(len(out_counts)):
        count = 1 if end_byte[i] > start_byte[i] else 0
        for at in range(start_byte[i], end_byte[i]):
            count += data[at] == SPACE
        out_counts[i] = count
