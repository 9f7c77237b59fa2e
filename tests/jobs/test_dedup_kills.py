"""Kill -9 in the phases of deduplication, of the driver with all it started or of one worker: the bytes of a run nobody disturbed.

About 20 s a kill: the killed command has a JVM of its own, what goes on after it runs in the session of the tests.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from pipelines.build_recipe import BuildOptions
from pipelines.job_main import run_step_file
from tests.dedup_jobs import list_output
from tests.jobs import killed_commands
from tests.jobs.made_copies import JOBS, write_copies

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MAX_TRIES = 4


class Kill(NamedTuple):
    """Once `mark` is there, `delay_sec` later, and before `end` is there: names in the job's work folder, or patterns below one."""

    job: str
    mark: str
    end: str
    delay_sec: float = 0.0

    def __str__(self) -> str:
        return f"{self.job}-{self.mark}"


# The folder of a phase begins with its first unit that is published: killed there, the phase is half done. Attempts called part are
# of a shuffle's last stage, those called run are the candidate edges, after which components are found. `..` has the manifest.
DRIVER_KILLS = [
    Kill("exact", "keys", "decisions"), Kill("normalised", "attempts/*-part-*", "decisions"), Kill("urls", "decisions", "attributes"),
    Kill("urls", "attributes", "../manifest.json"), Kill("exact", "count-*", "../manifest.json"),
    Kill("paragraphs", "units", "lost"), Kill("lines", "lost", "attributes"), Kill("substring-pool", "pools", "attributes"),
    Kill("substring", "anchors", "marks"), Kill("substring", "marks", "regions"), Kill("substring", "regions", "repeats"),
    Kill("substring", "repeats", "united"), Kill("substring", "united", "spans"), Kill("substring", "spans", "attributes"),
    Kill("minhash", "bands", "members"), Kill("minhash", "attempts/*-run.parquet", "members"),
    Kill("minhash-spark", "attempts/*-run.parquet", "members", 1.0), Kill("minhash", "members", "sets"),
    Kill("minhash", "sets", "verify"), Kill("minhash", "verify", "decisions"), Kill("minhash", "decisions", "../manifest.json"),
]  # fmt: skip
WORKER_KILLS = [
    Kill("normalised", "keys", "../manifest.json"), Kill("paragraphs", "units", "../manifest.json"),
    Kill("minhash-spark", "attempts/*-run.parquet", "../manifest.json"), Kill("substring", "attempts", "../manifest.json"),
]  # fmt: skip


def job_values(root: Path, job: str) -> tuple[str, dict[str, object]]:
    kind, step = JOBS[job]
    return kind, {"corpus": str(root), "name": job, "step": step}


def finish(root: Path, job: str) -> dict[str, bytes]:
    """Run the job to its end in this process; what lies in the corpus then."""
    run_step_file(*job_values(root, job), BuildOptions(show_progress=False))
    return list_output(root)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _spark_of_this_run) -> tuple[Path, Callable[[str], dict[str, bytes]]]:
    """(corpus without any output, what a job leaves in it when nobody disturbs it)."""
    folder = tmp_path_factory.mktemp("dedup kills")
    write_copies(str(folder / "plain"))

    @functools.cache
    def expect(job: str) -> dict[str, bytes]:
        shutil.copytree(folder / "plain", folder / job)
        return finish(folder / job, job)

    return folder / "plain", expect


def start(root: Path, job: str) -> killed_commands.Command:
    """The job's file in pipelines/."""
    kind, values = job_values(root, job)
    path = root.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", f"pipelines.{kind}", "--config", str(path), "--master", "local[2,3]"]
    return killed_commands.start(command, root.with_suffix(".log"))


def is_there(root: Path, job: str, mark: str) -> bool:
    """A file or folder of that name or pattern in the work folder of the job."""
    folder, name = os.path.split(os.path.normpath(root / f"runs/{job}/00-{job}/work" / mark))
    try:
        return bool(fnmatch.filter(os.listdir(folder), name))
    except FileNotFoundError:
        return False


def start_until(plain: Path, root: Path, kill: Kill, delay_sec: float) -> tuple[killed_commands.Command, bool]:
    """The job over a copy of the corpus at the kill's moment, and whether it came before the command's end."""
    shutil.copytree(plain, root)
    command = start(root, kill.job)
    return command, killed_commands.reach(command, lambda: is_there(root, kill.job, kill.mark), delay_sec)


def kill_driver(plain: Path, folder: Path, kill: Kill) -> Path:
    """The corpus in which the job was killed, in time; what was killed too late is tried again with half the delay."""
    for number in range(MAX_TRIES):
        root = folder / f"corpus-{number}"
        command, reached = start_until(plain, root, kill, kill.delay_sec / 2**number)
        if killed_commands.kill_all(command) and reached and not is_there(root, kill.job, kill.end):
            return root
    raise AssertionError(f"{MAX_TRIES} times too late for {kill}: {command.words()}")


@pytest.mark.parametrize("kill", DRIVER_KILLS, ids=str)
def test_driver_and_all_killed(undisturbed, tmp_path, kill):
    plain, expect = undisturbed
    root = kill_driver(plain, tmp_path, kill)
    assert finish(root, kill.job) == expect(kill.job)


@pytest.mark.parametrize("kill", WORKER_KILLS, ids=str)
def test_one_worker_killed(undisturbed, tmp_path, kill):
    """The run itself goes on: Spark starts the task again in another process."""
    plain, expect = undisturbed
    root = tmp_path / "corpus"
    command, reached = start_until(plain, root, kill, kill.delay_sec)
    assert reached
    killed_commands.kill_a_task(command)
    assert command.process.wait(timeout=killed_commands.WAIT_SEC) == 0, command.words()
    assert list_output(root) == expect(kill.job)


def test_every_job_is_killed():
    assert {kill.job for kill in DRIVER_KILLS} == set(JOBS)
