"""Inputs that are made while they are read, for benchmarks of readers: nothing of their size stands on a disk or in memory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import zstandard

MIB = 1 << 20
NOISE = bytes(range(256)) * 4096


class MadeStream(io.RawIOBase):
    """Bytes that come into being when they are read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.rest = pieces, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self.rest) < size:
            piece = next(self.pieces, None)
            if piece is None:
                break
            self.rest += piece
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


class Case(NamedTuple):
    """A file of `kind` named `path`; size: MiB that come out of it at scale 1."""

    kind: str
    path: str
    what: str
    size: int
    make: Callable[[int], io.BufferedIOBase | io.RawIOBase]


def repeat(head: bytes, block: bytes, num_bytes: int, tail: bytes = b"") -> MadeStream:
    return MadeStream(iter([head, *[block] * max(1, num_bytes // len(block)), tail]))


def zip_up(head: bytes, block: bytes, num_bytes: int, tail: bytes = b"", first: bytes = b"") -> MadeStream:
    def pieces() -> Iterator[bytes]:
        yield first
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        yield packer.compress(head)
        for _ in range(max(1, num_bytes // len(block))):
            yield packer.compress(block)
        yield packer.compress(tail) + packer.flush()

    return MadeStream(pieces())


def zstd_up(head: bytes, block: bytes, num_bytes: int, tail: bytes = b"", noise_bytes: int = 0) -> MadeStream:
    """The same as one frame of zstd; each block begins with so many bytes that hardly compress."""

    def pieces() -> Iterator[bytes]:
        packer, state = zstandard.ZstdCompressor(level=1).compressobj(), 1
        yield packer.compress(head)
        for _ in range(max(1, num_bytes // len(block))):
            digits = []
            for _ in range(noise_bytes // 16):
                state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
                digits.append(f"{state:016x}".encode())
            yield packer.compress(b"".join(digits) + block[16 * len(digits) :])
        yield packer.compress(tail) + packer.flush()

    return MadeStream(pieces())
