"""The only place with numba settings: compile options of every kernel, and where compiled code is cached.

Importing this module before numba points NUMBA_CACHE_DIR at a folder that can be written, so that a read-only home,
a read-only installation or code inside a zip still compile once and not at every start.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any


def choose_cache_dir() -> str:
    """The compile cache: NUMBA_CACHE_DIR when set, else the user's cache folder, else one under the temporary folder."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return given
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    fallback = os.path.join(tempfile.gettempdir(), f"dolma-py-{os.getuid()}")
    for base in (os.path.join(root, "dolma-py"), fallback):
        path = Path(base) / "numba"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return str(path)
    return os.path.join(tempfile.mkdtemp(prefix="dolma-py-"), "numba")


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
