"""Compressed bytes to plain bytes in bounded pieces: gzip, zstd and bzip2, many members or frames, torn and hostile files included.

A piece is bounded because little input is fed at a time: gzip expands at most 1,032 times; of zstd, where four bytes may stand for a
block of 128 KiB, a block or a few small ones. bzip2 expands a million times, but gives no more than it is asked for.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO, NamedTuple

import zstandard
from isal import isal_zlib

from dolma_py.formats.limits import Limits

READ_BYTES = 1 << 20
GZIP_STEP_BYTES = 16 << 10  # at most 16.5 MiB come out
ZSTD_STEP_BYTES = (
    1 << 10
)  # where the blocks are not known, at most 32 MiB come out; else blocks are fed until they are so many bytes,
ZSTD_STEP_BLOCKS = 8  # or so many, at most 1 MiB comes out
ZSTD_WRITE_BYTES = 128 << 10  # a block at most
BZIP2_STEP_BYTES = 256 << 10
BZIP2_PIECE_BYTES = 1 << 20
IsalError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub has an instance there
MAX_WHOLE_BYTES = 4 << 20  # of a gzip member that is taken as a whole
GZIP_MAGIC = b"\x1f\x8b\x08"
STEP_BYTES = {"gz": GZIP_STEP_BYTES, "zst": ZSTD_STEP_BYTES, "bz2": BZIP2_STEP_BYTES}
MAGIC = {"gz": GZIP_MAGIC, "zst": b"\x28\xb5\x2f\xfd", "bz2": b"BZh91AY&SY"}  # level 9, as dumps have


class Break(NamedTuple):
    """The end of a gzip member, zstd frame or bzip2 stream; `reason` is "" when it ended well."""

    reason: str


def find_codec(path: str) -> str:
    """The codec of a file name: "gz", "zst", "bz2" or ""."""
    lowered = path.lower()
    if lowered.endswith((".gz", ".gzip")):
        return "gz"
    if lowered.endswith((".zst", ".zstd")):
        return "zst"
    return "bz2" if lowered.endswith(".bz2") else ""


def strip_codec(path: str) -> str:
    """The lower-cased file name without its compression suffix."""
    lowered = path.lower()
    for suffix in (".gzip", ".gz", ".zstd", ".zst", ".bz2"):
        if lowered.endswith(suffix):
            return lowered.removesuffix(suffix)
    return lowered


def iterate_members(stream: BinaryIO, codec: str, *, limits: Limits, resync: bool = False) -> Iterator[bytes | Break]:
    """Plain bytes of `stream`, with a Break after each gzip member, zstd frame or bzip2 stream (codec "gz", "zst", "bz2").

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
    """(bytes, reason): the whole plain content, at most max_record_bytes of it, and ""; else what it begins with, and why it is not whole."""
    pieces: list[bytes] = []
    num_bytes = 0
    for event in iterate_members(stream, codec, limits=limits):
        if isinstance(event, Break):
            if event.reason:
                return b"".join(pieces[:1]), event.reason
            continue
        pieces.append(event)
        num_bytes += len(event)
        if num_bytes > limits.max_record_bytes:
            return pieces[0][: limits.max_record_bytes], "too_long"
    return b"".join(pieces), ""


class _BadBzip2Error(Exception):
    """The bytes are no bzip2; the library says OSError, which is what a failing disk says too."""


class _Bzip2Engine:
    """One bzip2 stream, at most BZIP2_PIECE_BYTES at a time; what it holds back comes with empty input (`needs_input`)."""

    def __init__(self) -> None:
        self.stream = bz2.BZ2Decompressor()

    @property
    def eof(self) -> bool:
        return self.stream.eof

    @property
    def needs_input(self) -> bool:
        return self.stream.needs_input

    @property
    def unused_data(self) -> bytes:
        return self.stream.unused_data

    def decompress(self, step: memoryview) -> bytes:
        try:
            return self.stream.decompress(step, BZIP2_PIECE_BYTES)
        except (OSError, ValueError) as error:
            raise _BadBzip2Error(str(error)) from error


