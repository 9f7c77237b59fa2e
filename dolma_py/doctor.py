"""What this machine has for this project, and what to do about what it lacks: `dolma-py doctor`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from dolma_py.errors import DolmaError, SandboxError
from dolma_py.java_home import find_java
from dolma_py.machine import count_cores, read_memory_bytes
from dolma_py.numba_options import choose_cache_dir
from dolma_py.sandbox import check_sandbox

GIB = 1 << 30
MIN_MEMORY_BYTES = 4 * GIB  # the quickstart with its trainer
MIN_DISK_BYTES = 5 * GIB  # the environment takes 3 GB, the quickstart 1

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Finding(NamedTuple):
    """One line of the report; `ok` False means that something will not run or will be skipped."""

    name: str
    ok: bool
    found: str
    advice: str  # empty when nothing needs to be done


def diagnose() -> list[Finding]:
    """Look at this machine; nothing is changed but for the Java mirror and the compile cache, which every run needs."""
    return [
        _python(), _java(), _cores(), _memory(), _gpu(), _sandbox(), _browser(), _compiler(),
        *_packages(), _disk(), _compile_cache(), _temporary_folder(),
    ]  # fmt: skip


def run_doctor() -> int:
    """Print the findings; 0 when all that curation and training need is there, else 1."""
    import rich.console
    import rich.markup
    import rich.table

    findings = diagnose()
    table = rich.table.Table(box=None, pad_edge=False)
    for title in ("", "what", "found", "advice"):
        table.add_column(title, no_wrap=title in ("", "what"), overflow="fold")
    for finding in findings:
        colour = "green" if finding.ok else "yellow"
        mark = "ok" if finding.ok else "--"
        table.add_row(
            f"[{colour}]{mark}[/]", finding.name, rich.markup.escape(finding.found), rich.markup.escape(finding.advice)
        )
    rich.console.Console().print(table)
    return 0 if all(finding.ok for finding in findings if finding.name in NEEDED) else 1


NEEDED = ("Python", "Java", "memory", "disk space", "tokenizers", "compile cache", "temporary folder")


def _python() -> Finding:
    version = sys.version_info
    ok = (3, 11) <= version[:2] < (3, 14)
    advice = "" if ok else "Use Python 3.11, 3.12 or 3.13."
    return Finding("Python", ok, f"{version.major}.{version.minor}.{version.micro} ({sys.executable})", advice)


def _java() -> Finding:
    try:
        java = find_java()
    except DolmaError as error:
        return Finding("Java", False, str(error), "Install Java 17 or later, or: pip install 'dolma-py[spark]'")
    return Finding("Java", True, f"{java.version} from {java.origin} ({java.home})", "")


def _cores() -> Finding:
    usable = count_cores()
    return Finding("cores", True, f"{usable} of {os.cpu_count()}", "" if usable > 1 else "More cores, more speed.")


def _memory() -> Finding:
    usable = read_memory_bytes()
    ok = usable >= MIN_MEMORY_BYTES
    return Finding(
        "memory", ok, f"{usable / GIB:.1f} GiB", "" if ok else f"{MIN_MEMORY_BYTES / GIB:.0f} GiB are needed."
    )


def _run(command: list[str]) -> str | None:
    """What a program prints, or None when it is not here or fails."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, errors="replace", timeout=30,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _gpu() -> Finding:
    answer = _run(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    if not answer:
        return Finding(
            "GPU", False, "none", "Not needed: small models train on the CPU. Large ones want a CUDA device."
        )
    return Finding("GPU", True, "; ".join(line.strip() for line in answer.splitlines()), "")


def _sandbox() -> Finding:
    try:
        return Finding("sandbox", True, check_sandbox(), "")
    except SandboxError as error:
        return Finding(
            "sandbox", False, error.problem, f"{error.hint} Only dolma_py.sandbox uses it; no command does yet."
        )


def _browser() -> Finding:
    for name in BROWSERS:
        if shutil.which(name):
            return Finding("browser", True, name, "")
    return Finding("browser", False, "none", "Only a test of the report's page uses one: apt-get install chromium")


def _compiler() -> Finding:
    for name in (os.environ.get("CXX", ""), "g++", "clang++"):
        version = _run([name, "-dumpversion"]) if name else None
        if version:
            return Finding("C++ compiler", True, f"{name} {version}", "")
    return Finding(
        "C++ compiler", False, "none", "torch.compile needs one: apt-get install g++. Training works without."
    )


def _packages() -> Iterator[Finding]:
    for package, extra in (("tokenizers", ""), ("pyspark", "spark"), ("torch", "train")):
        name = f"dolma-py[{extra}]" if extra else "dolma-py"
        try:
            yield Finding(package, True, metadata.version(package), "")
        except metadata.PackageNotFoundError:
            yield Finding(package, False, "not installed", f"pip install '{name}'")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    ok = free >= MIN_DISK_BYTES
    advice = "" if ok else f"{MIN_DISK_BYTES / GIB:.0f} GiB are wanted for the environment and the quickstart."
    return Finding("disk space", ok, f"{free / GIB:.1f} GiB free here", advice)


def _compile_cache() -> Finding:
    folder = choose_cache_dir()
    ok = _takes_files(folder)
    return Finding("compile cache", ok, folder, "" if ok else "Set NUMBA_CACHE_DIR to a folder that can be written.")


def _temporary_folder() -> Finding:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    ok = _takes_files(folder) and free >= GIB
    advice = "" if ok else "Set TMPDIR to a folder with room: Spark keeps its shuffle files there."
    return Finding("temporary folder", ok, f"{folder}, {free / GIB:.1f} GiB free", advice)


def _takes_files(folder: str) -> bool:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
