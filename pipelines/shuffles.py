"""Narrow shuffles: hashes, addresses and counts go through Spark, texts never do.

Output must not depend on how rows met: groups are formed by key, rows inside a group are in a total order, and results are
sorted again where they are written.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema

from dolma_py import parquet_files, storage
from dolma_py.errors import ConfigError
from pipelines.arrow_tasks import map_arrow
from pipelines.steps import StepContext

Batches = Iterable[pa.RecordBatch]
RUN_ROWS = 1 << 13  # rows of each run that a merge holds: 0.5 MB of decisions


def read_frame(
    context: StepContext, paths: list[str], columns: list[str], *, schema: str,
    transform: Callable[[pa.Table], pa.Table] | None = None,
) -> DataFrame:  # fmt: skip
    """A frame of Parquet files of the corpus, one file at a time per task, each row group passed through `transform`."""
    root = context.corpus.root

    def read(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                with parquet_files.open_parquet(storage.join_path(root, paths[index])) as file:
                    for group in range(file.num_row_groups):
                        table = file.read_row_group(group, columns=columns, use_threads=False)
                        yield from (transform(table) if transform else table).to_batches()

    session = context.spark()
    parts = min(len(paths), context.partitions or 4 * session.sparkContext.defaultParallelism)
    return map_arrow(session.range(0, len(paths), 1, max(1, parts)), read, schema)


def reduce_groups(
    frame: DataFrame, *, keys: list[str], order: list[str], reduce: Callable[[pa.Table], pa.Table], schema: str
) -> DataFrame:  # fmt: skip
    """Bring rows of equal keys together, in `order` inside a group, and call `reduce` on runs of whole groups.

    Each partition is sorted, so memory is one Arrow batch and the longest group.
    """

    def cut(batches: Batches) -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            if not batch.num_rows:
                continue
            if held and not _same_key(held[-1], batch, keys):
                yield from reduce(pa.Table.from_batches(held)).to_batches()
                held = []
            start = _last_group_start(batch, keys)
            if start:  # the groups before it are whole now
                yield from reduce(pa.Table.from_batches([*held, batch.slice(0, start)])).to_batches()
                held = []
            held.append(batch.slice(start))
        if held:
            yield from reduce(pa.Table.from_batches(held)).to_batches()

    return map_arrow(frame.repartition(*keys).sortWithinPartitions(*keys, *order), cut, schema)


def _same_key(before: pa.RecordBatch, after: pa.RecordBatch, keys: list[str]) -> bool:
    return all(before.column(key)[before.num_rows - 1] == after.column(key)[0] for key in keys)


def _last_group_start(batch: pa.RecordBatch, keys: list[str]) -> int:
    """First row of the batch's last group; rows are sorted by key."""
    same = np.ones(batch.num_rows, bool)
    for key in keys:
        column = batch.column(key)
        last = column[batch.num_rows - 1]
        same &= pa.compute.equal(column, last).to_numpy(zero_copy_only=False)
    return int(np.argmax(same))


def collect_sorted(
    frame: DataFrame, *, by: list[str], limit: int, what: str, context: StepContext | None = None
) -> pa.Table:
    """A result on the driver, sorted by a total order. `what` names it when it exceeds `limit` rows (0: no limit).

    With `context` executors write sorted runs as Parquet files and the driver merges them: nothing passes through the driver's
    JVM, so neither spark.driver.maxResultSize (1 GiB unless set) nor its heap bounds the result. The driver then holds the
    table's Arrow bytes, twice for a moment: 8 for a long, 4 for an int or float, 1/8 for a boolean, 4 and the characters for a
    string (some 60 for a row of decisions), and RUN_ROWS rows of each run. Without `context` the rows come through the JVM:
    for small results.
    """
    if context is None:
        table = frame.limit(limit + 1).toArrow() if limit else frame.toArrow()
        _check_limit(table.num_rows, limit, what)
        return table.sort_by([(name, "ascending") for name in by]).combine_chunks()
    runs = write_runs(context, frame, by=by)
    _check_limit(sum(rows for _, rows in runs), limit, what)
    empty = pa.Table.from_batches([], to_arrow_schema(frame.schema))
    table = pa.concat_tables([empty, *(piece.cast(empty.schema) for piece in merge_runs(runs, by=by))]).combine_chunks()
    for path, _ in runs:
        storage.remove_file(path)
    return table


def _check_limit(rows: int, limit: int, what: str) -> None:
    if limit and rows > limit:
        hint = "Raise the limit if the driver's memory allows some 100 bytes a row, twice."
        raise ConfigError(what, rows, f"expected at most {limit} rows on the driver", hint)


def write_runs(context: StepContext, frame: DataFrame, *, by: list[str]) -> list[tuple[str, int]]:
    """(path, rows) of files that together hold the frame, each sorted by `by`, in row groups of RUN_ROWS; Spark sorts and spills."""
    root, attempts, run_rows = context.corpus.root, context.attempts, RUN_ROWS

    def write(batches: Batches) -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        rows = 0
        with ExitStack() as stack:
            writer = attempt = None
            for batch in batches:
                if not batch.num_rows:
                    continue
                if writer is None or attempt is None:
                    attempt = stack.enter_context(storage.open_attempt(root, attempts, "run.parquet"))
                    writer = stack.enter_context(parquet_files.open_writer(attempt.sink, batch.schema))
                held.append(batch)
                rows += batch.num_rows
                while sum(piece.num_rows for piece in held) >= run_rows:
                    table = pa.Table.from_batches(held)
                    parquet_files.write_row_group(writer, table.slice(0, run_rows))
                    held = table.slice(run_rows).to_batches()
            if held and writer is not None:
                parquet_files.write_row_group(writer, pa.Table.from_batches(held))
        if attempt is not None:
            yield pa.RecordBatch.from_pydict({"path": [attempt.attempt], "rows": pa.array([rows], pa.int64())})

    sorted_frame = frame.sortWithinPartitions(*by)
    receipts = map_arrow(sorted_frame, write, "path string, rows long").collect()  # one per partition
    return sorted((row.path, row.rows) for row in receipts)


def merge_runs(runs: list[tuple[str, int]], *, by: list[str]) -> Iterator[pa.Table]:
    """Tables that follow each other in the order `by`, from runs sorted by it; holds one row group of each run."""
    groups = {path: iter(range(-(-rows // RUN_ROWS))) for path, rows in runs}
    held: dict[str, pa.Table] = {}
    while True:
        for path in [path for path in groups if path not in held]:
            group = next(groups[path], None)
            if group is None:
                del groups[path]
            else:
                held[path] = parquet_files.read_row_groups(path, [group], None).combine_chunks()
        if not held:
            return
        # what is still unread of a run comes after its last row at hand: up to the smallest of these, all is at hand
        bound = min(_key(table, table.num_rows - 1, by) for table in held.values())
        pieces = []
        for path, table in list(held.items()):
            end = bisect.bisect_right(range(table.num_rows), bound, key=lambda row, table=table: _key(table, row, by))
            pieces.append(table.slice(0, end))
            held[path] = table.slice(end)
            if end == table.num_rows:
                del held[path]
        yield pa.concat_tables(pieces).sort_by([(name, "ascending") for name in by])


def _key(table: pa.Table, row: int, by: list[str]) -> tuple[Any, ...]:
    return tuple(table.column(name)[row].as_py() for name in by)


def as_signed(values: np.ndarray[Any, Any]) -> pa.Array:
    """uint64 bits as int64: Spark has no unsigned numbers, and grouping needs none."""
    return pa.array(np.ascontiguousarray(values).view(np.int64))
