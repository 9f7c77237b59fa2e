"""The lineage of a mix from those of its parts: sorted runs, merged FAN_IN at a time until one file is left.

Memory of a task: FAN_IN times RUN_ROWS rows of some 100 bytes, three times over, and a row group; whatever the mix holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dolma_py import parquet_files, storage
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from mixers import shards
from mixers.shards import LINEAGE_SCHEMA
from pipelines.steps import StepContext, Unit, file_lists

FAN_IN = 64  # runs that one task merges
RUN_ROWS = 1 << 13  # rows of a run that are in memory at a time: its row groups
ROW_BYTES = 100  # of a lineage row, about

MERGE_BYTES = 3 * FAN_IN * RUN_ROWS * ROW_BYTES


def write_run(sink: HashingWriter, lineage: pa.Table) -> int:
    """The lineage of one part as a sorted run."""
    return parquet_files.write_rows(sink, LINEAGE_SCHEMA, [shards.sort_lineage(lineage)], group_rows=RUN_ROWS)


def merge_runs(context: StepContext, runs: list[str], path: str) -> dict[str, Any]:
    """Merge runs into the file `path`; paths are relative to the corpus. Returns the file's line of the done file."""
    level = 0
    while True:
        groups = [runs[start : start + FAN_IN] for start in range(0, len(runs), FAN_IN)]
        is_last = len(groups) == 1
        units = []
        for number, group in enumerate(groups):
            name = f"merge-{number:05d}"
            target = path if is_last else f"{context.work}/lineage-{level}/{name}.parquet"
            params = {"root": context.corpus.root, "runs": group, "path": target}
            units.append(Unit(name, params | {"group_rows": parquet_files.ROW_GROUP_ROWS if is_last else RUN_ROWS}, 0))
        done, _ = context.run_units(f"lineage-{level}", units, merge_unit)
        files = file_lists(done)
        if is_last:
            return files[0]
        runs, level = [file["path"] for file in files], level + 1


def merge_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: several runs become one."""
    runs = [read_run(storage.join_path(params["root"], path)) for path in params["runs"]]

    def write(sink: HashingWriter) -> int:
        tables = shards.merge_lineage(runs)
        return parquet_files.write_rows(sink, LINEAGE_SCHEMA, tables, group_rows=params["group_rows"])

    return [write_attempt(params["root"], attempts, params["path"], write)], {}


def read_run(path: str) -> Iterator[pa.Table]:
    """A run, a row group at a time."""
    with parquet_files.open_parquet(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, use_threads=False)
