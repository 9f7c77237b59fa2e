"""Which files an ingest reads, and how they are cut and packed into units of work, each of which becomes one shard.

Small files of a source are packed together, in order, until a unit has about unit_bytes. A plain JSONL file of two units or more
is cut at record borders into ranges of bytes, a Parquet file between its row groups; every range is a unit. gzip and zstd
streams, text, HTML, WARC, PDF and dumps cannot be cut: one task reads such a file, in memory bounded by the limits. However files are cut,
documents, their order and the line and row numbers in metadata and in rejected/ are those of the whole file.
A document file of a Dolma tree is one shard, for its attributes are one file too.
Files to be read in place of which a later job would hold too much are copied: JSON lines by their size on disk, Parquet by its footer,
and by the task that reads the text (pipelines.ingest_tasks) what only the text tells.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import Field, field_validator

from dolma_py import config, storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, name_known
from dolma_py.formats import READERS, FieldMap, Limits, detect_format, json_documents
from dolma_py.formats.arxiv import ArxivConfig
from dolma_py.formats.decompress import find_codec, strip_codec
from dolma_py.formats.dispatch import explain_unread
from dolma_py.formats.html_extractors import HtmlConfig
from dolma_py.formats.in_place import check_parquet
from dolma_py.formats.jsonl import LineRange, cut_bytes
from dolma_py.formats.parquet import GroupRange, cut_groups
from dolma_py.formats.pdf import PdfConfig
from dolma_py.formats.repository import RepositoryConfig
from dolma_py.formats.wikipedia import WikipediaConfig
from dolma_py.input_files import SHOWN_NAMES, find_root, take_underscored
from dolma_py.listing import Listing
from dolma_py.text_sizes import estimate_text_bytes
from pipelines import pdf_costs
from pipelines.import_attributes import find_attributes, is_tree
from pipelines.ingest_tasks import KIND_SETTINGS
from pipelines.steps import Rule, Unit, expand_inputs

logger = logging.getLogger("dolma_py.build")

MAX_IN_PLACE_BYTES = 256 << 20  # text of a file of JSON lines, or of a Parquet row group: one task holds it
IN_PLACE_FIELDS = FieldMap(
    source="source"
)  # what stands in place is read by its own columns, each row's source included
# endings of what holds many records, or none, but is no text to read as one document
NOT_TEXT = frozenset(
    (
        ".csv",
        ".tsv",
        ".xml",
        ".zip",
        ".tar",
        ".tgz",
        ".rar",
        ".bz2",
        ".docx",
        ".xlsx",
        ".pptx",
        ".epub",
        ".sqlite",
        ".db",
    )
)
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
    kind: str = Field(
        default="",
        description="jsonl, parquet, text, html, warc (and WET), pdf, wikipedia, repository or arxiv; empty: by each file's name",
    )
    fields: FieldMap = Field(default_factory=FieldMap, description="where id, text and the rest stand in a record")
    html: HtmlConfig = Field(default_factory=HtmlConfig, description="how pages are read, in WARC archives too")
    pdf: PdfConfig = Field(default_factory=PdfConfig, description="how PDFs are read")
    wikipedia: WikipediaConfig = Field(default_factory=WikipediaConfig, description="how MediaWiki dumps are read")
    repository: RepositoryConfig = Field(default_factory=RepositoryConfig, description="how source code is read")
    arxiv: ArxivConfig = Field(default_factory=ArxivConfig, description="how sources of papers are read")
    in_place: bool = Field(
        default=False,
        description="list the files where they are, Dolma JSONL or Parquet with our columns; only files of which more than 256 MiB of text "
        "cannot be split (JSONL as a whole, a row group) are copied, as Parquet",
    )

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind and kind not in READERS:
            raise ValueError(f"no such kind. {name_known(kind, READERS)}")
        return kind


class IngestConfig(Config):
    """What is read and when reading is stopped."""

    sources: list[SourceConfig] = Field(min_length=1, description="each with its own folder under documents/")
    unit_bytes: int = Field(
        default=64 << 20,
        ge=1,
        description="input files are packed, and large plain JSONL and Parquet files cut, into shards of about this many bytes on disk",
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
    attributes: list[str] | None = Field(
        default=None, description="experiments of Dolma trees whose attributes are read; null: all there are"
    )
    rules: list[Rule] = Field(default_factory=list, description="over the attributes of Dolma trees, for the view")
    keep_view: bool = Field(
        default=False,
        description="the step before's view goes on, with all new documents in it; its rules must name their sources",
    )


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
    tree: str = ""  # the Dolma tree whose documents/ it lies in
    is_copied: bool = False  # in spite of in_place
    settings: Config | None = None  # of its kind


class Inputs(NamedTuple):
    """What the settings name, by the rule of dolma_py.input_files."""

    files: list[InputFile]  # by source and name
    left_out: list[str]  # names below their inputs' roots
    documents: list[str]  # names of .json files that hold no record a line


def list_inputs(corpus: Corpus, ingest: IngestConfig) -> Inputs:
    """All input files in order of source and name, each once.

    Raises ConfigError when two files have one name in one source: the corpus could not tell them apart later; and for a JSON document
    that was given by its own name, or beside which nothing is left of a pattern; and for a name of which no reader reads anything.
    """
    known = {(shard.source, name) for shard in corpus.read_listing().shards for name, _, _ in shard.inputs}
    found: dict[tuple[str, str], InputFile] = {}
    left_out: set[str] = set()
    documents: set[tuple[str, str]] = set()
    for number, source in enumerate(ingest.sources):
        for pattern in source.inputs:
            hidden, own = _match_pattern(corpus, source, pattern, f"sources.{number}.inputs")
            left_out |= hidden
            unclear = [file for key, file in own.items() if key not in known]  # what was read before holds records
            _refuse_unread(unclear)
            others = json_documents.find_json_documents([file.path for file in unclear if not file.kind])
            given = pattern.replace("{corpus}", corpus.root)
            json_documents.check_left({file.path for file in own.values()}, others, key="inputs", pattern=given)
            for key, file in own.items():
                if file.path in others:
                    documents.add(key)
                elif found.setdefault(key, file).path != file.path:
                    hint = "Give them different sources, or one input folder above both."
                    raise ConfigError(
                        "inputs", file.path, f"has the name of {found[key].path} in source {key[0]}", hint
                    )
    files = [found[key] for key in sorted(found)]
    with ThreadPoolExecutor(storage.REQUESTS_AT_ONCE) as pool:
        marks = pool.map(lambda file: storage.fingerprint_input(file.path, file.num_bytes), files)
        files = [file._replace(mark=mark) for file, mark in zip(files, marks, strict=True)]
    return Inputs(files, sorted(left_out), [name for source, name in sorted(documents - set(found))])


def _match_pattern(
    corpus: Corpus, source: SourceConfig, pattern: str, key: str
) -> tuple[set[str], dict[tuple[str, str], InputFile]]:
    """(names left out, the files by source and name) of one pattern."""
    path = storage.resolve_path(pattern.replace("{corpus}", corpus.root))
    root = find_root(path)
    tree = root if root == path and is_tree(root) else ""
    if tree:
        root = pattern = storage.join_path(tree, "documents")
    matches = expand_inputs([pattern], corpus=corpus, key=key)
    if source.kind == "repository":
        matches = take_underscored(matches)
    _refuse_trees([folder for folder in matches.folders if folder != root])
    own: dict[tuple[str, str], InputFile] = {}
    for info in matches.files:
        name = info.path.removeprefix(root.rstrip("/") + "/")
        key = (source.name or _guess_source(name, tree or root), name)
        own[key] = InputFile(
            key[0], info.path, name, info.num_bytes, source.kind, root, source.fields, "", source.in_place, tree,
            settings=_find_settings(source, info.path, corpus),
        )  # fmt: skip
    return {path.removeprefix(root.rstrip("/") + "/") for path in matches.left_out}, own


def _find_settings(source: SourceConfig, path: str, corpus: Corpus) -> Config | None:
    """What the source says of files of this kind alone."""
    kind = source.kind or detect_format(path)
    groups = {field.annotation: name for name, field in SourceConfig.model_fields.items()}
    settings: Config | None = getattr(source, groups[KIND_SETTINGS[kind]]) if kind in KIND_SETTINGS else None
    return settings.place(corpus.root) if isinstance(settings, PdfConfig) else settings


def _refuse_unread(files: list[InputFile]) -> None:
    """Raise ConfigError for a file whose name says that no reader reads it."""
    for file in files:
        unread = explain_unread(file.path, file.kind)
        if unread:
            hint = f"{unread[1]}, or leave it out: a pattern such as 'folder/*.jsonl.gz' takes what it names alone."
            raise ConfigError("inputs", file.path, f"expected a file that is read, this is {unread[0]}", hint)


def _refuse_trees(folders: list[str]) -> None:
    """Raise ConfigError for a Dolma tree behind a wildcard: its attributes would be read as documents."""
    for folder in folders:
        if is_tree(folder):
            raise ConfigError(
                "inputs", folder, "a Dolma tree is named without wildcards", "Give each tree by its name."
            )


def _guess_source(name: str, root: str) -> str:
    if name.lower().endswith(CODE_SUFFIXES):
        return "code"
    first = name.split("/")[0] if "/" in name else posixpath.basename(root.rstrip("/")) or "input"
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in first.lower())


def fingerprint_inputs(corpus: Corpus, ingest: IngestConfig) -> str:
    """Of all input files, attributes of Dolma trees included, and of the names left out: a new one makes the step run again."""
    inputs = list_inputs(corpus, ingest)
    found = find_attributes(sorted({file.tree for file in inputs.files if file.tree}), ingest.attributes)
    marks = [[file.tree, file.experiment, file.name, file.num_bytes, file.mark] for file in found]
    files = [[file.source, file.name, file.num_bytes, file.mark] for file in inputs.files]
    return config.fingerprint(files, marks, inputs.left_out, inputs.documents)


class Piece(NamedTuple):
    """What a unit reads of a file: all of it, or a range."""

    file: InputFile
    num_bytes: int  # of the file on disk; a file's pieces add up to it
    part: LineRange | GroupRange | None = None


def cut_file(file: InputFile, unit_bytes: int) -> list[Piece]:
    """The pieces of a file, in order; one where it is smaller than two units or cannot be cut. Reads a footer at most."""
    if file.in_place or file.tree or file.num_bytes < 2 * unit_bytes:
        return [Piece(file, file.num_bytes)]
    kind = file.kind or detect_format(file.path)
    pieces: list[Piece] = []
    if kind == "jsonl" and not find_codec(file.path):
        ranges = cut_bytes(file.num_bytes, unit_bytes)
        pieces = [Piece(file, end - start, LineRange(start, end, 0)) for start, end in ranges]
    elif kind == "parquet":
        parts = cut_groups(file.path, file.num_bytes, unit_bytes, storage.open_read)
        pieces = [Piece(file, num_bytes, part) for part, num_bytes in parts]
    return pieces if len(pieces) > 1 else [Piece(file, file.num_bytes)]


def pack_pieces(files: list[InputFile], unit_bytes: int) -> Iterator[list[Piece]]:
    """The units of one source's files: consecutive small ones together, pieces of a cut file and files in place alone."""
    pack: list[Piece] = []
    packed_bytes = 0
    for file in files:
        pieces = cut_file(file, unit_bytes)
        is_alone = file.in_place or file.tree or len(pieces) > 1  # a tree has one attribute file per document file
        if pack and (is_alone or packed_bytes >= unit_bytes):
            yield pack
            pack, packed_bytes = [], 0
        if is_alone:
            yield from ([piece] for piece in pieces)
        else:
            pack.extend(pieces)
            packed_bytes += file.num_bytes
    if pack:
        yield pack


