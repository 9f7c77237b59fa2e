"""A plan, its sample and its shards by passes and with fill-in-the-middle: the same bytes for 1, 2 and 7 partitions, in a bucket, from a
standalone cluster, and after kill -9 in any phase of tokenizing.

The ways of a small mix (sorting, no cuts) have the same tests within a whole build: test_build_recipe, test_build_s3, test_build_kills; kills
of plan and sample by passes: test_sample_kills.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dolma_py import storage
from dolma_py.corpus import Corpus
from mixers.tokenization import BpeConfig, train_bpe
from pipelines.build_recipe import BuildOptions, build_from
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from tests.dedup_jobs import list_output
from tests.jobs import killed_commands, made_mix
from tests.remote_places import open_s3_bucket

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MAX_TRIES = 4
SPECIALS = ("<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")


def make_recipe(folder: Path) -> Recipe:
    """Three steps over the corpus of made_mix; `max_docs: 60` of 360: every decision by passes."""
    inputs = made_mix.INPUTS | {"heldout": {"heldout_docs": 7}, "max_docs": 60}
    plan = {"token_budget": 60_000, "default": {"curve": True}}
    chosen = made_mix.VARIANTS["chosen"][1]
    tokens = {"mix": "mix", "tokenizer": str(folder / "tokenizer.json"), "tokens_per_part": 1024}
    steps = [
        {"name": "plan", "kind": "plan_mix", **inputs, "plan": plan},
        {"name": "sample", "kind": "sample_mix", **inputs, "cells": "artifact:cells", **chosen},
        # the counts of made_mix are made, not those of its texts
        {"name": "shards", "kind": "tokenize", **tokens, "fim": {"sources": {"code": 0.5}}, "check_tokens": False},
    ]
    return Recipe(recipe="mix", flow="mix", seed=1, steps=steps)


def run(folder: Path, root: str, partitions: int | None = None) -> None:
    options = BuildOptions(partitions=partitions, show_progress=False)
    corpus = Corpus(root)
    build_from(make_recipe(folder), corpus, options, State(corpus.load_view(None), {}))


@pytest.fixture(scope="module")
def expected(tmp_path_factory, _spark_of_this_run):
    """(folder with `plain`, the corpus before any step, files after all steps with one partition)."""
    folder = tmp_path_factory.mktemp("places")
    texts = [row["text"] for row in made_mix.write(folder / "plain")]
    config = BpeConfig(vocab_size=300, special_tokens=SPECIALS)
    (folder / "tokenizer.json").write_bytes(train_bpe(texts, config))
    shutil.copytree(folder / "plain", folder / "one")
    run(folder, str(folder / "one"), 1)
    found = list_output(folder / "one")
    assert len([name for name in found if name.endswith(".npy")]) > 1
    assert sum(json.loads(found["tokens/mix/manifest.json"])["fim"]["documents"].values()) > 10
    return folder, found


@pytest.mark.parametrize("partitions", [2, 7])
def test_bytes_do_not_depend_on_partitions(expected, tmp_path, partitions):
    folder, found = expected
    shutil.copytree(folder / "plain", tmp_path / "corpus")
    run(folder, str(tmp_path / "corpus"), partitions)
    assert list_output(tmp_path / "corpus") == found


_DRIVER = """
import sys, yaml
from dolma_py.corpus import Corpus
from pipelines.build_recipe import build_from
from pipelines.done_steps import State
from pipelines.commands import make_options
from pipelines.recipe import Recipe
from pipelines.session import open_session

recipe, root, master, bundle = sys.argv[1:]
options = make_options({"master": master or None, "partitions": None, "bundle": bundle or None})
with open_session(options.session):
    corpus = Corpus(root)
    build_from(Recipe(**yaml.safe_load(open(recipe))), corpus, options, State(corpus.load_view(None), {}))
"""


def make_command(folder: Path, root: str, master: str = "", bundle: str = "") -> list[str]:
    """A process of its own that runs the recipe."""
    path = folder / "recipe.yaml"
    values = make_recipe(folder)
    path.write_text(yaml.safe_dump({key: getattr(values, key) for key in ("recipe", "flow", "seed", "steps")}))
    return [sys.executable, "-c", _DRIVER, str(path), root, master, bundle]


def run_command(command: list[str], repository: Path, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    answer = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]


def test_a_bucket_has_the_same_bytes(expected, repository, tmp_path):
    folder, found = expected
    with open_s3_bucket("corpora") as bucket:
        root = f"{bucket}/a mix"
        for path in sorted((folder / "plain").rglob("*")):
            if path.is_file():
                storage.copy_file(str(path), f"{root}/{path.relative_to(folder / 'plain')}")
        run_command(make_command(folder, root), repository, tmp_path)
        paths = [info.path for info in storage.list_files(root) if not info.path.endswith("/run.json")]
        remote = {path.removeprefix(root + "/"): storage.read_bytes(path) for path in paths}
    assert sorted(remote) == sorted(found)
    assert [name for name in found if remote[name] != found[name]] == []


def test_a_standalone_cluster_writes_the_same_bytes(expected, shared_bundle, repository, tmp_path):
    """A master and two workers that get code and packages from the bundle."""
    from pipelines.standalone_cluster import start_cluster

    folder, found = expected
    shutil.copytree(folder / "plain", tmp_path / "corpus")
    with start_cluster(num_workers=2) as cluster:
        bundle = str(shared_bundle.code_zip.parent)
        run_command(make_command(folder, str(tmp_path / "corpus"), cluster.master_url, bundle), repository, tmp_path)
    assert list_output(tmp_path / "corpus") == found


# what the step leaves first in each of its phases; there the phase has begun
PHASES = {"pieces": "work/pieces", "parts": "work/parts", "lineage": "work/lineage-0"}


@pytest.mark.parametrize("phase", PHASES)
def test_killed_while_tokenizing_and_repeated_gives_the_same_bytes(expected, tmp_path, repository, phase):
    folder, found = expected
    for number in range(MAX_TRIES):
        root = tmp_path / str(number)
        shutil.copytree(folder / "plain", root)
        step = root / "runs" / "mix" / "02-shards"
        command = killed_commands.start(
            ["env", f"PYTHONPATH={repository}", *make_command(folder, str(root))], tmp_path / "log"
        )
        reached = killed_commands.reach(command, (step / PHASES[phase]).exists)
        if killed_commands.kill_all(command) and reached and not (step / "manifest.json").exists():
            break
    else:
        raise AssertionError(f"none of {MAX_TRIES} kills fell into {phase}: {command.words()}")
    run(folder, str(root))
    assert list_output(root) == found
