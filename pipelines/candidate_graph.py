"""From band files to candidate edges, and from edges to components: on the driver while they fit, else as Spark rounds.

Shuffled: one (key, address) per document and band, 16 bytes, as pipelines/packed_pairs.py does it. A bucket of any size costs at most
one edge per member and band, and a task holds a set number of members. Edges lie as sorted files under the step's work folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from dedup.candidates import NO_FIRSTS, Addresses, Edges, candidate_edges, edges_to_firsts, merge_firsts, unique_edges
from dedup.components import connected_components
from dolma_py import hashing, parquet_files, storage
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from pipelines.arrow_tasks import map_arrow
from pipelines.components_spark import EDGE_DISK_BYTES, spark_components
from pipelines.packed_pairs import (
    HELD_PAIRS,
    PACKED_SPARK,
    Pairs,
    Parts,
    choose_parts,
    count_parts,
    hold_pairs,
    pack_pairs,
    unpack_pairs,
)  # fmt: skip
from pipelines.shuffles import Batches, reduce_groups
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
    num_docs = sum(split.rows for split in context.plan_splits())
    runs = write_edges(context, band_paths, num_bands=num_bands, num_docs=num_docs)
    num_edges = sum(rows for _, rows in runs)
    if not asks_spark(num_edges, way=way, max_edges=max_edges):
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


def asks_spark(num_edges: int, *, way: str, max_edges: int) -> bool:
    """Whether the components of a graph are found by Spark."""
    return way == "spark" or (way == "auto" and num_edges > max_edges)


def rounds_disk_bytes(num_edges: int, *, way: str, max_edges: int) -> int:
    """What finding components needs on disk beside the edges themselves."""
    return EDGE_DISK_BYTES * num_edges if asks_spark(num_edges, way=way, max_edges=max_edges) else 0


def _as_graph(context: StepContext, facts: dict[str, Any]) -> Graph:
    splits = context.plan_splits()
    return Graph([splits[place] for place in facts["splits"]], facts["members"], facts["edges"], facts["components"])


def write_edges(
    context: StepContext, band_paths: list[str], *, num_bands: int, num_docs: int, held_pairs: int = HELD_PAIRS
) -> list[tuple[str, int]]:
    """(path, rows) of files that together hold the edges between documents that share a band, each once.

    num_docs: in the files, or more; the parts are made for so many. held_pairs: of a part in memory. Neither changes an edge.
    """
    session, root, attempts = context.spark(), context.corpus.root, context.attempts
    num_tasks = int(session.conf.get("spark.sql.shuffle.partitions") or 1)
    num_parts = count_parts(num_bands * num_docs, num_tasks)
    edge_parts = count_parts(num_docs, num_tasks)  # few documents have more than one edge after all bands

    def read(batches: Batches) -> Iterator[tuple[Parts, Pairs]]:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                with parquet_files.open_parquet(storage.join_path(root, band_paths[index])) as file:
                    for group in range(file.num_row_groups):
                        table = file.read_row_group(group, columns=["address", "keys"], use_threads=False)
                        yield from spread_keys(table, num_bands, num_parts)

    def spread(batches: Batches) -> Iterator[pa.RecordBatch]:
        yield from pack_pairs(read(batches), num_parts)

    def connect(batches: Batches) -> Iterator[pa.RecordBatch]:
        found = connect_pairs(unpack_pairs(batches), held_pairs)
        yield from pack_pairs((place_edges(edges, edge_parts) for edges in found), edge_parts)

    def write(batches: Batches) -> Iterator[pa.RecordBatch]:
        rows = 0
        with ExitStack() as stack:
            attempt = writer = None
            for edges in unite_edges(unpack_pairs(batches), held_pairs):
                table = pa.table({"first": edges.first, "member": edges.member})
                if attempt is None or writer is None:
                    attempt = stack.enter_context(storage.open_attempt(root, attempts, "run.parquet"))
                    writer = stack.enter_context(parquet_files.open_writer(attempt.sink, table.schema))
                for start in range(0, table.num_rows, parquet_files.ROW_GROUP_ROWS):
                    parquet_files.write_row_group(writer, table.slice(start, parquet_files.ROW_GROUP_ROWS))
                rows += table.num_rows
        if attempt is not None:
            yield pa.RecordBatch.from_pydict({"path": [attempt.attempt], "rows": pa.array([rows], pa.int64())})

    num_readers = min(len(band_paths), context.partitions or 4 * session.sparkContext.defaultParallelism)
    files = session.range(0, len(band_paths), 1, max(1, num_readers))
    keys = map_arrow(files, spread, PACKED_SPARK).repartitionById(num_parts, "part")
    edges = map_arrow(keys, connect, PACKED_SPARK).repartitionById(edge_parts, "part")
    return sorted((row.path, row.rows) for row in map_arrow(edges, write, "path string, rows long").collect())


def spread_keys(table: pa.Table, num_bands: int, num_parts: int) -> Iterator[tuple[Parts, Pairs]]:
    """(part, (key, address)) per document and band of rows of a band file; the band's number is mixed into the key."""
    for batch in table.to_batches():
        column, num_rows = batch.column("keys"), batch.num_rows
        flat = np.frombuffer(column.buffers()[1] or b"", np.uint64)
        keys = flat[column.offset * num_bands : (column.offset + num_rows) * num_bands].reshape(-1, num_bands)
        address = batch.column("address").to_numpy().view(np.uint64)
        for band in range(num_bands):
            pairs = np.empty((num_rows, 2), np.uint64)
            pairs[:, 0] = hashing.mix_keys(np.ascontiguousarray(keys[:, band]), seed=band)
            pairs[:, 1] = address
            yield choose_parts(pairs[:, 0], num_parts), pairs


