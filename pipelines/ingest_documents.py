"""Read the user's files into a corpus: JSONL (plain, gz, zst), Parquet, text, HTML and WARC.

Writes documents/<source>/part-NNNNN.parquet, attributes/sizes-v1/, rejected/<source>/ and new lines of the listing.
Records read = rows + rejected, checked; files that were ingested before are left alone, new ones get new numbers.

    spark-submit pipelines/ingest_documents.py --config ingest.yaml
"""

from __future__ import annotations

import gzip
import io
import json
import posixpath
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from dolma_py import config, parquet_files, storage
from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.corpus import SIZES_SCHEMA, SIZES_VERSION, AttributePiece, Corpus
from dolma_py.documents import DOCUMENT_SCHEMA, check_documents
from dolma_py.errors import ConfigError, TooManyRejectedError
from dolma_py.formats import FieldMap, Limits, Rejection, detect_format, read_any
from dolma_py.listing import Listing, Shard, append_shards
from dolma_py.storage import HashingWriter, WrittenFile
from dolma_py.views import SIZES
from pipelines.repeated_ids import rename_repeated_ids
from pipelines.steps import StepContext, StepResult, Unit, expand_inputs, finish_attribute_set

VERSION = 1
SIZES_FINGERPRINT = config.fingerprint("sizes", SIZES_VERSION)
MAX_IN_PLACE_BYTES = 256 << 20  # a stream of JSON lines is one task's work
CODE_SUFFIXES = (
    ".py",
    ".c",
    ".h",
    ".cc",
    ".cpp",
    ".hpp",
    ".rs",
    ".go",
    ".java",
    ".js",
    ".ts",
    ".sh",
    ".sql",
    ".rb",
    ".jl",
    ".r",
)


class SourceConfig(Config):
    """One source: where its files are and how they are read."""

    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="source of its documents; null: the first folder below each input, code files apart",
    )
    inputs: list[str] = Field(min_length=1, description="files, folders and globs; {corpus} is the corpus folder")
    kind: str = Field(default="", description="jsonl, parquet, text, html or warc; empty: by each file's name")
    fields: FieldMap = Field(default_factory=FieldMap, description="where id, text and the rest stand in a record")
    in_place: bool = Field(
        default=False,
        description="list the files where they are and copy nothing: Dolma JSONL, or Parquet with our columns",
    )


class IngestConfig(Config):
    """What is read and when reading is stopped."""

    sources: list[SourceConfig] = Field(min_length=1, description="each with its own folder under documents/")
    unit_bytes: int = Field(
        default=64 << 20, ge=1, description="input files are packed into shards of about this many bytes on disk"
    )
    row_group_text_bytes: int = Field(
        default=16 << 20, ge=1, description="text in one row group; jobs split between row groups"
    )
    max_rejected_frac: float = Field(
        default=0.05, ge=0, le=1, description="share of records that may be unreadable before the job stops"
    )
    added: datetime | None = Field(
        default=None, description="the documents' `added` where a record has none; never the clock"
    )
    limits: Limits = Field(default_factory=Limits, description="bounds on records and compression")


class InputFile(NamedTuple):
    """An input with its source and the name by which it is remembered."""

    source: str
    path: str
    name: str  # path below the input's root
    num_bytes: int
    kind: str
    root: str
    fields: FieldMap
    mark: str  # fingerprint
    in_place: bool


def list_inputs(corpus: Corpus, ingest: IngestConfig) -> list[InputFile]:
    """All input files in order of source and name, each once.

    Raises ConfigError when two files have one name in one source: the corpus could not tell them apart later.
    """
    found: dict[tuple[str, str], InputFile] = {}
    for source in ingest.sources:
        for pattern in source.inputs:
            root = _pattern_root(pattern, corpus)
            for info in expand_inputs([pattern], corpus=corpus):
                name = info.path.removeprefix(root.rstrip("/") + "/")
                key = (source.name or _guess_source(name, root), name)
                if key in found and found[key].path != info.path:
                    hint = "Give them different sources, or one input folder above both."
                    raise ConfigError(
                        "inputs", info.path, f"has the name of {found[key].path} in source {key[0]}", hint
                    )
                if key not in found:
                    mark = storage.fingerprint_input(info.path, info.num_bytes)
                    found[key] = InputFile(
                        key[0], info.path, name, info.num_bytes, source.kind, root, source.fields, mark, source.in_place
                    )
    return [found[key] for key in sorted(found)]


