"""Write a view as a Dolma tree: documents/ and attributes/<set>/ as JSON lines, row-aligned, spans in characters.

One document file per split of the view, with one attribute file for each chosen set beside it. Texts are as the view edits
them, and spans are moved along. Rows of the view = rows written, checked.

    spark-submit pipelines/export_dolma.py --config export.yaml
"""

from __future__ import annotations

import gzip
import re
import sys
from contextlib import ExitStack
from typing import Any, BinaryIO, Literal

import orjson
import pyarrow as pa
import zstandard
from pydantic import Field

from dolma_py import storage, views
from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.corpus import Corpus, ViewBatch, read_view
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats.dolma_attributes import SCORE, dump_rows, list_values
from dolma_py.formats.json_values import dump_json, load_json
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile
from dolma_py.views import View
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


def run(context: StepContext, settings: ExportDolmaConfig) -> StepResult:
    """One document file per split of the view, in corpus order, named by source and number."""
    tree = Corpus(settings.output)
    if tree.root == context.corpus.root or storage.path_exists(tree.listing_path):
        raise ConfigError("output", tree.root, "expected a folder that is no corpus of this project")
    sets = choose_columns(settings.attributes)
    shards = context.corpus.read_listing().shards
    units: list[Unit] = []
    counts: dict[str, int] = {}
    for split in context.plan_splits():
        source = storage.safe_name(shards[split.shard].source)
        counts[source] = counts.get(source, -1) + 1
        params = split_params(context, split) | {
            "tree": tree.root, "part": f"{source}/part-{counts[source]:05d}.jsonl.{settings.codec}", "sets": sets,
        }  # fmt: skip
        units.append(Unit(split_name(split), params, split.text_bytes))
    _check_free(tree, units, sets)
    own = context._replace(corpus=tree, folder=WORK_FOLDER)
    done, times = own.run_units("documents", units, write_split)
    lines = [done.units[unit.name]["facts"] for unit in units]
    storage.remove_tree(tree.path(WORK_FOLDER))
    facts: dict[str, Any] = {key: sum(line[key] for line in lines) for key in ("documents", "text_bytes")}
    facts["left_out"] = sorted({name for line in lines for name in line["left_out"]})
    return StepResult(
        files={tree.path(file["path"]): file["bytes"] for file in file_lists(done)}, facts=facts, times=times._asdict()
    )


def choose_columns(chosen: list[str]) -> dict[str, list[str] | None]:
    """Set -> the columns of it that are written, None for all.

    >>> choose_columns(["lengths-v1", "gopher-v1.num_words", "gopher-v1.fraction"])
    {'lengths-v1': None, 'gopher-v1': ['num_words', 'fraction']}
    """
    sets: dict[str, list[str] | None] = {}
    for name in chosen:
        key, sign, column = name.partition(".")
        columns = sets.setdefault(key, [] if sign else None)
        if bool(sign) != isinstance(columns, list) or (columns is not None and column in columns):
            raise ConfigError("attributes", name, f"expected each set or column once, {key} stands there before")
        if columns is not None:
            columns.append(column)
    return sets


def name_attribute(name: str, column: str) -> str:
    """Dolma's name of a column: <experiment>__<tagger>__<attribute>, the set being both experiment and tagger.

    >>> name_attribute("gopher-dclm-v1", "num_words")
    'gopher_dclm_v1__gopher_dclm_v1__num_words'
    """
    experiment = name_experiment(name)
    return f"{experiment}__{experiment}__{column}"


