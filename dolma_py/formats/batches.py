"""Collects documents into record batches bounded in bytes, and rejections beside them in stream order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.arrow_buffers import view_text
from dolma_py.documents import DOCUMENT_SCHEMA, make_document_id
from dolma_py.formats.document_arrays import allocate_bytes, make_strings
from dolma_py.formats.fields import Record, dump_metadata, find_origin
from dolma_py.formats.limits import Limits, Rejection, make_excerpt
from dolma_py.formats.utf8 import copy_valid_text

ROW_OVERHEAD_BYTES = 128  # id, source, offsets: what a row of one letter still costs
MAX_PENDING_REJECTIONS = 1_000
FIRST_BYTES = 1 << 16  # of a buffer before anything is known of the texts


class TextBuffer:
    """Texts back to back, of columns that come one after the other."""

    def __init__(self) -> None:
        self.data = allocate_bytes(FIRST_BYTES)
        self.used = 0  # bytes of it
        self.ends: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        # whose bytes from where to where stand behind those that are held; while it is held, no other one has its address
        self.staged: tuple[pa.Buffer, int, int] | None = None

    def stage(self, column: pa.Array) -> bool:
        """Whether a column's strings, none of them null, are UTF-8; to add them, or the first of them, next costs no copy then."""
        data, offsets = column.buffers()[2], view_text(column).offsets
        first, last = int(offsets[0]), int(offsets[-1])
        self._make_room(last - first)
        self.staged = None
        if not copy_valid_text(column, self.data, self.used):
            return False
        if data is not None:
            self.staged = (data, first, last)
        return True

    def add(self, texts: pa.LargeStringArray) -> None:
        """Copy the texts of a column behind those that are held."""
        view, used = view_text(texts), self.used
        first, last = int(view.offsets[0]), int(view.offsets[-1])
        if not self._is_staged(texts.buffers()[2], first, last):
            self._make_room(last - first)
            self.data[used : used + last - first] = view.data[first:last]
        self.ends.append(view.offsets[1:] + (used - first))
        self.used += last - first
        self.staged = None

    def _is_staged(self, data: pa.Buffer | None, first: int, last: int) -> bool:
        if self.staged is None or data is None:
            return False
        held, start, end = self.staged
        return bool(held.address == data.address and start == first and last <= end)

    def _make_room(self, num_bytes: int) -> None:
        if self.used + num_bytes > len(self.data):
            data = allocate_bytes(max(self.used + num_bytes, 2 * len(self.data)))
            data[: self.used] = self.data[: self.used]
            self.data = data

    def take(self) -> pa.LargeStringArray:
        """All that is held, as a column; none is held afterwards."""
        offsets = np.concatenate(self.ends)
        texts = make_strings(self.data[: offsets[-1]], offsets, pa.large_string())
        # no larger than the next one will need by this one: a column is copied out of a buffer that it leaves half empty
        room = max(FIRST_BYTES, min(len(self.data), self.used + self.used // 2))
        self.data, self.used = allocate_bytes(room), 0
        self.ends, self.staged = [np.zeros(1, np.int64)], None
        return texts


class Piece(NamedTuple):
    """Consecutive rows of documents without their texts."""

    others: pa.RecordBatch
    start: int
    stop: int


class BatchBuilder:
    """Rows of one file. After every `add` or `reject` the caller drains when `is_full`.

    Batches depend on the records alone, never on how the stream was cut into reads. Rejections keep their order and follow the
    batch in which the good records before them stand.
    """

    def __init__(self, path: str, *, source: str, added: dt.datetime | None, limits: Limits) -> None:
        self.path, self.source, self.added, self.limits = path, source, added, limits
        self.rows: list[tuple[Any, ...]] = []
        self.texts: list[tuple[int, pa.LargeStringArray]] = []  # from which of the rows on they stand in which array
        self.pieces: list[Piece] = []  # documents before the rows, without their texts
        self.num_held = 0  # of them
        self.held = TextBuffer()  # their texts
        self.rejections: list[Rejection] = []
        self.num_bytes = 0

    def take_texts(self, texts: pa.LargeStringArray) -> None:
        """The texts of the documents that follow stand here, and need not become Python's: `add` gets their rows."""
        self.texts.append((len(self.rows), texts))

    def add(self, record: Record, num_bytes: int, row: int = -1) -> None:
        """Append one document that cost `num_bytes` in its file; with `row` its text is that of the array last taken.

        Raises TooDeepError, and appends nothing, for metadata that cannot be written.
        """
        text = record.text if row < 0 else row
        document_id = record.id
        if document_id is None:
            data = record.text.encode() if row < 0 else self.texts[-1][1][row].as_buffer()
            document_id = make_document_id(record.source, find_origin(record.metadata, self.path), data)
        added = self.added if record.added is None else record.added
        self.rows.append((document_id, text, record.source, added, record.created, dump_metadata(record.metadata)))
        self.num_bytes += num_bytes + ROW_OVERHEAD_BYTES

    def add_rows(
        self, texts: pa.LargeStringArray, others: pa.RecordBatch, first: int, num_bytes: npt.NDArray[np.int64]
    ) -> Iterator[None]:
        """Append many documents, in columns, that cost `num_bytes` each; yields when it is time to drain.

        others: all columns but the texts, of rows of which the one numbered `first` has the first text.
        """
        self._hold_rows()
        ends = np.cumsum(num_bytes + ROW_OVERHEAD_BYTES)
        start = begin = 0  # row, and bytes of the rows before it
        while start < len(ends):
            full = int(np.searchsorted(ends, begin + self.limits.batch_text_bytes - self.num_bytes)) + 1
            stop = min(full, start + self.limits.batch_rows - self.num_held, len(ends))
            self._hold(texts.slice(start, stop - start), others, first + start)
            self.num_bytes += int(ends[stop - 1]) - begin
            start, begin = stop, int(ends[stop - 1])
            if self.is_full:
                yield

    def reject(self, reason: str, excerpt: bytes, *, line: int, offset_bytes: int = -1) -> None:
        """Append one rejection."""
        self.rejections.append(Rejection(self.path, line, offset_bytes, reason, make_excerpt(excerpt)))

    @property
    def is_full(self) -> bool:
        """Whether it is time to drain."""
        num_rows, num_bytes = self._num_held()
        return (
            num_bytes >= self.limits.batch_text_bytes
            or num_rows >= self.limits.batch_rows
            or len(self.rejections) >= MAX_PENDING_REJECTIONS
        )

    def drain(self) -> Iterator[pa.RecordBatch | Rejection]:
        """What has been collected, and start anew."""
        rejections, self.rejections = self.rejections, []
        if self._num_held()[0]:
            yield self._take_batch()
        yield from rejections

    def _num_held(self) -> tuple[int, int]:
        return self.num_held + len(self.rows), self.num_bytes

    def _hold(self, texts: pa.LargeStringArray, others: pa.RecordBatch, start: int) -> None:
        """Documents to wait for more; their texts are copied at once, while the processor has them at hand and so that their memory is free."""
        self.held.add(texts)
        self.num_held += len(texts)
        last = self.pieces[-1] if self.pieces else None
        if last is not None and last.others is others and last.stop == start:
            self.pieces[-1] = Piece(others, last.start, start + len(texts))
        else:
            self.pieces.append(Piece(others, start, start + len(texts)))

    def _hold_rows(self) -> None:
        if self.rows:
            rows = self._take_rows()
            self._hold(rows.column("text"), rows.drop_columns(["text"]), 0)

    def _take_batch(self) -> pa.RecordBatch:
        """The rows that are held, as a batch; none are held afterwards."""
        self.num_bytes = 0
        if not self.pieces:
            return self._take_rows()
        self._hold_rows()
        slices = [piece.others.slice(piece.start, piece.stop - piece.start) for piece in self.pieces]
        others = slices[0] if len(slices) == 1 else pa.concat_batches(slices)
        self.pieces, self.num_held = [], 0
        texts = self.held.take()
        columns = [texts if name == "text" else others.column(name) for name in DOCUMENT_SCHEMA.names]
        return pa.RecordBatch.from_arrays(columns, schema=DOCUMENT_SCHEMA)

    def _take_rows(self) -> pa.RecordBatch:
        rows, texts = self.rows, self.texts
        self.rows = []
        self.texts = [(0, texts[-1][1])] if texts else []  # the rest of its rows may still come
        columns = list(zip(*rows, strict=True))
        arrays = [
            _gather_texts(values, texts) if field.name == "text" and texts else pa.array(values, field.type)
            for values, field in zip(columns, DOCUMENT_SCHEMA, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA)


def _gather_texts(rows: tuple[int, ...], texts: list[tuple[int, pa.LargeStringArray]]) -> pa.LargeStringArray:
    """The texts of these rows of the arrays, each from its first document on."""
    index = np.array(rows, np.int64)
    ends = [first for first, _ in texts[1:]] + [len(rows)]
    pieces = [
        array.take(pa.array(index[first:end])) for (first, array), end in zip(texts, ends, strict=True) if end > first
    ]
    return pa.concat_arrays(pieces)
