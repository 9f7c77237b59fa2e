"""Kill -9 of an export into folders, the same command again: the files of one that nobody disturbed. About 20 s a kill."""

from __future__ import annotations

import random
import shutil
import sys

import pyarrow as pa
import pytest
import yaml

from pipelines.build_recipe import BuildOptions
from pipelines.job_main import run_step_file
from tests.jobs import killed_commands
from tests.tiny_corpus import write_attributes, write_corpus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MAX_TRIES = 4
NUM_SHARDS = 12
LABELS = pa.schema([("label", pa.string())])
SETTINGS = {"folders": "cells-v1.label", "attributes": ["cells-v1"], "file_bytes": 400, "codec": "zst"}


def export_values(root, tree):
    return {"corpus": str(root), "name": "export", "step": SETTINGS | {"output": str(tree)}}


def run(root, tree):
    run_step_file("export_dolma", export_values(root, tree), BuildOptions(partitions=2, show_progress=False))


def list_tree(tree):
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _spark_of_this_run):
    """(folder with a corpus that was not exported yet, the files of its export)"""
    folder, chosen = tmp_path_factory.mktemp("export kills"), random.Random(5)
    documents = [[[{"text": f"text {chosen.random()}"} for _ in range(30)]] for _ in range(NUM_SHARDS)]
    labels = [
        [
            [{"label": f"{chosen.choice(['art', 'law'])}/vigintile_{chosen.randint(1, 20):04d}"} for _ in rows]
            for rows in shard
        ]
        for shard in documents
    ]
    write_attributes(write_corpus(str(folder / "corpus"), documents), "cells-v1", labels, LABELS)
    shutil.copytree(folder / "corpus", folder / "exported")
    run(folder / "exported", folder / "tree")
    return folder, list_tree(folder / "tree")


def kill(folder, name, is_there):
    """(corpus, tree) of an export that was killed at a moment of its work; one that had ended by then does not count."""
    for number in range(MAX_TRIES):
        root, tree = folder / f"{name}-{number}", folder / f"{name}-{number}-tree"
        shutil.copytree(folder / "corpus", root)
        path = folder / f"{root.name}.yaml"
        path.write_text(yaml.safe_dump(export_values(root, tree)))
        command = killed_commands.start(
            [sys.executable, "-m", "pipelines.export_dolma", "--config", str(path)], folder / f"{root.name}.log"
        )
        reached = killed_commands.reach(command, lambda tree=tree: is_there(tree))
        if killed_commands.kill_all(command) and reached and (tree / "_export").exists():
            return root, tree
    raise AssertionError(f"none of {MAX_TRIES} kills fell into {name}: {command.words()}")


def has_piece(tree):
    return any((tree / "_export").rglob("*.frames"))


def has_part(tree):
    return any((tree / "documents").rglob("*.jsonl.zst"))


@pytest.mark.parametrize(("name", "is_there"), [("pieces", has_piece), ("parts", has_part)])
def test_a_killed_export_and_the_same_command_again(undisturbed, name, is_there):
    folder, expected = undisturbed
    root, tree = kill(folder, name, is_there)
    left = set(list_tree(tree))
    assert name == "parts" or not any(path.startswith("documents/") for path in left)
    assert not set(expected) <= left, "the kill came when all was written"
    run(root, tree)
    assert list_tree(tree) == expected