def plan_units(corpus: Corpus, ingest: IngestConfig, listing: Listing, files: list[InputFile]) -> list[Unit]:
    """The units of those files that the listing does not have; a line says how many it has. Names follow those already listed.

    A file is known by its name below its input, its size and a fingerprint: where it lay is no part of a corpus, which may move.

    Raises ConfigError for a file that differs from the one of that name in the listing.
    """
    known = {(shard.source, name): mark for shard in listing.shards for name, _, mark in shard.inputs}
    new: dict[str, list[InputFile]] = {}
    for file in files:
        mark = known.get((file.source, file.name))
        if mark is not None and mark != file.mark:
            raise ConfigError(
                "inputs",
                file.path,
                f"source {file.source} of the corpus has another file {file.name}",
                "If it is not the same file: give the folder above both, or make it another source. If it was changed: a corpus "
                "is append-only, make a new one.",
            )
        if mark is None:
            new.setdefault(file.source, []).append(file)
    known_files = len(files) - sum(map(len, new.values()))
    if known_files:
        logger.warning(
            "inputs: %s of %s files not read again: the corpus has files of that source, name (below --input) and content",
            known_files, len(files),
        )  # fmt: skip
    tell_taken_as_text(sorted({file.name for own in new.values() for file in own if not file.kind}))
    units: list[Unit] = []
    for source, own in new.items():
        first = sum(shard.source == source for shard in listing.shards)
        for number, pieces in enumerate(pack_pieces(copy_large(own), ingest.unit_bytes), first):
            units.append(
                _make_unit(corpus, ingest, pieces, f"{source}/part-{number:05d}", len(listing.shards) + len(units))
            )
    return units


