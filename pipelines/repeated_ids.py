"""Make ids unique inside a corpus: the second, third ... document of one id in listing order becomes id#2, id#3 ...

Shards listed before keep their ids; only new shards are written again, and only those with a repeat. Ids that already end in
#n are looked at together with their base, so that a third arrival does not take a name that is there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py import parquet_files, storage
from dolma_py.corpus import Corpus, read_group
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import DataError
from dolma_py.listing import Listing, Shard, pack_address, unpack_address
from dolma_py.storage import HashingWriter, WrittenFile
from pipelines.arrow_tasks import map_arrow
from pipelines.shuffles import collect_sorted, reduce_groups
from pipelines.steps import StepContext, Unit

MAX_REPEATS = 50_000_000


def rename_repeated_ids(context: StepContext, listing: Listing, shards: list[Shard]) -> list[Shard]:
    """The new shards, with ids that no other document of the corpus has."""
    if not shards:
        return shards
    renames = find_renames(context, [*listing.shards, *shards])
    numbers, rows = unpack_address(renames.column("address").to_numpy())
    units, counts = [], {}
    for shard in shards:
        first, end = np.searchsorted(numbers, [shard.number, shard.number + 1]).tolist()  # addresses are sorted
        mine = renames.column("id").slice(first, end - first)
        if len(mine) and not shard.path.startswith("documents/"):
            problem = f"an id that another document has, in a file read in place: it would become {mine[0].as_py()!r}"
            raise DataError(shard.path, problem, int(rows[first]) + 1, "Set in_place: false.")  # rows count from 1
        if len(mine):
            ids = dict(zip(map(str, rows[first:end].tolist()), mine.to_pylist(), strict=True))
            params = {"root": context.corpus.root, "path": shard.path, "ids": ids}
            units.append(Unit(f"rename/{shard.number:05d}", params, shard.text_bytes))
            counts[shard.path] = len(mine)
    done, _ = context.run_units("rename", units, rename_unit)
    written = {line["files"][0]["path"]: line["files"][0] for line in done.units.values()}
    return [
        shard._replace(
            num_bytes=written[shard.path]["bytes"], checksum=written[shard.path]["checksum"], renamed=counts[shard.path]
        )
        if shard.path in written
        else shard
        for shard in shards
    ]


def find_renames(context: StepContext, shards: list[Shard]) -> pa.Table:
    """(address, id) of every document that needs another id, with that id, sorted by address."""
    root = context.corpus.root
    files = [shard for shard in shards if shard.rows]

    def read(batches: Any) -> Any:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                shard, first = files[index], 0
                for group, (rows, _) in enumerate(shard.row_groups):
                    ids = read_group(Corpus(root), shard, group, ["id"]).column("id")
                    base = pc.replace_substring_regex(ids, r"#[0-9]+$", "")
                    addresses = pack_address(shard.number, np.arange(first, first + rows))
                    first += rows
                    yield from pa.table({"base": base, "id": ids, "address": addresses}).to_batches()

    def rename(table: pa.Table) -> pa.Table:
        base = table.column("base").combine_chunks()
        same = np.zeros(len(base), bool)
        if len(base) > 1:
            same[1:] = pc.equal(base.slice(1), base.slice(0, len(base) - 1)).to_numpy(zero_copy_only=False)
        shared = same.copy()
        shared[:-1] |= same[1:]
        rows = table.filter(pa.array(shared))  # bases with one document need no look
        found = choose_names(*(rows.column(name).to_pylist() for name in ("base", "id", "address")))
        return pa.table(
            {"address": pa.array([a for a, _ in found], pa.int64()), "id": pa.array([n for _, n in found], pa.string())}
        )

    session = context.spark()
    parts = min(len(files), context.partitions or 2 * session.sparkContext.defaultParallelism)
    files_frame = session.range(0, len(files), 1, max(1, parts))
    frame = map_arrow(files_frame, read, "base string, id string, address long")
    renames = reduce_groups(frame, keys=["base"], order=["address"], reduce=rename, schema="address long, id string")
    return collect_sorted(renames, by=["address"], limit=MAX_REPEATS, what="repeated ids", context=context)


def choose_names(bases: list[str], ids: list[str], addresses: list[int]) -> list[tuple[int, str]]:
    """(address, new id) of repeats; rows of one base stand together in listing order.

    The first document of an id keeps it; every other takes base#n with the smallest n >= 2 that is free.

    >>> choose_names(["x", "x", "x", "y"], ["x", "x#2", "x", "y"], [1, 2, 3, 4])
    [(3, 'x#3')]
    """
    taken: dict[str, set[str]] = {}
    for base, name in zip(bases, ids, strict=True):
        taken.setdefault(base, set()).add(name)
    seen: set[str] = set()
    free: dict[str, int] = {}  # no smaller number is free: a million documents of one id must not be a million squared
    renames = []
    for base, name, address in zip(bases, ids, addresses, strict=True):
        if name in seen:
            number = free.get(base, 2)
            while f"{base}#{number}" in taken[base]:
                number += 1
            free[base] = number + 1
            name = f"{base}#{number}"
            taken[base].add(name)
            renames.append((address, name))
        seen.add(name)
    return renames


def rename_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: write a shard again with new ids for the repeats; row groups stay as they are."""
    root, path = params["root"], params["path"]
    renames = {int(row): name for row, name in params["ids"].items()}

    def write(sink: HashingWriter) -> int:
        first = 0
        with (
            parquet_files.open_parquet(storage.join_path(root, path)) as file,
            parquet_files.open_writer(sink, DOCUMENT_SCHEMA) as writer,
        ):
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, use_threads=False)
                ids = table.column("id").to_pylist()
                for row in range(len(ids)):
                    ids[row] = renames.get(first + row, ids[row])
                parquet_files.write_row_group(
                    writer, table.set_column(0, DOCUMENT_SCHEMA.field("id"), pa.array(ids, pa.string()))
                )
                first += table.num_rows
        return first

    return [storage.write_attempt(root, attempts, path, write)], {}
