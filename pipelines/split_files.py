"""Files made from one split of the view each and kept from run to run: a corpus that grew costs the work on its new documents alone.

A file's name carries a digest of what decides its content: the shard's checksum, the rows that the view keeps and the spans it
cuts there, and the settings. Finding that out reads attributes and no text of Parquet shards. Files lie in the step's run folder;
those that a run did not use are removed when it ends. What was counted while a file was made stands in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from dolma_py import config, parquet_files, storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus, ViewBatch, evaluate_group, read_view
from dolma_py.done import read_done_lines
from dolma_py.listing import Split
from dolma_py.spans import take_spans
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View, attribute_path
from pipelines.keyed_files import merge_facts
from pipelines.steps import StepContext, Unit, UnitTimes, split_name, split_params
from pipelines.units import Work

FACTS = b"facts"  # key of a file's metadata
Counts = dict[str, Any]


class SplitFiles(NamedTuple):
    """The files of all splits."""

    paths: list[str]  # relative to the corpus, in corpus order
    counts: Counts  # sums over all files
    found: int  # files that were there from an earlier run
    times: UnitTimes


def key_settings(step: Config) -> dict[str, Any]:
    """The settings of a deduplication that decide its keys and what is written beside them."""
    others = ("alarms", "bloom", "index", "keep_keys", "rules")
    return {name: value for name, value in config.dump_config(step).items() if name not in others}


def make_split_files(
    context: StepContext, phase: str, work: Work, settings: dict[str, Any], *, keep: bool,
    sets: Sequence[str] = (), places: Sequence[str] = (),
) -> SplitFiles:  # fmt: skip
    """One file per split of the view, by a task function that calls write_split_file.

    settings: what the task needs; all of it decides the content.
    keep: leave the files in the run folder; otherwise they lie in the work folder and none of before is used.
    sets: attribute sets that the task reads, beside the view's. places: paths that it needs and whose names decide nothing.
    """
    folder = f"{context.folder if keep else context.work}/{phase}"
    marks = _attribute_marks(context.corpus, sets)
    shards = context.corpus.read_listing().shards
    units = []
    for split in context.plan_splits():
        own = [marks.get(attribute_path(name, shards[split.shard])) for name in sets]
        params = split_params(context, split) | {
            "settings": settings,
            "marks": own,
            "places": list(places),
            "folder": folder,
        }
        units.append(Unit(split_name(split), params, split.text_bytes))
    done, times = context.run_units(phase, units, work, layout=folder)
    facts = [done.units[unit.name]["facts"] for unit in units]
    counts: Counts = {}
    for fact in facts:
        counts = merge_facts(counts, fact["counts"])
    return SplitFiles([fact["path"] for fact in facts], counts, sum(fact["found"] for fact in facts), times)


def _attribute_marks(corpus: Corpus, sets: Sequence[str]) -> dict[str, str]:
    """Path -> checksum of the files of attribute sets."""
    lines = [line for name in sets for line in read_done_lines(corpus.path("attributes", name, "_done.jsonl"))]
    return {file["path"]: file["checksum"] for line in lines for file in line["files"]}


def remove_unused(context: StepContext, phase: str, paths: list[str]) -> None:
    """The step is at its end: remove kept files that it did not use."""
    used = {context.corpus.path(path) for path in paths}
    for info in storage.list_files(context.corpus.path(context.folder, phase)):
        if info.path not in used:
            storage.remove_file(info.path)


def write_split_file(
    params: dict[str, Any], attempts: str, *, schema: pa.Schema, columns: list[str],
    make: Callable[[ViewBatch], tuple[pa.Table, Counts]],
) -> tuple[list[WrittenFile], dict[str, Any]]:  # fmt: skip
    """One task: a row group of `schema` per row group of documents, unless the file is there.

    columns: of a document that `make` reads. make: the table of a row group and what is counted of it; a function of the batch,
    params["settings"] and attributes of the planned sets alone.
    """
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    digest = digest_content(corpus, view, split, [params["settings"], params["marks"]])
    path = f"{params['folder']}/{split_name(split)}-{digest}.parquet"
    facts: dict[str, Any] = {"path": path, "found": 0, "counts": {}}
    if storage.file_bytes(corpus.path(path)) is not None:
        with parquet_files.open_parquet(corpus.path(path)) as file:
            return [], facts | {"found": 1, "counts": json.loads(file.metadata.metadata[FACTS])}

    def write(sink: HashingWriter) -> int:
        rows = 0
        with parquet_files.open_writer(sink, schema) as writer:
            for batch in read_view(corpus, view, split, columns):
                table, counts = make(batch)
                parquet_files.write_row_group(writer, table.cast(schema))
                facts["counts"] = merge_facts(facts["counts"], counts)
                rows += table.num_rows
            writer.add_key_value_metadata({FACTS: json.dumps(facts["counts"], sort_keys=True).encode()})
        return rows

    return [write_attempt(corpus.root, attempts, path, write)], facts


def digest_content(corpus: Corpus, view: View, split: Split, settings: Any) -> str:
    """32 hex digits of all that decides what is made of a split: its documents, the rows and spans of the view, the settings."""
    shard = corpus.read_listing().shards[split.shard]
    digest = xxhash.xxh3_128(config.fingerprint(settings, shard.checksum, shard.reading).encode())
    for group in range(split.first_group, split.last_group + 1):
        verdict, _ = evaluate_group(corpus, view, shard, group)
        rows = np.flatnonzero(verdict.failed < 0).astype(np.int64)
        removed = take_spans(verdict.removed, rows)
        for array in (rows, removed.offsets, removed.starts, removed.ends):
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array, np.int64))
    return digest.hexdigest()
