"""Shards on s3:// and gs://: each file is copied to this machine once, checked, and kept below a bound.

A copy is named by its checksum and appears under that name only when all its bytes have the checksum of the manifest. Processes of one
machine share a folder: a lock per file makes one of them download while the others wait, and keeps a file that is being read. Locks
are the system's own (flock), so a process that is killed leaves none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import posixpath
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import Field

from dolma_py.config import Config
from dolma_py.errors import ConfigError, DataError

GB = 10**9
TRIES = 3  # of a download that the network breaks
WAIT_SEC = 0.05  # between looks for room that others' downloads take


class ShardCacheConfig(Config):
    """Where copies of remote shards lie, and how much of them."""

    folder: str | None = Field(
        None, min_length=1, description="Folder of the copies; null: dolma-py/shards in the user's cache."
    )
    max_gb: float | None = Field(
        None,
        gt=0,
        description="Most bytes of copies, in units of 10^9; the least recently used go first. A shuffled epoch reads all files in turn, "
        "so below the size of all shards files are downloaded again and again. null: no bound.",
    )


def is_remote(path: str) -> bool:
    """Whether the shards lie on an object store."""
    return "://" in path and not path.startswith("file://")


def join_shards(shards: str, path: str) -> str:
    """A path of a manifest or of a source, relative to the folder of shards; a URI or an absolute path stands for itself.

    Examples
    --------
    >>> join_shards("s3://bucket/tokens/web", "../code"), join_shards("tokens/web", "part.npy")
    ('s3://bucket/tokens/code', 'tokens/web/part.npy')
    """
    if is_remote(path) or not is_remote(shards) or os.path.isabs(path):
        return path if is_remote(path) else str(Path(shards) / path)
    scheme, _, rest = shards.partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(rest, path))}"


def open_shard_file(shards: str, path: str) -> BinaryIO:
    """A stream of a file of the shards, wherever they are. FileNotFoundError when there is none, OSError when it cannot be read."""
    whole = join_shards(shards, path)
    if not is_remote(whole):
        return open(whole, "rb")
    from dolma_py import storage  # with clients of object stores, which local shards do without

    if storage.file_bytes(whole) is None:  # each store has its own error for it
        raise FileNotFoundError(errno.ENOENT, "no such file", whole)
    return storage.open_read(whole)


class ShardCache:
    """Copies of remote files in one folder of this machine."""

    def __init__(self, config: ShardCacheConfig) -> None:
        self.folder = Path(config.folder) if config.folder is not None else default_folder()
        self.max_bytes = None if config.max_gb is None else int(config.max_gb * GB)
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def hold(self, url: str, *, checksum: str) -> Iterator[Path]:
        """A local file with the bytes of `url`, which stays at least as long as the block.

        checksum: xxh3-128 of the file, hex. DataError when the bytes that came have another, or there is no such file.
        """
        path = self.folder / f"{checksum}-{posixpath.basename(url)}"
        while True:
            with _locked(path, fcntl.LOCK_SH):
                if path.is_file():
                    os.utime(path)  # what was used last goes last
                    yield path
                    return
            with _locked(path, fcntl.LOCK_EX):
                if not path.is_file():
                    self._download(url, path, checksum)
            # another process may have thrown it out before this one holds it: look again

    def _download(self, url: str, path: Path, checksum: str) -> None:
        """Called with the file's lock."""
        from dolma_py import storage

        num_bytes = storage.file_bytes(url)
        if num_bytes is None:
            raise DataError(url, "is missing", hint="The manifest is of another folder, or the upload is incomplete.")
        partial = path.with_name(path.name + ".partial")
        self._reserve(partial, num_bytes, url)
        try:
            for attempt in range(TRIES):
                try:
                    found = _copy(url, partial)
                except OSError:
                    if attempt == TRIES - 1:
                        raise
                    time.sleep(2**attempt)
                else:
                    break
            if found != checksum:
                problem = f"its bytes have checksum {found}, the manifest says {checksum}"
                raise DataError(url, problem, hint="The upload is incomplete or of another run.")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _reserve(self, partial: Path, num_bytes: int, url: str) -> None:
        """Makes `partial` a file of that size, with no more than max_bytes in the folder; waits for others' downloads to end."""
        if self.max_bytes is not None and num_bytes > self.max_bytes:
            rule = f"expected at least {num_bytes / GB:.3f}, the size of {url}"
            raise ConfigError("data.cache.max_gb", self.max_bytes / GB, rule)
        with _locked(self.folder / "room", fcntl.LOCK_EX):
            while self.max_bytes is not None and self._make_room(num_bytes, partial) + num_bytes > self.max_bytes:
                time.sleep(WAIT_SEC)
            with partial.open("wb") as file:
                file.truncate(num_bytes)

    def _make_room(self, num_bytes: int, partial: Path) -> int:
        """Removes what nobody holds, least recently used first, until so many bytes more fit; returns the bytes that are left."""
        found = []
        for path in self.folder.iterdir():
            if path.name.endswith(".lock") or path == partial:
                continue
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                # what a killed download left goes first
                found.append((not path.name.endswith(".partial"), stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, _, size, _ in found)
        assert self.max_bytes is not None
        for _, _, size, path in sorted(found):
            if total + num_bytes <= self.max_bytes:
                break
            with contextlib.suppress(BlockingIOError), _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink(missing_ok=True)
                total -= size
        return total


def default_folder() -> Path:
    """dolma-py/shards in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "dolma-py" / "shards"


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    """The lock of a file, which a half download shares with it."""
    with open(f"{str(path).removesuffix('.partial')}.lock", "wb") as lock:
        fcntl.flock(lock, kind)
        yield


def _copy(url: str, partial: Path) -> str:
    """The remote bytes in a file that is flushed to disk; returns their xxh3-128."""
    from dolma_py import storage

    with storage.open_read(url) as stream, partial.open("wb") as file:
        sink = storage.HashingWriter(file)
        while chunk := stream.read(storage.CHUNK_BYTES):
            sink.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return sink.checksum
