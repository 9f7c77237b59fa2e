"""run.json's figures of a step are the step's own: rate, driver's peak, tasks of all phases."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest

from dolma_py import manifest
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.machine import reset_peak
from pipelines.build_recipe import run_step
from pipelines.recipe import Step
from pipelines.steps import StepContext, StepResult
from pipelines.units import UnitTimes
from tests.tiny_corpus import write_corpus


def run_job(root, run, *, view=None):
    """What a step leaves in run.json whose job is `run`."""
    context = StepContext(
        spark=lambda: pytest.fail("a session was opened"), corpus=Corpus(str(root)), view=view, name="made", folder="runs/made/07-made",
        fingerprint="f", seed=1, artifacts={}, phase_times=[],
    )  # fmt: skip
    made, skipped = run_step(context, Step(7, "made", "made", types.SimpleNamespace(VERSION=1, run=run), Config()))
    assert not skipped and made["step"] == "made"
    return json.loads((root / "runs/made/07-made/run.json").read_text())


def hold(num_bytes):
    """A job that holds so many bytes for a moment, in the driver."""

    def run(context, settings):
        assert np.ones(num_bytes, np.uint8).all()
        return StepResult()

    return run


@pytest.mark.skipif(not reset_peak(), reason="no process may reset its peak here")
def test_the_driver_peak_is_that_of_the_step(tmp_path):
    large, small = (
        run_job(tmp_path / name, hold(size))["peak_driver_bytes"] for name, size in [("a", 300 << 20), ("b", 1)]
    )
    assert small < large - (200 << 20)


def test_tasks_of_all_phases_count(tmp_path):
    def run(context, settings):
        context.phase_times.extend([UnitTimes(1.5, 10), UnitTimes(2.0, 30), UnitTimes(0.5, 20)])
        return StepResult(times={"task_sec": 2.0, "peak_worker_bytes": 30, "keys_task_sec": 1.5})

    found = run_job(tmp_path, run)
    assert (found["task_sec"], found["peak_worker_bytes"], found["keys_task_sec"]) == (4.0, 30, 1.5)


def test_no_text_is_no_rate(tmp_path):
    found = run_job(tmp_path, hold(1))
    assert found["mb_per_sec"] is None and "task_sec" not in found


def test_a_job_may_say_what_it_went_through(tmp_path):
    found = run_job(tmp_path, lambda context, settings: StepResult(times={"text_bytes": 5_000_000}))
    assert found["mb_per_sec"] == pytest.approx(5 / found["seconds"])


def test_a_step_without_a_funnel_went_through_its_view(tmp_path):
    corpus = write_corpus(str(tmp_path), [[[{"text": "some text"}]]])
    view = corpus.load_view(None)
    funnel = {
        "steps": [],
        "kept": {"sources": {"a": {"documents": 1, "bytes": 4_000_000}, "b": {"documents": 1, "bytes": 1}}},
    }
    manifest.write_manifest(
        corpus.path("runs/other/02-mark"), {"view_fingerprint": "another", "funnel": funnel | {"kept": {}}}
    )
    manifest.write_manifest(corpus.path("runs/other/03-tag"), {"view_fingerprint": view.fingerprint, "funnel": None})
    assert run_job(tmp_path, hold(1), view=view)["mb_per_sec"] is None
    manifest.write_manifest(corpus.path("runs/other/04-tag"), {"view_fingerprint": view.fingerprint, "funnel": funnel})
    (tmp_path / "runs/made/07-made/manifest.json").unlink()
    found = run_job(tmp_path, hold(1), view=view)
    assert found["mb_per_sec"] == pytest.approx(4.000001 / found["seconds"])
