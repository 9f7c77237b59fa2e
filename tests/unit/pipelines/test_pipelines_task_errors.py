"""A worker that dies once is replaced; one that always dies is a sentence, not a Java trace."""

from __future__ import annotations

import importlib
import os
import signal

import pytest
from py4j.protocol import Py4JError

from dolma_py import storage
from dolma_py.corpus import Corpus
from dolma_py.done import DoneFile
from dolma_py.errors import DolmaError, TaskError
from dolma_py.storage import write_attempt
from pipelines.recipe import KINDS, Recipe, build_steps
from pipelines.steps import StepContext
from pipelines.task_errors import MEMORY_SETTINGS, SPLIT_KINDS, WORKER_DIED, explain_failures, find_cause, memory_hint
from pipelines.units import Unit, run_units
from tests.remote_places import Refusals, open_s3_bucket


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
    with explain_failures(context, "Lower it."):
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
    assert caught.value.cause == WORKER_DIED and "Lower it." in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Python worker exited" in (tmp_path / "runs/r/00-tagging/work/error.txt").read_text()


def test_a_defect_on_the_executor_names_itself(spark, tmp_path):
    with pytest.raises(TaskError) as caught:
        run_one(spark, tmp_path, fail)
    assert caught.value.cause == "KeyError: 'no such thing'"
    assert "Lower it." not in str(caught.value)  # nothing died


@pytest.fixture(scope="module")
def refusing_bucket():
    refusals = Refusals()
    with open_s3_bucket("corpora", refusals) as bucket:
        refusals.pattern = "POST .*a.txt"
        yield bucket, refusals


def upload(params, attempts):
    """In a worker, which was started before the server was."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in params["settings"].items():
            patch.setenv(name, value)
        return [write_attempt(params["bucket"], attempts, "a.txt", lambda sink: sink.write(b"hi") and 1)], {}


def try_upload(spark, folder, place, status, code):
    bucket, refusals = place
    refusals.status, refusals.code, refusals.refused = status, code, []
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    settings["AWS_MAX_ATTEMPTS"] = "1"
    with pytest.raises(DolmaError) as caught:
        run_one(spark, folder, upload, bucket=bucket, settings=settings)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)
    return caught.value


def test_an_upload_that_is_refused_is_one_sentence_and_not_tried_again(spark, tmp_path, refusing_bucket):
    error = try_upload(spark, tmp_path, refusing_bucket, "403 Forbidden", "AccessDenied")
    place, _, rest = str(error).partition("-a.txt: ")
    assert place.startswith("s3://corpora/attempts/")
    assert rest == (
        "AWS Error AccessDenied during CreateMultipartUpload: refused. Check the address, the credentials "
        "(AWS_ACCESS_KEY_ID and the like) and the network. [unit a]"
    )
    assert len(refusing_bucket[1].refused) == 1


@pytest.mark.slow
def test_an_upload_to_a_store_that_is_busy_is_tried_again_by_spark_and_then_one_sentence(
    spark, tmp_path, refusing_bucket
):
    error = try_upload(spark, tmp_path, refusing_bucket, "503 Service Unavailable", "SlowDown")
    assert isinstance(error, TaskError) and error.cause.startswith("s3://corpora/attempts/")
    assert error.cause.endswith("-a.txt: AWS Error SlowDown during CreateMultipartUpload: refused")
    assert "run again" in str(error) and len(refusing_bucket[1].refused) > 1


def test_words_that_cannot_be_kept_do_not_hide_the_cause(spark, tmp_path, monkeypatch):
    def refuse(path, content):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(storage, "write_bytes", refuse)
    with pytest.raises(TaskError) as caught:
        run_one(spark, tmp_path, fail)
    assert caught.value.cause == "KeyError: 'no such thing'"
    assert "Spark's words: not kept, " in str(caught.value) and "error.txt: no space left" in str(caught.value)


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


def test_an_error_of_the_network_is_sparks_only_when_its_jvm_is_gone(spark, tmp_path):
    context = StepContext(lambda: spark, Corpus(str(tmp_path)), None, "tagging", "runs/r/00-tagging", "f", 0, {})
    with pytest.raises(ConnectionRefusedError), explain_failures(context):
        raise ConnectionRefusedError("an object store")


def test_hints_name_settings_that_exist():
    """Every kind has its own, or the recipe's, or none; a command of one job has no recipe to change."""
    for kind, names in MEMORY_SETTINGS.items():
        module, model = KINDS[kind]
        for name in names:
            fields = getattr(importlib.import_module(module), model).model_fields
            for part in name.split("."):
                assert part in fields, (kind, name)
                fields = getattr(fields[part].annotation, "model_fields", {})
    assert set(SPLIT_KINDS) <= set(KINDS)
    steps = [
        {"kind": "ingest", "sources": [{"inputs": ["x"]}]},
        {"kind": "dedup_exact"},
        {"kind": "write_plain", "job": "j", "inputs": ["x"]},
        {"kind": "dedup_minhash"},
        {"kind": "tokenize", "mix": "m"},
    ]
    hints = {}
    for flow in ("mix", "job"):
        recipe = Recipe(recipe="r", flow=flow, seed=0, steps=steps)
        hints[flow] = [memory_hint(step, recipe).partition(", or lower ")[2] for step in build_steps(recipe)]
    own = "row_group_text_bytes or limits.max_record_bytes of step ingest."
    sets, parts = "unit_docs or max_bucket_bytes of step dedup_minhash", "tokens_per_part of step tokenize"
    split = "the recipe's split_bytes."
    assert hints["mix"] == [own, split, "", f"{sets}, or {split}", f"{parts}, or {split}"]
    assert hints["job"] == [own, "", "", f"{sets}.", f"{parts}."]
