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
from dolma_py.formats.document_columns import (
    OtherColumns,
    Reader,
    find_columns,
    take_columns,
    take_documents,
    take_others,
    take_record,
)
from dolma_py.formats.fields import FieldMap, put_own, split_record
from dolma_py.formats.json_values import TooDeepError
from dolma_py.formats.limits import Limits, Rejection, make_relative
from dolma_py.formats.parquet_batches import is_text, iter_bounded_batches, text_lengths
from dolma_py.formats.parquet_pages import GroupShape, is_bomb, measure_group
from dolma_py.formats.utf8 import is_valid_text

MAX_READ_ROWS = 1024
READ_BUFFER_BYTES = 1 << 20
# what Arrow raises for a time outside Python's years, and for one of an unknown zone (of pytz or of zoneinfo)
NO_TIME = (OverflowError, LookupError)


class GroupRange(NamedTuple):
    """Consecutive row groups of a file."""

    first_group: int
    end_group: int  # exclusive
    rows_before: int  # in the file's first first_group row groups


def cut_groups(
    path: str, num_bytes: int, unit_bytes: int, open_stream: Callable[[str], BinaryIO]
) -> list[tuple[GroupRange, int]]:
    """(row groups, their share of the file's bytes) of parts of about a unit or more; empty when the footer cannot be read, or names a column twice.

    The shares add up to num_bytes. Reads the footer alone.
    """
    with open_stream(path) as stream:
        try:
            file = pq.ParquetFile(stream, buffer_size=READ_BUFFER_BYTES, pre_buffer=False)
            if _find_repeated(file.schema_arrow):
                return []
        except (pa.ArrowException, OSError) as error:
            _reraise_io(error)
            return []
        metadata = file.metadata
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
            repeated = _find_repeated(file.schema_arrow)
            problem = f"two columns are called {repeated}" if repeated else ""
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            _reraise_io(error)
            problem = str(error)
        if problem:
            builder.reject("bad_parquet", problem.encode(), line=1)
            yield from builder.drain()
            return
        part = part or GroupRange(0, file.metadata.num_row_groups, 0)
        first_row, names = 1 + part.rows_before, _find_others(file.schema_arrow, fields)
        for group in range(part.first_group, part.end_group):
            yield from _read_group(builder, stream, file, group, first_row, fields, names)
            first_row += file.metadata.row_group(group).num_rows
    yield from builder.drain()


def _find_repeated(schema: pa.Schema | pa.StructType) -> str:
    """A name that two columns have, or two fields of one column, with the dots before it; "" where none does."""
    seen: set[str] = set()
    for field in schema:
        if field.name in seen:
            return str(field.name)
        seen.add(field.name)
        inner = field.type
        while pa.types.is_list(inner) or pa.types.is_large_list(inner) or pa.types.is_fixed_size_list(inner):
            inner = inner.value_type
        if pa.types.is_map(inner):
            inner = pa.struct([inner.key_field, inner.item_field])
        if pa.types.is_struct(inner) and (below := _find_repeated(inner)):
            return f"{field.name}.{below}"
    return ""


def _find_others(schema: pa.Schema, fields: FieldMap) -> list[str]:
    """The names of a file's columns, if they are a document's of types that are taken over as they are; none otherwise."""
    is_plain = fields.text in schema.names and len(schema.names) > 1
    return schema.names if is_plain and find_columns(pa.RecordBatch.from_pylist([], schema=schema), fields) else []


def _read_group(
    builder: BatchBuilder,
    stream: BinaryIO,
    file: pq.ParquetFile,
    group: int,
    row: int,
    fields: FieldMap,
    names: list[str],
) -> Iterator[pa.RecordBatch | Rejection]:
    """names: from _find_others."""
    shape = measure_group(stream, file, group, builder.limits)
    if shape.reason:
        builder.reject(shape.reason, shape.detail.encode(), line=row)
        yield from builder.drain()
        return
    max_bytes, max_rows = builder.limits.batch_text_bytes, min(MAX_READ_ROWS, shape.max_rows)
    others = _read_others(builder, file, group, row, fields, shape, names)
    batches = iter_bounded_batches(
        file, max_bytes=max_bytes, max_rows=max_rows, row_groups=[group], first_rows=shape.first_rows,
        columns=None if others is None else [fields.text],
    )  # fmt: skip
    plain_bytes, first_row = 0, row
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
        plain_bytes += batch.nbytes
        if is_bomb(
            plain_bytes, shape.packed_bytes, builder.limits
        ):  # texts that a dictionary repeats; those before them are kept
            builder.reject("bomb", f"{shape.packed_bytes} bytes hold {plain_bytes} and more".encode(), line=row)
            yield from builder.drain()
            return
        for _ in _add_rows(builder, batch, row, fields, None if others is None else (others, row - first_row)):
            yield from builder.drain()
        row += batch.num_rows
        del batch  # its memory serves the next one


