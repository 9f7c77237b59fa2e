"""Start a command, wait for a moment of its work, and kill it with -9: what the tests that kill have in common. Linux only."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

POLL_SEC = 0.001
WAIT_SEC = 300  # for anything: far more than it takes on a busy machine
ANSWER_SEC = 0.5  # until Spark tells of a lost task


class Command(NamedTuple):
    """A running command in a process group of its own, so that driver, JVM and Spark's daemon can die together."""

    process: subprocess.Popen[bytes]
    log: Path  # what it prints, after what earlier commands with this log printed

    def words(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def is_running(self) -> bool:
        return self.process.poll() is None


def start(arguments: list[str], log: Path) -> Command:
    with open(log, "ab") as stream:
        return Command(subprocess.Popen(arguments, stdout=stream, stderr=stream, start_new_session=True), log)


def wait_until(condition: Callable[[], bool], limit_sec: float = WAIT_SEC) -> bool:
    """Whether it came true within the limit."""
    end = time.monotonic() + limit_sec
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SEC)
    return True


def reach(command: Command, moment: Callable[[], bool], delay_sec: float = 0.0) -> bool:
    """Wait for `delay_sec` after the moment; False when the command ended by itself before."""
    assert wait_until(lambda: not command.is_running() or moment()), f"it did not come: {command.words()}"
    return not wait_until(lambda: not command.is_running(), delay_sec)


def kill_all(command: Command) -> bool:
    """Kill it and wait for the end of all that it started; False when it had ended by itself."""
    started = list_descendants(command.process.pid)
    try:
        os.killpg(command.process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    # Spark's Python daemon has a group of its own and ends when the JVM's pipe closes
    died = command.process.wait() == -signal.SIGKILL
    assert wait_until(lambda: not any(map(is_alive, started))), "processes of a killed command live on"
    return died


def kill_a_task(command: Command) -> None:
    """Kill Python workers one by one, the youngest first, until Spark says that it lost a task: some of them may be idle."""
    known = command.log.stat().st_size

    def has_lost() -> bool:
        return b"Lost task" in command.log.read_bytes()[known:]

    def kill_one() -> bool:
        workers = list_workers(command.process.pid)
        if workers:
            os.kill(workers[0], signal.SIGKILL)
            wait_until(lambda: has_lost() or not command.is_running(), ANSWER_SEC)
        return has_lost() or not command.is_running()

    assert wait_until(kill_one) and has_lost(), f"ended before a task was lost: {command.words()}"


def list_workers(driver: int) -> list[int]:
    """Python workers below the driver, children of Spark's daemon that was forked for them; the youngest first."""
    below = list_descendants(driver)
    daemons = {process for process in below if b"pyspark.daemon" in _read(process, "cmdline")}
    workers = [process for process in daemons if _parent(process) in daemons and is_alive(process)]
    return sorted(workers, reverse=True)


def list_descendants(process: int) -> list[int]:
    """Every process below this one."""
    parents = {int(name): _parent(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    return [other for other in parents if process in _ancestors(other, parents)]


def is_alive(process: int) -> bool:
    """A zombie is not: it has ended, and its parent has not asked yet."""
    return _status(process)[:1] not in ([], [b"Z"])


def _ancestors(process: int, parents: dict[int, int]) -> Iterator[int]:
    while process in parents:
        process = parents[process]
        yield process


def _parent(process: int) -> int:
    status = _status(process)
    return int(status[1]) if status else 0


def _status(process: int) -> list[bytes]:
    """Fields of /proc/PID/stat after the name; none when it has ended."""
    return _read(process, "stat").rpartition(b")")[2].split()


def _read(process: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{process}/{name}").read_bytes()
    except OSError:
        return b""
