"""Write plain files again with the rows that a job kept, and the evidence for those that left.

Beside the working corpus: data/NAME for each input file, in its format, with all its columns; duplicates.parquet;
attributes/SET/NAME.parquet, row-aligned with the input, for sets that are no verdicts of duplicates; rejected/NAME.jsonl.gz;
manifest.json. Rows written = rows that the view keeps, rows read = kept + dropped, checked.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dolma_py import config, manifest, parquet_files, spans, storage, views
from dolma_py.corpus import AttributePiece, Corpus, ViewBatch, read_view
from dolma_py.errors import ConservationError, DataError
from dolma_py.formats.limits import Limits
from dolma_py.listing import Shard, Split
from dolma_py.plain_lines import copy_lines
from dolma_py.plain_rows import KeptRows
from dolma_py.plain_tables import copy_table
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.plain_evidence import write_evidence, write_pieces
from pipelines.plain_inputs import SAVED_STATE, PlainFile
from pipelines.read_plain_files import INPUT_SET, ReadPlainConfig, list_inputs, output_folder
from pipelines.steps import StepContext, StepResult, Unit, file_lists

VERSION = 2
CHANGES_NO_BYTE = ("max_rejected_frac",)
MARK = "dolma_py_"  # before the names of columns that are added


class WritePlainConfig(ReadPlainConfig):
    """What was read, by which job, and how its verdict is written."""

    job: str = Field(description="name of the step that made the verdict")
    mark: bool = Field(default=False, description="keep every row and add the verdict as columns")


def job_attributes(corpus: Corpus, settings: WritePlainConfig) -> dict[str, str]:
    """Attribute sets of the job with their fingerprints."""
    done = manifest.read_manifest(corpus.path("runs", "plain", f"01-{settings.job}"))
    return {} if done is None else done["attributes"]


def fingerprint_inputs(corpus: Corpus, settings: WritePlainConfig) -> list[Any]:
    """The input files and the job's attributes."""
    inputs = list_inputs(corpus, settings)
    files = [[file.name, file.num_bytes, file.mark] for file in (*inputs.files, *inputs.side_files)]
    return [files, inputs.left_out, job_attributes(corpus, settings)]


def run(context: StepContext, settings: WritePlainConfig) -> StepResult:
    """Write data, evidence and manifest of every file."""
    corpus, view = context.corpus, context.need_view()
    inputs = list_inputs(corpus, settings)
    sets = sorted(job_attributes(corpus, settings))
    read = manifest.read_manifest(corpus.path("runs", "plain", "00-read"))
    assert read is not None, "the step that reads comes first"
    shared = {
        "corpus": corpus.root, "view": config.dump_config(view), "sets": sets, "mark": settings.mark,
        "root": output_folder(corpus), "work": f"{posixpath.basename(corpus.root)}/{context.work}",
        "text_column": settings.text_column, "limits": config.dump_config(settings.limits),
    }  # fmt: skip
    units = [
        Unit(f"file-{number:05d}", shared | {"file": list(file), "shard": number} | read["facts"]["read"][file.name], file.num_bytes)
        for number, file in enumerate(inputs.files)
    ]  # fmt: skip
    outside = context._replace(corpus=Corpus(shared["root"]), folder=posixpath.dirname(shared["work"]))
    done, times = outside.run_units("files", units, write_file)
    files = [file for file in file_lists(done) if not file["path"].startswith(f"{shared['work']}/")]
    evidence = write_evidence(outside, done, f"{shared['work']}/evidence")
    if evidence is not None:
        files.append(evidence)
    if view.steps or settings.mark:
        files += copy_side_files(outside.corpus, inputs.side_files, context.fingerprint, settings.mark)
    lines = [done.units[unit.name]["facts"] for unit in units]
    totals = {key: sum(line[key] for line in lines) for key in ("rows_in", "kept", "dropped", "edited")}
    totals["rejected"] = sum(sum(line["rejected"].values()) for line in lines)
    job = manifest.read_manifest(corpus.path("runs", "plain", f"01-{settings.job}")) or {}
    content = {
        "format": "dolma-py-plain-files", "job": {key: job[key] for key in ("kind", "version", "config", "rules", "seed", "facts")},
        "text_column": settings.text_column, "id_column": settings.id_column, "mark": settings.mark,
        "inputs": [{"name": file.name, "bytes": file.num_bytes, "fingerprint": file.mark} for file in inputs.files],
        "counts": totals, "files": {line["name"]: line for line in lines}, "left_out": list(inputs.left_out),
        "written": sorted(({key: file[key] for key in ("path", "bytes", "checksum")} for file in files), key=lambda f: f["path"]),
    }  # fmt: skip
    remove_earlier(outside.corpus, {file["path"] for file in files})
    manifest.write_manifest(outside.corpus.root, content)
    sizes = {f"../{file['path']}": file["bytes"] for file in files}
    sizes["../manifest.json"] = storage.file_bytes(outside.corpus.path("manifest.json")) or 0
    return StepResult(files=sizes, facts=totals, times=times._asdict())


