"""Line lengths and character shares of source code over UTF-8 bytes.

Legend: N documents, B bytes of all texts together. One sweep over the bytes.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import ALNUM_BIT, ALPHA_BIT

# columns of out_counts
CHARS, LINES, MAX_LINE_CHARS, LINE_CHARS, ALNUM_CHARS, ALPHA_CHARS = range(6)
NUM_COUNTS = 6
_LINE_FEED = 10


@njit(**KERNEL)
def count_code_kernel(data, offsets, table, out_counts):
    """Fill one row of counts per document.

    data : uint8 (B,), offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    table : uint8 (TABLE_SIZE,)                    taggers.characters.character_table
    out_counts : int64 (N, 6)                      chars, lines, chars of the longest line, chars in lines, alphanumeric chars,
                                                   letters

    A line feed ends a line and is no part of it; blank lines count. "x = 1\\n\\nab" has 9 chars, 3 lines, the longest of 5,
    7 chars in lines, 4 alphanumeric chars and 3 letters: (9, 3, 5, 7, 4, 3)
    """
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        chars = lines = longest = in_lines = alnum = alpha = line_chars = np.int64(0)
        while at < end:
            code, width = decode_kernel(data, at, end)
            at += width
            chars += 1
            if code == _LINE_FEED:
                lines += 1
                longest = max(longest, line_chars)
                in_lines += line_chars
                line_chars = np.int64(0)
                continue
            entry = character_class_kernel(table, code)
            line_chars += 1
            alnum += entry & ALNUM_BIT != 0
            alpha += entry & ALPHA_BIT != 0
        if line_chars > 0:
            lines += 1
            longest = max(longest, line_chars)
            in_lines += line_chars
        out_counts[row, CHARS] = chars
        out_counts[row, LINES] = lines
        out_counts[row, MAX_LINE_CHARS] = longest
        out_counts[row, LINE_CHARS] = in_lines
        out_counts[row, ALNUM_CHARS] = alnum
        out_counts[row, ALPHA_CHARS] = alpha
    return np.int64(len(offsets) - 1)
