"""Whether bytes are UTF-8, 32 of them in one step, see utf8.py."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER
from dolma_py.vector_bytes_kernels import LANES, copy_run, is_ascii, is_utf8_run

import numpy as np  # isort: skip
from numba import njit  # isort: skip

EDGE_BYTES = 3 * LANES  # of the scratch in which the first and the last bytes are looked at, zeros around them


@njit(**KERNEL_BORROWING_INNER)
def is_utf8_edge_kernel(data, start, end, before, edge):
    """Whether at most LANES bytes are UTF-8, `before` bytes in front of them; where they are fewer, nothing follows them."""
    for place in range(EDGE_BYTES):
        edge[place] = 0
    for place in range(-before, end - start):
        edge[LANES + place] = data[start + place]
    return is_utf8_run(edge, np.int64(LANES))


@njit(**KERNEL_BORROWING)
def is_utf8_kernel(data, start, end, edge):
    """Whether data[start:end] is UTF-8; data uint8, edge uint8 (EDGE_BYTES,), scratch."""
    at = min(start + LANES, end)
    if not is_utf8_edge_kernel(data, start, at, 0, edge):
        return False
    was_ascii = False  # the block before, so that no character of it goes on here
    while at + LANES <= end:
        was_ascii, is_plain = is_ascii(data, at), was_ascii
        if not (was_ascii and is_plain) and not is_utf8_run(data, at):
            return False
        at += LANES
    return end - start < LANES or is_utf8_edge_kernel(data, at, end, 3, edge)


@njit(**KERNEL_BORROWING_INNER)
def are_borders_kernel(data, offsets):
    """Whether offsets rise within the data, and none lies within a character."""
    previous = offsets[0]
    if previous < 0 or offsets[-1] > len(data):
        return False
    for offset in offsets:
        if offset < previous or (offset < offsets[-1] and data[offset] & 0xC0 == 0x80):
            return False
        previous = offset
    return True


@njit(**KERNEL_BORROWING)
def are_utf8_kernel(data, offsets, edge):
    """Whether each data[offsets[i]:offsets[i + 1]] is UTF-8, offsets int32 or int64 (N + 1,); False too where a text that is none is a null."""
    return are_borders_kernel(data, offsets) and is_utf8_kernel(data, np.int64(offsets[0]), np.int64(offsets[-1]), edge)


@njit(**KERNEL_BORROWING)
def copy_utf8_kernel(data, offsets, out, to, edge):
    """Copy data[offsets[0]:offsets[-1]] to out[to:] and say whether it is texts in UTF-8, as are_utf8_kernel does.

    The bytes go through the processor once. data and out uint8, apart; where there is no UTF-8, out[to:] may hold anything.
    """
    if not are_borders_kernel(data, offsets):
        return False
    start, end = np.int64(offsets[0]), np.int64(offsets[-1])
    at = min(start + LANES, end)
    shift = to - start
    for place in range(start, at):
        out[shift + place] = data[place]
    if not is_utf8_edge_kernel(data, start, at, 0, edge):
        return False
    was_ascii = False
    while at + LANES <= end:
        copy_run(data, at, out, shift + at)
        was_ascii, is_plain = is_ascii(data, at), was_ascii
        if not (was_ascii and is_plain) and not is_utf8_run(data, at):
            return False
        at += LANES
    for place in range(at, end):
        out[shift + place] = data[place]
    return end - start < LANES or is_utf8_edge_kernel(data, at, end, 3, edge)
