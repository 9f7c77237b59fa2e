"""Write a view as a Dolma tree: documents/ and attributes/<set>/ as JSON lines, row-aligned, spans in characters.

One document file per split of the view, with one attribute file for each chosen set beside it; with `folders` the files lie below the
values of an attribute instead, such as health/vigintile_0020 (pipelines.export_folders). Texts are as the view edits
them, and spans are moved along. Rows of the view = rows written, checked.

    spark-submit pipelines/export_dolma.py --config export.yaml
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any, BinaryIO, Literal

from pydantic import Field

from dolma_py import storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus, read_view
from dolma_py.errors import ConfigError
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile
from dolma_py.views import View
from pipelines.dolma_lines import Sets, check_free, choose_columns, dump_batch, name_folders, open_codec
from pipelines.export_folders import write_folders
from pipelines.steps import StepContext, StepResult, Unit, file_lists, split_name, split_params

VERSION = 1
WORK_FOLDER = "_export"  # below the tree while the job runs


class ExportDolmaConfig(Config):
    """Where the tree goes and what is in it."""

    output: str = Field(min_length=1, description="folder of the tree: documents/ and attributes/ are made below it")
    attributes: list[str] = Field(
        default_factory=list, description="attribute sets to write, as SET for all its columns or SET.COLUMN for one"
    )
    codec: Literal["gz", "zst"] = Field(default="gz", description="compression of all files")
    folders: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+\.\w+$",
        description="SET.COLUMN whose value is a document's folder, such as partition-v1.label; null: its source",
    )
    file_bytes: int = Field(
        default=256 << 20,
        ge=1,
        description="with folders: a file ends once its JSON lines of documents have so many bytes before compression, at the end of a split",
    )


def run(context: StepContext, settings: ExportDolmaConfig) -> StepResult:
    """One document file per split of the view, in corpus order, named by source and number; or see pipelines.export_folders."""
    tree = Corpus(settings.output)
    if tree.root == context.corpus.root or storage.path_exists(tree.listing_path):
        raise ConfigError("output", tree.root, "expected a folder that is no corpus of this project")
    sets = choose_columns(settings.attributes)
    own = context._replace(corpus=tree, folder=WORK_FOLDER)
    if settings.folders is None:
        units = _plan_units(context, tree, sets, settings.codec)
        check_free(tree, [unit.params["part"] for unit in units], sets)
        done, times = own.run_units("documents", units, write_split)
        lines = [done.units[unit.name]["facts"] for unit in units]
    else:
        done, lines, times = write_folders(
            context, own, sets, folders=settings.folders, codec=settings.codec, file_bytes=settings.file_bytes
        )
    storage.remove_tree(tree.path(WORK_FOLDER))
    facts: dict[str, Any] = {key: sum(line[key] for line in lines) for key in ("documents", "text_bytes")}
    facts["left_out"] = sorted({name for line in lines for name in line["left_out"]})
    return StepResult(
        files={tree.path(file["path"]): file["bytes"] for file in file_lists(done)}, facts=facts, times=times._asdict()
    )


def work_disk_bytes(settings: ExportDolmaConfig, corpus: Corpus, text_bytes: int) -> int:
    """Of the pieces that folders are made of, compressed: less than the text."""
    return 0 if settings.folders is None else text_bytes


def _plan_units(context: StepContext, tree: Corpus, sets: Sets, codec: str) -> list[Unit]:
    shards = context.corpus.read_listing().shards
    units: list[Unit] = []
    counts: dict[str, int] = {}
    for split in context.plan_splits():
        source = storage.safe_name(shards[split.shard].source)
        counts[source] = counts.get(source, -1) + 1
        params = split_params(context, split) | {
            "tree": tree.root, "part": f"{source}/part-{counts[source]:05d}.jsonl.{codec}", "sets": sets,
        }  # fmt: skip
        units.append(Unit(split_name(split), params, split.text_bytes))
    return units


def write_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the kept rows of one split as a document file and its attribute files."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    facts: dict[str, Any] = {"documents": 0, "text_bytes": 0, "left_out": []}
    paths = [f"{folder}/{params['part']}" for folder in name_folders(params["sets"])]
    files = []
    with ExitStack() as stack:
        sinks: list[tuple[str, HashingWriter, BinaryIO]] = []
        for path in paths:
            attempt = storage.join_path(params["tree"], attempts, storage.unique_name())
            sink = HashingWriter(stack.enter_context(storage.write_file(attempt)))
            sinks.append((attempt, sink, open_codec(sink, path)))
        for batch in read_view(corpus, view, split):
            found = dump_batch(corpus, params["sets"], batch)
            for (_, _, stream), blob in zip(sinks, found.blobs, strict=True):
                stream.write(blob)
            facts["left_out"] += found.left_out
            facts["documents"] += found.documents
            facts["text_bytes"] += found.text_bytes
        for path, (attempt, sink, stream) in zip(paths, sinks, strict=True):
            stream.close()
            files.append(WrittenFile(attempt, path, sink.num_bytes, sink.checksum, facts["documents"]))
    facts["left_out"] = sorted(set(facts["left_out"]))
    return files, facts


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("export_dolma", argv)


if __name__ == "__main__":
    sys.exit(main())
