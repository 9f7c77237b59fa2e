"""Text and pictures of PDFs through a process that may hang, crash or run out of memory without harm.

A process serves many files, one after the other. One that does not end in time is killed with it; the next file gets a new one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from dolma_py.errors import DataError
from dolma_py.pdf_layout import Line

_HEAD = struct.Struct("<Q")
_PIECE_BYTES = 1 << 20
_START_SECONDS = 60.0
_PROGRAM = "from dolma_py.pdf_worker import serve; serve({}, {})"
FILES_PER_PROCESS = 500  # then it starts anew: a library's leaks and its memory's holes go with it


class PdfLimits(NamedTuple):
    """What one file may cost."""

    max_seconds: float = 120.0
    max_memory_bytes: int = 1 << 30
    max_pages: int = 10_000
    max_text_bytes: int = 64 << 20


class Page(NamedTuple):
    """One page; `lines` is None when the page cannot be read."""

    number: int  # from 0
    lines: list[Line] | None = None
    size: tuple[float, float] = (0.0, 0.0)  # points
    png: bytes = b""
    is_cut: bool = False  # the page has more characters than are read of one


class Parsed(NamedTuple):
    """What a file gave: its pages, or the reason why it gave none.

    Reasons: encrypted, bad_pdf, no_pages, too_many_pages, too_long, too_much_memory, pdf_timeout, pdf_crash.
    """

    num_pages: int
    pages: list[Page]
    reason: str = ""


def _make_page(values: dict[str, Any], png: bytes) -> Page:
    text = values.get("text")
    lines = None if text is None else [Line(*line) for line in text]
    width, height = values.get("size", (0.0, 0.0))
    return Page(values["page"], lines, (width, height), png, bool(values.get("cut")))


class _Failed(Exception):
    """The process gave no answer; the argument is the reason."""


class PdfProcess:
    """Reads one file at a time; threads take turns.

    Raises DataError when no process can be started: that is no fault of a file.
    """

    def __init__(self, limits: PdfLimits) -> None:
        self.limits = limits
        self.num_started = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._num_files = 0
        self._buffer = bytearray()
        self._mutex = threading.Lock()

    def read_text(self, data: bytes, *, tables: bool = True) -> Parsed:
        """The lines of all pages."""
        return self._ask(data, {"op": "text", "first": 0, "last": self.limits.max_pages, "tables": tables})

    def count_pages(self, data: bytes) -> Parsed:
        """The number of pages, and no page."""
        return self._ask(data, {"op": "text", "first": 0, "last": 0, "tables": False})

    def render(self, data: bytes, first: int, last: int, *, long_side: int, turn: int = 0) -> Parsed:
        """Pictures of the pages from `first` up to `last`, which is not drawn, turned clockwise by `turn` degrees.

        The longer side has `long_side` pixels. A page that cannot be drawn has no bytes.
        """
        return self._ask(data, {"op": "png", "first": first, "last": last, "long_side": long_side, "turn": turn})

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        self._buffer.clear()
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _ask(self, data: bytes, request: dict[str, object]) -> Parsed:
        with self._mutex:
            num_pages = 0
            pages: list[Page] = []
            try:
                for values, png in self._exchange(data, request | {"max_pages": self.limits.max_pages}):
                    if "pages" in values:
                        num_pages = int(values["pages"])
                    elif "end" in values:
                        if values["end"] == "too_much_memory":
                            self.close()
                        reason = str(values["end"])
                        return Parsed(num_pages, [] if reason else pages, reason)
                    else:
                        pages.append(_make_page(values, png))
            except _Failed as failed:
                self.close()
                return Parsed(num_pages, [], str(failed))
            raise AssertionError("the process ends each answer")

    def _exchange(self, data: bytes, request: dict[str, object]) -> Iterator[tuple[dict[str, Any], bytes]]:
        if self._num_files >= FILES_PER_PROCESS:
            self.close()
        if self._process is None:
            self._start()
        self._num_files += 1
        deadline = time.monotonic() + self.limits.max_seconds
        self._write(json.dumps(request).encode(), deadline)
        self._write(data, deadline)
        num_bytes = 0
        while True:
            frame = self._read_frame(deadline)
            num_bytes += len(frame)
            if num_bytes > self.limits.max_text_bytes:
                raise _Failed("too_long")
            try:
                values = json.loads(frame)
            except ValueError:
                raise _Failed("pdf_crash") from None
            yield values, self._read_frame(deadline) if "png" in values else b""
            if "end" in values:
                return

    def _start(self) -> None:
        program = _PROGRAM.format(self.limits.max_memory_bytes, self.limits.max_seconds)
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        # -P: what lies in the working folder is not imported
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment, bufsize=0,
        )  # fmt: skip
        self._num_files = 0
        self.num_started += 1
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        assert self._process.stderr is not None
        with self._process.stderr as complaints:  # until it is ready; then it has none
            try:
                self._read_frame(time.monotonic() + _START_SECONDS)
            except _Failed as failed:
                self._process.kill()
                words = complaints.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
                self.close()
                problem = f"the process that parses cannot be started ({words[-1] if words else failed})"
                raise DataError("PDF", problem, hint="Is pypdfium2 installed where this runs?") from None

    def _write(self, data: bytes, deadline: float) -> None:
        assert self._process is not None and self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        rest = memoryview(_HEAD.pack(len(data)) + data)
        while rest:
            self._await(descriptor, selectors.EVENT_WRITE, deadline)
            try:
                rest = rest[os.write(descriptor, rest[:_PIECE_BYTES]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise _Failed("pdf_crash") from None

    def _read_frame(self, deadline: float) -> bytes:
        num_bytes = _HEAD.unpack(self._read(_HEAD.size, deadline))[0]
        if num_bytes > self.limits.max_text_bytes:
            raise _Failed("too_long")
        return self._read(num_bytes, deadline)

    def _read(self, num_bytes: int, deadline: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while len(self._buffer) < num_bytes:
            self._await(descriptor, selectors.EVENT_READ, deadline)
            try:
                piece = os.read(descriptor, _PIECE_BYTES)
            except BlockingIOError:
                continue
            if not piece:
                raise _Failed("pdf_crash")
            self._buffer += piece
        data = bytes(self._buffer[:num_bytes])
        del self._buffer[:num_bytes]
        return data

    def _await(self, descriptor: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise _Failed("pdf_timeout")


_OPENING = threading.Lock()
_PROCESSES: dict[tuple[int, PdfLimits], PdfProcess] = {}


def share_process(limits: PdfLimits) -> PdfProcess:
    """The process of this one for those limits, kept until the end: a task reads many files."""
    place = (os.getpid(), limits)
    with _OPENING:
        if place not in _PROCESSES:
            _PROCESSES[place] = PdfProcess(limits)
            atexit.register(_PROCESSES[place].close)
        return _PROCESSES[place]
