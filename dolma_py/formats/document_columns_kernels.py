"""Metadata of documents, a column of JSON objects, written once more as orjson would, with what a reader adds to each."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.formats.json_lines_kernels import put_integer_kernel, put_value_kernel
from dolma_py.formats.json_values_kernels import (
    CLOSE_OBJECT,
    COLON,
    COMMA,
    DECLINED,
    MAX_DEPTH,
    NULL,
    OPEN_OBJECT,
    QUOTE,
    match_word_kernel,
    skip_blanks_kernel,
)
from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

MAX_MOVES = 4  # of a name that is taken: so many prefixes it may get here
PREFIX = b"top_level_"
PREFIX_BYTES = len(PREFIX)
# the longest names, without the first quote: those with fewer prefixes are their ends
SOURCE_NAME, ORIGIN_NAME = (
    np.array(bytearray(PREFIX * MAX_MOVES + name), np.uint8) for name in (b'source"', b'origin"')
)


@njit(**KERNEL_BORROWING_INNER)
def put_bytes_kernel(data, start, end, out, to):
    """Copy data[start:end]; returns the end."""
    for place in range(start, end):
        out[to + place - start] = data[place]
    return to + end - start


@njit(**KERNEL_BORROWING_INNER)
def find_key_kernel(name, moves, out, keys, num_keys):
    """The number of the key in `out` that is `name` with so many prefixes, -1 where there is none."""
    first = PREFIX_BYTES * (MAX_MOVES - moves)
    for number in range(num_keys):
        start = keys[MAX_DEPTH + 2 + 2 * number] + 1
        length = keys[MAX_DEPTH + 3 + 2 * number] - start
        if length == len(name) - first:
            place = np.int64(0)
            while place < length and out[start + place] == name[first + place]:
                place += 1
            if place == length:
                return np.int64(number)
    return np.int64(-1)


@njit(**KERNEL_BORROWING_INNER)
def find_value_kernel(number, keys, num_keys, end):
    """(start, end) of a key's value in an object whose last value ends at `end`."""
    is_last = number + 1 == num_keys
    return keys[MAX_DEPTH + 3 + 2 * number] + 1, end if is_last else keys[MAX_DEPTH + 4 + 2 * number] - 1


@njit(**KERNEL_BORROWING_INNER)
def is_same_kernel(data, start, end, others, first, stop):
    """Whether data[start:end] equals others[first:stop]."""
    place = np.int64(0)
    if end - start != stop - first:
        return False
    while place < end - start and data[start + place] == others[first + place]:
        place += 1
    return place == end - start


@njit(**KERNEL_BORROWING_INNER)
def put_kept_kernel(data, start, end, name, moves, out, to, is_first, keys, num_keys, object_end):
    """Write a field behind an object's own, under `name` with so many prefixes or, where other values have these names, with more.

    data[start:end] is the value. Returns the end, which is `to` where the object says the same under such a name; DECLINED for values
    that are no strings, whose bytes do not tell whether they are equal.
    """
    while moves <= MAX_MOVES:
        number = find_key_kernel(name, moves, out, keys, num_keys)
        if number < 0:
            if not is_first:
                out[to] = COMMA
                to += 1
            out[to] = QUOTE
            to = put_bytes_kernel(name, PREFIX_BYTES * (MAX_MOVES - moves), len(name), out, to + 1)
            out[to] = COLON
            return put_bytes_kernel(data, start, end, out, to + 1)
        first, stop = find_value_kernel(number, keys, num_keys, object_end)
        if data[start] != QUOTE and out[first] != QUOTE:
            return np.int64(DECLINED)
        if is_same_kernel(data, start, end, out, first, stop):
            return to
        moves += 1
    return np.int64(DECLINED)


@njit(**KERNEL_BORROWING_INNER)
def put_origin_kernel(origin, number, out, to, is_first):
    """Write `"origin":"path:number"` behind an object's fields; returns the end."""
    if not is_first:
        out[to] = COMMA
        to += 1
    to = put_integer_kernel(number, out, put_bytes_kernel(origin, 0, len(origin), out, to))
    out[to] = QUOTE
    return to + 1


