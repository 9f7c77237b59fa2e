"""Read the texts of plain files into a working corpus: id, text and row of each record, nothing else of it.

One shard for each file, in order of names; its documents are called FILE:ROW. Writes documents/, attributes/sizes-v1/,
attributes/input-v1/ (row in the file, the record's own id) and rejected/. Records read = rows + rejected, checked.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dolma_py import config, parquet_files, storage
from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.corpus import SIZES_SCHEMA, SIZES_VERSION, Corpus
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import ConfigError, DataError, TooManyRejectedError
from dolma_py.formats.json_documents import WHY_LEFT_OUT
from dolma_py.formats.limits import Limits, Rejection
from dolma_py.input_files import describe_left_out
from dolma_py.listing import Listing, Shard, append_shards
from dolma_py.plain_lines import read_first_keys, read_narrow_lines
from dolma_py.plain_rows import Narrow
from dolma_py.plain_tables import find_type, open_table, read_narrow_table
from dolma_py.storage import HashingWriter, WrittenFile
from dolma_py.text_sizes import estimate_text_bytes
from dolma_py.views import SIZES
from pipelines.plain_inputs import PlainFile, PlainInputs, list_plain_inputs
from pipelines.steps import StepContext, StepResult, Unit, file_lists, find_worst, finish_attribute_set

logger = logging.getLogger("dolma_py.build")

VERSION = 1
CHANGES_NO_BYTE = ("max_rejected_frac",)
INPUT_SET = "input-v1"
INPUT_SCHEMA = pa.schema([pa.field("row", pa.int64()), pa.field("given_id", pa.string())])
_ALL_SCHEMA = pa.schema([*DOCUMENT_SCHEMA, *INPUT_SCHEMA])
FIRST_RECORDS = 100  # of a file of JSON lines, looked at before a run
WORK_FOLDER = ".dolma-py"  # the working corpus inside the output folder


class ReadingConfig(Config):
    """How plain files are read."""

    row_group_text_bytes: int = Field(default=16 << 20, ge=1, description="text in one row group of the working corpus")
    max_rejected_frac: float = Field(
        default=0.05, ge=0, le=1, description="share of records that may be unreadable before the job stops"
    )
    limits: Limits = Field(default_factory=Limits, description="bounds on records and compression")


class ReadPlainConfig(ReadingConfig):
    """What is read of which files."""

    inputs: list[str] = Field(min_length=1, description="files, folders and globs")
    text_column: str = Field(default="text", min_length=1, description="name or dotted path of the text")
    id_column: str | None = Field(
        default=None, description="name or dotted path of the id; null: `id` where there is one"
    )
    metadata_fields: tuple[str, ...] = Field(
        default=(),
        description="names or dotted paths of fields, of a record or of its `metadata`, that the job compares",
    )


def output_folder(corpus: Corpus) -> str:
    """The user's folder that a working corpus belongs to."""
    return corpus.root.removesuffix(f"/{WORK_FOLDER}")


def list_inputs(corpus: Corpus, settings: ReadPlainConfig) -> PlainInputs:
    """The files of the settings."""
    return list_plain_inputs(settings.inputs, output_folder(corpus))


def fingerprint_inputs(corpus: Corpus, settings: ReadPlainConfig) -> str:
    """Of all input files, and of what is told to be left out: names that arrive later are told too."""
    inputs = list_inputs(corpus, settings)
    marks = [[file.name, file.num_bytes, file.mark] for file in (*inputs.files, *inputs.side_files)]
    return config.fingerprint(marks, inputs.hidden, inputs.documents)


def expected_text_bytes(settings: ReadPlainConfig) -> int:
    """For plans; Arrow files are taken as text alone."""
    files = list_plain_inputs(settings.inputs, "/").files
    return sum(
        estimate_text_bytes(file.path, file.num_bytes, kind=file.format, text_column=settings.text_column)
        for file in files
    )


def check_first_file(settings: ReadPlainConfig) -> None:
    """Raise ConfigError when the first file has no such text column, or none of its first records such a key; what a run would find later.

    What cannot be read at all is left to the run.
    """
    files = list_plain_inputs(settings.inputs, "/").files
    if not files:
        return
    column, file = settings.text_column, files[0]
    if file.format == "jsonl":
        keys = read_first_keys(file.path, settings.limits, FIRST_RECORDS)
        is_there = not keys or column in keys or column.partition(".")[0] in keys
    else:
        try:
            with open_table(file.path, file.format) as table:
                keys, is_there = table.schema.names, find_type(table.schema, column) is not None
        except DataError:
            return
    if not is_there:
        what = "the first records have no such key" if file.format == "jsonl" else "the file has no such column"
        hint = f"There are: {', '.join(keys)}."
        raise ConfigError("--text-column", column, f"expected the name of the text, {what}", hint, file.path)


