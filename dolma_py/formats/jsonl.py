"""JSON Lines, plain, gzip or zstd: one record a line, Dolma's own form or anybody's through a FieldMap.

Lines are cut out of blocks of plain bytes, so a line of 2 GB costs max_record_bytes of memory and one Rejection, and a torn file
gives what stands before the tear.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import orjson
import pyarrow as pa

from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import Break, find_codec, iterate_members
from dolma_py.formats.fields import FieldMap, split_record
from dolma_py.formats.limits import EXCERPT_BYTES, Limits, Rejection, make_relative

UTF8_BOM = b"\xef\xbb\xbf"


class LineBlock(NamedTuple):
    """Whole lines that follow each other, without their newlines; or one line's fate when `reason` is set."""

    first_line: int  # 1-based number of lines[0]
    offset_bytes: int  # of lines[0] in the plain stream
    lines: list[bytes]
    reason: str = (
        ""  # too_long: lines[0] is an excerpt; truncated, corrupt, bomb, ...: lines[0] is what stood before the tear
    )


def iterate_lines(events: Iterator[bytes | Break], max_line_bytes: int) -> Iterator[LineBlock]:
    """Cut plain bytes into blocks of lines; a line longer than `max_line_bytes` is skipped to its newline in bounded memory."""
    cutter = _LineCutter(max_line_bytes)
    for event in events:
        if not isinstance(event, Break):
            yield from cutter.cut(event)
        elif event.reason:
            yield LineBlock(cutter.line, cutter.offset_bytes, [cutter.excerpt or b"".join(cutter.pieces)], event.reason)
            return
    if cutter.excerpt is not None:
        yield LineBlock(cutter.line, cutter.offset_bytes, [cutter.excerpt], "too_long")
    elif cutter.carried_bytes:
        yield LineBlock(cutter.line, cutter.offset_bytes, [b"".join(cutter.pieces)])


class _LineCutter:
    """The unfinished line at the end of what was read: `pieces`, or its `excerpt` alone once it is too long."""

    def __init__(self, max_line_bytes: int) -> None:
        self.max_line_bytes = max_line_bytes
        self.line = 1
        self.offset_bytes = 0
        self.pieces: list[bytes] = []
        self.carried_bytes = 0
        self.excerpt: bytes | None = None

    def cut(self, chunk: bytes) -> Iterator[LineBlock]:
        if self.excerpt is not None:
            end = chunk.find(b"\n")
            if end < 0:
                self.carried_bytes += len(chunk)
                return
            yield LineBlock(self.line, self.offset_bytes, [self.excerpt], "too_long")
            self._start_line(1, self.carried_bytes + end + 1, b"")
            self.excerpt = None
            chunk = chunk[end + 1 :]
        end = chunk.rfind(b"\n")
        if end < 0:
            self._carry(chunk)
            return
        block = b"".join([*self.pieces, chunk[:end]])
        lines = block.split(b"\n")
        yield LineBlock(self.line, self.offset_bytes, lines)
        self._start_line(len(lines), len(block) + 1, b"")
        self._carry(chunk[end + 1 :])

    def _carry(self, piece: bytes) -> None:
        if piece:
            self.pieces.append(piece)
            self.carried_bytes += len(piece)
        if self.carried_bytes > self.max_line_bytes:
            self.excerpt = b"".join(self.pieces)[:EXCERPT_BYTES]
            self.pieces = []

    def _start_line(self, num_lines: int, num_bytes: int, rest: bytes) -> None:
        self.line += num_lines
        self.offset_bytes += num_bytes
        self.pieces, self.carried_bytes = [], 0
        self._carry(rest)


def read_documents(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
) -> Iterator[pa.RecordBatch | Rejection]:
    """Batches and rejections of one JSON Lines file; `open_stream` gives its raw, still compressed bytes.

    Blank lines are no records but count as lines; a UTF-8 byte order mark and carriage returns are stepped over. A record's own
    `added` wins over the argument.
    """
    name = make_relative(path, root)
    builder = BatchBuilder(name, source=source, added=added, limits=limits)
    with open_stream(path) as stream:
        events = iterate_members(stream, find_codec(path), limits=limits)
        for block in iterate_lines(events, limits.max_record_bytes):
            if block.reason == "too_long":
                builder.reject("too_long", block.lines[0], line=block.first_line, offset_bytes=block.offset_bytes)
            elif block.reason:
                _end_broken(builder, block, fields)
            else:
                for _ in _add_lines(builder, block, fields):
                    yield from builder.drain()
            if builder.is_full:
                yield from builder.drain()
    yield from builder.drain()


def _add_lines(builder: BatchBuilder, block: LineBlock, fields: FieldMap) -> Iterator[None]:
    """Add every line of a block; yields when the builder wants to be drained."""
    offset_bytes = block.offset_bytes
    max_bytes = builder.limits.max_record_bytes
    for line_number, line in enumerate(block.lines, block.first_line):
        if line and not line.isspace():
            if len(line) > max_bytes:
                builder.reject("too_long", line, line=line_number, offset_bytes=offset_bytes)
            else:
                reason = _add_line(builder, line, line_number, fields)
                if reason:
                    builder.reject(reason, line, line=line_number, offset_bytes=offset_bytes)
            if builder.is_full:
                yield
        offset_bytes += len(line) + 1


def _end_broken(builder: BatchBuilder, block: LineBlock, fields: FieldMap) -> None:
    """The stream broke: a record that was complete is kept, then one rejection tells of the break."""
    rest = block.lines[0]
    line_number = block.first_line
    if rest and not rest.isspace() and not _add_line(builder, rest, line_number, fields):
        block, line_number, rest = block._replace(offset_bytes=block.offset_bytes + len(rest)), line_number + 1, b""
    builder.reject(block.reason, rest, line=line_number, offset_bytes=block.offset_bytes)


def _add_line(builder: BatchBuilder, line: bytes, line_number: int, fields: FieldMap) -> str:
    """Add one record; returns "" or the reason why not."""
    if line_number == 1:
        line = line.removeprefix(UTF8_BOM)
        if not line.strip():
            return ""
    try:
        value: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _explain(line, error)
    if type(value) is not dict:
        return "not_object"
    if type(value.get(fields.id)) is float:  # a number beyond 64 bits: orjson rounds it, the standard library does not
        value[fields.id] = json.loads(line)[fields.id]
    record = split_record(value, fields, builder.source)
    if record is None:
        return "missing_text"
    if fields.keep_origin:
        record.metadata.setdefault("origin", f"{builder.path}:{line_number}")
    builder.add(record, len(line))
    return ""


def _explain(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return "not_utf8"
    return "lone_surrogate" if "surrogate" in str(error) else "invalid_json"
