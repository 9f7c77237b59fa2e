"""Every kind of deduplication over one corpus: the same bytes for 1, 2 and 7 partitions and from a standalone cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.build_recipe import BuildOptions, build_from
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from tests.dedup_jobs import list_output
from tests.jobs.made_copies import JOBS, save_day1, write_copies

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
APART = ("minhash-spark", "substring-pool")  # they write the sets of others


def make_recipes() -> dict[str, dict[str, object]]:
    """All jobs, each over all documents: none adds a rule to the view. Two forms of a job write one set: one has a corpus of its own."""
    recipes = {}
    for recipe, names in {"all": [name for name in JOBS if name not in APART], "apart": list(APART)}.items():
        steps = [{"name": name, "kind": JOBS[name][0], "rules": [], **JOBS[name][1]} for name in names]
        recipes[recipe] = {"recipe": recipe, "flow": "job", "seed": 1, "split_bytes": 60_000, "steps": steps}
    return recipes


def copy_corpora(plain: Path, root: Path) -> None:
    for name in make_recipes():
        shutil.copytree(plain, root / name)


def run(root: Path, partitions: int) -> dict[str, bytes]:
    """What lies in the corpora after all jobs."""
    from dolma_py.corpus import Corpus

    options = BuildOptions(partitions=partitions, show_progress=False)
    for name, recipe in make_recipes().items():
        corpus = Corpus(str(root / name))
        build_from(Recipe(**recipe), corpus, options, State(corpus.load_view(None), {}))
    return list_output(root)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, _spark_of_this_run) -> tuple[Path, dict[str, bytes]]:
    """(corpus without any output but a filter and an index of its first shards, files after all jobs with one partition)."""
    folder = tmp_path_factory.mktemp("matrix")
    write_copies(str(folder / "plain"))
    save_day1(folder / "plain")
    copy_corpora(folder / "plain", folder / "one")
    return folder / "plain", run(folder / "one", 1)


def read_manifests(files: dict[str, bytes]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, json.loads(file)) for path, file in files.items() if path.endswith("/manifest.json")]


def test_every_job_found_something(expected):
    """Else equal bytes would say little."""
    manifests = read_manifests(expected[1])
    assert {made["step"] for _, made in manifests} == set(JOBS)
    for path, made in manifests:
        facts = made["facts"]
        found = facts.get("duplicates", facts.get("repeated_units", facts.get("repeated_bytes")))
        assert found > 10, path


def test_filters_and_indexes_are_asked_and_left(expected):
    manifests = {made["step"]: made for path, made in read_manifests(expected[1])}
    for step in ("exact", "urls"):
        facts = manifests[step]["facts"]
        assert 10 < facts["seen_before"] < facts["members"] and facts["kept_keys"] > 10
    saved = {
        "all/seen/exact/index.json",
        "all/seen/exact/part-00000.parquet",
        "all/seen/urls/index.json",
        "all/seen/urls.bloom",
    }
    assert saved <= set(expected[1])


@pytest.mark.parametrize("partitions", [2, 7])
def test_bytes_do_not_depend_on_partitions(expected, tmp_path, partitions):
    copy_corpora(expected[0], tmp_path / "corpus")
    assert run(tmp_path / "corpus", partitions) == expected[1]


_DRIVER = """
import sys, yaml
from dolma_py.corpus import Corpus
from pipelines.build_recipe import BuildOptions, build_from
from pipelines.done_steps import State
from pipelines.commands import make_options
from pipelines.recipe import Recipe
from pipelines.session import open_session

recipes, root, master, bundle = sys.argv[1:]
options = make_options({"master": master, "partitions": None, "bundle": bundle})
with open_session(options.session):
    for name, recipe in yaml.safe_load(open(recipes)).items():
        corpus = Corpus(root + "/" + name)
        build_from(Recipe(**recipe), corpus, options, State(corpus.load_view(None), {}))
"""


def test_a_standalone_cluster_writes_the_same_bytes(expected, shared_bundle, tmp_path, repository):
    """A master and two workers that get code and packages from the bundle."""
    from pipelines.standalone_cluster import start_cluster

    copy_corpora(expected[0], tmp_path / "corpus")
    (tmp_path / "recipes.yaml").write_text(yaml.safe_dump(make_recipes()))
    with start_cluster(num_workers=2) as cluster:
        arguments = [tmp_path / "recipes.yaml", tmp_path / "corpus", cluster.master_url, shared_bundle.code_zip.parent]
        answer = subprocess.run(
            [sys.executable, "-c", _DRIVER, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(repository)},
        )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert list_output(tmp_path / "corpus") == expected[1]
