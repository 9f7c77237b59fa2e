"""Opens all data, local or remote: the only file to ask, with `remote_files` behind it for s3://, gs:// and hdfs://.

A path is a local path or a URI (docs/inputs.md). Three rules hold for all kinds: a file appears under its name only when it is
complete; publishing replaces what was there; a failed upload leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.fs
import xxhash

from dolma_py import remote_files
from dolma_py.errors import ConfigError

CHUNK_BYTES = 4 << 20
SAMPLE_BYTES = 1 << 20
REQUESTS_AT_ONCE = 32  # to an object store; each waits for the network


class FileInfo(NamedTuple):
    path: str
    num_bytes: int


class Entry(NamedTuple):
    """What stands directly in a folder."""

    name: str
    kind: str  # file, folder, link (a symbolic one to a folder) or other (a broken link, a socket)
    num_bytes: int  # of a file; 0 for the others


def is_remote(path: str) -> bool:
    """True for a URI with a scheme other than file."""
    return "://" in path and not path.startswith("file://")


def join_path(base: str, *parts: str) -> str:
    """base/part/..., with forward slashes; works for URIs. An absolute path or a URI among the parts stands for itself."""
    for index in range(len(parts) - 1, -1, -1):
        if is_remote(parts[index]):
            return posixpath.join(*parts[index:])
    return posixpath.join(str(base), *parts)


def resolve_path(path: str) -> str:
    """An absolute local path, or the URI as it is, without a trailing slash."""
    if is_remote(path):
        return path.rstrip("/")
    return os.path.abspath(os.path.expanduser(path.removeprefix("file://")))


def find_filesystem(path: str) -> tuple[pa.fs.FileSystem, str]:
    """The pyarrow filesystem of `path` and the path inside it."""
    return remote_files.find_filesystem(path) if is_remote(path) else (pa.fs.LocalFileSystem(), path)


def open_read(path: str) -> BinaryIO:
    """A binary stream of the file's own bytes (nothing is decompressed)."""
    return remote_files.open_read(path) if is_remote(path) else open(path, "rb")


def read_bytes(path: str) -> bytes:
    """The whole file; only for files that our own settings bound."""
    with open_read(path) as stream:
        return stream.read()


def path_exists(path: str) -> bool:
    """True when a file or folder of that name exists."""
    if not is_remote(path):
        return os.path.exists(path)
    return bool(remote_files.find_file(path)[2].type != pa.fs.FileType.NotFound)


def file_bytes(path: str) -> int | None:
    """Size in bytes, None when there is no such file."""
    if not is_remote(path):
        return os.stat(path).st_size if os.path.isfile(path) else None
    info = remote_files.find_file(path)[2]
    return int(info.size) if info.type == pa.fs.FileType.File else None


def find_sizes(paths: list[str]) -> list[int | None]:
    """`file_bytes` of each path; in an object store many requests are under way at once."""
    if not any(is_remote(path) for path in paths):
        return [file_bytes(path) for path in paths]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return list(pool.map(file_bytes, paths))


class FileStamp(NamedTuple):
    """What changes when a file is replaced. Files are renamed into place, so a local one then has another inode."""

    num_bytes: int
    modified_ns: int
    inode: int  # 0 where it is remote


def stamp_file(path: str) -> FileStamp | None:
    """By what a file that was read before is known again, None when there is no such file. One request in an object store."""
    if not is_remote(path):
        if not os.path.isfile(path):
            return None
        found = os.stat(path)
        return FileStamp(found.st_size, found.st_mtime_ns, found.st_ino)
    info = remote_files.find_file(path)[2]
    return FileStamp(int(info.size), int(info.mtime_ns or 0), 0) if info.type == pa.fs.FileType.File else None