@njit(**KERNEL_BORROWING_INNER)
def move_origin_kernel(own, origin, number, out, to, keys, num_keys, object_end):
    """Write the origin of an object whose key `own` is that name already: its value moves to a name that is free.

    Nothing changes where it is what would be written, and null is not kept. `to` is the end of what stands behind the object's own fields,
    which end at object_end. Returns the end, or DECLINED.
    """
    first, stop = find_value_kernel(own, keys, num_keys, object_end)
    end = put_origin_kernel(origin, number, out, to, False)
    if is_same_kernel(out, first, stop, out, to + 10, end):  # the comma and the name are 10 bytes
        return to
    if not match_word_kernel(out, first, NULL):
        to = put_kept_kernel(out, first, stop, ORIGIN_NAME, 1, out, to, False, keys, num_keys, object_end)
        if to < 0:
            return to
    end = put_origin_kernel(origin, number, out, to, False)
    gap = keys[MAX_DEPTH + 2 + 2 * own]
    behind = object_end + 1 if own + 1 == num_keys else stop + 1
    for place in range(end - behind):
        out[gap + place] = out[behind + place]
    return end - (behind - gap)


@njit(**KERNEL_BORROWING)
def write_objects_kernel(
    data, offsets, sources, source_offsets, source_numbers, origin, first_number, out, out_offsets, is_odd, keys
):  # fmt: skip
    """Write N objects with a source and their origin behind what they have; returns the rows written, N when all are plain.

    Values of their own under these names are kept as dolma_py.formats.fields.keep_rest and put_own do.

    data : uint8 (B,)                  the objects' JSON in UTF-8, or nothing; a control character and ROOM bytes follow the last one
    offsets : int64 (N + 1,)           object i is data[offsets[i]:offsets[i + 1]]
    sources : uint8, source_offsets : int64   strings of JSON; source_numbers : int64 (N,), which one row i gets, -1 for none
    origin : uint8                     `"origin":"path:`, empty for none; the number of row i is first_number + i
    out : uint8, out_offsets : int64 (N + 1,)   room for all of this with MAX_MOVES prefixes for a row, for the longest object once more, and for
                                       ROOM + MAX_NUMBER_BYTES; nothing for an object without fields
    is_odd : uint8 (N,)                1 where numbers may have to be written differently
    keys : int64 (KEY_SLOTS,)          scratch
    """
    to = out_offsets[0]
    for row in range(len(offsets) - 1):
        start = to
        num_keys = 0
        if offsets[row + 1] > offsets[row]:
            at = skip_blanks_kernel(data, offsets[row])
            if data[at] != OPEN_OBJECT:
                return row
            at, to, num_keys, is_odd[row] = put_value_kernel(data, at, out, to, keys)
            if at < 0 or skip_blanks_kernel(data, at) < offsets[row + 1] or at > offsets[row + 1]:
                return row
            to -= 1
        else:
            out[to] = OPEN_OBJECT
            to += 1
            is_odd[row] = 0
        object_end = to
        number = source_numbers[row]
        if number >= 0:
            first, end = source_offsets[number], source_offsets[number + 1]
            is_first = to == start + 1
            to = put_kept_kernel(sources, first, end, SOURCE_NAME, 0, out, to, is_first, keys, num_keys, object_end)
            if to < 0:
                return row
        if len(origin):
            own = find_key_kernel(ORIGIN_NAME, 0, out, keys, num_keys)
            if own < 0:
                to = put_origin_kernel(origin, first_number + row, out, to, to == start + 1)
            else:
                to = move_origin_kernel(own, origin, first_number + row, out, to, keys, num_keys, object_end)
                if to < 0:
                    return row
        if to == start + 1:
            to = start
        else:
            out[to] = CLOSE_OBJECT
            to += 1
        out_offsets[row + 1] = to
    return len(offsets) - 1
