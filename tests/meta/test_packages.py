"""The eight packages this project is built on are used by library code, not only listed. Planted fakes show the check."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

EIGHT = ("pyspark", "datasketch", "pyarrow", "fasttext", "zstandard", "numba", "torch", "smart_open")
LIBRARY = ("dolma_py", "taggers", "dedup", "mixers", "pipelines", "train_bridge")


def names_used(source: str, package: str) -> set[str]:
    """The names that the source both binds by importing from `package` and reads outside of import statements."""
    tree = ast.parse(source)
    bound = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == package:
                    bound.add(alias.asname or package)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package and not node.level:
            bound.update(alias.asname or alias.name for alias in node.names)
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return bound & read


def files_using(root: Path, package: str) -> list[str]:
    """The library files below `root` that use the package."""
    files = [path for folder in LIBRARY for path in sorted((root / folder).rglob("*.py"))]
    sources = [(path, path.read_text()) for path in files]
    return [str(path.relative_to(root)) for path, text in sources if package in text and names_used(text, package)]


@pytest.mark.parametrize("package", EIGHT)
def test_library_code_uses(repository, package):
    assert files_using(repository, package) != []


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("import torch\n", False),
        ("# torch.ones(3)\nx = 'torch'\n", False),
        ("import torch as t\ntorch = 3\n", False),
        ("def f():\n    from torch import nn\n", False),
        ("import torchvision\ntorchvision.f()\n", False),
        ("import torch\ntorch.ones(3)\n", True),
        ("import torch.nn as nn\nnn.Linear(1, 2)\n", True),
        ("def f():\n    from torch.nn import Linear as L\n    return L(1, 2)\n", True),
    ],
)
def test_a_planted_import_without_use_does_not_count(tmp_path, source, used):
    (tmp_path / "train_bridge").mkdir()
    (tmp_path / "train_bridge" / "model.py").write_text(source)
    assert bool(files_using(tmp_path, "torch")) is used
