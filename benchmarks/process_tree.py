"""What a command costs with everything it starts: wall time, CPU time and memory of the whole process tree.

    python -m benchmarks.process_tree dolma-py dedup minhash --corpus DIR

CPU time: this process adopts the orphans of the command (Linux's child subreaper), so that workers whose parent never waits for
them are counted when they end. The kernel forgets the time of a child whose parent ignores that it ended, as the daemon of PySpark's
workers does: so each process is also looked at ten times a second, and the larger of the two sums counts; what is missed then is a
tenth of a second of each process. Memory is sampled five times a second,
since a short run's peak is short: PSS shares a page among the processes that map it, so the sum over the tree counts every page once.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_PR_SET_CHILD_SUBREAPER = 36
CPU_SAMPLE_SEC = 0.1
SAMPLES_OF_MEMORY = 2  # of so many samples one looks at the memory too


class TreeUsage(NamedTuple):
    """What one run of a command cost."""

    wall_sec: float
    cpu_sec: float  # user and system, of the command and all that it started
    peak_pss_bytes: int  # largest sum over the tree that was sampled
    peak_python_pss_bytes: int  # the same without the JVM
    output: str  # standard output and error


def measure_command(
    command: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> TreeUsage:
    """Run a command to its end and wait for everything it started.

    Raises
    ------
    RuntimeError    it failed; with the end of what it printed
    """
    _adopt_orphans(True)
    before = _children_cpu_sec()
    begin = time.perf_counter()
    process = subprocess.Popen(
        list(command), cwd=cwd, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    sampler = _Sampler(os.getpid())
    sampler.start()
    output, _ = process.communicate()
    wall = time.perf_counter() - begin
    _reap_orphans()
    _adopt_orphans(False)  # nobody would wait for those that come later
    sampler.stop()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {output[-2000:]}")
    cpu = max(_children_cpu_sec() - before, sampler.cpu_sec)
    return TreeUsage(wall, cpu, sampler.peak, sampler.peak_python, output)


def _adopt_orphans(adopts: bool) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(adopts), 0, 0, 0)


def _children_cpu_sec() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reap_orphans(limit_sec: float = 20.0) -> None:
    """Wait for adopted processes until none is left: their time is in RUSAGE_CHILDREN only then."""
    end = time.monotonic() + limit_sec
    while time.monotonic() < end:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.02)


class _Sampler(threading.Thread):
    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.peak, self.peak_python = root, 0, 0
        self._seen: dict[tuple[int, str], int] = {}  # (process, its start): ticks of its own when it was seen last
        self._ended = threading.Event()

    @property
    def cpu_sec(self) -> float:
        """User and system time of every process that was seen."""
        return sum(self._seen.values()) / os.sysconf("SC_CLK_TCK")

    def run(self) -> None:
        number = 0
        while not self._ended.wait(CPU_SAMPLE_SEC):
            fields = _descendants(self.root)
            # of /proc/PID/stat behind the name: 11 and 12 are the user and system time, 19 the start
            self._seen |= {(pid, of[19]): int(of[11]) + int(of[12]) for pid, of in fields.items()}
            number += 1
            if number % SAMPLES_OF_MEMORY == 0:
                sizes = {pid: _pss_bytes(pid) for pid in fields}
                python = sum(size for pid, size in sizes.items() if _name(pid) != "java")
                self.peak, self.peak_python = max(self.peak, sum(sizes.values())), max(self.peak_python, python)

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _descendants(root: int) -> dict[int, list[str]]:
    """The processes below `root` and what /proc/PID/stat says of each behind its name; orphans that this process adopted too."""
    processes: dict[int, list[str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _read(folder / "stat").rpartition(")")[2].split()
            if fields:
                processes[int(folder.name)] = fields
    found, front = {}, {root}
    while front:
        front = {pid for pid, fields in processes.items() if int(fields[1]) in front}
        found |= {pid: processes[pid] for pid in front}
    return found


def _pss_bytes(pid: int) -> int:
    for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _name(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/comm")).strip()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended meanwhile
        return ""


def main() -> int:
    usage = measure_command(sys.argv[1:])
    print(usage.output, end="")
    print(
        f"wall {usage.wall_sec:.1f} s, CPU {usage.cpu_sec:.1f} s, "
        f"peak PSS {usage.peak_pss_bytes / 1e6:.0f} MB ({usage.peak_python_pss_bytes / 1e6:.0f} MB without the JVM)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
