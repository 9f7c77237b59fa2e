"""Parquet: our own documents, other people's tables, and files that break."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.formats import FieldMap, Limits, Rejection
from dolma_py.formats.parquet import cut_groups, read_documents

NO_ORIGIN = FieldMap(keep_origin=False)


def write(table: pa.Table, **options) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def read(data: bytes, fields: FieldMap = NO_ORIGIN, limits: Limits | None = None):
    events = list(
        read_documents(
            "/in/a.parquet", source="web", limits=limits or Limits(), fields=fields, added=None,
            open_stream=lambda path: io.BytesIO(data), root="/in",
        )
    )  # fmt: skip
    batches = [event for event in events if isinstance(event, pa.RecordBatch)]
    assert all(batch.schema == DOCUMENT_SCHEMA for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()], [
        event for event in events if isinstance(event, Rejection)
    ]


@pytest.mark.parametrize("row_group_size", [1, 3, 1000])
def test_own_documents_round_trip(row_group_size) -> None:
    time = datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    rows = [
        {
            "id": f"d{n}",
            "text": "\u00e9\U0001f600" * n,
            "source": "web",
            "added": time,
            "created": None,
            "metadata": f'{{"n":{n}}}',
        }
        for n in range(10)
    ]
    data = write(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA), row_group_size=row_group_size)
    assert read(data) == (rows, [])
    assert read(data, limits=Limits(batch_text_bytes=40)) == (rows, [])


def test_foreign_table_through_field_map() -> None:
    table = pa.table(
        {
            "key": pa.array([1, 2, 2**63 - 1]),
            "content": pa.array(["a", None, "c"], pa.string()),
            "info": pa.array([{"url": "http://x", "tags": ["p", "q"]}] * 3),
            "when": pa.array([datetime(2021, 5, 6, tzinfo=UTC)] * 3, pa.timestamp("ms", tz="UTC")),
            "blob": pa.array([b"\x01\xff"] * 3),
            "score": pa.array([0.5, float("nan"), None]),
        }
    )
    fields = FieldMap(id="key", text="content", created="when", metadata="info")
    rows, rejections = read(write(table), fields)
    assert [(row["id"], row["text"]) for row in rows] == [("1", "a"), (str(2**63 - 1), "c")]
    assert rows[0]["created"] == datetime(2021, 5, 6, tzinfo=UTC)
    assert json.loads(rows[0]["metadata"]) == {
        "url": "http://x", "tags": ["p", "q"], "blob": "01ff", "score": 0.5, "origin": "a.parquet:1",
    }  # fmt: skip
    assert json.loads(rows[1]["metadata"])["origin"] == "a.parquet:3"
    assert [tuple(rejection)[:4] for rejection in rejections] == [("a.parquet", 2, -1, "missing_text")]


@pytest.mark.parametrize("others", [{}, {"other": [1, 2]}])  # by columns, and any table
def test_metadata_as_json_text_nested_too_deep_or_with_large_numbers(others) -> None:
    deep = '{"k":' + "[" * 300 + "]" * 300 + "}"
    table = pa.table({"text": ["a", "b"], "metadata": [deep, '{"k":100000000000000000001}'], **others})
    rows, rejections = read(write(table))
    assert [(rejection.line, rejection.reason, rejection.excerpt) for rejection in rejections] == [(1, "too_deep", "a")]
    assert [row["text"] for row in rows] == ["b"]
    assert json.loads(rows[0]["metadata"])["k"] == 100000000000000000001


def first(value, kind, **options):
    """The first of two rows of a column `x`, and the second, which is 1 of that type; metadata alone."""
    table = pa.table({"text": ["a", "b"], "x": pa.array([value, 1], kind)})
    rows, rejections = read(write(table), **options)
    assert rejections == []
    return [json.loads(row["metadata"])["x"] for row in rows]


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        (10**18, pa.timestamp("us"), ["1000000000000000000 us since 1970-01-01", "1970-01-01T00:00:00.000001"]),
        (-(10**18), pa.timestamp("us", "UTC"), ["-1000000000000000000 us since 1970-01-01", "1970-01-01T00:00:00.000001+00:00"]),
        (10**7, pa.date32(), ["10000000 days since 1970-01-01", "1970-01-02"]),
        (60, pa.timestamp("ms", "Mars/Base"), ["1970-01-01T00:00:00.060000+00:00", "1970-01-01T00:00:00.001000+00:00"]),
        (10**15, pa.timestamp("ms", "Mars/Base"), ["1000000000000000 ms since 1970-01-01", "1970-01-01T00:00:00.001000+00:00"]),
        (60, pa.timestamp("us", "+02:00"), ["1970-01-01T02:00:00.000060+02:00", "1970-01-01T02:00:00.000001+02:00"]),
    ],
)  # fmt: skip
def test_times_that_python_cannot_hold_are_strings(value, kind, told) -> None:
    assert first(value, kind) == told


def test_such_times_inside_other_values() -> None:
    far, kind = 10**18, pa.timestamp("us")
    times = pa.array([far, 1, None], kind)
    struct = pa.StructArray.from_arrays([times, pa.array([1, 2, 3])], names=["when", "n"])
    lists = pa.ListArray.from_arrays([0, 2, 3, 3], times)
    maps = pa.MapArray.from_arrays([0, 1, 3, 3], pa.array(["a", "b", "c"]), times)
    rows, rejections = read(write(pa.table({"text": ["a", "b", "c"], "s": struct, "l": lists, "m": maps})))
    string, time = "1000000000000000000 us since 1970-01-01", "1970-01-01T00:00:00.000001"
    assert rejections == []
    assert [json.loads(row["metadata"]) for row in rows] == [
        {"s": {"when": string, "n": 1}, "l": [string, time], "m": [["a", string]]},
        {"s": {"when": time, "n": 2}, "l": [None], "m": [["b", time], ["c", None]]},
        {"s": {"when": None, "n": 3}, "l": [], "m": []},
    ]


@pytest.mark.parametrize("others", [{}, {"other": [1, 2, 3]}])  # by columns, and any table
def test_a_document_time_that_python_cannot_hold_is_invalid(others) -> None:
    times = pa.array([9 * 10**17, 253_402_300_799_999_999, None], pa.timestamp("us"))
    rows, rejections = read(write(pa.table({"text": ["a", "b", "c"], "created": times, **others})))
    assert rejections == []
    assert [row["created"] for row in rows] == [None, datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC), None]
    assert json.loads(rows[0]["metadata"])["invalid_created"] == "900000000000000000 us since 1970-01-01"


@pytest.mark.parametrize(
    ("names", "told"), [(["text", "text"], "text"), (["text", "x", "x"], "x"), (["text", "s"], "s.x")]
)
def test_columns_of_one_name_are_rejected(names, told) -> None:
    struct = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    columns = {"text": pa.array(["a"]), "x": pa.array([1]), "s": struct}
    data = write(pa.Table.from_arrays([columns[name] for name in names], names=names))
    rows, rejections = read(data)
    assert rows == []
    assert [(item.reason, item.line) for item in rejections] == [("bad_parquet", 1)]
    assert rejections[0].excerpt == f"two columns are called {told}"
    assert cut_groups("/in/a.parquet", len(data), 1, lambda path: io.BytesIO(data)) == []


def test_table_without_the_text_column() -> None:
    rows, rejections = read(write(pa.table({"content": ["a", "b"]})))
    assert rows == []
    assert [(rejection.line, rejection.reason) for rejection in rejections] == [
        (1, "missing_text"),
        (2, "missing_text"),
    ]


def test_invalid_utf8_in_a_string_column() -> None:
    raw = pa.array([b"fine", b"\xff\xfe", b"good"])
    data = write(pa.table({"text": pa.Array.from_buffers(pa.string(), 3, raw.buffers())}))
    rows, rejections = read(data)
    assert [row["text"] for row in rows] == ["fine", "good"]
    assert [tuple(rejection)[1:] for rejection in rejections] == [(2, -1, "not_utf8", "\\xff\\xfe")]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("others", [{}, {"x": pa.array([b"a", b"\xff"])}])
def test_bytes_that_are_strings(kind, others) -> None:
    columns = {
        "id": [b"1", b"2"],
        "text": ["\u00e9 x".encode(), b"abc"],
        "metadata": [b'{"k":1}', None],
        "created": [b"2020-01-01", None],
    }
    table = pa.table({name: pa.array(values, kind) for name, values in columns.items()} | others)
    rows, rejections = read(write(table))
    assert rejections == []
    assert [(row["id"], row["text"], row["created"]) for row in rows] == [
        ("1", "\u00e9 x", datetime(2020, 1, 1, tzinfo=UTC)), ("2", "abc", None),
    ]  # fmt: skip
    assert json.loads(rows[0]["metadata"]) == {"k": 1} | ({"x": "61"} if others else {})
    assert rows == read(write(table.select(table.column_names[::-1])))[0]
    broken = table.set_column(1, "text", pa.array([b"\xff", b"abc"], kind))
    rows, rejections = read(write(broken))
    assert [row["text"] for row in rows] == ["abc"]
    assert [(rejection.line, rejection.reason, rejection.excerpt) for rejection in rejections] == [
        (1, "not_utf8", "\\xff")
    ]
    (row, _), rejections = read(write(table.set_column(0, "id", pa.array([b"\xff\x01", b"2"], kind))))
    assert (row["id"], rejections) == ("ff01", [])
    _, rejections = read(write(table), limits=Limits(max_record_bytes=3))
    assert [(rejection.line, rejection.reason) for rejection in rejections] == [(1, "too_long")]


@pytest.mark.parametrize("others", [{}, {"x": [1, 2]}])
def test_an_origin_of_the_row_moves(others) -> None:
    table = pa.table({"text": ["a", "b"], "metadata": ['{"origin":"liar:1"}', None], **others})
    rows, _ = read(write(table), FieldMap())
    metadata = [json.loads(row["metadata"]) for row in rows]
    assert [found["origin"] for found in metadata] == ["a.parquet:1", "a.parquet:2"]
    assert [found.get("top_level_origin") for found in metadata] == ["liar:1", None]


def test_text_that_is_too_long() -> None:
    rows, rejections = read(write(pa.table({"text": ["a", "b" * 100]})), limits=Limits(max_record_bytes=64))
    assert [row["text"] for row in rows] == ["a"]
    assert [(rejection.line, rejection.reason) for rejection in rejections] == [(2, "too_long")]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1", b"no parquet at all" * 10])
def test_no_parquet(data) -> None:
    rows, rejections = read(data)
    assert rows == []
    assert [(rejection.line, rejection.reason) for rejection in rejections] == [(1, "bad_parquet")]


def test_broken_row_group_costs_that_group() -> None:
    table = pa.table({"text": [f"document {n} " * 20 for n in range(30)]})
    data = bytearray(write(table, row_group_size=10, compression="zstd", use_dictionary=False))
    chunk = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(1).column(0)
    start = chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    rows, rejections = read(bytes(data))
    assert [row["text"].split()[1] for row in rows] == [str(n) for n in [*range(10), *range(20, 30)]]
    assert [(rejection.line, rejection.reason) for rejection in rejections] == [(11, "bad_parquet")]


def test_errors_of_the_stream_raise() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "disk")

    with pytest.raises(OSError, match="disk"):
        list(
            read_documents(
                "a.parquet",
                source="s",
                limits=Limits(),
                fields=NO_ORIGIN,
                added=None,
                open_stream=lambda path: Failing(b"x" * 99),
            )
        )


# ---- ranges of row groups


@pytest.mark.parametrize("row_group_size", [1, 3, 7, 100])
@pytest.mark.parametrize("unit_bytes", [1, 700, 10_000])
def test_row_groups_read_in_parts_give_the_same_documents(row_group_size, unit_bytes) -> None:
    """Rows and their numbers in metadata are those of the whole file; shares of its bytes add up."""
    table = pa.table({"id": [f"d{n}" for n in range(20)], "text": [f"{n} " * n if n != 5 else None for n in range(20)]})
    data = write(table, row_group_size=row_group_size)
    whole = read(data, FieldMap())
    parts = cut_groups("a.parquet", len(data), unit_bytes, lambda path: io.BytesIO(data))
    assert sum(num_bytes for _, num_bytes in parts) == len(data)
    events = [
        event
        for part, _ in parts
        for event in read_documents(
            "/in/a.parquet", source="web", limits=Limits(), fields=FieldMap(), added=None,
            open_stream=lambda path: io.BytesIO(data), root="/in", part=part,
        )
    ]  # fmt: skip
    rows = [row for event in events if isinstance(event, pa.RecordBatch) for row in event.to_pylist()]
    assert (rows, [event for event in events if isinstance(event, Rejection)]) == whole
    assert len(whole[0]) == 19 and whole[1][0].line == 6
    assert [part.first_group for part, _ in parts][1:] == [part.end_group for part, _ in parts][:-1]


def test_a_file_without_a_footer_is_not_cut() -> None:
    assert cut_groups("a.parquet", 1 << 40, 1, lambda path: io.BytesIO(b"PAR1 nothing PAR1")) == []
