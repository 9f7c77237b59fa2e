"""Answers on disk: asked once ever, whatever is killed and however many processes ask at a time.

`answers.txt` has a line per answer: xxh3-64 of the rest, the request's key, the answer as JSON. Lines are only added, under a lock;
one that a killed process left torn, or that a disk has damaged, fails its checksum, is counted and asked again. Who asks a question
holds a lock on it that the kernel drops with the process, so nobody else asks it meanwhile, and nobody waits for the dead.
In memory is, per answer, its key and where it stands: about 200 bytes.
The folder is of a file system that keeps fcntl locks: a local disk, or NFS 4.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import xxhash

from dolma_py import storage
from dolma_py.errors import ConfigError

ANSWERS_FILE = "answers.txt"
LOCK_FILE = "lock"
APPEND_LOCK = 1 << 61  # bytes of the lock file that no key stands for
LEDGER_LOCK = APPEND_LOCK + 1
_KEY_DIGITS, _CHECK_DIGITS = 32, 16
_HEAD = _CHECK_DIGITS + 1 + _KEY_DIGITS + 1
_READ_BYTES = 1 << 20
_LENGTH_BITS = 32
_POLL_SECONDS = (0.01, 0.5)


class LockedFolder:
    """A folder and the one lock file in it. POSIX locks belong to the process: its threads are told apart by our own locks."""

    def __init__(self, folder: str) -> None:
        if storage.is_remote(folder):
            raise ConfigError("cache", folder, "expected a folder of a file system", "An object store has no locks.")
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.descriptor = os.open(os.path.join(folder, LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o666)
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def hold(self, offset: int) -> Iterator[None]:
        """One thread of one process at a time."""
        with self._mutex:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, offset)
            try:
                yield
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, offset)

    def try_lock(self, offset: int) -> bool:
        """Whether this process has the lock now."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def unlock(self, offset: int) -> None:
        """Give it back."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, offset)

    def close(self) -> None:
        """Drops every lock of this process on the folder."""
        os.close(self.descriptor)


class AnswerCache:
    """Answers by key. Any number of threads and processes use one folder; a process opens it once, by `open_cache`."""

    def __init__(self, folder: str) -> None:
        self.num_users = 0
        self.locks = LockedFolder(folder)
        self.num_damaged = 0  # lines that fail their checksum
        path = os.path.join(folder, ANSWERS_FILE)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        self._index: dict[bytes, int] = {}  # key -> where its JSON stands << _LENGTH_BITS | how long it is
        self._end = 0  # bytes read, up to the end of a line
        self._mutex = threading.Lock()
        self._claims: set[str] = set()
        self._is_free = threading.Condition()
        self.refresh()

    def __len__(self) -> int:
        return len(self._index)

    def find(self, key: str) -> dict[str, Any] | None:
        """The answer, as far as the file was read."""
        place = self._index.get(bytes.fromhex(key))
        if place is None:
            return None
        length = place & ((1 << _LENGTH_BITS) - 1)
        values: dict[str, Any] = orjson.loads(os.pread(self._file, length, place >> _LENGTH_BITS))
        return values

    def refresh(self) -> None:
        """Read the lines that others have added."""
        with self._mutex:
            pending = b""
            while data := os.pread(self._file, _READ_BYTES, self._end + len(pending)):
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        start, self._end = self._end, self._end + len(line) + 1
        if _is_whole(line):
            key = bytes.fromhex(line[_CHECK_DIGITS + 1 : _HEAD - 1].decode())
            self._index.setdefault(key, (start + _HEAD) << _LENGTH_BITS | len(line) - _HEAD)
        elif line:
            self.num_damaged += 1

    def add(self, key: str, values: dict[str, Any]) -> None:
        """Keep an answer; on the disk when this returns."""
        rest = key.encode() + b" " + orjson.dumps(values)
        line = xxhash.xxh3_64_hexdigest(rest).encode() + b" " + rest + b"\n"
        with self.locks.hold(APPEND_LOCK):
            end = os.fstat(self._file).st_size
            if end and os.pread(self._file, 1, end - 1) != b"\n":
                line = b"\n" + line  # somebody died while writing: the torn line ends here
            while line:
                line = line[os.write(self._file, line) :]
        sync = getattr(os, "fdatasync", os.fsync)
        sync(self._file)  # outside of the lock: many answers go to the disk together
        self.refresh()

    @contextlib.contextmanager
    def claim(self, key: str, is_stopped: Callable[[], bool] = lambda: False) -> Iterator[dict[str, Any] | None]:
        """Alone with a question: gives the answer when somebody else has it by now, else None and nobody else asks meanwhile.

        Also gives None once `is_stopped` says so; then the question may be another's.
        """
        offset = int(key[:15], 16)
        with self._is_free:
            while key in self._claims:
                self._is_free.wait()
            self._claims.add(key)
        is_locked = False
        try:
            wait = _POLL_SECONDS[0]
            while not (is_locked := self.locks.try_lock(offset)) and not is_stopped():
                time.sleep(wait)
                wait = min(2 * wait, _POLL_SECONDS[1])
            self.refresh()
            yield self.find(key)
        finally:
            if is_locked:
                self.locks.unlock(offset)
            with self._is_free:
                self._claims.discard(key)
                self._is_free.notify_all()

    def close(self) -> None:
        """One user less; the last one closes the files."""
        with _OPENING:
            self.num_users -= 1
            if self.num_users == 0:
                for place in [place for place, cache in _OPEN.items() if cache is self]:
                    del _OPEN[place]
                os.close(self._file)
                self.locks.close()


_OPENING = threading.Lock()
_OPEN: dict[
    tuple[int, str], AnswerCache
] = {}  # by process and folder: closing a second descriptor would drop the first one's locks


def open_cache(folder: str) -> AnswerCache:
    """The cache in a folder, which is made where there is none.

    Raises ConfigError for an object store, OSError for a folder that cannot be written.
    """
    with _OPENING:
        place = (os.getpid(), os.path.realpath(folder))
        cache = _OPEN.get(place)
        if cache is None:
            cache = _OPEN[place] = AnswerCache(folder)
        cache.num_users += 1
        return cache


def _is_whole(line: bytes) -> bool:
    if len(line) <= _HEAD or line[_CHECK_DIGITS : _CHECK_DIGITS + 1] != b" ":
        return False
    return xxhash.xxh3_64_hexdigest(line[_CHECK_DIGITS + 1 :]).encode() == line[:_CHECK_DIGITS]
