"""Documents of a file that a corpus lists where it lies, without a copy.

Rows of JSON lines that cannot be read are rejected and take no row. A row of Parquet keeps its number whatever it holds, so one
that is no document makes the file unfit, and it is named. A row group of Parquet, or a whole file of JSON lines, is what every
later job holds at once: its text is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolma_py import config, parquet_files, storage
from dolma_py.arrow_buffers import view_text
from dolma_py.documents import DOCUMENT_SCHEMA, check_documents
from dolma_py.errors import DataError
from dolma_py.formats.dispatch import read_any
from dolma_py.formats.fields import FieldMap
from dolma_py.formats.limits import Limits, Rejection
from dolma_py.formats.parquet_batches import iter_bounded_batches
from dolma_py.listing import Shard

KEY_COLUMNS = ["id", "text", "source"]  # what every job needs of a row
READ_ROWS = 1_024  # at once, while a file is checked
READ_BYTES = 16 << 20
_COPY = "Set in_place: false; the files are then copied as Parquet, and rows that are no documents rejected."


class TooMuchTextError(DataError):
    """More text than one task may hold, in a row group or in a file that has none."""


def check_parquet(path: str) -> int:
    """Refuse, by its footer alone, a Parquet file without our columns; returns the bytes of text of its largest row group.

    Raises
    ------
    SchemaError     a column is missing or has another type
    DataError       no Parquet file
    """
    with parquet_files.open_parquet(path) as file:
        check_documents(file.schema_arrow, path)
        groups = range(file.num_row_groups)
        return max((parquet_files.column_bytes(file.metadata, "text", [group]) for group in groups), default=0)


def read_text_lengths(path: str, max_text_bytes: int) -> Iterator[npt.NDArray[np.int64]]:
    """UTF-8 bytes of each text of a Parquet file, one int64 array per row group; every row is checked on the way.

    Memory is about READ_BYTES of rows. The footer's sizes are not believed: a dictionary of one long text can stand for many rows.

    Raises
    ------
    DataError           with the row, from 1: a null, an empty id, bytes that are no UTF-8; a row group that cannot be read
    TooMuchTextError    a row group has more than max_text_bytes of text
    """
    with parquet_files.open_parquet(path) as file:
        row = 1
        for group in range(file.num_row_groups):
            lengths, text_bytes = [np.empty(0, np.int64)], 0
            for batch in _read_batches(path, file, group):
                _check_rows(path, batch, row)
                lengths.append(np.diff(view_text(batch.column("text")).offsets))
                text_bytes += int(lengths[-1].sum())
                if text_bytes > max_text_bytes:
                    problem = f"row group {group} has more than {max_text_bytes} bytes of text ({text_bytes} so far)"
                    raise TooMuchTextError(path, problem)
                row += batch.num_rows
            yield np.concatenate(lengths)


def _read_batches(path: str, file: pq.ParquetFile, group: int) -> Iterator[pa.RecordBatch]:
    batches = iter_bounded_batches(
        file, max_bytes=READ_BYTES, max_rows=READ_ROWS, row_groups=[group], columns=KEY_COLUMNS
    )
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk or the network
            raise DataError(path, f"row group {group} cannot be read ({error})", hint="Make the file again.") from error
        if batch is None:
            return
        yield batch


def _check_rows(path: str, batch: pa.RecordBatch, first_row: int) -> None:
    """Raise DataError for the first row that is no document. first_row: number of the batch's row 0, from 1."""
    for name in KEY_COLUMNS:
        column = batch.column(name)
        if column.null_count:
            row = int(pc.index(column.is_null(), True).as_py())
            raise DataError(path, f"a null in column {name}", first_row + row, _COPY)
        broken = _find_broken(column)
        if broken is not None:
            raise DataError(path, f"bytes in column {name} that are no UTF-8", first_row + broken, _COPY)
    empty = int(pc.index(batch.column("id"), "").as_py())
    if empty >= 0:
        raise DataError(path, "an empty id", first_row + empty, _COPY)


def _find_broken(column: pa.Array) -> int | None:
    """The first row that is no UTF-8, by halving: Arrow says of a whole array alone whether all of it is."""
    if _is_whole(column):
        return None
    first, end = 0, len(column)  # rows before `first` are whole, a row before `end` is not
    while end - first > 1:
        middle = (first + end) // 2
        if _is_whole(column.slice(first, middle - first)):
            first = middle
        else:
            end = middle
    return first


def _is_whole(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def describe_reading(limits: Limits, fields: FieldMap, added: datetime | None) -> dict[str, Any]:
    """How a file is read, every value written out, for its line of the listing: later defaults must not shift its rows."""
    return {
        "limits": config.dump_config(limits),
        "fields": config.dump_config(fields),
        "added": None if added is None else added.isoformat(),
    }


def check_unchanged(path: str, shard: Shard) -> None:
    """Raise DataError when a file that is read where it lies has another size than when it was listed."""
    num_bytes = storage.file_bytes(path)
    if num_bytes != shard.num_bytes:
        problem = f"{num_bytes} bytes, {shard.num_bytes} when it was listed"
        raise DataError(shard.path, problem, hint="Restore the file.")


def read_shard(path: str, shard: Shard) -> pa.Table:
    """All accepted records of a file in their order, as one table of DOCUMENT_SCHEMA in one chunk.

    path: local path or URI. It is read as the listing says: format, limits, fields and `added` are those under which its rows
    were counted, whatever the settings are today; a listing without them means the defaults. Rejections take no row; ingest
    has counted them. Memory is the whole file, which ingest bounds.

    Raises
    ------
    DataError       the file does not have the size or the number of documents that it had when it was listed
    """
    check_unchanged(path, shard)
    reading = shard.reading or describe_reading(Limits(), FieldMap(), None)
    name = shard.inputs[0][0] if shard.inputs else ""
    events = read_any(
        path, source=shard.source, kind=shard.format, open_stream=storage.open_read, root=path.removesuffix(name).rstrip("/"),
        limits=Limits.model_validate(reading["limits"]), fields=FieldMap.model_validate(reading["fields"]),
        added=None if reading["added"] is None else datetime.fromisoformat(reading["added"]),
    )  # fmt: skip
    batches = [event for event in events if not isinstance(event, Rejection)]
    table = pa.Table.from_batches(batches, DOCUMENT_SCHEMA).combine_chunks()
    if table.num_rows != shard.rows:
        problem = f"{table.num_rows} documents, {shard.rows} when it was listed"
        raise DataError(shard.path, problem, hint="Restore the file.")
    return table
