"""A worker that dies once is replaced; one that always dies is a sentence, not a Java trace."""

from __future__ import annotations

import os
import signal

import pytest
from py4j.protocol import Py4JError

from dolma_py.corpus import Corpus
from dolma_py.done import DoneFile
from dolma_py.errors import TaskError
from dolma_py.storage import write_attempt
from pipelines.steps import StepContext
from pipelines.task_errors import WORKER_DIED, explain_failures, find_cause
from pipelines.units import Unit, run_units


def die_until(params, attempts):
    """Kills its own process as often as `deaths` says, then writes a file."""
    marks = params["marks"]
    if len(os.listdir(marks)) < params["deaths"]:
        open(f"{marks}/{os.getpid()}", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return [write_attempt(params["root"], attempts, "x/a.txt", lambda sink: sink.write(b"hi") and 1)], {}


def fail(params, attempts):
    raise KeyError("no such thing")


def run_one(spark, folder, work, **params):
    marks = folder / "marks"
    marks.mkdir()
    context = StepContext(lambda: spark, Corpus(str(folder)), None, "tagging", "runs/r/00-tagging", "f", 0, {})
    done = DoneFile(str(folder), "x", "f")
    units = [Unit("a", {"root": str(folder), "marks": str(marks), **params}, 1)]
    with explain_failures(context):
        run_units(context.spark, units, work, done=done, attempts="attempts")
    return done


def test_a_task_whose_worker_was_killed_is_tried_again(spark, tmp_path):
    done = run_one(spark, tmp_path, die_until, deaths=1)
    assert (tmp_path / "x/a.txt").read_bytes() == b"hi"
    assert [file["path"] for file in done.units["a"]["files"]] == ["x/a.txt"]


def test_a_worker_that_always_dies_is_one_sentence(spark, tmp_path):
    with pytest.raises(TaskError) as caught:
        run_one(spark, tmp_path, die_until, deaths=1000)
    assert caught.value.step == "tagging"
    assert caught.value.cause == WORKER_DIED
    assert "\n" not in str(caught.value)
    assert "Python worker exited" in (tmp_path / "runs/r/00-tagging/work/error.txt").read_text()


def test_a_defect_on_the_executor_names_itself(spark, tmp_path):
    with pytest.raises(TaskError) as caught:
        run_one(spark, tmp_path, fail)
    assert caught.value.cause == "KeyError: 'no such thing'"


def die_or_write(params, attempts):
    if params["dies"]:
        os.kill(os.getpid(), signal.SIGKILL)
    path = f"x/{params['name']}.txt"
    return [write_attempt(params["root"], attempts, path, lambda sink: sink.write(b"hi") and 1)], {}


def test_finished_units_stay_done_when_another_is_given_up(spark, tmp_path):
    """Two waves of four units; in the first, one always dies."""
    done = DoneFile(str(tmp_path), "x", "f")
    units = [Unit(f"u{n}", {"root": str(tmp_path), "name": f"u{n}", "dies": n == 0}, 10 - n) for n in range(8)]
    with pytest.raises(Py4JError):
        run_units(lambda: spark, units, die_or_write, done=done, attempts="attempts")
    finished = set(done.units)
    assert "u0" not in finished
    assert len(finished) >= 4  # the wave in flight beside it
    assert set(DoneFile(str(tmp_path), "x", "f").units) == finished  # and the file says so too


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ExecutorLostFailure (executor 1 exited) Reason: Command exited with code 137\nat x", "an executor was lost (Command exited with code 137)"),
        ("first line\nsecond", "first line"),
        ("", "no words at all"),
    ],
)  # fmt: skip
def test_other_causes(text, cause):
    assert find_cause(text) == cause
