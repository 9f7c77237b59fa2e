"""Bloom filters of earlier data as tasks ask them: mapped read-only, so that all workers of a machine share one copy of the pages.

All filters of a job stay open in a worker, whatever their number: what they need is the system's cache of files, not memory of the
worker's own. The first task of an executor that asks a filter reads it once and compares its checksum, others wait for it; a remote
filter is copied on that way into one of Spark's local folders, and goes with it.
"""

from __future__ import annotations

import fcntl
import functools
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from dedup import bloom
from dolma_py import storage
from dolma_py.errors import DataError


def find_seen(paths: Sequence[str], checksums: Sequence[str], high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Whether any of the filters, of these checksums, has seen each key, bool (N,)."""
    found = np.zeros(len(high), np.bool_)
    for path, checksum in zip(paths, checksums, strict=True):
        found |= bloom.find_keys(open_filter(path, checksum), high, low)
    return found


@functools.cache
def open_filter(path: str, checksum: str) -> bloom.BloomFilter:
    """The filter of a path, opened once per process.

    Raises
    ------
    DataError       it is no longer the filter of that checksum, or damaged
    """
    folder = find_local_folder(checksum)
    if folder is None:  # no worker of Spark's
        _check(path, checksum)
        return bloom.load_filter(path) if storage.is_remote(path) else bloom.map_filter(path, checksum)
    if not storage.is_remote(path):
        stamp = storage.stamp_file(path)
        name = "-".join(["filter", checksum, *map(str, stamp or ())])
        make_once(folder, f"{name}.checked", lambda target: _mark_checked(path, checksum, target))
        return bloom.map_filter(path, checksum)
    copied = make_once(folder, f"filter-{checksum}", lambda target: _fetch(path, checksum, target))
    return bloom.map_filter(copied, checksum)


def find_local_folder(checksum: str) -> str | None:
    """The one of Spark's local folders where all workers of an executor look for a filter; None outside of a worker."""
    folders = [folder for folder in os.environ.get("SPARK_LOCAL_DIRS", "").split(",") if os.path.isdir(folder)]
    return folders[int(checksum, 16) % len(folders)] if folders else None


def make_once(folder: str, name: str, make: Callable[[str], None]) -> str:
    """The path folder/name, which `make` fills unless another process has; a killed one leaves neither the file nor the lock."""
    target = os.path.join(folder, name)
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(target):
            make(target)
    return target


def _check(path: str, checksum: str) -> None:
    if bloom.check_filter(path)["checksum"] != checksum:
        raise DataError(path, "another filter than when the job began", hint="Give the command again.")


def _mark_checked(path: str, checksum: str, target: str) -> None:
    _check(path, checksum)
    storage.write_bytes(target, b"")


def _fetch(path: str, checksum: str, target: str) -> None:
    """Copy a remote filter; the copy is checked, and gone when it is not what it should be."""
    copied = f"{target}.part"
    try:
        with storage.open_read(path) as stream, open(copied, "wb") as out:
            while chunk := stream.read(storage.CHUNK_BYTES):
                out.write(chunk)
        _check(copied, checksum)
        os.replace(copied, target)
    except DataError as error:
        raise DataError(path, f"its copy is not what was written ({error})", hint="Give the command again.") from error
    finally:
        with suppress(FileNotFoundError):
            os.remove(copied)
