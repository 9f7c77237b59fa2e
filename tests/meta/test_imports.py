"""Who may import whom: our packages, and the third-party packages that belong in one place. Planted violations show it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

OURS = ("dolma_py", "taggers", "dedup", "mixers", "pipelines", "train_bridge")

# importer -> what it may import of ours
MAY_IMPORT = {
    "dolma_py": {"dolma_py"},
    "taggers": {"dolma_py", "taggers"},
    "dedup": {"dolma_py", "dedup"},
    "mixers": {"dolma_py", "mixers"},
    "pipelines": {"dolma_py", "taggers", "dedup", "mixers", "pipelines"},
    "train_bridge": {"dolma_py", "train_bridge"},
}

# package -> patterns of the library files that may import it; pyarrow.fs stands for that one module
THIRD_PARTY = {
    "pyspark": ["pipelines/**/*.py"],
    "py4j": ["pipelines/**/*.py"],
    "torch": ["train_bridge/**/*.py"],
    "numba": ["**/*_kernels.py", "dolma_py/numba_options.py"],
    "yaml": ["dolma_py/config.py", "dolma_py/strict_yaml.py"],
    "pyarrow.fs": ["dolma_py/storage.py", "dolma_py/remote_files.py", "dolma_py/hub_files.py"],
    "smart_open": ["dolma_py/s3_files.py"],
    "botocore": ["dolma_py/s3_files.py"],
    "fsspec": [],
    "pandas": [],
    "polars": [],
    "omegaconf": [],
}

# What the trainer runs with on a machine that has nothing else of ours installed.
TRAINER_PACKAGES = ("torch", "numpy", "pyarrow", "yaml", "pydantic")


def imported_modules(source: str) -> list[tuple[int, str]]:
    """(line, dotted module) of every import in the source, wherever it stands; a relative import gives a leading dot.

    `from a import b` gives both a and a.b, since b may be a module. Calls of import_module and __import__ with a literal
    string count too.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found.append((node.lineno, module))
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names if not node.level]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.append((node.lineno, node.args[0].value))
    return found


def find_violations(root: Path) -> list[str]:
    """One line per forbidden import in the library code and the twins below `root`."""
    found = []
    for package in (*OURS, "tests/reference"):
        for path in sorted((root / package).rglob("*.py")):
            for line, module in imported_modules(path.read_text()):
                reason = _reason_against(path.relative_to(root), module)
                if reason:
                    found.append(f"{path.relative_to(root).as_posix()}:{line}: {module}: {reason}")
    return found


def _reason_against(path: Path, module: str) -> str:
    package, top = path.parts[0], module.split(".")[0]
    if module.startswith("."):
        return "relative import"
    if package == "tests":
        return "a twin imports nothing of ours" if top in OURS else ""
    if top == "tests":
        return "library code imports a test"
    if top in OURS:
        if module.startswith("dolma_py.cli") and package not in ("dolma_py",):
            return "nobody imports the command line"
        return "" if top in MAY_IMPORT[package] else f"{package} may import only {sorted(MAY_IMPORT[package])}"
    for name, patterns in THIRD_PARTY.items():
        named = module == name or module.startswith(name + ".")
        if named and not any(_match(path, pattern) for pattern in patterns):
            return f"allowed only in {patterns or 'no library file'}"
    return ""


def _match(path: Path, pattern: str) -> bool:
    """Whether the whole path matches; ** is any number of folders, none included."""
    expression = re.escape(pattern).replace(r"\*\*/", "(?:[^/]+/)*").replace(r"\*", "[^/]*")
    return re.fullmatch(expression, path.as_posix()) is not None


def test_nobody_imports_what_is_not_theirs(repository):
    assert find_violations(repository) == []