def name_experiment(name: str) -> str:
    """A set's folder below attributes/: letters, digits and _ alone, so that the name stands in JSONPath as it is."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _check_free(tree: Corpus, units: list[Unit], sets: dict[str, Any]) -> None:
    """Files of another origin would be taken for part of the export."""
    parts = [unit.params["part"] for unit in units]
    folders = ["documents", *(f"attributes/{name_experiment(name)}" for name in sets)]
    planned = {tree.path(folder, part) for folder in folders for part in parts}
    for info in [*storage.list_files(tree.path("documents")), *storage.list_files(tree.path("attributes"))]:
        if info.path not in planned:
            raise ConfigError("output", info.path, "expected an empty folder or an earlier export", "Give another.")


def write_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the kept rows of one split as a document file and its attribute files."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    facts: dict[str, Any] = {"documents": 0, "text_bytes": 0, "left_out": []}
    paths = {"": f"documents/{params['part']}"}
    paths |= {name: f"attributes/{name_experiment(name)}/{params['part']}" for name in params["sets"]}
    files = []
    with ExitStack() as stack:
        sinks: dict[str, tuple[str, HashingWriter, BinaryIO]] = {}
        for name, path in paths.items():
            attempt = storage.join_path(params["tree"], attempts, storage.unique_name())
            sink = HashingWriter(stack.enter_context(storage.write_file(attempt)))
            sinks[name] = (attempt, sink, open_codec(sink, path))
        for batch in read_view(corpus, view, split):
            ids, text = batch.documents.column("id").to_pylist(), view_text(batch.documents.column("text"))
            sinks[""][2].write(dump_documents(batch.documents))
            for name, columns in params["sets"].items():
                table = _read_set(corpus, name, columns, batch)
                columns_read = {key: table.column(key).combine_chunks() for key in table.column_names}
                values = {key: list_values(column, text, batch.removed) for key, column in columns_read.items()}
                facts["left_out"] += [f"{name}.{key}" for key, found in values.items() if found is None]
                usable = {name_attribute(name, key): found for key, found in values.items() if found is not None}
                sinks[name][2].write(dump_rows(ids, usable))
            facts["documents"] += len(ids)
            facts["text_bytes"] += int(text.offsets[-1] - text.offsets[0])
        for name, (attempt, sink, stream) in sinks.items():
            stream.close()
            files.append(WrittenFile(attempt, paths[name], sink.num_bytes, sink.checksum, facts["documents"]))
    facts["left_out"] = sorted(set(facts["left_out"]))
    return files, facts


def _read_set(corpus: Corpus, name: str, columns: list[str] | None, batch: ViewBatch) -> pa.Table:
    """A set's columns for the batch's documents. ConfigError for a column that is not there."""
    table = views.read_attributes(corpus.root, name, batch.shard, [batch.group])
    if table.num_rows != batch.group_rows:
        raise DataError(
            batch.shard.path, f"{batch.group_rows} documents but {table.num_rows} rows of attributes {name}"
        )
    for column in columns or []:
        if column not in table.column_names:
            raise ConfigError("attributes", f"{name}.{column}", f"expected one of {table.column_names}")
    spans = {field.name for field in table.schema if field.type == SPANS}
    own = [name for name in table.column_names if name.removesuffix(SCORE) not in spans or name in spans]
    table = table.select(columns or own)  # an imported set has each score twice
    return table.take(pa.array(batch.rows))


def dump_documents(documents: pa.RecordBatch) -> bytes:
    """Dolma's JSON lines: id, text, source, and added, created and metadata where there are any; times in UTC."""
    lines = []
    for row in documents.to_pylist():
        metadata = orjson.Fragment(dump_json(load_json(row["metadata"]))) if row["metadata"] else None
        values = row | {"metadata": metadata}
        lines.append(
            orjson.dumps(
                {name: value for name, value in values.items() if value is not None},
                option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z,
            )
        )
    return b"".join(lines)


def open_codec(sink: HashingWriter, path: str) -> BinaryIO:
    """A stream that compresses into `sink` by the file's name: gzip without name and time, or zstd; the same bytes each time."""
    if path.endswith(".zst"):
        compressor = zstandard.ZstdCompressor(level=3, threads=0, write_checksum=True)
        return compressor.stream_writer(sink, closefd=False)  # type: ignore[arg-type, return-value]
    return gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=6, filename="", mtime=0)  # type: ignore[arg-type, return-value]


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("export_dolma", argv)


if __name__ == "__main__":
    sys.exit(main())
