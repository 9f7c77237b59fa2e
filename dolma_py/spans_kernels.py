"""Kernels over span lists. A span is a half-open byte range [start, end) of one document's text.

Legend: N documents, S spans of all documents, B bytes of all texts. Spans of document i are rows
span_offsets[i]:span_offsets[i + 1] of starts and ends; sorted by start, not overlapping, inside the text.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from dolma_py import numba_options

# isort: split
import numba
import numpy as np


@numba.njit(**numba_options.KERNEL)
def cut_kernel(
    data: Any, offsets: Any, span_offsets: Any, starts: Any, ends: Any, out_data: Any, out_offsets: Any
) -> int:
    """Copy every text without its spans; returns the bytes written.

    data "abcdef", offsets [0, 6], one span [1, 3) -> out_data "adef", out_offsets [0, 4].
    """
    written = 0
    out_offsets[0] = 0
    for i in range(len(offsets) - 1):
        base = offsets[i]
        position = base
        for s in range(span_offsets[i], span_offsets[i + 1]):
            stop = base + starts[s]
            while position < stop:
                out_data[written] = data[position]
                written += 1
                position += 1
            position = base + ends[s]
        stop = offsets[i + 1]
        while position < stop:
            out_data[written] = data[position]
            written += 1
            position += 1
        out_offsets[i + 1] = written
    return written


@numba.njit(**numba_options.KERNEL)
def restore_kernel(
    span_offsets: Any,
    starts: Any,
    ends: Any,
    removed_offsets: Any,
    removed_starts: Any,
    removed_ends: Any,
    out_starts: Any,
    out_ends: Any,
) -> None:
    """Carry spans of an edited text back to the original text, given what the edit removed (sorted, disjoint).

    Removed [1, 3) of "abcdef" leaves "adef"; its span [1, 2) ("d") comes back as [3, 4), and [0, 2) ("ad") as [0, 4).
    A start moves past removals that begin at or before it, an end only past those that begin before it. Spans may come in
    any order and overlap; sorted ones cost O(spans + removals).
    """
    for i in range(len(span_offsets) - 1):
        stop = removed_offsets[i + 1]
        # removals counted so far for starts and for ends, and the bytes they took: sorted spans only move them on
        r_start = r_end = removed_offsets[i]
        before_start = before_end = 0
        for s in range(span_offsets[i], span_offsets[i + 1]):
            if s > span_offsets[i] and (starts[s] < starts[s - 1] or ends[s] < ends[s - 1]):
                r_start = r_end = removed_offsets[i]
                before_start = before_end = 0
            while r_start < stop and removed_starts[r_start] <= starts[s] + before_start:
                before_start += removed_ends[r_start] - removed_starts[r_start]
                r_start += 1
            while r_end < stop and removed_starts[r_end] < ends[s] + before_end:
                before_end += removed_ends[r_end] - removed_starts[r_end]
                r_end += 1
            out_starts[s] = starts[s] + before_start
            out_ends[s] = max(ends[s] + before_end, out_starts[s])


@numba.njit(**numba_options.KERNEL)
def merge_kernel(
    first_offsets: Any,
    first_starts: Any,
    first_ends: Any,
    other_offsets: Any,
    other_starts: Any,
    other_ends: Any,
    out_offsets: Any,
    out_starts: Any,
    out_ends: Any,
) -> int:
    """Union of two span lists per document; touching spans become one. Returns the number of spans written.

    [0, 2) with [1, 3) and [5, 6) -> [0, 3), [5, 6).
    """
    written = 0
    out_offsets[0] = 0
    for i in range(len(first_offsets) - 1):
        a = first_offsets[i]
        b = other_offsets[i]
        floor = written
        while a < first_offsets[i + 1] or b < other_offsets[i + 1]:
            take_first = b >= other_offsets[i + 1] or (a < first_offsets[i + 1] and first_starts[a] <= other_starts[b])
            if take_first:
                start = first_starts[a]
                end = first_ends[a]
                a += 1
            else:
                start = other_starts[b]
                end = other_ends[b]
                b += 1
            if start >= end:
                continue
            if written > floor and start <= out_ends[written - 1]:
                out_ends[written - 1] = max(out_ends[written - 1], end)
            else:
                out_starts[written] = start
                out_ends[written] = end
                written += 1
        out_offsets[i + 1] = written
    return written


@numba.njit(**numba_options.KERNEL)
def shift_kernel(
    removed_offsets: Any, removed_starts: Any, removed_ends: Any, position_offsets: Any, positions: Any, out: Any
) -> None:
    """Positions of original texts as positions of the edited texts: less the removed bytes before each. Positions ascend.

    Removed [1, 3) of "abcdef" leaves "adef"; positions [1, 2, 3, 4] become [1, 1, 1, 2].
    """
    for i in range(len(position_offsets) - 1):
        r, stop = removed_offsets[i], removed_offsets[i + 1]
        gone = 0  # bytes of the removals that end at or before the position
        for p in range(position_offsets[i], position_offsets[i + 1]):
            while r < stop and removed_ends[r] <= positions[p]:
                gone += removed_ends[r] - removed_starts[r]
                r += 1
            out[p] = positions[p] - gone
            if r < stop and removed_starts[r] < positions[p]:
                out[p] = removed_starts[r] - gone


@numba.njit(**numba_options.KERNEL)
def count_characters_kernel(data: Any, offsets: Any, out: Any) -> None:
    """Characters of every text. A character begins at byte 0 and at every later byte that continues no other.

    The two texts "a\u00e9" and "" in UTF-8 (3 and 0 bytes) -> out [2, 0].
    """
    for i in range(len(offsets) - 1):
        count = 0
        for b in range(offsets[i], offsets[i + 1]):
            if b == offsets[i] or (data[b] & np.uint8(0xC0)) != np.uint8(0x80):
                count += 1
        out[i] = count


@numba.njit(**numba_options.KERNEL)
def find_bytes_kernel(data: Any, offsets: Any, position_offsets: Any, positions: Any, out: Any) -> None:
    """Character positions as byte positions; positions of one text ascend, those behind its end become its length.

    "a\u00e9b" (4 bytes), positions [0, 1, 2, 3, 9] -> out [0, 1, 3, 4, 4].
    """
    for i in range(len(offsets) - 1):
        base, stop = offsets[i], offsets[i + 1]
        b = base
        count = 0  # characters that begin before byte b
        for p in range(position_offsets[i], position_offsets[i + 1]):
            while b < stop and (count < positions[p] or (b > base and (data[b] & np.uint8(0xC0)) == np.uint8(0x80))):
                if b == base or (data[b] & np.uint8(0xC0)) != np.uint8(0x80):
                    count += 1
                b += 1
            out[p] = b - base


@numba.njit(**numba_options.KERNEL)
def find_characters_kernel(data: Any, offsets: Any, position_offsets: Any, positions: Any, out: Any) -> None:
    """Byte positions as character positions: how many characters begin before each. Positions of one text ascend.

    "a\u00e9b" (4 bytes), positions [0, 1, 2, 3, 4] -> out [0, 1, 2, 2, 3]: a position inside a character counts it.
    """
    for i in range(len(offsets) - 1):
        base, stop = offsets[i], offsets[i + 1]
        b = base
        count = 0
        for p in range(position_offsets[i], position_offsets[i + 1]):
            while b < stop and b - base < positions[p]:
                if b == base or (data[b] & np.uint8(0xC0)) != np.uint8(0x80):
                    count += 1
                b += 1
            out[p] = count
