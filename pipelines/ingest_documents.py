"""Read the user's files into a corpus: JSONL (plain, gz, zst), Parquet, text, HTML and WARC.

Writes documents/<source>/part-NNNNN.parquet, attributes/sizes-v1/, rejected/<source>/ and new lines of the listing.
Records read = rows + rejected, checked; files that were ingested before are left alone, new ones get new numbers.
rejected/ holds what the listed shards and the last run could not read, nothing older: a run that stops with too many rejected
records leaves its own there to be looked at, the next run replaces or removes them.
Of a Dolma tree the documents are read, and its attributes become row-aligned sets: see pipelines/import_attributes.py.

    spark-submit pipelines/ingest_documents.py --config ingest.yaml
"""

from __future__ import annotations

import gzip
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import storage
from dolma_py.corpus import SIZES_SCHEMA, AttributePiece, Corpus
from dolma_py.done import DoneFile, read_done_lines
from dolma_py.errors import ConfigError, DataError, TooManyRejectedError
from dolma_py.formats import FieldMap, Limits, Rejection, detect_format, find_reader
from dolma_py.formats.in_place import describe_reading, read_text_lengths
from dolma_py.formats.json_documents import WHY_LEFT_OUT
from dolma_py.formats.jsonl import LineRange, count_newlines
from dolma_py.formats.parquet import GroupRange
from dolma_py.input_files import describe_left_out
from dolma_py.listing import Listing, Shard, append_shards
from dolma_py.storage import Attempt, WrittenFile
from dolma_py.views import SIZES, aligned_path
from pipelines.import_attributes import TreeFile, import_attributes
from pipelines.ingest_inputs import (
    MAX_IN_PLACE_BYTES,
    IngestConfig,
    fingerprint_inputs,
    list_inputs,
    plan_units,
    worker_memory_bytes,
)
from pipelines.repeated_ids import rename_repeated_ids
from pipelines.shard_files import SIZES_FINGERPRINT, ShardCounts, add_sizes, text_lengths, write_shard
from pipelines.steps import StepContext, StepResult, Unit, find_worst, finish_attribute_set

logger = logging.getLogger("dolma_py.build")

__all__ = ["VERSION", "IngestConfig", "fingerprint_inputs", "run", "worker_memory_bytes"]
VERSION = 1
CHANGES_NO_BYTE = ("max_rejected_frac",)
RANGES = {"jsonl": LineRange, "parquet": GroupRange}


def run(context: StepContext, ingest: IngestConfig) -> StepResult:
    """Ingest what the corpus does not have yet."""
    corpus = context.corpus
    listing = corpus.read_listing()
    inputs = list_inputs(corpus, ingest)
    if inputs.left_out:
        logger.warning("inputs: %s", describe_left_out(inputs.left_out))
    if inputs.documents:
        logger.warning("inputs: %s", describe_left_out(inputs.documents, WHY_LEFT_OUT))
    units = number_lines(context, plan_units(corpus, ingest, listing, inputs.files))
    remove_unlisted(corpus, listing, context.done("documents"))
    done, times = context.run_units("documents", units, ingest_unit)
    remove_unlisted(corpus, listing, done)
    counts = [done.units[unit.name]["facts"] for unit in units]
    rejected = sum(sum(count["rejected"].values()) for count in counts)
    total = rejected + sum(count["rows"] for count in counts)
    _tell_rejected(context, counts)
    if total and rejected / total > ingest.max_rejected_frac:
        by_input = (item for count in counts for item in count["rejected_by_input"].items())
        raise TooManyRejectedError(
            context.name, rejected, total, ingest.max_rejected_frac, corpus.path("rejected"),
            context.setting_key("max_rejected_frac"), find_worst(by_input),
        )  # fmt: skip
    shards = [_make_shard(len(listing.shards) + index, unit, done.units[unit.name]) for index, unit in enumerate(units)]
    if shards and not any(shard.rows for shard in (*listing.shards, *shards)):
        raise ConfigError("inputs", total, "expected at least one readable record", f"Read {corpus.path('rejected')}.")
    shards = rename_repeated_ids(context, listing, shards)
    finish_attribute_set(corpus, SIZES, SIZES_FINGERPRINT, _sizes_files(corpus, done))
    if shards:
        listing = append_shards(corpus.listing_path, listing, shards)
    files = {shard.path: shard.num_bytes for shard in listing.shards if shard.path.startswith("documents/")}
    trees = {
        (file.source, file.name): TreeFile(file.tree, file.path, file.kind or detect_format(file.path))
        for file in inputs.files
        if file.tree
    }
    sets, read = import_attributes(context, listing, trees, ingest.attributes)
    facts = describe_listing(listing) | ({"attributes": read} if read else {})
    if inputs.left_out:
        facts["left_out"] = inputs.left_out
    if inputs.documents:
        facts["left_out_documents"] = inputs.documents
    return StepResult(attributes=sets, files=files, facts=facts, times=times._asdict())


