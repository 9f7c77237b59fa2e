"""Metadata of documents, a column of JSON objects, written once more as orjson would, with what a reader adds to each."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.formats.json_lines_kernels import put_integer_kernel, put_value_kernel
from dolma_py.formats.json_values_kernels import (
    CLOSE_OBJECT,
    COMMA,
    OPEN_OBJECT,
    QUOTE,
    has_key_kernel,
    skip_blanks_kernel,
)
from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

from numba import njit  # isort: skip


@njit(**KERNEL_BORROWING_INNER)
def put_bytes_kernel(data, start, end, is_first, out, to):
    """Copy data[start:end], behind a comma unless it is the object's first field; returns the end."""
    if not is_first:
        out[to] = COMMA
        to += 1
    for place in range(start, end):
        out[to + place - start] = data[place]
    return to + end - start


@njit(**KERNEL_BORROWING)
def write_objects_kernel(
    data, offsets, fields, field_offsets, field_numbers, origin, first_number, out, out_offsets, is_odd, keys
):  # fmt: skip
    """Write N objects with another field and their origin behind what they have; returns the rows written, N when all are plain.

    data : uint8 (B,)                  the objects' JSON in UTF-8, or nothing; a control character and ROOM bytes follow the last one
    offsets : int64 (N + 1,)           object i is data[offsets[i]:offsets[i + 1]]
    fields : uint8, field_offsets : int64   `"source":"..."` of each kind; field_numbers : int64 (N,), which one row i gets, -1 for none
    origin : uint8                     `"origin":"path:`, empty for none; the number of row i is first_number + i
    out : uint8, out_offsets : int64 (N + 1,)   room for all of this, ROOM + MAX_NUMBER_BYTES more; nothing for an object without fields
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
        number = field_numbers[row]
        if number >= 0:
            first, end = field_offsets[number], field_offsets[number + 1]
            if has_key_kernel(fields, first, first + 8, out, keys, 0, num_keys):  # the first 8 bytes are the key
                return row
            to = put_bytes_kernel(fields, first, end, to == start + 1, out, to)
        if len(origin) and not has_key_kernel(origin, 0, 8, out, keys, 0, num_keys):
            to = put_bytes_kernel(origin, 0, len(origin), to == start + 1, out, to)
            to = put_integer_kernel(first_number + row, out, to)
            out[to] = QUOTE
            to += 1
        if to == start + 1:
            to = start
        else:
            out[to] = CLOSE_OBJECT
            to += 1
        out_offsets[row + 1] = to
    return len(offsets) - 1
