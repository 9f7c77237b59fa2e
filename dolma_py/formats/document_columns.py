"""Documents in columns, as this project, Dolma and datatrove write them to Parquet: taken over without a Python object per text.

The result is that of dolma_py.formats.fields.split_record over rows, which takes anybody's tables; the tests compare the two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dolma_py.formats.fields import FieldMap, Record, as_object, make_record
from dolma_py.formats.parquet_batches import is_text

TIME = pa.timestamp("us", tz="UTC")
FIRST_US, LAST_US = (
    -62_135_596_800_000_000,
    253_402_300_799_999_999,
)  # the years 1 to 9999, all that Python's datetime knows


class DocumentColumns(NamedTuple):
    """Columns of a batch as Python lists, but for the texts."""

    has_text: list[bool]
    ids: list[str | None]
    sources: list[str | None]
    added: list[int | None]  # microseconds since 1970
    created: list[int | None]
    metadata: list[str | None]


def take_columns(batch: pa.RecordBatch, fields: FieldMap) -> DocumentColumns | None:
    """The columns of a batch that has no others than a document's, in types that need no second look; None for any other.

    The texts must be known to be valid strings.
    """
    paths = (fields.id, fields.text, fields.added, fields.created, fields.metadata)
    names = batch.schema.names
    if (
        fields.rename
        or fields.drop
        or fields.messages
        or len(set(names)) < len(names)
        or not set(names) <= {*paths, "source"}
        or len(set(paths)) < 5
    ):
        return None
    if fields.text not in names or "source" in paths or fields.source not in (None, "source"):
        return None
    columns: dict[str, list[Any]] = {}
    for name in (fields.id, "source", fields.metadata, fields.added, fields.created):
        if name not in names:
            columns[name] = [None] * batch.num_rows
            continue
        column, kind = batch.column(name), batch.schema.field(name).type
        is_time = name in (fields.added, fields.created)
        if pa.types.is_null(kind):
            columns[name] = [None] * batch.num_rows
        elif is_time and pa.types.is_timestamp(kind) and kind.unit in ("s", "ms", "us"):
            try:
                times = column.cast(TIME).cast(pa.int64())
            except pa.ArrowInvalid:  # beyond what 64 bits of microseconds hold
                return None
            bounds = pc.min_max(times)
            if bounds["min"].is_valid and not FIRST_US <= bounds["min"].as_py() <= bounds["max"].as_py() <= LAST_US:
                return None
            columns[name] = times.to_pylist()
        elif not is_time and is_text(kind):
            try:
                column.validate(full=True)
            except (pa.ArrowInvalid, UnicodeDecodeError):
                return None
            columns[name] = column.to_pylist()
        else:
            return None
    has_text = pc.is_valid(batch.column(fields.text)).to_pylist()
    lists = (columns[name] for name in (fields.id, "source", fields.added, fields.created, fields.metadata))
    return DocumentColumns(has_text, *lists)


def take_record(columns: DocumentColumns, row: int, fields: FieldMap, source: str) -> Record | None:
    """One row as split_record takes it apart, with an empty text; None when there is no text."""
    if not columns.has_text[row]:
        return None
    times = (columns.added[row], columns.created[row])
    metadata = as_object(columns.metadata[row])
    own_source = columns.sources[row]
    return make_record(columns.ids[row], "", own_source, times, metadata, fields=fields, source=source, has_clock=True)
