"""Texts rewritten character by character with a table: lower case, punctuation, accents, digits, as the named rules want it.

Legend: N documents, B bytes of all of them.
The table has one uint32 per code point: the action in the top 4 bits, then 4 bits with the length and 24 bits with the place of
what replaces the character in a pool of bytes. A byte that is not UTF-8 stays as it is, so that any bytes have an answer.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

COPY, SEPARATE, REPLACE, DIGIT = 0, 1, 2, 3  # actions; a run of DIGIT becomes one replacement
ACTION_SHIFT, LENGTH_SHIFT = np.uint32(28), np.uint32(24)
LENGTH_MASK, PLACE_MASK = np.uint32(15), np.uint32(0xFFFFFF)
SPACE = np.uint8(32)


@njit(**KERNEL)
def decode_character_kernel(data, at, end_byte):
    """(code point, bytes) of the character at byte `at`; (-1, 1) where it is not UTF-8 by table 3-7 of the Unicode standard.

    Example: b"\\xc3\\xa9" gives 233, 2; b"\\xc0\\xaf" (overlong) gives -1, 1.
    """
    lead = np.int64(data[at])
    if lead < 0x80:
        return lead, 1
    width = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 1
    if width == 1 or at + width > end_byte:
        return -1, 1
    second = np.int64(data[at + 1])
    lowest, highest = 0x80, 0xBF
    if lead == 0xE0:
        lowest = 0xA0
    elif lead == 0xED:
        highest = 0x9F
    elif lead == 0xF0:
        lowest = 0x90
    elif lead == 0xF4:
        highest = 0x8F
    if second < lowest or second > highest:
        return -1, 1
    point = ((lead & (0x3F >> (width - 1))) << 6) | (second & 0x3F)
    for k in range(2, width):
        byte = np.int64(data[at + k])
        if byte & 0xC0 != 0x80:
            return -1, 1
        point = (point << 6) | (byte & 0x3F)
    return point, width


@njit(**KERNEL)
def apply_rules_kernel(data, offsets, table, pool, collapse, out_data, out_offsets):
    """Rewrite N documents by the table; returns the number of bytes written.

    data uint8 (B,), offsets int64 (N + 1,), table uint32 (0x110000,), pool uint8, out_data uint8 (>= what the table can make of
    B bytes,), out_offsets int64 (N + 1,)
    A separating character becomes a space; with `collapse` a run of them one space, and none at either end.
    Example: lower-casing, b"A,  b!" gives b"a b" with collapse and b"a   b " without. Cost: O(B).
    """
    to = 0
    out_offsets[0] = 0
    for i in range(len(offsets) - 1):
        at, end_byte, first = offsets[i], offsets[i + 1], to
        is_waiting = False  # a separator was seen that is not written yet
        after_digit = False
        while at < end_byte:
            byte = data[at]
            point, width = np.int64(byte), 1
            if byte >= np.uint8(0x80):
                point, width = decode_character_kernel(data, at, end_byte)
            entry = table[point] if point >= 0 else np.uint32(0)
            action = entry >> ACTION_SHIFT
            if action == SEPARATE:
                if collapse:
                    is_waiting = True
                else:
                    out_data[to] = SPACE
                    to += 1
                after_digit = False
                at += width
                continue
            length = width if action == COPY else np.int64((entry >> LENGTH_SHIFT) & LENGTH_MASK)
            if length > 0 and not (action == DIGIT and after_digit and not is_waiting):
                if is_waiting and to > first:
                    out_data[to] = SPACE
                    to += 1
                is_waiting = False
                place = np.int64(entry & PLACE_MASK)
                for k in range(length):
                    out_data[to + k] = data[at + k] if action == COPY else pool[place + k]
                to += length
                after_digit = action == DIGIT
            at += width
        out_offsets[i + 1] = to
    return to
