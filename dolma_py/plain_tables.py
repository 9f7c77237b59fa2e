"""Somebody's Parquet and Arrow files: the texts that deduplication compares, and the same tables again without the rows that leave.

Columns, their order, types and metadata stay as they are. No Python object per row: rows move as Arrow batches. A file that
cannot be read is an error, since half a table would be lost otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolma_py import parquet_files, storage
from dolma_py.errors import DataError, SchemaError
from dolma_py.formats.limits import Rejection, make_excerpt
from dolma_py.formats.parquet_batches import iter_bounded_batches
from dolma_py.plain_rows import NARROW_SCHEMA, KeptRows, Narrow, render_metadata

READ_BYTES = 16 << 20  # of a batch, in memory
READ_ROWS = 1 << 14  # at most
GROUP_BYTES = 64 << 20  # of a written row group, in memory
GROUP_ROWS = 1 << 20
ARROW_MAGIC = b"ARROW1"


class TableFile(NamedTuple):
    """An open Parquet or Arrow file."""

    schema: pa.Schema  # with its metadata
    batches: Iterator[pa.RecordBatch]
    compression: str  # of Parquet
    is_stream: bool  # of Arrow: IPC stream, as `datasets` writes it, else IPC file


@contextmanager
def open_table(path: str, kind: str, columns: list[str] | None = None) -> Iterator[TableFile]:
    """Open a file for one pass over its batches. columns: which ones a Parquet file decodes, all when None.

    Raises
    ------
    DataError       not a file of its kind, or a torn one
    """
    with storage.open_read(path) as stream:
        try:
            yield _open_parquet(stream, columns) if kind == "parquet" else _open_arrow(stream)
        except (pa.ArrowInvalid, pa.ArrowSerializationError) as error:
            raise DataError(
                path, f"not a whole {kind} file ({error})", hint="Make it again, or leave it out."
            ) from error
        except OSError as error:
            if error.errno is not None:  # of the disk or the network; Arrow gives broken data no number
                raise
            raise DataError(
                path, f"not a whole {kind} file ({error})", hint="Make it again, or leave it out."
            ) from error


def _open_parquet(stream: BinaryIO, columns: list[str] | None) -> TableFile:
    file = pq.ParquetFile(stream, pre_buffer=False)
    compression = "zstd"
    if file.metadata.num_row_groups and file.metadata.num_columns:
        found = file.metadata.row_group(0).column(0).compression.lower()
        compression = {"uncompressed": "none", "lz4_raw": "lz4"}.get(found, found)
    batches = iter_bounded_batches(file, max_bytes=READ_BYTES, max_rows=READ_ROWS, columns=columns)
    return TableFile(file.schema_arrow, batches, compression, False)


def _open_arrow(stream: BinaryIO) -> TableFile:
    start = stream.read(len(ARROW_MAGIC))
    stream.seek(0)
    if start != ARROW_MAGIC:
        reader = pa.ipc.open_stream(stream)
        return TableFile(reader.schema, iter(reader), "", True)
    file = pa.ipc.open_file(stream)
    return TableFile(file.schema, (file.get_batch(index) for index in range(file.num_record_batches)), "", False)


def read_narrow_table(path: str, name: str, kind: str, narrow: Narrow) -> Iterator[pa.RecordBatch | Rejection]:
    """NARROW_SCHEMA batches of a file and, for each row without a text that can be compared, a Rejection.

    Raises
    ------
    SchemaError     no such column, or its type holds no text
    DataError       the file cannot be read
    """
    with open_table(path, kind) as file:
        schema = file.schema
    text_type = find_type(schema, narrow.text_column)
    if text_type is None or not _holds_text(text_type):
        got = "no such column" if text_type is None else text_type
        raise SchemaError(narrow.text_column, f"a column of text, one of {_text_columns(schema)}", got, path)
    id_column = narrow.id_column or "id"
    if find_type(schema, id_column) is None:
        if narrow.id_column is not None:
            raise SchemaError(id_column, f"one of {schema.names}", "no such column", path)
        id_column = ""
    found = find_fields(schema, narrow.metadata_fields, path)
    columns = list(dict.fromkeys(column for column in (narrow.text_column, id_column, *found.values()) if column))
    first = 0
    with open_table(path, kind, columns) as file:
        for batch in file.batches:
            yield from _narrow_batch(batch, first, name, narrow, (id_column, found))
            first += batch.num_rows


def find_fields(schema: pa.Schema, fields: tuple[str, ...], path: str) -> dict[str, str]:
    """Metadata field -> the column that has it: of its name, or a field of the column `metadata`.

    Raises SchemaError when fields are asked for and the table has none of them.
    """
    places = {field: (field, f"metadata.{field}") for field in fields}
    found = {field: [name for name in names if find_type(schema, name) is not None] for field, names in places.items()}
    columns = {field: names[0] for field, names in found.items() if names}
    if fields and not columns:
        raise SchemaError(" or ".join(fields), f"a column of that name, one of {schema.names}", "no such column", path)
    return columns


def find_type(schema: pa.Schema, path: str) -> pa.DataType | None:
    """Type of the column of a name or dotted path through structs; None when there is none."""
    if path in schema.names:
        return schema.field(path).type
    kind: Any = None
    fields: Any = schema
    for part in path.split("."):
        names = [field.name for field in fields]
        if part not in names:
            return None
        kind = fields[names.index(part)].type
        fields = kind if pa.types.is_struct(kind) else ()
    return kind


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _text_columns(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if _holds_text(field.type)]


def _find_column(batch: pa.RecordBatch, path: str) -> pa.Array:
    if path in batch.schema.names:
        return batch.column(path)
    first, _, rest = path.partition(".")
    return pc.struct_field(batch.column(first), rest.split("."))


def _narrow_batch(
    batch: pa.RecordBatch, first: int, name: str, narrow: Narrow, others: tuple[str, dict[str, str]]
) -> Iterator[pa.RecordBatch | Rejection]:
    id_column, fields = others
    text = _find_column(batch, narrow.text_column)
    text = (text.dictionary_decode() if pa.types.is_dictionary(text.type) else text).cast(pa.large_string())
    rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
    given = (
        pa.nulls(batch.num_rows, pa.string()) if not id_column else _as_words(_find_column(batch, id_column), id_column)
    )
    reasons = _find_reasons(text, narrow.limits.max_record_bytes)
    good = np.ones(batch.num_rows, bool)
    good[list(reasons)] = False
    mask = pa.array(good)
    columns = [pa.array(rows[good]), text.filter(mask), given.filter(mask), _as_metadata(batch, fields).filter(mask)]
    if good.any():
        yield pa.RecordBatch.from_arrays(columns, schema=NARROW_SCHEMA)
    for index, reason in sorted(reasons.items()):
        raw = text.slice(index, 1).cast(pa.large_binary())[0].as_py() or b""
        yield Rejection(name, first + index + 1, -1, reason, make_excerpt(raw))


def _as_metadata(batch: pa.RecordBatch, fields: dict[str, str]) -> pa.Array:
    if not fields:
        return pa.nulls(batch.num_rows, pa.string())
    columns = [_find_column(batch, column).to_pylist() for column in fields.values()]
    return pa.array([render_metadata(tuple(fields), row) for row in zip(*columns, strict=True)], pa.string())


def _as_words(column: pa.Array, name: str) -> pa.Array:
    try:
        decoded = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        words = decoded.cast(pa.string())
        words.validate(full=True)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise SchemaError(name, "a column that can be written as text", column.type) from error
    return words


def _find_reasons(text: pa.Array, max_bytes: int) -> dict[int, str]:
    """Index of each row that has no text to compare -> why."""
    reasons = dict.fromkeys(np.flatnonzero(text.is_null().to_numpy(zero_copy_only=False)).tolist(), "missing_text")
    raw = text.cast(pa.large_binary())
    lengths = pc.fill_null(pc.binary_length(raw), 0).to_numpy()
    reasons.update(dict.fromkeys(np.flatnonzero(lengths > max_bytes).tolist(), "too_long"))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:  # only then is it worth a look at every row
        for index, value in enumerate(raw.to_pylist()):
            if value is not None and index not in reasons and not _is_utf8(value):
                reasons[index] = "not_utf8"
    return reasons


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def copy_table(path: str, kind: str, sink: BinaryIO, kept: KeptRows, *, text_column: str, added: pa.Schema) -> int:
    """Write the kept rows of a file in its own format; returns their number.

    A column `text` of `kept` takes the place of the text column where it is not null; the columns of `added` follow behind the
    file's own. Row groups hold about GROUP_BYTES, as memory does.
    """
    num_rows = first = 0
    with open_table(path, kind) as file:
        schema = extend_schema(file.schema, added)
        writer: Any
        if kind == "parquet":
            writer = parquet_files.open_writer_like(sink, schema, file.compression)
        else:
            writer = pa.ipc.new_stream(sink, schema) if file.is_stream else pa.ipc.new_file(sink, schema)
        with writer:
            held: list[pa.RecordBatch] = []
            for batch in file.batches:
                chosen = kept.take(first + batch.num_rows)
                index = chosen.column("row").to_numpy() - first
                first += batch.num_rows
                if not len(index):
                    continue
                held.append(_change_batch(batch, index, chosen, schema, text_column=text_column, path=path))
                num_rows += len(index)
                if kind != "parquet":
                    writer.write_batch(held.pop())
                elif sum(b.nbytes for b in held) >= GROUP_BYTES or sum(b.num_rows for b in held) >= GROUP_ROWS:
                    parquet_files.write_row_group(writer, pa.Table.from_batches(held, schema))
                    held = []
            if held:
                parquet_files.write_row_group(writer, pa.Table.from_batches(held, schema))
    return num_rows


def extend_schema(schema: pa.Schema, added: pa.Schema) -> pa.Schema:
    """The file's schema with more columns at its end, metadata kept. SchemaError when it has a column of such a name."""
    for field in added:
        if field.name in schema.names:
            raise SchemaError(field.name, "no column of that name in the input", "one that is there")
        schema = schema.append(field)
    return schema