# one rejected record that may stand for many: what was lost with it nobody can count
LOSES_MORE = ("bad_parquet", "bomb", "corrupt", "trailing_garbage", "truncated", "window_too_large")


def _tell_rejected(context: StepContext, counts: list[dict[str, Any]]) -> None:
    """A line for what this run could not read, and one for the files of which more is lost than that."""
    reasons: Counter[str] = Counter()
    damaged: set[str] = set()
    for count in counts:
        reasons.update(count["rejected"])
        damaged |= {
            name for name, by in count["rejected_by_input"].items() if any(reason in by for reason in LOSES_MORE)
        }
    if reasons:
        said = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
        path = context.corpus.path("rejected")
        logger.warning("inputs: %d records could not be read (%s), see %s", reasons.total(), said, path)
    if damaged:
        shown, more = sorted(damaged)[:5], len(damaged) - 5
        logger.warning(
            "inputs: damaged, more than one record may be lost of: %s%s",
            ", ".join(shown), f" and {more} more" if more > 0 else "",
        )  # fmt: skip


def number_lines(context: StepContext, units: list[Unit]) -> list[Unit]:
    """The units, ranges of lines knowing how many lines of their file stand before them: one quick pass over such files."""
    ranges = [unit for unit in units if _line_range(unit) is not None]
    done, _ = context.run_units("lines", ranges, count_unit)
    newlines: dict[str, int] = {}  # of each file, up to the range that comes next
    numbered = []
    for unit in units:
        part = _line_range(unit)
        if part is not None:
            piece = unit.params["pieces"][0]
            before = newlines.get(piece["path"], 0)
            newlines[piece["path"]] = before + done.units[unit.name]["facts"]["newlines"]
            piece = piece | {"part": list(part._replace(newlines_before=before))}
            unit = unit._replace(params=unit.params | {"pieces": [piece]})
        numbered.append(unit)
    return numbered


def _line_range(unit: Unit) -> LineRange | None:
    piece = unit.params["pieces"][0]
    return LineRange(*piece["part"]) if piece["part"] is not None and piece["kind"] == "jsonl" else None


def count_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the newlines of a range of bytes."""
    piece = params["pieces"][0]
    with storage.open_read(piece["path"]) as stream:
        return [], {"newlines": count_newlines(stream, *piece["part"][:2])}


def remove_unlisted(corpus: Corpus, listing: Listing, done: DoneFile) -> None:
    """Remove what runs that stopped have left: rejected records, and shards that their done file vouches for.

    Kept is what belongs to listed shards and to the units that `done` holds. Under documents/ only files are removed that a
    void line of `done` names: the folder may be somebody's Dolma tree.
    """
    listed = {shard.path for shard in listing.shards}
    kept = {f"rejected/{_rejected_name(aligned_path(shard))}" for shard in listing.shards if shard.rejected}
    kept |= {file["path"] for line in done.units.values() for file in line["files"]}
    for info in storage.list_files(corpus.path("rejected")):
        if info.path.removeprefix(corpus.path("")) not in kept:
            storage.remove_file(info.path)
    for line in read_done_lines(done.path):
        for file in line["files"] if line["fingerprint"] != done.fingerprint else []:
            if file["path"].startswith("documents/") and file["path"] not in kept | listed:
                storage.remove_file(corpus.path(file["path"]))


def _rejected_name(part: str) -> str:
    return part.removesuffix(".parquet") + ".jsonl.gz"


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


def _make_shard(number: int, unit: Unit, line: dict[str, Any]) -> Shard:
    facts, file, kind = line["facts"], line["files"][0], "parquet"
    reading = None
    if "in_place" in unit.params:
        piece = unit.params["pieces"][0]
        file = {"path": piece["path"], "bytes": piece["num_bytes"], "checksum": piece["mark"]}
        kind = piece["kind"]
        if kind == "jsonl":
            reading = describe_reading(*_reading(unit.params, piece))
    inputs = tuple((piece["name"], piece["num_bytes"], piece["mark"]) for piece in unit.params["pieces"])
    groups = tuple((rows, text_bytes) for rows, text_bytes in facts["row_groups"])
    return Shard(
        number,
        file["path"],
        kind,
        unit.params["source"],
        facts["rows"],
        facts["text_bytes"],
        file["bytes"],
        file["checksum"],
        groups,
        inputs,
        tuple(sorted(facts["rejected"].items())),
        reading=reading,
    )


def _sizes_files(corpus: Corpus, done: DoneFile) -> list[dict[str, Any]]:
    """The sizes of shards listed before, and of the new ones."""
    lines = read_done_lines(corpus.path("attributes", SIZES, "_done.jsonl"))
    files = {file["path"]: file for line in lines for file in line["files"]}
    for line in done.units.values():
        files.update((file["path"], file) for file in line["files"] if file["path"].startswith("attributes/"))
    return list(files.values())


class RejectedRecords:
    """Counts rejections and writes them to rejected/<part>.jsonl.gz, a file that begins with the first one."""

    def __init__(self, stack: ExitStack, params: dict[str, Any], attempts: str) -> None:
        self.stack, self.params, self.attempts = stack, params, attempts
        self.counts: dict[str, int] = {}  # by reason
        self.by_input: dict[str, dict[str, int]] = {}  # path of the file that is read -> the same of it alone
        self.attempt: Attempt | None = None
        self.zipped: gzip.GzipFile | None = None

    def add(self, rejection: Rejection, input_path: str) -> None:
        """Write one down, of the file at `input_path`."""
        if self.zipped is None:
            path = f"rejected/{_rejected_name(self.params['part'])}"
            self.attempt = self.stack.enter_context(storage.open_attempt(self.params["root"], self.attempts, path))
            zipped = gzip.GzipFile(fileobj=self.attempt.sink, mode="wb", filename="", mtime=0)  # type: ignore[call-overload]
            self.zipped = self.stack.enter_context(zipped)
        for counts in (self.counts, self.by_input.setdefault(input_path, {})):
            counts[rejection.reason] = counts.get(rejection.reason, 0) + 1
        self.zipped.write(json.dumps(rejection._asdict(), sort_keys=True).encode() + b"\n")

    def written(self) -> list[WrittenFile]:
        """The file, when there is one and the stack is closed."""
        return [] if self.attempt is None else [self.attempt.written(sum(self.counts.values()))]


def ingest_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: read pieces of input files into one shard, or count a file that is read in place."""
    with ExitStack() as stack:
        rejected = RejectedRecords(stack, params, attempts)
        if "in_place" in params:
            files, facts = list_file(params, attempts, rejected)
        else:
            files, facts = write_shard(
                _read_pieces(params, rejected), root=params["root"], attempts=attempts, part=params["part"],
                row_group_text_bytes=params["row_group_text_bytes"],
            )  # fmt: skip
    counts = {"rejected": rejected.counts, "rejected_by_input": rejected.by_input}
    return [*files, *rejected.written()], facts | counts


