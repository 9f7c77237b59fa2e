"""Collects documents into record batches bounded in bytes, and rejections beside them in stream order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dolma_py.documents import DOCUMENT_SCHEMA, make_document_id
from dolma_py.formats.fields import Record, dump_metadata, find_origin
from dolma_py.formats.limits import Limits, Rejection, make_excerpt

ROW_OVERHEAD_BYTES = 128  # id, source, offsets: what a row of one letter still costs
MAX_PENDING_REJECTIONS = 1_000


class BatchBuilder:
    """Rows of one file. After every `add` or `reject` the caller drains when `is_full`.

    Batches depend on the records alone, never on how the stream was cut into reads. Rejections keep their order and follow the
    batch in which the good records before them stand.
    """

    def __init__(self, path: str, *, source: str, added: dt.datetime | None, limits: Limits) -> None:
        self.path, self.source, self.added, self.limits = path, source, added, limits
        self.rows: list[tuple[Any, ...]] = []
        self.rejections: list[Rejection] = []
        self.num_bytes = 0

    def add(self, record: Record, num_bytes: int) -> None:
        """Append one document that cost `num_bytes` in its file."""
        text = record.text
        document_id = record.id
        if document_id is None:
            document_id = make_document_id(record.source, find_origin(record.metadata, self.path), text.encode())
        metadata = dump_metadata(record.metadata)
        self.rows.append((document_id, text, record.source, record.added or self.added, record.created, metadata))
        self.num_bytes += num_bytes + ROW_OVERHEAD_BYTES

    def reject(self, reason: str, excerpt: bytes, *, line: int, offset_bytes: int = -1) -> None:
        """Append one rejection."""
        self.rejections.append(Rejection(self.path, line, offset_bytes, reason, make_excerpt(excerpt)))

    @property
    def is_full(self) -> bool:
        """Whether it is time to drain."""
        return (
            self.num_bytes >= self.limits.batch_text_bytes
            or len(self.rows) >= self.limits.batch_rows
            or len(self.rejections) >= MAX_PENDING_REJECTIONS
        )

    def drain(self) -> Iterator[pa.RecordBatch | Rejection]:
        """What has been collected, and start anew."""
        rows, rejections = self.rows, self.rejections
        self.rows, self.rejections, self.num_bytes = [], [], 0
        if rows:
            columns = zip(*rows, strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(columns, DOCUMENT_SCHEMA, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA)
        yield from rejections
