"""Whether a text is a Python program, and how clean it is, found out by a process that hostile source may crash without harm.

    with PythonSources() as sources:
        sources.check("import os\\n")   # Checked(problem="", ..., score=0.0: an import that nobody uses is all there is)

Sources are parsed and compiled, never run. The grammar is that of the interpreter that runs this.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import time
from importlib import resources
from types import TracebackType
from typing import Any, NamedTuple

from dolma_py.errors import DataError
from dolma_py.python_sources_worker import WEIGHTS

CHECK_VERSION = 1  # of what is found in a source
_HEAD = struct.Struct("<Q")
_PIECE_BYTES = 1 << 16
_START_SECONDS = 60.0
_MAX_REPLY_BYTES = 1 << 20
_WORKER = resources.files("dolma_py").joinpath("python_sources_worker.py").read_text(encoding="utf-8")


class SourceLimits(NamedTuple):
    """What one source may cost."""

    max_bytes: int = 256 << 10  # of UTF-8; a longer one is too_long
    max_seconds: float = 20.0
    max_memory_bytes: int = 1 << 30


class Checked(NamedTuple):
    """What a source is.

    problem: "" for a program; syntax, null_byte, nested (deeper than the parser goes), too_long, timeout or crash
    findings: number of places that break each rule of python_sources_worker.WEIGHTS
    score: 10 - 10 * (weighted findings) / statements, as pylint computes its own, at least 0; 0 without a statement
    """

    problem: str
    line: int = 0  # of a mistake of syntax, from 1
    statements: int = 0
    findings: dict[str, int] = {}
    comment_frac: float = 0.0  # of lines that are not blank, those that begin with #

    @property
    def score(self) -> float:
        """0 to 10."""
        if not self.statements:
            return 0.0
        weighted = sum(WEIGHTS[name] * number for name, number in self.findings.items())
        return max(0.0, 10.0 - 10.0 * weighted / self.statements)


class PythonSources:
    """One process that checks a source at a time; it starts anew after one that it did not survive.

    Raises DataError when no process can be started: that is no fault of a source.
    """

    def __init__(self, limits: SourceLimits = SourceLimits()) -> None:
        self.limits = limits
        self.num_started = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PythonSources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def check(self, source: str) -> Checked:
        """What the source is; never raises for what stands in it."""
        data = source.encode("utf-8", "surrogatepass")
        if len(data) > self.limits.max_bytes:
            return Checked("too_long")
        if self._process is None:
            self._start()
        deadline = time.monotonic() + self.limits.max_seconds
        try:
            self._write(_HEAD.pack(len(data)) + data, deadline)
            values = self._read_reply(deadline)
        except TimeoutError:
            self.close()
            return Checked("timeout")
        except (OSError, EOFError, ValueError):
            self.close()
            return Checked("crash")
        return Checked(**values)

    def _start(self) -> None:
        command = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _WORKER,
            str(self.limits.max_memory_bytes),
            str(int(self.limits.max_seconds) + 1),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        self.num_started += 1
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        try:
            self._read_reply(time.monotonic() + _START_SECONDS)
        except (OSError, EOFError, ValueError) as error:
            self.close()
            problem = f"the process that parses cannot be started ({type(error).__name__})"
            raise DataError("Python source", problem, hint="Look at this machine's limits (ulimit -a).") from error

    def _write(self, data: bytes, deadline: float) -> None:
        assert self._process is not None and self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        rest = memoryview(data)
        while rest:
            _await(descriptor, select.POLLOUT, deadline)
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(descriptor, rest[:_PIECE_BYTES]) :]

    def _read_reply(self, deadline: float) -> dict[str, Any]:
        size = _HEAD.unpack(self._read(_HEAD.size, deadline))[0]
        if size > _MAX_REPLY_BYTES:
            raise ValueError(size)
        values = json.loads(self._read(size, deadline))
        if not isinstance(values, dict):
            raise ValueError(values)
        return values

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        data = bytearray()
        while len(data) < size:
            _await(descriptor, select.POLLIN, deadline)
            with contextlib.suppress(BlockingIOError):
                piece = os.read(descriptor, min(size - len(data), _PIECE_BYTES))
                if not piece:
                    raise EOFError
                data += piece
        return bytes(data)


def _await(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