def list_file(
    params: dict[str, Any], attempts: str, rejected: RejectedRecords
) -> tuple[list[WrittenFile], dict[str, Any]]:
    """The sizes of a file that is read in place; a row group of it is a row group of the attributes."""
    piece = params["pieces"][0]
    counts = ShardCounts()

    def read() -> Iterator[np.ndarray]:
        if piece["kind"] == "parquet":
            yield from read_text_lengths(piece["path"], MAX_IN_PLACE_BYTES)
            return
        batches, text_bytes = [np.empty(0, np.int64)], 0
        for batch in _read_pieces(params, rejected):
            batches.append(text_lengths(batch.column("text")))
            text_bytes += int(batches[-1].sum())
            if text_bytes > MAX_IN_PLACE_BYTES:  # every later job holds the whole file
                problem = f"more than {MAX_IN_PLACE_BYTES} bytes of text in a file that cannot be split"
                raise DataError(piece["path"], problem, hint="Set in_place: false.")
        yield np.concatenate(batches)

    path = f"attributes/{SIZES}/{params['part']}.parquet"
    with storage.open_attempt(params["root"], attempts, path) as attempt:
        with AttributePiece(attempt.sink, SIZES_SCHEMA) as sizes:
            for lengths in read():
                add_sizes(sizes, lengths)
                counts.add(lengths)
        rows = sizes.rows
    return [attempt.written(rows)], counts.facts()


def _reading(params: dict[str, Any], piece: dict[str, Any]) -> tuple[Limits, FieldMap, datetime | None]:
    added = None if params["added"] is None else datetime.fromisoformat(params["added"])
    return Limits.model_validate(params["limits"]), FieldMap.model_validate(piece["fields"]), added


def _read_pieces(params: dict[str, Any], rejected: RejectedRecords) -> Iterator[pa.RecordBatch]:
    for piece in params["pieces"]:
        limits, fields, added = _reading(params, piece)
        part = {} if piece["part"] is None else {"part": RANGES[piece["kind"]](*piece["part"])}
        events = find_reader(piece["path"], piece["kind"])(
            piece["path"], source=params["source"], limits=limits, fields=fields, added=added,
            open_stream=storage.open_read, root=piece["root"], **part,
        )  # fmt: skip
        for event in events:
            if isinstance(event, Rejection):
                rejected.add(event, piece["path"])
            else:
                yield event


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("ingest", argv)


if __name__ == "__main__":
    sys.exit(main())
