"""Repositories of source code, as folders or archives (.tar, .tar.gz, .tgz, .tar.zst, .tar.bz2, .zip): one document a file."""

from __future__ import annotations

import datetime as dt
import functools
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, NamedTuple

import pyarrow as pa
from pydantic import Field

from dolma_py.config import Config
from dolma_py.documents import make_document_id
from dolma_py.formats.archives import is_archive, iterate_archive, strip_archive
from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, read_whole
from dolma_py.formats.fields import FieldMap, Record
from dolma_py.formats.licenses import (
    LICENSE_NAMES,
    MANIFESTS,
    MAX_LICENSE_BYTES,
    find_header_license,
    find_license,
    is_license_file,
)
from dolma_py.formats.limits import Limits, Rejection, Skipped, make_relative
from dolma_py.formats.source_code import NOTEBOOK, SourceFile, describe_file, render_notebook
from dolma_py.formats.tar_framing import Entry
from dolma_py.formats.text_encoding import decode_text

TOOLS_OWN = (".git", ".hg", ".svn")
MAX_LICENSED_FOLDERS = 100_000


class RepositoryConfig(Config):
    """Which files of a repository are documents."""

    depth: int = Field(
        default=0,
        ge=0,
        description="folders, below the input or in the archive, that name the repository (1 for a folder of repositories, 2 for owner/name); "
        "0: all of it is one, which has the input's or the archive's name",
    )
    max_file_bytes: int = Field(
        default=1 << 20, ge=1, description="bytes of a file; longer ones are passed over (The Stack: 1 MB)"
    )
    skip_generated: bool = Field(
        default=False, description="pass over files that a program wrote, in place of marking them"
    )
    skip_vendored: bool = Field(
        default=False, description="pass over copies of other projects, in place of marking them"
    )
    skip_unknown: bool = Field(default=False, description="pass over files of which no language is known")
    types: list[Literal["programming", "markup", "data", "prose"]] | None = Field(
        default=None,
        description="linguist's types of languages that are read; null: all. Notebooks count as programming",
    )


class Licenses(NamedTuple):
    """What the first pass over an archive finds."""

    by_folder: dict[str, str]  # folder ("" is the top) -> SPDX
    top: str  # the one folder that everything lies in, "" where there is none


def read_documents(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
    settings: RepositoryConfig | None = None,
) -> Iterator[pa.RecordBatch | Rejection | Skipped]:
    """Batches and rejections of one archive or source file, then how many of its files were passed over and why.

    metadata: repo, path (in the repository), language, language_type, license (SPDX or null), is_generated, is_vendored, encoding and, of
    notebooks, notebook_language. An archive is read twice, first for its licences. Skipped: binary, empty, too_long, link, special
    (devices, pipes), generated, vendored, unknown, type. `line` counts entries. Reasons: see archives.iterate_archive; bad_encoding,
    invalid_notebook, and those of compressed files.
    """
    settings = settings or RepositoryConfig()
    builder = BatchBuilder(make_relative(path, root), source=source, added=added, limits=limits)
    reader = _FileReader(builder, settings)
    max_bytes = min(settings.max_file_bytes, limits.max_record_bytes)
    if is_archive(path):
        with open_stream(path) as stream:
            reader.licenses = find_licenses(iterate_archive(stream, path, limits, max(max_bytes, MAX_LICENSE_BYTES)))
        reader.repo = strip_archive(path)
        with open_stream(path) as stream:
            for entry in iterate_archive(stream, path, limits, max_bytes):
                reader.take(entry)
                if builder.is_full:
                    yield from builder.drain()
    else:
        reader.repo = posixpath.basename(root.rstrip("/")) or source
        reader.licenses = _find_near_licenses(path, root, settings.depth, open_stream)
        with open_stream(path) as stream:
            data, reason = read_whole(
                stream, find_codec(path), limits=limits.model_copy(update={"max_record_bytes": max_bytes})
            )
        is_long = reason == "too_long"
        reader.take(Entry(1, 0, builder.path, "file", data, is_long, "" if is_long else reason))
    yield from builder.drain()
    for reason, count in sorted(reader.skipped.items()):
        yield Skipped(builder.path, reason, count)


def find_licenses(entries: Iterator[Entry]) -> Licenses:
    """Licences of the folders of an archive: a licence text wins over a manifest, of two texts the first by name."""
    found: dict[str, tuple[bool, str, str]] = {}
    tops: set[str] = set()
    for entry in entries:
        if entry.reason or entry.kind == "folder":
            continue
        top, slash, _ = entry.name.partition("/")
        if len(tops) < 2:
            tops.add(top if slash else "")
        folder, name = posixpath.split(entry.name)
        if entry.kind != "file" or entry.is_long or not (is_license_file(name) or name in MANIFESTS):
            continue
        if len(found) >= MAX_LICENSED_FOLDERS and folder not in found:
            continue
        license_id = find_license(name, entry.data)
        if license_id is not None:
            candidate = (name in MANIFESTS, name, license_id)
            found[folder] = min(found.get(folder, candidate), candidate)
    return Licenses({folder: best[2] for folder, best in found.items()}, tops.pop() if len(tops) == 1 else "")


