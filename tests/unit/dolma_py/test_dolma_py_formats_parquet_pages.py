"""Page headers against what pyarrow writes, and files whose pages and footers lie."""

from __future__ import annotations

import io
import json
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.formats import FieldMap, Limits, Rejection
from dolma_py.formats.parquet import read_documents
from dolma_py.formats.parquet_pages import (
    DICTIONARY_PAGE,
    CompactReader,
    PagesError,
    iterate_pages,
    measure_group,
    read_page_header,
)
from dolma_py.formats.parquet_pages_kernels import count_indices_kernel, longest_word_kernel
from tests import made_parquet
from tests.made_parquet import Page, make_parquet, plain_texts, repeat_index
from tests.reference import parquet_pages as reference

ROWS = 3000
TABLE = pa.table({
    "text": [f"text number {number % 700}" for number in range(ROWS)], "n": pa.array([None if number % 3 else number for number in range(ROWS)]),
    "list": pa.array([[number] * (number % 4) for number in range(ROWS)]),
})  # fmt: skip
SETTINGS = [
    {}, {"compression": "zstd"}, {"use_dictionary": False}, {"data_page_version": "2.0", "compression": "gzip"}, {"data_page_size": 1000},
    {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}, {"row_group_size": 1000, "write_page_checksum": True},
]  # fmt: skip


def write(table: pa.Table, **settings) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **settings)
    return sink.getvalue()


def read(data: bytes, limits: Limits | None = None):
    """(texts of the documents, rejections)."""
    events = list(read_documents("/in/a.parquet", source="s", limits=limits or Limits(), fields=FieldMap(), added=None,
                                 open_stream=lambda path: io.BytesIO(data), root="/in"))  # fmt: skip
    rejections = [event for event in events if isinstance(event, Rejection)]
    return [
        text for event in events if not isinstance(event, Rejection) for text in event.column("text").to_pylist()
    ], rejections


def reasons(data: bytes, limits: Limits | None = None) -> list[str]:
    return [rejection.reason for rejection in read(data, limits)[1]]


@given(
    words=st.lists(st.binary(max_size=300), max_size=20), cut=st.integers(0, 9),
    behind=st.sampled_from([b"", b"\x00", b"\xff" * 4, b"\xff\xff\xff\x7f" * 3]),
)  # fmt: skip
def test_the_longest_word_of_a_dictionary(words, cut, behind):
    data = b"".join(len(word).to_bytes(4, "little") + word for word in words)
    for page in (data, data[: max(0, len(data) - cut)], data + behind):
        assert longest_word_kernel(np.frombuffer(page, np.uint8)) == reference.longest_word(page)
    assert reference.longest_word(data) == max(map(len, words), default=0)


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_columns_take_is_at_least_what_they_take(settings):
    table = TABLE.drop_columns(["list"]).append_column("w", pa.array([b"abcd" * 9] * ROWS, pa.binary(36)))
    data = write(table, **settings)
    file = pq.ParquetFile(io.BytesIO(data))
    for group in range(file.num_row_groups):
        shape, rows = measure_group(io.BytesIO(data), file, group, Limits()), file.read_row_group(group)
        assert {name: rows.column(name).nbytes <= most for name, most in shape.column_bytes.items()} == {
            "text": True,
            "n": True,
            "w": True,
        }
        assert shape.column_bytes["n"] < 60 * ROWS
    nested = write(TABLE, **settings)
    assert measure_group(io.BytesIO(nested), pq.ParquetFile(io.BytesIO(nested)), 0, Limits()).column_bytes is None