def remove_earlier(target: Corpus, written: set[str]) -> None:
    """Remove what an earlier command with other settings wrote and this one did not."""
    earlier = manifest.read_manifest(target.root) or {"written": []}
    for file in earlier["written"]:
        if file["path"] not in written:
            storage.remove_file(target.path(file["path"]))


def copy_side_files(target: Corpus, files: tuple[PlainFile, ...], mark: str, marked: bool) -> list[dict[str, Any]]:
    """What `datasets` wrote beside its files. The fingerprint is ours: the rows are no longer those that it stands for."""
    written = []
    for file in files:
        content = storage.read_bytes(file.path)
        if posixpath.basename(file.name) == SAVED_STATE:
            state = json.loads(content) | {"_fingerprint": config.fingerprint(mark, file.name)[:16]}
            content = json.dumps(state, indent=2, sort_keys=True).encode()
        elif marked and posixpath.basename(file.name) == "dataset_info.json":
            content = json.dumps(json.loads(content) | {"features": None}, indent=2, sort_keys=True).encode()
        path = f"data/{file.name}"
        storage.write_bytes(target.path(path), content)
        written.append({"path": path, "bytes": len(content), "checksum": storage.checksum_file(target.path(path))})
    return written


def write_file(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: one file again, with its evidence."""
    corpus, view = Corpus(params["corpus"]), View.model_validate(params["view"])
    root, file = params["root"], PlainFile(*params["file"])
    shards = corpus.read_listing().shards
    shard = shards[params["shard"]]
    sets = read_sets(corpus, next(other for other in shards if other.rows), params["sets"])
    verdicts = [name for name, schema in sets.items() if "kept_id" in schema.names]
    has_edits = any(step.edit is not None for step in view.steps)
    facts: dict[str, Any] = {
        "name": file.name, "rows_in": params["rows"], "kept": params["rows"], "dropped": 0, "edited": 0, "rejected": params["rejected"],
    }  # fmt: skip
    written = []
    if view.steps or params["mark"]:
        written.append(_write_data(params, attempts, file, sets if params["mark"] else {}, has_edits, facts))
    if verdicts:
        path = f"{params['work']}/evidence/piece-{shard.number:05d}.parquet"
        piece = partial(write_pieces, corpus, shard, file.name, verdicts[0])
        written.append(write_attempt(root, attempts, path, piece))
    for name in [name for name in sets if name not in verdicts]:
        path = f"attributes/{name}/{file.name.removesuffix('.parquet')}.parquet"
        written.append(
            write_attempt(root, attempts, path, _attribute_writer(corpus, shard, name, sets[name], params["stop_row"]))
        )
    if params["rejected"]:
        rejected = corpus.path("rejected", shard.path.removeprefix("documents/").removesuffix(".parquet") + ".jsonl.gz")
        content, count = storage.read_bytes(rejected), sum(params["rejected"].values())
        path = f"rejected/{file.name}.jsonl.gz"
        written.append(write_attempt(root, attempts, path, lambda sink: sink.write(content) and count))
    return written, facts


def read_sets(corpus: Corpus, shard: Shard, names: list[str]) -> dict[str, pa.Schema]:
    """Columns of the job's attribute sets, from the files of a shard that has rows."""
    schemas = {}
    for name in names:
        with parquet_files.open_parquet(corpus.path(views.attribute_path(name, shard))) as opened:
            schemas[name] = opened.schema_arrow
    return schemas


def _write_data(
    params: dict[str, Any], attempts: str, file: PlainFile, marks: dict[str, pa.Schema], has_edits: bool, facts: dict[str, Any]
) -> WrittenFile:  # fmt: skip
    corpus, view = Corpus(params["corpus"]), View.model_validate(params["view"])
    if params["mark"]:
        view = View(name="all", listing=view.listing, shards=view.shards)
    shard = corpus.read_listing().shards[params["shard"]]
    has_edits = has_edits and not params["mark"]
    added = pa.schema([pa.field(MARK + field.name, field.type) for schema in marks.values() for field in schema])
    schema = pa.schema([("row", pa.int64()), *([("text", pa.large_string())] if has_edits else []), *added])

    def blocks() -> Iterator[pa.Table]:
        whole = Split(shard.number, 0, len(shard.row_groups) - 1, 0, shard.rows, shard.text_bytes)
        for batch in read_view(corpus, view, whole, ["text"] if has_edits else []):
            table = views.read_attributes(corpus.root, INPUT_SET, shard, [batch.group]).select(["row"])
            for name, kinds in marks.items():
                read = views.read_attributes(corpus.root, name, shard, [batch.group])
                for field in kinds:
                    table = table.append_column(MARK + field.name, read.column(field.name))
            table = table.take(pa.array(batch.rows))
            if has_edits:
                text = _edited_texts(batch)
                facts["edited"] += len(text) - text.null_count
                table = table.add_column(1, "text", text)
            yield table.cast(schema)

    def write(sink: HashingWriter) -> int:
        kept = KeptRows(blocks(), schema)
        if file.format == "jsonl":
            limits = Limits.model_validate(params["limits"])
            return copy_lines(file.path, sink, kept, text_column=params["text_column"], limits=limits)
        return copy_table(file.path, file.format, sink, kept, text_column=params["text_column"], added=added)

    written = write_attempt(params["root"], attempts, f"data/{file.name}", write)
    facts["kept"], facts["dropped"] = written.rows, shard.rows - written.rows
    expected = count_kept(corpus, view, shard)
    if written.rows != expected:
        if (
            storage.file_bytes(file.path) != file.num_bytes
            or storage.fingerprint_input(file.path, file.num_bytes) != file.mark
        ):
            raise DataError(
                file.path, "changed while it was read", hint="Give the command again with another --output."
            )
        raise ConservationError(file.name, {"kept": expected, "written": written.rows})
    return written


def count_kept(corpus: Corpus, view: View, shard: Shard) -> int:
    """Rows of a shard that a view keeps, counted from the attributes alone."""
    total = 0
    for group, (num_rows, _) in enumerate(shard.row_groups):
        sources = pa.repeat(pa.scalar(shard.source), num_rows)
        total += int((views.evaluate_view(view, corpus.root, shard, [group], sources).failed < 0).sum())
    return total


def _edited_texts(batch: ViewBatch) -> pa.Array:
    """The texts of a batch, null where nothing was cut."""
    unchanged = pa.array(spans.count_bytes(batch.removed) == 0)
    return pc.if_else(unchanged, pa.scalar(None, pa.large_string()), batch.documents.column("text"))


def _attribute_writer(corpus: Corpus, shard: Shard, name: str, schema: pa.Schema, stop_row: int) -> Any:
    """Attributes of every row of the input, null where there is no document."""

    def write(sink: HashingWriter) -> int:
        with AttributePiece(sink, schema) as piece:
            first, last = 0, len(shard.row_groups) - 1
            for group in range(len(shard.row_groups)):
                rows = views.read_attributes(corpus.root, INPUT_SET, shard, [group]).column("row").to_numpy()
                stop = stop_row if group == last else int(rows[-1]) + 1
                index = np.full(stop - first, -1, np.int64)
                index[rows - first] = np.arange(len(rows))
                table = views.read_attributes(corpus.root, name, shard, [group])
                piece.add(table.take(pa.array(index, mask=index < 0)))
                first = stop
            if first < stop_row:  # no row of the file could be read
                piece.add(schema.empty_table().take(pa.nulls(stop_row, pa.int64())))
        return piece.rows

    return write
