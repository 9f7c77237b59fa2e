"""Papers of arXiv from their LaTeX sources: the tar files of arXiv's bulk data, or single papers; one document a paper."""

from __future__ import annotations

import datetime as dt
import io
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import pyarrow as pa
from pydantic import Field

from dolma_py.config import Config
from dolma_py.formats.archives import iterate_archive
from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import GZIP_MAGIC, Break, iterate_members
from dolma_py.formats.fields import FieldMap, Record
from dolma_py.formats.latex import TooLargeError, clean_paper
from dolma_py.formats.limits import Limits, Rejection, Skipped, make_relative
from dolma_py.formats.tar_framing import BLOCK, Entry, is_tar_header, iterate_tar
from dolma_py.formats.text_encoding import decode_text

NEW_ID = re.compile(r"(\d{2})(\d{2})\.(\d{4,5})(v\d{1,3})?$")
OLD_ID = re.compile(r"([a-z-]{2,20}(?:\.[A-Z]{2})?)[/_]?(\d{2})(\d{2})(\d{3})(v\d{1,3})?$")
SOURCE_ENDS = (".tex", ".ltx", ".latex")
FOREIGN = (
    (b"%PDF", "pdf"),
    (b"%!PS", "postscript"),
    (b"PK\x03\x04", "office"),
    (b"<!DOCTYPE", "html"),
    (b"<html", "html"),
)
FIRST_YEAR = 91  # of the century before


class ArxivConfig(Config):
    """How sources of papers are read."""

    appendix: bool = Field(default=False, description="keep appendices; RedPajama's cleaner cuts them")
    abstract: bool = Field(
        default=False, description="begin with the abstract; RedPajama's cleaner begins with the first section"
    )
    max_paper_bytes: int = Field(
        default=64 << 20, ge=1, description="bytes of one paper's compressed sources, figures included"
    )
    max_source_bytes: int = Field(
        default=16 << 20, ge=1, description="bytes of a paper's LaTeX, before and after its files are put together"
    )


def read_documents(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
    settings: ArxivConfig | None = None,
) -> Iterator[pa.RecordBatch | Rejection | Skipped]:
    """Batches and rejections of one file, then how many of its papers were passed over and why.

    The file is a tar of papers (`arXiv_src_2301_001.tar` with `2301/2301.00001.gz` in it), or one paper, `.gz` of a tar or of one .tex
    file, `.tar`, or `.tex`. The id is arXiv's, by the file's name, else made; `created` the first day of the month that it names.
    metadata: arxiv_id, version, url, title, main (names of files), path. Skipped: pdf, postscript, html, office, withdrawn, no_tex (no
    LaTeX among the files), empty. Reasons: too_long, too_large (files that include each other, macros that grow), binary, and those
    of archives and compressed streams. `line` counts entries.
    """
    settings = settings or ArxivConfig()
    builder = BatchBuilder(make_relative(path, root), source=source, added=added, limits=limits)
    reader = _PaperReader(builder, settings)
    with open_stream(path) as stream:
        for entry in _iterate_papers(stream, path, builder.path, limits, settings):
            reader.take(entry)
            if builder.is_full:
                yield from builder.drain()
    yield from builder.drain()
    for reason, count in sorted(reader.skipped.items()):
        yield Skipped(builder.path, reason, count)


def _iterate_papers(stream: BinaryIO, path: str, name: str, limits: Limits, settings: ArxivConfig) -> Iterator[Entry]:
    """The papers of a bulk file, or the one paper that the file is."""
    max_bytes = min(settings.max_paper_bytes, limits.max_record_bytes)
    if path.lower().endswith(".tar") and find_id(posixpath.basename(path)) is None:
        yield from iterate_archive(stream, path, limits, max_bytes)
        return
    data = stream.read(max_bytes + 1)
    is_long = len(data) > max_bytes
    yield Entry(1, 0, name, "file", b"" if is_long else data, is_long)


class ArxivId(NamedTuple):
    """An id with its month."""

    text: str  # 2301.00001 or cond-mat/0001001
    version: str
    month: dt.datetime


def find_id(name: str) -> ArxivId | None:
    """The id in a file's base name; None when it is none.

    >>> find_id("2301.00001v2.gz").text, find_id("cond-mat0001001.gz").text, find_id("main.tex")
    ('2301.00001', 'cond-mat/0001001', None)
    """
    stem = re.sub(r"(\.(gz|tar|tgz|tex|pdf))+$", "", name, flags=re.IGNORECASE)
    new, old = NEW_ID.fullmatch(stem), OLD_ID.fullmatch(stem)
    if new:
        year, month, text, version = new[1], new[2], f"{new[1]}{new[2]}.{new[3]}", new[4]
    elif old:
        year, month, text, version = old[2], old[3], f"{old[1]}/{old[2]}{old[3]}{old[4]}", old[5]
    else:
        return None
    if not 1 <= int(month) <= 12:
        return None
    century = 1900 if int(year) >= FIRST_YEAR else 2000
    return ArxivId(text, version or "", dt.datetime(century + int(year), int(month), 1, tzinfo=dt.UTC))


