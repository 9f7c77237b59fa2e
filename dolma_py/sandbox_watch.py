"""What the processes of a running sandbox use together, read from outside: memory, files and CPU time.

The kernel limits each process; this adds them up, through the sandbox's own /proc, which lists its processes and no others. The
root folder in there cannot be written, so the names read here lead where they seem to. A process that ends while it is read is left
out; any other error is the caller's, because a process that cannot be read must not count as one that uses nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
from typing import NamedTuple

from dolma_py.sandbox_program import Limits, Status

PASS_SEC = 0.005  # for which a look waits for the measure of shared memory that it has begun
_PAGE_BYTES = resource.getpagesize()
_TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
_ENDED = (FileNotFoundError, ProcessLookupError)


class Usage(NamedTuple):
    """Of all processes that are alive; CPU time also of those that were seen alive before."""

    resident: dict[str, int]  # bytes by a thread of each process that lives; shared pages count for each
    disk_bytes: int  # in /tmp and /dev/shm
    num_files: int  # in both
    cpu_sec: float


class Watch:
    """Looks at the sandbox whose first process has this id outside, time and again."""

    def __init__(self, pid: int, limits: Limits) -> None:
        self._pid, self._root, self._limits = pid, f"/proc/{pid}/root", limits
        self._own: dict[tuple[str, bytes], int] = {}  # ticks of each process at the last look, by id and start
        self._gone_ticks = 0  # of processes that were there at a look and were not at the next
        self._measure: _Measure | None = None  # that has been begun, and not been asked for what it found
        self.cpu_sec = 0.0  # the most that a look has found

    def find_excess(self) -> Status | None:
        """The limit that the sandbox is over now; None when there is none, or the sandbox has ended.

        Raises
        ------
        OSError     the sandbox may not be looked into, or this process gets no descriptor or thread
        """
        try:
            usage = self.look()
            if usage.num_files > self._limits.max_files:
                return "files"
            if usage.cpu_sec > self._limits.cpu_sec:
                return "cpu"
            return "memory" if self._is_over(usage) else None
        except _ENDED:
            return None
        except PermissionError:
            if _is_ending(self._pid):
                return None
            raise

    def look(self) -> Usage:
        """What is used now.

        CPU time is that of processes that live, with what they waited for or what is known of processes that have ended, whichever
        is more: one that nobody waits for and that lives between two looks only is missed.
        """
        own, resident, waited = {}, {}, 0
        for name in os.listdir(f"{self._root}/proc"):
            if name.isdigit():
                with contextlib.suppress(*_ENDED):
                    fields = _read_fields(f"{self._root}/proc/{name}/stat")
                    own[name, fields[19]] = int(fields[11]) + int(fields[12])  # man 5 proc: starttime; utime, stime
                    waited += int(fields[13]) + int(fields[14])  # cutime, cstime
                    thread, pages = (name, int(fields[21])) if fields[0] != b"Z" else self._find_thread(name)
                    resident[thread] = pages * _PAGE_BYTES
        self._gone_ticks += sum(ticks for key, ticks in self._own.items() if key not in own)
        self._own = own
        cpu_sec = (sum(own.values()) + max(waited, self._gone_ticks)) / _TICKS_PER_SEC
        self.cpu_sec = max(self.cpu_sec, cpu_sec)
        places = [os.statvfs(self._root + place) for place in ("/tmp", "/dev/shm")]
        disk_bytes = sum((place.f_blocks - place.f_bfree) * place.f_frsize for place in places)
        return Usage(resident, disk_bytes, sum(place.f_files - place.f_ffree for place in places), cpu_sec)

    def _find_thread(self, name: str) -> tuple[str, int]:
        """(a thread that lives, resident pages) of a process whose first thread has ended, which shows no memory itself."""
        folder = f"{self._root}/proc/{name}/task"
        for _ in range(3):  # threads may end as fast as they are listed
            for thread in os.listdir(folder):
                with contextlib.suppress(*_ENDED):
                    fields = _read_fields(f"{folder}/{thread}/stat")
                    if fields[0] not in b"ZX":
                        return thread, int(fields[21])
        return name, 0

    def _is_over(self, usage: Usage) -> bool:
        """Whether memory is over its limit, pages that several share counted once: children begin with their parent's."""
        room = self._limits.max_memory_bytes - usage.disk_bytes
        if self._measure is None and sum(usage.resident.values()) > room:
            measure = _Measure(self._pid, usage.resident, room)
            try:
                measure.start()
            except RuntimeError as error:  # no thread is to be had
                raise OSError(errno.EAGAIN, str(error)) from error
            self._measure = measure
            self._measure.join(PASS_SEC)
        if self._measure is None or self._measure.is_alive():
            return False
        found, self._measure = self._measure, None
        if found.error is not None:
            raise found.error
        return found.is_over

    def close(self) -> None:
        """End what still measures."""
        if self._measure is not None:
            self._measure.is_wanted = False
            self._measure.join()


class _Measure(threading.Thread):
    """Adds up the memory of processes, with shared pages once, beside the looks: a process of many mappings takes a second."""

    def __init__(self, pid: int, resident: dict[str, int], room: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._resident, self._room = pid, resident, room
        self.is_wanted, self.is_over = True, False
        self.error: OSError | None = None

    def run(self) -> None:
        num_bytes = 0
        try:
            for thread in sorted(self._resident, key=self._resident.__getitem__, reverse=True):
                with contextlib.suppress(*_ENDED):
                    num_bytes += self._read_bytes(thread)
                if num_bytes > self._room or not self.is_wanted:
                    break
        except OSError as error:
            self.error = error
        self.is_over = num_bytes > self._room

    def _read_bytes(self, thread: str) -> int:
        """PSS of a process: a page that n processes map counts a n-th for each."""
        try:
            text = _read(f"/proc/{self._pid}/root/proc/{thread}/smaps_rollup")
        except PermissionError:  # it has become a program that its user may run and not read
            return 0 if _is_ending(self._pid) else self._resident[thread]
        return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(b"Pss:")), 0)  # KiB


def _is_ending(pid: int) -> bool:
    """Whether the process has given up its memory: then the kernel lets only root look into it."""
    try:
        return _read_fields(f"/proc/{pid}/stat")[20] == b"0"  # vsize
    except _ENDED:
        return True


def _read_fields(path: str) -> list[bytes]:
    return _read(path).rpartition(b")")[2].split()


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(1 << 16)
