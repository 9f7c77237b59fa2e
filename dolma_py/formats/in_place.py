"""Documents of a file that a corpus lists where it lies, without a copy."""

from __future__ import annotations

import pyarrow as pa

from dolma_py import storage
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.formats.dispatch import read_any
from dolma_py.formats.fields import FieldMap
from dolma_py.formats.limits import Limits, Rejection


def read_shard(path: str, source: str) -> pa.Table:
    """All accepted records of a file in their order, as one table of DOCUMENT_SCHEMA in one chunk.

    path: local path or URI; its name says the format. Limits and field map are the defaults: the file is in Dolma's own
    form. Rejections take no row; ingest has counted them. Memory is the whole file, which ingest bounds.
    Raises what opening and reading the file raises.
    """
    events = read_any(
        path, source=source, limits=Limits(), fields=FieldMap(), added=None, open_stream=storage.open_read
    )
    batches = [event for event in events if not isinstance(event, Rejection)]
    return pa.Table.from_batches(batches, DOCUMENT_SCHEMA).combine_chunks()