def _pattern_root(pattern: str, corpus: Corpus) -> str:
    """The folder that names are relative to: the input folder itself, or what stands before the first wildcard."""
    path = storage.resolve_path(pattern.replace("{corpus}", corpus.root))
    parts = path.split("/")
    wild = next((index for index, part in enumerate(parts) if any(sign in part for sign in "*?[")), None)
    if wild is not None:
        return "/".join(parts[:wild])
    return path if storage.file_bytes(path) is None else posixpath.dirname(path)


def _guess_source(name: str, root: str) -> str:
    if name.lower().endswith(CODE_SUFFIXES):
        return "code"
    first = name.split("/")[0] if "/" in name else posixpath.basename(root.rstrip("/")) or "input"
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in first.lower())


def fingerprint_inputs(corpus: Corpus, ingest: IngestConfig) -> str:
    """Of all input files: a new file makes the step run again."""
    return config.fingerprint(
        [[file.source, file.name, file.num_bytes, file.mark] for file in list_inputs(corpus, ingest)]
    )


def run(context: StepContext, ingest: IngestConfig) -> StepResult:
    """Ingest what the corpus does not have yet."""
    corpus = context.corpus
    listing = corpus.read_listing()
    units = plan_units(corpus, ingest, listing)
    done, times = context.run_units("documents", units, ingest_unit)
    facts = [done.units[unit.name]["facts"] for unit in units]
    rejected = sum(sum(fact["rejected"].values()) for fact in facts)
    total = rejected + sum(fact["rows"] for fact in facts)
    if total and rejected / total > ingest.max_rejected_frac:
        raise TooManyRejectedError("ingest", rejected, total, ingest.max_rejected_frac, corpus.path("rejected"))
    shards = [_make_shard(len(listing.shards) + index, unit, done.units[unit.name]) for index, unit in enumerate(units)]
    if shards and not any(shard.rows for shard in (*listing.shards, *shards)):
        raise ConfigError("inputs", total, "expected at least one readable record", f"Read {corpus.path('rejected')}.")
    shards = rename_repeated_ids(context, listing, shards)
    finish_attribute_set(corpus, SIZES, SIZES_FINGERPRINT, _sizes_files(corpus, listing, done))
    if shards:
        listing = append_shards(corpus.listing_path, listing, shards)
    files = {shard.path: shard.num_bytes for shard in listing.shards if shard.path.startswith("documents/")}
    return StepResult(files=files, facts=describe_listing(listing), times=times._asdict())


def describe_listing(listing: Listing) -> dict[str, Any]:
    """What the corpus holds and what could not be read, whichever runs of ingest brought it."""
    rejected: dict[str, dict[str, int]] = {}
    for shard in listing.shards:
        for reason, count in shard.rejected:
            mine = rejected.setdefault(shard.source, {})
            mine[reason] = mine.get(reason, 0) + count
    return {
        "listing": listing.fingerprint, "shards": len(listing.shards), "documents": listing.rows, "text_bytes": listing.text_bytes,
        "input_bytes": sum(size for shard in listing.shards for _, size, _ in shard.inputs), "rejected": rejected,
        "repeated_ids": sum(shard.renamed for shard in listing.shards),
    }  # fmt: skip


