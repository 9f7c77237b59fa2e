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
from tests.jobs.made_copies import JOBS, make_shards, save_day1, write_copies
from tests.tiny_corpus import write_corpus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MAX_TRIES = 4
CORPUS = "../../../.."  # from a job's work folder
OTHER_JOBS = {  # copies that are compared with what stood before two of five shards were there, and a command over plain files
    "grown": ("dedup_urls", {"keep": {"attributes": [{"name": "length", "order": "descending"}]}}), "plain": ("dedup_exact", {}),
}  # fmt: skip


class Kill(NamedTuple):
    """Once `mark` is there, `delay_sec` later, and before `end` is there: names in the job's work folder, or patterns below one.

    Of a job over plain files they lie in the folder of its three steps.
    """

    job: str
    mark: str
    end: str
    delay_sec: float = 0.0

    def __str__(self) -> str:
        return f"{self.job}-{self.mark.removeprefix(f'{CORPUS}/')}"


# The folder of a phase begins with its first unit that is published: killed there, the phase is half done. Attempts called part are
# of a shuffle's last stage, those called run are the candidate edges, after which components are found. `..` has the manifest.
DRIVER_KILLS = [
    Kill("exact", "keys", "decisions"), Kill("normalised", "attempts/*-part-*", "decisions"), Kill("urls", "decisions", "attributes"),
    Kill("urls", "attributes", "../manifest.json"), Kill("exact", "count-*", "../manifest.json"),
    Kill("paragraphs", "units", "lost"), Kill("lines", "lost", "attributes"), Kill("substring-pool", "pools", "attributes"),
    Kill("substring", "anchors", "marks"), Kill("substring", "marks", "regions"), Kill("substring", "regions", "repeats"),
    Kill("substring", "repeats", "united"), Kill("substring", "united", "spans"), Kill("substring", "spans", "attributes"),
    Kill("substring", "attributes", "examples"), Kill("substring", "examples", "../manifest.json"),
    Kill("minhash", "bands", "members"), Kill("minhash", "attempts/*-run.parquet", "members"),
    Kill("minhash-spark", "attempts/*-run.parquet", "members", 1.0), Kill("minhash", "members", "sets"),
    Kill("minhash", "sets", "verify"), Kill("minhash", "verify", "decisions"), Kill("minhash", "decisions", "../manifest.json"),
    Kill("exact", f"{CORPUS}/attributes/exact-v1/_done.jsonl", "kept"), Kill("exact", "kept", f"{CORPUS}/seen/exact/index.json"),
    Kill("urls", f"{CORPUS}/seen/urls/index.json", f"{CORPUS}/seen/urls.bloom"),
    Kill("grown", "earlier", "changes"), Kill("grown", "changes", "../manifest.json"),
    Kill("plain", "00-read/work/documents", "00-read/manifest.json"), Kill("plain", "02-write/work/files", "02-write/manifest.json"),
]  # fmt: skip
WORKER_KILLS = [
    Kill("normalised", "keys", "../manifest.json"), Kill("paragraphs", "units", "../manifest.json"),
    Kill("minhash-spark", "attempts/*-run.parquet", "../manifest.json"), Kill("substring", "attempts", "../manifest.json"),
]  # fmt: skip
# One worker in each of these phases of one run: (what stands before it, an attempt of its tasks, what comes after it)
PHASES_OF_WORKERS = {
    "minhash": [
        ("attempts", "*-shard-*", "members"), ("members/_done.jsonl", "*-shard-*", "verify"), ("verify", "*-bucket-*", "decisions"),
        ("verify", "*-part-*", "attributes"), ("decisions/_done.jsonl", "*-part-*", "../manifest.json"),
    ],
    "exact": [("attempts", "*-shard-*", "decisions"), ("decisions/_done.jsonl", "*-part-*", "kept")],
    "urls": [("attempts", "*-shard-*", "decisions"), ("decisions/_done.jsonl", "*-part-*", "kept")],
    "lines": [("attempts", "*-shard-*", "lost"), ("lost/_done.jsonl", "*-part-*", "../manifest.json")],
}  # fmt: skip


def job_values(root: Path, job: str) -> tuple[str, dict[str, object]]:
    kind, step = (JOBS | OTHER_JOBS)[job]
    if job == "plain":
        return kind, {"inputs": [str(root / "documents")], "output": str(root / "out"), "name": "plain", "step": step}
    return kind, {"corpus": str(root), "name": job, "step": step}


def finish(root: Path, job: str) -> dict[str, bytes]:
    """Run the job to its end in this process; what it made."""
    run_step_file(*job_values(root, job), BuildOptions(show_progress=False))
    return list_made(root, job)


def list_made(root: Path, job: str) -> dict[str, bytes]:
    """What lies in the corpus; of a command over plain files what it wrote, and the tables it works with: the rest knows the input's folder."""
    if job != "plain":
        return list_output(root)
    files = list_output(root / "out")
    return {name: files[name] for name in files if name.endswith(".parquet") or not name.startswith(".dolma-py/")}


