"""Columns of documents out of arrays of bytes, and what few rows of them have to be made or written again in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from dolma_py.documents import make_document_id
from dolma_py.formats.fields import find_origin
from dolma_py.formats.json_values import dump_json, load_json

Bytes = npt.NDArray[np.uint8]


def as_bytes(data: bytes) -> Bytes:
    """A copy that can be written to, of any length."""
    return np.array(bytearray(data), np.uint8)


def allocate_bytes(num_bytes: int) -> Bytes:
    """An array of bytes, not set to anything, for a column's data: Arrow keeps the memory of one that is done with for the next, where
    numpy's would have to be asked of the system again, page by page."""
    return np.frombuffer(pa.allocate_buffer(num_bytes), np.uint8)


def make_origin(path: str) -> bytes:
    """The beginning of the field of metadata that says where a record comes from: behind it stand its number and a quote."""
    return b'"origin":' + orjson.dumps(f"{path}:")[:-1]


def make_strings(
    data: Bytes, offsets: npt.NDArray[np.int64], kind: pa.DataType, is_valid: npt.NDArray[Any] | None = None
) -> pa.Array:
    """A column of strings of `kind`; copies no data, unless most of what it stands in is unused."""
    if data.base is not None and 2 * len(data) < len(data.base):
        data = data.copy()
    bits = None if is_valid is None else make_bits(is_valid)
    exact = offsets if kind == pa.large_string() else offsets.astype(np.int32)
    return pa.Array.from_buffers(kind, len(offsets) - 1, [bits, pa.py_buffer(exact), pa.py_buffer(data)])


def make_bits(is_valid: npt.NDArray[Any]) -> pa.Buffer | None:
    """Arrow's bitmap of rows that are no nulls; None when none is one."""
    return None if is_valid.all() else pa.py_buffer(np.packbits(is_valid, bitorder="little"))


def make_ids(is_made: npt.NDArray[np.bool_], columns: tuple[pa.Array, ...], path: str) -> pa.Array:
    """Ids of documents, those of the rows `is_made` of their source, origin and text; columns: ids, texts, sources, metadata."""
    ids, texts, sources, metadata = columns
    made: list[str] = ids.to_pylist()
    for row in np.flatnonzero(is_made).tolist():
        values: dict[str, Any] = orjson.loads(metadata[row].as_py() or "{}")
        made[row] = make_document_id(sources[row].as_py(), find_origin(values, path), texts[row].as_buffer())
    return pa.array(made, pa.string())


def write_again(metadata: pa.Array, is_odd: npt.NDArray[Any]) -> pa.Array:
    """Objects with numbers that a kernel does not know how to write, those of the rows `is_odd`."""
    values = metadata.to_pylist()
    for row in np.flatnonzero(is_odd).tolist():
        values[row] = dump_json(load_json(values[row]))
    return pa.array(values, pa.string())
