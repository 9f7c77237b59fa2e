"""Files inside archives: tar (plain, gz, zst, bz2) and zip, entry by entry, with names that stay inside.

A name that climbs out is a rejection, links and devices are told to the caller and never followed, a file that is too long is
not read, an archive that grows beyond `max_ratio` is a bomb, and one of more than MAX_ENTRIES entries is left there.
"""

from __future__ import annotations

import posixpath
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from dolma_py.formats.decompress import find_codec, iterate_members
from dolma_py.formats.limits import EXCERPT_BYTES, Limits
from dolma_py.formats.tar_framing import Entry, iterate_tar

ARCHIVE = re.compile(r"\.(tar|tar\.(gz|zst|bz2)|tgz|tbz2|zip)$", re.IGNORECASE)
MAX_ENTRIES = 2_000_000
MAX_NAME = 4096  # what file systems take
MAX_DIRECTORY_BYTES = 256 << 20  # of a zip's directory, which is held: two million entries
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # lzma may ask for 4 GiB of dictionary


def is_archive(path: str) -> bool:
    """Whether a file's name says that it is an archive we read.

    >>> is_archive("a.tar.gz"), is_archive("a.gz")
    (True, False)
    """
    return ARCHIVE.search(path) is not None


def strip_archive(path: str) -> str:
    """The file's own name without folders and the archive's suffix."""
    return ARCHIVE.sub("", posixpath.basename(path))


def iterate_archive(stream: BinaryIO, path: str, limits: Limits, max_file_bytes: int) -> Iterator[Entry]:
    """Entries of the archive at `path`; a zip's stream must be seekable. Reasons: bad_path, bad_header, truncated, corrupt, bomb,
    encrypted, unsupported, too_many_files and those of compressed streams.
    """
    entries = (
        _iterate_zip(stream, limits, max_file_bytes)
        if path.lower().endswith(".zip")
        else _iterate_tar(stream, path, limits, max_file_bytes)
    )
    for entry in entries:
        if entry.number > MAX_ENTRIES:
            yield entry._replace(data=b"", reason="too_many_files")
            return
        name = clean_name(entry.name)
        if name is None and not entry.reason:
            yield entry._replace(data=entry.name.encode()[:EXCERPT_BYTES], reason="bad_path")
        elif name or entry.reason:
            yield entry._replace(name=name or "")


def clean_name(name: str) -> str | None:
    """The path inside the archive, "" for its top; None for one that is absolute, climbs out or is too long.

    >>> clean_name("./a//b.py"), clean_name("../a"), clean_name("/etc/passwd")
    ('a/b.py', None, None)
    """
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if len(name) > MAX_NAME or name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        return None
    return "/".join(parts)


def _iterate_tar(stream: BinaryIO, path: str, limits: Limits, max_file_bytes: int) -> Iterator[Entry]:
    lowered = path.lower()
    codec = "bz2" if lowered.endswith(("bz2",)) else "gz" if lowered.endswith(".tgz") else find_codec(path)
    return iterate_tar(iterate_members(stream, codec, limits=limits), max_file_bytes)


class _BoundedReads:
    """A seekable stream that refuses to hand out more at once than a zip's directory may have."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY_BYTES:
            raise _TooLargeError
        return self.stream.read(MAX_DIRECTORY_BYTES + 1 if size is None or size < 0 else size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _TooLargeError(Exception):
    pass


def _iterate_zip(stream: BinaryIO, limits: Limits, max_file_bytes: int) -> Iterator[Entry]:
    stream.seek(0, 2)
    archive_bytes = stream.tell()
    stream.seek(0)
    try:
        archive = zipfile.ZipFile(_BoundedReads(stream))  # type: ignore[arg-type]
    except _TooLargeError:
        yield Entry(1, -1, "", "file", reason="too_many_files")
        return
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        yield Entry(1, -1, "", "file", str(error).encode(), reason="corrupt")
        return
    out_bytes = 0
    for number, info in enumerate(archive.infolist(), 1):
        kind = _find_kind(info)
        if kind != "file":
            yield Entry(number, -1, info.filename, kind)
            continue
        entry = _read_zipped(archive, info, number, max_file_bytes)
        out_bytes += len(entry.data)
        if out_bytes > limits.ratio_floor_bytes and out_bytes > limits.max_ratio * archive_bytes:
            yield entry._replace(data=b"", reason="bomb")
            return
        yield entry


def _find_kind(info: zipfile.ZipInfo) -> str:
    if info.is_dir():
        return "folder"
    mode = info.external_attr >> 16 if info.create_system == 3 else 0  # made on Unix
    if stat.S_ISLNK(mode):
        return "link"
    return "file" if not stat.S_IFMT(mode) or stat.S_ISREG(mode) else "special"


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, number: int, max_file_bytes: int) -> Entry:
    entry = Entry(number, -1, info.filename, "file")
    if info.flag_bits & 1:
        return entry._replace(reason="encrypted")
    if info.compress_type not in METHODS:
        return entry._replace(reason="unsupported")
    if info.file_size > max_file_bytes:
        return entry._replace(is_long=True)
    try:
        with archive.open(info) as stream:
            data = stream.read(max_file_bytes + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        return entry._replace(data=str(error).encode()[:EXCERPT_BYTES], reason="corrupt")
    except OSError as error:
        if error.errno is not None:  # the disk's or the network's; bzip2 says OSError without a number of bad bytes
            raise
        return entry._replace(data=str(error).encode()[:EXCERPT_BYTES], reason="corrupt")
    return entry._replace(is_long=True) if len(data) > max_file_bytes else entry._replace(data=data)
