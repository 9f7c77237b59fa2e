"""A program that nobody vouches for, what it may use, and how it ended."""

from __future__ import annotations

import resource
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from dolma_py.config import Config
from dolma_py.errors import ConfigError

MIB = 1 << 20
PROGRAM_FILE = "/tmp/program.py"  # where the source lies in the sandbox
WORK_FOLDER = "/tmp/work"  # where the program begins, with its input files
_OWN_FILES = 4  # /tmp, /dev/shm, the working folder and the source
_PAGE_BYTES = resource.getpagesize()

Status = Literal["ok", "failed", "timeout", "cpu", "memory", "files", "output"]


class Limits(Config):
    """What one run may use. docs/sandbox.md says who holds each limit, and what bounds all processes together."""

    wall_sec: float = Field(
        default=10.0,
        gt=0.0,
        le=86_400.0,
        description="seconds from the start of the program to its end; then everything is killed",
    )
    cpu_sec: float = Field(default=10.0, gt=0.0, le=86_400.0, description="seconds of CPU of all processes together")
    max_memory_bytes: int = Field(
        default=512 * MIB, ge=32 * MIB, description="resident memory of all processes and the bytes of all files together; the "
        "kernel allows one process no more than twice this of address space"
    )  # fmt: skip
    max_processes: int = Field(default=32, ge=1, le=4096, description="processes and threads at one time")
    max_open_files: int = Field(default=64, ge=16, le=4096, description="open files of one process")
    max_disk_bytes: int = Field(
        default=64 * MIB, ge=MIB, description="bytes of all files in /tmp, the working folder included; a second share of 1 MiB is in /dev/shm"
    )  # fmt: skip
    max_files: int = Field(default=4096, ge=16, description="files, folders and links in /tmp and /dev/shm at one time")
    max_output_bytes: int = Field(
        default=MIB,
        ge=0,
        description="bytes kept of standard output, and as many of standard error; with one more the run ends",
    )


@dataclass(frozen=True)
class Program:
    """What to run: Python source with its arguments, or a command line (one of the two).

    source : str                    runs as `python program.py *argv` would, as the module __main__
    argv : tuple of str             with a source: sys.argv[1:]; without: the command line, its first word found in /usr/bin
    stdin : bytes                   all of standard input, through a pipe; it ends there
    files : mapping str -> bytes    laid into the working folder; names are relative, in UTF-8, and stay below it
    """

    source: str | None = None
    argv: tuple[str, ...] = ()
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def check(self, limits: Limits) -> None:
        """ConfigError on what could not be run whatever the program is."""
        if self.source is None and not self.argv:
            raise ConfigError("program", self.argv, "expected a source or a command line")
        if any("\0" in word for word in self.argv):
            raise ConfigError("program.argv", self.argv, "expected words without a NUL")
        _check_names(self.files, limits)
        sizes = [len((self.source or "").encode("utf-8", "surrogatepass")), *map(len, self.files.values())]
        num_bytes = sum(-(-size // _PAGE_BYTES) * _PAGE_BYTES for size in sizes)  # as the sandbox's disk counts
        if num_bytes > limits.max_disk_bytes // 2:
            raise ConfigError(
                "program.files", num_bytes, f"expected at most half of max_disk_bytes={limits.max_disk_bytes} bytes",
                "Raise max_disk_bytes.",
            )  # fmt: skip


def _check_names(names: Iterable[str], limits: Limits) -> None:
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for name in names:
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ConfigError("program.files", name, "expected a relative name below the working folder")
        if _is_unwritable(path):
            rule = "expected UTF-8 of at most 255 bytes between slashes, 3072 in all, 100 folders deep"
            raise ConfigError("program.files", name, rule)
        if path in files:
            raise ConfigError("program.files", name, "expected each file once, however its name is written")
        files.add(path)
        folders.update(path.parents[:-1])  # the last is the working folder
    if files & folders:
        name = str(min(files & folders))
        raise ConfigError("program.files", name, "expected a file or a folder of that name, not both")
    num_files = len(files | folders) + _OWN_FILES
    if num_files > limits.max_files:
        raise ConfigError(
            "program.files", num_files, f"expected at most max_files={limits.max_files} files and folders", "Raise max_files."
        )  # fmt: skip


def _is_unwritable(path: PurePosixPath) -> bool:
    try:
        sizes = [len(part.encode()) for part in path.parts]
    except UnicodeEncodeError:  # half of a surrogate pair
        return True
    return max(sizes) > 255 or sum(sizes) + len(sizes) > 3072 or len(sizes) > 100  # the kernel takes 4096 bytes


@dataclass(frozen=True)
class Outcome:
    """How a run ended, as seen from outside of it.

    status : "ok"       the program ended by itself with 0
             "failed"   it ended by itself with another code, or by a signal of its own or of the kernel (a native crash)
             "timeout", "cpu", "memory", "files", "output": the limit it went over, for which everything of it was killed
    exit_code : int     what a shell would say: 128 + N after signal N. The program chooses it: os._exit(0) is 0
    stdout, stderr      the first max_output_bytes of each
    wall_sec            from the program's start to the end of all its processes
    cpu_sec             user and system of all its processes, and of the interpreter's start; processes that were killed, or that
                        nobody waited for, count as far as they were seen alive, every 20 ms
    """

    status: Status
    exit_code: int
    stdout: bytes
    stderr: bytes
    wall_sec: float
    cpu_sec: float
