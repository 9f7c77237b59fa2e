"""JSON Lines, plain, gzip or zstd: one record a line, Dolma's own form or anybody's through a FieldMap.

Lines are cut out of blocks of plain bytes, so a line of 2 GB costs max_record_bytes of memory and one Rejection, and a torn file
gives what stands before the tear. A plain file can be read in ranges of bytes: each range owns the lines that start in it, so
the ranges together give every line once, in order, with its true number. Compressed files are one stream and one task.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import READ_BYTES, Break, find_codec, iterate_members
from dolma_py.formats.fields import FieldMap, Record, split_record
from dolma_py.formats.json_lines import PADDING, LineBuilder, find_roles
from dolma_py.formats.limits import EXCERPT_BYTES, Limits, Rejection, make_relative

NEWLINE = 0x0A
UTF8_BOM = b"\xef\xbb\xbf"
BLOCK_BYTES = (
    1 << 18
)  # of whole lines that are taken at once, where they do not come in larger pieces; they stay in the cache


class LineRange(NamedTuple):
    """The lines of a plain file that start at a byte in [start_byte, end_byte)."""

    start_byte: int
    end_byte: int
    newlines_before: int  # in the file's first start_byte bytes; from count_newlines


class LineBlock(NamedTuple):
    """Whole lines that follow each other, without their newlines; or one line's fate when `reason` is set."""

    first_line: int  # 1-based number of lines[0]
    offset_bytes: int  # of lines[0] in the plain stream
    lines: list[bytes]
    reason: str = (
        ""  # too_long: lines[0] is an excerpt; truncated, corrupt, bomb, ...: lines[0] is what stood before the tear
    )


class ByteBlock(NamedTuple):
    """As LineBlock, in one piece."""

    first_line: int
    offset_bytes: int
    data: bytes  # whole lines, each with its newline, and PADDING behind them; with a reason, what LineBlock has
    num_bytes: int  # without the padding
    reason: str = ""