def _make_unit(corpus: Corpus, ingest: IngestConfig, pieces: list[Piece], part: str, shard: int) -> Unit:
    source = pieces[0].file.source
    params = {
        "root": corpus.root, "source": source, "part": part, "pieces": [dump_piece(piece) for piece in pieces],
        "added": None if ingest.added is None else ingest.added.isoformat(), "limits": config.dump_config(ingest.limits),
        "row_group_text_bytes": ingest.row_group_text_bytes,
    }  # fmt: skip
    if pieces[0].file.in_place:
        check_in_place(pieces[0].file)
        params |= {
            "part": f"{source}/in-place-{shard:05d}",
            "in_place": True,
            "max_text_bytes": MAX_IN_PLACE_BYTES,
        }
    return Unit(part, params, sum(piece.num_bytes for piece in pieces))


def dump_piece(piece: Piece) -> dict[str, Any]:
    """JSON values of a piece for its task."""
    file = piece.file
    values = {
        "path": file.path, "name": file.name, "num_bytes": piece.num_bytes, "mark": file.mark, "root": file.root,
        "kind": file.kind or detect_format(file.path), "fields": config.dump_config(file.fields),
        "part": None if piece.part is None else list(piece.part), "copied": file.is_copied,
    }  # fmt: skip
    return values if file.settings is None else values | {"settings": config.dump_config(file.settings)}


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
    if file.fields != FieldMap() and kind == "jsonl":
        raise ConfigError("in_place", file.path, "expected Dolma's own field names", "Set in_place: false.")


