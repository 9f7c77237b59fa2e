"""Parquet: our own documents or anybody's table through a FieldMap, a few rows at a time."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolma_py.arrow_buffers import view_text
from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.document_columns import Reader, take_columns, take_documents, take_record
from dolma_py.formats.fields import FieldMap, split_record
from dolma_py.formats.limits import Limits, Rejection, make_relative
from dolma_py.formats.parquet_batches import is_text, is_valid_text, iter_bounded_batches, text_lengths

MAX_READ_ROWS = 1_024
READ_BUFFER_BYTES = 1 << 20


class GroupRange(NamedTuple):
    """Consecutive row groups of a file."""

    first_group: int
    end_group: int  # exclusive
    rows_before: int  # in the file's first first_group row groups


def cut_groups(
    path: str, num_bytes: int, unit_bytes: int, open_stream: Callable[[str], BinaryIO]
) -> list[tuple[GroupRange, int]]:
    """(row groups, their share of the file's bytes) of parts of about a unit or more; empty when the footer cannot be read.

    The shares add up to num_bytes. Reads the footer alone.
    """
    with open_stream(path) as stream:
        try:
            metadata = pq.ParquetFile(stream, buffer_size=READ_BUFFER_BYTES, pre_buffer=False).metadata
        except (pa.ArrowException, OSError) as error:
            _reraise_io(error)
            return []
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        sizes = [(group.num_rows, max(0, group.total_byte_size)) for group in groups]
    all_bytes = max(1, sum(size for _, size in sizes))
    wanted = max(1, num_bytes // unit_bytes)
    parts: list[tuple[GroupRange, int]] = []
    first = first_row = row = before = start = 0
    for group, (rows, size) in enumerate(sizes):
        before, row = before + size, row + rows
        if group == len(sizes) - 1 or before * wanted // all_bytes > start * wanted // all_bytes:
            share = num_bytes * before // all_bytes - num_bytes * start // all_bytes
            parts.append((GroupRange(first, group + 1, first_row), share))
            first, first_row, start = group + 1, row, before
    return parts


def read_documents(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
    part: GroupRange | None = None,
) -> Iterator[pa.RecordBatch | Rejection]:
    """Batches and rejections of one Parquet file, row group by row group; `open_stream` must give a seekable stream.

    Nested columns and columns outside the map go to metadata as JSON. A row group that cannot be read is one Rejection, at the
    first row it should have held, and the next one is tried. `line` is the 1-based row, `offset_bytes` -1.
    part: only these row groups; rows keep their numbers in the file.
    """
    builder = BatchBuilder(make_relative(path, root), source=source, added=added, limits=limits)
    with open_stream(path) as stream:
        try:
            file = pq.ParquetFile(stream, buffer_size=READ_BUFFER_BYTES, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            _reraise_io(error)
            builder.reject("bad_parquet", str(error).encode(), line=1)
            yield from builder.drain()
            return
        part = part or GroupRange(0, file.metadata.num_row_groups, 0)
        first_row = 1 + part.rows_before
        for group in range(part.first_group, part.end_group):
            yield from _read_group(builder, file, group, first_row, fields)
            first_row += file.metadata.row_group(group).num_rows
    yield from builder.drain()


def _read_group(
    builder: BatchBuilder, file: pq.ParquetFile, group: int, row: int, fields: FieldMap
) -> Iterator[pa.RecordBatch | Rejection]:
    max_bytes = builder.limits.batch_text_bytes
    batches = iter_bounded_batches(file, max_bytes=max_bytes, max_rows=MAX_READ_ROWS, row_groups=[group])
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            _reraise_io(error)
            builder.reject("bad_parquet", str(error).encode(), line=row)
            yield from builder.drain()
            return
        if batch is None:
            return
        for _ in _add_rows(builder, batch, row, fields):
            yield from builder.drain()
        row += batch.num_rows


def _reraise_io(error: Exception) -> None:
    """Arrow reports broken data as an OSError without a number; one with a number comes from the disk or the network."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _add_rows(builder: BatchBuilder, batch: pa.RecordBatch, first_row: int, fields: FieldMap) -> Iterator[None]:
    """Add every row; yields when the builder wants to be drained."""
    texts = _arrow_texts(batch, fields.text) if fields.messages is None else None
    if texts is not None:
        reader = Reader(builder.path, builder.source, builder.added)
        lengths = np.diff(view_text(texts).offsets) if not texts.null_count else np.empty(0, np.int64)
        plain = None
        if lengths.max(initial=0) <= builder.limits.max_record_bytes:
            plain = take_documents(batch, texts, fields, reader, first_row)
        if plain is not None:
            yield from builder.add_rows(plain, lengths)
            return
    documents = None if texts is None else take_columns(batch, fields)
    take = None if documents is not None else _take_values(batch, fields, texts is not None)
    if texts is not None:
        builder.take_texts(texts)
    max_bytes, origin = builder.limits.max_record_bytes, f"{builder.path}:" if fields.keep_origin else ""
    for row, num_bytes in enumerate(_text_bytes(batch, fields.messages or fields.text)):
        values = None if take is None else take(row)
        given = None if values is None else values.get(fields.text)
        reason, record = "missing_text", None
        if num_bytes > max_bytes:
            reason = "too_long"
        elif documents is not None:
            record = take_record(documents, row, fields, builder.source)
        elif values is not None and any(isinstance(value, _NotUtf8) for value in values.values()):
            reason = "not_utf8"
        elif values is not None:
            record = split_record(values, fields, builder.source)
        if record is not None and fields.messages is not None:
            num_bytes = len(record.text.encode())
            reason, record = ("too_long", None) if num_bytes > max_bytes else ("", record)
        if record is not None:
            if origin:
                record.metadata.setdefault("origin", f"{origin}{first_row + row}")
            builder.add(record, num_bytes, row if texts is not None else -1)
        else:
            value = given if texts is None else texts[row].as_py()
            excerpt = value if isinstance(value, bytes) else str(value or "").encode("utf-8", "replace")
            builder.reject(reason, excerpt, line=first_row + row)
        if builder.is_full:
            yield


def _take_values(batch: pa.RecordBatch, fields: FieldMap, has_texts: bool) -> Callable[[int], dict[str, Any]]:
    """A row by column names; with `has_texts` a text is "", for it is taken from its column."""
    names = batch.schema.names
    columns = [
        [None if is_null else "" for is_null in pc.is_null(column).to_pylist()]
        if has_texts and name == fields.text
        else _read_values(column)
        for name, column in zip(names, batch.columns, strict=True)
    ]
    return lambda row: dict(zip(names, (column[row] for column in columns), strict=True))


def _arrow_texts(batch: pa.RecordBatch, name: str) -> pa.LargeStringArray | None:
    """The column of texts, where it is one of valid strings: they need not become Python's."""
    index = batch.schema.get_field_index(name)  # -1 where there is none, or more than one
    if index < 0 or not is_text(batch.schema.field(index).type):
        return None
    column = batch.column(index)
    return column.cast(pa.large_string()) if is_valid_text(column) else None


class _NotUtf8(bytes):
    """Bytes that stand in a string column and are no UTF-8; Arrow does not look."""


def _read_values(column: pa.Array) -> list[Any]:
    try:
        column.validate(full=True)
        return column.to_pylist()  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, UnicodeDecodeError):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return [_NotUtf8(b"")] * len(
                column
            )  # broken strings inside a nested column: no row of it can be told from another
        raw = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()).to_pylist()
        return [value if value is None else _decode(value) for value in raw]


def _decode(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _NotUtf8(value)


def _text_bytes(batch: pa.RecordBatch, name: str) -> list[int]:
    """UTF-8 bytes of each row's text, whatever rows stand beside it; the row's share of the batch where it is of another type."""
    column = None
    if name in batch.schema.names:
        column = batch.column(name)
    else:
        first, _, rest = name.partition(".")
        if rest and first in batch.schema.names and pa.types.is_struct(batch.schema.field(first).type):
            with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # no such field below
                column = pc.struct_field(batch.column(first), rest.split("."))
    if column is not None:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if is_text(kind):
            return text_lengths(column)
    return [batch.nbytes // max(1, batch.num_rows)] * batch.num_rows
