"""The only place with numba settings: compile options of every kernel, and where compiled code is cached.

Importing this module before numba points NUMBA_CACHE_DIR at a folder that can be written, so that a read-only home,
a read-only installation or code inside a zip still compile once and not at every start.

numba compiles a kernel again when its own file changed. What it took from other files, tables and kernels that it calls, is part of the
compiled code too, and is not looked at: after an update that changes only those, old code would answer. So the folder is named by the
contents of all kernels' files and of what they import, and an update has a folder of its own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

PACKAGES = ("dolma_py", "taggers", "dedup", "mixers")  # that have kernels
KEPT_SEC = 30 * 86400  # folders of other contents that were not used for so long are removed
_IMPORT = re.compile(rf"^(?:from|import) ((?:{'|'.join(PACKAGES)})(?:\.\w+)*)(?: import \(?([\w\s,]+))?", re.MULTILINE)
_DIGEST = re.compile(r"[0-9a-f]{16}")


def find_sources(root: Path) -> dict[str, bytes]:
    """Contents of the files that kernels below `root` are compiled from, by path relative to it: *_kernels.py and what they import."""
    found: dict[str, bytes] = {}
    waiting = sorted(path for package in PACKAGES for path in (root / package).rglob("*_kernels.py"))
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).as_posix()
        if name not in found and path.is_file():
            found[name] = path.read_bytes()
            waiting += list(_imported(root, found[name].decode("utf-8", "replace")))
    return found


def _imported(root: Path, source: str) -> Iterator[Path]:
    for module, names in _IMPORT.findall(source):
        base = root.joinpath(*module.split("."))
        yield base.with_suffix(".py")
        for name in re.findall(r"\w+", names):
            yield base / f"{name}.py"


@functools.cache
def kernels_digest(root: Path | None = None) -> str:
    """16 hexadecimal digits that change with any file that kernels are compiled from; of code inside a zip, with the zip."""
    root = root or Path(__file__).resolve().parents[1]
    digest = xxhash.xxh3_64()
    if root.is_dir():
        for name, content in sorted(find_sources(root).items()):
            digest.update(f"{name} {len(content)} ".encode() + content)
    else:
        digest.update(next(path for path in (root, *root.parents) if path.is_file()).read_bytes())
    return digest.hexdigest()


def choose_cache_dir() -> str:
    """The compile cache: a folder of these kernels in NUMBA_CACHE_DIR when set, else in the user's cache, else in the temporary folder."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        # a parent process of the same code has named it already
        return given if os.path.basename(given) == kernels_digest() else os.path.join(given, kernels_digest())
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    fallback = os.path.join(tempfile.gettempdir(), f"dolma-py-{os.getuid()}")
    for base in (os.path.join(root, "dolma-py"), fallback):
        path = Path(base) / "numba" / kernels_digest()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            _remove_old(path)
            return str(path)
    return os.path.join(tempfile.mkdtemp(prefix="dolma-py-"), "numba")


def _remove_old(used: Path) -> None:
    """Marks the folder as used; those of other contents that nobody used for a month go."""
    with contextlib.suppress(OSError):
        os.utime(used)
        for folder in used.parent.iterdir():
            if _DIGEST.fullmatch(folder.name) and folder.stat().st_mtime < time.time() - KEPT_SEC:
                shutil.rmtree(folder, ignore_errors=True)


os.environ["NUMBA_CACHE_DIR"] = choose_cache_dir()

# nogil: kernels run beside Arrow's and Python's own threads. fastmath stays off everywhere: it would drop NaN checks and
# make sums depend on the compiler. error_model numpy: division by zero is inf or nan instead of a branch per division.
KERNEL: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
# of a kernel that only kernels call: without what unpacks Python's arguments, which for tuples of many arrays compiles longer than the kernel
KERNEL_INNER: dict[str, Any] = {**KERNEL, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
KERNEL_PARALLEL: dict[str, Any] = {**KERNEL, "parallel": True}
# of a kernel that makes no array: its arrays are the caller's, so nothing counts references to them, which in a loop over words costs more
# than the loop's own work
KERNEL_BORROWING: dict[str, Any] = {**KERNEL, "_nrt": False}
KERNEL_BORROWING_INNER: dict[str, Any] = {**KERNEL_INNER, "_nrt": False}
