"""Narrow reading of tables and lines, and rows handed out again, without Spark."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import DataError, SchemaError
from dolma_py.formats.limits import Limits, Rejection
from dolma_py.plain_lines import find_value, open_compressed
from dolma_py.plain_rows import KeptRows, Narrow
from dolma_py.plain_tables import read_narrow_table

NARROW = Narrow("text", None, Limits(max_record_bytes=100))


def read(path, narrow=NARROW, kind="parquet"):
    """(rows, texts, ids) and the rejections of a file."""
    items = list(read_narrow_table(str(path), "name", kind, narrow))
    batches = [item for item in items if not isinstance(item, Rejection)]
    rows = [tuple(row.values())[:3] for batch in batches for row in batch.to_pylist()]
    return rows, [(item.line, item.reason) for item in items if isinstance(item, Rejection)]


def write(path, columns):
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_every_type_of_text_is_read(tmp_path, kind):
    texts = pa.array(["a", "", None, "\u00e9" * 40, "x" * 101], pa.string())
    found = read(write(tmp_path / "x.parquet", {"id": [7, 8, 9, 10, 11], "text": texts.cast(kind)}))
    assert found == ([(0, "a", "7"), (1, "", "8"), (3, "\u00e9" * 40, "10")], [(3, "missing_text"), (5, "too_long")])


def test_bytes_that_are_no_text_are_rejected_alone(tmp_path):
    raw = pa.array([b"good", b"\xff\xfe", b"fine"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    found = read(write(tmp_path / "x.parquet", {"text": broken}))
    assert found == ([(0, "good", None), (2, "fine", None)], [(2, "not_utf8")])


@pytest.mark.parametrize(
    ("narrow", "words"),
    [
        (NARROW._replace(text_column="body"), "column body: expected a column of text, one of .'text'.*no such column"),
        (NARROW._replace(text_column="id"), "column id: expected a column of text.*got int64"),
        (NARROW._replace(id_column="key"), "column key: expected one of .'id', 'text', 'many'.*no such column"),
        (NARROW._replace(id_column="many"), "column many: expected a column that can be written as text"),
    ],
)
def test_a_wrong_column_is_named(tmp_path, narrow, words):
    path = write(tmp_path / "x.parquet", {"id": [1], "text": ["a"], "many": [{"a": 1}]})
    with pytest.raises(SchemaError, match=words):
        read(path, narrow)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("cut", [0, 8, -60])
def test_a_torn_file_is_an_error(tmp_path, kind, cut):
    table = pa.table({"text": ["a" * 40] * 50})
    path = tmp_path / "x"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=f"{path}: not a whole {kind} file"):
        read(path, kind=kind)


@given(st.lists(st.integers(0, 30), unique=True).map(sorted), st.lists(st.integers(1, 5)), st.lists(st.integers(1, 9)))
def test_kept_rows_come_once_and_in_order(rows, cuts, steps):
    schema = pa.schema([("row", pa.int64())])
    blocks, first = [], 0
    for cut in [*cuts, 31]:
        blocks.append(pa.table({"row": pa.array(rows[first : first + cut], pa.int64())}))
        first += cut
    kept, stop, taken = KeptRows(iter(blocks), schema), 0, []
    for step in [*steps, 31]:
        stop += step
        found = kept.take(stop).column("row").to_pylist()
        assert all(stop - step <= row < stop for row in found)
        taken += found
    assert taken == [row for row in rows if row < stop]


KEYS = st.sampled_from(["a", "b", "a.b", '"', "\\", "\u00e9", "}{"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def look_up(value, path):
    """The value at a key or dotted path, by plain Python."""
    if path in value:
        return value[path]
    for part in path.split("."):
        value = value[part]
    return value


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_the_bytes_of_a_value_are_found(rest, escape, indent):
    record = {"before": rest, "a": {"b": rest}, "text": "t"} | rest
    line = json.dumps(record, ensure_ascii=escape, indent=indent).encode()
    for path in ("before", "a", "text", *(["a.b"] if isinstance(record["a"], dict) and "b" in record["a"] else [])):
        start, end = find_value(line, path)
        assert json.loads(line[start:end]) == look_up(record, path)


def test_the_last_of_repeated_keys_counts():
    line = b'{"t": 1, "x": {"t": 2}, "t": 3 , "y": "\\"t\\": 4"}'
    start, end = find_value(line, "t")
    assert line[start:end] == b"3"


def test_nesting_costs_no_stack():
    line = b'{"deep": ' + b"[" * 5000 + b"]" * 5000 + b', "text": "x"}'
    start, end = find_value(line, "text")
    assert line[start:end] == b'"x"'


def test_metadata_is_what_was_asked_for_and_is_there(tmp_path):
    days = [dt.date(2024, 1, 2), None, dt.date(2024, 1, 3)]
    nested = pa.array([{"url": "u0", "n": 1}, {"url": None, "n": 2}, None])
    path = write(tmp_path / "x.parquet", {"text": ["a", "b", "c"], "date": days, "metadata": nested})
    narrow = NARROW._replace(metadata_fields=("url", "date", "absent", "n"))
    items = [
        item for item in read_narrow_table(str(path), "name", "parquet", narrow) if isinstance(item, pa.RecordBatch)
    ]
    found = [
        None if text is None else json.loads(text) for item in items for text in item.column("metadata").to_pylist()
    ]
    assert found == [{"url": "u0", "date": "2024-01-02", "n": 1}, {"n": 2}, {"date": "2024-01-03"}]
    with pytest.raises(SchemaError, match="absent"):
        list(read_narrow_table(str(path), "name", "parquet", NARROW._replace(metadata_fields=("absent",))))


@pytest.mark.parametrize(("suffix", "expand"), [("", bytes), (".gz", gzip.decompress), (".bz2", bz2.decompress)])
def test_output_is_compressed_as_its_name_says(suffix, expand):
    sink = io.BytesIO()
    with open_compressed(sink, f"a.jsonl{suffix}") as stream:
        stream.write(b"a line\n" * 100)
    assert expand(sink.getvalue()) == b"a line\n" * 100
    assert (sink.getvalue() == b"a line\n" * 100) == (suffix == "")