def run(context: StepContext, settings: ReadPlainConfig) -> StepResult:
    """Read every file, or find that this was done."""
    corpus, inputs = context.corpus, list_inputs(context.corpus, settings)
    files = inputs.files
    if inputs.hidden:
        logger.warning("inputs: %s", describe_left_out(list(inputs.hidden)))
    if inputs.documents:
        logger.warning("inputs: %s", describe_left_out(list(inputs.documents), WHY_LEFT_OUT))
    listing = corpus.read_listing()
    columns = [settings.text_column, settings.id_column, *settings.metadata_fields]
    mark = config.fingerprint(VERSION, columns, settings.row_group_text_bytes)
    expected = [((file.name, file.num_bytes, config.fingerprint(file.mark, mark)),) for file in files]
    if listing.shards and [shard.inputs for shard in listing.shards] != expected:
        raise ConfigError(
            "--output", output_folder(corpus), "expected a new folder: this one was made from other files or columns",
            "Give another folder, or remove it.",
        )  # fmt: skip
    units = [_plan_unit(corpus, number, file, settings) for number, file in enumerate(files)]
    done, times = context.run_units("documents", units, read_file)
    facts = [done.units[unit.name]["facts"] for unit in units]
    rejected = sum(sum(fact["rejected"].values()) for fact in facts)
    total = rejected + sum(fact["rows"] for fact in facts)
    if total and rejected / total > settings.max_rejected_frac:
        by_input = [(file.path, fact["rejected"]) for file, fact in zip(files, facts, strict=True)]
        _check_text_column(settings, by_input, total)
        raise TooManyRejectedError(
            "plain", rejected, total, settings.max_rejected_frac, corpus.path("rejected"),
            context.setting_key("max_rejected_frac"), find_worst(by_input),
        )  # fmt: skip
    if total == rejected:
        raise ConfigError("--input", settings.inputs, "expected at least one readable record")
    for name, fingerprint in ((SIZES, config.fingerprint("sizes", SIZES_VERSION)), (INPUT_SET, context.fingerprint)):
        own = [file for file in file_lists(done) if file["path"].startswith(f"attributes/{name}/")]
        finish_attribute_set(corpus, name, fingerprint, own)
    if not listing.shards:
        shards = [_make_shard(number, done.units[unit.name], expected[number]) for number, unit in enumerate(units)]
        listing = append_shards(corpus.listing_path, Listing(()), shards)
    read = {
        file.name: {"rows": fact["rows"], "rejected": fact["rejected"], "stop_row": fact["stop_row"]}
        for file, fact in zip(files, facts, strict=True)
    }
    sizes = {shard.path: shard.num_bytes for shard in listing.shards}
    return StepResult(files=sizes, facts={"listing": listing.fingerprint, "read": read}, times=times._asdict())


def _check_text_column(settings: ReadPlainConfig, rejected: list[tuple[str, dict[str, int]]], total: int) -> None:
    """Raise ConfigError when most records have no text, and the first of the worst input has no such key at all."""
    path, _, reason = find_worst(rejected)[0].rpartition(": ")
    lacking = sum(counts.get("missing_text", 0) for _, counts in rejected)
    if reason != "missing_text" or lacking <= total / 2:
        return
    keys = read_first_keys(path, settings.limits)
    column = settings.text_column
    if keys and column not in keys and column.partition(".")[0] not in keys:
        rule = f"expected the key of the text, {lacking} of {total} records have none under it"
        raise ConfigError("--text-column", column, rule, f"The first record has: {', '.join(keys)}.", path)


def _plan_unit(corpus: Corpus, number: int, file: PlainFile, settings: ReadPlainConfig) -> Unit:
    source = storage.safe_name(file.name.split("/")[0]) if "/" in file.name else "input"
    params = {
        "root": corpus.root, "source": source, "part": f"{source}/part-{number:05d}", "file": list(file),
        "narrow": [settings.text_column, settings.id_column, config.dump_config(settings.limits), list(settings.metadata_fields)],
        "row_group_text_bytes": settings.row_group_text_bytes,
    }  # fmt: skip
    return Unit(f"file-{number:05d}", params, file.num_bytes)


def _make_shard(number: int, line: dict[str, Any], inputs: tuple[tuple[str, int, str], ...]) -> Shard:
    facts, file = line["facts"], line["files"][0]
    return Shard(
        number, file["path"], "parquet", facts["source"], facts["rows"], facts["text_bytes"], file["bytes"], file["checksum"],
        tuple((rows, text_bytes) for rows, text_bytes in facts["row_groups"]), inputs, tuple(sorted(facts["rejected"].items())),
    )  # fmt: skip


