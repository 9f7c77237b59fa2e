"""From band files to candidate edges, and from edges to components: on the driver while they fit, else as Spark rounds.

Shuffled: one (key, address) per document and band, 16 bytes. A bucket of any size costs at most one edge per member and band,
and a task holds its first address, not its members. Edges lie as sorted files under the step's work folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from dedup.candidates import Addresses, Edges, candidate_edges, unique_edges
from dedup.components import connected_components
from dolma_py import hashing, parquet_files, storage
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from pipelines.components_spark import EDGE_SPARK, spark_components
from pipelines.shuffles import as_signed, read_frame, reduce_groups, write_runs
from pipelines.steps import StepContext, split_name

MEMBER_SCHEMA = pa.schema([("address", pa.int64()), ("root", pa.int64())])
MEMBER_SPARK = "address long, root long"
ALL = "all"  # the one unit of phase members


class Graph(NamedTuple):
    """Components as one file of members per split that has any, and how many there are of what."""

    splits: list[Split]
    counts: list[int]  # members in each of them
    edges: int
    components: int

    @property
    def members(self) -> int:
        return sum(self.counts)


def members_path(context: StepContext, split: Split) -> str:
    """Members of components in one split, sorted by address; relative to the corpus."""
    return f"{context.work}/members/{split_name(split)}.parquet"


def find_components(
    context: StepContext, band_paths: list[str], *, num_bands: int, way: str, max_edges: int, max_rounds: int
) -> Graph:  # fmt: skip
    """Write the members files of all splits; a phase of its own, `members`: once complete it is not done again.

    way: driver (union-find in this process, 150 bytes an edge), spark (pipelines.components_spark; nothing of the size of the edges
    comes to the driver) or auto: driver up to `max_edges`. Same files either way.
    """
    done = context.done("members")
    if ALL in done.units:
        return _as_graph(context, done.units[ALL]["facts"])
    edges = candidate_frame(context, band_paths, num_bands=num_bands)
    runs = write_runs(context, edges, by=["first", "member"])
    num_edges = sum(rows for _, rows in runs)
    if way == "driver" or (way == "auto" and num_edges <= max_edges):
        address, root = _components_here(runs)
        written = _write_members(context, address, root)
    else:
        frame = spark_components(context, [path for path, _ in runs], max_rounds=max_rounds)
        written = _spread_members(context, frame)
    for path, _ in runs:
        storage.remove_file(path)
    facts = {
        "splits": [part.place for part in written], "edges": num_edges, "members": [part.file.rows for part in written],
        "components": sum(part.roots for part in written),
    }  # fmt: skip
    done.publish(ALL, [part.file for part in written], facts)
    done.finish()
    return _as_graph(context, facts)


def _as_graph(context: StepContext, facts: dict[str, Any]) -> Graph:
    splits = context.plan_splits()
    return Graph([splits[place] for place in facts["splits"]], facts["members"], facts["edges"], facts["components"])


def candidate_frame(context: StepContext, band_paths: list[str], *, num_bands: int) -> DataFrame:
    """(first, member): edges between documents that share a band, each once."""

    def spread(table: pa.Table) -> pa.Table:
        """(key, address) per document and band; the band number is mixed into the key."""
        table = table.combine_chunks()
        column = table.column("keys").chunk(0) if table.num_rows else pa.array([], pa.binary(8 * num_bands))
        keys = np.frombuffer(column.buffers()[1] or b"", np.uint64)[: len(column) * num_bands].reshape(-1, num_bands)
        mixed = [hashing.mix_keys(np.ascontiguousarray(keys[:, band]), seed=band) for band in range(num_bands)]
        address = np.tile(table.column("address").to_numpy(), num_bands)
        return pa.table({"key": as_signed(np.concatenate(mixed)), "address": pa.array(address)})

    frame = read_frame(context, band_paths, ["address", "keys"], schema="key long, address long", transform=spread)
    sorted_frame = frame.repartition("key").sortWithinPartitions("key", "address")
    return sorted_frame.mapInArrow(connect_batches, EDGE_SPARK).distinct()


def connect_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Star edges of runs of equal keys in sorted batches; of a run that goes on in the next batch, its first address is kept."""
    open_key, open_first = None, 0
    for batch in batches:
        if not batch.num_rows:
            continue
        key, address = batch.column("key").to_numpy(), batch.column("address").to_numpy()
        goes_on = open_key is not None and key[0] == open_key
        if goes_on:
            key, address = np.append(key[:1], key), np.append(open_first, address)
        is_new = key[1:] != key[:-1]
        run = np.concatenate([[0], np.cumsum(is_new)]).astype(np.uint64)  # Spark sorts signed; runs ascend in any order
        edges = candidate_edges(run, address)
        open_key, open_first = key[-1], address[int(np.flatnonzero(is_new)[-1]) + 1 if is_new.any() else 0]
        yield pa.RecordBatch.from_pydict({"first": edges.first, "member": edges.member})


