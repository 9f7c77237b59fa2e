"""Somebody's JSON Lines: the texts that deduplication compares, and the same lines again without those that leave.

A line is bytes. What stays is written as it was read, escapes, key order, repeated keys and carriage returns included; where
a text was edited, the bytes of that one value are replaced and nothing else. Row 0 is the first line of the file.
"""

from __future__ import annotations

import bz2
import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import zstandard

from dolma_py import storage
from dolma_py.formats.decompress import Break, find_codec, iterate_members
from dolma_py.formats.fields import take_value
from dolma_py.formats.jsonl import UTF8_BOM, LineBlock, explain_error, iterate_lines
from dolma_py.formats.limits import Limits, Rejection, make_excerpt
from dolma_py.plain_rows import NARROW_SCHEMA, KeptRows, Narrow, render_metadata

Row = tuple[int, str, str | None, str | None]  # as NARROW_SCHEMA
_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET_OR_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_PLAIN_VALUE = re.compile(rb"[^,}\]\s]+")


def iterate_blocks(path: str, limits: Limits) -> Iterator[tuple[LineBlock, bool]]:
    """(lines, whether a newline ended the last of them) of a file, plain, gzip, zstd or bzip2."""
    num_read = 0

    def count(events: Iterator[bytes | Break]) -> Iterator[bytes | Break]:
        nonlocal num_read
        for event in events:
            num_read += 0 if isinstance(event, Break) else len(event)
            yield event

    with storage.open_read(path) as stream:
        for block in iterate_lines(
            count(iterate_members(stream, find_codec(path), limits=limits)), limits.max_record_bytes
        ):
            length = sum(map(len, block.lines)) + len(block.lines) - 1
            yield block, num_read > block.offset_bytes + length


def read_narrow_lines(path: str, name: str, narrow: Narrow) -> Iterator[pa.RecordBatch | Rejection]:
    """NARROW_SCHEMA batches of a file, about limits.batch_text_bytes of lines each, and what could not be read.

    Reasons of rejections are those of dolma_py.formats.jsonl; blank lines are no records.
    """
    rows: list[Row] = []
    rejections: list[Rejection] = []
    held = 0
    for block, _ in iterate_blocks(path, narrow.limits):
        offset = block.offset_bytes
        for number, line in enumerate(block.lines, block.first_line):
            found = block.reason if block.reason == "too_long" else _read_line(line, number, narrow)
            if isinstance(found, tuple):
                rows.append(found)
            if block.reason and block.reason != "too_long":  # the stream broke behind this line
                line, found = (b"" if isinstance(found, tuple) else line), block.reason
            if isinstance(found, str) and found:
                rejections.append(Rejection(name, number, offset, found, make_excerpt(line)))
            offset += len(line) + 1
            held += len(line) + 128
            if held >= narrow.limits.batch_text_bytes or len(rows) >= narrow.limits.batch_rows:
                yield from _drain(rows, rejections)
                rows, rejections, held = [], [], 0
    yield from _drain(rows, rejections)


def read_first_keys(path: str, limits: Limits, num_records: int = 1) -> list[str]:
    """The keys of the first records of a file, in their order; none where the first lines hold no object."""
    keys: dict[str, None] = {}
    for block, _ in iterate_blocks(path, limits):
        for number, line in enumerate(block.lines, block.first_line):
            try:
                value = orjson.loads(line.removeprefix(UTF8_BOM) if number == 1 else line)
            except orjson.JSONDecodeError:
                continue
            if type(value) is dict:
                keys |= dict.fromkeys(value)
                num_records -= 1
            if num_records == 0:
                return list(keys)
        break
    return list(keys)


def _drain(rows: list[Row], rejections: list[Rejection]) -> Iterator[pa.RecordBatch | Rejection]:
    if rows:
        columns = zip(*rows, strict=True)
        yield pa.RecordBatch.from_arrays(
            [pa.array(values, field.type) for values, field in zip(columns, NARROW_SCHEMA, strict=True)],
            schema=NARROW_SCHEMA,
        )
    yield from rejections