class _Others(NamedTuple):
    """The columns of a row group beside its texts."""

    raw: pa.RecordBatch
    taken: OtherColumns
    plain: pa.RecordBatch | None  # the same as a document has them, unless ids are to be made of texts
    names: list[str]  # of all columns, in their order

    def complete(self, batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
        """All columns of the rows from `start` on whose texts are in a batch."""
        others = self.raw.slice(start, batch.num_rows)
        columns = [(others if name in self.raw.schema.names else batch).column(name) for name in self.names]
        return pa.RecordBatch.from_arrays(columns, names=self.names)


def _read_others(
    builder: BatchBuilder,
    file: pq.ParquetFile,
    group: int,
    row: int,
    fields: FieldMap,
    shape: GroupShape,
    all_names: list[str],
) -> _Others | None:
    """All columns but the texts of a row group, where they are a document's, small and plain: the cost of taking them over is one of batches.

    None otherwise, and where they cannot be read: then they are read together with the texts.
    """
    rows, names = file.metadata.row_group(group).num_rows, [name for name in all_names if name != fields.text]
    if not names or not rows:
        return None
    if shape.column_bytes is None or sum(map(shape.column_bytes.__getitem__, names)) > builder.limits.batch_text_bytes:
        return None
    try:
        raw = next(file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False))
    except (pa.ArrowException, OSError) as error:
        _reraise_io(error)
        return None
    reader = Reader(builder.path, builder.source, builder.added)
    taken = take_others(raw, fields, reader, row) if raw.num_rows == rows and raw.schema.names == names else None
    return None if taken is None else _Others(raw, taken, taken.as_batch(), all_names)


def _reraise_io(error: Exception) -> None:
    """Arrow reports broken data as an OSError without a number; one with a number comes from the disk or the network."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _add_rows(
    builder: BatchBuilder,
    batch: pa.RecordBatch,
    first_row: int,
    fields: FieldMap,
    others: tuple[_Others, int] | None = None,
) -> Iterator[None]:
    """Add every row; yields when the builder wants to be drained.

    others: what the batch lacks, and the row of it that is the batch's first.
    """
    texts = _arrow_texts(batch, fields.text, builder) if not fields.is_joined else None
    if texts is not None and not texts.null_count:
        lengths = np.diff(view_text(texts).offsets)
        plain = None
        if lengths.max(initial=0) <= builder.limits.max_record_bytes:
            if others is not None and others[0].plain is not None:
                yield from builder.add_rows(texts, others[0].plain, others[1], lengths)
                return
            if others is not None:
                plain = others[0].taken.join(texts, others[1])
            else:
                reader = Reader(builder.path, builder.source, builder.added)
                plain = take_documents(batch, texts, fields, reader, first_row)
        if plain is not None:
            yield from builder.add_rows(texts, plain.drop_columns(["text"]), 0, lengths)
            return
    if others is not None:
        batch = others[0].complete(batch, others[1])
    documents = None if texts is None else take_columns(batch, fields)
    take = None if documents is not None else _take_values(batch, fields, texts is not None)
    if texts is not None:
        builder.take_texts(texts)
    max_bytes, origin = builder.limits.max_record_bytes, f"{builder.path}:" if fields.keep_origin else ""
    for row, num_bytes in enumerate(_text_bytes(batch, fields.messages or fields.text)):
        values = None if take is None else take(row)
        given = None if values is None else values.get(fields.text)
        reason, record = "missing_text", None
        try:
            if num_bytes > max_bytes:
                reason = "too_long"
            elif documents is not None:
                record = take_record(documents, row, fields, builder.source)
            elif values is not None and any(isinstance(value, _NotUtf8) for value in values.values()):
                reason = "not_utf8"
            elif values is not None:
                record = split_record(values, fields, builder.source)
            if record is not None and fields.is_joined:
                num_bytes = len(record.text.encode())
                reason, record = ("too_long", None) if num_bytes > max_bytes else ("", record)
            if record is not None:
                if origin:
                    put_own(record.metadata, "origin", f"{origin}{first_row + row}")
                builder.add(record, num_bytes, row if texts is not None else -1)
        except TooDeepError:
            reason, record = "too_deep", None
        if record is None:
            value = given if texts is None else texts[row].as_py()
            excerpt = value if isinstance(value, bytes) else str(value or "").encode("utf-8", "replace")
            builder.reject(reason, excerpt, line=first_row + row)
        if builder.is_full:
            yield


def _take_values(batch: pa.RecordBatch, fields: FieldMap, has_texts: bool) -> Callable[[int], dict[str, Any]]:
    """A row by column names; with `has_texts` a text is "", for it is taken from its column."""
    names = batch.schema.names
    own = {fields.text, fields.id, fields.source, fields.added, fields.created, fields.metadata}
    columns: list[list[Any]] = []
    for name, column in zip(names, batch.columns, strict=True):
        if has_texts and name == fields.text:
            columns.append([None if is_null else "" for is_null in pc.is_null(column).to_pylist()])
        elif name in own and is_binary(column.type):
            columns.append([_decode_own(value, is_text=name == fields.text) for value in _read_values(column)])
        else:
            columns.append(_read_values(column))
    return lambda row: dict(zip(names, (column[row] for column in columns), strict=True))


def _arrow_texts(batch: pa.RecordBatch, name: str, builder: BatchBuilder) -> pa.LargeStringArray | None:
    """The column of texts, where it is one of valid strings, or of bytes that are such: they need not become Python's.

    The builder copies them while it looks at them, for it will most likely hold them."""
    index = batch.schema.get_field_index(name)  # -1 where there is none, or more than one
    if index < 0:
        return None
    column = batch.column(index)
    if is_binary(column.type):  # what tools write that leave out the mark of a string
        try:
            column = column.cast(pa.large_string() if pa.types.is_large_binary(column.type) else pa.string())
        except pa.ArrowInvalid:
            return None
    if not is_text(column.type):
        return None
    is_odd = column.null_count or column.nbytes > builder.limits.batch_text_bytes
    if not (is_valid_text(column) if is_odd else builder.held.stage(column)):
        return None
    return column if pa.types.is_large_string(column.type) else column.cast(pa.large_string())


def is_binary(kind: pa.DataType) -> bool:
    """Whether a type is bytes of 32 or 64 bit offsets."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class _NotUtf8(bytes):
    """Bytes that stand in a string column and are no UTF-8; Arrow does not look."""


