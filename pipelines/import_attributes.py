"""Attributes of Dolma trees become attribute sets of the corpus, row-aligned with the documents that ingest has listed.

TREE/documents/<name> and TREE/attributes/<experiment>/<name> belong together, line by line. The attributes of an experiment become
the set dolma-<experiment>-v1 with two columns for each attribute: its spans, and as <column>__score the score of a document-level
one. Shards without such a file get nulls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dolma_py import config, storage, views
from dolma_py.arrow_buffers import view_text
from dolma_py.corpus import AttributePiece, Corpus, read_group
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats import Limits, detect_format
from dolma_py.formats.decompress import find_codec, iterate_members
from dolma_py.formats.dolma_attributes import Row, build_columns, build_schema, name_columns, read_rows
from dolma_py.formats.jsonl import UTF8_BOM, iterate_lines
from dolma_py.listing import Listing, Shard
from dolma_py.storage import HashingWriter, WrittenFile
from pipelines.steps import (
    StepContext,
    Unit,
    finish_attribute_set,
    start_attribute_set,
)

VERSION = 1


class AttributeFile(NamedTuple):
    """One file of an experiment."""

    tree: str
    experiment: str
    name: str  # path below attributes/<experiment>/, and below documents/
    path: str
    num_bytes: int
    mark: str  # fingerprint


class TreeFile(NamedTuple):
    """Where a document file of a tree lies, and what it is."""

    tree: str
    path: str
    kind: str  # format


class SetPlan(NamedTuple):
    """One attribute set to write."""

    name: str
    fingerprint: str
    columns: dict[str, str]  # Dolma's name of an attribute -> column
    files: dict[int, AttributeFile]  # shard -> its file


def is_tree(path: str) -> bool:
    """Whether a folder has Dolma's two: documents and attributes."""
    return all(storage.path_exists(storage.join_path(path, name)) for name in ("documents", "attributes"))


def find_attributes(trees: list[str], experiments: list[str] | None) -> list[AttributeFile]:
    """The JSON attribute files of trees, sorted; of the given experiments or of all.

    Raises ConfigError for an experiment that no tree has.
    """
    found = []
    for tree in trees:
        base = storage.join_path(tree, "attributes")
        for info in storage.list_files(base):
            experiment, _, name = info.path.removeprefix(base.rstrip("/") + "/").partition("/")
            hidden = any(part.startswith((".", "_")) for part in name.split("/"))
            if not name or hidden or detect_format(name) != "jsonl":
                continue
            if experiments is None or experiment in experiments:
                mark = storage.fingerprint_input(info.path, info.num_bytes)
                found.append(AttributeFile(tree, experiment, name, info.path, info.num_bytes, mark))
    missing = sorted(set(experiments or ()) - {file.experiment for file in found})
    if missing:
        raise ConfigError("attributes", missing, f"expected experiments below attributes/ of {trees or 'a Dolma tree'}")
    return found


def import_attributes(
    context: StepContext, listing: Listing, trees: dict[tuple[str, str], TreeFile], experiments: list[str] | None
) -> tuple[dict[str, str], dict[str, Any]]:
    """(set -> fingerprint, facts per set) of all attributes that the trees have about the corpus' shards.

    trees: (source, name) of an input file -> the file.

    Raises
    ------
    DataError       a line that is no record, or that is not about the document in its place; the file and line are named
    """
    files = find_attributes(sorted({file.tree for file in trees.values()}), experiments)
    by_place: dict[tuple[str, str], dict[str, AttributeFile]] = {}
    for file in files:
        by_place.setdefault((file.tree, file.name), {})[file.experiment] = file
    shards: dict[str, dict[int, AttributeFile]] = {file.experiment: {} for file in files}
    documents: dict[int, TreeFile] = {}  # shard -> its document file
    for shard in listing.shards:
        document = trees.get((shard.source, shard.inputs[0][0])) if shard.inputs else None
        if document is None:
            continue
        documents[shard.number] = document
        for experiment, file in by_place.get((document.tree, shard.inputs[0][0]), {}).items():
            shards[experiment][shard.number] = file
    used = sorted({file for found in shards.values() for file in found.values()})
    units = [Unit(f"{file.experiment}/{number:05d}", {"path": file.path}, 0) for number, file in enumerate(used)]
    done, _ = context.run_units("attribute-names", units, list_names)
    names: dict[str, set[str]] = {experiment: set() for experiment in shards}
    for unit, file in zip(units, used, strict=True):
        names[file.experiment].update(done.units[unit.name]["facts"]["names"])
    plans = []
    for experiment, found in sorted(shards.items()):
        columns = name_columns(names[experiment], experiment)
        marks = [[number, file.mark] for number, file in sorted(found.items())]
        mark = config.fingerprint(VERSION, experiment, listing.fingerprint, marks, columns)
        plans.append(SetPlan(f"dolma-{storage.safe_name(experiment)}-v{VERSION}", mark, columns, found))
    facts = _write_sets(context, listing, plans, documents)
    for plan, experiment in zip(plans, sorted(shards), strict=True):
        unused = [file for file in files if file.experiment == experiment and file not in plan.files.values()]
        facts[plan.name] |= {"columns": plan.columns, "files_without_documents": len(unused)}
    return {plan.name: plan.fingerprint for plan in plans}, facts


