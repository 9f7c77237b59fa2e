"""What this process may use of its machine."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
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


def read_peak_bytes() -> int:
    """The largest resident set of this process since it began, or since reset_peak where that was allowed.

    VmHWM of /proc/self/status, which begins with the process; where there is none, ru_maxrss, which on Linux begins with that of
    the process that started this one.
    """
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10  # KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10  # bytes on macOS, KiB elsewhere


def reset_peak() -> bool:
    """Let read_peak_bytes begin anew with what is resident now; False where the system does not allow it (Linux does)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc: resets VmHWM
    except OSError:
        return False
    return True