def copy_large(files: list[InputFile]) -> list[InputFile]:
    """The same files, those in place of which a task would hold too much to be copied; of Parquet the footers are read.

    Raises SchemaError or DataError for Parquet in place that has other columns than ours, or is none.
    """
    found = []
    for file in files:
        kind = file.kind or detect_format(file.path) if file.in_place else ""
        held_bytes = 0
        if kind == "jsonl":
            held_bytes = file.num_bytes
        elif kind == "parquet":
            held_bytes = check_parquet(file.path)
            file = file._replace(fields=IN_PLACE_FIELDS)
        is_large = held_bytes > MAX_IN_PLACE_BYTES
        found.append(file._replace(in_place=file.in_place and not is_large, is_copied=is_large))
    return found


def tell_taken_as_text(names: list[str]) -> None:
    """A line about files that are read as plain text, each as one document, though their names say that they are something else."""
    found = [
        name for name in names if posixpath.splitext(strip_codec(name))[1] in NOT_TEXT and detect_format(name) == "text"
    ]
    if found:
        logger.warning(
            "inputs: %s files read as plain text, each as one document, though their names say otherwise: %s. Convert them "
            "to JSON Lines or Parquet, or name the kind of the source.",
            len(found), ", ".join(found[:SHOWN_NAMES]) + (" and more" if len(found) > SHOWN_NAMES else ""),
        )  # fmt: skip