@pytest.mark.parametrize("settings", SETTINGS)
def test_headers_are_those_that_pyarrow_wrote(settings):
    data = write(TABLE, **settings)
    file, stream = pq.ParquetFile(io.BytesIO(data)), io.BytesIO(data)
    for group in range(file.metadata.num_row_groups):
        metadata = file.metadata.row_group(group)
        for index in range(metadata.num_columns):
            column = metadata.column(index)
            pages = list(iterate_pages(stream, column))
            assert sum(page.num_values for page in pages if page.kind != DICTIONARY_PAGE) == column.num_values
            at = end = min(offset for offset in (column.dictionary_page_offset, column.data_page_offset) if offset)
            end += column.total_compressed_size
            headers = 0
            for page in pages:
                found, header_bytes = read_page_header(stream, at, end)
                assert found == page
                at, headers = at + header_bytes + page.packed_bytes, headers + header_bytes
            assert at == end
            assert headers + sum(page.plain_bytes for page in pages) == column.total_uncompressed_size
        shape = measure_group(stream, file, group, Limits())
        assert (shape.reason, shape.max_rows > 1024) == ("", True)
    assert read(data)[0] == TABLE["text"].to_pylist()


GOOD = Page(plain_texts(b"one", b"two"), 2)
WORD = Page(plain_texts(b"word"), 1, DICTIONARY_PAGE)


def repeated(count: int) -> Page:
    return Page(repeat_index(count), count, encoding=made_parquet.RLE_DICTIONARY)


def test_made_files_are_read():
    assert read(make_parquet([GOOD], 2)) == (["one", "two"], [])
    assert read(make_parquet([WORD, repeated(3)], 3)) == (["word"] * 3, [])


@pytest.mark.parametrize(
    "data",
    [
        make_parquet([GOOD], 5), make_parquet([GOOD], 5, num_values=5), make_parquet([GOOD], 1), make_parquet([GOOD], 1, num_values=1),
        make_parquet([GOOD._replace(num_values=9)], 9), make_parquet([GOOD._replace(body=b"\xff\xff\xff\x7fabc")], 2),
        make_parquet([GOOD._replace(plain_bytes=2**31 - 1)], 2), make_parquet([GOOD], 2)[:-9], make_parquet([GOOD], 2, schema=made_parquet.nest(300)),
    ],
)  # fmt: skip
def test_lies_cost_the_row_group(data):
    assert reasons(data) in (["bad_parquet"], ["bomb"])


def test_a_page_that_becomes_too_much_is_a_bomb_before_it_is_decoded():
    limits = Limits(ratio_floor_bytes=10_000)
    packed = pa.compress(plain_texts(b"x" * 100_000), "zstd", asbytes=True)
    data = make_parquet([Page(packed, 1, plain_bytes=100_004)], 1, codec=made_parquet.ZSTD)
    assert read(data) == (["x" * 100_000], [])
    assert reasons(data, limits) == ["bomb"]
    assert "a page of" in read(data, limits)[1][0].excerpt
    assert reasons(make_parquet([WORD, repeated(100_000)], 100_000), limits) == ["bomb"]


def test_texts_that_a_dictionary_repeats_end_in_a_bomb():
    limits = Limits(ratio_floor_bytes=100_000, max_ratio=2, batch_text_bytes=5000)
    texts, rejections = read(write(pa.table({"text": ["x" * 1000] * 1000}), compression="none"), limits)
    assert 100 - 16 <= len(texts) <= 100 and [rejection.reason for rejection in rejections] == ["bomb"]
    assert rejections[0].line == len(texts) + 1


def test_a_batch_has_as_many_rows_as_the_longest_word_allows():
    long = Page(plain_texts(b"x" * (20 << 20)), 1, DICTIONARY_PAGE)
    data = make_parquet([long, repeated(100)], 100)
    shape = measure_group(io.BytesIO(data), pq.ParquetFile(io.BytesIO(data)), 0, Limits())
    assert shape.max_rows == 12  # of 20 MiB each


@pytest.mark.parametrize("compression", ["none", "zstd", "snappy", "gzip"])
def test_a_large_dictionary_of_short_words_cuts_no_batch(compression):
    words = [f"{number:06}" * 20 for number in range(6000)]
    data = write(
        pa.table({"text": [*words, *["x" * 200_000] * 40]}), compression=compression, dictionary_pagesize_limit=4 << 20
    )
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.metadata.row_group(0).column(0).has_dictionary_page
    assert measure_group(io.BytesIO(data), file, 0, Limits()).max_rows == (256 << 20) // 200_000