def _components_here(runs: list[tuple[str, int]]) -> tuple[Addresses, Addresses]:
    tables = [parquet_files.read_row_groups(path, None, None) for path, _ in runs]
    empty = pa.schema([("first", pa.int64()), ("member", pa.int64())]).empty_table()
    table = pa.concat_tables([empty, *tables])
    found = connected_components(
        unique_edges(Edges(table.column("first").to_numpy(), table.column("member").to_numpy()))
    )
    return found.address, found.root


def first_addresses(splits: list[Split]) -> Addresses:
    """The address of each split's first row, ascending."""
    return np.array([(split.shard << 40) | split.first_row for split in splits], np.int64)


class _Members(NamedTuple):
    """The members file of one split, not yet published."""

    place: int  # of the split in plan_splits
    file: WrittenFile
    roots: int


def _write_file(place: int, table: pa.Table, *, root: str, attempts: str, path: str) -> _Members:
    def write(sink: HashingWriter) -> int:
        with parquet_files.open_writer(sink, MEMBER_SCHEMA) as writer:
            for start in range(0, table.num_rows, parquet_files.ROW_GROUP_ROWS):
                parquet_files.write_row_group(writer, table.slice(start, parquet_files.ROW_GROUP_ROWS))
        return int(table.num_rows)

    roots = int(pa.compute.sum(pa.compute.equal(table["address"], table["root"])).as_py())
    return _Members(place, write_attempt(root, attempts, path, write), roots)


def _write_members(context: StepContext, address: Addresses, root: Addresses) -> list[_Members]:
    splits = context.plan_splits()
    bounds = np.append(np.searchsorted(address, first_addresses(splits)), len(address))
    written = []
    for place, (split, start, end) in enumerate(zip(splits, bounds[:-1], bounds[1:], strict=True)):
        if end > start:
            table = pa.table([pa.array(address[start:end]), pa.array(root[start:end])], schema=MEMBER_SCHEMA)
            path = members_path(context, split)
            written.append(_write_file(place, table, root=context.corpus.root, attempts=context.attempts, path=path))
    return written


def _spread_members(context: StepContext, frame: DataFrame) -> list[_Members]:
    """The same files, each written by the task that has all members of its split."""
    splits = context.plan_splits()
    firsts = first_addresses(splits)
    paths = [members_path(context, split) for split in splits]
    corpus_root, attempts = context.corpus.root, context.attempts

    def number(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            place = np.searchsorted(firsts, batch.column("address").to_numpy(), side="right") - 1
            yield pa.RecordBatch.from_arrays([pa.array(place), *batch.columns], names=["split", "address", "root"])

    def write(table: pa.Table) -> pa.Table:
        place = table.column("split").to_numpy()
        bounds = np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1], [True]]))
        receipts = []
        for start, end in zip(bounds, bounds[1:], strict=False):
            members = table.slice(start, end - start).select(["address", "root"]).cast(MEMBER_SCHEMA)
            own = int(place[start])
            made = _write_file(own, members, root=corpus_root, attempts=attempts, path=paths[own])
            receipts.append((own, made.roots, *made.file))
        columns = list(map(pa.array, zip(*receipts, strict=True)))
        return pa.table(columns, names=["split", "roots", *WrittenFile._fields])

    numbered = frame.mapInArrow(number, f"split long, {MEMBER_SPARK}")
    schema = "split long, roots long, attempt string, path string, num_bytes long, checksum string, rows long"
    rows = reduce_groups(numbered, keys=["split"], order=["address"], reduce=write, schema=schema).collect()
    ordered = sorted(rows, key=lambda row: row["split"])  # one row per split
    return [
        _Members(row["split"], WrittenFile(*(row[name] for name in WrittenFile._fields)), row["roots"])
        for row in ordered
    ]
