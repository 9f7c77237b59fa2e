"""The work file of an input between the two passes of the shuffle: rows in order of the ranges of their keys, and where each range begins.

One file for an input, however many parts the mix gets. A task that writes a part reads from each file the offsets of the ranges it
wants, 8 bytes a range, and then their blocks, which lie together. The ranges need not be those of the parts: find_ranges says which hold the
keys of a part, and keep_bucket drops what is not of it.

    block   uint64 length, then a frame of zstd: an Arrow record batch without its schema, rows of one range
    index   int64 (R + 1,): where the blocks of each of R ranges begin, and where the last one ends

Memory of writing: the rows given, and a block twice. Legend: N rows, R ranges.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zstandard

from dolma_py import storage
from dolma_py.errors import DataError, SchemaError
from dolma_py.storage import HashingWriter
from mixers.shards import PIECE_SCHEMA, bucket_of

_LENGTH = struct.Struct("<Q")
AGAIN = "Run the step again."
WINDOW_BYTES = 1 << 26  # of all files that are merged, read at a time


class RangedRows(NamedTuple):
    """Rows in order of their ranges."""

    rows: pa.RecordBatch  # PIECE_SCHEMA
    place: npt.NDArray[np.int32]  # (N,) range of each row, rising


def sort_by_range(table: pa.Table, num_ranges: int) -> RangedRows:
    """The rows of PIECE_SCHEMA in order of the ranges of their keys; rows of one range keep their order. Memory: twice the table."""
    if not table.schema.equals(PIECE_SCHEMA):
        raise SchemaError("piece", PIECE_SCHEMA.names, table.schema.names)
    place = bucket_of(table.column("key").to_numpy(), num_ranges)
    order = np.argsort(place, kind="stable")
    rows = table.take(pa.array(order)).combine_chunks().to_batches()
    return RangedRows(rows[0] if rows else pa.RecordBatch.from_pylist([], PIECE_SCHEMA), place[order])


def write_ranges(parts: Iterable[RangedRows], num_ranges: int, sink: HashingWriter) -> int:
    """Write the rows of an input; returns their number. Each of `parts` adds a block to every range that it has rows of."""
    held = [part for part in parts if len(part.place)]
    starts = [np.flatnonzero(np.diff(part.place, prepend=-1)) for part in held]
    ranges = [part.place[start] for part, start in zip(held, starts, strict=True)]
    # every block to be written, by range, then by part
    number = np.repeat(np.arange(len(held)), [len(values) for values in ranges])
    first = np.concatenate([np.empty(0, np.int64), *starts])
    end = np.concatenate(
        [np.empty(0, np.int64), *(np.append(s[1:], len(p.place)) for s, p in zip(starts, held, strict=True))]
    )
    of_range = np.concatenate([np.empty(0, np.int32), *ranges])
    order = np.argsort(of_range, kind="stable")
    packer = zstandard.ZstdCompressor(level=1, write_checksum=True)
    sizes = np.zeros(num_ranges + 1, np.int64)
    for at in order.tolist():
        rows = held[number[at]].rows.slice(int(first[at]), int(end[at] - first[at]))
        frame = packer.compress(rows.serialize())
        sink.write(_LENGTH.pack(len(frame)))
        sink.write(frame)
        sizes[of_range[at] + 1] += _LENGTH.size + len(frame)
    sink.write(np.cumsum(sizes).astype("<i8"))
    return sum(len(part.place) for part in held)


def read_ranges(path: str, first: int, end: int, num_ranges: int) -> pa.Table:
    """The rows, PIECE_SCHEMA, of ranges first <= r < end of a file of write_ranges with as many ranges; reads no others.

    Raises
    ------
    DataError       the file is cut off, or something else
    """
    filesystem, inner = storage.find_filesystem(path)
    with filesystem.open_input_file(inner) as file:
        offsets = _read_index(file, path, first, end, num_ranges)
        content = memoryview(file.read_at(int(offsets[-1] - offsets[0]), int(offsets[0])))
    batches, unpacker, at = [], zstandard.ZstdDecompressor(), 0
    try:
        while at < len(content):
            (length,) = _LENGTH.unpack_from(content, at)
            at += _LENGTH.size
            block = unpacker.decompress(content[at : at + length])
            batches.append(pa.ipc.read_record_batch(pa.ipc.read_message(pa.py_buffer(block)), PIECE_SCHEMA))
            at += length
    except (struct.error, zstandard.ZstdError, pa.ArrowInvalid, OSError) as error:
        raise DataError(path, f"a block at byte {int(offsets[0]) + at} is damaged ({error})", hint=AGAIN) from error
    return pa.Table.from_batches(batches, PIECE_SCHEMA)


def _read_index(file: pa.NativeFile, path: str, first: int, end: int, num_ranges: int) -> npt.NDArray[np.int64]:
    """Where ranges first <= r < end begin, and where the last of them ends; DataError for a file that has no such index."""
    index = file.size() - 8 * (num_ranges + 1)
    content = file.read_at(8 * (end + 1 - first), index + 8 * first) if index >= 0 else b""
    offsets = np.frombuffer(content, "<i8")
    if len(offsets) < 1 or offsets[0] < 0 or offsets[-1] > index or (np.diff(offsets) < 0).any():
        raise DataError(path, "its index is damaged", hint=AGAIN)
    return offsets


def merge_files(paths: Sequence[str], num_ranges: int, sink: HashingWriter) -> None:
    """Write the blocks of several files of as many ranges as one file; nothing is unpacked.

    Memory: WINDOW_BYTES, or a range of all files where that is more, and their indexes. DataError as read_ranges.
    """
    with ExitStack() as stack:
        files = []
        for path in paths:
            filesystem, inner = storage.find_filesystem(path)
            files.append(stack.enter_context(filesystem.open_input_file(inner)))
        # (K, R + 1): of each file; their sum is the index of the file that is made
        pairs = zip(files, paths, strict=True)
        offsets = np.stack([_read_index(file, path, 0, num_ranges, num_ranges) for file, path in pairs])
        total = offsets.sum(axis=0)
        if (offsets[:, 0] != 0).any():
            raise DataError(paths[0], "its index is damaged", hint=AGAIN)
        start = 0
        while start < num_ranges:
            end = max(start + 1, int(np.searchsorted(total, total[start] + WINDOW_BYTES, side="right")) - 1)
            end = min(end, num_ranges)
            own = offsets[:, start : end + 1] - offsets[:, start : start + 1]
            held = [
                memoryview(file.read_at(int(o[-1]), int(at)))
                for file, o, at in zip(files, own, offsets[:, start], strict=True)
            ]
            for place, number in np.argwhere(np.diff(own, axis=1).T).tolist():
                sink.write(held[number][own[number, place] : own[number, place + 1]])
            start = end
        sink.write(total.astype("<i8"))


def find_ranges(bucket: int, num_buckets: int, num_ranges: int) -> tuple[int, int]:
    """(first, end) of the ranges that hold all keys of a bucket, in whole numbers as bucket_of has them.

    >>> find_ranges(1, 4, 8), find_ranges(1, 3, 4)
    ((2, 4), (1, 3))
    """
    low, high = -(-(bucket << 32) // num_buckets), -(-((bucket + 1) << 32) // num_buckets) - 1  # upper halves of keys
    return low * num_ranges >> 32, (high * num_ranges >> 32) + 1


def keep_bucket(table: pa.Table, bucket: int, num_buckets: int) -> pa.Table:
    """The rows whose keys fall into the bucket."""
    is_own = bucket_of(table.column("key").to_numpy(), num_buckets) == bucket
    return table if is_own.all() else table.filter(pa.array(is_own))
