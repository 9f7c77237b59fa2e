"""Kill -9 of a build in every step at a random moment, some builds twice; the same command again: the bytes of a build nobody disturbed.

Cost: one undisturbed build, and a disturbed one for each of its 12 steps, about 10 minutes on two cores. The killed command has a JVM
of its own, the one that goes on after it runs in the session of the tests.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.build_recipe import BuildOptions, build_named
from tests.jobs import killed_commands, made_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
NUM_STEPS = 12  # of the recipe
# steps in which one build is killed: 20 kills
PLACES = [[0, 9], [1, 6], [2, 2], [3], [4, 10], [5, 11], [6, 7], [7], [8, 8], [9], [10, 10], [11]]
MAX_TRIES = 8


def start_build(folder: Path, corpus: Path) -> killed_commands.Command:
    """The command a user types."""
    recipe = ["--recipe", str(folder / "tiny.yaml"), "--corpus", str(corpus)]
    return killed_commands.start([sys.executable, "-m", "dolma_py", "build", "mix", *recipe], folder / "build.log")


def finish_build(folder: Path, corpus: Path) -> None:
    """The same in this process."""
    build_named(
        recipe=str(folder / "tiny.yaml"), corpus=str(corpus), flow="mix", overrides=[], inputs=[], dry_run=False,
        options=BuildOptions(show_progress=False),
    )  # fmt: skip


def count_done(corpus: Path) -> int:
    return len(list(corpus.glob("runs/tiny/*/manifest.json")))


def kill_in_step(folder: Path, corpus: Path, step: int, seconds: float) -> Path:
    """A build, begun or gone on with in a copy of `corpus`, killed `seconds` after the steps before `step` were done.

    What ended before it was killed, or had reached the next step, does not count: another copy is killed in half the time, the last at once.
    """
    for number in range(MAX_TRIES):
        root = folder / f"{corpus.name}-{step}-{number}"
        if corpus.exists():
            shutil.copytree(corpus, root)
        command = start_build(folder, root)
        delay = 0.0 if number == MAX_TRIES - 1 else seconds / 2**number
        reached = killed_commands.reach(command, lambda root=root: count_done(root) >= step, delay)
        if killed_commands.kill_all(command) and reached and count_done(root) == step:
            return root
    raise AssertionError(f"none of {MAX_TRIES} kills fell into step {step}: {command.words()}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(folder of the inputs, seconds of each step, all bytes) of a build by the command."""
    folder = tmp_path_factory.mktemp("kills")
    made_recipe.write_inputs(folder)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(made_recipe.make_recipe(folder)))
    command = start_build(folder, folder / "undisturbed")
    assert command.process.wait() == 0, command.words()
    runs = sorted((folder / "undisturbed").glob("runs/tiny/*/run.json"))
    seconds = [json.loads(path.read_text())["seconds"] for path in runs]
    assert len(seconds) == NUM_STEPS
    return folder, seconds, made_recipe.list_bytes(folder / "undisturbed")


@pytest.mark.parametrize("steps", PLACES, ids=str)
def test_killed_and_repeated_gives_the_same_bytes(undisturbed, steps, _spark_of_this_run):
    folder, seconds, expected = undisturbed
    corpus, rng = folder / f"killed-{steps}", random.Random(steps[0])
    for step in steps:
        corpus = kill_in_step(folder, corpus, step, rng.random() * seconds[step])
    finish_build(folder, corpus)
    assert made_recipe.list_bytes(corpus) == expected
