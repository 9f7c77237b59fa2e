"""All taggers, with rules, edits, short circuits, tiny trained models and PDFs that a model judges: the same bytes for 1, 2 and 7 partitions and
from a standalone cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from pipelines.build_recipe import BuildOptions
from taggers.registry import TAGGERS
from tests.chat_server import ChatServer
from tests.jobs import made_pages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ELSEWHERE = {"contamination"}  # whose items are an index, made first: tests/jobs/test_decontaminate_sets.py


class Matrix(NamedTuple):
    plain: Path  # corpora as they are before
    recipes: dict[str, dict[str, Any]]
    expected: dict[str, bytes]  # with one partition


@pytest.fixture(scope="module")
def matrix(tmp_path_factory, _spark_of_this_run):
    folder = tmp_path_factory.mktemp("tag matrix")
    made_pages.write_plain(folder / "plain")
    made_pages.write_lists(folder / "lists")
    made_pages.write_models(folder / "models of it")
    with ChatServer(made_pages.answer) as server:
        recipes = made_pages.make_recipes(folder / "lists", folder / "models of it", server.url)
        shutil.copytree(folder / "plain", folder / "one")
        made_pages.run_recipes(recipes, folder / "one", BuildOptions(partitions=1, show_progress=False))
        yield Matrix(folder / "plain", recipes, made_pages.list_made(folder / "one"))


def test_every_tagger_is_there(matrix):
    steps = [step for recipe in matrix.recipes.values() for step in recipe["steps"] if step["kind"] == "tag"]
    assert {choice["tagger"] for step in steps for choice in step["taggers"]} == set(TAGGERS) - ELSEWHERE


def test_every_rule_did_something(matrix):
    """Else equal bytes would say little."""
    names = [name for name in matrix.expected if name.endswith("/manifest.json")]
    lines = [line for name in names for line in (json.loads(matrix.expected[name])["funnel"] or {"steps": []})["steps"]]
    assert len(lines) == sum(map(len, (made_pages.RULES, made_pages.SHORT_RULES, made_pages.MODEL_RULES))) + 1
    idle = [line["name"] for line in lines if not any(counts["dropped_bytes"] for counts in line["sources"].values())]
    assert idle == []
    trained = made_pages.read_rows(matrix.expected, "models/attributes/language-v3/")
    assert len({row["lang"] for row in trained}) > 3 and len({row["script"] for row in trained}) > 1
    view = made_pages.read_rows(matrix.expected, "view/documents/")
    assert 50 < len(view) < 300 and any("<table>" in row["text"] for row in view)


def test_papers_have_ids_by_their_content(matrix):
    rows = made_pages.read_rows(matrix.expected, "papers/documents/")
    assert len(rows) == 1 + len(made_pages.PAPERS)
    copied, own = (
        next(row["id"] for row in rows if json.loads(row["metadata"])["path"] == name)
        for name in ("a-copy.pdf", "river.pdf")
    )
    assert own == f"{copied}#2"
    kept = [row["is_kept"] for row in made_pages.read_rows(matrix.expected, "papers/attributes/document-privacy-v2/")]
    assert sorted(kept) == [False, False, True, True, True]


@pytest.mark.parametrize("partitions", [2, 7])
def test_bytes_do_not_depend_on_partitions(matrix, tmp_path, partitions):
    shutil.copytree(matrix.plain, tmp_path / "corpora")
    made_pages.run_recipes(
        matrix.recipes, tmp_path / "corpora", BuildOptions(partitions=partitions, show_progress=False)
    )
    assert made_pages.list_made(tmp_path / "corpora") == matrix.expected


_DRIVER = """
import sys, yaml
from pathlib import Path
from pipelines.commands import make_options
from pipelines.session import open_session
from tests.jobs import made_pages

recipes, root, master, bundle = sys.argv[1:]
options = make_options({"master": master, "partitions": None, "bundle": bundle})
with open_session(options.session):
    made_pages.run_recipes(yaml.safe_load(open(recipes)), Path(root), options)
"""


def test_a_standalone_cluster_writes_the_same_bytes(matrix, shared_bundle, tmp_path, repository):
    """A master and two workers that get code and packages from the bundle, the parser of PDFs among them."""
    from pipelines.standalone_cluster import start_cluster

    shutil.copytree(matrix.plain, tmp_path / "corpora")
    (tmp_path / "recipes.yaml").write_text(yaml.safe_dump(matrix.recipes))
    with start_cluster(num_workers=2) as cluster:
        arguments = [tmp_path / "recipes.yaml", tmp_path / "corpora", cluster.master_url, shared_bundle.code_zip.parent]
        answer = subprocess.run(
            [sys.executable, "-c", _DRIVER, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(repository)},
        )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert made_pages.list_made(tmp_path / "corpora") == matrix.expected