class Undisturbed(NamedTuple):
    """Corpora as they are before a job, and what it leaves when nobody disturbs it."""

    start: Callable[[str, Path], object]  # copies a job's corpus to a path
    expect: Callable[[str], dict[str, bytes]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _spark_of_this_run) -> Undisturbed:
    """All jobs over one corpus, but `grown`, whose corpus has decisions about three of the five shards."""
    folder = tmp_path_factory.mktemp("dedup kills")
    write_copies(str(folder / "all"))
    save_day1(folder / "all")

    @functools.cache
    def before(job: str) -> Path:
        if job != "grown":
            return folder / "all"
        write_corpus(str(folder / "grown"), make_shards()[:3])
        finish(folder / "grown", "grown")
        (folder / "grown" / "listing.jsonl").unlink()
        write_copies(str(folder / "grown"))
        return folder / "grown"

    @functools.cache
    def expect(job: str) -> dict[str, bytes]:
        shutil.copytree(before(job), folder / "finished" / job)
        return finish(folder / "finished" / job, job)

    return Undisturbed(lambda job, root: shutil.copytree(before(job), root), expect)


def start(root: Path, job: str) -> killed_commands.Command:
    """The job's file in pipelines/."""
    kind, values = job_values(root, job)
    path = root.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", f"pipelines.{kind}", "--config", str(path), "--master", "local[2,3]"]
    return killed_commands.start(command, root.with_suffix(".log"))


def is_there(root: Path, job: str, mark: str) -> bool:
    """A file or folder of that name or pattern in the work folder of the job."""
    return bool(find_marks(root, job, mark))


def find_marks(root: Path, job: str, mark: str) -> list[str]:
    """Names of that pattern; below the work folder of a job, of a command over plain files below the folder of its steps."""
    work = "out/.dolma-py/runs/plain" if job == "plain" else f"runs/{job}/00-{job}/work"
    folder, name = os.path.split(os.path.normpath(root / work / mark))
    try:
        return fnmatch.filter(os.listdir(folder), name)
    except FileNotFoundError:
        return []


def start_until(
    undisturbed: Undisturbed, root: Path, kill: Kill, delay_sec: float
) -> tuple[killed_commands.Command, bool]:
    """The job over a copy of its corpus at the kill's moment, and whether it came before the command's end."""
    undisturbed.start(kill.job, root)
    command = start(root, kill.job)
    return command, killed_commands.reach(command, lambda: is_there(root, kill.job, kill.mark), delay_sec)


def kill_driver(undisturbed: Undisturbed, folder: Path, kill: Kill) -> Path:
    """The corpus in which the job was killed, in time; what was killed too late is tried again with half the delay."""
    for number in range(MAX_TRIES):
        root = folder / f"corpus-{number}"
        command, reached = start_until(undisturbed, root, kill, kill.delay_sec / 2**number)
        if killed_commands.kill_all(command) and reached and not is_there(root, kill.job, kill.end):
            return root
    raise AssertionError(f"{MAX_TRIES} times too late for {kill}: {command.words()}")


@pytest.mark.parametrize("kill", DRIVER_KILLS, ids=str)
def test_driver_and_all_killed(undisturbed, tmp_path, kill):
    root = kill_driver(undisturbed, tmp_path, kill)
    assert finish(root, kill.job) == undisturbed.expect(kill.job)


@pytest.mark.parametrize("kill", WORKER_KILLS, ids=str)
def test_one_worker_killed(undisturbed, tmp_path, kill):
    """The run itself goes on: Spark starts the task again in another process."""
    root = tmp_path / "corpus"
    command, reached = start_until(undisturbed, root, kill, kill.delay_sec)
    assert reached
    killed_commands.kill_a_task(command)
    assert command.process.wait(timeout=killed_commands.WAIT_SEC) == 0, command.words()
    assert list_output(root) == undisturbed.expect(kill.job)


def kill_in_phases(undisturbed: Undisturbed, root: Path, job: str) -> list[str]:
    """Run a job in which a worker of each phase is killed while it writes; what stood already where a kill came too late."""
    undisturbed.start(job, root)
    command = start(root, job)
    late, left_behind = [], set[str]()
    for before, attempt, end in PHASES_OF_WORKERS[job]:

        def writes(phase: tuple[str, str], known: frozenset[str]) -> bool:
            return is_there(root, job, phase[0]) and bool(set(find_marks(root, job, f"attempts/{phase[1]}")) - known)

        moment = functools.partial(writes, (before, attempt), frozenset(left_behind))
        assert killed_commands.reach(command, moment), command.words()
        killed_commands.kill_a_task(command)
        late += [end] if is_there(root, job, end) else []
        left_behind |= set(find_marks(root, job, "attempts/*"))
    assert command.process.wait(timeout=killed_commands.WAIT_SEC) == 0, command.words()
    assert list_output(root) == undisturbed.expect(job)
    return late


@pytest.mark.parametrize("job", PHASES_OF_WORKERS)
def test_a_worker_of_each_phase_killed(undisturbed, tmp_path, job):
    """The run goes on, whenever a task was lost; in one of some runs each was lost in its phase."""
    late = [["not tried"]]
    while late[-1] and len(late) <= MAX_TRIES:
        late.append(kill_in_phases(undisturbed, tmp_path / f"corpus-{len(late)}", job))
    assert not late[-1], late


def test_every_job_is_killed():
    assert {kill.job for kill in DRIVER_KILLS} == set(JOBS | OTHER_JOBS)
