"""Counts of characters, words, lines and paragraphs over UTF-8 bytes.

Legend: N documents, B bytes of all texts together. One call per batch, one sweep over the bytes.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import SPACE_BIT

# columns of out_counts
CHARS, WORDS, WORD_CHARS, LINES, PARAGRAPHS = range(5)
NUM_COUNTS = 5


@njit(**KERNEL)
def count_lengths_kernel(data, offsets, table, out_counts):
    """Fill one row of counts per document.

    data : uint8 (B,)             texts, back to back
    offsets : int64 (N + 1,)      text i is data[offsets[i]:offsets[i + 1]]
    table : uint8 (TABLE_SIZE,)   taggers.characters.character_table
    out_counts : int64 (N, 5)     chars, words, chars in words, lines, paragraphs

    "ab c\\n\\n\\nd" has 8 chars, 3 words with 4 chars, 2 lines that are not blank and 2 paragraphs: (8, 3, 4, 2, 2)
    """
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        chars = words = word_chars = lines = paragraphs = 0
        in_word = in_line = in_paragraph = False
        newlines = 0
        while at < end:
            code, width = decode_kernel(data, at, end)
            at += width
            chars += 1
            if character_class_kernel(table, code) & SPACE_BIT:
                in_word = False
                if code == 10:
                    in_line = False
                    newlines += 1
                    # a paragraph ends at two line feeds in a row, as the repetition rules split them
                    if newlines == 2:
                        in_paragraph = False
                else:
                    newlines = 0
                continue
            newlines = 0
            words += 0 if in_word else 1
            lines += 0 if in_line else 1
            paragraphs += 0 if in_paragraph else 1
            in_word = in_line = in_paragraph = True
            word_chars += 1
        out_counts[row, CHARS] = chars
        out_counts[row, WORDS] = words
        out_counts[row, WORD_CHARS] = word_chars
        out_counts[row, LINES] = lines
        out_counts[row, PARAGRAPHS] = paragraphs
    return np.int64(len(offsets) - 1)
