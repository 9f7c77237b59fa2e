"""Results of a shuffle that are too large for the driver: one file per shard or per range of keys, written by executors.

Names and bytes of the files depend on the rows alone; the driver holds a receipt per file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from dolma_py import parquet_files, storage
from pipelines.arrow_tasks import map_arrow
from pipelines.steps import StepContext

Batches = Iterable[pa.RecordBatch]
ALL = "all"  # the only unit of a phase that a shuffle writes
LARGEST = 10  # clusters named in a manifest


def write_files(
    context: StepContext, frame: DataFrame, *, phase: str, key: str, order: list[str], schema: pa.Schema,
    count: Callable[[pa.Table], dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Write rows of equal `key` (an integer) as one file of the phase each, sorted by `order`, which must be total.

    The files are `{phase}/part-{key:05d}.parquet` in the step's work folder, of `schema` without the key. Memory of a task is a row
    group. Returns the phase's line of its done file: `files` (path, bytes, rows, checksum) in order of the key, and as `facts` what
    merge_facts makes of `count` over the row groups. A phase that is done is not done again.
    """
    done = context.done(phase)
    if ALL not in done.units:
        root, attempts, folder = context.corpus.root, context.attempts, f"{context.work}/{phase}"

        def write(batches: Batches) -> Iterator[pa.RecordBatch]:
            for value, tables in _cut_by_key(batches, key, schema):
                facts: dict[str, Any] = {}
                path = f"{folder}/part-{value:05d}.parquet"

                def write_groups(sink: storage.HashingWriter, tables: Iterator[pa.Table] = tables) -> int:
                    nonlocal facts
                    rows = 0
                    with parquet_files.open_writer(sink, schema) as writer:
                        for table in tables:
                            parquet_files.write_row_group(writer, table)
                            facts = merge_facts(facts, count(table))
                            rows += table.num_rows
                    return rows

                file = storage.write_attempt(root, attempts, path, write_groups)
                receipt = json.dumps({"key": value, "file": list(file), "facts": facts})
                yield pa.RecordBatch.from_pydict({"receipt": [receipt]})

        sorted_frame = frame.repartition(key).sortWithinPartitions(key, *order)
        rows = map_arrow(sorted_frame, write, "receipt string").collect()
        receipts = sorted((json.loads(row.receipt) for row in rows), key=lambda receipt: int(receipt["key"]))
        facts: dict[str, Any] = {}
        for receipt in receipts:
            facts = merge_facts(facts, receipt["facts"])
        done.publish(ALL, [storage.WrittenFile(*receipt["file"]) for receipt in receipts], facts)
        done.finish()
    return done.units[ALL]


def _cut_by_key(batches: Batches, key: str, schema: pa.Schema) -> Iterator[tuple[int, Iterator[pa.Table]]]:
    """(key, its rows as tables of ROW_GROUP_ROWS) of rows sorted by key; each iterator must be used up before the next."""
    pieces = _one_key_each(batches, key)
    held = next(pieces, None)

    def tables(value: int) -> Iterator[pa.Table]:
        nonlocal held
        waiting: list[pa.RecordBatch] = []
        num_rows = 0
        while held is not None and held[0] == value:
            waiting.append(held[1].select(schema.names))
            num_rows += held[1].num_rows
            held = next(pieces, None)
            if num_rows >= parquet_files.ROW_GROUP_ROWS:
                table = pa.Table.from_batches(waiting).combine_chunks()
                yield table.slice(0, parquet_files.ROW_GROUP_ROWS).cast(schema)
                waiting = table.slice(parquet_files.ROW_GROUP_ROWS).to_batches()
                num_rows -= parquet_files.ROW_GROUP_ROWS
        while num_rows > 0:
            table = pa.Table.from_batches(waiting).combine_chunks()
            yield table.slice(0, parquet_files.ROW_GROUP_ROWS).cast(schema)
            waiting = table.slice(parquet_files.ROW_GROUP_ROWS).to_batches()
            num_rows -= parquet_files.ROW_GROUP_ROWS

    while held is not None:
        yield held[0], tables(held[0])


def _one_key_each(batches: Batches, key: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The batches cut where the key changes."""
    for batch in batches:
        values = batch.column(key).to_numpy()
        bounds = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
        for start, end in zip(bounds, bounds[1:], strict=False):
            if end > start:
                yield int(values[start]), batch.slice(start, end - start)


def merge_facts(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Sums of numbers; of lists of [size, address, ...] the LARGEST longest, largest size and then smallest address first."""
    merged = dict(first)
    for name, value in other.items():
        if isinstance(value, list):
            rows = [*merged.get(name, []), *value]
            merged[name] = sorted(rows, key=lambda row: (-row[0], row[1]))[:LARGEST]
        else:
            merged[name] = merged.get(name, 0) + value
    return merged


def files_by_shard(files: list[dict[str, Any]], option: str) -> dict[int, dict[str, Any]]:
    """Options of a maker for each shard that has one of the files that write_files left, part-SHARD.parquet: (path, checksum).

    >>> files_by_shard([{"path": "runs/a/0-a/work/lost/part-00012.parquet", "checksum": "f0"}], "lost")
    {12: {'lost': ['runs/a/0-a/work/lost/part-00012.parquet', 'f0']}}
    """
    found = {}
    for file in files:
        number = int(file["path"].rpartition("/part-")[2].removesuffix(".parquet"))
        found[number] = {option: [file["path"], file["checksum"]]}
    return found
