"""Arrow columns as bytes and offsets: slices, chunks, every string type, read-only memory, and the way back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from dolma_py.arrow_buffers import build_list, build_text, view_text
from dolma_py.errors import SchemaError
from dolma_py.numba_options import KERNEL
from tests import strategies

TEXT_TYPES = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]


def read_back(view) -> list[bytes]:
    """The rows of a view, one by one: the slow, obvious reading."""
    bounds = zip(view.offsets[:-1].tolist(), view.offsets[1:].tolist(), strict=True)
    return [view.data[start:end].tobytes() for start, end in bounds]


@given(rows=st.lists(strategies.texts(), max_size=8), start=st.integers(0, 8), length=st.integers(0, 8))
@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_a_view_reads_the_rows_of_the_slice(kind, rows, start, length):
    column = pa.array([row.encode() for row in rows], pa.binary()).cast(kind).slice(start, length)
    view = view_text(column)
    assert read_back(view) == [row.encode() for row in rows[start : start + length]]
    assert view.data.dtype == np.uint8 and view.offsets.dtype == np.int64
    assert len(view.offsets) == len(column) + 1


def test_a_slice_does_not_start_at_zero():
    """buffers() of a slice are its parent's; the offset must be applied. By hand: "a", "bc", "" from the second row on."""
    view = view_text(pa.array(["a", "bc", ""]).slice(1))
    assert view.offsets.tolist() == [1, 3, 3]
    assert read_back(view) == [b"bc", b""]


@given(rows=st.lists(strategies.any_bytes(), max_size=8))
def test_bytes_that_are_no_text_pass_through(rows):
    assert read_back(view_text(pa.array(rows, pa.binary()))) == rows


@given(chunks=st.lists(st.lists(strategies.texts(max_size=3), max_size=3), max_size=4))
def test_chunks_are_joined(chunks):
    column = pa.chunked_array([pa.array(chunk, pa.large_string()) for chunk in chunks], pa.large_string())
    assert read_back(view_text(column)) == [row.encode() for chunk in chunks for row in chunk]


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_the_empty_column(kind):
    view = view_text(pa.array([], kind))
    assert len(view.data) == 0 and view.offsets.tolist() == [0]


def test_a_slice_of_nothing_from_something():
    assert read_back(view_text(pa.array(["a", "b"]).slice(1, 0))) == []


def test_a_row_of_a_megabyte():
    text = "\U0001f600" * 250_000
    assert read_back(view_text(pa.array(["", text, ""]))) == [b"", text.encode(), b""]


@pytest.mark.parametrize(
    ("column", "named"),
    [
        (pa.array([1, 2]), "int64"),
        (pa.array(["a", None]), "1 nulls"),
        (pa.array([["a"]]), "list<"),
        (pa.array([None]), "1 nulls"),
    ],
)
def test_what_is_no_text_is_refused(column, named):
    with pytest.raises(SchemaError, match=named):
        view_text(column)


def test_nulls_outside_of_the_slice_do_no_harm():
    assert read_back(view_text(pa.array([None, "a", None]).slice(1, 1))) == [b"a"]


@njit(**KERNEL)
def sum_bytes_kernel(data, offsets, out_sums):
    for row in range(len(offsets) - 1):
        total = np.int64(0)
        for at in range(offsets[row], offsets[row + 1]):
            total += np.int64(data[at])
        out_sums[row] = total


def read_only_column(rows: list[str]) -> pa.Array:
    """A column in memory that nobody may write, as a mapped file or a message from Spark gives it."""
    batch = pa.RecordBatch.from_pydict({"text": pa.array(rows, pa.large_string())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_stream(pa.py_buffer(sink.getvalue().to_pybytes())).read_next_batch()["text"]


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_kernel_takes_read_only_and_sliced_memory(start):
    """A kernel with a fixed signature would refuse it."""
    rows = ["ab", "", "\u00e9", "z"]
    view = view_text(read_only_column(rows).slice(start))
    assert not view.data.flags.writeable and not view.offsets.flags.writeable
    sums = np.empty(len(view.offsets) - 1, np.int64)
    sum_bytes_kernel(view.data, view.offsets, sums)
    assert sums.tolist() == [sum(row.encode()) for row in rows[start:]]


def test_a_large_view_shares_memory():
    column = pa.array(["ab", "c"], pa.large_string())
    view = view_text(column)
    _, offsets, data = column.buffers()
    assert view.data.ctypes.data == data.address and view.offsets.ctypes.data == offsets.address


@given(rows=st.lists(strategies.texts(), max_size=8), start=st.integers(0, 8))
def test_a_view_turns_back_into_the_column(rows, start):
    column = pa.array(rows, pa.large_string()).slice(start)
    built = build_text(*view_text(column))
    built.validate(full=True)
    assert built.type == pa.large_string() and built.to_pylist() == rows[start:]


@pytest.mark.parametrize(("large", "kind"), [(False, pa.list_(pa.int32())), (True, pa.large_list(pa.int32()))])
def test_lists_from_offsets(large, kind):
    built = build_list(pa.array([1, 2, 3], pa.int32()), np.array([0, 2, 2, 3], np.int64), large=large)
    built.validate(full=True)
    assert built.type == kind and built.to_pylist() == [[1, 2], [], [3]]