class _PaperReader:
    def __init__(self, builder: BatchBuilder, settings: ArxivConfig) -> None:
        self.builder, self.settings = builder, settings
        self.skipped: Counter[str] = Counter()

    def take(self, entry: Entry) -> None:
        """Add one paper, reject it or count it as passed over."""
        if entry.kind == "folder":
            return
        if entry.kind != "file":
            self.skipped[entry.kind] += 1
            return
        reason = entry.reason or ("too_long" if entry.is_long else "")
        if not reason:
            why, reason = self._add(entry)
            if why:
                self.skipped[why] += 1
        if reason:
            self.builder.reject(
                reason, entry.data or entry.name.encode(), line=entry.number, offset_bytes=entry.offset_bytes
            )

    def _add(self, entry: Entry) -> tuple[str, str]:
        """(why it is passed over, reason of its rejection); both "" when it was added."""
        foreign = find_foreign(entry.data)
        if foreign or entry.name.lower().endswith(".pdf"):
            return foreign or "pdf", ""
        files, why, reason = read_sources(entry, self.builder.limits, self.settings.max_source_bytes)
        if why or reason:
            return why, reason
        if any(is_withdrawn(text) for text in files.values()) and len(files) == 1:
            return "withdrawn", ""
        try:
            paper = clean_paper(
                files, self.settings.max_source_bytes, appendix=self.settings.appendix, abstract=self.settings.abstract
            )
        except TooLargeError:
            return "", "too_large"
        if not paper.text:
            return "empty", ""
        found = find_id(posixpath.basename(entry.name))
        metadata: dict[str, object] = {"path": entry.name, "title": paper.title, "main": list(paper.main)}
        if found:
            metadata |= {"arxiv_id": found.text, "url": f"https://arxiv.org/abs/{found.text}"}
            if found.version:
                metadata["version"] = found.version
        identity, created = (found.text, found.month) if found else (None, None)
        self.builder.add(
            Record(identity, paper.text, self.builder.source, None, created, metadata), len(paper.text.encode())
        )
        return "", ""


def find_foreign(data: bytes) -> str:
    """What a source is that is no LaTeX: pdf, postscript, html, office; else ""."""
    head = data[:1024].lstrip()
    return next((name for mark, name in FOREIGN if head[: len(mark)].lower() == mark.lower()), "")


def is_withdrawn(text: str) -> bool:
    """Whether a source says no more than that there is none: arXiv marks such files with %auto-ignore."""
    return "%auto-ignore" in text[:1000] or (
        len(text) < 2000 and re.search(r"paper has been withdrawn", text) is not None
    )


def read_sources(entry: Entry, limits: Limits, max_bytes: int) -> tuple[dict[str, str], str, str]:
    """(name -> text of the LaTeX files, why there is nothing to read, reason why it cannot be read)."""
    codec = "gz" if entry.data.startswith(GZIP_MAGIC) else ""
    events = _Peeked(iterate_members(io.BytesIO(entry.data), codec, limits=limits))
    head = events.peek(BLOCK)
    if not is_tar_header(head):
        return _read_single(entry, events, head, max_bytes)
    files: dict[str, str] = {}
    total, num_files = 0, 0
    for inner in iterate_tar(iter(events), max_bytes):
        if inner.reason:
            return {}, "", inner.reason
        num_files += inner.kind == "file"
        if inner.kind != "file" or not inner.name.lower().endswith(SOURCE_ENDS):
            continue
        total += len(inner.data)
        if inner.is_long or total > max_bytes:
            return {}, "", "too_long"
        decoded = decode_text(inner.data)
        if decoded.reason == "bad_encoding":
            return {}, "", decoded.reason
        if not decoded.reason:
            files[posixpath.normpath(inner.name)] = decoded.text
    return files, "" if files else "no_tex", ""


def _read_single(entry: Entry, events: _Peeked, head: bytes, max_bytes: int) -> tuple[dict[str, str], str, str]:
    foreign = find_foreign(head)
    if foreign:
        return {}, foreign, ""
    pieces, num_bytes = [], 0
    for event in events:
        if isinstance(event, Break):
            if event.reason:
                return {}, "", event.reason
            continue
        pieces.append(event)
        num_bytes += len(event)
        if num_bytes > max_bytes:
            return {}, "", "too_long"
    decoded = decode_text(b"".join(pieces))
    if decoded.reason:
        return {}, "", decoded.reason
    name = posixpath.basename(entry.name)
    is_latex = "\\" in decoded.text or "%auto-ignore" in decoded.text or is_withdrawn(decoded.text)
    return ({name: decoded.text}, "", "") if is_latex else ({}, "no_tex" if decoded.text.strip() else "empty", "")


class _Peeked:
    """A stream of plain bytes whose first ones can be looked at."""

    def __init__(self, events: Iterator[bytes | Break]) -> None:
        self.events = events
        self.seen: list[bytes | Break] = []

    def peek(self, num_bytes: int) -> bytes:
        while sum(len(event) for event in self.seen if not isinstance(event, Break)) < num_bytes:
            event = next(self.events, None)
            if event is None:
                break
            self.seen.append(event)
        return b"".join(event for event in self.seen if not isinstance(event, Break))[:num_bytes]

    def __iter__(self) -> Iterator[bytes | Break]:
        yield from self.seen
        yield from self.events