def list_files(folder: str) -> list[FileInfo]:
    """All files below `folder`, sorted by path, symbolic links to folders not followed. Empty when the folder is missing.

    A folder that cannot be read raises its OSError: files in it would be lost in silence.
    """
    if is_remote(folder):
        return sorted(FileInfo(join_path(folder, name), size) for name, size in remote_files.list_files(folder))
    if not os.path.isdir(folder):
        return []
    found = []
    for root, _, names in os.walk(folder, onerror=_raise_error):
        for name in names:
            path = os.path.join(root, name)
            if os.path.isfile(path):
                found.append(FileInfo(path, os.stat(path).st_size))
    return sorted(found)


def list_folder(folder: str) -> list[Entry]:
    """What stands directly in `folder`, sorted by name; empty when it is missing, its OSError when it cannot be read."""
    if is_remote(folder):
        return sorted(Entry(*entry) for entry in remote_files.list_folder(folder))
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(_describe_entry(entry) for entry in entries)


def _describe_entry(entry: os.DirEntry[str]) -> Entry:
    try:
        is_file, is_folder = entry.is_file(), entry.is_dir()
    except OSError:  # a symbolic link to itself, or into a folder that is closed to us
        return Entry(entry.name, "other", 0)
    if is_file:
        return Entry(entry.name, "file", entry.stat().st_size)
    if is_folder:
        return Entry(entry.name, "link" if entry.is_symlink() else "folder", 0)
    return Entry(entry.name, "other", 0)


def _raise_error(error: OSError) -> None:
    raise error


@contextlib.contextmanager
def write_file(path: str) -> Iterator[BinaryIO]:
    """A binary stream whose file appears as `path` when the block ends without an error, and not at all otherwise.

    Local: a hidden temporary file in the same folder, flushed to disk, then renamed. Remote: see remote_files.
    """
    if is_remote(path):
        with remote_files.write_file(path) as upload:
            yield upload
        return
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    temporary = remote_files.hide_name(path)
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A local path with the file's bytes, for libraries that open files themselves; a remote file's copy goes with the block."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dolma-py-copy-") as folder:
        copy = os.path.join(folder, posixpath.basename(path))
        with open_read(path) as stream, open(copy, "xb") as out:
            shutil.copyfileobj(stream, out, CHUNK_BYTES)
        yield copy


def copy_file(source: str, path: str) -> None:
    """A local file's bytes as `path`, local or remote, whole or not at all."""
    with open(source, "rb") as stream, write_file(path) as out:
        shutil.copyfileobj(stream, out, CHUNK_BYTES)


def write_bytes(path: str, content: bytes) -> None:
    """write_file of bytes at hand."""
    with write_file(path) as stream:
        stream.write(content)


def publish_file(attempt: str, path: str) -> None:
    """Give a complete attempt file its final name, replacing what was there. A repeated call after success is an error."""
    if is_remote(path):
        remote_files.publish_file(attempt, path)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.replace(attempt, path)


def make_folder(path: str) -> None:
    """Create a folder; object stores have none."""
    if is_remote(path):
        remote_files.make_folder(path)
    else:
        os.makedirs(path, exist_ok=True)


def remove_tree(folder: str) -> None:
    """Remove a folder and all below it; nothing happens when it is missing."""
    if is_remote(folder):
        remote_files.remove_tree(folder)
        return
    if os.path.isdir(folder):
        shutil.rmtree(folder)


def remove_file(path: str) -> None:
    """Remove a file; nothing happens when it is missing."""
    if is_remote(path):
        remote_files.remove_file(path)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@contextlib.contextmanager
def lock_folder(folder: str) -> Iterator[None]:
    """Hold a local folder for this process; the system lets go however the process ends. Remote ones have no locks.

    Raises
    ------
    ConfigError     another process holds it
    """
    if is_remote(folder):
        yield
        return
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                "corpus", folder, "is being written by another process", "Wait for it, or stop it."
            ) from error
        yield


def remove_leftovers(folder: str) -> None:
    """Remove hidden temporary files of writers that were killed; call only when no writer runs."""
    if is_remote(folder):
        remote_files.remove_leftovers(folder)
        return
    for info in list_files(folder):
        if remote_files.TEMPORARY.search(info.path):
            remove_file(info.path)


