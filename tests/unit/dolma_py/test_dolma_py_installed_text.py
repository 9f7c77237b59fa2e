"""The text of the installation: same bytes twice, nothing from outside the roots, planted items where they are said to be."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from dolma_py.formats import FieldMap, Limits, read_any
from dolma_py.installed_pages import Module, list_entries, render_docstring, render_page
from dolma_py.installed_roots import Distribution, list_distributions, read_file, walk_files
from dolma_py.installed_text import (
    InstalledTextConfig,
    list_modules,
    plan_plants,
    write_installed_text,
    write_pages,
    write_texts,
)
from dolma_py.storage import open_read
from dolma_py.word_problems import make_word_problems

WORDS = "This function takes the words of a sentence and gives them back in another order, which is good to know. " * 8
MODULE = f'''"""A module about words.

{WORDS}
"""

def order(words, *, reverse=False):
    """Order the words.

    {WORDS}

    Parameters
    ----------
    words : list
        What is to be ordered.

    >>> order(["b", "a"])
    ['a', 'b']
    """

add_docs("native.sort", """{WORDS}""")

class Sorter:
    """Sorts. {WORDS}"""

    def run(self):
        """Run & finish <now>."""
'''


@pytest.fixture
def tree(tmp_path) -> tuple[Path, list[Distribution]]:
    """A small installed package with everything that can be odd about one."""
    root = tmp_path / "site-packages"
    files: dict[str, bytes] = {
        "words/__init__.py": MODULE.encode(),
        "words/order.py": MODULE.encode(),
        "words/broken.py": (MODULE + "\ndef (:\n").encode(),
        "words/latin.py": b'# -*- coding: latin-1 -*-\n"""caf\xe9 ' + WORDS.encode() * 3 + b'"""\n',
        "words/nul.py": b'"""' + WORDS.encode() * 3 + b'"""\0\n',
        "words/small.py": b'"""Little."""\n',
        "words/tests/test_order.py": MODULE.encode(),
        "words/guide.rst": b"Guide\n=====\n\nRead this first.\n",
        "words/page.html": b"<html><body><main><p>Extracted words stand here.</p></main></body></html>",
        "words/blob.txt": b"\0\1\2",
        "words-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: words\nVersion: 1.0\n\n# Words\n\nOrders words.\n",
        "words-1.0.dist-info/licenses/LICENSE": b"Permission is hereby granted.\n",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (tmp_path / "secret.txt").write_text("outside the root")
    os.symlink(tmp_path / "secret.txt", root / "words" / "secret.txt")
    os.symlink(tmp_path, root / "words" / "loop")
    paths = (*files, "words/secret.txt", "words/loop/secret.txt", "words/gone.txt")
    return root, [Distribution("words", "1.0", "MIT", str(root), tuple(sorted(paths)))]


@pytest.fixture
def config(tmp_path) -> InstalledTextConfig:
    docs = tmp_path / "doc" / "pkg"
    docs.mkdir(parents=True)
    (docs / "copyright").write_text("Copyright of somebody.\n")
    (docs / "changelog.gz").write_bytes(gzip.compress(b"version 1: first\n"))
    (docs / "torn.txt.gz").write_bytes(gzip.compress(b"never whole " * 99)[:-9])
    (docs / "program.bin").write_bytes(b"\0")
    os.symlink(tmp_path, docs / "away")
    return InstalledTextConfig(system_docs=str(tmp_path / "doc"), min_docstring_bytes=500, plant_frac=1.0)


def read_folder(folder: Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for batch in read_any(
            str(path),
            source=path.parent.name,
            limits=Limits(),
            fields=FieldMap(),
            added=None,
            open_stream=open_read,
            root=str(folder),
        ):
            assert isinstance(batch, pa.RecordBatch)
            found.setdefault(path.parent.name, []).extend(batch.to_pylist())
    return found


def digest_folder(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_every_source_reads_back(tree, config, tmp_path) -> None:
    counts = write_installed_text(str(tmp_path / "out"), config, distributions=tree[1])
    found = read_folder(tmp_path / "out")
    by_path = {json.loads(row["metadata"]).get("path"): row["text"] for rows in found.values() for row in rows}
    assert by_path["words/guide.rst"] == "Guide\n=====\n\nRead this first.\n"
    assert by_path["words/page.html"] == "Extracted words stand here."
    assert by_path["words-1.0.dist-info/METADATA"] == "# Words\n\nOrders words.\n"
    assert by_path["words-1.0.dist-info/licenses/LICENSE"] == "Permission is hereby granted.\n"
    assert by_path["words/order.py"] == MODULE
    assert by_path["system-docs/pkg/changelog.gz"] == "version 1: first\n"
    assert set(found) == {"docs_pages", "package_texts", "source_code", "doc_files", "system_docs"}
    assert len(found["doc_files"]) == 2
    assert len(found["system_docs"]) == 2
    num_docs: dict[str, int] = {}
    for count in counts:
        num_docs[count.source] = num_docs.get(count.source, 0) + count.num_docs
    assert num_docs == {source: len(rows) for source, rows in found.items()}


def test_pages_hold_docstrings_and_boilerplate_is_found(tree, config, tmp_path) -> None:
    write_installed_text(str(tmp_path / "out"), config, distributions=tree[1], num_page_files=1)
    pages = {json.loads(row["metadata"])["url"]: row for row in read_folder(tmp_path / "out")["docs_pages"]}
    assert sorted(pages) == [
        f"https://docs.example/words/{name}.html" for name in ("words", "words.latin", "words.order")
    ]
    row = pages["https://docs.example/words/words.order.html"]
    assert row["text"].count("takes the words of a sentence") == 8 * 4
    assert "Run & finish <now>." in row["text"]
    assert "native.sort" in row["text"]
    assert not any(phrase in row["text"] for phrase in ("stores a cookie", "In this package"))
    assert row["created"].isoformat() == "2025-01-01T00:00:00+00:00"
    assert "caf\u00e9" in pages["https://docs.example/words/words.latin.html"]["text"]


def test_nothing_outside_the_root_is_read(tree, config, tmp_path) -> None:
    write_installed_text(str(tmp_path / "out"), config, distributions=tree[1])
    texts = [row["text"] for rows in read_folder(tmp_path / "out").values() for row in rows]
    assert not any("outside the root" in text for text in texts)
    assert read_file(str(tree[0]), "../secret.txt", 100) is None
    assert read_file(str(tree[0]), "words/loop/secret.txt", 100) is None
    assert read_file(str(tree[0]), "words", 100) is None
    assert read_file(str(tree[0]), "words/guide.rst", 5) is None
    assert "words/secret.txt" not in set(walk_files(str(tree[0])))


def test_same_bytes_twice_and_with_slices(tree, config, tmp_path) -> None:
    items = make_word_problems(6, 3)
    write_installed_text(str(tmp_path / "a"), config, distributions=tree[1], items=items, num_page_files=2)
    modules = list_modules(config, tree[1])
    plants = plan_plants(reversed(items), config, [module.url for module in modules])
    for number in (1, 0):
        path = str(tmp_path / "b" / "docs_pages" / f"pages-{number:05d}.warc.gz")
        write_pages(modules[number::2], path, plants=plants, config=config)
    write_texts(str(tmp_path / "b"), config, distributions=tree[1], items=items)
    assert digest_folder(tmp_path / "a") == digest_folder(tmp_path / "b")
    assert len(digest_folder(tmp_path / "a")) == 6


def test_planted_items_are_marked_and_counted(tree, config, tmp_path) -> None:
    items = make_word_problems(6, 3)
    counts = write_installed_text(str(tmp_path / "out"), config, distributions=tree[1], items=items)
    found: dict[str, str] = {}
    for rows in read_folder(tmp_path / "out").values():
        for row in rows:
            metadata = json.loads(row["metadata"])
            item_id = metadata.get("planted_item") or metadata.get("http_headers", {}).get("x-planted-item")
            found |= {item_id: row["text"]} if item_id else {}
    assert sorted(found) == sorted(item_id for count in counts for item_id in count.planted)
    assert len(found) >= 4
    assert [item["id"] for item in items if item["id"] in found and item["question"] not in found[item["id"]]] == []


def test_no_items_are_planted_at_zero(tree, config, tmp_path) -> None:
    nothing = config.model_copy(update={"plant_frac": 0.0})
    counts = write_installed_text(str(tmp_path / "out"), nothing, distributions=tree[1], items=make_word_problems(6, 3))
    assert [count.planted for count in counts] == [()] * 6


def test_larger_budget_only_adds_files(tree, config, tmp_path) -> None:
    def paths(code_bytes: int) -> set[str]:
        folder = tmp_path / str(code_bytes)
        write_texts(str(folder), config.model_copy(update={"code_bytes": code_bytes}), distributions=tree[1])
        rows = read_folder(folder).get("source_code", [])
        assert sum(len(row["text"].encode()) for row in rows) <= code_bytes
        return {json.loads(row["metadata"])["path"] for row in rows}

    smaller, middle, larger = paths(0), paths(12_000), paths(1_000_000)
    assert smaller == set()
    assert smaller < middle < larger


def test_entries_of_a_module() -> None:
    docstring, entries = list_entries(MODULE.encode())
    assert docstring.startswith("A module about words.")
    assert [(entry.level, entry.title, entry.signature) for entry in entries] == [
        (2, "order", "def order(words, *, reverse=False)"),
        (2, "native.sort", ""),
        (2, "Sorter", "class Sorter"),
        (3, "Sorter.run", "def run(self)"),
    ]


def test_docstring_as_html() -> None:
    text = "One & two\nlines.\n\nTitle\n-----\nx : int\n    An <x>.\n\n- first\n  goes on\n- second\n\n>>> 1\n1"
    assert render_docstring(text) == (
        "<p>One &amp; two lines.</p>\n<h4>Title</h4>\n<dl><dt>x : int</dt><dd>An &lt;x&gt;.</dd></dl>\n"
        "<ul><li>first goes on</li><li>second</li></ul>\n<pre>&gt;&gt;&gt; 1\n1</pre>"
    )


@pytest.mark.parametrize("name", ["<script>", 'a"b', "x&y"])
def test_page_escapes_names(name) -> None:
    module = Module("d", "1", name, name, "", "", (name,))
    assert f"<h1>{name}</h1>".encode() not in render_page(module, MODULE.encode())


def test_list_of_distributions_is_this_projects_own() -> None:
    found = {distribution.name: distribution for distribution in list_distributions()}
    assert next(iter(found)) == "stdlib"
    assert {"numpy", "pyarrow", "pydantic"} <= set(found)
    assert not {"pytest", "hypothesis", "ruff", "transformers", "dolma-py", "pip"} & set(found)
    assert found["numpy"].version == importlib.metadata.version("numpy")
    assert list(found)[1:] == sorted(list(found)[1:])
    assert all(not path.startswith(("/", "..")) for distribution in found.values() for path in distribution.paths)


def test_real_packages_give_real_prose(tmp_path) -> None:
    chosen = [distribution for distribution in list_distributions() if distribution.name in ("jinja2", "datasketch")]
    config = InstalledTextConfig(system_docs="")
    counts = write_installed_text(str(tmp_path), config, distributions=chosen, num_page_files=1)
    rows = read_folder(tmp_path)["docs_pages"]
    assert len(rows) == counts[0].num_docs >= 25
    assert sum(len(row["text"]) for row in rows) > 100_000
