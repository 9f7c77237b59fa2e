"""Narrow shuffles: hashes, addresses and counts go through Spark, texts never do.

Output must not depend on how rows met: groups are formed by key, rows inside a group are in a total order, and results are
sorted again where they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from dolma_py import parquet_files
from pipelines.steps import StepContext

Batches = Iterable[pa.RecordBatch]


def read_frame(
    context: StepContext, paths: list[str], columns: list[str], *, schema: str,
    transform: Callable[[pa.Table], pa.Table] | None = None,
) -> DataFrame:  # fmt: skip
    """A frame of Parquet files of the corpus, one file at a time per task, each row group passed through `transform`."""
    root = context.corpus.root

    def read(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                with parquet_files.open_parquet(f"{root}/{paths[index]}") as file:
                    for group in range(file.num_row_groups):
                        table = file.read_row_group(group, columns=columns, use_threads=False)
                        yield from (transform(table) if transform else table).to_batches()

    session = context.spark()
    parts = min(len(paths), context.partitions or 4 * session.sparkContext.defaultParallelism)
    return session.range(0, len(paths), 1, max(1, parts)).mapInArrow(read, schema)


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

    return frame.repartition(*keys).sortWithinPartitions(*keys, *order).mapInArrow(cut, schema)


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


def collect_sorted(frame: DataFrame, *, by: list[str], limit: int, what: str) -> pa.Table:
    """A result on the driver, sorted by a total order. `what` names it when it exceeds `limit` rows."""
    from dolma_py.errors import ConfigError

    table = frame.limit(limit + 1).toArrow() if limit else frame.toArrow()
    if limit and table.num_rows > limit:
        raise ConfigError(
            what,
            f"more than {limit} rows",
            "expected fewer on the driver",
            "Raise the limit if memory allows 100 bytes a row.",
        )
    return table.sort_by([(name, "ascending") for name in by]).combine_chunks()


def as_signed(values: np.ndarray[Any, Any]) -> pa.Array:
    """uint64 bits as int64: Spark has no unsigned numbers, and grouping needs none."""
    return pa.array(np.ascontiguousarray(values).view(np.int64))