def checksum_file(path: str) -> str:
    """xxh3-128 of the file's bytes, 32 hex digits."""
    digest = xxhash.xxh3_128()
    with open_read(path) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint_input(path: str, num_bytes: int) -> str:
    """xxh3-128 of an input's size and of its first, middle and last MiB: cheap on any size, blind to changes elsewhere."""
    digest = xxhash.xxh3_128(num_bytes.to_bytes(8, "little"))
    with open_read(path) as stream:
        if num_bytes <= 3 * SAMPLE_BYTES:
            digest.update(stream.read(num_bytes))
        else:
            for start in (0, num_bytes // 2, num_bytes - SAMPLE_BYTES):
                stream.seek(start)
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


class HashingWriter:
    """A write-only stream that counts bytes and keeps their xxh3-128 while passing them on."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.num_bytes = 0
        self.digest = xxhash.xxh3_128()
        self.closed = False

    def write(self, chunk: Any) -> int:
        """Pass `chunk` (any buffer) on; returns its length in bytes."""
        view = memoryview(chunk).cast("B")
        self.digest.update(view)
        self.num_bytes += len(view)
        self.stream.write(view)
        return len(view)

    def tell(self) -> int:
        """Bytes written so far."""
        return self.num_bytes

    def flush(self) -> None:
        """Pass on."""
        self.stream.flush()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """The owner of the inner stream closes that one."""
        self.closed = True

    @property
    def checksum(self) -> str:
        return self.digest.hexdigest()


def safe_name(name: str) -> str:
    """A file name for a word that came with the data: itself when harmless, else its harmless signs and a hash of it."""
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "_" for sign in name)[:80]
    if kept == name and name and not name.startswith("."):
        return name
    return f"{kept.lstrip('.')}-{xxhash.xxh3_64_hexdigest(name.encode('utf-8', 'surrogatepass'))}"


def is_printable_name(name: str) -> bool:
    """False for a file name whose bytes are no UTF-8: Python holds them as lone surrogates, which no JSON or Arrow string can."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable_name(name: str) -> str:
    """The name with bytes that are no UTF-8 as backslash escapes.

    >>> printable_name("caf" + chr(0xDCE9)) == "caf" + chr(92) + "xe9"
    True
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def unique_name() -> str:
    """A name that no other attempt has."""
    return uuid.uuid4().hex


class WrittenFile(NamedTuple):
    """What a task knows of an attempt file it has completed."""

    attempt: str  # where it lies
    path: str  # where it belongs, relative to the corpus
    num_bytes: int
    checksum: str  # xxh3-128 of its bytes
    rows: int


class Attempt:
    """A file being written under a unique name; `written` tells what it became, once the block of open_attempt is over."""

    def __init__(self, attempt: str, path: str, sink: HashingWriter) -> None:
        self.attempt, self.path, self.sink = attempt, path, sink

    def written(self, rows: int) -> WrittenFile:
        """The receipt of the complete file."""
        return WrittenFile(self.attempt, self.path, self.sink.num_bytes, self.sink.checksum, rows)


@contextlib.contextmanager
def open_attempt(root: str, attempts: str, path: str) -> Iterator[Attempt]:
    """A file that belongs at root/path, written under a unique name in root/attempts; gone when the block ends with an error."""
    attempt = join_path(root, attempts, f"{unique_name()}-{posixpath.basename(path)}")
    with write_file(attempt) as stream:
        yield Attempt(attempt, path, HashingWriter(stream))


def write_attempt(root: str, attempts: str, path: str, write: Callable[[HashingWriter], int]) -> WrittenFile:
    """open_attempt with a function: `write` fills the file and returns its number of rows."""
    with open_attempt(root, attempts, path) as file:
        rows = write(file.sink)
    return file.written(rows)