@st.composite
def index_pages(draw):
    """A page of indices: right ones of any width, of both kinds of run, and such with a byte changed or lost."""
    width = draw(st.integers(0, 9))
    data = bytearray([width])
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            groups = draw(st.integers(0, 5))
            data += made_parquet.varint(2 * groups + 1) + draw(
                st.binary(min_size=groups * width, max_size=groups * width)
            )
        else:
            data += made_parquet.varint(2 * draw(st.integers(0, 300))) + draw(st.integers(0, 2**width - 1)).to_bytes(
                -(-width // 8), "little"
            )
    if data and draw(st.integers(0, 3)) == 0:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.sampled_from([len(data), len(data), len(data) - 1]))])


@given(index_pages(), st.sampled_from([0, 1, 7, 8, 50, 10_000]), st.sampled_from([0, 1, 2, 64, 600]))
def test_how_often_a_page_names_a_word(data, num_values, num_words):
    counts, wanted = np.zeros(num_words, np.int64), [0] * num_words
    done = count_indices_kernel(np.frombuffer(data, np.uint8), num_values, counts)
    assert done == reference.count_indices(data, num_values, wanted)
    assert done < 0 or counts.tolist() == wanted


def test_a_page_that_names_a_word_a_billion_times_takes_no_time():
    counts = np.zeros(1, np.int64)
    for head in (2 * 10**8, 2 * 10**8 + 1):  # one run of a value of no bits
        assert count_indices_kernel(np.frombuffer(b"\0" + made_parquet.varint(head), np.uint8), 10**8, counts) == 10**8
    assert counts.tolist() == [2 * 10**8]


@pytest.mark.parametrize("settings", [*SETTINGS, {"compression": "lz4"}], ids=str)
@pytest.mark.parametrize("is_null", [False, True])
def test_words_that_are_named_once_cut_no_batch_and_are_not_taken_apart(settings, is_null, monkeypatch):
    texts = [f"{number:06}" * 20 for number in range(6000)] + ["x" * 200_000]
    table = pa.table(
        {"text": texts}, schema=None if is_null else pa.schema([pa.field("text", pa.string(), nullable=False)])
    )
    data = write(table, **{"dictionary_pagesize_limit": 4 << 20} | settings)
    shape = measure_group(io.BytesIO(data), pq.ParquetFile(io.BytesIO(data)), 0, Limits())
    rows = min(len(texts), settings.get("row_group_size", len(texts)))
    assert shape.column_bytes is not None
    assert (
        shape.first_rows >= rows
        or settings.get("data_page_version")
        or settings.get("compression") == "lz4"
        or "column_encoding" in settings
    )
    assert read(data)[0] == texts


