"""Kill -9 of `mix partition` before each file that it names, in each of its phases on Spark, of all or of one worker: the bytes of a run nobody
disturbed.

On Spark about 20 s a kill: the killed command has a JVM of its own, what goes on after it runs in the session of the tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest
import yaml

from dolma_py.corpus import Corpus
from pipelines import steps
from pipelines.build_recipe import BuildOptions, build_from
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from tests.dedup_jobs import list_output
from tests.jobs import killed_commands, made_mix, test_partition_quality

slow = pytest.mark.slow
pytestmark = pytest.mark.timeout(1800)
MAX_TRIES = 4
NUM_DOCS = 1200
FOLDER = "runs/partition/00-partition"
# a split is one row group, two make a shard: attributes are written in pieces and put together; one document is sorted: every pass is made
SPLIT_BYTES = 200
SEVERAL = {"max_docs": 1}
_COMMAND = """
import sys, yaml
from dolma_py.corpus import Corpus
from pipelines.build_recipe import build_from
from pipelines.commands import make_options
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from pipelines.session import open_session

options = make_options({"master": "local[2,3]", "partitions": None, "bundle": None})
with open_session(options.session):
    corpus = Corpus(sys.argv[2])
    build_from(Recipe(**yaml.safe_load(open(sys.argv[1]))), corpus, options, State(corpus.load_view(None), {}))
"""


def make_recipe(**settings):
    step = {"name": "partition", "kind": "partition"} | test_partition_quality.STEP | settings
    return {"recipe": "partition", "flow": "mix", "seed": 0, "split_bytes": SPLIT_BYTES, "steps": [step]}


def finish(root, **settings):
    """Build to the end in this process; what lies in the corpus."""
    corpus = Corpus(str(root))
    state = State(corpus.load_view(None), {})
    build_from(Recipe(**make_recipe(**settings)), corpus, BuildOptions(show_progress=False), state)
    return list_output(root)


def run_in_child(root, last, **settings):
    """finish() in a fork of this process that kills itself before its `last`-th rename; how many it made, None where it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        count, rename = 0, os.replace

        def rename_or_die(*arguments):
            nonlocal count
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(*arguments)

        os.replace = rename_or_die
        try:
            finish(root, **settings)
            os.write(writing, str(count).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    assert said or os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return int(said) if said else None


@pytest.mark.parametrize(
    ("settings", "step"), [({}, 5), pytest.param({}, 1, marks=slow), pytest.param(SEVERAL, 1, marks=slow)]
)
def test_killed_before_any_of_its_files_gets_its_name(tmp_path, monkeypatch, settings, step):
    """Units one after another in one process. Attempts, published files, done files, tables, manifests: all are renamed into place."""
    monkeypatch.setattr(steps, "run_units", made_mix.run_in_order)
    test_partition_quality.write(tmp_path / "plain", 1, 60)
    shutil.copytree(tmp_path / "plain", tmp_path / "all")
    expected = finish(tmp_path / "all", **settings)
    shutil.copytree(tmp_path / "plain", tmp_path / "counted")
    num_renames = run_in_child(tmp_path / "counted", 0, **settings)
    assert list_output(tmp_path / "counted") == expected
    assert num_renames > 60  # attempts and files of 6 splits in rows, cells and pieces, and 3 shards
    for last in range(1, num_renames + 1, step):
        root = tmp_path / f"killed-{last}"
        shutil.copytree(tmp_path / "plain", root)
        assert run_in_child(root, last, **settings) is None
        assert list_output(root) != expected
        assert finish(root, **settings) == expected, f"killed before rename {last} of {num_renames}"
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _spark_of_this_run):
    """(corpus before, all bytes in the end)"""
    folder = tmp_path_factory.mktemp("partition kills")
    test_partition_quality.write(folder / "plain", 1, NUM_DOCS)
    shutil.copytree(folder / "plain", folder / "all")
    expected = finish(folder / "all", **SEVERAL)
    assert {f"{FOLDER}/cells.parquet", "attributes/partition-v1/web/part-00002.parquet"} <= set(expected)
    assert not [name for name in expected if "/work/" in name]
    return folder / "plain", expected


def is_writing(root):
    """A task has begun a file that is not published."""
    return any((root / FOLDER / "work" / "attempts").glob("*"))


def has(root, pattern):
    return any((root / FOLDER).glob(pattern))


# in the middle of a phase's tasks, or, of short ones, between its first published file and its last
MOMENTS = {
    "rows, none published": lambda root: is_writing(root) and not has(root, "work/rows/*.parquet"),
    "rows": lambda root: has(root, "work/rows/*.parquet"),
    "histograms": lambda root: has(root, "work/histogram-0-0/*.parquet"),
    "gathered rows": lambda root: has(root, "work/gather-*/*.parquet"),
    "cells": lambda root: has(root, "work/cells/*.parquet"),
    "pieces, none published": lambda root: has(root, "cells.parquet") and is_writing(root),
    "pieces": lambda root: has(root, "work/attributes/pieces/*/*.parquet"),
    "attributes": lambda root: (root / "attributes" / "partition-v1" / "web").exists(),
}


def start(undisturbed, root, moment):
    """The command over a copy of the corpus at a moment of its work, and whether that came before its end."""
    shutil.copytree(undisturbed[0], root)
    path = root.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(make_recipe(**SEVERAL)))
    command = killed_commands.start([sys.executable, "-c", _COMMAND, str(path), str(root)], root.with_suffix(".log"))
    return command, killed_commands.reach(command, lambda: MOMENTS[moment](root))


def kill(undisturbed, folder, moment):
    """A corpus whose command was killed with all it had started; what ended before does not count."""
    for number in range(MAX_TRIES):
        root = folder / f"corpus-{number}"
        command, reached = start(undisturbed, root, moment)
        if killed_commands.kill_all(command) and reached and not has(root, "manifest.json"):
            return root
    raise AssertionError(f"none of {MAX_TRIES} kills fell into {moment}: {command.words()}")


@slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_driver_and_all_killed(undisturbed, tmp_path, moment):
    root = kill(undisturbed, tmp_path, moment)
    assert finish(root, **SEVERAL) == undisturbed[1]


@slow
def test_killed_and_gone_on_with_another_limit(undisturbed, tmp_path):
    """Passes that the second command does not make leave nothing behind; `max_docs` changes no byte."""
    root = kill(undisturbed, tmp_path, "histograms")
    assert finish(root) == undisturbed[1]


@slow
@pytest.mark.parametrize("moment", ["rows, none published", "pieces, none published"])
def test_one_worker_killed(undisturbed, tmp_path, moment):
    """The run itself goes on: Spark starts the task again in another process."""
    root = tmp_path / "corpus"
    command, reached = start(undisturbed, root, moment)
    assert reached
    killed_commands.kill_a_task(command)
    assert command.process.wait(timeout=killed_commands.WAIT_SEC) == 0, command.words()
    assert list_output(root) == undisturbed[1]
