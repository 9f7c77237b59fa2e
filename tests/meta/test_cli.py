"""Every command leads to a function that exists, and asking for help loads neither torch nor Spark."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from dolma_py.cli import COMMANDS

HEAVY = ("torch", "pyspark", "numba", "transformers", "matplotlib", "pandas")


def resolve(target: str) -> object:
    """The object behind "package.module:name"."""
    module, sign, name = target.partition(":")
    assert sign, f"{target}: expected module:function"
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_command_has_its_function(command):
    assert callable(resolve(COMMANDS[command]))


def test_there_are_commands():
    assert {"build", "train", "eval", "report", "doctor"} <= {name.split()[0] for name in COMMANDS}


@pytest.mark.parametrize("target", ["dolma_py.config:no_such_function", "dolma_py.no_such_module:main"])
def test_a_planted_dead_string_is_found(target):
    with pytest.raises((AttributeError, ModuleNotFoundError), match="no_such"):
        resolve(target)


_LOADED = """
import sys
from dolma_py.cli import main
try:
    main()
finally:
    print("LOADED", *sorted(set(sys.modules) & set({heavy!r})))
"""


def loaded_by(arguments: list[str], cwd) -> set[str]:
    """The heavy packages that this command line loads."""
    answer = subprocess.run(
        [sys.executable, "-c", _LOADED.format(heavy=HEAVY), *arguments],
        capture_output=True, text=True, cwd=cwd, check=False,
    )  # fmt: skip
    line = [line for line in answer.stdout.splitlines() if line.startswith("LOADED")]
    assert len(line) == 1, answer.stderr
    return set(line[0].split()[1:])


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["build", "--help"]])
def test_help_loads_nothing_heavy(repository, arguments):
    assert not loaded_by(arguments, repository) & {"torch", "pyspark"}


def test_a_planted_heavy_import_is_seen(tmp_path):
    (tmp_path / "dolma_py").mkdir()
    (tmp_path / "dolma_py" / "__init__.py").write_text("")
    (tmp_path / "dolma_py" / "cli.py").write_text("import numba\ndef main():\n    pass\n")
    assert loaded_by([], tmp_path) == {"numba"}
