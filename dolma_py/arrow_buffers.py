"""Arrow string columns as numpy views and back, without a Python object per row.

Legend: N rows, B bytes of all rows together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.errors import SchemaError


class TextView(NamedTuple):
    """A column of UTF-8 texts as two arrays; both may be read-only views into Arrow memory."""

    data: npt.NDArray[np.uint8]  # uint8 (B,)      all texts, back to back
    offsets: npt.NDArray[np.int64]  # int64 (N + 1,)  text i is data[offsets[i]:offsets[i + 1]]


def view_text(column: pa.Array) -> TextView:
    """View a string, large_string, binary or large_binary array as bytes and offsets; honours slices.

    A slice of an Arrow array shares its parent's buffers and `buffers()` ignores the slice's offset, so the offset is
    applied here once and for all. Offsets stay absolute positions in `data` and need not start at 0. Nulls are refused:
    the text of a document is never null.

    Raises
    ------
    SchemaError     not a string or binary type, or nulls inside
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            raise SchemaError("text", "one chunk", f"{column.num_chunks} chunks")
    if column.null_count:
        raise SchemaError("text", "no nulls", f"{column.null_count} nulls")
    kind = column.type
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        offset_type: type = np.int64
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        offset_type = np.int32
    else:
        raise SchemaError("text", "string or binary", kind)
    num_rows = len(column)
    _, offsets_buffer, data_buffer = column.buffers()
    if num_rows == 0 or offsets_buffer is None:
        return TextView(np.empty(0, np.uint8), np.zeros(1, np.int64))
    offsets: npt.NDArray[Any] = np.frombuffer(offsets_buffer, offset_type)[column.offset : column.offset + num_rows + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    return TextView(data, offsets.astype(np.int64, copy=False))


def build_text(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> pa.Array:
    """The large_string array of the texts data[offsets[i]:offsets[i + 1]]; copies nothing. The caller vouches for UTF-8."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, np.int64)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def build_list(values: pa.Array, offsets: npt.NDArray[np.int64], *, large: bool = False) -> pa.Array:
    """The list array whose row i is values[offsets[i]:offsets[i + 1]]."""
    if large:
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
