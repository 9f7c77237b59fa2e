"""Batches of a Parquet file by their real size: footers count a text that a dictionary repeats once, and may lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FIRST_ROWS = 16  # of a file, before anything is known of its rows
GROWTH = 4  # rows of a batch over those of the one before it, at most


def iter_bounded_batches(
    file: pq.ParquetFile,
    *,
    max_bytes: int,
    max_rows: int,
    row_groups: list[int] | None = None,
    columns: list[str] | None = None,
    first_rows: int = FIRST_ROWS,
) -> Iterator[pa.RecordBatch]:
    """The rows of row groups (all when None) in order, in batches of about max_bytes in memory and at most max_rows.

    The first batch has first_rows rows; each says how many rows the next may have: as many as would fit if they were as large
    as its own on average, at most GROWTH times its own. Nothing is decoded twice. The cut depends on batches alone, so callers
    must not let their output depend on it. A batch that ends a row group may be shorter.
    """
    rows = min(first_rows, max_rows)
    batches = file.iter_batches(rows, row_groups=row_groups, columns=columns, use_threads=False)
    while True:
        batch = next(batches, None)
        if batch is None:
            return
        yield batch
        if batch.num_rows:
            fitting = max_bytes * batch.num_rows // max(1, _decoded_bytes(batch))
            rows = max(1, min(max_rows, fitting, GROWTH * rows))
        _set_batch_rows(file, rows)
        del batch  # before the next one is decoded


def _decoded_bytes(batch: pa.RecordBatch) -> int:
    """Bytes in memory, a text that a dictionary column repeats counted each time: callers decode it."""
    total = 0
    for column in batch.columns:
        if pa.types.is_dictionary(column.type) and is_text(column.type.value_type):
            total += sum(text_lengths(column))
        else:
            total += column.nbytes
    return total


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is a string of 32 or 64 bit offsets."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def text_lengths(column: pa.Array) -> list[int]:
    """UTF-8 bytes of each string, 0 for null; a column of strings, or a dictionary of them."""
    if pa.types.is_dictionary(column.type):
        lengths = pc.binary_length(column.dictionary).take(column.indices)
    else:
        lengths = pc.binary_length(column)
    return pc.fill_null(lengths, 0).to_pylist()  # type: ignore[no-any-return]


def _set_batch_rows(file: pq.ParquetFile, rows: int) -> None:
    """Arrow's reader asks for its batch size before each batch, and pyarrow hands the setting down."""
    reader: Any = file.reader
    reader.set_batch_size(rows)
