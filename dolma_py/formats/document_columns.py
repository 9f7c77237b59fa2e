"""Documents in columns, as this project, Dolma and datatrove write them to Parquet: taken over without a Python object per text.

The result is that of dolma_py.formats.fields.split_record over rows, which takes anybody's tables; the tests compare the two.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py.arrow_buffers import view_text
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.formats.document_arrays import allocate_bytes, as_bytes, make_ids, make_origin, make_strings, write_again
from dolma_py.formats.document_columns_kernels import MAX_MOVES, PREFIX_BYTES, write_objects_kernel
from dolma_py.formats.fields import FieldMap, Record, as_object, make_record
from dolma_py.formats.json_values_kernels import KEY_SLOTS, MAX_NUMBER_BYTES, ROOM
from dolma_py.formats.parquet_batches import is_text
from dolma_py.formats.utf8 import is_valid_text

TIME = pa.timestamp("us", tz="UTC")
OTHERS_SCHEMA = pa.schema([field for field in DOCUMENT_SCHEMA if field.name != "text"])
MIN_TIME, MAX_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999  # microseconds since 1970 of the years 1 and 9999


class Reader(NamedTuple):
    """What a reader knows of all documents of a file."""

    path: str  # relative, of the file
    source: str
    added: dt.datetime | None


class DocumentColumns(NamedTuple):
    """Columns of a batch as Python lists, but for the texts."""

    has_text: list[bool]
    ids: list[str | None]
    sources: list[str | None]
    added: list[int | None]  # microseconds since 1970
    created: list[int | None]
    metadata: list[str | None]


def find_columns(batch: pa.RecordBatch, fields: FieldMap) -> dict[str, pa.Array | None] | None:
    """The columns but for the text by our names, None where there is none; None for a batch that has others than a document's, or
    other types. Times are TIME, strings valid. Whether there is a text is the caller's to know."""
    paths = (fields.id, fields.text, fields.added, fields.created, fields.metadata)
    names = batch.schema.names
    if (
        fields.rename
        or fields.drop
        or fields.is_joined
        or len(set(names)) < len(names)
        or not set(names) <= {*paths, "source"}
        or len(set(paths)) < 5
    ):
        return None
    if "source" in paths or fields.source not in (None, "source"):
        return None
    given = {
        "id": fields.id, "source": "source", "metadata": fields.metadata, "added": fields.added, "created": fields.created
    }  # fmt: skip
    columns: dict[str, pa.Array | None] = {}
    for ours, name in given.items():
        column = batch.column(name) if name in names else None
        if column is None or pa.types.is_null(column.type):
            columns[ours] = None
        elif ours in ("added", "created"):
            if not (pa.types.is_timestamp(column.type) and column.type.unit in ("s", "ms", "us")):
                return None
            try:
                times = column.cast(TIME)
            except pa.ArrowInvalid:  # beyond what 64 bits of microseconds hold
                return None
            bounds = pc.min_max(times.cast(pa.int64())).as_py()
            if bounds["min"] is not None and (bounds["min"] < MIN_TIME or bounds["max"] > MAX_TIME):
                return None
            columns[ours] = times
        elif is_text(column.type) and is_valid_text(column):
            columns[ours] = column
        else:
            return None
    return columns


def take_columns(batch: pa.RecordBatch, fields: FieldMap) -> DocumentColumns | None:
    """The columns of a batch that has no others than a document's, in types that need no second look; None for any other.

    The texts must be known to be valid strings.
    """
    columns = find_columns(batch, fields)
    if columns is None:
        return None
    lists: dict[str, list[Any]] = {}
    for name, column in columns.items():
        if column is None:
            lists[name] = [None] * batch.num_rows
        else:
            lists[name] = (column.cast(pa.int64()) if name in ("added", "created") else column).to_pylist()
    has_text = pc.is_valid(batch.column(fields.text)).to_pylist()
    return DocumentColumns(has_text, lists["id"], lists["source"], lists["added"], lists["created"], lists["metadata"])


class OtherColumns(NamedTuple):
    """All columns of documents but their texts, with what a reader adds."""

    ids: pa.StringArray  # "" where there is none
    has_no_id: npt.NDArray[np.bool_]
    sources: pa.StringArray
    added: pa.Array
    created: pa.Array
    metadata: pa.StringArray
    path: str

    def as_batch(self) -> pa.RecordBatch | None:
        """The columns of all rows; None where a row has no id."""
        if self.has_no_id.any():
            return None
        columns = [self.ids, self.sources, self.added, self.created, self.metadata]
        return pa.RecordBatch.from_arrays(columns, schema=OTHERS_SCHEMA)

    def join(self, texts: pa.LargeStringArray, start: int = 0) -> pa.RecordBatch:
        """The documents from the row `start` on that these are the texts of."""
        rows = len(texts)
        ids, sources, *times, metadata = (
            column.slice(start, rows) for column in (self.ids, self.sources, self.added, self.created, self.metadata)
        )
        is_made = self.has_no_id[start : start + rows]
        if is_made.any():
            ids = make_ids(is_made, (ids, texts, sources, metadata), self.path)
        return pa.RecordBatch.from_arrays([ids, texts, sources, *times, metadata], schema=DOCUMENT_SCHEMA)


