"""The tagger of docs/own-tagger.md, taken from the page and put into another package: in local mode, and on a cluster that has only the bundle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dolma_py.errors import DataError
from pipelines.bundle import make_bundle
from pipelines.session import repository_root
from pipelines.standalone_cluster import start_cluster
from tests.tiny_corpus import write_corpus

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "own-tagger.md").read_text()
TEXTS = ["STOP IT Now", "quiet", "", "\xc4\xd6\xdc \U0001f600"]


@pytest.fixture
def folder(tmp_path):
    """A package with the page's class, the page's YAML, and a corpus."""
    package = tmp_path / "somewhere else" / "my_filters"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1])
    (tmp_path / "shouting.yaml").write_text(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    write_corpus(
        str(tmp_path / "corpus"), [[[{"text": text} for text in TEXTS[:2]]], [[{"text": text} for text in TEXTS[2:]]]]
    )
    return tmp_path


def run_tag(folder, *options):
    """The page's command in a process of its own, which finds the package as a user's does."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "somewhere else"), str(repository_root())])}
    command = [sys.executable, "-m", "dolma_py", "tag", "--corpus", "corpus", "--config", "shouting.yaml", *options]
    answer = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-4000:]
    files = sorted((folder / "corpus" / "attributes" / "shouting-v1").rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()], answer.stdout


def test_the_page_is_twenty_lines():
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    assert len(code.splitlines()) <= 20


def test_it_runs_in_local_mode(folder):
    rows, said = run_tag(folder)
    assert [row["num_capitals"] for row in rows] == [7, 0, 0, 3]
    assert [round(row["capital_frac"], 3) for row in rows] == [0.636, 0.0, 0.0, 0.6]
    assert "2 documents" in said  # two of four are more than half capitals


@pytest.mark.slow
def test_another_column_under_the_same_version_is_tagged_again(folder):
    """As the page says of schema and defaults: what stands is not what the class would write."""
    rows, _ = run_tag(folder)
    path = folder / "somewhere else" / "my_filters" / "__init__.py"
    path.write_text(path.read_text().replace("capital_frac", "upper_frac"))
    config = folder / "shouting.yaml"
    config.write_text(config.read_text().replace("capital_frac", "upper_frac"))
    again, _ = run_tag(folder)
    assert [row["upper_frac"] for row in again] == [row["capital_frac"] for row in rows]


@pytest.mark.parametrize("name", ["no_such_package", "os.path", "numpy", "taggers"])
def test_what_cannot_go_into_a_bundle_is_told(tmp_path, name):
    """No package, a part of one, one with compiled code, and one that is in it anyway."""
    with pytest.raises(DataError, match=f"{name}.*pure Python"):
        make_bundle(tmp_path, others=[name])


@pytest.mark.slow
def test_it_runs_on_a_cluster_from_the_bundle_alone(folder, monkeypatch, shared_bundle):
    here, _ = run_tag(folder, "--name", "here")
    monkeypatch.syspath_prepend(str(folder / "somewhere else"))
    output = folder / "dist"
    output.mkdir()
    for file in shared_bundle.packages_archive.parent.glob(shared_bundle.packages_archive.name + "*"):
        os.link(file, output / file.name)
    make_bundle(output, others=["my_filters"])
    with start_cluster(num_workers=2) as cluster:
        options = [
            "--master",
            cluster.master_url,
            "--bundle",
            "dist",
            "--name",
            "cluster",
            "--set",
            "taggers.0.tagger=my_filters:ShoutingTagger",
        ]
        there, _ = run_tag(folder, *options)
    assert there == here
