"""The ways that make no Python object of a text give the documents and rejections of the way that takes anybody's records."""

from __future__ import annotations

import datetime as dt
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.formats import FieldMap, Limits, Rejection, jsonl, parquet
from dolma_py.formats.json_records import make_taker

WORDS = st.sampled_from(["", "a", "\U0001f600 \xe9\n", "web", "x" * 70, "0", "\x00", "\u2028"])
TIMES = st.sampled_from(["2020-01-01T00:00:00Z", "2020-01-01", "never", "", "9999-12-31T23:59:59-12:00", 1554000000])
VALUES = st.one_of(WORDS, st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.none(), st.booleans())
METADATA = st.one_of(VALUES, st.dictionaries(st.sampled_from(["origin", "source", "k", "top_level_source"]), VALUES))
RECORDS = st.dictionaries(st.sampled_from(["id", "text", "source", "metadata", "extra"]), st.one_of(VALUES, METADATA))
MAPS = [
    FieldMap(), FieldMap(source="source"), FieldMap(keep_rest=False), FieldMap(keep_origin=False), FieldMap(text="extra"),
    FieldMap(created="metadata.date"), FieldMap(rename={"k": "extra"}), FieldMap(id="text", text="id"),
]  # fmt: skip


def read_lines(data, fields, limits=None):
    events = jsonl.read_documents(
        "/in/a.jsonl", source="web", limits=limits or Limits(max_record_bytes=300), fields=fields, added=None,
        open_stream=lambda path: io.BytesIO(data), root="/in",
    )  # fmt: skip
    return [row for event in events for row in ([event] if isinstance(event, Rejection) else event.to_pylist())]


def read_table(table, fields, limits=None):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    events = parquet.read_documents(
        "/in/a.parquet", source="web", limits=limits or Limits(max_record_bytes=60), fields=fields, added=None,
        open_stream=lambda path: io.BytesIO(sink.getvalue()), root="/in",
    )  # fmt: skip
    return [row for event in events for row in ([event] if isinstance(event, Rejection) else event.to_pylist())]


@given(
    records=st.lists(st.one_of(RECORDS, st.fixed_dictionaries({"text": WORDS}, optional={
        "id": WORDS, "source": WORDS, "added": TIMES, "created": TIMES, "metadata": METADATA})), max_size=5),
    fields=st.sampled_from(MAPS), breaks=st.sampled_from([b"", b"\xff", b'"\\ud800"', b"]", b"NaN"]), spaced=st.booleans(),
)  # fmt: skip
def test_lines_by_type_are_those_of_any_record(records, fields, breaks, spaced):
    lines = [json.dumps(record, separators=None if spaced else (",", ":")).encode() for record in records]
    lines = [line.replace(b'"web"', breaks) if breaks else line for line in lines]
    data = b"\n" + b"\n".join(lines) + b"\n"
    fast = read_lines(data, fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "make_taker", lambda fields, source: None)
        assert fast == read_lines(data, fields)


def test_dolmas_own_lines_are_taken_by_type():
    take = make_taker(FieldMap(), "web")
    record = take(b'{"id": "1", "text": "t", "source": "s", "added": "2020-01-01", "metadata": {"k": 1}}')
    assert record.text == "t" and record.metadata == {"k": 1, "source": "s"}
    assert record.added == dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert take(b'{"text": "t", "extra": 1}') is None and take(b'{"text": 1}') is None
    assert make_taker(FieldMap(text="a.b"), "web") is None


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 6))

    def column(values, kinds):
        kind = draw(st.sampled_from(kinds))
        if kind == pa.null():
            return pa.nulls(rows)
        return pa.array(draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows)), kind)

    texts = [pa.string(), pa.large_string()]
    times = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)).map(lambda time: time.replace(microsecond=0))
    objects = st.one_of(WORDS, st.sampled_from(['{"k":1}', '{ "k": [1.50] }', '{"source":"s","origin":"o"}', "[1]"]))
    clocks = [pa.timestamp("us", "UTC"), pa.timestamp("ms"), pa.timestamp("s", "Asia/Tokyo"), pa.null()]
    made = {
        "id": column(WORDS, [*texts, pa.null()]), "text": column(WORDS, texts), "source": column(WORDS, [*texts, pa.null()]),
        "added": column(times, clocks), "created": column(times, [*clocks, pa.timestamp("ns")]),
        "metadata": column(objects, texts),
    }  # fmt: skip
    if draw(st.booleans()):
        made["extra"] = pa.array(np.arange(rows))
    for name in draw(st.sets(st.sampled_from(["id", "source", "added", "created", "metadata"]))):
        del made[name]
    return pa.table(made)


@given(table=tables(), fields=st.sampled_from(MAPS), rows=st.sampled_from([1, 3, 100]))
def test_columns_are_taken_over_as_rows_would_be(table, fields, rows):
    limits = Limits(max_record_bytes=60, batch_rows=rows)
    fast = read_table(table, fields, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "take_columns", lambda batch, fields: None)
        assert fast == read_table(table, fields, limits)
        patch.setattr(parquet, "_arrow_texts", lambda batch, name: None)
        assert fast == read_table(table, fields, limits)
