"""Write row-aligned attributes of every document in a view: the part that all jobs share.

A maker turns the kept rows of one row group into columns; here they are spread over the row group's rows (null outside the
view), carried back to original byte positions and written. A shard read by several tasks gets its file put together from
pieces whose row groups are the documents' own, so the bytes are those that one task would have written.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol

import pyarrow as pa

from dedup.alarms import SourceCounts, add_counts
from dolma_py import storage, views
from dolma_py.corpus import (
    AttributePiece,
    Corpus,
    ViewBatch,
    read_view,
    restore_span_columns,
    spread_rows,
    stitch_pieces,
)
from dolma_py.listing import Split
from dolma_py.storage import WrittenFile
from dolma_py.views import View
from pipelines.steps import (
    StepContext,
    Unit,
    UnitTimes,
    file_lists,
    finish_attribute_set,
    split_name,
    split_params,
    start_attribute_set,
)


class Maker(Protocol):
    """Makes attributes; one per worker process, built from JSON values."""

    columns: list[str] | None  # of a document; None reads all
    schemas: dict[str, pa.Schema]  # attribute set -> its columns

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """Row-aligned attributes of the batch's documents, for every set."""
        ...


class RemovingMaker(Maker, Protocol):
    """A maker whose attributes say what leaves."""

    def count_removed(self, batch: ViewBatch, made: dict[str, pa.RecordBatch]) -> dict[str, SourceCounts]:
        """Of the batch, by source, from what `make` gave for it."""
        ...


def write_attribute_sets(
    context: StepContext,
    maker: str,
    options: dict[str, Any],
    fingerprints: dict[str, str],
    *,
    phase: str = "attributes",
    by_shard: dict[int, dict[str, Any]] | None = None,
    accept: Callable[[dict[str, SourceCounts]], None] | None = None,
) -> UnitTimes:
    """Make the sets of `fingerprints` (name -> fingerprint) for the whole view and declare them complete.

    maker: "module:function" that builds a Maker from `options` on the executor.
    by_shard: further options for the splits of a shard, such as its own file: a list of all files would go out with every unit.
    accept: for a RemovingMaker: gets what leaves by source, and may raise; then the sets are not complete, but the work is kept.
    """
    for name, fingerprint in fingerprints.items():
        start_attribute_set(context.corpus, name, fingerprint)
    splits = context.plan_splits()
    shards = context.corpus.read_listing().shards
    parts: dict[int, list[Split]] = {}
    for split in splits:
        parts.setdefault(split.shard, []).append(split)
    units = []
    for split in splits:
        whole = len(parts[split.shard]) == 1
        params = split_params(context, split) | {
            "maker": maker, "options": options | (by_shard or {}).get(split.shard, {}), "sets": sorted(fingerprints),
            "pieces": None if whole else f"{context.work}/{phase}/pieces", "count_removed": accept is not None,
        }  # fmt: skip
        units.append(Unit(split_name(split), params, split.text_bytes))
    done, times = context.run_units(phase, units, write_split)
    if accept:
        accept(add_counts(line["facts"]["sources"] for line in done.units.values()))
    stitched = []
    for number, pieces in parts.items():
        for name in sorted(fingerprints) if len(pieces) > 1 else []:
            paths = [piece_path(f"{context.work}/{phase}/pieces", name, piece) for piece in pieces]
            params = {"root": context.corpus.root, "pieces": paths, "path": views.attribute_path(name, shards[number])}
            stitched.append(Unit(f"{name}/shard-{number:05d}", params, 0))
    stitch_done, _ = context.run_units(f"{phase}-stitch", stitched, stitch_unit)
    files = [file for file in [*file_lists(done), *file_lists(stitch_done)] if file["path"].startswith("attributes/")]
    for name, fingerprint in fingerprints.items():
        own = [file for file in files if file["path"].startswith(f"attributes/{name}/")]
        finish_attribute_set(context.corpus, name, fingerprint, own)
    return times


def piece_path(folder: str, name: str, split: Split) -> str:
    """Where the piece of a set for one of a shard's splits waits to be put together."""
    return f"{folder}/{name}/{split_name(split)}.parquet"


@functools.lru_cache(maxsize=4)
def build_maker(maker: str, options: str) -> Maker:
    """The maker of this worker process; models are loaded once and kept."""
    module, _, name = maker.partition(":")
    build: Callable[[dict[str, Any]], Maker] = getattr(importlib.import_module(module), name)
    return build(json.loads(options))


def load_maker(params: dict[str, Any]) -> Any:
    """The maker of a task's params."""
    return build_maker(params["maker"], json.dumps(params["options"], sort_keys=True))


def write_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: all sets of one split."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    maker = load_maker(params)
    shard = corpus.read_listing().shards[split.shard]
    facts: dict[str, Any] = {"documents": 0}
    sources: list[dict[str, SourceCounts]] = []
    with ExitStack() as stack:
        open_pieces = {}
        for name in params["sets"]:
            path = piece_path(params["pieces"], name, split) if params["pieces"] else views.attribute_path(name, shard)
            file = stack.enter_context(storage.open_attempt(corpus.root, attempts, path))
            open_pieces[name] = (file, stack.enter_context(AttributePiece(file.sink, maker.schemas[name])))
        for batch in read_view(corpus, view, split, maker.columns):
            facts["documents"] += batch.documents.num_rows
            made = maker.make(batch) if batch.documents.num_rows else {}
            if made and params["count_removed"]:
                sources.append(maker.count_removed(batch, made))
            for name, (_, piece) in open_pieces.items():
                schema = maker.schemas[name]
                columns = made[name] if name in made else pa.RecordBatch.from_pylist([], schema)
                columns = restore_span_columns(columns, batch.removed)
                piece.add(spread_rows(columns, batch.rows, batch.group_rows, schema))
    if params["count_removed"]:
        facts["sources"] = add_counts(sources)
    return [file.written(piece.rows) for file, piece in open_pieces.values()], facts


def stitch_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the attribute file of a shard from its pieces."""
    return [stitch_pieces(params["root"], params["pieces"], params["path"], attempts)], {}
