"""Kill -9 of a build at random moments, a quarter of them killed twice; the same command again: the bytes of a build nobody disturbed.

Cost: one undisturbed build and NUM_KILLS disturbed ones, about 20 minutes on two cores.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import made_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
NUM_KILLS = int(os.environ.get("DOLMA_PY_KILLS", "20"))


def start_build(folder: Path, corpus: Path) -> subprocess.Popen[bytes]:
    """The command a user types, in a process group of its own so that driver, JVM and workers die together."""
    command = [
        sys.executable,
        "-m",
        "dolma_py",
        "build",
        "mix",
        "--recipe",
        str(folder / "tiny.yaml"),
        "--corpus",
        str(corpus),
    ]
    log = open(folder / "build.log", "ab")  # noqa: SIM115 - the process owns it
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def finish_build(folder: Path, corpus: Path) -> float:
    start = time.perf_counter()
    process = start_build(folder, corpus)
    assert process.wait() == 0, (folder / "build.log").read_text()[-3000:]
    return time.perf_counter() - start


def kill_build(folder: Path, corpus: Path, moment: float) -> None:
    """Start the build, or go on with it, and kill all of it after `moment` seconds."""
    process = start_build(folder, corpus)
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)  # Spark's Python daemon has a group of its own and ends when the JVM's pipe closes


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    made_recipe.write_inputs(folder)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(made_recipe.make_recipe(folder)))
    seconds = finish_build(folder, folder / "undisturbed")
    return folder, seconds, made_recipe.list_bytes(folder / "undisturbed")


@pytest.mark.parametrize("number", range(NUM_KILLS))
def test_killed_and_repeated_gives_the_same_bytes(undisturbed, number):
    folder, seconds, expected = undisturbed
    # evenly spread over the build, shaken inside each share
    moment = seconds * (number + random.Random(number).random()) / NUM_KILLS
    corpus = folder / f"killed-{number}"
    kill_build(folder, corpus, moment)
    if number % 4 == 3:  # what is left of it meets the same fate
        kill_build(folder, corpus, random.Random(-number).uniform(0.1, 0.9) * (seconds - moment))
    finish_build(folder, corpus)
    assert made_recipe.list_bytes(corpus) == expected