def test_words_that_are_named_often_are_taken_apart():
    texts = [f"{number:06}" * 20 for number in range(6000)] + ["x" * 200_000]
    for copies, is_cut in ((1, False), (2, False), (40, True)):
        data = write(pa.table({"text": texts + texts[-1:] * copies}), dictionary_pagesize_limit=4 << 20)
        shape = measure_group(io.BytesIO(data), pq.ParquetFile(io.BytesIO(data)), 0, Limits())
        assert (shape.max_rows == (256 << 20) // 200_000) is is_cut
        assert read(data)[0] == texts + texts[-1:] * copies


def test_words_of_a_fixed_length_that_are_repeated_cut_a_batch():
    table = pa.table({"text": ["a"] * 1000, "hash": pa.array([b"x" * 400_000] * 1000, pa.binary(400_000))})
    data = write(table, compression="zstd")
    assert (
        measure_group(io.BytesIO(data), pq.ParquetFile(io.BytesIO(data)), 0, Limits()).max_rows
        == (256 << 20) // 400_000
    )


def test_texts_that_grow_out_of_those_before_them_are_counted_as_repeated():
    lengths = made_parquet.pack_deltas([0] + [9] * 199) + made_parquet.pack_deltas([9] + [0] * 199)
    page = Page(lengths + b"some text", 200, encoding=made_parquet.DELTA_BYTE_ARRAY)
    assert read(make_parquet([page], 200)) == (["some text"] * 200, [])
    wide = page._replace(body=page.body + bytes(20 << 20))
    data = make_parquet([wide], 200)
    assert measure_group(io.BytesIO(data), pq.ParquetFile(io.BytesIO(data)), 0, Limits()).max_rows == 12


def test_a_row_with_a_billion_nulls_is_a_bomb():
    schema = [
        [(4, made_parquet.BINARY, b"schema"), (5, made_parquet.I32, 1)],
        [
            (1, made_parquet.I32, made_parquet.INT32),
            (3, made_parquet.I32, made_parquet.REPEATED),
            (4, made_parquet.BINARY, b"text"),
        ],
    ]
    levels = b"\x06\0\0\0" + made_parquet.varint(10**9 << 1) + b"\1"  # one run of one level
    data = make_parquet(
        [Page(levels * 2, 10**9, plain_bytes=len(levels) * 2)], 1, schema=schema, physical=made_parquet.INT32
    )
    assert reasons(data) == ["bomb"]


def test_columns_of_one_name_are_refused():
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    (rejection,) = read(write(table))[1]
    assert (rejection.reason, rejection.excerpt) == ("bad_parquet", "two columns are called text")


def test_times_that_python_does_not_know_are_kept_as_numbers():
    far = 1 << 62
    table = pa.table({
        "text": ["a", "b"], "id": ["1", "2"], "created": pa.array([far, 0], pa.timestamp("us")), "day": pa.array([2**31 - 1, 0], pa.date32()),
    })  # fmt: skip
    limits, added = Limits(), None
    events = list(read_documents("a.parquet", source="s", limits=limits, fields=FieldMap(keep_origin=False), added=added,
                                 open_stream=lambda path: io.BytesIO(write(table))))  # fmt: skip
    rows = events[0].to_pylist()
    assert rows[0]["created"] is None and json.loads(rows[0]["metadata"]) == {
        "invalid_created": f"{far} us since 1970-01-01",
        "day": "2147483647 days since 1970-01-01",
    }
    assert rows[1]["created"].year == 1970
    nested = pa.table({"text": ["a", "b"], "x": pa.array([[far], [0]], pa.list_(pa.timestamp("us")))})
    texts, rejections = read(write(nested))
    assert (texts, rejections) == (["a", "b"], [])


def test_ids_of_bytes_are_their_text_or_their_digits():
    data = write(pa.table({"text": ["a", "b"], "id": [b"one", b"\xff\x01"]}))
    events = list(read_documents("a.parquet", source="s", limits=Limits(), fields=FieldMap(), added=None,
                                 open_stream=lambda path: io.BytesIO(data)))  # fmt: skip
    assert events[0].column("id").to_pylist() == ["one", "ff01"]


@given(st.binary(max_size=40))
def test_any_bytes_are_a_header_or_an_error(data):
    with suppress(EOFError, PagesError):  # nothing else is raised
        CompactReader(data).read_struct()
        assert b"\0" in data


FUZZED = write(TABLE.slice(0, 200), compression="zstd", data_page_size=500, row_group_size=80)


@given(st.integers(0, len(FUZZED) - 1), st.binary(min_size=1, max_size=6))
def test_a_file_with_some_bytes_changed_is_read_or_rejected(at, changed):
    texts, rejections = read(FUZZED[:at] + changed + FUZZED[at + len(changed) :])
    assert all(
        rejection.reason in ("bad_parquet", "bomb", "missing_text", "not_utf8", "too_long") for rejection in rejections
    )
    assert len(texts) <= 200
