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

ROW_GROUP_TEXT_BYTES = 16 << 20  # of text in a row group of documents
ROW_GROUP_ROWS = 1 << 16  # at most, so that narrow rows do not pile up


def open_writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with the settings that every Parquet file of this project has. Each write_table call is one row group."""
    return pq.ParquetWriter(
        sink,
        schema,
        version="2.6",
        compression="zstd",
        compression_level=3,
        data_page_size=1 << 20,
        use_dictionary=[field.name for field in schema if field.name in ("source", "lang", "kept_id", "item")],
        write_statistics=[field.name for field in schema if field.name != "text"],
        store_schema=True,
    )


def write_row_group(writer: pq.ParquetWriter, table: pa.Table) -> None:
    """Write `table` as exactly one row group."""
    writer.write_table(table, row_group_size=max(1, table.num_rows))


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
        lengths = np.diff(view_text(batch.column("text")).offsets)
        for row in range(batch.num_rows):
            held_bytes += int(lengths[row])
            held_rows += 1
            if held_bytes >= row_group_text_bytes or held_rows >= ROW_GROUP_ROWS:
                held.append(batch.slice(start, row + 1 - start))
                yield pa.Table.from_batches(held, schema).combine_chunks()
                held, held_bytes, held_rows, start = [], 0, 0, row + 1
        if start < batch.num_rows:
            held.append(batch.slice(start))
    if held:
        yield pa.Table.from_batches(held, schema).combine_chunks()


def open_parquet(path: str) -> pq.ParquetFile:
    """A Parquet file, local or remote; close it or use it as a context."""
    filesystem, inner = storage.find_filesystem(path)
    return pq.ParquetFile(filesystem.open_input_file(inner), memory_map=False)


def read_row_groups(path: str, row_groups: list[int] | None, columns: list[str] | None) -> pa.Table:
    """The given row groups (all when None) and columns of a file, in order."""
    with open_parquet(path) as file:
        groups = list(range(file.num_row_groups)) if row_groups is None else row_groups
        return file.read_row_groups(groups, columns=columns, use_threads=False)
