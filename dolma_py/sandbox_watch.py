"""What the processes of a running sandbox use together, read from outside: memory, files and CPU time.

The kernel limits each process; this adds them up, through the sandbox's own /proc, which lists its processes and no others. The
root folder in there cannot be written, so the names read here lead where they seem to.
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import NamedTuple

from dolma_py.sandbox_program import Limits, Status

_PAGE_BYTES = resource.getpagesize()
_TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Of all processes that are alive, and the CPU time also of those they waited for."""

    memory_bytes: int  # resident: a page that several share counts for each
    disk_bytes: int  # in /tmp and /dev/shm
    num_files: int  # in /tmp
    cpu_sec: float


def read_usage(pid: int) -> Usage:
    """Usage of the sandbox whose first process has this id outside.

    Raises
    ------
    OSError     the sandbox has ended, or may not be looked into
    """
    root = f"/proc/{pid}/root"
    pages = ticks = 0
    for name in os.listdir(f"{root}/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                fields = _read(f"{root}/proc/{name}/stat").rpartition(b")")[2].split()
                pages += int(fields[21])  # man 5 proc: rss; utime, stime, cutime, cstime
                ticks += sum(map(int, fields[11:15]))
    files, shared = os.statvfs(f"{root}/tmp"), os.statvfs(f"{root}/dev/shm")
    disk = (files.f_blocks - files.f_bfree) * files.f_frsize + (shared.f_blocks - shared.f_bfree) * shared.f_frsize
    return Usage(pages * _PAGE_BYTES, disk, files.f_files - files.f_ffree, ticks / _TICKS_PER_SEC)


def find_excess(pid: int, limits: Limits) -> Status | None:
    """The limit that the sandbox is over now; None when there is none, or the sandbox has ended."""
    try:
        usage = read_usage(pid)
        if usage.num_files > limits.max_files:
            return "files"
        if usage.cpu_sec > limits.cpu_sec:
            return "cpu"
        if usage.memory_bytes + usage.disk_bytes <= limits.max_memory_bytes:
            return None
        # shared pages once: children begin with their parent's
        shared = _read_proportional_bytes(f"/proc/{pid}/root/proc")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return "memory" if shared + usage.disk_bytes > limits.max_memory_bytes else None


def _read_proportional_bytes(folder: str) -> int:
    """PSS of all processes: a page that n of them map counts a n-th for each."""
    total = 0
    for name in os.listdir(folder):
        if name.isdigit():
            with contextlib.suppress(OSError):
                for line in _read(f"{folder}/{name}/smaps_rollup").splitlines():
                    if line.startswith(b"Pss:"):
                        total += int(line.split()[1]) << 10  # KiB
    return total


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(1 << 16)