def cut_bytes(num_bytes: int, unit_bytes: int) -> list[tuple[int, int]]:
    """(start_byte, end_byte) of ranges of one to two units that cover a file; one range where it is smaller than two.

    >>> cut_bytes(10, 3), cut_bytes(5, 3)
    ([(0, 3), (3, 6), (6, 10)], [(0, 5)])
    """
    num_ranges = max(1, num_bytes // unit_bytes)
    bounds = [number * num_bytes // num_ranges for number in range(num_ranges + 1)]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def count_newlines(stream: BinaryIO, start_byte: int, end_byte: int) -> int:
    """Newlines among the bytes [start_byte, end_byte) of a seekable plain stream; what range readers number their lines by."""
    stream.seek(start_byte)
    count, left = 0, end_byte - start_byte
    while left and (chunk := stream.read(min(READ_BYTES, left))):
        count += _count_newlines(chunk)
        left -= len(chunk)
    return count


def _count_newlines(data: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == NEWLINE))  # several times as fast as bytes.count


def iterate_range(stream: BinaryIO, lines: LineRange) -> Iterator[tuple[int, bytes]]:
    """(offset in the file, bytes): whole lines of a range, in pieces; nothing when no line starts in it.

    Both ends are found by one rule, so that neighbours agree: a range begins behind the first newline at or after
    start_byte - 1, and its last line ends with the first newline at or after end_byte - 1, or with the file.
    """
    offset_bytes = max(0, lines.start_byte - 1)
    stream.seek(offset_bytes)
    is_inside = lines.start_byte == 0
    while chunk := stream.read(READ_BYTES):
        start = 0
        if not is_inside:
            start = chunk.find(b"\n") + 1
            is_inside = start > 0
            if (start or len(chunk)) + offset_bytes >= lines.end_byte:
                return
        end = chunk.find(b"\n", max(start, lines.end_byte - 1 - offset_bytes)) + 1
        if is_inside and start < (end or len(chunk)):
            yield offset_bytes + start, chunk[start : end or len(chunk)]
        if is_inside and end:
            return
        offset_bytes += len(chunk)


def iterate_lines(
    events: Iterator[bytes | Break], max_line_bytes: int, *, first_line: int = 1, offset_bytes: int = 0
) -> Iterator[LineBlock]:
    """Cut plain bytes into blocks of lines; a line longer than `max_line_bytes` is skipped to its newline in bounded memory.

    first_line, offset_bytes: number and place in the file of the first line, for a stream that begins inside it.
    """
    for block in iterate_blocks(events, max_line_bytes, first_line=first_line, offset_bytes=offset_bytes):
        lines = [block.data] if block.reason else block.data[: block.num_bytes - 1].split(b"\n")
        yield LineBlock(block.first_line, block.offset_bytes, lines, block.reason)


def iterate_blocks(
    events: Iterator[bytes | Break], max_line_bytes: int, *, first_line: int = 1, offset_bytes: int = 0
) -> Iterator[ByteBlock]:
    """As iterate_lines, the lines of a block in one piece, each with its newline; the last line of a stream gets one."""
    cutter = _LineCutter(max_line_bytes, first_line, offset_bytes)
    for event in events:
        if not isinstance(event, Break):
            yield from cutter.cut(event)
        elif event.reason:
            yield from cutter.flush()
            rest = cutter.excerpt or b"".join(cutter.pieces)
            yield ByteBlock(cutter.line, cutter.offset_bytes, rest, len(rest), event.reason)
            return
    if cutter.carried_bytes and cutter.excerpt is None:
        yield from cutter.cut(b"\n")
    yield from cutter.flush()
    if cutter.excerpt is not None:
        yield ByteBlock(cutter.line, cutter.offset_bytes, cutter.excerpt, len(cutter.excerpt), "too_long")


class _LineCutter:
    """Whole lines that were not given out yet, `whole`, and behind them the unfinished line at the end of what was read: `pieces`, or
    its `excerpt` alone once it is too long. `line` and `offset_bytes` are of the first of them all."""

    def __init__(self, max_line_bytes: int, line: int, offset_bytes: int) -> None:
        self.max_line_bytes = max_line_bytes
        self.line = line
        self.offset_bytes = offset_bytes
        self.whole: list[bytes | memoryview] = []
        self.whole_bytes = 0
        self.pieces: list[bytes | memoryview] = []
        self.carried_bytes = 0
        self.excerpt: bytes | None = None

    def cut(self, chunk: bytes) -> Iterator[ByteBlock]:
        start = 0
        if self.excerpt is not None:
            start = chunk.find(b"\n") + 1
            if not start:
                self.carried_bytes += len(chunk)
                return
            yield ByteBlock(self.line, self.offset_bytes, self.excerpt, len(self.excerpt), "too_long")
            self.line += 1
            self.offset_bytes += self.carried_bytes + start
            self.excerpt, self.carried_bytes = None, 0
        end = chunk.rfind(b"\n") + 1
        if end > start:
            self.whole += [*self.pieces, memoryview(chunk)[start:end]]
            self.whole_bytes += self.carried_bytes + end - start
            self.pieces, self.carried_bytes = [], 0
            if self.whole_bytes >= BLOCK_BYTES:
                yield from self.flush()
            start = end
        if start < len(chunk):
            self.pieces.append(memoryview(chunk)[start:])
            self.carried_bytes += len(chunk) - start
        if self.carried_bytes > self.max_line_bytes:
            yield from self.flush()
            # no longer than what is certainly there, so that it does not depend on how the stream was read
            self.excerpt = b"".join(self.pieces)[: min(EXCERPT_BYTES, self.max_line_bytes)]
            self.pieces = []

    def flush(self) -> Iterator[ByteBlock]:
        """The whole lines."""
        if self.whole:
            data, num_bytes = b"".join([*self.whole, PADDING]), self.whole_bytes
            self.whole, self.whole_bytes = [], 0
            yield ByteBlock(self.line, self.offset_bytes, data, num_bytes)
            self.line += _count_newlines(data)
            self.offset_bytes += num_bytes


def read_documents(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
    part: LineRange | None = None,
) -> Iterator[pa.RecordBatch | Rejection]:
    """Batches and rejections of one JSON Lines file; `open_stream` gives its raw, still compressed bytes.

    Blank lines are no records but count as lines; a UTF-8 byte order mark and carriage returns are stepped over. A record's own
    `added` wins over the argument. part: only the lines of a range of a plain file, from a seekable stream; lines and offsets
    keep their numbers in the file.
    """
    name, roles = make_relative(path, root), find_roles(fields)
    builder = (
        BatchBuilder(name, source=source, added=added, limits=limits)
        if roles is None
        else LineBuilder(name, source=source, added=added, limits=limits, fields=fields, roles=roles)
    )
    with open_stream(path) as stream:
        blocks = (
            iterate_blocks(iterate_members(stream, find_codec(path), limits=limits), limits.max_record_bytes)
            if part is None
            else _iterate_range_blocks(stream, part, limits)
        )
        for block in blocks:
            if block.reason == "too_long":
                builder.reject("too_long", block.data, line=block.first_line, offset_bytes=block.offset_bytes)
            elif block.reason:
                _end_broken(builder, block, fields)
            else:
                for _ in _add_lines(builder, block, fields):
                    yield from builder.drain()
            if builder.is_full:
                yield from builder.drain()
    yield from builder.drain()


def _iterate_range_blocks(stream: BinaryIO, part: LineRange, limits: Limits) -> Iterator[ByteBlock]:
    pieces = iterate_range(stream, part)
    for offset_bytes, first in pieces:
        # a line that began before the range ends with the newline at offset_bytes - 1, which is not among newlines_before
        line = part.newlines_before + 1 + (offset_bytes > part.start_byte)
        events = itertools.chain([first], (piece for _, piece in pieces))
        yield from iterate_blocks(events, limits.max_record_bytes, first_line=line, offset_bytes=offset_bytes)


def _add_lines(builder: BatchBuilder, block: ByteBlock, fields: FieldMap) -> Iterator[None]:
    """Add every line of a block; yields when the builder wants to be drained."""
    max_bytes = builder.limits.max_record_bytes
    found = (
        builder.take_block(block.data, block.num_bytes, block.first_line)
        if isinstance(builder, LineBuilder)
        else _iterate_places(block)
    )
    for start, stop, line_number in found:
        line = block.data[start:stop]
        if line and not line.isspace():
            offset_bytes = block.offset_bytes + start
            if len(line) > max_bytes:
                builder.reject("too_long", line[:max_bytes], line=line_number, offset_bytes=offset_bytes)
            elif reason := _add_line(builder, line, line_number, fields):
                builder.reject(reason, line, line=line_number, offset_bytes=offset_bytes)
        if builder.is_full:
            yield


def _iterate_places(block: ByteBlock) -> Iterator[tuple[int, int, int]]:
    """(start, stop, number) of each line of a block."""
    start, line = 0, block.first_line
    while start < block.num_bytes:
        stop = block.data.index(b"\n", start)
        yield start, stop, line
        start, line = stop + 1, line + 1


def _end_broken(builder: BatchBuilder, block: ByteBlock, fields: FieldMap) -> None:
    """The stream broke: a record that was complete is kept, then one rejection tells of the break."""
    rest = block.data
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
        return explain_error(line, error)
    if type(value) is not dict:
        return "not_object"
    if type(value.get(fields.id)) is float:  # a number beyond 64 bits: orjson rounds it, the standard library does not
        value[fields.id] = json.loads(line)[fields.id]
    record = split_record(value, fields, builder.source)
    if record is None:
        return "missing_text"
    _add_record(builder, record, len(line), line_number, fields)
    return ""


def _add_record(builder: BatchBuilder, record: Record, num_bytes: int, line_number: int, fields: FieldMap) -> None:
    if fields.keep_origin:
        record.metadata.setdefault("origin", f"{builder.path}:{line_number}")
    builder.add(record, num_bytes)


def explain_error(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return "not_utf8"
    return "lone_surrogate" if "surrogate" in str(error) else "invalid_json"
