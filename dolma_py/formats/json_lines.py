"""Blocks of JSON lines to batches of documents: a kernel copies what is plain straight into columns, no object per line is made.

A line that is not plain (a name twice, another type where a field stands, deep nesting, bytes that are no UTF-8, ...) is given back
to the caller, who parses it and adds its record in its place. The documents are those of orjson and fields.split_record for every
line, which the tests compare.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.formats import json_lines_kernels as kernels
from dolma_py.formats.batches import ROW_OVERHEAD_BYTES, BatchBuilder
from dolma_py.formats.document_arrays import (
    Bytes,
    allocate_bytes,
    as_bytes,
    make_bits,
    make_ids,
    make_origin,
    make_strings,
    write_again,
)
from dolma_py.formats.fields import FieldMap, Record, dump_metadata
from dolma_py.formats.json_values_kernels import KEY_SLOTS, ROOM
from dolma_py.formats.limits import Limits
from dolma_py.formats.utf8 import is_utf8

PADDING = bytes(ROOM)  # behind a block
FIRST_BYTES, FIRST_ROWS = 1 << 16, 1 << 10  # of an output before anything is known of the file
TIME = DOCUMENT_SCHEMA.field("added").type


class Roles(NamedTuple):
    """Names of fields that a kernel looks for, and what each is."""

    names: list[bytes]
    roles: list[int]


def find_roles(fields: FieldMap) -> Roles | None:
    """What a kernel has to look for; None for a map of paths into objects, of renamed fields or of conversations."""
    given = [
        (fields.text, kernels.TEXT), (fields.id, kernels.ID), (fields.metadata, kernels.METADATA), (fields.added, kernels.ADDED),
        (fields.created, kernels.CREATED), *((name, kernels.DROP) for name in fields.drop),
    ]  # fmt: skip
    if fields.source is not None:
        given.append((fields.source, kernels.SOURCE))
    names = [name for name, _ in given]
    is_plain = not (fields.rename or fields.is_joined) and len(set(names)) == len(names) < 60
    if not is_plain or not all(name.isprintable() and not set('."\\') & set(name) for name in names):
        return None
    return Roles([name.encode() for name in names], [role for _, role in given])


class LineBuilder(BatchBuilder):
    """A BatchBuilder whose rows are columns already."""

    def __init__(
        self, path: str, *, source: str, added: dt.datetime | None, limits: Limits, fields: FieldMap, roles: Roles
    ) -> None:
        super().__init__(path, source=source, added=added, limits=limits)
        self.default_added = _as_microseconds(added)
        self.has_sources = fields.source is not None
        own = source.encode()
        self.source_bytes = as_bytes(own + b'"source":' + orjson.dumps(source))
        self.origin = as_bytes(make_origin(path) if fields.keep_origin else b"")
        self.names = as_bytes(b"".join(roles.names))
        self.name_offsets = np.cumsum([0, *map(len, roles.names)]).astype(np.int64)
        self.roles = np.array(roles.roles, np.int64)
        self.keys = np.empty((3, KEY_SLOTS), np.int64)
        self.state = np.zeros(kernels.STATE_SIZE, np.int64)
        self.state[kernels.MAX_LINE_BYTES], self.state[kernels.MAX_ROWS] = limits.max_record_bytes, limits.batch_rows
        self.state[kernels.MAX_BYTES], self.state[kernels.ROW_OVERHEAD] = limits.batch_text_bytes, ROW_OVERHEAD_BYTES
        self.state[kernels.KEEPS_OTHERS], self.state[kernels.SOURCE_BYTES] = fields.keep_rest, len(own)
        self.state[kernels.HAS_SOURCES] = self.has_sources
        self.outputs = [allocate_bytes(FIRST_BYTES) for _ in range(5)]
        self.offsets: npt.NDArray[np.int64] = np.zeros((4, FIRST_ROWS + 1), np.int64)
        self.times: npt.NDArray[np.int64] = np.empty((2, FIRST_ROWS), np.int64)
        self.marks: Bytes = np.empty((4, FIRST_ROWS), np.uint8)

    def take_block(self, data: bytes, num_bytes: int, line: int) -> Iterator[tuple[int, int, int]]:
        """Add the records of the whole lines data[:num_bytes]; lines that are no UTF-8 are for the caller. Otherwise as take_lines."""
        block = np.frombuffer(data, np.uint8)
        for start, stop, is_valid in _find_valid(data, 0, num_bytes):
            if is_valid:
                yield from self.take_lines(block, start, stop, line)
                line = int(self.state[kernels.LINE])
            else:
                yield start, stop - 1, line
                line += 1

    def take_lines(self, block: Bytes, start: int, stop: int, line: int) -> Iterator[tuple[int, int, int]]:
        """Add the records of block[start:stop], whole lines of UTF-8, of which the first has the number `line`.

        block: ROOM bytes follow behind `stop`. Yields (start, stop, number) of each line that the caller has to look at, and (stop,
        stop, number of the next line) when it is time to drain.
        """
        state = self.state
        state[kernels.POSITION], state[kernels.STOP], state[kernels.LINE] = start, stop, line
        while True:
            how = kernels.take_lines_kernel(
                block, state, self.names, self.name_offsets, self.roles, self.origin, self.source_bytes, *self.outputs,
                self.offsets, self.times, self.marks, self.keys,
            )  # fmt: skip
            if how == kernels.AT_ROOM:
                self._grow(int(state[kernels.NO_ROOM_IN]))
                continue
            position, number = int(state[kernels.POSITION]), int(state[kernels.LINE])
            if how != kernels.AT_LINE:
                yield stop, stop, number
                if how == kernels.AT_END:
                    return
                continue
            num_bytes = int(state[kernels.LINE_BYTES])
            state[kernels.POSITION] += num_bytes + 1
            state[kernels.LINE] += 1
            yield position, position + num_bytes, number

    def add(self, record: Record, num_bytes: int, row: int = -1) -> None:
        """Append one document that cost `num_bytes` in its file."""
        metadata = dump_metadata(record.metadata)
        state, at = self.state, int(self.state[kernels.ROWS])
        if at + 1 >= self.offsets.shape[1]:
            self._make_rows(2 * at + 2)
        values = (record.id or "", record.text, record.source if self.has_sources else "", metadata or "")
        for which, value in enumerate(values):
            data = value.encode()
            end = int(state[kernels.ENDS + which]) + len(data)
            while end > len(self.outputs[which]):
                self._grow(which)
            self.outputs[which][end - len(data) : end] = bytearray(data)
            state[kernels.ENDS + which] = self.offsets[which, at + 1] = end
        for which, time in enumerate((record.added, record.created)):
            micros = _as_microseconds(time)
            self.times[which, at], self.marks[which, at] = micros or 0, micros is not None
        self.marks[kernels.HAS_METADATA, at], self.marks[kernels.IS_ODD_ROW, at] = metadata is not None, False
        state[kernels.ROWS] = at + 1
        state[kernels.ROW_BYTES] += num_bytes + ROW_OVERHEAD_BYTES

    def _make_rows(self, rows: int) -> None:
        """Room for so many rows; what is there stays."""
        held = int(self.state[kernels.ROWS])
        made = np.zeros((4, rows + 1), np.int64), np.empty((2, rows), np.int64), np.empty((4, rows), np.uint8)
        if held:
            made[0][:, : held + 1] = self.offsets[:, : held + 1]
            made[1][:, :held], made[2][:, :held] = self.times[:, :held], self.marks[:, :held]
        self.offsets, self.times, self.marks = made

    def _grow(self, which: int) -> None:
        """Twice the room in an output, or for rows (-1)."""
        if which < 0:
            self._make_rows(2 * self.times.shape[1])
            return
        old = self.outputs[which]
        self.outputs[which] = allocate_bytes(2 * len(old))
        used = int(self.state[kernels.ENDS + which])
        self.outputs[which][:used] = old[:used]

    def _num_held(self) -> tuple[int, int]:
        return int(self.state[kernels.ROWS]), int(self.state[kernels.ROW_BYTES])

    def _take_batch(self) -> pa.RecordBatch:
        """The rows that are held, as a batch; none are held afterwards."""
        rows = int(self.state[kernels.ROWS])
        ends = [int(self.state[kernels.ENDS + which]) for which in range(4)]
        has_metadata = self.marks[kernels.HAS_METADATA, :rows]
        ids = make_strings(self.outputs[kernels.IDS][: ends[0]], self.offsets[0, : rows + 1], pa.string())
        texts = make_strings(self.outputs[kernels.TEXTS][: ends[1]], self.offsets[1, : rows + 1], pa.large_string())
        sources = (
            make_strings(self.outputs[kernels.SOURCES][: ends[2]], self.offsets[2, : rows + 1], pa.string())
            if self.has_sources
            else pa.repeat(pa.scalar(self.source, pa.string()), rows)
        )
        metadata = make_strings(
            self.outputs[kernels.OBJECTS][: ends[3]], self.offsets[3, : rows + 1], pa.string(), has_metadata
        )
        if self.marks[kernels.IS_ODD_ROW, :rows].any():
            metadata = write_again(metadata, self.marks[kernels.IS_ODD_ROW, :rows])
        is_made = np.diff(self.offsets[0, : rows + 1]) == 0
        if is_made.any():
            ids = make_ids(is_made, (ids, texts, sources, metadata), self.path)
        added, has_added = self.times[0, :rows], self.marks[kernels.HAS_ADDED, :rows]
        if self.default_added is not None:
            added = np.where(has_added, added, self.default_added)
            has_added = np.ones(rows, np.uint8)
        times = (
            _make_times(added, has_added),
            _make_times(self.times[1, :rows], self.marks[kernels.HAS_CREATED, :rows]),
        )
        # these stand in Arrow's arrays now
        for which in (kernels.IDS, kernels.TEXTS, kernels.SOURCES, kernels.OBJECTS):
            self.outputs[which] = allocate_bytes(len(self.outputs[which]))
        capacity = self.times.shape[1]
        self.state[[kernels.ROWS, kernels.ROW_BYTES, *range(kernels.ENDS, kernels.ENDS + 4)]] = 0
        self._make_rows(capacity)
        return pa.RecordBatch.from_arrays([ids, texts, sources, *times, metadata], schema=DOCUMENT_SCHEMA)


def _find_valid(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
    """(start, stop, whether it is UTF-8) of runs of whole lines; what is none is one line each."""
    while start < stop:
        end, is_valid = stop, is_utf8(data, start, stop)
        while not is_valid:
            middle = data.rfind(b"\n", start, (start + end) // 2) + 1 or data.index(b"\n", start) + 1
            if middle == end:
                break
            end, is_valid = middle, is_utf8(data, start, middle)
        yield start, end, is_valid
        start = end


def _as_microseconds(time: dt.datetime | int | None) -> int | None:
    value: int | None = pa.scalar(time, TIME).cast(pa.int64()).as_py()
    return value


def _make_times(values: npt.NDArray[np.int64], is_valid: npt.NDArray[Any]) -> pa.Array:
    return pa.Array.from_buffers(TIME, len(values), [make_bits(is_valid), pa.py_buffer(np.ascontiguousarray(values))])
