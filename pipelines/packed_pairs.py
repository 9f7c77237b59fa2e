"""Pairs of 64-bit numbers through a shuffle as bytes: Spark moves a payload for each part and flush, not a row for each pair.

A row of two longs costs Spark some microsecond of conversion, sorting and conversion back; here numpy does all of it and the JVM
copies bytes. A pair belongs to one of `num_parts` parts, a part to one task. What a task makes of its part must not depend on the order
in which payloads arrive.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.arrow_buffers import view_text

PACKED_SPARK = "part int, pairs binary"
SCHEMA = pa.schema([("part", pa.int32()), ("pairs", pa.binary())])
PAIR_BYTES = 16
# in a part, about: small, so that memory is the same for any corpus of up to MANY_PARTS of them; beyond, they grow to the large ones
SMALL_PART_PAIRS, LARGE_PART_PAIRS, MANY_PARTS = 1 << 19, 1 << 21, 1 << 10
HELD_PAIRS = 3 << 20  # of a part in memory; a longer one goes to a file
# what a task takes at most for each byte of HELD_PAIRS, with all that it makes of them; the tests measure it
HELD_FACTOR = 7
FEW_PAIRS = 1 << 16  # parts are not made smaller for the sake of more tasks
FLUSH_PAIRS = 1 << 20  # gathered before they are cut into parts: the longer, the larger the payloads
PAYLOAD_PAIRS = 1 << 14  # of one row at most: 256 KiB, well below a page of Spark's
BATCH_ROWS = 64  # of one Arrow batch to the JVM: 16 MiB at most

Pairs = npt.NDArray[np.uint64]  # (N, 2)
Parts = npt.NDArray[np.int32]


def count_parts(num_pairs: int, at_most: int) -> int:
    """Parts of half a million to two million pairs, or more of FEW_PAIRS where the cluster wants to run `at_most` tasks.

    >>> count_parts(0, 8), count_parts(200_000, 200), count_parts(10**7, 8), count_parts(10**9, 8), count_parts(10**10, 8)
    (1, 4, 20, 1025, 4769)
    """
    part_pairs = min(max(num_pairs // MANY_PARTS, SMALL_PART_PAIRS), LARGE_PART_PAIRS)
    return max(-(-num_pairs // part_pairs), min(at_most, -(-num_pairs // FEW_PAIRS)), 1)


def choose_parts(mixed: npt.NDArray[np.uint64], num_parts: int) -> Parts:
    """Part of each of N mixed keys, int32 (N,), by its upper 32 bits: evenly, and equal keys together."""
    return ((mixed >> np.uint64(32)) * np.uint64(num_parts) >> np.uint64(32)).astype(np.int32)


def pack_pairs(batches: Iterable[tuple[Parts, Pairs]], num_parts: int) -> Iterator[pa.RecordBatch]:
    """Rows of PACKED_SPARK of batches (part int32 (N,), pairs uint64 (N, 2)), some FLUSH_PAIRS at a time."""
    # of many parts more are gathered, so that payloads are not tiny
    flush_pairs = min(max(FLUSH_PAIRS, 64 * num_parts), 4 * FLUSH_PAIRS)
    held: list[tuple[Parts, Pairs]] = []
    rows = 0
    for part, pairs in batches:
        for start in range(0, len(part), flush_pairs):
            held.append((part[start : start + flush_pairs], pairs[start : start + flush_pairs]))
            rows += len(held[-1][0])
            if rows >= flush_pairs:
                yield from _pack(held, num_parts)
                held, rows = [], 0
    if rows:
        yield from _pack(held, num_parts)


def _pack(held: list[tuple[Parts, Pairs]], num_parts: int) -> Iterator[pa.RecordBatch]:
    """Empties `held`."""
    part, pairs = np.concatenate([one for one, _ in held]), np.concatenate([one for _, one in held])
    held.clear()
    order = np.argsort(part.astype(np.uint16) if num_parts <= 1 << 16 else part, kind="stable")  # 16 bits: by radix
    pairs = np.ascontiguousarray(pairs[order])
    counts = np.bincount(part, minlength=num_parts)
    named = np.flatnonzero(counts)
    ends = np.cumsum(counts[named])
    cuts = [np.arange(end - count, end, PAYLOAD_PAIRS) for end, count in zip(ends, counts[named], strict=True)]
    bounds = np.concatenate([*cuts, ends[-1:]])
    assert PAIR_BYTES * len(pairs) < 1 << 31, "offsets of a batch are int32"
    offsets = pa.py_buffer((PAIR_BYTES * bounds).astype(np.int32))
    payloads = pa.BinaryArray.from_buffers(pa.binary(), len(bounds) - 1, [None, offsets, pa.py_buffer(pairs)])
    owners = pa.array(named[np.searchsorted(ends, bounds[:-1], side="right")].astype(np.int32))
    batch = pa.RecordBatch.from_arrays([owners, payloads], schema=SCHEMA)
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield batch.slice(start, BATCH_ROWS)


def unpack_pairs(batches: Iterable[pa.RecordBatch]) -> Iterator[Pairs]:
    """The pairs of each batch of PACKED_SPARK rows, uint64 (N, 2), read-only."""
    for batch in batches:
        text = view_text(batch.column("pairs"))
        data = text.data[text.offsets[0] : text.offsets[-1]]
        if len(data):
            yield np.frombuffer(data.tobytes(), np.uint64).reshape(-1, 2)  # Spark's buffers begin anywhere


class HeldPairs(NamedTuple):
    """All pairs of a part, to be gone through as often as one likes."""

    rows: int
    is_whole: bool  # they come as one array
    go_through: Callable[[], Iterator[Pairs]]  # each array is overwritten by the next


@contextmanager
def hold_pairs(arrays: Iterable[Pairs], limit: int) -> Iterator[HeldPairs]:
    """Up to `limit` pairs in memory; more go to a temporary file beside Spark's own, and come back in arrays of half as many."""
    room = np.empty((limit, 2), np.uint64)
    total = rows = 0
    file = None
    with ExitStack() as stack:
        for pairs in arrays:
            total += len(pairs)
            for start in range(0, len(pairs), limit):
                piece = pairs[start : start + limit]
                if rows + len(piece) > limit:
                    file = file or stack.enter_context(tempfile.TemporaryFile(dir=_spill_folder()))
                    file.write(room[:rows].data)
                    rows = 0
                room[rows : rows + len(piece)] = piece
                rows += len(piece)
        if file is not None:
            file.write(room[:rows].data)
            room = np.empty((-(-limit // 2), 2), np.uint64)

        def go_through() -> Iterator[Pairs]:
            if file is None:
                yield room[:rows]
                return
            file.seek(0)
            while num_bytes := file.readinto(room.data.cast("B")):
                yield room[: num_bytes // PAIR_BYTES]

        yield HeldPairs(total, file is None, go_through)


def _spill_folder() -> str | None:
    """One of the folders where Spark puts its own temporary files, if a worker is told; None: the system's folder."""
    folders = [folder for folder in os.environ.get("SPARK_LOCAL_DIRS", "").split(",") if os.path.isdir(folder)]
    return folders[os.getpid() % len(folders)] if folders else None