def take_documents(
    batch: pa.RecordBatch, texts: pa.LargeStringArray, fields: FieldMap, reader: Reader, first_row: int
) -> pa.RecordBatch | None:
    """The documents of a batch, one a row, as take_record makes them; None where a row of it needs a closer look.

    texts: valid strings, every one of them short enough. first_row: number of the first row in its file, from 1.
    """
    others = None if texts.null_count else take_others(batch, fields, reader, first_row)
    return None if others is None else others.join(texts)


def take_others(batch: pa.RecordBatch, fields: FieldMap, reader: Reader, first_row: int) -> OtherColumns | None:
    """The columns beside the texts, which need not stand in the batch; None where a row needs a closer look."""
    columns = find_columns(batch, fields)
    metadata = None if columns is None else _write_metadata(columns, batch.num_rows, fields, reader, first_row)
    if columns is None or metadata is None:
        return None
    rows = batch.num_rows
    own = pa.scalar(reader.source, pa.string())
    sources = pa.repeat(own, rows)
    if fields.source is not None and columns["source"] is not None:
        given = columns["source"].cast(pa.string())
        sources = pc.if_else(pc.fill_null(pc.equal(given, ""), True), own, given)
    ids = pa.repeat("", rows) if columns["id"] is None else _fill_empty(columns["id"].cast(pa.string()))
    has_no_id = pc.equal(ids, "").to_numpy(zero_copy_only=False)
    added, created = columns["added"], columns["created"]
    if added is None:
        added = pa.nulls(rows, TIME)
    if reader.added is not None and added.null_count:
        added = pc.fill_null(added, pa.scalar(reader.added, TIME))
    created = pa.nulls(rows, TIME) if created is None else created
    return OtherColumns(ids, has_no_id, sources, added, created, metadata, reader.path)


def _write_metadata(
    columns: dict[str, pa.Array | None], rows: int, fields: FieldMap, reader: Reader, first_row: int
) -> pa.StringArray | None:
    """The column of metadata with what a reader adds; None where a row is no plain object."""
    given = pa.repeat("", rows) if columns["metadata"] is None else _fill_empty(columns["metadata"])
    view = view_text(given)
    first, end = int(view.offsets[0]), int(view.offsets[-1])
    data = allocate_bytes(end - first + ROOM + 1)
    data[: end - first], data[end - first :] = view.data[first:end], 0
    numbers = np.full(rows, -1, np.int64)
    kinds = [b""]
    if fields.source is None and fields.keep_rest and columns["source"] is not None:
        coded = columns["source"].dictionary_encode()
        values = coded.dictionary.to_pylist()
        kinds = [orjson.dumps(value) for value in values] or [b""]
        of_value = np.array([*(-1 if value == reader.source else number for number, value in enumerate(values)), -1])
        numbers = of_value[pc.fill_null(coded.indices, len(values)).to_numpy(zero_copy_only=False)]
    origin = make_origin(reader.path) if fields.keep_origin else b""
    added_bytes = len(origin) + max(map(len, kinds)) + 2 * (MAX_MOVES * PREFIX_BYTES + 24)
    num_bytes = len(data) + rows * added_bytes + int(np.diff(view.offsets).max(initial=0)) + ROOM + MAX_NUMBER_BYTES
    out, out_offsets, is_odd = allocate_bytes(num_bytes), np.zeros(rows + 1, np.int64), np.empty(rows, np.uint8)
    written = write_objects_kernel(
        data, view.offsets - first, as_bytes(b"".join(kinds)), np.cumsum([0, *map(len, kinds)]).astype(np.int64), numbers,
        as_bytes(origin), first_row, out, out_offsets, is_odd, np.empty(KEY_SLOTS, np.int64),
    )  # fmt: skip
    if written < rows:
        return None
    metadata = make_strings(out[: out_offsets[-1]], out_offsets, pa.string(), np.diff(out_offsets) > 0)
    return write_again(metadata, is_odd) if is_odd.any() else metadata


def _fill_empty(column: pa.Array) -> pa.Array:
    """The strings, empty ones for nulls."""
    return pc.fill_null(column, "") if column.null_count else column


def take_record(columns: DocumentColumns, row: int, fields: FieldMap, source: str) -> Record | None:
    """One row as split_record takes it apart, with an empty text; None when there is no text."""
    if not columns.has_text[row]:
        return None
    times = (columns.added[row], columns.created[row])
    metadata = as_object(columns.metadata[row])
    own_source = columns.sources[row]
    return make_record(columns.ids[row], "", own_source, times, metadata, fields=fields, source=source, has_clock=True)
