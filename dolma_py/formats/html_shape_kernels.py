"""One pass over the bytes of an HTML page each: what stands outside of comments and scripts, and where tags are long.

Legend: B bytes of a page. Positions are int64.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

LESS, GREATER, SLASH, BANG, MINUS, DOUBLE, SINGLE = 0x3C, 0x3E, 0x2F, 0x21, 0x2D, 0x22, 0x27
# contents of these are no markup; as bytes back to back, each ends at one of the places
RAW_NAMES = np.frombuffer(b"scriptstyletextareatitle", np.uint8).copy()
RAW_ENDS = np.array([0, 6, 11, 19, 24], np.int64)


@njit(**KERNEL_BORROWING_INNER)
def is_letter_kernel(byte):
    """Whether it is one of A to Z or a to z."""
    return 0x61 <= byte | 0x20 <= 0x7A


@njit(**KERNEL_BORROWING_INNER)
def is_word_kernel(byte):
    """Whether it is a letter, a digit or an underscore."""
    return is_letter_kernel(byte) or 0x30 <= byte <= 0x39 or byte == 0x5F


@njit(**KERNEL_BORROWING_INNER)
def match_name_kernel(data, at, name):
    """Whether the raw element's name stands at `at`, in capitals or not."""
    start, length = RAW_ENDS[name], RAW_ENDS[name + 1] - RAW_ENDS[name]
    if at + length > len(data):
        return False
    place = 0
    while place < length and is_letter_kernel(data[at + place]) and data[at + place] | 0x20 == RAW_NAMES[start + place]:
        place += 1
    return place == length


@njit(**KERNEL_BORROWING_INNER)
def find_raw_kernel(data, at):
    """(where the stretch begins, name) of the comment, -1, or raw element that starts with the `<` at `at`; (0, 0) for none."""
    num_bytes = len(data)
    if at + 4 <= num_bytes and data[at + 1] == BANG and data[at + 2] == MINUS and data[at + 3] == MINUS:
        return at + 4, np.int64(-1)
    for name in range(4):
        if match_name_kernel(data, at + 1, name):
            end = at + 1 + RAW_ENDS[name + 1] - RAW_ENDS[name]
            if end == num_bytes or not is_word_kernel(data[end]):
                return end, np.int64(name)
    return np.int64(0), np.int64(0)


@njit(**KERNEL_BORROWING_INNER)
def find_raw_end_kernel(data, at, name):
    """Where the comment's `-->` or the element's `</name` stands behind `at`; B where it does not."""
    for place in range(at, len(data) - 2):
        if name < 0:
            if data[place] == MINUS and data[place + 1] == MINUS and data[place + 2] == GREATER:
                return place
        elif data[place] == LESS and data[place + 1] == SLASH and match_name_kernel(data, place + 2, name):
            return place
    return len(data)


@njit(**KERNEL_BORROWING)
def cut_raw_kernel(data, out):
    """Copy uint8 (B,) data without the stretches in which there is no markup to uint8 (B,) out; returns the bytes written."""
    at = to = np.int64(0)
    while at < len(data):
        start = name = np.int64(0)
        if data[at] == LESS:
            start, name = find_raw_kernel(data, at)
        if start == 0:
            out[to] = data[at]
            at, to = at + 1, to + 1
            continue
        for place in range(at, start):
            out[to + place - at] = data[place]
        to += start - at
        at = find_raw_end_kernel(data, start, name)
    return to


@njit(**KERNEL_BORROWING)
def find_long_tags_kernel(data, min_bytes, spans):
    """Tags of more than min_bytes, from `<` and a letter to before the `>` outside of quotes, into int64 (M, 2) spans; returns how many.

    A quote without a second one is a byte as any other. What does not fit in spans is not written, but the scan ends there.
    """
    num_bytes, num_spans = len(data), np.int64(0)
    ends_double = ends_single = False  # no such quote stands behind
    at = np.int64(0)
    while at + 1 < num_bytes and num_spans < len(spans):
        if data[at] != LESS or not is_letter_kernel(data[at + 1]):
            at += 1
            continue
        start = at
        at += 2
        while at < num_bytes and data[at] != GREATER:
            byte = data[at]
            at += 1
            if (byte == DOUBLE and not ends_double) or (byte == SINGLE and not ends_single):
                place = at
                while place < num_bytes and data[place] != byte:
                    place += 1
                if place < num_bytes:
                    at = place + 1
                elif byte == DOUBLE:
                    ends_double = True
                else:
                    ends_single = True
        if at - start > min_bytes:
            spans[num_spans, 0], spans[num_spans, 1] = start, at
            num_spans += 1
    return num_spans