class _ZstdBlocks:
    """Where the blocks of a frame end (RFC 8878, 3.1.1), so that whole ones are fed; once lost, every step is ZSTD_STEP_BYTES."""

    def __init__(self) -> None:
        self.is_inside = self.is_lost = self.has_checksum = False
        self.overhang = 0  # bytes of the block at hand that were not read yet

    def step_bytes(self, data: bytes, position: int) -> int:
        """How many bytes to feed from `position` on, at least one if one is there."""
        at = position + self.overhang
        if not self.is_inside and not self.is_lost:
            at = self._skip_header(data, position)
        num_blocks = 0
        while not self.is_lost and num_blocks < ZSTD_STEP_BLOCKS and at - position < ZSTD_STEP_BYTES:
            if at > len(data):
                break
            if at + 3 > len(data):
                self.is_lost = num_blocks == 0
                break
            header = int.from_bytes(data[at : at + 3], "little")
            at += 4 if header >> 1 & 3 == 1 else 3 + (header >> 3)  # a block of one byte repeated, or of its size
            num_blocks += 1
            if header & 1:
                at += 4 * self.has_checksum
                self.is_lost = True
                break
        if at == position:
            return ZSTD_STEP_BYTES
        end = min(at, len(data))
        self.overhang = at - end
        return end - position

    def _skip_header(self, data: bytes, position: int) -> int:
        """The position of the first block; lost where the header is not whole, or of no frame that holds blocks."""
        self.is_lost = len(data) - position < 18 or not data.startswith(MAGIC["zst"], position)
        if self.is_lost:
            return position
        described = data[position + 4]
        is_single = described >> 5 & 1
        self.is_inside, self.has_checksum = True, bool(described >> 2 & 1)
        return position + 5 + (not is_single) + (0, 1, 2, 4)[described & 3] + (is_single, 2, 4, 8)[described >> 6]


class _Decompressor:
    """State of one compressed stream: `pending[position:]` is read from the stream and not yet fed to the engine."""

    def __init__(self, stream: BinaryIO, codec: str, limits: Limits, resync: bool) -> None:
        self.stream, self.codec, self.limits, self.resync = stream, codec, limits, resync
        self.pending = b""
        self.position = 0
        self.num_read_bytes = self.num_out_bytes = 0
        self.step_bytes = STEP_BYTES[codec]
        self.magic = MAGIC[codec]

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
        if not num_members:  # nothing at all is not a compressed file: an upload that broke
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
            if self.pending[self.position]:  # nearly always: nothing is copied
                return True
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
        self.member_out_bytes = 0
        whole = self._take_whole() if self.codec == "gz" else None
        if whole is not None:
            self.num_out_bytes += len(whole)
            self.member_out_bytes = len(whole)
            yield from (whole[start : start + READ_BYTES] for start in range(0, len(whole), READ_BYTES))
            return ""
        engine = self._make_engine()
        blocks = _ZstdBlocks() if self.codec == "zst" else None
        restart: int | None = self.position + 1
        fed_from = self.position
        while not engine.eof:
            step = memoryview(b"")
            if getattr(engine, "needs_input", True):
                before = self.pending
                if not self._fill():
                    return "truncated"
                if self.pending is not before:
                    restart = None
                fed_from = self.position
                step_bytes = self.step_bytes if blocks is None else blocks.step_bytes(self.pending, fed_from)
                step = memoryview(self.pending)[fed_from : fed_from + step_bytes]
            try:
                piece = engine.decompress(step)
            except (zlib.error, zstandard.ZstdError, _BadBzip2Error) as error:
                self.position = fed_from if restart is None else restart
                return "window_too_large" if "too much memory" in str(error) else "corrupt"
            self.position += len(step) - len(engine.unused_data)
            if piece:
                self.num_out_bytes += len(piece)
                self.member_out_bytes += len(piece)
                # what stands before the bomb may be good; in small pieces, for they are cut into lines, of which a piece may hold millions
                if len(piece) <= READ_BYTES:
                    yield piece
                else:
                    yield from (piece[start : start + READ_BYTES] for start in range(0, len(piece), READ_BYTES))
                if self._is_bomb():
                    return "bomb"
        return ""

    def _take_whole(self) -> bytes | None:
        """The bytes of a gzip member that is small, at hand as a whole and good; None, and nothing is taken, for any other.

        isal takes half of zlib's time, but in some broken streams it reads on where zlib finds the error: those are zlib's.
        """
        engine, at = isal_zlib.decompressobj(31), self.position
        pieces: list[bytes] = []
        num_bytes = 0
        with memoryview(self.pending) as pending:
            while not engine.eof:
                step = pending[at : at + GZIP_STEP_BYTES]
                if not step or num_bytes > MAX_WHOLE_BYTES:
                    return None
                try:
                    pieces.append(engine.decompress(step))
                except IsalError:
                    return None
                at += len(step) - len(engine.unused_data)
                num_bytes += len(pieces[-1])
        if self._is_bomb(num_bytes, at):
            return None
        self.position = at
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _is_bomb(self, more_bytes: int = 0, position: int = -1) -> bool:
        """Whether so much may not come out of what was fed, or would not with more_bytes of what is pending up to a position."""
        num_in_bytes = self.num_read_bytes - len(self.pending) + (self.position if position < 0 else position)
        num_out_bytes = self.num_out_bytes + more_bytes
        return num_out_bytes > self.limits.ratio_floor_bytes and num_out_bytes > self.limits.max_ratio * num_in_bytes

    def _make_engine(self) -> Any:
        if self.codec == "gz":
            return zlib.decompressobj(31)  # 15 bits of window, gzip wrapper
        if self.codec == "bz2":
            return _Bzip2Engine()
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
