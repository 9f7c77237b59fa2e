"""Strings, numbers, times and whole values of JSON, from their bytes in a line to bytes as orjson would write them.

Legend: B bytes of a block of lines, padded with LANES + 16 bytes behind its last newline, so that a look ahead stays inside.
A position is an int64 index. Where something is not plain the position that comes back is DECLINED, and the line is left to a
parser that knows everything; where an output has no room, NO_ROOM.

Source: RFC 8259, sections 2 to 7. Deviations, all of them declined: depth over MAX_DEPTH, a key twice in an object, more than
MAX_KEYS keys of the objects that are open, numbers with an exponent or of more than MAX_NUMBER_BYTES bytes. UTF-8 is not looked at.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.numba_options import KERNEL_BORROWING_INNER
from dolma_py.vector_bytes_kernels import LANES, copy_run

import numpy as np  # isort: skip
from numba import njit  # isort: skip

DECLINED, NO_ROOM = -1, -2
MAX_DEPTH = 16
MAX_KEYS = 240
KEY_SLOTS = MAX_DEPTH + 2 + 2 * MAX_KEYS  # of a list of keys: first key of each depth, then start and end of each key
MAX_NUMBER_BYTES = 60
EXACT_DIGITS = 15  # a decimal of so many digits is the shortest that gives its float
ROOM = LANES + 16  # free bytes behind an output's end, for a copy of LANES and an escape

SPACE, QUOTE, BACKSLASH, COMMA, COLON, LOWER_U = 0x20, 0x22, 0x5C, 0x2C, 0x3A, 0x75
OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST = 0x7B, 0x7D, 0x5B, 0x5D
MINUS, PLUS, DOT, ZERO, NINE = 0x2D, 0x2B, 0x2E, 0x30, 0x39

MEANT = np.zeros(256, np.uint8)  # by the byte behind a backslash, 0 where none or `u`
SHORT = np.zeros(32, np.uint8)  # by control character, the byte behind the backslash, 0 where there is none
for _escape, _byte in (("b", 8), ("t", 9), ("n", 10), ("f", 12), ("r", 13)):
    MEANT[ord(_escape)], SHORT[_byte] = _byte, ord(_escape)
for _escape in '"\\/':
    MEANT[ord(_escape)] = ord(_escape)
HEX = np.full(256, 255, np.uint8)
for _value, _digit in enumerate("0123456789abcdef"):
    HEX[ord(_digit)] = HEX[ord(_digit.upper())] = _value
DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8).copy()


@njit(**KERNEL_BORROWING_INNER)
def skip_blanks_kernel(block, at):
    """The first position from `at` on that is no space, tab or carriage return."""
    while block[at] == SPACE or block[at] == 9 or block[at] == 13:
        at += 1
    return at


@njit(**KERNEL_BORROWING_INNER)
def read_hex_kernel(block, at):
    """The number of the four hexadecimal digits at `at`, -1 where they are not."""
    code = np.int64(0)
    for place in range(4):
        digit = HEX[block[at + place]]
        if digit == 255:
            return np.int64(-1)
        code = code * 16 + np.int64(digit)
    return code


@njit(**KERNEL_BORROWING_INNER)
def read_code_kernel(block, at):
    r"""(position behind it, code point) of `\uXXXX`, or of two that are a surrogate pair, at `at`; DECLINED for half of a pair."""
    code = read_hex_kernel(block, at + 2)
    if code < 0 or 0xDC00 <= code < 0xE000:
        return np.int64(DECLINED), code
    if code < 0xD800 or code >= 0xE000:
        return at + 6, code
    if block[at + 6] != BACKSLASH or block[at + 7] != LOWER_U:
        return np.int64(DECLINED), code
    low = read_hex_kernel(block, at + 8)
    if low < 0xDC00 or low >= 0xE000:
        return np.int64(DECLINED), code
    return at + 12, 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)


@njit(**KERNEL_BORROWING_INNER)
def put_code_kernel(code, out, to):
    """Write a code point as UTF-8; returns the end."""
    if code < 0x80:
        out[to] = code
        return to + 1
    if code < 0x800:
        out[to] = 0xC0 | code >> 6
    elif code < 0x10000:
        out[to] = 0xE0 | code >> 12
    else:
        out[to] = 0xF0 | code >> 18
        to += 1
        out[to] = 0x80 | code >> 12 & 0x3F
    if code >= 0x800:
        to += 1
        out[to] = 0x80 | code >> 6 & 0x3F
    out[to + 1] = 0x80 | code & 0x3F
    return to + 2


@njit(**KERNEL_BORROWING_INNER)
def put_text_kernel(block, at, out, to):
    """Write what the string means whose first character is at `at`: (position behind its quote, end of the text in out)."""
    room = len(out) - ROOM
    while to <= room:
        run = copy_run(block, at, out, to)
        at += run
        to += run
        if run == LANES:
            continue
        byte = block[at]
        if byte == QUOTE:
            return at + 1, to
        if byte != BACKSLASH:
            return np.int64(DECLINED), to
        meant = MEANT[block[at + 1]]
        if meant:
            out[to] = meant
            at, to = at + 2, to + 1
        elif block[at + 1] == LOWER_U:
            at, code = read_code_kernel(block, at)
            if at < 0:
                return at, to
            to = put_code_kernel(code, out, to)
        else:
            return np.int64(DECLINED), to
    return np.int64(NO_ROOM), to


@njit(**KERNEL_BORROWING_INNER)
def put_escaped_kernel(code, out, to):
    """Write a code point inside a string of JSON as orjson does: escaped only where it must be."""
    if code >= SPACE and code != QUOTE and code != BACKSLASH:
        return put_code_kernel(code, out, to)
    out[to] = BACKSLASH
    if code >= SPACE:
        out[to + 1] = code
        return to + 2
    if SHORT[code]:
        out[to + 1] = SHORT[code]
        return to + 2
    out[to + 1], out[to + 2], out[to + 3] = LOWER_U, ZERO, ZERO
    out[to + 4], out[to + 5] = DIGITS[code >> 4], DIGITS[code & 15]
    return to + 6


@njit(**KERNEL_BORROWING_INNER)
def put_string_kernel(block, at, out, to):
    """Write the string of JSON whose opening quote is at `at`, with its quotes: (position behind it, end in out)."""
    if block[at] != QUOTE:
        return np.int64(DECLINED), to
    if to > len(out) - ROOM:
        return np.int64(NO_ROOM), to
    out[to] = QUOTE
    at, to = at + 1, to + 1
    while to <= len(out) - ROOM:
        run = copy_run(block, at, out, to)
        at += run
        to += run
        if run == LANES:
            continue
        byte = block[at]
        if byte == QUOTE:
            out[to] = QUOTE
            return at + 1, to + 1
        if byte != BACKSLASH:
            return np.int64(DECLINED), to
        meant = MEANT[block[at + 1]]
        if meant:
            at, to = at + 2, put_escaped_kernel(np.int64(meant), out, to)
        elif block[at + 1] == LOWER_U:
            at, code = read_code_kernel(block, at)
            if at < 0:
                return at, to
            to = put_escaped_kernel(code, out, to)
        else:
            return np.int64(DECLINED), to
    return np.int64(NO_ROOM), to


@njit(**KERNEL_BORROWING_INNER)
def put_number_kernel(block, at, out, to):
    """Copy a number: (position behind it, end in out, is_integer, whether orjson may write it differently)."""
    if to > len(out) - ROOM - MAX_NUMBER_BYTES:
        return np.int64(NO_ROOM), to, False, False
    start = at
    is_negative = block[at] == MINUS
    at += is_negative
    first = at
    while ZERO <= block[at] <= NINE:
        at += 1
    whole = at - first
    if whole == 0 or (block[first] == ZERO and whole > 1):
        return np.int64(DECLINED), to, False, False
    is_integer = block[at] != DOT
    is_odd = whole > 18 or (is_negative and block[first] == ZERO)
    if not is_integer:
        at += 1
        behind = at
        zeros = 0
        while ZERO <= block[at] <= NINE:
            zeros += block[at] == ZERO and zeros == at - behind
            at += 1
        places = at - behind
        if places == 0:
            return np.int64(DECLINED), to, False, False
        is_small = block[first] == ZERO and zeros > 3
        is_odd = whole + places > EXACT_DIGITS or (places > 1 and (block[at - 1] == ZERO or is_small))
    if block[at] == 0x65 or block[at] == 0x45 or at - start > MAX_NUMBER_BYTES:  # e, E
        return np.int64(DECLINED), to, False, False
    for place in range(at - start):
        out[to + place] = block[start + place]
    return at, to + at - start, is_integer, is_odd


@njit(**KERNEL_BORROWING_INNER)
def match_word_kernel(block, at, word):
    """Whether the bytes of `word` (a tuple) stand at `at`."""
    is_match = True
    for place in range(len(word)):
        is_match &= block[at + place] == word[place]
    return is_match


TRUE, FALSE, NULL = (tuple(np.uint8(byte) for byte in word) for word in (b"true", b"false", b"null"))


@njit(**KERNEL_BORROWING_INNER)
def put_word_kernel(block, at, out, to):
    """Copy true, false or null."""
    if to > len(out) - ROOM:
        return np.int64(NO_ROOM), to
    length = 0
    if match_word_kernel(block, at, TRUE) or match_word_kernel(block, at, NULL):
        length = 4
    elif match_word_kernel(block, at, FALSE):
        length = 5
    if length == 0:
        return np.int64(DECLINED), to
    for place in range(length):
        out[to + place] = block[at + place]
    return at + length, to + length


@njit(**KERNEL_BORROWING_INNER)
def has_key_kernel(out, start, end, others, keys, first, num_keys):
    """Whether out[start:end] is one of the keys `first` to `num_keys` of a list, which stand in `others`."""
    for number in range(first, num_keys):
        begin = keys[MAX_DEPTH + 2 + 2 * number]
        if keys[MAX_DEPTH + 3 + 2 * number] - begin == end - start:
            place = np.int64(0)
            while place < end - start and out[start + place] == others[begin + place]:
                place += 1
            if place == end - start:
                return True
    return False
