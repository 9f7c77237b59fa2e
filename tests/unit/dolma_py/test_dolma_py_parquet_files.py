"""Bytes and row groups depend on the rows alone, and are those of the recorded version."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dolma_py import parquet_files, storage
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import DataError, SchemaError
from dolma_py.parquet_files import cut_row_groups, open_parquet, open_writer, read_row_groups, write_row_group
from tests import strategies
from tests.golden import make_parquet_files as golden
from tests.strict_tables import assert_same_table


def make_documents(texts) -> pa.Table:
    columns = {name: [None] * len(texts) for name in DOCUMENT_SCHEMA.names}
    return pa.table(
        columns | {"id": [str(row) for row in range(len(texts))], "text": texts, "source": ["s"] * len(texts)},
        DOCUMENT_SCHEMA,
    )


def cut_batches(table: pa.Table, sizes) -> list[pa.RecordBatch]:
    """The table as slices of these sizes, then the rest; empty batches among them."""
    batches, start = [], 0
    for size in [*sizes, table.num_rows]:
        part = table.slice(start, size).combine_chunks().to_batches()
        batches += part or [pa.RecordBatch.from_pylist([], table.schema)]
        start += size
    return batches


def plain_groups(texts, limit_bytes, limit_rows) -> list[list[str]]:
    """The rule as its docstring has it, one row after the other."""
    groups, held, held_bytes = [], [], 0
    for text in texts:
        held.append(text)
        held_bytes += len(text.encode())
        if held_bytes >= limit_bytes or len(held) >= limit_rows:
            groups, held, held_bytes = [*groups, held], [], 0
    return [*groups, held] if held else groups


@given(
    texts=st.lists(st.one_of(strategies.texts(max_size=4), st.just("")), max_size=30),
    sizes=st.lists(st.integers(0, 6), max_size=8),
    limit_bytes=st.integers(1, 60),
    limit_rows=st.integers(1, 9),
)
@example(texts=[], sizes=[], limit_bytes=1, limit_rows=1)
@example(texts=["aaa", "", "b", "x" * 1_000_000, ""], sizes=[1, 0, 1], limit_bytes=4, limit_rows=9)
@example(texts=[""] * 12, sizes=[5], limit_bytes=1, limit_rows=4)
def test_row_groups_do_not_depend_on_batches(texts, sizes, limit_bytes, limit_rows):
    table = make_documents(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_files, "ROW_GROUP_ROWS", limit_rows)
        groups = list(cut_row_groups(cut_batches(table, sizes), DOCUMENT_SCHEMA, row_group_text_bytes=limit_bytes))
    assert [group.column("text").to_pylist() for group in groups] == plain_groups(texts, limit_bytes, limit_rows)
    assert_same_table(pa.concat_tables(groups) if groups else DOCUMENT_SCHEMA.empty_table(), table)


def test_row_groups_by_hand():
    """4 bytes: "ab" + "cd" reach it, "efghi" does at once, "" and "j" are left."""
    groups = cut_row_groups(
        make_documents(["ab", "cd", "efghi", "", "j"]).to_batches(), DOCUMENT_SCHEMA, row_group_text_bytes=4
    )
    assert [group.num_rows for group in groups] == [2, 1, 2]


def test_a_batch_of_slices_is_cut_by_its_own_bytes():
    """Offsets of a slice do not start at 0."""
    (batch,) = make_documents(["x" * 100, "ab", "cd", "e"]).combine_chunks().to_batches()
    groups = list(cut_row_groups([batch.slice(1)], DOCUMENT_SCHEMA, row_group_text_bytes=4))
    assert [group.column("text").to_pylist() for group in groups] == [["ab", "cd"], ["e"]]


def test_text_without_a_value_is_refused():
    batch = pa.RecordBatch.from_pydict({"text": pa.array(["a", None], pa.large_string())})
    with pytest.raises(SchemaError, match="null"):
        list(cut_row_groups([batch], batch.schema))


def write_bytes(tables: list[pa.Table]) -> bytes:
    sink = io.BytesIO()
    with open_writer(sink, tables[0].schema) as writer:
        for table in tables:
            write_row_group(writer, table)
    return sink.getvalue()


def make_long_texts() -> pa.Table:
    """4 MB: pages end inside the row group, and Arrow looks at a page's size when a chunk ends."""
    return make_documents([f"{row} " * (37 * row % 1000) for row in range(2000)])


