"""The folder of compiled code follows what kernels are compiled from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from dolma_py import numba_options
from dolma_py.numba_options import KEPT_SEC, choose_cache_dir, find_sources, kernels_digest

KERNEL = """
from __future__ import annotations
from dolma_py.numba_options import KERNEL
import numba  # isort: skip
from taggers.small_table import (
    VALUE,
)

@numba.njit(**KERNEL)
def value_kernel():
    return VALUE
"""


@pytest.fixture
def tree(tmp_path):
    """A checkout of one kernel that takes a constant from a file that is none."""
    root = tmp_path / "tree"
    for package in ("dolma_py", "taggers"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").touch()
    shutil.copy(numba_options.__file__, root / "dolma_py")
    (root / "taggers" / "small_kernels.py").write_text(KERNEL)
    (root / "taggers" / "small_table.py").write_text("VALUE = 1\n")
    (root / "taggers" / "other.py").write_text("VALUE = 5\n")
    return root


def run_kernel(root: Path, cache: Path) -> str:
    """The kernel's answer in a process of its own, which keeps compiled code in `cache`."""
    code = "from taggers.small_kernels import value_kernel as k; print(k(), sum(k.stats.cache_hits.values()))"
    environment = {**os.environ, "PYTHONPATH": str(root), "XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_kernel_answers_by_the_constants_of_today(tree, tmp_path):
    """numba looks at the kernel's own file alone, and would answer 1 for ever."""
    assert run_kernel(tree, tmp_path / "cache") == "1 0"
    assert run_kernel(tree, tmp_path / "cache") == "1 1"
    (tree / "taggers" / "small_table.py").write_text("VALUE = 2\n")
    assert run_kernel(tree, tmp_path / "cache") == "2 0"
    assert run_kernel(tree, tmp_path / "cache") == "2 1"


def test_what_no_kernel_imports_changes_nothing(tree):
    assert sorted(find_sources(tree)) == [
        "dolma_py/numba_options.py",
        "taggers/small_kernels.py",
        "taggers/small_table.py",
    ]
    digests = [kernels_digest.__wrapped__(tree)]
    for name, content in (("other", "VALUE = 6"), ("small_table", "VALUE = 3"), ("small_kernels", KERNEL + "\n")):
        (tree / "taggers" / f"{name}.py").write_text(content)
        digests.append(kernels_digest.__wrapped__(tree))
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_this_projects_tables_are_among_them(repository):
    found = find_sources(repository)
    assert {"taggers/pii_bytes.py", "taggers/pii_address_kernels.py", "dolma_py/numba_options.py"} <= set(found)


def test_code_in_a_zip_has_a_folder_by_its_content(tree, tmp_path):
    def zip_tree() -> str:
        with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
            for path in sorted(tree.rglob("*.py")):
                archive.write(path, path.relative_to(tree))
        return kernels_digest.__wrapped__(tmp_path / "code.zip")

    first = zip_tree()
    (tree / "taggers" / "small_table.py").write_text("VALUE = 2\n")
    assert first != zip_tree()


def test_a_folder_by_name_gets_the_digest_once(monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/some/where")
    assert choose_cache_dir() == f"/some/where/{kernels_digest()}"
    monkeypatch.setenv("NUMBA_CACHE_DIR", choose_cache_dir())
    assert choose_cache_dir() == f"/some/where/{kernels_digest()}"


def test_folders_that_nobody_used_for_a_month_go(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "dolma-py" / "numba"
    for name, age in (("0" * 16, KEPT_SEC + 60), ("1" * 16, KEPT_SEC - 60), ("taggers_of_numba", KEPT_SEC + 60)):
        (folder / name / "deep").mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    assert choose_cache_dir() == str(folder / kernels_digest())
    assert {path.name for path in folder.iterdir()} == {"1" * 16, "taggers_of_numba", kernels_digest()}
