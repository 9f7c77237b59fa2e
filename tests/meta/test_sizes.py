"""The walls: a file of 500 lines, a function of 80, eight parameters. Planted giants show that they stand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FOLDERS = ("dolma_py", "taggers", "dedup", "mixers", "pipelines", "train_bridge", "tests", "benchmarks")
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
MAX_PARAMETERS = 8
# A kernel takes arrays and no configuration object, and numba has no keyword-only arguments: it gets twice as many.
MAX_KERNEL_PARAMETERS = 16


def find_giants(root: Path) -> list[str]:
    """One line per file, function or parameter list that is too long, below the folders of `root`."""
    found = []
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        name, source = path.relative_to(root).as_posix(), path.read_text()
        num_lines = len(source.splitlines())
        if num_lines > MAX_FILE_LINES:
            found.append(f"{name}: {num_lines} lines, at most {MAX_FILE_LINES}")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found += [
                    f"{name}:{node.lineno}: {node.name}: {problem}"
                    for problem in _function_problems(node, is_twin="/reference/" in name)
                ]
    return found


def _function_problems(node: ast.FunctionDef | ast.AsyncFunctionDef, *, is_twin: bool) -> list[str]:
    problems = []
    num_lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if num_lines > MAX_FUNCTION_LINES:
        problems.append(f"{num_lines} lines, at most {MAX_FUNCTION_LINES}")
    # a twin takes plain values where the code takes a configuration
    limit = MAX_KERNEL_PARAMETERS if node.name.endswith("_kernel") or is_twin else MAX_PARAMETERS
    arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    num_parameters = len([name for name in arguments if name not in ("self", "cls")])
    # a command's parameters are its options, and a test's may be fixtures and the columns of its table
    if num_parameters > limit and not node.name.startswith("test_") and not _is_command(node):
        problems.append(f"{num_parameters} parameters, at most {limit}")
    return problems


def _is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A function whose parameters are the options of a command: registered as one, or annotated as options only."""
    options = [ast.unparse(item.annotation) for item in node.args.args if item.annotation is not None]
    if options and all(
        option
        in (
            "Corpus",
            "OneCorpus",
            "PlainInput",
            "PlainOutput",
            "TextColumn",
            "IdColumn",
            "Mark",
            "ShortCircuit",
            "View",
            "ConfigFile",
            "Overrides",
            "Name",
            "Seed",
            "DryRun",
            "Partitions",
            "Master",
            "BundleFolder",
        )
        for option in options
    ):
        return True
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


def test_nothing_is_too_large(repository):
    assert find_giants(repository) == []


def test_the_walk_sees_this_file(repository):
    names = [path.name for folder in FOLDERS for path in (repository / folder).rglob("*.py")]
    assert Path(__file__).name in names and len(names) > 50


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\n" * 501, "501 lines"),
        ("def f():\n" + "    x = 1\n" * 80, "f: 81 lines"),
        ("class A:\n    async def f(self):\n" + "        x = 1\n" * 80, "f: 81 lines"),
        ("def f(a, b, c, d, /, e, f, g, *, h, i):\n    pass\n", "9 parameters"),
        ("def f_kernel(" + ", ".join(f"a{i}" for i in range(17)) + "):\n    pass\n", "17 parameters"),
    ],
)
def test_a_planted_giant_is_found(tmp_path, source, expected):
    (tmp_path / "dedup").mkdir()
    (tmp_path / "dedup" / "giant.py").write_text(source)
    assert [giant for giant in find_giants(tmp_path) if expected in giant]


def test_the_largest_allowed_pass(tmp_path):
    (tmp_path / "dedup").mkdir()
    body = "def f(self, a, b, c, d, e, f, g, h):\n" + "    x = 1\n" * 79
    (tmp_path / "dedup" / "large.py").write_text(body + "y = 1\n" * (500 - 80))
    assert find_giants(tmp_path) == []
