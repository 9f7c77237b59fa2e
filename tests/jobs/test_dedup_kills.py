"""Kill -9 in the phases of deduplication, of the driver with all it started or of one worker: the bytes of a run nobody disturbed.

About 25 s a kill: the killed command has a JVM of its own, what goes on after it runs in the session of the tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from pipelines.build_recipe import BuildOptions
from pipelines.job_main import run_step_file
from tests.dedup_jobs import list_output
from tests.jobs.made_copies import JOBS, write_copies

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
WAIT_SEC = 120


class Kill(NamedTuple):
    """When `mark` is first seen in the job's work folder, and `delay_sec` later."""

    job: str
    mark: str
    delay_sec: float = 0.0

    def __str__(self) -> str:
        return f"{self.job}-{self.mark}+{self.delay_sec}"


# A mark is the folder of a phase, which begins with the first unit that is published: killed there, the phase is half done. With a
# delay the kill falls into what follows it: shuffles, and what the driver does alone. `attempts` is the first task of all.
DRIVER_KILLS = [
    Kill("exact", "attempts"), Kill("exact", "keys", 1.0), Kill("exact", "decisions"), Kill("exact", "attributes"),
    Kill("lines", "units"), Kill("lines", "lost"), Kill("substring", "pools"),
    Kill("minhash", "bands"), Kill("minhash", "bands", 1.5), Kill("minhash", "members"), Kill("minhash", "sets"),
    Kill("minhash", "verify"), Kill("minhash", "decisions.parquet"), Kill("minhash-spark", "bands", 4.0),
]  # fmt: skip
WORKER_KILLS = [
    Kill("exact", "keys", 0.5), Kill("lines", "units", 0.5), Kill("minhash", "attempts"), Kill("minhash", "sets"),
    Kill("minhash-spark", "bands", 3.0),
]  # fmt: skip
if os.environ.get("DOLMA_PY_ALL_KILLS"):  # before a release: twice as many, every phase of every job
    DRIVER_KILLS += [
        *(Kill("exact", mark) for mark in ("keys", "earlier", "attributes-stitch", "count-")), Kill("normalised", "keys", 0.5),
        Kill("urls", "attempts"), Kill("urls", "keys", 1.0), Kill("urls", "decisions"), Kill("lines", "attempts"),
        Kill("lines", "attributes"), Kill("lines", "attributes-stitch"), Kill("paragraphs", "units", 1.0),
        Kill("minhash", "attempts"), Kill("minhash", "verify", 1.0), Kill("minhash", "attributes"), Kill("minhash", "count-"),
        Kill("minhash-spark", "bands", 2.0), Kill("minhash-spark", "bands", 6.0), Kill("substring", "attempts"),
        Kill("substring", "attributes"),
    ]  # fmt: skip
    WORKER_KILLS += [
        Kill("exact", "attempts"), Kill("minhash", "bands", 1.0), Kill("minhash", "members"), Kill("substring", "attempts"),
    ]  # fmt: skip


def job_values(root: Path, job: str) -> tuple[str, dict[str, object]]:
    kind, step = JOBS[job]
    return kind, {"corpus": str(root), "name": job, "step": step}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _spark_of_this_run) -> tuple[Path, dict[str, dict[str, bytes]]]:
    """(corpus without any output, files that each job leaves)."""
    folder = tmp_path_factory.mktemp("dedup kills")
    write_copies(str(folder / "plain"))
    files = {}
    for job in JOBS:
        shutil.copytree(folder / "plain", folder / job)
        kind, values = job_values(folder / job, job)
        run_step_file(kind, values, BuildOptions(show_progress=False))
        files[job] = list_output(folder / job)
    return folder / "plain", files


def start(root: Path, job: str) -> subprocess.Popen[bytes]:
    """The job's file in pipelines/, in a process group of its own."""
    kind, values = job_values(root, job)
    path = root.parent / "job.yaml"
    path.write_text(yaml.safe_dump(values))
    log = open(root.parent / "job.log", "ab")  # noqa: SIM115 - the process owns it
    command = [sys.executable, "-m", f"pipelines.{kind}", "--config", str(path), "--master", "local[2,3]"]
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def wait_for(root: Path, kill: Kill, process: subprocess.Popen[bytes]) -> None:
    """Return at the kill's moment; the test fails when the job ends before."""
    work = root / "runs" / kill.job / f"00-{kill.job}" / "work"
    end = time.monotonic() + WAIT_SEC
    while time.monotonic() < end:
        if work.is_dir() and any(name.startswith(kill.mark) for name in list_names(work)):
            time.sleep(kill.delay_sec)
            return
        assert process.poll() is None, f"ended before {kill}: {(root.parent / 'job.log').read_text()[-2000:]}"
        time.sleep(0.001)
    raise AssertionError(f"{kill.mark} did not come in {WAIT_SEC} s")


def list_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("kill", DRIVER_KILLS, ids=str)
def test_driver_and_all_killed(undisturbed, tmp_path, kill):
    plain, expected = undisturbed
    root = tmp_path / "corpus"
    shutil.copytree(plain, root)
    process = start(root, kill.job)
    wait_for(root, kill, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)  # Spark's Python daemon has a group of its own and ends when the JVM's pipe closes
    if not kill.delay_sec:
        assert not (root / "runs" / kill.job / f"00-{kill.job}" / "manifest.json").exists(), "killed too late"
    kind, values = job_values(root, kill.job)
    run_step_file(kind, values, BuildOptions(show_progress=False))
    assert list_output(root) == expected[kill.job]


@pytest.mark.parametrize("kill", WORKER_KILLS, ids=str)
def test_one_worker_killed(undisturbed, tmp_path, kill):
    """The run itself goes on: Spark starts the task again in another process."""
    plain, expected = undisturbed
    root = tmp_path / "corpus"
    shutil.copytree(plain, root)
    process = start(root, kill.job)
    wait_for(root, kill, process)
    killed = None
    while killed is None and process.poll() is None:
        killed = next(list_workers(process.pid), None)
    assert killed is not None, "ended before a worker was seen"
    os.kill(killed, signal.SIGKILL)
    assert process.wait(timeout=WAIT_SEC) == 0, (root.parent / "job.log").read_text()[-3000:]
    assert list_output(root) == expected[kill.job]


def list_workers(driver: int) -> Iterator[int]:
    """Python workers below the driver: children of Spark's daemon, which was forked for them."""
    parents, daemons = {}, set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            if b"pyspark.daemon" in Path(f"/proc/{name}/cmdline").read_bytes():
                daemons.add(int(name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    for process in sorted(daemons):
        if parents.get(process) in daemons and driver in _ancestors(process, parents):
            yield process


def _ancestors(process: int, parents: dict[int, int]) -> list[int]:
    found = []
    while process in parents:
        process = parents[process]
        found.append(process)
    return found
