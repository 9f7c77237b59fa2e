"""What the documentation shows is true: examples in docstrings run, links lead somewhere. Planted lies are found."""

from __future__ import annotations

import doctest
import importlib
import re
import types
from pathlib import Path

import pyarrow as pa
import pytest

from taggers.registry import TAGGERS, find_tagger
from tests.conftest import REPOSITORY

LIBRARY = ("dolma_py", "taggers", "dedup", "mixers", "pipelines", "train_bridge")


def modules_with_examples(root: Path) -> list[str]:
    """Dotted names of the library modules whose text shows an interpreter prompt."""
    paths = [path for folder in LIBRARY for path in sorted((root / folder).rglob("*.py")) if path.stem != "__main__"]
    return [".".join(path.relative_to(root).with_suffix("").parts) for path in paths if ">>> " in path.read_text()]


def failing_examples(module: types.ModuleType) -> tuple[int, list[str]]:
    """(examples run, names of docstrings with a wrong one). Compiled kernels are looked into too, doctest skips them."""
    finder = doctest.DocTestFinder()
    found = finder.find(module)
    for name, item in vars(module).items():
        inner = getattr(item, "py_func", None)
        if inner is not None and inner.__module__ == module.__name__:
            found += finder.find(inner, f"{module.__name__}.{name}", module=False, globs=dict(vars(module)))
    unique = {test.name: test for test in found if test.examples}
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    failed = [name for name, test in sorted(unique.items()) if runner.run(test, clear_globs=False).failed]
    return sum(len(test.examples) for test in unique.values()), failed


@pytest.mark.parametrize("name", modules_with_examples(REPOSITORY))
def test_docstring_examples_run(name):
    num_examples, failed = failing_examples(importlib.import_module(name))
    assert num_examples > 0
    assert failed == []


def test_there_are_examples():
    assert "dolma_py.java_home" in modules_with_examples(REPOSITORY)


@pytest.mark.parametrize(("shown", "failed"), [("2", []), ("3", ["planted.f"])])
def test_a_planted_wrong_example_fails(shown, failed):
    module = types.ModuleType("planted")
    exec(f'def f():\n    """\n    >>> f()\n    {shown}\n    """\n    return 2\n', vars(module))
    module.f.__module__ = "planted"
    assert failing_examples(module) == (1, failed)


_COLUMN = re.compile(r"(?<![\w/.-])([a-z][a-z0-9-]*)-v(\d+)\.([a-z_]\w*)")
_SET = re.compile(r"(?:attributes/|attributes: )([a-z][a-z0-9-]*)-v(\d+)\b")


def wrong_sets(text: str) -> list[str]:
    """What a text says of taggers' attribute sets and is not so: SET.COLUMN without that column, or a set of another version."""
    found = [(*match.groups(), match[0]) for match in _COLUMN.finditer(text)]
    found += [(*match.groups(), None, match[0]) for match in _SET.finditer(text)]
    wrong = []
    for name, version, column, said in found:
        if name not in TAGGERS:
            continue
        tagger = find_tagger(name)
        schema = getattr(tagger, "schema", None)  # some know their columns only with their options
        columns = schema.names if isinstance(schema, pa.Schema) else None
        if tagger.version != int(version) or (column is not None and columns is not None and column not in columns):
            wrong.append(said)
    return wrong


@pytest.mark.parametrize(
    "path",
    [
        path.relative_to(REPOSITORY)
        for pattern in ("*.md", "docs/*.md", "pipelines/recipes/*.yaml")
        for path in sorted(REPOSITORY.glob(pattern))
        if path.name != "CHANGELOG.md"
    ],
    ids=str,
)
def test_attribute_sets_that_pages_and_recipes_name_are_there(path):
    assert wrong_sets((REPOSITORY / path).read_text()) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("--set topic=topic-v1.topic", []),
        ("--set topic=topic-v1.label", ["topic-v1.label"]),
        ("writes `attributes/topic-v9`", ["attributes/topic-v9"]),
        ("{name: x, attributes: topic-v0, keep: y}", ["attributes: topic-v0"]),
        ("my-own-v1.column of another tagger", []),
    ],
)
def test_a_planted_wrong_column_is_found(text, wrong):
    assert wrong_sets(text) == wrong


_LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")


def broken_links(path: Path) -> list[str]:
    """Relative links of a Markdown file that lead to no file, or to no heading of the file."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    broken = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        linked = path.parent / name if name else path
        if not linked.exists() or (heading and heading not in _headings(linked)):
            broken.append(f"{path.name}: {target}")
    return broken


def _headings(path: Path) -> set[str]:
    """Anchors as GitHub makes them: lower case, spaces to hyphens, other signs dropped."""
    titles = re.findall(r"^#+ +(.*?)\s*$", path.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def documents() -> list[Path]:
    return sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    assert broken_links(path) == []


def test_there_are_documents():
    assert "install.md" in [path.name for path in documents()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](no.md)", ["page.md: no.md"]),
        ("[a](#nowhere)\n# Here", ["page.md: #nowhere"]),
        ("![a](no.png)", ["page.md: no.png"]),
        ("[a](page.md#no)", ["page.md: page.md#no"]),
        ("[a](#over-there)\n## Over there", []),
        ("[a](https://example.org/no.md) [b](page.md)", []),
        ("```\n[a](no.md)\n```", []),
    ],
)
def test_a_planted_broken_link_is_found(tmp_path, text, expected):
    (tmp_path / "page.md").write_text(text)
    assert broken_links(tmp_path / "page.md") == expected
