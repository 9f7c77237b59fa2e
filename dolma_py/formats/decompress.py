"""Compressed bytes to plain bytes in bounded pieces: gzip and zstd, many members or frames, torn and hostile files included.

A piece is bounded because little input is fed at a time: gzip expands at most 1,032 times and zstd at most about 33,000
times (four bytes of an RLE block stand for 128 KiB).
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO, NamedTuple

import zstandard

from dolma_py.formats.limits import Limits

READ_BYTES = 1 << 20
GZIP_STEP_BYTES = 16 << 10  # at most 16.5 MiB come out
ZSTD_STEP_BYTES = 1 << 10  # at most 32 MiB come out
ZSTD_WRITE_BYTES = 8 << 10  # what usually comes out; zstandard's own 128 KiB a step is a third slower
GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Break(NamedTuple):
    """The end of a gzip member or zstd frame; `reason` is "" when it ended well."""

    reason: str


def find_codec(path: str) -> str:
    """The codec of a file name: "gz", "zst" or ""."""
    lowered = path.lower()
    if lowered.endswith((".gz", ".gzip")):
        return "gz"
    if lowered.endswith((".zst", ".zstd")):
        return "zst"
    return ""


def strip_codec(path: str) -> str:
    """The lower-cased file name without its compression suffix."""
    lowered = path.lower()
    for suffix in (".gzip", ".gz", ".zstd", ".zst"):
        if lowered.endswith(suffix):
            return lowered.removesuffix(suffix)
    return lowered


def iterate_members(stream: BinaryIO, codec: str, *, limits: Limits, resync: bool = False) -> Iterator[bytes | Break]:
    """Plain bytes of `stream`, with a Break after each gzip member or zstd frame.

    A bad Break (truncated, corrupt, bomb, trailing_garbage, window_too_large) is the last event unless `resync`: then the
    search goes on for the next member, and what follows a corrupt one is still read. Errors of the stream itself raise.
    """
    if not codec:
        while chunk := stream.read(READ_BYTES):
            yield chunk
        yield Break("")
        return
    yield from _Decompressor(stream, codec, limits, resync).iterate()


def read_whole(stream: BinaryIO, codec: str, *, limits: Limits) -> tuple[bytes, str]:
    """(bytes, reason): the whole plain content, with reason "" or why it is not whole; at most max_record_bytes are kept."""
    pieces: list[bytes] = []
    num_bytes = 0
    for event in iterate_members(stream, codec, limits=limits):
        if isinstance(event, Break):
            if event.reason:
                return b"".join(pieces), event.reason
            continue
        pieces.append(event)
        num_bytes += len(event)
        if num_bytes > limits.max_record_bytes:
            return b"".join(pieces)[: limits.max_record_bytes], "too_long"
    return b"".join(pieces), ""


class _Decompressor:
    """State of one compressed stream: `pending[position:]` is read from the stream and not yet fed to the engine."""

    def __init__(self, stream: BinaryIO, codec: str, limits: Limits, resync: bool) -> None:
        self.stream, self.codec, self.limits, self.resync = stream, codec, limits, resync
        self.pending = b""
        self.position = 0
        self.num_read_bytes = self.num_out_bytes = 0
        self.step_bytes = GZIP_STEP_BYTES if codec == "gz" else ZSTD_STEP_BYTES
        self.magic = GZIP_MAGIC if codec == "gz" else ZSTD_MAGIC

    def iterate(self) -> Iterator[bytes | Break]:
        num_members = 0
        while self._fill():
            if num_members and not self._skip_padding():
                break
            reason = yield from self._iterate_member()
            if reason in ("corrupt", "window_too_large") and num_members and not self.resync and self._is_garbage():
                reason = "trailing_garbage"
            num_members += 1
            yield Break(reason)
            if reason and not (self.resync and reason != "bomb" and self._find_magic()):
                return
        if not num_members:  # nothing at all is not a gzip or zstd file: an upload that broke
            yield Break("truncated")

    def _fill(self) -> bool:
        """Make sure that a byte is pending; False at the end of the stream."""
        if self.position >= len(self.pending):
            self.pending = self.stream.read(READ_BYTES)
            self.position = 0
            self.num_read_bytes += len(self.pending)
        return self.position < len(self.pending)

    def _skip_padding(self) -> bool:
        """Step over zero bytes between members (tape padding is legal after gzip); False at the end."""
        while self._fill():
            rest = self.pending[self.position :].lstrip(b"\0")
            self.position = len(self.pending) - len(rest)
            if rest:
                return True
        return False

    def _is_garbage(self) -> bool:
        return self.member_out_bytes == 0

    def _iterate_member(self) -> Generator[bytes, None, str]:
        """One member's bytes; returns its end's reason. After an error `position` stands one byte past the member's start
        where that is still in memory, so that the next magic number can be looked for."""
        engine = self._make_engine()
        restart: int | None = self.position + 1
        self.member_out_bytes = 0
        while not engine.eof:
            before = self.pending
            if not self._fill():
                return "truncated"
            if self.pending is not before:
                restart = None
            step = memoryview(self.pending)[self.position : self.position + self.step_bytes]
            try:
                piece = engine.decompress(step)
            except (zlib.error, zstandard.ZstdError) as error:
                self.position = self.position if restart is None else restart
                return "window_too_large" if "too much memory" in str(error) else "corrupt"
            self.position += len(step) - len(engine.unused_data)
            if piece:
                self.num_out_bytes += len(piece)
                self.member_out_bytes += len(piece)
                yield piece  # bounded, and what stands before the bomb may be good
                if self._is_bomb():
                    return "bomb"
        return ""

    def _is_bomb(self) -> bool:
        num_in_bytes = self.num_read_bytes - len(self.pending) + self.position
        return (
            self.num_out_bytes > self.limits.ratio_floor_bytes
            and self.num_out_bytes > self.limits.max_ratio * num_in_bytes
        )

    def _make_engine(self) -> Any:
        if self.codec == "gz":
            return zlib.decompressobj(31)  # 15 bits of window, gzip wrapper
        return zstandard.ZstdDecompressor(max_window_size=self.limits.max_window_bytes).decompressobj(
            write_size=ZSTD_WRITE_BYTES
        )

    def _find_magic(self) -> bool:
        """Move to the next magic number; False when there is none."""
        while self._fill():
            found = self.pending.find(self.magic, self.position)
            if found >= 0:
                self.position = found
                return True
            tail = self.pending[max(self.position, len(self.pending) - len(self.magic) + 1) :]
            more = self.stream.read(READ_BYTES)
            if not more:
                return False
            self.num_read_bytes += len(more)
            self.pending, self.position = tail + more, 0
        return False