def place_edges(edges: Edges, num_parts: int) -> tuple[Parts, Pairs]:
    """(part, (first, member)): an edge that several bands have comes to one part, and those of a hot bucket to all."""
    pairs = np.stack([edges.first, edges.member], axis=1).view(np.uint64)
    return choose_parts(hash_edges(pairs, seed=0), num_parts), pairs


def connect_pairs(arrays: Iterable[Pairs], held_pairs: int) -> Iterator[Edges]:
    """Star edges of the (key, address) pairs of one part, each key's from its smallest address; edges may repeat.

    A part of more than `held_pairs`, which has hot keys if the parts were made for enough documents, is gone through twice, and
    a key is held as its first address.
    """
    with hold_pairs(arrays, held_pairs) as held:
        if held.is_whole:
            for pairs in held.go_through():
                yield candidate_edges(pairs[:, 0], pairs.view(np.int64)[:, 1])
            return
        firsts = NO_FIRSTS
        for pairs in held.go_through():
            firsts = merge_firsts(firsts, pairs[:, 0], pairs.view(np.int64)[:, 1])
        for pairs in held.go_through():
            yield edges_to_firsts(firsts, pairs[:, 0], pairs.view(np.int64)[:, 1])


def unite_edges(arrays: Iterable[Pairs], held_pairs: int) -> Iterator[Edges]:
    """All edges of a part once. A part of more than `held_pairs` is gone through several times, each time for those of another hash."""
    with hold_pairs(arrays, held_pairs) as held:
        num_passes = 1 if held.is_whole else -(-2 * held.rows // held_pairs)
        for number in range(num_passes):
            pieces = [np.empty((0, 2), np.uint64)]
            for pairs in held.go_through():
                if held.is_whole:
                    pieces = [pairs]
                else:
                    pieces.append(pairs[hash_edges(pairs, seed=1) % np.uint64(num_passes) == number])
            chosen = np.concatenate(pieces).view(np.int64)
            del pieces
            if len(chosen):
                yield unique_edges(Edges(chosen[:, 0], chosen[:, 1]))


def hash_edges(pairs: Pairs, *, seed: int) -> npt.NDArray[np.uint64]:
    """uint64 (N,), of both ends."""
    return hashing.mix_keys(hashing.mix_keys(np.ascontiguousarray(pairs[:, 0]), seed=seed) ^ pairs[:, 1], seed=seed)


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

    numbered = map_arrow(frame, number, f"split long, {MEMBER_SPARK}")
    schema = "split long, roots long, attempt string, path string, num_bytes long, checksum string, rows long"
    rows = reduce_groups(numbered, keys=["split"], order=["address"], reduce=write, schema=schema).collect()
    ordered = sorted(rows, key=lambda row: row["split"])  # one row per split
    return [
        _Members(row["split"], WrittenFile(*(row[name] for name in WrittenFile._fields)), row["roots"])
        for row in ordered
    ]
