"""Pairs that a shuffle brings back to the splits they belong to: one file per split, each written by the task that has all of its pairs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from dolma_py import parquet_files
from dolma_py.done import DoneFile
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from pipelines.arrow_tasks import map_arrow
from pipelines.packed_pairs import HELD_PAIRS, Pairs, Parts, unpack_pairs
from pipelines.shuffles import Batches
from pipelines.steps import StepContext, split_name

ALL = "all"  # the one unit of such a phase


def number_files(context: StepContext, num_files: int) -> DataFrame:
    """Numbers from 0 in a column, for tasks that read files of these numbers."""
    session = context.spark()
    parts = min(num_files, context.partitions or 4 * session.sparkContext.defaultParallelism)
    return session.range(0, num_files, 1, max(1, parts))


def share_files(rows: list[int], num_parts: int) -> Parts:
    """Part of each file, int32, by the rows of it: neighbours together, a part's rows within one file of the average.

    >>> share_files([5, 0, 5, 10, 1], 2).tolist()
    [0, 0, 0, 0, 1]
    """
    before = np.cumsum([0, *rows[:-1]], dtype=np.float64)
    return np.minimum(before * num_parts // max(sum(rows), 1), num_parts - 1).astype(np.int32)


def cut_by_file(pairs: Pairs, owner: npt.NDArray[np.int64]) -> Iterator[tuple[int, Pairs]]:
    """Runs of one owner; the pairs are sorted by it."""
    bounds = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1], [True]])) if len(owner) else []
    for start, end in zip(bounds, bounds[1:], strict=False):
        yield int(owner[start]), pairs[start:end]


def gather_pairs(arrays: Iterable[Pairs], shrink: Callable[[Pairs], Pairs], limit: int) -> Pairs:
    """`shrink` of all pairs, called whenever about `limit` are held: memory follows what it leaves, not what comes.

    shrink : leaves no more than it is given, and may be applied to a part first and to the rest together with what that left

    >>> arrays = [np.array([[1, n], [2, n]], np.uint64) for n in range(9)]
    >>> def keep_last(pairs): return np.array([pairs[pairs[:, 0] == key][-1] for key in np.unique(pairs[:, 0])])
    >>> gather_pairs(arrays, keep_last, 4).tolist()
    [[1, 8], [2, 8]]
    """
    held: list[Pairs] = [np.empty((0, 2), np.uint64)]
    kept = fresh = 0
    for pairs in arrays:
        held.append(pairs)
        fresh += len(pairs)
        if fresh > max(limit - kept, limit // 4):  # so that what is left is not sorted again for each array
            held = [shrink(np.concatenate(held))]
            kept, fresh = len(held[0]), 0
    return shrink(np.concatenate(held))


def write_by_split(
    context: StepContext, done: DoneFile, frame: DataFrame, num_parts: int,
    write: Callable[[Pairs], Iterator[tuple[int, pa.Table]]], shrink: Callable[[Pairs], Pairs] | None = None,
) -> None:  # fmt: skip
    """A file of the phase for each split that `write` gives a table; fills `done` with one unit, whose facts have rows by split.

    A task holds all pairs of its part, or what `shrink` leaves of them (gather_pairs).
    """
    root, attempts, folder = context.corpus.root, context.attempts, done.folder
    names = [split_name(split) for split in context.plan_splits()]

    def write_files(batches: Batches) -> Iterator[pa.RecordBatch]:
        pairs = gather_pairs(unpack_pairs(batches), shrink or _keep_all, HELD_PAIRS // 2 if shrink else sys.maxsize)
        for owner, table in write(pairs):
            file = write_attempt(root, attempts, f"{folder}/{names[owner]}.parquet", table_writer(table))
            yield pa.RecordBatch.from_pydict({"receipt": [json.dumps([names[owner], list(file)])]})

    found = map_arrow(frame.repartitionById(num_parts, "part"), write_files, "receipt string").collect()
    receipts = sorted(json.loads(row.receipt) for row in found)
    written = [WrittenFile(*file) for _, file in receipts]
    facts = {"rows": {name: file.rows for (name, _), file in zip(receipts, written, strict=True)}}
    done.publish(ALL, written, facts)
    done.finish()


def _keep_all(pairs: Pairs) -> Pairs:
    return pairs


def table_writer(table: pa.Table) -> Callable[[HashingWriter], int]:
    """What writes a table into an attempt file."""

    def write(sink: HashingWriter) -> int:
        with parquet_files.open_writer(sink, table.schema) as writer:
            for start in range(0, table.num_rows, parquet_files.ROW_GROUP_ROWS):
                parquet_files.write_row_group(writer, table.slice(start, parquet_files.ROW_GROUP_ROWS))
        return int(table.num_rows)

    return write