def plan_units(corpus: Corpus, ingest: IngestConfig, listing: Listing) -> list[Unit]:
    """Consecutive new files of a source packed into units; a unit is a shard. Names follow those already listed."""
    known = {(shard.source, name): mark for shard in listing.shards for name, _, mark in shard.inputs}
    packs: dict[str, list[list[InputFile]]] = {}
    for file in list_inputs(corpus, ingest):
        mark = known.get((file.source, file.name))
        if mark is not None and mark != file.mark:
            raise ConfigError(
                "inputs",
                file.path,
                "was ingested before and has changed since",
                "A corpus is append-only: make a new one.",
            )
        if mark is None:
            own = packs.setdefault(file.source, [[]])
            if own[-1] and (file.in_place or sum(other.num_bytes for other in own[-1]) >= ingest.unit_bytes):
                own.append([])
            own[-1].append(file)
    units = []
    for source, groups in packs.items():
        first = sum(shard.source == source for shard in listing.shards)
        for number, group in enumerate(groups, first):
            params = {
                "root": corpus.root, "source": source, "part": f"{source}/part-{number:05d}",
                "files": [[file.path, file.name, file.num_bytes, file.mark, file.kind, file.root, config.dump_config(file.fields)] for file in group],
                "added": None if ingest.added is None else ingest.added.isoformat(), "limits": config.dump_config(ingest.limits),
                "row_group_text_bytes": ingest.row_group_text_bytes,
            }  # fmt: skip
            if group[0].in_place:
                check_in_place(group[0])
                params["in_place"] = (
                    f"attributes/{SIZES}/{source}/in-place-{len(listing.shards) + len(units):05d}.parquet"
                )
            units.append(Unit(f"{source}/part-{number:05d}", params, sum(file.num_bytes for file in group)))
    return units


def _make_shard(number: int, unit: Unit, line: dict[str, Any]) -> Shard:
    facts, file = line["facts"], line["files"][0]
    if "in_place" in unit.params:
        path, _, size, mark, *_ = unit.params["files"][0]
        file = {"path": path, "bytes": size, "checksum": mark}
    inputs = tuple((name, size, mark) for _, name, size, mark, *_ in unit.params["files"])
    groups = tuple((rows, text_bytes) for rows, text_bytes in facts["row_groups"])
    kind = detect_format(file["path"]) if "in_place" in unit.params else "parquet"
    return Shard(
        number,
        file["path"],
        kind,
        facts["source"],
        facts["rows"],
        facts["text_bytes"],
        file["bytes"],
        file["checksum"],
        groups,
        inputs,
        tuple(sorted(facts["rejected"].items())),
    )


def _sizes_files(corpus: Corpus, listing: Listing, done: Any) -> list[dict[str, Any]]:
    """The sizes of shards listed before, and of the new ones."""
    from dolma_py.done import read_done_lines

    lines = read_done_lines(corpus.path("attributes", SIZES, "_done.jsonl"))
    files = {file["path"]: file for line in lines for file in line["files"]}
    for line in done.units.values():
        files.update((file["path"], file) for file in line["files"] if file["path"].startswith("attributes/"))
    return list(files.values())


def check_in_place(file: InputFile) -> None:
    """Refuse what jobs could not read again in place."""
    kind = file.kind or detect_format(file.path)
    if kind not in ("jsonl", "parquet"):
        raise ConfigError(
            "in_place",
            file.path,
            "expected Dolma JSONL or Parquet",
            "Set in_place: false; the files are then copied as Parquet.",
        )
    if kind == "jsonl" and file.num_bytes > MAX_IN_PLACE_BYTES:
        raise ConfigError(
            "in_place",
            file.path,
            f"expected at most {MAX_IN_PLACE_BYTES} bytes: it cannot be split",
            "Set in_place: false.",
        )
    if file.fields != FieldMap() and kind == "jsonl":
        raise ConfigError("in_place", file.path, "expected Dolma's own field names", "Set in_place: false.")
    if kind == "parquet":
        with parquet_files.open_parquet(file.path) as parquet:
            check_documents(parquet.schema_arrow, file.path)


