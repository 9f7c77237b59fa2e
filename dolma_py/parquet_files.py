"""The one Parquet writer and the readers of what it wrote.

Bytes depend on the rows alone: fixed compression, page size and statistics; row groups are cut where the plan or the
text's bytes say, never where batches happened to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolma_py import storage
from dolma_py.arrow_buffers import view_text
from dolma_py.errors import DataError

ROW_GROUP_TEXT_BYTES = 16 << 20  # of text in a row group of documents
ROW_GROUP_ROWS = 1 << 16  # at most, so that narrow rows do not pile up


def open_writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with the settings that every Parquet file of this project has. Each write_table call is one row group."""
    return pq.ParquetWriter(
        sink,
        pa.schema([pa.field(field.name, _name_items(field.type), field.nullable) for field in schema]),
        version="2.6",
        compression="zstd",
        compression_level=3,
        data_page_size=1 << 20,
        use_dictionary=[field.name for field in schema if field.name in ("source", "lang", "kept_id", "item")],
        write_statistics=[field.name for field in schema if field.name != "text"],
        store_schema=True,
    )


def open_writer_like(sink: Any, schema: pa.Schema, compression: str) -> pq.ParquetWriter:
    """A writer of somebody's table: schema, metadata and compression as they were, everything else fixed."""
    return pq.ParquetWriter(
        sink, schema, version="2.6", compression=compression, data_page_size=1 << 20, store_schema=True
    )


def _name_items(kind: pa.DataType) -> pa.DataType:
    """The type with `item` for what is inside a list: reading a file calls it `element`, and the name is stored in a file."""
    if pa.types.is_list(kind):
        return pa.list_(pa.field("item", _name_items(kind.value_type), kind.value_field.nullable))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _name_items(field.type), field.nullable) for field in kind])
    return kind


def write_row_group(writer: pq.ParquetWriter, table: pa.Table) -> None:
    """Write `table` as exactly one row group; how it is chunked changes no byte."""
    writer.write_table(table.combine_chunks(), row_group_size=max(1, table.num_rows))


def cut_row_groups(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, *, row_group_text_bytes: int = ROW_GROUP_TEXT_BYTES
) -> Iterator[pa.Table]:
    """Regroup documents into tables of about `row_group_text_bytes` of text, the same whatever the batches were.

    A group ends with the row that reaches the limit or the row count; memory is one group and one batch.
    """
    held: list[pa.RecordBatch] = []
    held_bytes = held_rows = 0
    for batch in batches:
        start = 0
        offsets = view_text(batch.column("text")).offsets
        while start < batch.num_rows:
            # the row whose text reaches the limit, or the last one that the count allows; may lie behind the batch
            full = int(np.searchsorted(offsets[1:], offsets[start] + row_group_text_bytes - held_bytes))
            stop = min(full + 1, start + ROW_GROUP_ROWS - held_rows)
            piece = batch.slice(start, stop - start)
            held.append(piece)
            if stop <= batch.num_rows:
                yield pa.Table.from_batches(held, schema).combine_chunks()
                held, held_bytes, held_rows = [], 0, 0
            else:
                held_bytes += int(offsets[-1] - offsets[start])
                held_rows += piece.num_rows
            start = stop
    if held:
        yield pa.Table.from_batches(held, schema).combine_chunks()


def open_parquet(path: str) -> pq.ParquetFile:
    """A Parquet file, local or remote; close it or use it as a context. DataError when it is none, or torn."""
    filesystem, inner = storage.find_filesystem(path)
    try:
        return pq.ParquetFile(inner, filesystem=filesystem, memory_map=False)
    except pa.ArrowInvalid as error:
        raise DataError(path, f"not a Parquet file ({error})", hint="Make it again.") from error


def column_bytes(metadata: pq.FileMetaData, column: str, groups: Iterable[int]) -> int:
    """Bytes of a column (dotted when it is nested) in row groups before compression, by the footer; 0 where there is none."""
    num_bytes = 0
    for group in groups:
        chunks = (metadata.row_group(group).column(index) for index in range(metadata.num_columns))
        num_bytes += sum(max(0, chunk.total_uncompressed_size) for chunk in chunks if chunk.path_in_schema == column)
    return num_bytes


def read_row_groups(path: str, row_groups: list[int] | None, columns: list[str] | None) -> pa.Table:
    """The given row groups (all when None) and columns of a file, in order."""
    with open_parquet(path) as file:
        groups = list(range(file.num_row_groups)) if row_groups is None else row_groups
        return file.read_row_groups(groups, columns=columns, use_threads=False)


def write_rows(sink: Any, schema: pa.Schema, tables: Iterable[pa.Table], *, group_rows: int = ROW_GROUP_ROWS) -> int:
    """Write tables that follow each other as row groups of `group_rows` rows, however they were cut; returns the rows.

    No rows at all are one empty row group. Memory is one row group and one table.
    """
    held, held_rows, rows = [schema.empty_table()], 0, 0
    with open_writer(sink, schema) as writer:
        for table in tables:
            start = 0
            while start < table.num_rows:
                piece = table.slice(start, group_rows - held_rows)
                held.append(piece)
                held_rows, rows, start = held_rows + piece.num_rows, rows + piece.num_rows, start + piece.num_rows
                if held_rows == group_rows:
                    write_row_group(writer, pa.concat_tables(held))
                    held, held_rows = [schema.empty_table()], 0
        if held_rows or not rows:
            write_row_group(writer, pa.concat_tables(held))
    return rows


def write_table(path: str, table: pa.Table) -> str:
    """Write a table as a file of its own, row groups of ROW_GROUP_ROWS; returns the checksum. For tables on the driver."""
    with storage.write_file(path) as stream:
        sink = storage.HashingWriter(stream)
        write_rows(sink, table.schema, [table], group_rows=ROW_GROUP_ROWS)
    return sink.checksum
