"""Where each record of a WARC stream begins and ends, when some of them lie about it.

A record is believed when its header block ends within max_header_bytes, its Content-Length is a number, and after so many bytes
(and the blank lines that close a record) another record, the member's end or the file's end stands. Otherwise it is one rejection
and the search goes on for the next line that starts with `WARC/1.`: behind the bad record's header, so that records which a too
large length had swallowed are found again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dolma_py.formats.decompress import Break
from dolma_py.formats.limits import EXCERPT_BYTES, Limits

START = b"WARC/1."
NEXT_START = re.compile(rb"\nWARC/1\.")
HEADER_END = re.compile(rb"\r?\n\r?\n")


class Frame(NamedTuple):
    """One record whole (`data` from WARC/ to its closing blank lines), or, with a `reason`, what was seen of a bad one."""

    number: int  # 1-based, bad ones included
    offset_bytes: int  # of the record in the plain stream
    kind: str  # WARC-Type, lower case
    headers: dict[str, str]  # by lower-case name
    data: bytes
    reason: str = ""


def iterate_frames(events: Iterator[bytes | Break], limits: Limits) -> Iterator[Frame]:
    """Frames of a stream of plain bytes and member ends; memory is bounded by max_record_bytes and one piece."""
    framer = _Framer(limits)
    for event in events:
        if isinstance(event, Break):
            yield from framer.end_member(event.reason)
        else:
            framer.buffer += event
            if len(framer.buffer) >= framer.wanted_bytes:
                yield from framer.take_frames(end=None)


class _Framer:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.buffer = bytearray()
        self.buffer_offset_bytes = 0  # of buffer[0] in the plain stream
        self.num_records = 0
        self.is_searching = False  # a bad record was reported; everything up to the next start goes unmentioned
        self.wanted_bytes = 0  # of the buffer, before more can be said of the record at its start

    def end_member(self, reason: str) -> Iterator[Frame]:
        """The member or file is over, well (reason "") or not; what is left of a record in the buffer goes with it."""
        is_told = self.is_searching
        for frame in self.take_frames(end=reason):
            is_told = is_told or bool(frame.reason)
            yield frame
        if reason and not is_told:  # broke between two records, or before its first byte
            yield self._reject(reason, b"")
        self._drop(len(self.buffer))
        self.is_searching = False

    def take_frames(self, *, end: str | None) -> Iterator[Frame]:
        """Take whole records off the buffer. `end` None: more bytes may come; else why no more come, "" for a good end."""
        while self.buffer:
            if self.is_searching and not self._find_start():
                return
            self._skip_blank_lines()
            if not self.buffer or (len(self.buffer) < len(START) and end is None):
                return
            frame = self._take_record(end)
            if frame is None:
                return
            yield frame

    def _take_record(self, end: str | None) -> Frame | None:
        """The record at the buffer's start, good or bad; None when more bytes are needed to tell."""
        if not self.buffer.startswith(START):
            return self._reject_start("bad_header")
        header_end = HEADER_END.search(self.buffer, 0, self.limits.max_header_bytes)
        if header_end is None:
            if len(self.buffer) < self.limits.max_header_bytes:
                return None if end is None else self._reject_start(end or "bad_header")
            return self._reject_start("bad_header")
        headers = parse_headers(bytes(self.buffer[: header_end.start()]))
        length_text = headers.get("content-length", "")
        if not (length_text.isascii() and length_text.isdigit() and len(length_text) < 20):
            return self._reject_start("bad_length")
        body_end = header_end.end() + int(length_text)
        if body_end > self.limits.max_record_bytes:
            return self._reject_start("too_long")
        if len(self.buffer) < body_end + 4 + len(START) and end is None:
            self.wanted_bytes = body_end + 4 + len(START)
            return None
        if len(self.buffer) < body_end:
            return self._reject_start(end or "bad_length")
        if not self._is_boundary(body_end):
            return self._reject_start("bad_length")
        self.num_records += 1
        with memoryview(self.buffer) as view:
            data = b"".join((view[:body_end], b"\r\n\r\n"))
        frame = Frame(self.num_records, self.buffer_offset_bytes, headers.get("warc-type", "").lower(), headers, data)
        self._drop(body_end)
        return frame

    def _is_boundary(self, position: int) -> bool:
        following = bytes(self.buffer[position : position + 4 + len(START)]).lstrip(b"\r\n")
        return not following or following.startswith(START[: len(following)])

    def _reject_start(self, reason: str) -> Frame:
        """Reject what stands at the buffer's start and step past it, so that the search finds another start."""
        frame = self._reject(reason, bytes(self.buffer[:EXCERPT_BYTES]))
        self._drop(1)
        return frame

    def _reject(self, reason: str, excerpt: bytes) -> Frame:
        self.num_records += 1
        self.is_searching = True
        return Frame(self.num_records, self.buffer_offset_bytes, "", {}, excerpt, reason)

    def _find_start(self) -> bool:
        found = NEXT_START.search(self.buffer)
        if found is None:
            self._drop(max(0, len(self.buffer) - len(START)))
            return False
        self._drop(found.end() - len(START))
        self.is_searching = False
        return True

    def _skip_blank_lines(self) -> None:
        num_blank = 0
        while num_blank < len(self.buffer) and self.buffer[num_blank] in b"\r\n":
            num_blank += 1
        self._drop(num_blank)

    def _drop(self, num_bytes: int) -> None:
        self.wanted_bytes = 0
        if num_bytes:
            del self.buffer[:num_bytes]
            self.buffer_offset_bytes += num_bytes


def parse_headers(block: bytes) -> dict[str, str]:
    """Named fields by lower-case name, the first of each; a folded line continues the one before.

    >>> parse_headers(b"WARC/1.0" + bytes([13, 10]) + b"WARC-Type: response")
    {'warc-type': 'response'}
    """
    headers: dict[str, str] = {}
    last = ""
    for line in block.decode("utf-8", "replace").splitlines()[1:]:
        if line[:1] in (" ", "\t") and last:
            headers[last] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        if colon:
            last = name.strip().lower()
            headers.setdefault(last, value.strip())
    return headers
