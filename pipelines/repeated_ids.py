"""Make ids unique inside a corpus: the second, third ... document of one id in listing order becomes id#2, id#3 ...

Shards listed before keep their ids; only new shards are written again, and only those with a repeat.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import parquet_files, storage
from dolma_py.corpus import Corpus, read_group
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import DataError
from dolma_py.listing import Listing, Shard, pack_address, unpack_address
from dolma_py.storage import HashingWriter, WrittenFile
from pipelines.shuffles import collect_sorted, reduce_groups
from pipelines.steps import StepContext, Unit

MAX_REPEATS = 50_000_000


def rename_repeated_ids(context: StepContext, listing: Listing, shards: list[Shard]) -> tuple[list[Shard], int]:
    """(new shards with unique ids, how many documents were renamed)."""
    everything = [*listing.shards, *shards]
    if not shards:
        return shards, 0
    repeats = find_repeats(context, everything)
    numbers, rows = unpack_address(repeats.column("address").to_numpy())
    ordinals = repeats.column("ordinal").to_numpy()
    units = []
    for shard in shards:
        mine = numbers == shard.number
        if mine.any() and not shard.path.startswith("documents/"):
            raise DataError(
                shard.path,
                "an id that another document has, in a file read in place",
                int(rows[mine][0]),
                "Set in_place: false.",
            )
        if mine.any():
            params = {
                "root": context.corpus.root,
                "path": shard.path,
                "rows": rows[mine].tolist(),
                "ordinals": ordinals[mine].tolist(),
            }
            units.append(Unit(f"rename/{shard.number:05d}", params, shard.text_bytes))
    done, _ = context.run_units("rename", units, rename_unit)
    written = {line["files"][0]["path"]: line["files"][0] for line in done.units.values()}
    renamed = [
        shard._replace(num_bytes=written[shard.path]["bytes"], checksum=written[shard.path]["checksum"])
        if shard.path in written
        else shard
        for shard in shards
    ]
    return renamed, int(np.isin(numbers, [shard.number for shard in shards]).sum())


def find_repeats(context: StepContext, shards: list[Shard]) -> pa.Table:
    """(address, ordinal >= 2) of every document whose id an earlier one has, sorted by address."""
    root = context.corpus.root
    files = [shard for shard in shards if shard.rows]

    def read(batches: Any) -> Any:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                shard, first = files[index], 0
                for group, (rows, _) in enumerate(shard.row_groups):
                    ids = read_group(Corpus(root), shard, group, ["id"]).column("id")
                    addresses = pack_address(shard.number, np.arange(first, first + rows))
                    first += rows
                    yield from pa.table({"id": ids, "address": addresses}).to_batches()

    def count(table: pa.Table) -> pa.Table:
        ids = table.column("id").combine_chunks()
        same = np.zeros(len(ids), bool)
        if len(ids) > 1:
            same[1:] = pa.compute.equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
        starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(ids))))
        ordinals = np.arange(len(ids)) - starts + 1
        repeated = table.append_column("ordinal", pa.array(ordinals, pa.int64())).filter(pa.array(same))
        return repeated.select(["address", "ordinal"])

    session = context.spark()
    parts = min(len(files), context.partitions or 2 * session.sparkContext.defaultParallelism)
    frame = session.range(0, len(files), 1, max(1, parts)).mapInArrow(read, "id string, address long")
    repeats = reduce_groups(frame, keys=["id"], order=["address"], reduce=count, schema="address long, ordinal long")
    return collect_sorted(repeats, by=["address"], limit=MAX_REPEATS, what="repeated ids")


def rename_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: write a shard again with `#n` after the repeated ids; row groups stay as they are."""
    root, path = params["root"], params["path"]
    renames = dict(zip(params["rows"], params["ordinals"], strict=True))

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
                    if first + row in renames:
                        ids[row] = f"{ids[row]}#{renames[first + row]}"
                parquet_files.write_row_group(
                    writer, table.set_column(0, DOCUMENT_SCHEMA.field("id"), pa.array(ids, pa.string()))
                )
                first += table.num_rows
        return first

    return [storage.write_attempt(root, attempts, path, write)], {}
