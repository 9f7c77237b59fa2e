"""Cells and copies of a mix's documents: on the driver while it can hold them, by passes of tasks beyond; the outcome is the same.

Both ways begin with the narrow rows that tasks wrote (pipelines.mix_table). RowsHere sorts them. RowPasses finds who is held out, where
buckets begin and where pools end by histograms that add up over tasks (mixers.quality_thresholds, mixers.prefix_search), and lets tasks
decide about their documents; the driver holds 32 kB for each open bin and pool, and gathers at most `max_docs` documents at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py import config, parquet_files, storage
from dolma_py.errors import SchemaError
from dolma_py.manifest import render_json
from mixers import prefix_search, quality_thresholds, sampling
from mixers.percentiles import CELL_SCHEMA
from mixers.prefix_search import Edges, Ends, Ordered, Search
from mixers.selection import Pools
from pipelines import mix_tasks
from pipelines.mix_table import MixInputs, assign_cells, check_sizes, is_sized, load_mix_rows
from pipelines.steps import StepContext, Unit
from pipelines.units import Work

Ints = npt.NDArray[np.int64]
MAX_UNITS = 512  # tasks of a pass that counts: the driver reads what each has counted


class CellSums(NamedTuple):
    """Of the cells, group * buckets + bucket, (C,) each, and of who is held out."""

    groups: list[tuple[str, str]]  # (source, topic), sorted
    documents: Ints
    tokens: Ints
    bytes: Ints
    excluded_documents: Ints  # that may never be sampled; the sums above count them
    excluded_tokens: Ints
    heldout: tuple[int, int]  # documents, tokens


class Drawn(NamedTuple):
    """What was drawn of the cells, (C,) each, and where the decisions about documents lie."""

    sampled_tokens: Ints
    sampled_documents: Ints
    copies: Ints
    edge_tokens: Ints  # (P,) of the pools
    files: dict[int, list[str]]  # shard -> files of DRAWN_SCHEMA, relative to the corpus; -1: of all shards


def open_rows(
    context: StepContext, inputs: MixInputs, num_buckets: int, files: list[dict[str, Any]], excluded: dict[str, str]
) -> RowsHere | RowPasses:
    """The rows of `files`, on the driver when they are `max_docs` or fewer. excluded: split -> path of addresses."""
    here = sum(file["rows"] for file in files) <= inputs.max_docs
    return (RowsHere if here else RowPasses)(context, inputs, num_buckets, files, excluded)


class RowsHere:
    """All rows on the driver."""

    def __init__(
        self,
        context: StepContext,
        inputs: MixInputs,
        num_buckets: int,
        files: list[dict[str, Any]],
        excluded: dict[str, str],
    ) -> None:
        self.context, self.num_buckets = context, num_buckets
        table = load_mix_rows(context, files)
        self.groups, self.cell, _ = assign_cells(table, inputs, context.seed, num_buckets)
        out = [read_table(context, path).column("address").to_numpy() for path in excluded.values()]
        self.rows = mix_tasks.split_rows(table, self.groups, np.concatenate([np.empty(0, np.int64), *out]))
        self.passes: list[dict[str, Any]] = []

    def count_cells(self) -> CellSums:
        """By counting."""
        sums = add_places(
            [mix_tasks.sum_cells(self.rows, self.cell)], len(self.groups) * self.num_buckets, mix_tasks.CELL_NAMES
        )
        is_out = self.cell < 0
        return CellSums(self.groups, *sums, heldout=(int(is_out.sum()), int(self.rows.tokens[is_out].sum())))

    def draw(self, pools: Pools, whole: Ints, rest: Ints) -> Drawn:
        """By sorting."""
        docs = mix_tasks.order_rows(pools, self.rows, self.cell)
        copies, edge_tokens = sampling.sample_copies(docs, whole=whole, rest=rest, chain=pools.chain)
        columns = mix_tasks.draw_columns(self.rows, self.cell, copies, self.num_buckets)
        path = f"{self.context.work}/drawn.parquet"
        table = pa.table([pa.array(column) for column in columns], schema=mix_tasks.DRAWN_SCHEMA)
        parquet_files.write_table(self.context.corpus.path(path), table)
        sums = add_places(
            [mix_tasks.sum_drawn(self.rows, self.cell, copies)], len(pools.of_cell), mix_tasks.DRAWN_NAMES
        )
        return Drawn(*sums, edge_tokens=edge_tokens, files={-1: [path]})


class RowPasses:
    """Rows that stay in their files."""

    def __init__(
        self,
        context: StepContext,
        inputs: MixInputs,
        num_buckets: int,
        files: list[dict[str, Any]],
        excluded: dict[str, str],
    ) -> None:
        self.context, self.inputs, self.num_buckets = context, inputs, num_buckets
        self.files = {file["path"].rpartition("/")[2].removesuffix(".parquet"): file for file in files}
        self.excluded = excluded
        self.passes: list[dict[str, Any]] = []  # what each search left open, for run.json
        self.state: dict[str, Any] = {
            "seed": context.seed, "heldout": config.dump_config(inputs.heldout), "heldout_ends": None, "thresholds": None, "bins": None,
            "pools": None, "search": None, "groups": [], "sized": [], "sizes": [],
        }  # fmt: skip

    def run_pass(
        self, phase: str, work: Work, *, by_split: bool = False
    ) -> tuple[Iterator[pa.Table], list[dict[str, Any]]]:
        """(tables of the tasks' last files, read one by one; facts) of at most MAX_UNITS tasks, or one for each split, in their order.

        The state goes to the tasks through a file.
        """
        corpus, name = self.context.corpus, f"{self.context.work}/{phase}.json"
        data = render_json(self.state)
        checksum = config.fingerprint(data.decode())
        storage.write_bytes(corpus.path(name), data)
        splits = sorted(self.files)
        num_units = len(splits) if by_split else min(MAX_UNITS, len(splits))
        units = []
        for number in range(num_units):
            mine = splits[number * len(splits) // num_units : (number + 1) * len(splits) // num_units]
            params = {
                "root": corpus.root, "splits": [[self.files[split]["path"], self.excluded.get(split)] for split in mine], "state": name,
                "checksum": checksum, "work": f"{self.context.work}/{phase}", "name": mine[0],
            }  # fmt: skip
            units.append(Unit(mine[0], params, sum(self.files[split]["bytes"] for split in mine)))
        done, _ = self.context.run_units(phase, units, work, layout=[checksum, num_units])
        lines = [done.units[unit.name] for unit in units]
        paths = [line["files"][-1]["path"] for line in lines if line["files"]]
        return (read_table(self.context, path) for path in paths), [line["facts"] for line in lines]

    def count_cells(self) -> CellSums:
        """Who is held out, then where buckets begin, then sums."""
        _, facts = self.run_pass("groups", mix_tasks.count_groups)
        groups = sorted({(source, topic) for fact in facts for source, topic, _ in fact["groups"]})
        least = min(fact["least_tokens"] for fact in facts)
        if least < 1:
            raise SchemaError("tokens", "counts of at least 1", least)
        self.state["groups"] = [list(group) for group in groups]
        if self.inputs.duplicates is not None:
            sources = sorted({source for source, _ in groups})
            check_sizes(self.inputs.duplicates, sources, self.num_buckets)
            sized = np.flatnonzero(is_sized(pa.array(sources), self.inputs.duplicates)).tolist()
            self.state |= {"sized": sized, "sizes": self.inputs.duplicates.sizes}
        if self.inputs.heldout.heldout_docs is not None:
            self._find_heldout(groups, facts)
        tables, facts = self.run_pass("kept", mix_tasks.count_kept)
        total, docs = add_places(tables, len(groups), ("weight", "count"))
        heldout = tuple(sum(fact["heldout"][part] for fact in facts) for part in (0, 1))
        found = self._find_thresholds(docs, total)
        self.state["thresholds"] = quality_thresholds.dump_thresholds(found, groups, {})
        tables, _ = self.run_pass("cells", mix_tasks.count_cells)
        sums = add_places(tables, len(groups) * self.num_buckets, mix_tasks.CELL_NAMES)
        self.cells = CellSums(groups, *sums, heldout=(heldout[0], heldout[1]))
        return self.cells

    def _find_heldout(self, groups: list[tuple[str, str]], facts: list[dict[str, Any]]) -> None:
        sources = sorted({source for source, _ in groups})
        num_docs = np.zeros(len(sources), np.int64)
        for fact in facts:
            for source, _, count in fact["groups"]:
                num_docs[sources.index(source)] += count
        wanted = np.minimum(int(self.inputs.heldout.heldout_docs or 0), num_docs // 2)
        edges = self._find_edges("heldout", prefix_search.start_search(wanted, available=num_docs, num_docs=num_docs))
        # weights are 1, so a source's edge is the last one that it holds out
        ends = prefix_search.choose_ends(edges, budget=wanted, chain=np.arange(len(sources), dtype=np.int32))
        self.state["heldout_ends"] = mix_tasks.dump_arrays(ends)

    def _find_thresholds(self, docs: Ints, total: Ints) -> quality_thresholds.Thresholds:
        """Where buckets begin, as in `mix partition`."""
        bins = quality_thresholds.start_bins(docs)
        while int(bins.num_docs.sum()) > self.inputs.max_docs and bins.level < len(quality_thresholds.LEVEL_BITS):
            self.state["bins"] = mix_tasks.dump_arrays(bins)
            tables, _ = self.run_pass(f"bins-{bins.level}", mix_tasks.count_bins)
            size = (len(bins.high), quality_thresholds.NUM_DIGITS)
            weights, counts = add_places(tables, size[0] * size[1], ("weight", "count"))
            bins = quality_thresholds.narrow_bins(
                bins, weights.reshape(size), counts.reshape(size), total=total, num_buckets=self.num_buckets
            )
            self.passes.append({"of": "buckets", "bins": len(bins.high), "documents": int(bins.num_docs.sum())})
        self.state["bins"] = mix_tasks.dump_arrays(bins)
        tables, _ = self.run_pass(f"bins-{bins.level}-rows", mix_tasks.gather_bins)
        table = pa.concat_tables([mix_tasks.KEYS_SCHEMA.empty_table(), *tables])
        keys = quality_thresholds.Keys(*(table.column(name).to_numpy() for name in quality_thresholds.Keys._fields))
        self.state["bins"] = None
        return quality_thresholds.find_thresholds(keys, bins, total=total, num_buckets=self.num_buckets)

    def _find_edges(self, of: str, search: Search) -> Edges:
        """Narrow the search until the documents of its open bins fit, and sort those."""
        while int(search.num_docs.sum()) > self.inputs.max_docs and search.level < len(prefix_search.LEVEL_BITS):
            self.state["search"] = mix_tasks.dump_arrays(search)
            tables, _ = self.run_pass(f"{of}-{search.level}", mix_tasks.count_open)
            size = (len(search.budget), prefix_search.NUM_DIGITS)
            weights, counts = add_places(tables, size[0] * size[1], ("weight", "count"))
            search = prefix_search.narrow_search(search, weights.reshape(size), counts.reshape(size))
            self.passes.append(
                {"of": of, "bins": int((search.num_docs > 0).sum()), "documents": int(search.num_docs.sum())}
            )
        self.state["search"] = mix_tasks.dump_arrays(search)
        tables, _ = self.run_pass(f"{of}-{search.level}-rows", mix_tasks.gather_open)
        table = pa.concat_tables([mix_tasks.ORDERED_SCHEMA.empty_table(), *tables])
        self.state["search"] = None
        return prefix_search.find_edges(Ordered(*(table.column(name).to_numpy() for name in Ordered._fields)), search)

    def draw(self, pools: Pools, whole: Ints, rest: Ints) -> Drawn:
        """Where pools end, then the tasks decide. After count_cells."""
        self.state["pools"] = mix_tasks.dump_arrays(pools)
        available, num_docs = sum_pools(pools, self.cells)
        search = prefix_search.start_search(rest, available=available, num_docs=num_docs)
        edges = self._find_edges("copies", search)
        ends: Ends = prefix_search.choose_ends(edges, budget=rest, chain=pools.chain)
        self.state |= {"ends": mix_tasks.dump_arrays(ends), "whole": whole.tolist()}
        tables, _ = self.run_pass("drawn", mix_tasks.write_drawn, by_split=True)
        sums = add_places(tables, len(pools.of_cell), mix_tasks.DRAWN_NAMES)
        files: dict[int, list[str]] = {}
        for split in sorted(self.files):
            files.setdefault(int(split.split("-")[1]), []).append(f"{self.context.work}/drawn/rows/{split}.parquet")
        return Drawn(*sums, edge_tokens=edges.weight, files=files)


def list_cells(counted: CellSums, num_buckets: int) -> pa.Table:
    """CELL_SCHEMA rows, as mixers.percentiles.count_cells makes them."""
    names = [name for name in counted.groups for _ in range(num_buckets)]
    bucket = np.tile(np.arange(num_buckets, dtype=np.int32), len(counted.groups))
    columns = [pa.array([name[part] for name in names], pa.string()) for part in (0, 1)]
    numbers = map(pa.array, (bucket, counted.documents, counted.tokens, counted.bytes))
    return pa.table([*columns, *numbers], schema=CELL_SCHEMA)


def sum_pools(pools: Pools, cells: CellSums) -> tuple[Ints, Ints]:
    """Tokens and documents of each pool that may be sampled, int64 (P,) each."""
    available, num_docs = np.zeros(len(pools.planned), np.int64), np.zeros(len(pools.planned), np.int64)
    taking = np.flatnonzero(pools.of_cell >= 0)
    np.add.at(available, pools.of_cell[taking], (cells.tokens - cells.excluded_tokens)[taking])
    np.add.at(num_docs, pools.of_cell[taking], (cells.documents - cells.excluded_documents)[taking])
    return available, num_docs


def read_table(context: StepContext, path: str) -> pa.Table:
    """A small file of a task, on the driver."""
    return parquet_files.read_row_groups(context.corpus.path(path), None, None)


def add_places(tables: Iterable[pa.Table], size: int, names: tuple[str, ...]) -> list[Ints]:
    """Sums of the columns over all tables, int64 (size,) each; a table has rows for the places that it counts alone."""
    sums = [np.zeros(size, np.int64) for _ in names]
    for table in tables:
        at = table.column("place").to_numpy()
        for total, name in zip(sums, names, strict=True):
            total[at] += table.column(name).to_numpy()
    return sums