def _change_batch(
    batch: pa.RecordBatch, index: npt.NDArray[np.int64], chosen: pa.Table, schema: pa.Schema, *, text_column: str, path: str
) -> pa.RecordBatch:  # fmt: skip
    columns = [column if len(index) == batch.num_rows else _take(column, index) for column in batch.columns]
    if "text" in chosen.column_names:
        place = batch.schema.get_field_index(text_column)
        if place < 0:
            raise SchemaError(text_column, "a column at the top of the table: its text is edited", "a nested one", path)
        columns[place] = _as_type(chosen.column("text").combine_chunks(), columns[place])
    added = [chosen.column(field.name).combine_chunks() for field in schema if field.name not in batch.schema.names]
    arrays = [column.chunk(0) if isinstance(column, pa.ChunkedArray) else column for column in (*columns, *added)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _take(column: pa.Array, index: npt.NDArray[np.int64]) -> pa.Array:
    """Rows of a column, ascending; runs of rows are put together where Arrow cannot choose rows of a type (string views)."""
    try:
        return column.take(pa.array(index))
    except pa.ArrowNotImplementedError:
        runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)
        return pa.concat_arrays([column.slice(int(run[0]), len(run)) for run in runs])


def _as_type(edited: pa.Array | pa.ChunkedArray, original: pa.Array) -> pa.Array:
    """Edited texts, null where nothing was edited, as a column of the original's type."""
    edited = edited.chunk(0) if isinstance(edited, pa.ChunkedArray) else edited
    if not pa.types.is_dictionary(original.type):
        return pc.coalesce(edited.cast(original.type), original)
    words = pc.coalesce(edited.cast(original.type.value_type), original.dictionary_decode())
    return words.dictionary_encode().cast(original.type)
