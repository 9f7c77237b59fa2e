"""A Parquet file in place: each row that is no document is named, and so is a row group too large for later jobs."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import DataError, SchemaError
from dolma_py.formats.in_place import READ_ROWS, TooMuchTextError, check_parquet, read_text_lengths

SCHEMA = pa.schema([field.with_nullable(True) for field in DOCUMENT_SCHEMA][:3])


def write(path, rows, group_rows=4, schema=SCHEMA, **options):
    """rows: (id, text, source); bytes stand as they are in a string column, as a careless writer leaves them."""
    columns = []
    for field, values in zip(schema, zip(*rows, strict=True), strict=True):
        kind = pa.large_binary() if pa.types.is_large_string(field.type) else pa.binary()
        raw = pa.array([value.encode() if isinstance(value, str) else value for value in values], kind)
        columns.append(pa.Array.from_buffers(field.type, len(raw), raw.buffers(), raw.null_count))
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, row_group_size=group_rows, **options)
    return str(path)


def make_rows(num_rows, **odd):
    """Good rows; odd: column -> (row from 0, value)."""
    rows = [[f"id-{row}", f"text {row} \U0001f600", "web"] for row in range(num_rows)]
    for column, (row, value) in odd.items():
        rows[row][SCHEMA.get_field_index(column)] = value
    return rows


def read(path, max_text_bytes=1 << 20):
    return [lengths.tolist() for lengths in read_text_lengths(path, max_text_bytes)]


def test_lengths_come_by_row_group(tmp_path):
    rows = make_rows(READ_ROWS + 30)
    lengths = [len(text.encode()) for _, text, _ in rows]
    path = write(tmp_path / "x.parquet", rows, READ_ROWS + 10)
    assert read(path) == [lengths[: READ_ROWS + 10], lengths[READ_ROWS + 10 :]]
    pq.write_table(SCHEMA.empty_table(), tmp_path / "empty.parquet")
    assert sum(read(str(tmp_path / "empty.parquet")), []) == []


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("id", None, "a null in column id"), ("text", None, "a null in column text"), ("source", None, "a null in column source"),
        ("text", b"ab\xff", "bytes in column text that are no UTF-8"), ("id", b"\xc3", "bytes in column id that are no UTF-8"),
        ("id", "", "an empty id"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("row", [0, 5, 10])
def test_a_row_that_is_no_document_is_named(tmp_path, column, value, words, row):
    path = write(tmp_path / "x.parquet", make_rows(11, **{column: (row, value)}))
    with pytest.raises(DataError, match=words) as caught:
        read(path)
    assert (caught.value.path, caught.value.row) == (path, row + 1)
    assert "in_place: false" in str(caught.value)


@given(broken=st.sets(st.integers(0, 40), min_size=1), group_rows=st.integers(1, 50))
def test_of_many_broken_rows_the_first_is_named(tmp_path_factory, broken, group_rows):
    rows = make_rows(41)
    for row in broken:
        rows[row][1] = b"\x80"
    path = write(tmp_path_factory.mktemp("in") / "x.parquet", rows, group_rows)
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.row == min(broken) + 1


def test_the_footer_tells_the_largest_row_group(tmp_path):
    rows = [[f"{row}", f"{row}" * 5000, "web"] for row in range(12)]
    path = write(tmp_path / "x.parquet", rows, use_dictionary=False, compression="zstd")
    assert (
        30_000 <= check_parquet(path) < 30_200
    )  # rows 8 to 11; four bytes of length for each text, and the head of a page
    pq.write_table(SCHEMA.empty_table(), tmp_path / "empty.parquet")
    assert check_parquet(str(tmp_path / "empty.parquet")) < 100


def test_a_dictionary_hides_no_text_from_the_bound(tmp_path):
    """One long text for a thousand rows: the footer knows of one, later jobs would hold all."""
    path = write(tmp_path / "x.parquet", [[str(row), "a" * 1000, "web"] for row in range(3000)], group_rows=3000)
    assert check_parquet(path) < 100_000
    with pytest.raises(TooMuchTextError, match=r"row group 0 has more than 100000 bytes of text"):
        read(path, 100_000)


def test_a_torn_row_group_is_named(tmp_path):
    path = tmp_path / "x.parquet"
    write(path, make_rows(8), compression="zstd")
    start = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"row group 1 cannot be read"):
        read(str(path))


def test_other_columns_are_refused(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match="column id"):
        check_parquet(str(tmp_path / "x.parquet"))