def test_the_walk_sees_every_folder(repository):
    for package in OURS:
        assert list((repository / package).rglob("*.py")), f"no file in {package}"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dolma_py/bad.py", "import taggers.lengths"),
        ("dolma_py/bad.py", "def f():\n    from pipelines import session\n"),
        ("dolma_py/bad.py", "import importlib\ndef f():\n    return importlib.import_module('train_bridge.loop')\n"),
        ("dolma_py/bad.py", "from importlib import import_module\nx = import_module('mixers')\n"),
        ("dolma_py/bad.py", "x = __import__('dedup')\n"),
        ("dolma_py/formats/bad.py", "import torch"),
        ("taggers/bad.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dedup.exact import find\n"),
        ("taggers/bad.py", "class A:\n    def f(self):\n        def g():\n            import pyspark.sql\n"),
        ("taggers/bad.py", "from dolma_py import cli"),
        ("taggers/bad.py", "from . import lengths"),
        ("dedup/bad.py", "from mixers.plan import plan"),
        ("mixers/bad.py", "import pandas as pd"),
        ("mixers/bad.py", "from numba import njit"),
        ("mixers/bad.py", "try:\n    import yaml\nexcept ImportError:\n    yaml = None\n"),
        ("mixers/pipelines/bad.py", "import pyspark"),
        ("mixers/bad_kernels/bad.py", "import numba"),
        ("mixers/bad.py", "from pyarrow import fs"),
        ("mixers/bad.py", "import pyarrow.fs as f"),
        ("pipelines/bad.py", "import torch.nn"),
        ("pipelines/bad.py", "from train_bridge import loop"),
        ("train_bridge/bad.py", "import pyspark"),
        ("train_bridge/bad.py", "from taggers.lengths import tag"),
        ("dedup/bad.py", "from tests.reference import minhash"),
        ("tests/reference/bad.py", "def f():\n    from dolma_py import hashing\n"),
    ],
)
def test_a_planted_import_is_found(tmp_path, path, source):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source)
    violations = find_violations(tmp_path)
    assert len(set(violations)) >= 1
    assert all(violation.startswith(f"{path}:") for violation in violations)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipelines/good.py", "from dedup import minhash\nfrom pyspark.sql import SparkSession\n"),
        ("train_bridge/deep/good.py", "import torch\nfrom dolma_py import config\n"),
        ("dedup/deep/good_kernels.py", "from numba import njit\n"),
        ("dolma_py/numba_options.py", "import numba\n"),
        ("dolma_py/cli.py", "COMMANDS = {'train': 'train_bridge.run_training:main'}\n"),
        ("tests/reference/good.py", "import math\nimport numpy as np\nfrom tests.reference import words\n"),
    ],
)
def test_an_allowed_import_passes(tmp_path, path, source):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source)
    assert find_violations(tmp_path) == []


_IMPORT_WITHOUT = """
import importlib, pathlib, sys

class Without:
    # a finder that does not know the refused packages: torch asks whether some of them are there
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in REFUSED else self.finder.find_spec(name, path, target)

REFUSED = set(sys.argv[2:])
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    if path.stem != "__main__":
        importlib.import_module(f"{path.parent.name}.{path.stem}")
print("all imported")
"""


def test_the_trainer_imports_with_its_own_packages_alone(repository):
    """Every other package of ours may be used, but only inside a function."""
    refused = [
        "pyspark", "pandas", "numba", "tokenizers", "transformers", "safetensors", "rich", "typer", "matplotlib", "jinja2",
        "smart_open", "orjson", "zstandard", "xxhash", "datasketch", "fasttext", "pydivsufsort", "resiliparse", "fastwarc",
        "py3langid",
    ]  # fmt: skip
    assert not set(refused) & set(TRAINER_PACKAGES)
    answer = _import_without(repository / "train_bridge", refused)
    assert answer.stdout.strip() == "all imported", answer.stderr
    assert "No module named 'pydantic'" in _import_without(repository / "train_bridge", ["pydantic"]).stderr


def _import_without(folder, refused):
    return subprocess.run(
        [sys.executable, "-c", _IMPORT_WITHOUT, str(folder), *refused],
        capture_output=True, text=True, cwd=folder.parent, check=False,
    )  # fmt: skip