def _read_values(column: pa.Array) -> list[Any]:
    """Python's values; a time that Python cannot hold is a string."""
    try:
        column.validate(full=True)
        return column.to_pylist()  # type: ignore[no-any-return]
    except NO_TIME:
        return [_read_scalar(value) for value in column]
    except (pa.ArrowInvalid, UnicodeDecodeError):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return [_NotUtf8(b"")] * len(
                column
            )  # broken strings inside a nested column: no row of it can be told from another
        raw = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()).to_pylist()
        return [value if value is None else _decode(value) for value in raw]


def _read_scalar(value: Any) -> Any:
    """One value as to_pylist gives it, whatever stands beside it. A time of a zone that nobody knows is in UTC."""
    try:
        return value.as_py()
    except NO_TIME:
        kind = value.type
    if pa.types.is_struct(kind):
        return {name: _read_scalar(item) for name, item in value.items()}
    if pa.types.is_map(kind):
        return [(_read_scalar(pair["key"]), _read_scalar(pair["value"])) for pair in value.values]
    if pa.types.is_nested(kind):
        return [_read_scalar(item) for item in value.values]
    if pa.types.is_dictionary(kind):
        return _read_scalar(value.value)
    if pa.types.is_timestamp(kind) and kind.tz not in (None, "UTC"):
        return _read_scalar(value.cast(pa.timestamp(kind.unit, "UTC")))
    if pa.types.is_duration(kind):
        return f"{value.value} {kind.unit}"
    unit = kind.unit if pa.types.is_timestamp(kind) else "days" if pa.types.is_date32(kind) else "ms"
    return f"{value.value} {unit} since 1970-01-01"


def _decode(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _NotUtf8(value)


def _decode_own(value: bytes | None, *, is_text: bool) -> str | bytes | None:
    """Bytes of a column that a field is taken from as the string that they are; other bytes are no text, but may be an id."""
    found = None if value is None else _decode(value)
    return value if isinstance(found, _NotUtf8) and not is_text else found


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
        if is_text(kind) or is_binary(kind):
            return text_lengths(column)
    return [batch.nbytes // max(1, batch.num_rows)] * batch.num_rows
