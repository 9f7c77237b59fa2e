"""What a grown corpus changes in decisions that were already made: deduplicate day 2 against day 1 and see whom it costs.

When a duplicate set is made again over a listing that has grown, decisions about documents of the earlier shards are compared with
those that stand, before any is replaced. Under the empty keep policy of exact copies and URLs nothing changes: the oldest stays. Under any other
policy, a kept document that a better new copy replaces is in the list; for near copies also one whose cluster a new document joins to
another. `runs/<recipe>/<step>/changed.parquet` names them, the manifest counts them.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import parquet_files, storage, views
from dolma_py.corpus import Corpus, read_view
from dolma_py.done import read_done_lines
from dolma_py.listing import ROW_BITS, Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View, attribute_path
from pipelines.attribute_sets import load_maker
from pipelines.steps import StepContext, StepResult, Unit, attribute_set_stands, file_lists, split_name, split_params

logger = logging.getLogger("dolma_py.build")

CHANGED_SCHEMA = pa.schema([
    ("id", pa.string()), ("path", pa.string()), ("row", pa.int64()), ("was_duplicate", pa.bool_()), ("is_duplicate", pa.bool_()),
    ("kept_id", pa.string()),
])  # fmt: skip
ALL = "all"


def compare_decisions(
    context: StepContext, maker: str, options: dict[str, Any], by_shard: dict[int, dict[str, Any]], set_name: str
) -> list[str] | None:
    """Files of changed decisions (relative paths), None when no earlier set stands or it covers as many shards as this view.

    To be called before the set's files are replaced; killed and called again it knows what stood there.
    """
    earlier_shards = _note_earlier(context, set_name)
    splits = context.plan_splits()
    if not earlier_shards or all(split.shard < earlier_shards for split in splits):
        return None
    shared = {"maker": maker, "set": set_name, "work": context.work}
    units = []
    for split in splits:
        if split.shard < earlier_shards:
            own = {"options": options | by_shard.get(split.shard, {})}
            units.append(Unit(split_name(split), split_params(context, split) | shared | own, split.text_bytes))
    done, _ = context.run_units("changes", units, compare_split)
    return [file["path"] for file in file_lists(done)]


def _note_earlier(context: StepContext, set_name: str) -> int:
    """How many shards the complete set covers, looked up once: it is taken apart later."""
    done = context.done("earlier")
    if ALL not in done.units:
        lines = read_done_lines(context.corpus.path("attributes", set_name, "_done.jsonl"))
        stands = bool(lines) and attribute_set_stands(context.corpus, set_name, lines[0]["fingerprint"])
        paths = {file["path"] for file in lines[0]["files"]} if stands else set()
        shards = context.corpus.read_listing().shards[: context.need_view().shards]
        covered = [shard.number for shard in shards if attribute_path(set_name, shard) in paths]
        done.publish(ALL, [], {"shards": max(covered, default=-1) + 1})
        done.finish()
    shards_before: int = done.units[ALL]["facts"]["shards"]
    return shards_before


def compare_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: changed decisions of one split, by the maker that writes the attributes; rows new to the view are none."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    maker = load_maker(params)
    shard = corpus.read_listing().shards[split.shard]

    def write(sink: HashingWriter) -> int:
        rows = 0
        with parquet_files.open_writer(sink, CHANGED_SCHEMA) as writer:
            for batch in read_view(corpus, view, split, maker.columns):
                if not batch.documents.num_rows:
                    continue
                made = maker.make(batch)[params["set"]]
                earlier = views.read_attributes(corpus.root, params["set"], shard, [batch.group])
                was = earlier.column("is_duplicate").combine_chunks().take(pa.array(batch.rows))
                differs = pa.compute.not_equal(was, made.column("is_duplicate")).fill_null(False)
                row = batch.addresses & np.int64((1 << ROW_BITS) - 1)
                columns = [
                    batch.documents.column("id"), pa.repeat(pa.scalar(shard.path), len(row)), pa.array(row),
                    was, made.column("is_duplicate"), made.column("kept_id"),
                ]  # fmt: skip
                table = pa.table(columns, schema=CHANGED_SCHEMA).filter(differs)
                if table.num_rows:
                    parquet_files.write_row_group(writer, table)
                rows += table.num_rows
        return rows

    path = f"{params['work']}/changes/{split_name(split)}.parquet"
    return [write_attempt(corpus.root, attempts, path, write)], {}


def save_changes(context: StepContext, paths: list[str] | None) -> StepResult:
    """`changed.parquet` in the step's run folder and its counts; without a comparison, that there is none."""
    target = f"{context.folder}/changed.parquet"
    if paths is None:
        storage.remove_file(context.corpus.path(target))
        return StepResult()
    counts = {"earlier_shards": _note_earlier(context, ""), "now_leave": 0, "now_stay": 0}
    with (
        storage.write_file(context.corpus.path(target)) as stream,
        parquet_files.open_writer(HashingWriter(stream), CHANGED_SCHEMA) as writer,
    ):
        for path in paths:
            table = parquet_files.read_row_groups(context.corpus.path(path), None, None)
            leave = int(pa.compute.sum(table.column("is_duplicate")).as_py() or 0)
            counts["now_leave"] += leave
            counts["now_stay"] += table.num_rows - leave
            if table.num_rows:
                parquet_files.write_row_group(writer, table)
    logger.info(
        "%s: of the documents of earlier shards %d now leave and %d now stay; see %s",
        context.name, counts["now_leave"], counts["now_stay"], context.corpus.path(target),
    )  # fmt: skip
    size = storage.file_bytes(context.corpus.path(target))
    return StepResult(files={target: size or 0}, facts={"changed": counts})
