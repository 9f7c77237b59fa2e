"""Read the user's files into a corpus: JSONL (plain, gz, zst), Parquet, text, HTML, WARC and dumps.

Writes documents/<source>/part-NNNNN.parquet, attributes/sizes-v1/, rejected/<source>/ and new lines of the listing.
Records read = rows + rejected + skipped (what a reader's settings pass over, such as redirects of a wiki), checked; files that were
ingested before are left alone, new ones get new numbers.
rejected/ holds what the listed shards and the last run could not read, nothing older: a run that stops with too many rejected
records leaves its own there to be looked at, the next run replaces or removes them.
Of a Dolma tree the documents are read, and its attributes become row-aligned sets: see pipelines/import_attributes.py.

    spark-submit pipelines/ingest_documents.py --config ingest.yaml
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import Any

from dolma_py import storage
from dolma_py.corpus import Corpus
from dolma_py.done import DoneFile, read_done_lines
from dolma_py.errors import ConfigError, TooManyRejectedError
from dolma_py.formats import detect_format
from dolma_py.formats.in_place import describe_reading
from dolma_py.formats.json_documents import WHY_LEFT_OUT
from dolma_py.formats.jsonl import LineRange
from dolma_py.input_files import describe_left_out
from dolma_py.listing import Listing, Shard, append_shards
from dolma_py.views import SIZES, aligned_path
from pipelines.import_attributes import TreeFile, import_attributes
from pipelines.ingest_inputs import (
    IngestConfig,
    fingerprint_inputs,
    list_inputs,
    plan_units,
    tell_copied,
    worker_memory_bytes,
)
from pipelines.ingest_tasks import count_unit, ingest_unit, load_reading, name_rejected
from pipelines.repeated_ids import rename_repeated_ids
from pipelines.shard_files import SIZES_FINGERPRINT
from pipelines.steps import StepContext, StepResult, Unit, find_worst, finish_attribute_set

logger = logging.getLogger("dolma_py.build")

__all__ = ["VERSION", "IngestConfig", "fingerprint_inputs", "run", "worker_memory_bytes"]
VERSION = 2
CHANGES_NO_BYTE = ("max_rejected_frac",)


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
    tell_copied(
        piece["path"]
        for unit, count in zip(units, counts, strict=True)
        for piece in unit.params["pieces"]
        if piece["copied"] or "copied" in count
    )
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
LOSES_MORE = ("bad_parquet", "bomb", "corrupt", "too_many_files", "trailing_garbage", "truncated", "window_too_large")


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


def remove_unlisted(corpus: Corpus, listing: Listing, done: DoneFile) -> None:
    """Remove what runs that stopped have left: rejected records, and shards that their done file vouches for.

    Kept is what belongs to listed shards and to the units that `done` holds. Under documents/ only files are removed that a
    void line of `done` names: the folder may be somebody's Dolma tree.
    """
    listed = {shard.path for shard in listing.shards}
    kept = {f"rejected/{name_rejected(aligned_path(shard))}" for shard in listing.shards if shard.rejected}
    kept |= {file["path"] for line in done.units.values() for file in line["files"]}
    for info in storage.list_files(corpus.path("rejected")):
        if info.path.removeprefix(corpus.path("")) not in kept:
            storage.remove_file(info.path)
    for line in read_done_lines(done.path):
        for file in line["files"] if line["fingerprint"] != done.fingerprint else []:
            if file["path"].startswith("documents/") and file["path"] not in kept | listed:
                storage.remove_file(corpus.path(file["path"]))


def describe_listing(listing: Listing) -> dict[str, Any]:
    """What the corpus holds and what could not be read, whichever runs of ingest brought it."""
    rejected: dict[str, dict[str, int]] = {}
    skipped: dict[str, dict[str, int]] = {}
    for shard in listing.shards:
        for counts, found in ((rejected, shard.rejected), (skipped, shard.skipped)):
            for reason, count in found:
                mine = counts.setdefault(shard.source, {})
                mine[reason] = mine.get(reason, 0) + count
    return {
        "listing": listing.fingerprint, "shards": len(listing.shards), "documents": listing.rows, "text_bytes": listing.text_bytes,
        "input_bytes": sum(size for shard in listing.shards for _, size, _ in shard.inputs), "rejected": rejected,
        "repeated_ids": sum(shard.renamed for shard in listing.shards), **({"skipped": skipped} if skipped else {}),
    }  # fmt: skip


def _make_shard(number: int, unit: Unit, line: dict[str, Any]) -> Shard:
    facts, file, kind = line["facts"], line["files"][0], "parquet"
    reading = None
    if "in_place" in unit.params and "copied" not in facts:
        piece = unit.params["pieces"][0]
        file = {"path": piece["path"], "bytes": piece["num_bytes"], "checksum": piece["mark"]}
        kind = piece["kind"]
        if kind == "jsonl":
            reading = describe_reading(*load_reading(unit.params, piece))
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
        skipped=tuple(sorted(facts.get("skipped", {}).items())),
    )


def _sizes_files(corpus: Corpus, done: DoneFile) -> list[dict[str, Any]]:
    """The sizes of shards listed before, and of the new ones."""
    lines = read_done_lines(corpus.path("attributes", SIZES, "_done.jsonl"))
    files = {file["path"]: file for line in lines for file in line["files"]}
    for line in done.units.values():
        files.update((file["path"], file) for file in line["files"] if file["path"].startswith("attributes/"))
    return list(files.values())


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("ingest", argv)


if __name__ == "__main__":
    sys.exit(main())