def _read_line(line: bytes, number: int, narrow: Narrow) -> Row | str:
    """(row, text, id, metadata) of a line, or the reason why it is rejected, or "" for a blank one."""
    if number == 1:
        line = line.removeprefix(UTF8_BOM)
    if not line or line.isspace():
        return ""
    if len(line) > narrow.limits.max_record_bytes:
        return "too_long"
    try:
        value: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return explain_error(line, error)
    if type(value) is not dict:
        return "not_object"
    text = take_value(value, narrow.text_column)
    if type(text) is not str:
        return "missing_text"
    given = take_value(value, narrow.id_column or "id")
    if type(given) is float:  # a number beyond 64 bits: orjson rounds it, the standard library does not
        given = take_value(json.loads(line), narrow.id_column or "id")
    fields = narrow.metadata_fields
    metadata = render_metadata(fields, (_field_of(value, field) for field in fields)) if fields else None
    return number - 1, text, None if given is None else str(given), metadata


def _field_of(record: dict[str, Any], field: str) -> Any:
    found = take_value(record, field)
    return take_value(record, f"metadata.{field}") if found is None else found


@contextmanager
def open_compressed(sink: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """A stream that compresses as the name says, the same bytes every time: no name, no time, fixed level, one thread."""
    codec = find_codec(path)
    if codec == "gz":
        with gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=6, filename="", mtime=0) as stream:
            yield stream  # type: ignore[misc]
    elif codec == "zst":
        with zstandard.ZstdCompressor(level=3).stream_writer(sink, closefd=False) as stream:
            yield stream
    elif codec == "bz2":
        with bz2.BZ2File(sink, "wb", compresslevel=9) as stream:
            yield stream  # type: ignore[misc]
    else:
        yield sink


def copy_lines(path: str, sink: BinaryIO, kept: KeptRows, *, text_column: str, limits: Limits) -> int:
    """Write the kept lines of a file, compressed as it was; returns their number.

    A kept row that has a `text` gets it in place of its own; its other columns are added at the end of the object.
    """
    num_written = 0
    with open_compressed(sink, path) as stream:
        for block, ended in iterate_blocks(path, limits):
            first = block.first_line - 1
            table = kept.take(first + len(block.lines))
            if not table.num_rows:
                continue
            index = table.column("row").to_numpy() - first
            chosen = [block.lines[place] for place in index.tolist()]
            if table.num_columns > 1:
                values = table.drop_columns("row").to_pylist()
                chosen = [_edit_line(line, row, text_column) for line, row in zip(chosen, values, strict=True)]
            stream.write(b"\n".join(chosen))
            if ended or int(index[-1]) < len(block.lines) - 1:
                stream.write(b"\n")
            num_written += len(chosen)
    return num_written


def _edit_line(line: bytes, values: dict[str, Any], text_column: str) -> bytes:
    if "text" in values:
        text = values.pop("text")
        if text is not None:
            start, end = find_value(line, text_column)
            line = line[:start] + orjson.dumps(text) + line[end:]
    if values:
        end = line.rindex(b"}")
        line = line[:end] + b"," + orjson.dumps(values)[1:-1] + line[end:]
    return line


def find_value(line: bytes, path: str) -> tuple[int, int]:
    """(start, end) of the bytes of the value at a key or dotted path of a JSON object that is known to be valid.

    As readers do, the last of repeated keys counts, and a key that has the dots in its name comes first.

    Examples
    --------
    >>> find_value(b'{"a": {"b": "x"}, "b": 1}', "a.b")
    (12, 15)
    """
    start = line.index(b"{")
    members = _members(line, start)
    if path in members:
        return members[path]
    for part in path.split("."):
        start, end = _members(line, start)[part]
    return start, end


def _members(line: bytes, start: int) -> dict[str, tuple[int, int]]:
    """Key -> (start, end) of its value, for the object whose brace stands at `start`."""
    found = {}
    position = _skip_space(line, start + 1)
    while line[position : position + 1] != b"}":
        key_end = _match_end(_STRING, line, position)
        key = orjson.loads(line[position:key_end])
        value = _skip_space(line, _skip_space(line, key_end) + 1)  # behind the colon
        end = _value_end(line, value)
        found[key] = (value, end)
        position = _skip_space(line, end)
        if line[position : position + 1] == b",":
            position = _skip_space(line, position + 1)
    return found


def _value_end(line: bytes, start: int) -> int:
    sign = line[start : start + 1]
    if sign == b'"':
        return _match_end(_STRING, line, start)
    if sign not in (b"{", b"["):
        return _match_end(_PLAIN_VALUE, line, start)
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(line, start):  # no recursion: nesting costs no stack
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    raise ValueError("an object without its end")


def _skip_space(line: bytes, position: int) -> int:
    return _match_end(_SPACE, line, position)


def _match_end(pattern: re.Pattern[bytes], line: bytes, position: int) -> int:
    match = pattern.match(line, position)
    assert match is not None, f"not JSON at byte {position}"
    return match.end()
