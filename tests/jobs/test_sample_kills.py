"""Kill -9 of plan and sample in their passes beyond memory, the same command again: the bytes of a run nobody disturbed.

Ways without passes are killed with the whole recipe (test_build_kills). About 20 s a kill: the killed command has a JVM of its own, what goes
on after it runs in the session of the tests.
"""

from __future__ import annotations

import shutil
import sys

import pytest
import yaml

from tests.dedup_jobs import list_output
from tests.jobs import killed_commands, made_mix

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MAX_TRIES = 4
HELDOUT = {"heldout_docs": 7}
SETTINGS = made_mix.VARIANTS["chosen"][1] | {"max_docs": 1}
# folders of phases: each begins with its first unit that is published, so there the phase is half done
PLACES = {
    "plan": ["table", "heldout-0", "bins-1"],
    "sample": ["excluded", "kept", "bins-1", "copies-0", "drawn", "attributes"],
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _spark_of_this_run):
    """(corpus before, corpus with the plan alone, all bytes in the end)"""
    folder = tmp_path_factory.mktemp("sample kills")
    made_mix.write(folder / "bare")
    shutil.copytree(folder / "bare", folder / "planned")
    made_mix.plan(folder / "planned", HELDOUT, max_docs=1)
    shutil.copytree(folder / "planned", folder / "all")
    made_mix.sample(folder / "all", HELDOUT, **SETTINGS)
    return folder


def start(root, step):
    """The command of a step over a corpus."""
    values = {
        "plan": made_mix.INPUTS | {"heldout": HELDOUT, "max_docs": 1}
        | {"plan": {"token_budget": 60_000, "default": {"curve": True}}},
        "sample": made_mix.INPUTS | {"heldout": HELDOUT, "cells": made_mix.CELLS} | SETTINGS,
    }[step]  # fmt: skip
    path = root.parent / f"{root.name}-{step}.yaml"
    path.write_text(yaml.safe_dump({"corpus": str(root), "name": step, "step": values}))
    module = {"plan": "pipelines.plan_mix", "sample": "pipelines.sample_mix"}[step]
    return killed_commands.start(
        [sys.executable, "-m", module, "--config", str(path)], root.parent / f"{root.name}.log"
    )


def kill(undisturbed, step, phase):
    """A corpus whose step was killed in a phase; what ended before does not count."""
    before = undisturbed / {"plan": "bare", "sample": "planned"}[step]
    for number in range(MAX_TRIES):
        root = undisturbed / f"{step}-{phase}-{number}"
        shutil.copytree(before, root)
        folder = root / "runs" / step / f"00-{step}"
        command = start(root, step)
        reached = killed_commands.reach(command, (folder / "work" / phase).exists)
        if killed_commands.kill_all(command) and reached and not (folder / "manifest.json").exists():
            return root
    raise AssertionError(f"none of {MAX_TRIES} kills fell into {phase}: {command.words()}")


@pytest.mark.parametrize(("step", "phase"), [(step, phase) for step, phases in PLACES.items() for phase in phases])
def test_killed_and_repeated_gives_the_same_bytes(undisturbed, step, phase):
    root = kill(undisturbed, step, phase)
    made_mix.plan(root, HELDOUT, max_docs=1)
    made_mix.sample(root, HELDOUT, **SETTINGS)
    assert list_output(root) == list_output(undisturbed / "all")