@pytest.mark.parametrize("make", [golden.make_documents, golden.make_attributes, make_long_texts])
def test_bytes_do_not_depend_on_chunks(make):
    table = make()
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 0), table.slice(1, 333), table.slice(334)])
    assert chunked.column(0).num_chunks >= 3
    assert write_bytes([chunked]) == write_bytes([table])


def test_a_table_is_one_row_group():
    sizes = [3, 0, 70_000]
    content = write_bytes([pa.table({"a": pa.array(range(size), pa.int64())}) for size in sizes])
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == sizes


def test_files_have_the_recorded_bytes(tmp_path):
    """Other bytes mean that a corpus made again is another one: see tests/golden/make_parquet_files.py for what to do."""
    record = json.loads(golden.RECORD.read_text())
    assert (pa.__version__, golden.write_files(str(tmp_path))) == (record["pyarrow"], record["xxh3_128"])


def test_what_is_written_is_read(tmp_path):
    """Types, nullability, row groups, compression; statistics for all but the text."""
    file = storage.write_attempt(str(tmp_path), "", "a.parquet", golden.write_documents)
    assert_same_table(read_row_groups(file.attempt, None, None), golden.make_documents())
    with open_parquet(file.attempt) as parquet:
        metadata = parquet.metadata.row_group(0)
        columns = {
            parquet.metadata.schema.column(place).name: metadata.column(place) for place in range(metadata.num_columns)
        }
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert not columns["text"].is_stats_set and columns["id"].statistics.min == "doc-0000"
    assert "RLE_DICTIONARY" in columns["source"].encodings and "RLE_DICTIONARY" not in columns["id"].encodings


def test_read_row_groups_picks_groups_and_columns(tmp_path):
    table = pa.table({"a": range(6), "b": list("uvwxyz")})
    path = str(tmp_path / "a.parquet")
    storage.write_bytes(path, write_bytes([table.slice(0, 2), table.slice(2, 0), table.slice(2, 3), table.slice(5)]))
    assert read_row_groups(path, [2, 0], ["b"]).to_pydict() == {"b": list("wxyuv")}
    assert read_row_groups(path, [1], None).num_rows == 0
    assert read_row_groups(path, [], None).schema.names == ["a", "b"]
    assert_same_table(read_row_groups(path, None, None), table)


@pytest.mark.parametrize(
    "damage", [lambda good: b"", lambda good: good[:-1], lambda good: good[: len(good) // 2], lambda good: b"PAR1" * 9]
)
def test_a_torn_file_is_named(tmp_path, damage):
    path = tmp_path / "a.parquet"
    path.write_bytes(damage(write_bytes([pa.table({"a": [1]})])))
    with pytest.raises(DataError) as caught:
        read_row_groups(str(path), None, None)
    assert caught.value.path == str(path)


def test_a_closed_file_is_closed(tmp_path):
    """Descriptors of many shards must not pile up."""
    path = tmp_path / "a.parquet"
    path.write_bytes(write_bytes([pa.table({"a": [1]})]))
    with open_parquet(str(path)) as file:
        assert not file.closed
    assert file.closed
    with pytest.raises(ValueError):
        file.read()


def test_write_table_is_whole_and_named_by_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "ROW_GROUP_ROWS", 2)
    table = pa.table({"a": [1, 2, 3, 4, 5]})
    path = str(tmp_path / "a.parquet")
    assert parquet_files.write_table(path, table) == storage.checksum_file(path)
    with open_parquet(path) as file:
        assert file.num_row_groups == 3 and file.read().equals(table)
    parquet_files.write_table(path, table.slice(0, 0))
    assert read_row_groups(path, None, None).num_rows == 0