def _find_near_licenses(path: str, root: str, depth: int, open_stream: Callable[[str], BinaryIO]) -> Licenses:
    """Licences of the folders between the repository's top and a file, where the repository is a folder."""
    root = root.rstrip("/")
    below = make_relative(path, root).split("/")[:-1]
    by_folder = {}
    for end in range(min(depth, len(below)), len(below) + 1):
        folder = "/".join(below[:end])
        license_id = _look_up_license(f"{root}/{folder}".rstrip("/"), open_stream) if root else None
        if license_id is not None:
            by_folder[folder] = license_id
    return Licenses(by_folder, "")


@functools.lru_cache(maxsize=4096)
def _look_up_license(folder: str, open_stream: Callable[[str], BinaryIO]) -> str | None:
    for name in (*LICENSE_NAMES, *MANIFESTS):
        try:
            with open_stream(f"{folder}/{name}") as stream:
                license_id = find_license(name, stream.read(MAX_LICENSE_BYTES + 1))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
            continue
        if license_id is not None:
            return license_id
    return None


class _FileReader:
    def __init__(self, builder: BatchBuilder, settings: RepositoryConfig) -> None:
        self.builder, self.settings = builder, settings
        self.repo = ""
        self.licenses = Licenses({}, "")
        self.skipped: Counter[str] = Counter()

    def take(self, entry: Entry) -> None:
        """Add one file, reject it or count it as passed over."""
        if entry.reason:
            self.builder.reject(entry.reason, entry.data, line=entry.number, offset_bytes=entry.offset_bytes)
            return
        if entry.kind == "folder" or any(part in TOOLS_OWN for part in entry.name.split("/")[:-1]):
            return
        why = entry.kind if entry.kind != "file" else "too_long" if entry.is_long else self._add(entry)
        if why:
            self.skipped[why] += 1

    def _add(self, entry: Entry) -> str:
        """Add a file; returns why not, "" when it was added or rejected."""
        repo, path = self._split(entry.name)
        if not entry.data.strip():
            return "empty"
        decoded = decode_text(entry.data)
        if decoded.reason == "binary":
            return "binary"
        file = describe_file(path, entry.data)
        why = self._find_skip(file)
        if why:
            return why
        text, notebook_language, reason = decoded.text, None, decoded.reason
        if not reason and path.lower().endswith(NOTEBOOK):
            rendered = render_notebook(text.encode())
            if rendered is None:
                reason = "invalid_notebook"
            else:
                text, notebook_language = rendered
        if reason:
            self.builder.reject(reason, entry.data, line=entry.number, offset_bytes=entry.offset_bytes)
            return ""
        if not text.strip():
            return "empty"
        metadata: dict[str, object] = {
            "repo": repo,
            "path": path,
            "language": file.language,
            "language_type": file.language_type,
            "license": find_header_license(entry.data) or self._find_license(entry.name),
            "is_generated": file.is_generated,
            "is_vendored": file.is_vendored,
            "encoding": decoded.encoding,
        }
        if notebook_language:
            metadata["notebook_language"] = notebook_language
        document_id = make_document_id(self.builder.source, f"{repo}/{path}", text.encode())
        self.builder.add(Record(document_id, text, self.builder.source, None, None, metadata), len(entry.data))
        return ""

    def _find_skip(self, file: SourceFile) -> str:
        settings = self.settings
        if settings.skip_generated and file.is_generated:
            return "generated"
        if settings.skip_vendored and file.is_vendored:
            return "vendored"
        if settings.skip_unknown and file.language is None:
            return "unknown"
        return "type" if settings.types is not None and file.language_type not in settings.types else ""

    def _split(self, name: str) -> tuple[str, str]:
        """(repository, path in it); the one folder that an archive of one repository has at its top is stepped over."""
        parts = name.split("/")
        depth = min(self.settings.depth, len(parts) - 1)
        if depth:
            return "/".join(parts[:depth]), "/".join(parts[depth:])
        top = self.licenses.top
        return self.repo, name.removeprefix(top + "/") if top else name

    def _find_license(self, name: str) -> str | None:
        """That of the nearest folder above that has one, in the same repository."""
        parts = name.split("/")[:-1]
        for end in range(len(parts), min(self.settings.depth, len(parts)) - 1, -1):
            found = self.licenses.by_folder.get("/".join(parts[:end]))
            if found is not None:
                return found
        return None
