"""Special tokens spelled in text, and the parts of chat templates around them. Legend: N documents, B bytes, M markers, S spans."""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

# what a marker is
TOKEN, HEADER, HEADER_END, ROLE = range(4)
MAX_ROLE_BYTES = 32
MAX_FEEDS = 2  # line feeds after a header that belong to it
_FEED = 10


@njit(**KERNEL_INNER)
def match_marker_kernel(data, at, end, markers, marker_offsets):
    """The number of the first marker that stands at data[at:], -1 for none; the caller has longer markers first."""
    for number in range(len(marker_offsets) - 1):
        start, size = marker_offsets[number], marker_offsets[number + 1] - marker_offsets[number]
        if at + size > end:
            continue
        place = np.int64(0)
        while place < size and data[at + place] == markers[start + place]:
            place += 1
        if place == size:
            return np.int64(number)
    return np.int64(-1)


@njit(**KERNEL_INNER)
def is_role_kernel(byte):
    """Letters, digits, "_" and "-" make a role's name."""
    is_letter = (65 <= byte <= 90) or (97 <= byte <= 122)
    return is_letter or (48 <= byte <= 57) or byte == 95 or byte == 45


@njit(**KERNEL_INNER)
def header_end_kernel(data, at, end, markers, marker_offsets, kinds):
    """Where the header that began before data[at] ends, and how many markers it holds; (at, 0) when no role follows, so it is none."""
    stop = at
    while stop < end and stop - at < MAX_ROLE_BYTES and is_role_kernel(data[stop]):
        stop += 1
    number = match_marker_kernel(data, stop, end, markers, marker_offsets) if stop < end else np.int64(-1)
    if number >= 0 and kinds[number] == HEADER_END:
        return stop + marker_offsets[number + 1] - marker_offsets[number], 1
    if stop > at and (stop == end or data[stop] == _FEED):
        return stop, 0
    return at, -1


@njit(**KERNEL)
def find_markup_kernel(data, offsets, markers, marker_offsets, kinds, first_bytes, counts, span_offsets, starts, ends):
    """Count markers and turns of each document, and write the spans that leave plain lines; with no room (S = 0) only count.

    data : uint8 (B,), offsets : int64 (N + 1,)             text i is data[offsets[i]:offsets[i + 1]]
    markers : uint8, marker_offsets : int64 (M + 1,)        their bytes, longer ones first
    kinds : uint8 (M,)                                      TOKEN: it goes. HEADER: it goes with the role behind it, and a HEADER_END.
                                                            ROLE: it is a whole header
    first_bytes : uint8 (256,)                              1 for what a marker begins with
    counts : int64 (N, 2)                                   markers, turns (headers)
    span_offsets : int64 (N + 1,)                           filled: spans of document i are span_offsets[i]:span_offsets[i + 1]
    starts, ends : int64 (S,)                               bytes from the start of the document

    A header takes up to two line feeds along, but leaves the last one where the text before would run on into what follows:
    "Hi<|im_end|>\\n<|im_start|>user\\nYes" keeps "Hi", line feed, "Yes": spans (2, 12) and (13, 30), 2 markers, 1 turn
    """
    found = np.int64(0)
    span_offsets[0] = 0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        at, cut_from = begin, np.int64(-1)
        num_markers, num_turns, own = np.int64(0), np.int64(0), np.int64(0)
        last = np.int64(-1)  # the last byte that stays; -1: none yet
        cut_to = begin
        while at < end:
            number = (
                match_marker_kernel(data, at, end, markers, marker_offsets) if first_bytes[data[at]] else np.int64(-1)
            )
            if number < 0:
                last = np.int64(data[at])
                at += 1
                continue
            start = at
            at += marker_offsets[number + 1] - marker_offsets[number]
            num_markers += 1
            is_header = kinds[number] == ROLE
            if kinds[number] == HEADER:
                stop, more = header_end_kernel(data, at, end, markers, marker_offsets, kinds)
                is_header = more >= 0
                at, num_markers = stop, num_markers + max(more, 0)
            if is_header:
                num_turns += 1
                feeds = np.int64(0)
                while at < end and data[at] == _FEED and feeds < MAX_FEEDS:
                    at, feeds = at + 1, feeds + 1
                if feeds > 0 and last >= 0 and last != _FEED:
                    at -= 1
            if cut_from >= 0 and cut_to == start:
                cut_to = at
            else:
                own += cut_from >= 0
                cut_from, cut_to = start, at
                if len(starts):
                    starts[found + own] = cut_from - begin
            if len(starts):
                ends[found + own] = cut_to - begin
        own += cut_from >= 0
        found += own
        counts[row, 0], counts[row, 1] = num_markers, num_turns
        span_offsets[row + 1] = found
