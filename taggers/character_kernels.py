"""Reading characters out of UTF-8 bytes: decoding and classes, shared by the other kernels of this folder.

Legend: B bytes of all texts together. Source of the word rules: Unicode Standard Annex 29, word boundaries.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.characters import EXTEND, OTHER, TABLE_SIZE


@njit(inline="always", **KERNEL)
def decode_kernel(data, start, end):
    """Code point and width in bytes of the character at data[start]; never reads at or past `end`.

    Input that is not UTF-8 gives some code point and a width of at least 1, so that a loop always ends.

    data = "a\\u00e9".encode(): decode_kernel(data, 0, 3) == (97, 1) and decode_kernel(data, 1, 3) == (233, 2)
    """
    byte = np.int64(data[start])
    if byte < 0x80:
        return byte, 1
    if byte < 0xE0:
        if byte < 0xC0 or start + 1 >= end:
            return 0xFFFD, 1
        return (byte & 0x1F) << 6 | (np.int64(data[start + 1]) & 0x3F), 2
    if byte < 0xF0:
        if start + 2 >= end:
            return 0xFFFD, 1
        middle = np.int64(data[start + 1]) & 0x3F
        return (byte & 0x0F) << 12 | middle << 6 | (np.int64(data[start + 2]) & 0x3F), 3
    if start + 3 >= end:
        return 0xFFFD, 1
    high = (byte & 0x07) << 18 | (np.int64(data[start + 1]) & 0x3F) << 12
    return high | (np.int64(data[start + 2]) & 0x3F) << 6 | (np.int64(data[start + 3]) & 0x3F), 4


@njit(inline="always", **KERNEL)
def character_class_kernel(table, code):
    """The entry of taggers.characters.character_table for any code point, those beyond the table included."""
    if code < TABLE_SIZE:
        return np.int64(table[code])
    if code == 0xE0001 or 0xE0020 <= code <= 0xE007F or 0xE0100 <= code <= 0xE01EF:
        return EXTEND
    return OTHER


@njit(inline="always", **KERNEL)
def lower_ascii_kernel(byte):
    """The small letter of a capital of ASCII, any other byte as it is; uint8 to uint8."""
    return byte | np.uint8(0x20) if 65 <= byte <= 90 else byte
