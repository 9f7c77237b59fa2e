"""Passes over a mix's narrow rows (pipelines.mix_table): tasks without Spark, each over some splits, for more documents than a driver holds.

What is known so far, the state, comes from a file of the pass: groups, who is held out, where buckets begin, which pools there are, where
each pool ends. A task works out of it what its own documents are. The driver gets sums and the few documents of open bins.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py import parquet_files, storage
from dolma_py.errors import SchemaError
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from mixers import prefix_search, quality_thresholds
from mixers.duplicate_weights import find_size_buckets
from mixers.prefix_search import Ends, Ordered, Search
from mixers.quality_thresholds import Bins, Keys
from mixers.sampling import HeldoutConfig, count_copies, order_for_heldout, select_heldout
from mixers.selection import Pools, order_keys
from pipelines.mix_table import find_groups

PLACE_SCHEMA = pa.schema([("place", pa.int64()), ("weight", pa.int64()), ("count", pa.int64())])
ORDERED_SCHEMA = pa.schema(
    [("pool", pa.int32()), ("high", pa.uint64()), ("low", pa.uint64()), ("place", pa.int64()), ("weight", pa.int64())]
)
KEYS_SCHEMA = pa.schema([("group", pa.int32()), ("high", pa.uint32()), ("low", pa.uint64()), ("weight", pa.int64())])
CELL_NAMES = ("documents", "tokens", "bytes", "excluded_documents", "excluded_tokens")
CELL_SUMS = pa.schema([("place", pa.int64()), *((name, pa.int64()) for name in CELL_NAMES)])
DRAWN_NAMES = ("sampled_tokens", "sampled_documents", "copies")
DRAWN_SUMS = pa.schema([("place", pa.int64()), *((name, pa.int64()) for name in DRAWN_NAMES)])
# what the maker of the attributes spreads over its documents
DRAWN_SCHEMA = pa.schema(
    [("address", pa.int64()), ("copies", pa.int32()), ("is_heldout", pa.bool_()), ("bucket", pa.int32())]
)


class Rows(NamedTuple):
    """The narrow rows of one split, or of all."""

    group: npt.NDArray[np.int32]  # number of the (source, topic)
    source: npt.NDArray[np.int32]
    address: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]
    id_hash: npt.NDArray[np.uint64]
    is_excluded: npt.NDArray[np.bool_]


@functools.lru_cache(maxsize=2)
def _load_state(path: str, checksum: str) -> dict[str, Any]:
    """A file that all tasks of a pass read; the checksum tells one pass' file from another of its name."""
    state: dict[str, Any] = json.loads(storage.read_bytes(path))
    return state


def _load(params: dict[str, Any]) -> tuple[dict[str, Any], Iterator[Rows]]:
    """The pass' state and the rows of each split."""
    state = _load_state(storage.join_path(params["root"], params["state"]), params["checksum"])
    return state, (_read_split(params["root"], state, *paths) for paths in params["splits"])


def _read_split(root: str, state: dict[str, Any], rows: str, excluded: str | None) -> Rows:
    table = parquet_files.read_row_groups(storage.join_path(root, rows), None, None)
    addresses = np.empty(0, np.int64)
    if excluded is not None:
        addresses = (
            parquet_files.read_row_groups(storage.join_path(root, excluded), None, None).column("address").to_numpy()
        )
    return split_rows(table, [tuple(name) for name in state["groups"]], addresses)


def split_rows(table: pa.Table, groups: list[tuple[str, str]], excluded: npt.NDArray[np.int64]) -> Rows:
    """Columns of mix_table's rows, groups numbered as in `groups`."""
    names, inverse = find_groups(table)
    index = {name: number for number, name in enumerate(groups)}
    sources = sorted({source for source, _ in groups})
    group = np.array([index[name] for name in names], np.int32)
    source = np.array([sources.index(name[0]) for name in names], np.int32)
    address = table.column("address").to_numpy()
    columns = (table.column(name).to_numpy() for name in ("score", "tokens", "bytes", "id_hash"))
    return Rows(group[inverse], source[inverse], address, *columns, np.isin(address, excluded))


