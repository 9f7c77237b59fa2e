"""Texts that wait for a batch: copied once, when they are looked at or when they are added, and the same either way."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.formats.batches import BatchBuilder, TextBuffer
from dolma_py.formats.document_columns import OTHERS_SCHEMA
from dolma_py.formats.limits import Limits

COLUMNS = st.lists(st.text(max_size=50), max_size=5)
# how a column comes: looked at and then added, looked at and left, only added; added in one piece, or up to a row and the rest after a batch
STEPS = st.lists(st.tuples(COLUMNS, st.sampled_from(["staged", "left", "plain"]), st.integers(0, 5)), max_size=8)


@settings(max_examples=300)
@given(steps=STEPS, kind=st.sampled_from([pa.string(), pa.large_string()]))
def test_every_text_that_is_added_is_taken_once(steps, kind):
    buffer, expected, got = TextBuffer(), [], []
    for texts, how, cut in steps:
        column = pa.array(["before", *texts], kind)[1:]
        if how != "plain":
            assert buffer.stage(column)
        if how == "left":
            continue
        whole = column.cast(pa.large_string())
        buffer.add(whole.slice(0, cut))
        if cut < len(texts):
            got += buffer.take().to_pylist()
            buffer.add(whole.slice(cut))
        expected += texts
    assert got + buffer.take().to_pylist() == expected


def test_what_is_not_utf8_is_not_staged_and_what_follows_is_whole():
    buffer = TextBuffer()
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"a\xff")]
    )
    assert not buffer.stage(bad)
    buffer.add(pa.array(["one", "two"], pa.large_string()))
    assert buffer.take().to_pylist() == ["one", "two"]


@pytest.mark.parametrize("length", [0, 1, 1 << 20])
def test_a_text_of_any_length_is_staged(length):
    buffer = TextBuffer()
    column = pa.array(["\u00e9" * length, "end"], pa.large_string())
    assert buffer.stage(column)
    buffer.add(column)
    assert buffer.take() == column


@settings(max_examples=200)
@given(pieces=st.lists(COLUMNS, max_size=6), batch_rows=st.integers(1, 7), batch_text_bytes=st.integers(1, 400))
def test_documents_in_columns_come_out_as_they_went_in(pieces, batch_rows, batch_text_bytes):
    """Pieces of one table and of others, cut by rows and by bytes; no batch has more rows than it may."""
    limits = Limits(batch_rows=batch_rows, batch_text_bytes=batch_text_bytes)
    builder = BatchBuilder("file", source="pool", added=None, limits=limits)
    texts = [text for piece in pieces for text in piece]
    rows = [(str(row), "pool", None, None, "{}") for row in range(len(texts))]
    others = pa.RecordBatch.from_arrays(
        [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), OTHERS_SCHEMA, strict=True)]
        if rows
        else [pa.array([], field.type) for field in OTHERS_SCHEMA],
        schema=OTHERS_SCHEMA,
    )
    got, first = [], 0
    for number, piece in enumerate(pieces):
        column = pa.array(piece, pa.large_string())
        sizes = np.array([len(text.encode()) for text in piece], np.int64)
        is_own = number % 2  # a table of its own, or the common one
        given_others = others.slice(first, len(piece)) if is_own else others
        for _ in builder.add_rows(column, given_others, 0 if is_own else first, sizes):
            got += builder.drain()
        first += len(piece)
    got += builder.drain()
    assert all(isinstance(batch, pa.RecordBatch) and 0 < batch.num_rows <= batch_rows for batch in got)
    table = pa.Table.from_batches(got, DOCUMENT_SCHEMA)
    assert table.column("text").to_pylist() == texts
    assert table.column("id").to_pylist() == [row[0] for row in rows]
