"""Whether bytes and columns of strings are UTF-8; Arrow does not look when it reads, and its own check takes twice the time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.formats.utf8_kernels import EDGE_BYTES, are_utf8_kernel, copy_utf8_kernel, is_utf8_kernel


def is_utf8(data: bytes, start: int, stop: int) -> bool:
    """Whether data[start:stop] is UTF-8, as Arrow and Python see it: no halves of surrogate pairs."""
    return bool(is_utf8_kernel(np.frombuffer(data, np.uint8), start, stop, np.empty(EDGE_BYTES, np.uint8)))


def is_valid_text(column: pa.Array) -> bool:
    """Whether every string of a column of strings is UTF-8; what stands in the place of a null may be anything."""
    _, offsets, data = column.buffers()
    if len(column) and offsets is not None and data is not None:
        kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
        ends = np.frombuffer(offsets, kind)[column.offset : column.offset + len(column) + 1]
        if are_utf8_kernel(np.frombuffer(data, np.uint8), ends, np.empty(EDGE_BYTES, np.uint8)):
            return True
        if not column.null_count:
            return False
    try:
        column.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return False
    return True


def copy_valid_text(column: pa.Array, out: npt.NDArray[np.uint8], to: int) -> bool:
    """Copy the bytes of a column of strings to out[to:], which must hold them; False, and anything there, where one of them is not UTF-8."""
    _, offsets, data = column.buffers()
    if not len(column) or offsets is None or data is None:  # no data: texts of no bytes
        return True
    kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
    ends = np.frombuffer(offsets, kind)[column.offset : column.offset + len(column) + 1]
    return bool(copy_utf8_kernel(np.frombuffer(data, np.uint8), ends, out, to, np.empty(EDGE_BYTES, np.uint8)))