def count_groups(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: documents by (source, topic), and the least number of tokens that one has."""
    counted: dict[tuple[str, str], int] = {}
    least = np.iinfo(np.int64).max
    for path, _ in params["splits"]:
        table = parquet_files.read_row_groups(storage.join_path(params["root"], path), None, None)
        names, inverse = find_groups(table)
        for name, count in zip(names, np.bincount(inverse, minlength=len(names)).tolist(), strict=True):
            counted[name] = counted.get(name, 0) + count
        least = min(least, int(table.column("tokens").to_numpy().min(initial=least)))
    return [], {"groups": [[*name, count] for name, count in sorted(counted.items())], "least_tokens": least}


def order_heldout(state: dict[str, Any], rows: Rows) -> Ordered:
    """The order in which documents are held out, by source."""
    return order_for_heldout(rows.source, id_hash=rows.id_hash, place=rows.address, seed=state["seed"])


def find_heldout(state: dict[str, Any], rows: Rows) -> npt.NDArray[np.bool_]:
    """Who is set aside for validation."""
    if state["heldout_ends"] is None:
        config = HeldoutConfig.model_validate(state["heldout"])
        return select_heldout(rows.source, id_hash=rows.id_hash, seed=state["seed"], config=config)
    return prefix_search.is_below(order_heldout(state, rows), load_ends(state["heldout_ends"]))


def make_keys(state: dict[str, Any], rows: Rows) -> Keys:
    """What ranks a document within its group; -1 for who is held out."""
    group = np.where(find_heldout(state, rows), np.int32(-1), rows.group)
    return Keys(group, quality_thresholds.order_scores(rows.score), rows.id_hash, rows.tokens)


def find_cells(state: dict[str, Any], rows: Rows) -> npt.NDArray[np.int32]:
    """group * buckets + bucket, of quality or of cluster size; -1 for who is held out."""
    found, _ = quality_thresholds.load_thresholds(state["thresholds"], "thresholds")
    keys = make_keys(state, rows)
    bucket = quality_thresholds.assign_by_thresholds(keys, found)
    if state["sized"]:
        sizes = find_size_buckets(np.maximum(rows.score, 0).astype(np.int64), state["sizes"])
        bucket = np.where(np.isin(rows.source, state["sized"]), sizes, bucket)
    return np.where(keys.group < 0, np.int32(-1), keys.group * np.int32(found.num_buckets) + bucket).astype(np.int32)


def order_rows(pools: Pools, rows: Rows, cell: npt.NDArray[np.int32]) -> Ordered:
    """The order in which documents of a pool are taken; excluded ones are in none."""
    pool = np.where((cell >= 0) & ~rows.is_excluded, pools.of_cell[cell], np.int32(-1)).astype(np.int32)
    high, low = order_keys(pool, id_hash=rows.id_hash, score=rows.score, pools=pools)
    return Ordered(pool, high, low, rows.address, rows.tokens)


def _order(state: dict[str, Any], rows: Rows) -> Ordered:
    """Of the search that the state is in."""
    if state["pools"] is None:
        return order_heldout(state, rows)
    return order_rows(load_pools(state["pools"]), rows, find_cells(state, rows))


def count_kept(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: documents and tokens by group of who is not held out, and of who is."""
    state, parts = _load(params)
    tables, heldout = [], [0, 0]
    for rows in parts:
        is_out = find_heldout(state, rows)
        kept = ~is_out
        columns = (rows.tokens[kept], np.ones(int(kept.sum()), np.int64))
        tables.append(sum_by_place(rows.group[kept], columns, PLACE_SCHEMA))
        heldout = [heldout[0] + int(is_out.sum()), heldout[1] + int(rows.tokens[is_out].sum())]
    return [_write(params, attempts, merge_places(tables, PLACE_SCHEMA))], {"heldout": heldout}


def count_bins(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: histograms of the open bins of the thresholds' search."""
    state, parts = _load(params)
    bins = load_bins(state["bins"])
    sums = [np.zeros(len(bins.high) * quality_thresholds.NUM_DIGITS, np.int64) for _ in range(2)]
    for rows in parts:
        for total, found in zip(sums, quality_thresholds.count_digits(make_keys(state, rows), bins), strict=True):
            total += found.reshape(-1)
    at = np.flatnonzero(sums[1])
    return [_write(params, attempts, _table(PLACE_SCHEMA, at, sums[0][at], sums[1][at]))], {}


def gather_bins(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the keys of documents in open bins."""
    state, parts = _load(params)
    bins, tables = load_bins(state["bins"]), [KEYS_SCHEMA.empty_table()]
    for rows in parts:
        keys = make_keys(state, rows)
        inside = quality_thresholds.find_bins(keys, bins) >= 0
        tables.append(_table(KEYS_SCHEMA, *(column[inside] for column in keys)))
    return [_write(params, attempts, pa.concat_tables(tables))], {}


def count_cells(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: CELL_SUMS of its documents."""
    state, parts = _load(params)
    tables = [sum_cells(rows, find_cells(state, rows)) for rows in parts]
    return [_write(params, attempts, merge_places(tables, CELL_SUMS))], {}


def sum_cells(rows: Rows, cell: npt.NDArray[np.int32]) -> pa.Table:
    """CELL_SUMS of documents that are in a cell."""
    kept = np.flatnonzero(cell >= 0)
    is_out = rows.is_excluded[kept].astype(np.int64)
    tokens = rows.tokens[kept]
    columns = (np.ones(len(kept), np.int64), tokens, rows.bytes[kept], is_out, is_out * tokens)
    return sum_by_place(cell[kept], columns, CELL_SUMS)


def count_open(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: histograms of the open bins of a prefix search, of the copies or of who is held out."""
    state, parts = _load(params)
    search = load_search(state["search"])
    tables = [_table(PLACE_SCHEMA, *prefix_search.count_prefixes(_order(state, rows), search)) for rows in parts]
    return [_write(params, attempts, merge_places(tables, PLACE_SCHEMA))], {}


def gather_open(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the documents of its open bins."""
    state, parts = _load(params)
    search, tables = load_search(state["search"]), [ORDERED_SCHEMA.empty_table()]
    for rows in parts:
        docs = _order(state, rows)
        inside = prefix_search.is_open(docs, search)
        tables.append(_table(ORDERED_SCHEMA, *(column[inside] for column in docs)))
    return [_write(params, attempts, pa.concat_tables(tables))], {}


def write_drawn(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task, over one split: DRAWN_SCHEMA rows of its documents, and DRAWN_SUMS of them."""
    state, parts = _load(params)
    (rows,) = parts
    cell = find_cells(state, rows)
    docs = order_rows(load_pools(state["pools"]), rows, cell)
    copies = count_copies(docs, whole=np.array(state["whole"], np.int64), ends=load_ends(state["ends"]))
    num_buckets = int(state["thresholds"]["num_buckets"])
    drawn = _table(DRAWN_SCHEMA, *draw_columns(rows, cell, copies, num_buckets))
    return [
        _write(params | {"work": f"{params['work']}/rows"}, attempts, drawn),
        _write(params | {"work": f"{params['work']}/sums"}, attempts, sum_drawn(rows, cell, copies)),
    ], {}


def draw_columns(
    rows: Rows, cell: npt.NDArray[np.int32], copies: npt.NDArray[np.int32], num_buckets: int
) -> tuple[npt.NDArray[Any], ...]:
    """The columns of DRAWN_SCHEMA: everyone outside a cell is held out."""
    bucket = np.where(cell < 0, -1, cell % num_buckets).astype(np.int32)
    return rows.address, copies, cell < 0, bucket


def sum_drawn(rows: Rows, cell: npt.NDArray[np.int32], copies: npt.NDArray[np.int32]) -> pa.Table:
    """DRAWN_SUMS by cell, counted from the copies."""
    taken = np.flatnonzero(copies > 0)
    number = copies[taken].astype(np.int64)
    return sum_by_place(cell[taken], (rows.tokens[taken] * number, np.ones(len(taken), np.int64), number), DRAWN_SUMS)


def sum_by_place(place: npt.NDArray[Any], columns: tuple[npt.NDArray[np.int64], ...], schema: pa.Schema) -> pa.Table:
    """Sums of the columns by place, those places alone that occur; place -1 is an error."""
    if len(place) and int(place.min()) < 0:
        raise SchemaError("place", "0 or more", int(place.min()))
    size = int(place.max(initial=-1)) + 1
    if size <= max(1 << 16, 2 * len(place)):  # few places: no sort of the rows
        at, where = np.flatnonzero(np.bincount(place, minlength=size)), place
    else:
        at, where = np.unique(place.astype(np.int64), return_inverse=True)
        size = len(at)
    sums = []
    for column in columns:
        total = np.zeros(size, np.int64)
        np.add.at(total, where, column)
        sums.append(total if size == len(at) else total[at])
    return _table(schema, at, *sums)


def merge_places(tables: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """The sums of several tables of sums by place."""
    table = pa.concat_tables([schema.empty_table(), *tables])
    columns = tuple(table.column(name).to_numpy() for name in schema.names)
    return sum_by_place(columns[0], columns[1:], schema)


def _table(schema: pa.Schema, *columns: npt.NDArray[Any]) -> pa.Table:
    return pa.table([pa.array(column) for column in columns], schema=schema)


def _write(params: dict[str, Any], attempts: str, table: pa.Table) -> WrittenFile:
    def write(sink: HashingWriter) -> int:
        return parquet_files.write_rows(sink, table.schema, [table])

    return write_attempt(params["root"], attempts, f"{params['work']}/{params['name']}.parquet", write)


def dump_arrays(values: Any) -> dict[str, Any]:
    """A tuple of arrays as JSON values; floats that are not finite are None."""
    plain = {
        name: column.tolist() if isinstance(column, np.ndarray) else column for name, column in values._asdict().items()
    }
    return {
        name: [None if value == np.inf else value for value in column] if isinstance(column, list) else column
        for name, column in plain.items()
    }


def load_bins(values: dict[str, Any]) -> Bins:
    kinds = {"first": np.int64, "high": np.uint64, "low": np.uint64, "weight_before": np.int64, "num_docs": np.int64}
    return Bins(values["level"], **{name: np.array(values[name], kind) for name, kind in kinds.items()})


def load_search(values: dict[str, Any]) -> Search:
    kinds = {"prefix": np.uint64, "before": np.int64, "num_docs": np.int64, "budget": np.int64}
    return Search(values["level"], **{name: np.array(values[name], kind) for name, kind in kinds.items()})


def load_ends(values: dict[str, Any]) -> Ends:
    return Ends(
        *(np.array(values[name], kind) for name, kind in (("high", np.uint64), ("low", np.uint64), ("place", np.int64)))
    )


def load_pools(values: dict[str, Any]) -> Pools:
    kinds = {
        "of_cell": np.int32, "of_budget": np.int32, "planned": np.int64, "chain": np.int32, "seeds": np.uint64, "mode": np.int8,
    }  # fmt: skip
    most = np.array([np.inf if value is None else value for value in values["max_repetition"]], np.float64)
    return Pools(**{name: np.array(values[name], kind) for name, kind in kinds.items()}, max_repetition=most)
