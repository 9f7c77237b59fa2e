"""Pairs of 64-bit numbers through a shuffle as bytes: Spark moves a payload for each part and flush, not a row for each pair.

A row of two longs costs Spark some microsecond of conversion, sorting and conversion back; here numpy does all of it and the JVM
copies bytes. A pair belongs to one of `num_parts` parts, a part to one task. What a task makes of its part must not depend on the order
in which payloads arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PACKED_SPARK = "part int, pairs binary"
SCHEMA = pa.schema([("part", pa.int32()), ("pairs", pa.binary())])
PAIR_BYTES = 16
PART_PAIRS = 1 << 21  # in a part, about: 32 MiB, held four times while it is sorted
FLUSH_PAIRS = 1 << 20  # gathered before they are cut into parts: the longer, the larger the payloads
PAYLOAD_PAIRS = 1 << 14  # of one row at most: 256 KiB, well below a page of Spark's

Pairs = npt.NDArray[np.uint64]  # (N, 2)


def count_parts(num_pairs: int, at_least: int) -> int:
    """Parts of PART_PAIRS pairs, and one for each task that the cluster wants to run.

    >>> count_parts(0, 8), count_parts(10**9, 8)
    (8, 477)
    """
    return max(-(-num_pairs // PART_PAIRS), at_least, 1)


def choose_parts(mixed: npt.NDArray[np.uint64], num_parts: int) -> npt.NDArray[np.int32]:
    """Part of each of N mixed keys, int32 (N,), by its upper 32 bits: evenly, and equal keys together."""
    return ((mixed >> np.uint64(32)) * np.uint64(num_parts) >> np.uint64(32)).astype(np.int32)


def pack_pairs(batches: Iterable[tuple[npt.NDArray[np.int32], Pairs]], num_parts: int) -> Iterator[pa.RecordBatch]:
    """Rows of PACKED_SPARK of batches (part int32 (N,), pairs uint64 (N, 2)), some FLUSH_PAIRS at a time."""
    flush_pairs = min(
        max(FLUSH_PAIRS, 64 * num_parts), 4 * FLUSH_PAIRS
    )  # payloads of a kilobyte, as long as memory allows
    held: list[tuple[npt.NDArray[np.int32], Pairs]] = []
    rows = 0
    for part, pairs in batches:
        held.append((part, pairs))
        rows += len(part)
        if rows >= flush_pairs:
            yield _pack(held, num_parts)
            held, rows = [], 0
    if rows:
        yield _pack(held, num_parts)


def _pack(held: list[tuple[npt.NDArray[np.int32], Pairs]], num_parts: int) -> pa.RecordBatch:
    part, pairs = np.concatenate([one for one, _ in held]), np.concatenate([one for _, one in held])
    order = np.argsort(
        part.astype(np.uint16) if num_parts <= 1 << 16 else part, kind="stable"
    )  # 16 bits are sorted by radix
    pairs = np.ascontiguousarray(pairs[order])
    counts = np.bincount(part, minlength=num_parts)
    named = np.flatnonzero(counts)
    ends = np.cumsum(counts[named])
    starts = ends - counts[named]
    bounds = np.unique(
        np.concatenate(
            [starts, *(np.arange(s, e, PAYLOAD_PAIRS) for s, e in zip(starts, ends, strict=True)), ends[-1:]]
        )
    )
    offsets = pa.py_buffer((PAIR_BYTES * bounds).astype(np.int32))
    payloads = pa.BinaryArray.from_buffers(pa.binary(), len(bounds) - 1, [None, offsets, pa.py_buffer(pairs)])
    owners = named[np.searchsorted(ends, bounds[:-1], side="right")]
    return pa.RecordBatch.from_arrays([pa.array(owners.astype(np.int32)), payloads], schema=SCHEMA)


def unpack_pairs(batches: Iterable[pa.RecordBatch]) -> Iterator[Pairs]:
    """The pairs of each batch of PACKED_SPARK rows, uint64 (N, 2)."""
    for batch in batches:
        column: Any = batch.column("pairs")
        if len(column):
            offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
            data = np.frombuffer(column.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
            yield np.frombuffer(data.tobytes(), np.uint64).reshape(-1, 2)
