"""Where the sentences, lines or paragraphs of texts begin and end.

Legend: N texts, B bytes of all texts together, U units.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import SPACE_BIT

SENTENCE, LINE, PARAGRAPH = range(3)


@njit(inline="always", **KERNEL)
def _closes(code):
    """Quotation marks and brackets that may stand between a sentence's end mark and the white space."""
    return code in (0x22, 0x27, 0x29, 0x5D, 0x201D, 0x2019, 0xBB)


@njit(**KERNEL)
def find_units_kernel(data, offsets, classes, kind, out_starts, out_ends, out_offsets):
    """Fill the first byte and the end of each unit, outer white space apart; return U.

    data, offsets : uint8 (B,), int64 (N + 1,)  texts, back to back
    classes : uint8 (TABLE_SIZE,)               taggers.characters.character_table
    kind : int                                  SENTENCE: ends at . ! ? (and closing marks) before white space, at CJK full stops, and at
                                                line feeds; LINE; PARAGRAPH: ends at two line feeds with nothing but white space between
    out_starts, out_ends : int64 (C,)           bytes in data; C = (B + N) // 2 + 1 suffices (a CJK full stop is three bytes)
    out_offsets : int64 (N + 1,)                units before each text

    "A b. C\\nd" has the sentences "A b.", "C" and "d"
    """
    count = np.int64(0)
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        start = last = np.int64(-1)  # of the unit: first byte, end of its last character that is no white space
        num_feeds = np.int64(0)
        is_ended = False  # an end mark stands behind, and nothing but closing marks after it
        while at < end:
            code, width = decode_kernel(data, at, end)
            at += width
            if character_class_kernel(classes, code) & SPACE_BIT:
                num_feeds += code == 10
                parts = is_ended or num_feeds >= 1 if kind == SENTENCE else num_feeds >= kind
                if start >= 0 and parts:
                    out_starts[count], out_ends[count] = start, last
                    count += 1
                    start = np.int64(-1)
                continue
            if start < 0:
                start = at - width
                is_ended = False
            num_feeds = np.int64(0)
            last = at
            is_ended = code in (0x2E, 0x21, 0x3F) or (is_ended and _closes(code))
            if kind == SENTENCE and code in (0x3002, 0xFF01, 0xFF1F):
                out_starts[count], out_ends[count] = start, last
                count += 1
                start = np.int64(-1)
        if start >= 0:
            out_starts[count], out_ends[count] = start, last
            count += 1
        out_offsets[row + 1] = count
    return count