def read_narrow(file: PlainFile, narrow: Narrow) -> Iterator[pa.RecordBatch | Rejection]:
    """Rows, texts and ids of a file of any format."""
    if file.format == "jsonl":
        return read_narrow_lines(file.path, file.name, narrow)
    return read_narrow_table(file.path, file.name, file.format, narrow)


def read_file(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: one file as one shard."""
    root, part, file = params["root"], params["part"], PlainFile(*params["file"])
    text_column, id_column, limits, fields = params["narrow"]
    narrow = Narrow(text_column, id_column, Limits.model_validate(limits), tuple(fields))
    facts: dict[str, Any] = {
        "source": params["source"], "rows": 0, "text_bytes": 0, "row_groups": [], "rejected": {}, "stop_row": 0,
    }  # fmt: skip
    rejections = io.BytesIO()
    zipped = gzip.GzipFile(fileobj=rejections, mode="wb", filename="", mtime=0)

    def read() -> Iterator[pa.RecordBatch]:
        for item in read_narrow(file, narrow):
            if isinstance(item, Rejection):
                facts["rejected"][item.reason] = facts["rejected"].get(item.reason, 0) + 1
                facts["stop_row"] = max(facts["stop_row"], item.line)
                zipped.write(json.dumps(item._asdict(), sort_keys=True).encode() + b"\n")
            else:
                facts["stop_row"] = max(facts["stop_row"], item.column("row")[-1].as_py() + 1)
                yield _as_documents(item, file.name, params["source"])

    schemas = {
        f"documents/{part}.parquet": DOCUMENT_SCHEMA, f"attributes/{SIZES}/{part}.parquet": SIZES_SCHEMA,
        f"attributes/{INPUT_SET}/{part}.parquet": INPUT_SCHEMA,
    }  # fmt: skip
    groups = parquet_files.cut_row_groups(read(), _ALL_SCHEMA, row_group_text_bytes=params["row_group_text_bytes"])
    written = _write_together(root, attempts, schemas, _count_groups(groups, facts))
    zipped.close()
    if facts["rejected"]:
        content, count = rejections.getvalue(), sum(facts["rejected"].values())
        path = f"rejected/{part}.jsonl.gz"
        written.append(storage.write_attempt(root, attempts, path, lambda sink: sink.write(content) and count))
    return written, facts


def _count_groups(groups: Iterator[pa.Table], facts: dict[str, Any]) -> Iterator[pa.Table]:
    """The same tables with the bytes of their texts beside them."""
    for table in groups:
        lengths = np.diff(view_text(table.column("text")).offsets)
        facts["row_groups"].append([table.num_rows, int(lengths.sum())])
        facts["rows"] += table.num_rows
        facts["text_bytes"] += int(lengths.sum())
        yield table.append_column("text_bytes", pa.array(lengths, pa.int64()))


def _write_together(
    root: str, attempts: str, schemas: dict[str, pa.Schema], groups: Iterator[pa.Table]
) -> list[WrittenFile]:
    """Columns of each row group to the files that want them; memory is one row group."""
    written, rows = [], 0
    with ExitStack() as stack:
        files = {}
        for path, schema in schemas.items():
            attempt = storage.join_path(root, attempts, f"{storage.unique_name()}.parquet")
            sink = HashingWriter(stack.enter_context(storage.write_file(attempt)))
            files[path] = (attempt, sink, stack.enter_context(parquet_files.open_writer(sink, schema)))
        for table in groups:
            rows += table.num_rows
            for path, (_, _, writer) in files.items():
                parquet_files.write_row_group(writer, table.select(schemas[path].names).cast(schemas[path]))
        for path, (attempt, sink, writer) in files.items():
            writer.close()
            written.append(WrittenFile(attempt, path, sink.num_bytes, sink.checksum, rows))
    return written


def _as_documents(batch: pa.RecordBatch, name: str, source: str) -> pa.RecordBatch:
    """Documents named after their place in the file."""
    rows, num_rows = batch.column("row"), batch.num_rows
    columns = {
        "id": pc.binary_join_element_wise(pa.scalar(name), rows.cast(pa.string()), ":"),
        "text": batch.column("text"), "source": pa.repeat(pa.scalar(source), num_rows), "row": rows,
        "given_id": batch.column("given_id"), "metadata": batch.column("metadata"),
    }  # fmt: skip
    arrays = [columns.get(field.name, pa.nulls(num_rows, field.type)) for field in _ALL_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=_ALL_SCHEMA)