def list_names(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the names of all attributes in a file."""
    names: set[str] = set()
    for row in read_rows(params["path"], Limits(), storage.open_read):
        names.update(row.attributes)
    return [], {"names": sorted(names)}


def _write_sets(
    context: StepContext, listing: Listing, plans: list[SetPlan], documents: dict[int, TreeFile]
) -> dict[str, dict[str, Any]]:
    """Write all sets in one phase; what their files held, by set."""
    units: dict[str, list[Unit]] = {}
    for plan in plans:
        units[plan.name] = []
        for shard in listing.shards:
            path = plan.files[shard.number].path if shard.number in plan.files else None
            params = {
                "root": context.corpus.root,
                "shard": shard.number,
                "set": plan.name,
                "columns": plan.columns,
                "path": path,
                "document": None if path is None else list(documents[shard.number]),
            }
            units[plan.name].append(Unit(f"{plan.name}/shard-{shard.number:05d}", params, shard.text_bytes))
        start_attribute_set(context.corpus, plan.name, plan.fingerprint)
    done, _ = context.run_units("attributes", [unit for own in units.values() for unit in own], write_unit)
    facts = {}
    for plan in plans:
        lines = [done.units[unit.name] for unit in units[plan.name]]
        finish_attribute_set(context.corpus, plan.name, plan.fingerprint, [line["files"][0] for line in lines])
        facts[plan.name] = {key: sum(line["facts"][key] for line in lines) for key in ("documents", "clipped_spans")}
    return facts


def write_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the attributes of one shard."""
    corpus = Corpus(params["root"])
    shard = corpus.read_listing().shards[params["shard"]]
    facts = {"documents": 0, "clipped_spans": 0}

    def write(sink: HashingWriter) -> int:
        with AttributePiece(sink, build_schema(params["columns"])) as piece:
            _add_groups(piece, corpus, shard, params, facts)
        return piece.rows

    path = views.attribute_path(params["set"], shard)
    return [storage.write_attempt(corpus.root, attempts, path, write)], facts


def _add_groups(
    piece: AttributePiece, corpus: Corpus, shard: Shard, params: dict[str, Any], facts: dict[str, int]
) -> None:
    """All row groups of a shard; nulls when there is no file about it."""
    path, columns = params["path"], params["columns"]
    if path is None:
        for num_rows, _ in shard.row_groups:
            piece.add(pa.Table.from_pylist([{}] * num_rows, piece.schema))
        return
    rows = _aligned_rows(corpus, shard, path, TreeFile(*params["document"]))
    for group, (num_rows, _) in enumerate(shard.row_groups):
        table = read_group(corpus, shard, group, ["id", "text"]).combine_chunks()
        taken: list[Row | None] = [_match_row(next(rows, None), name, path) for name in table.column("id").to_pylist()]
        made, clipped = build_columns(path, taken, columns, view_text(table.column("text")))
        piece.add(pa.Table.from_batches([made]))
        facts["documents"] += num_rows
        facts["clipped_spans"] += clipped
    surplus = next(rows, None)
    if surplus is not None:
        problem = f"goes on behind the last of {shard.rows} documents of {shard.inputs[0][0]}"
        raise DataError(path, problem, surplus.line, _HINT)


_HINT = "Make the attributes again for these documents, or leave them out with `attributes`."


def _match_row(row: Row | None, document_id: str, path: str) -> Row:
    """The row, when it is about the document: its id, or the one that ingest made unique with #n."""
    if row is None:
        raise DataError(path, f"ends before document {document_id!r}", hint=_HINT)
    base, sign, number = document_id.rpartition("#")
    if row.id is not None and row.id != document_id and not (sign and number.isdigit() and row.id == base):
        raise DataError(path, f"is about document {row.id!r}, expected {document_id!r}", row.line, _HINT)
    return row


def _aligned_rows(corpus: Corpus, shard: Shard, path: str, document: TreeFile) -> Iterator[Row]:
    """The rows of an attribute file without those whose document could not be read."""
    rejected = _rejected_records(corpus, shard, document) if shard.rejected else set()
    for number, row in enumerate(read_rows(path, Limits(), storage.open_read), 1):
        if number not in rejected:
            yield row


def _rejected_records(corpus: Corpus, shard: Shard, document: TreeFile) -> set[int]:
    """Which records of the document file, counted from 1, became no document.

    rejected/ names lines. Blank lines are no records, in document files and attribute files alike, so the document file is read
    again for those that stand before a rejected one.
    """
    path = corpus.path("rejected", views.aligned_path(shard).removesuffix(".parquet") + ".jsonl.gz")
    lines = sorted({json.loads(line)["line"] for _, line in _iterate_plain(path) if line})
    if document.kind != "jsonl":
        return set(lines)
    blank = np.fromiter((number for number, line in _iterate_plain(document.path) if _is_blank(number, line)), np.int64)
    return set((np.array(lines, np.int64) - np.searchsorted(blank, lines)).tolist())


def _iterate_plain(path: str) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of the lines of a plain or compressed file, up to where it breaks."""
    limits = Limits()
    with storage.open_read(path) as stream:
        for block in iterate_lines(iterate_members(stream, find_codec(path), limits=limits), limits.max_record_bytes):
            yield from enumerate(block.lines, block.first_line)


def _is_blank(number: int, line: bytes) -> bool:
    """Whether the JSON Lines reader steps over a line: white space alone, behind the byte order mark of the first."""
    return not (line.removeprefix(UTF8_BOM) if number == 1 else line).strip()