def list_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the sizes of a file that is read in place; a row group of it is a row group of the attributes."""
    path = params["files"][0][0]
    facts: dict[str, Any] = {"source": params["source"], "rows": 0, "text_bytes": 0, "row_groups": [], "rejected": {}}

    def read() -> Iterator[np.ndarray]:
        if detect_format(path) == "parquet":
            with parquet_files.open_parquet(path) as file:
                for group in range(file.num_row_groups):
                    yield np.diff(
                        view_text(
                            file.read_row_group(group, columns=["text"], use_threads=False).column("text")
                        ).offsets
                    )
            return
        lengths = [np.empty(0, np.int64)]
        for item in _read_files(params):
            if isinstance(item, Rejection):
                facts["rejected"][item.reason] = facts["rejected"].get(item.reason, 0) + 1
            else:
                lengths.append(np.diff(view_text(item.column("text")).offsets))
        yield np.concatenate(lengths)

    def write_sizes(sink: HashingWriter) -> int:
        piece = AttributePiece(sink, SIZES_SCHEMA)
        for lengths in read():
            piece.add(pa.table({"text_bytes": pa.array(lengths, pa.int64())}))
            facts["row_groups"].append([len(lengths), int(lengths.sum())])
            facts["rows"] += len(lengths)
            facts["text_bytes"] += int(lengths.sum())
        return piece.close()

    return [storage.write_attempt(params["root"], attempts, params["in_place"], write_sizes)], facts


def ingest_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: read input files into one shard."""
    if "in_place" in params:
        return list_unit(params, attempts)
    root, part = params["root"], params["part"]
    facts: dict[str, Any] = {"source": params["source"], "rows": 0, "text_bytes": 0, "row_groups": [], "rejected": {}}
    rejections = io.BytesIO()
    zipped = gzip.GzipFile(fileobj=rejections, mode="wb", filename="", mtime=0)
    sizes: list[np.ndarray] = []

    def read() -> Iterator[pa.RecordBatch]:
        for item in _read_files(params):
            if isinstance(item, Rejection):
                facts["rejected"][item.reason] = facts["rejected"].get(item.reason, 0) + 1
                zipped.write(json.dumps(item._asdict(), sort_keys=True).encode() + b"\n")
            else:
                yield item

    def write_documents(sink: HashingWriter) -> int:
        with parquet_files.open_writer(sink, DOCUMENT_SCHEMA) as writer:
            for table in parquet_files.cut_row_groups(
                read(), DOCUMENT_SCHEMA, row_group_text_bytes=params["row_group_text_bytes"]
            ):
                parquet_files.write_row_group(writer, table)
                lengths = np.diff(view_text(table.column("text")).offsets)
                sizes.append(lengths)
                facts["row_groups"].append([table.num_rows, int(lengths.sum())])
                facts["rows"] += table.num_rows
                facts["text_bytes"] += int(lengths.sum())
        return int(facts["rows"])

    def write_sizes(sink: HashingWriter) -> int:
        piece = AttributePiece(sink, SIZES_SCHEMA)
        for lengths in sizes:
            piece.add(pa.table({"text_bytes": pa.array(lengths, pa.int64())}))
        return piece.close()

    files = [
        storage.write_attempt(root, attempts, f"documents/{part}.parquet", write_documents),
        storage.write_attempt(root, attempts, f"attributes/{SIZES}/{part}.parquet", write_sizes),
    ]
    zipped.close()
    if facts["rejected"]:
        content, count = rejections.getvalue(), sum(facts["rejected"].values())
        files.append(
            storage.write_attempt(
                root, attempts, f"rejected/{part}.jsonl.gz", lambda sink: sink.write(content) and count
            )
        )
    return files, facts


def _read_files(params: dict[str, Any]) -> Iterator[pa.RecordBatch | Rejection]:
    added = None if params["added"] is None else datetime.fromisoformat(params["added"])
    limits = Limits.model_validate(params["limits"])
    for path, _, _, _, kind, root, fields in params["files"]:
        yield from read_any(
            path, source=params["source"], limits=limits, fields=FieldMap.model_validate(fields), added=added,
            open_stream=storage.open_read, root=root, kind=kind,
        )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("ingest", argv)


if __name__ == "__main__":
    sys.exit(main())
