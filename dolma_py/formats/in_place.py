"""Documents of a file that a corpus lists where it lies, without a copy."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa

from dolma_py import config, storage
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import DataError
from dolma_py.formats.dispatch import read_any
from dolma_py.formats.fields import FieldMap
from dolma_py.formats.limits import Limits, Rejection
from dolma_py.listing import Shard


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
