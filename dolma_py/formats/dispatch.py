"""Chooses the reader of a file by its name."""

from __future__ import annotations

import datetime as dt
import importlib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa

from dolma_py.errors import DataError
from dolma_py.formats.decompress import strip_codec
from dolma_py.formats.fields import FieldMap
from dolma_py.formats.limits import Limits, Rejection, Skipped

# the readers are imported on use: a job that reads Parquet needs no HTML parser
READERS = {
    "jsonl": "dolma_py.formats.jsonl",
    "parquet": "dolma_py.formats.parquet",
    "text": "dolma_py.formats.plain_text",
    "html": "dolma_py.formats.html",
    "warc": "dolma_py.formats.warc",
    "pdf": "dolma_py.formats.pdf",
    "wikipedia": "dolma_py.formats.wikipedia",
    "repository": "dolma_py.formats.repository",
    "arxiv": "dolma_py.formats.arxiv",
}
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".warc": "warc",
    ".wet": "warc",
    ".pdf": "pdf",
}
# what nobody should read as text and wonder: ending -> (what it is, what to do)
_COMPRESS, _TABLE = "Compress it as .gz, .zst or .bz2", "Write it as Parquet or JSON Lines"
UNREAD_CODECS = {suffix: (f"compressed as {suffix}", _COMPRESS) for suffix in (".xz", ".lzma", ".7z", ".lz4", ".br")}
UNREAD_FORMS = {suffix: (f"a table as {suffix}", _TABLE) for suffix in (".arrow", ".feather", ".orc", ".avro")} | {
    ".wat": (
        "a WAT file, which has what is known of pages and no text",
        "Give the .warc.wet.gz or .warc.gz file of the same pages",
    )
}
ARXIV_DUMP = re.compile(r"arxiv_src_\d{4}_\d{3}\.tar$")  # of the lower-cased name
WIKI_DUMP = re.compile(r"pages-(articles|meta-current)[^/]*\.xml[^/]*$")


def detect_format(path: str) -> str:
    """jsonl, parquet, html, warc, pdf by the suffix before .gz, .zst or .bz2; wikipedia and arxiv by the names of dumps; every other name is text."""
    name = strip_codec(path)
    if WIKI_DUMP.search(name):
        return "wikipedia"
    if ARXIV_DUMP.search(name):
        return "arxiv"
    for suffix, kind in SUFFIXES.items():
        if name.endswith(suffix):
            return kind
    return "text"


def explain_unread(path: str, kind: str = "") -> tuple[str, str] | None:
    """(what a file is, what to do) for a name of which no reader reads anything; None for all other names.

    >>> explain_unread("a.jsonl.xz")
    ('compressed as .xz', 'Compress it as .gz, .zst or .bz2')
    """
    name = strip_codec(path)
    suffix = name[name.rfind(".") :]
    if suffix in UNREAD_CODECS and kind != "repository":
        return UNREAD_CODECS[suffix]
    return UNREAD_FORMS.get(suffix) if kind in ("", "warc") else None


def read_any(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
    kind: str = "",
) -> Iterator[pa.RecordBatch | Rejection]:
    """Documents and rejections of one file in stream order, by the reader of `kind` or of the file's name.

    path : str          as `open_stream` understands it
    source : str        source name of every document, unless `fields.source` finds one in the record
    added : datetime    `added` of every document that brings none; never taken from the clock
    open_stream         gives the raw, still compressed bytes (seekable for Parquet)
    root : str          the input root; metadata and rejections name files relative to it

    Raises DataError for an unknown `kind`, and what `open_stream` and its stream raise.
    """
    reader = find_reader(path, kind)
    events = reader(path, source=source, limits=limits, fields=fields, added=added, open_stream=open_stream, root=root)
    return (event for event in events if not isinstance(event, Skipped))


def find_reader(path: str, kind: str = "") -> Callable[..., Iterator[pa.RecordBatch | Rejection | Skipped]]:
    """The read_documents of `kind` or of the file's name.

    Those of jsonl and parquet take a `part` of a file as well; some take the `settings` of their kind (pipelines.ingest_inputs).
    """
    unread = explain_unread(path, kind)
    if unread:
        raise DataError(path, unread[0], hint=f"{unread[1]}.")
    kind = kind or detect_format(path)
    if kind not in READERS:
        raise DataError(path, f"unknown format {kind!r}", hint=f"Use one of {', '.join(READERS)}.")
    return importlib.import_module(READERS[kind]).read_documents  # type: ignore[no-any-return]
