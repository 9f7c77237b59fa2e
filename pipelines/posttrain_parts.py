"""Pass 2 of prepare_posttrain, one task: the planned rows of a part, gathered from all files of pass 1 and written in their order.

Memory: the rows of the part twice, and a row group.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py import parquet_files, storage
from dolma_py.storage import WrittenFile, open_attempt, write_attempt
from mixers.chat_rows import Kind
from mixers.posttrain_files import work_schema, write_chats, write_rows

PLAN_SCHEMA = pa.schema([("file", pa.int32()), ("row", pa.int64()), ("id", pa.string())])


def part_names(kind: Kind, part: int) -> list[str]:
    """File names of a part: ids, mask and sidecar of chats, else one."""
    if kind != "sft":
        return [f"{kind}_part_{part:04d}.parquet"]
    return [f"token_ids_part_{part:04d}.npy", f"labels_mask_part_{part:04d}.npy", f"token_ids_part_{part:04d}.csv.gz"]


def write_part(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: one part."""
    root, kind, part = params["root"], params["kind"], params["part"]
    plan = parquet_files.read_row_groups(storage.join_path(root, params["plan"]), None, None)
    table = gather_rows(root, params["rows"], plan, kind)
    paths = [f"{params['out']}/{name}" for name in part_names(kind, part)]
    sources = _count_sources(table)
    if kind != "sft":
        written = [write_attempt(root, attempts, paths[0], lambda sink: write_rows(table, kind, sink))]
        counts = {name: pc.sum(table.column(name)).as_py() or 0 for name in ("tokens", "trained_tokens")}
        return written, {"documents": table.num_rows, **counts, "sources": sources}
    with open_attempt(root, attempts, paths[0]) as ids, open_attempt(root, attempts, paths[1]) as mask, \
            open_attempt(root, attempts, paths[2]) as sidecar:  # fmt: skip
        counts = write_chats(
            table, dtype=params["dtype"], eos_token_id=params["eos_token_id"], sinks=(ids.sink, mask.sink, sidecar.sink)
        )
    return [file.written(table.num_rows) for file in (ids, mask, sidecar)], counts | {"sources": sources}


def gather_rows(root: str, paths: list[str], plan: pa.Table, kind: Kind) -> pa.Table:
    """The rows of work_schema that a plan names, in its order, under its ids."""
    schema = work_schema(kind)
    files, rows = plan.column("file").to_numpy(), plan.column("row").to_numpy()
    pieces, places = [schema.empty_table()], [np.empty(0, np.int64)]
    for number in np.unique(files).tolist():
        wanted = np.flatnonzero(files == number)
        wanted = wanted[np.argsort(rows[wanted])]
        first = 0
        with parquet_files.open_parquet(storage.join_path(root, paths[number])) as file:
            for group in range(file.num_row_groups):
                stop = first + file.metadata.row_group(group).num_rows
                inside = wanted[(rows[wanted] >= first) & (rows[wanted] < stop)]
                if len(inside):
                    table = file.read_row_group(group, use_threads=False).cast(schema)
                    pieces.append(table.take(pa.array(rows[inside] - first)))
                    places.append(inside)
                first = stop
    table = pa.concat_tables(pieces)
    order = np.argsort(np.concatenate(places))
    table = table.take(pa.array(order)).combine_chunks()
    return table.set_column(schema.get_field_index("id"), schema.field("id"), plan.column("id"))


def _count_sources(table: pa.Table) -> dict[str, dict[str, int]]:
    sums = table.group_by("source").aggregate([("tokens", "sum"), ("trained_tokens", "sum"), ("tokens", "count")])
    return {
        row["source"]: {
            "documents": row["tokens_count"],
            "tokens": row["tokens_sum"],
            "trained_tokens": row["trained_tokens_sum"],
        }
        for row in sorted(sums.to_pylist(), key=lambda row: str(row["source"]))
    }
