"""What this process may use of its machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def count_cores() -> int:
    """Cores this process may use, not those the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_memory_bytes(limits: tuple[str, ...] = ()) -> int:
    """Memory this process may use: the machine's, or the limit of its container where that is lower.

    `limits` are the files in which the system states such a limit; by default those of control groups 2 and 1.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in limits or ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no such file here, or the word "max"
            total = min(total, int(Path(path).read_text()))
    return total