def tell_copied(paths: Iterable[str]) -> None:
    """A line about the files that are copied in spite of in_place, if there are any."""
    copied = set(paths)
    if copied:
        logger.warning(
            "inputs: %s files copied in spite of in_place, for more than %s MiB in each cannot be split: %s",
            len(copied), MAX_IN_PLACE_BYTES >> 20, min(copied),
        )  # fmt: skip


def worker_memory_bytes(ingest: IngestConfig, text_bytes: int) -> int:
    """Text that a task holds at once: a batch, a row group and a longest record, each about six times.

    Six: the line, its JSON, Python strings of up to four bytes a character, Arrow's copy. Nothing grows with a file's size. PDFs that a
    model reads are held files_at_once at a time. For a source of kind pdf the process that parses is added.
    """
    limits = ingest.limits
    asking = [source.pdf for source in ingest.sources if source.pdf.endpoint is not None]
    parsing = [source.pdf for source in ingest.sources if source.kind == "pdf"] + asking
    record_bytes = limits.max_record_bytes * max((pdf.files_at_once for pdf in asking), default=1)
    held_bytes = limits.batch_text_bytes + ingest.row_group_text_bytes + record_bytes
    return 6 * held_bytes + max((pdf.max_memory_bytes for pdf in parsing), default=0)


class NewInputs(NamedTuple):
    """What an ingest would read that the corpus does not have."""

    text_bytes: int  # about
    rows: list[
        dict[str, Any]
    ]  # per source: files, their bytes, shards to be made, how many of them in place unless their text is too much
    left_out: list[str]
    documents: list[str]  # left out too: JSON documents


def describe_inputs(corpus: Corpus, ingest: IngestConfig) -> NewInputs:
    """The files that are new to the corpus; of Parquet the footers are read."""
    rows: dict[str, dict[str, Any]] = {}
    whole: dict[tuple[str, str], dict[str, Any]] = {}  # (source, name) -> a piece of the file, as if it were all of it
    inputs = list_inputs(corpus, ingest)
    units = plan_units(corpus, ingest, corpus.read_listing(), inputs.files)
    tell_copied(piece["path"] for unit in units for piece in unit.params["pieces"] if piece["copied"])
    for line in pdf_costs.describe_requests((p for unit in units for p in unit.params["pieces"]), ingest.limits):
        logger.warning("inputs: %s", line)
    for unit in units:
        source = unit.params["source"]
        row = rows.setdefault(source, {"source": source, "files": 0, "shards": 0, "bytes": 0, "in_place": 0})
        row["shards"] += 1
        row["in_place"] += "in_place" in unit.params
        for piece in unit.params["pieces"]:
            row["bytes"] += piece["num_bytes"]
            before = whole.get((source, piece["name"]))
            row["files"] += before is None
            whole[source, piece["name"]] = piece | {
                "num_bytes": piece["num_bytes"] + (before or {"num_bytes": 0})["num_bytes"]
            }

    def estimate(file: dict[str, Any]) -> int:
        messages = file["fields"]["messages"]
        column = f"{messages}.list.element.content" if messages else file["fields"]["text"]
        return estimate_text_bytes(file["path"], file["num_bytes"], kind=file["kind"], text_column=column)

    with ThreadPoolExecutor(storage.REQUESTS_AT_ONCE) as pool:
        return NewInputs(
            sum(pool.map(estimate, whole.values())), list(rows.values()), inputs.left_out, inputs.documents
        )
