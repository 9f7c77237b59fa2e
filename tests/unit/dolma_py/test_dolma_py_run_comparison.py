"""`compare` on made runs: sides, settings that differ, paired tables, and what it says where nothing can be paired."""

from __future__ import annotations

import copy
import json

import pytest
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.errors import ConfigError, DataError
from dolma_py.run_comparison import ABSENT, compare_runs, find_differences, form_sides
from dolma_py.run_comparison_text import render_comparison, run_compare
from dolma_py.run_folders import list_steps, read_run_files, split_run

CONFIG = {
    "model": {"d_model": 8},
    "data": {
        "seed": 0,
        "source_seed": 0,
        "sources": {"web": {"path": "w", "target_ratio": 0.5}, "math": {"path": "m", "target_ratio": 0.5}},
    },
    "run": {"steps": 10, "init_seed": 0},
}


def write_run(folder, *, values=None, step=10, name="eval.json", digest="d", change=None):
    """A finished run whose documents of 100 bytes each have `values` bits; change: edits config.json's values."""
    folder.mkdir(exist_ok=True, parents=True)
    identity = {
        "config": copy.deepcopy(CONFIG),
        "tokenizer_fingerprint": "t",
        "dataset": {"source_seed": 0, "sources": {"web": "f"}},
    }
    if change is not None:
        change(identity)
    (folder / "config.json").write_text(json.dumps(identity))
    metrics = {"steps": step, "tokens": 1000, "final_loss": 2.5, "mean_loss_last_tenth": 2.25, "tokens_per_sec": 1.0}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if values is not None:
        sources = {
            task: {
                "bits_per_byte": sum(bits) / 100 / len(bits),
                "texts_digest": digest,
                "per_document": {"rows": list(range(len(bits))), "bits": bits, "bytes": [100] * len(bits)},
            }
            for task, bits in values.items()
        }
        evaluation = {"checkpoint": f"step{step:07d}", "window_tokens": 16, "sources": sources}
        (folder / name).write_text(json.dumps(evaluation))
    return str(folder)


def set_seed(seed):
    def change(identity):
        identity["config"]["data"]["seed"] = seed
        identity["dataset"]["source_seed"] = seed

    return change


def without_math(identity):
    del identity["config"]["data"]["sources"]["math"]
    identity["config"]["run"]["steps"] = 20


def test_an_ablation_names_the_source_and_pairs_documents(tmp_path):
    whole = write_run(tmp_path / "whole", values={"math": [100.0, 200.0, 330.0]})
    without = write_run(tmp_path / "without", values={"math": [110.0, 220.0, 330.0]}, step=20, change=without_math)
    report = compare_runs([whole, without])
    assert [side["label"] for side in report["sides"]] == ["A", "B"]
    settings = {one["field"]: (one["topic"], one["values"], one["absent"]) for one in report["settings"]}
    assert settings == {
        "config.data.sources.math": ("data", [CONFIG["data"]["sources"]["math"], None], [False, True]),
        "config.run.steps": ("steps", [10, 20], [False, False]),
        "step": ("steps", [10, 20], [False, False]),
    }
    found = report["comparisons"][0]
    assert (found["side"], found["reference"]) == ("B", "A")
    math = found["tasks"]["math"]
    assert math["difference"] == pytest.approx(0.1) and math["error_instances"] == pytest.approx(0.1 / 3**0.5)
    assert math["error_runs"] is None and math["verdict"] is None and found["mean"] == math
    text = render_comparison(report)
    assert '| data | config.data.sources.math | {"path": "m", "target_ratio": 0.5} | - |' in text
    assert "so there is no verdict: add seeds." in text and "standard errors over instances" not in text


def test_differences_on_these_documents_are_told_of_single_runs(tmp_path):
    runs = [
        write_run(tmp_path / "a", values={"x": [100.0, 201.0, 300.0]}),
        write_run(tmp_path / "b", values={"x": [150.0, 250.0, 350.0]}, change=without_math),
    ]
    text = run_compare(runs=runs, evaluation=None, output=None)
    assert "Of these two models B is worse on x (" in text and "so there is no verdict" in text


def test_runs_that_differ_in_seeds_are_one_side(tmp_path):
    first = [
        write_run(tmp_path / f"a{seed}", values={"x": [100.0 + seed, 200.0]}, change=set_seed(seed))
        for seed in range(3)
    ]

    def other(seed):
        def change(identity):
            set_seed(seed)(identity)
            identity["config"]["model"]["d_model"] = 16

        return change

    second = [
        write_run(tmp_path / f"b{seed}", values={"x": [50.0 + seed, 150.0]}, change=other(seed)) for seed in range(2)
    ]
    report = compare_runs([*first, *second])
    assert [[run["run"] for run in side["runs"]] for side in report["sides"]] == [first, second]
    assert [run["seeds"]["data.seed"] for run in report["sides"][0]["runs"]] == [0, 1, 2]
    assert [one["field"] for one in report["settings"]] == ["config.model.d_model"]
    x = report["comparisons"][0]["tasks"]["x"]
    assert x["verdict"] == "better" and x["error_runs"] > 0 and len(x["left_runs"]) == 2 and len(x["right_runs"]) == 3
    text = render_comparison(report)
    assert "B is better on x, better on mean of the tasks." in text and "| A | mean of 3 runs |" in text
    with pytest.raises(ConfigError, match="differ in more than their seeds"):
        compare_runs(first)


def test_a_checkpoint_has_an_evaluation_of_its_own(tmp_path):
    run = write_run(tmp_path / "run", values={"x": [100.0, 200.0]})
    write_run(tmp_path / "run", values={"x": [120.0, 230.0]}, step=5, name="eval-step0000005.json")
    report = compare_runs([run, f"{run}@5"])
    assert [(one["field"], one["values"]) for one in report["settings"]] == [("step", [10, 5])]
    assert report["comparisons"][0]["tasks"]["x"]["left"] == pytest.approx(1.75)


def test_an_evaluation_may_have_another_name(tmp_path):
    runs = []
    for name, bits, change in (("a", 100.0, None), ("b", 150.0, without_math)):
        runs.append(
            write_run(tmp_path / name / "train", values={"x": [bits, bits]}, name="../other.json", change=change)
        )
    assert compare_runs(runs)["comparisons"][0]["tasks"] == {}
    report = compare_runs(runs, evaluation_name="../other.json")
    assert report["comparisons"][0]["tasks"]["x"]["difference"] == pytest.approx(0.5) and report["notes"] == []
    (tmp_path / "a" / "other.json").write_text("{}")
    with pytest.raises(DataError, match="is not an evaluation"):
        compare_runs(runs, evaluation_name="../other.json")


def test_what_cannot_be_paired_is_told_and_left_out(tmp_path):
    a = write_run(tmp_path / "a", values={"x": [100.0, 200.0], "y": [1.0]})
    b = write_run(tmp_path / "b", values={"x": [100.0, 200.0]}, digest="other", change=without_math)
    c = write_run(tmp_path / "c", change=without_math)
    report = compare_runs([a, b])
    assert report["comparisons"][0]["tasks"] == {} and report["comparisons"][0]["mean"] is None
    assert report["notes"] == [
        "x, B against A: measured on other texts, so nothing can be paired",
        "y, B against A: not every run was measured on it",
    ]
    report = compare_runs([a, c])
    assert report["comparisons"][0]["tasks"] == {} and report["notes"][0].startswith(
        f"{c} was not evaluated. Run: dolma-py eval"
    )
    assert "## B against A" not in render_comparison(report) and "| B |" in render_comparison(report)


def test_documents_that_one_tokenizer_does_not_keep_are_left_out_of_both(tmp_path):
    a = write_run(tmp_path / "a", values={"x": [100.0, 200.0, 300.0]})
    b = write_run(tmp_path / "b", values={"x": [100.0, 200.0, 400.0]}, change=without_math)
    evaluation = json.loads((tmp_path / "b" / "eval.json").read_text())
    evaluation["sources"]["x"]["per_document"] = {"rows": [0, 2], "bits": [110.0, 330.0], "bytes": [100, 100]}
    (tmp_path / "b" / "eval.json").write_text(json.dumps(evaluation))
    report = compare_runs([a, b])
    x = report["comparisons"][0]["tasks"]["x"]
    assert (x["instances"], x["left"], x["right"]) == (2, pytest.approx(2.2), pytest.approx(2.0))
    assert report["notes"] == ["x, B against A: 1 of 3 left out, which not every run has"]


def test_items_are_a_task_and_older_evaluations_have_none(tmp_path):
    runs = [write_run(tmp_path / "a", values={}), write_run(tmp_path / "b", values={}, change=without_math)]
    for name, value in (("a", 1.0), ("b", 2.0)):
        path = tmp_path / name / "eval.json"
        items = {"texts_digest": "i", "per_item": {"one": value, "two": value + 0.5}}
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"items": items, "sources": {"old": {"bits_per_byte": 1.0}}})
        )
    report = compare_runs(runs)
    assert list(report["comparisons"][0]["tasks"]) == ["answers of items"]
    assert report["comparisons"][0]["mean"]["difference"] == pytest.approx(1.0)


def test_the_command_writes_both_forms(tmp_path):
    a = write_run(tmp_path / "a", values={"x": [100.0, 200.0]})
    b = write_run(tmp_path / "b", values={"x": [100.0, 210.0]}, change=without_math)
    answer = CliRunner().invoke(app, ["compare", a, b, "--output", str(tmp_path / "c.json")])
    assert answer.exit_code == 0 and answer.stdout.startswith("# Runs compared")
    assert json.loads((tmp_path / "c.json").read_text())["format"] == "dolma-py-comparison"
    shown = run_compare(runs=[a, b], evaluation=None, output=str(tmp_path / "c.md"))
    assert shown.startswith((tmp_path / "c.md").read_text())


def test_what_is_no_run_is_refused(tmp_path):
    run = write_run(tmp_path / "a", values={})
    for names, message in (
        ([run], "two different runs"),
        ([run, run], "two different runs"),
        ([run, str(tmp_path)], "expected the folder of a training run"),
    ):
        with pytest.raises(ConfigError, match=message):
            compare_runs(names)
    with pytest.raises(ConfigError, match="ends in .md or .json"):
        run_compare(runs=[run, run], evaluation=None, output="x.txt")
    for damaged in ("{", "[]"):
        (tmp_path / "a" / "eval.json").write_text(damaged)
        with pytest.raises(DataError, match="eval.json"):
            read_run_files(run)


def test_fields_that_are_missing_show_what_stands_below():
    found = find_differences([{"a": {"b": 1}, "c": 1}, {"c": 1}, {"a": {"b": 1}, "c": 1}])
    assert found == [("a", [{"b": 1}, ABSENT, {"b": 1}])]
    assert find_differences([{"a": [1, 2]}, {"a": [1, 3]}]) == [("a", [[1, 2], [1, 3]])]
    assert find_differences([{"a": None}, {}]) == [("a", [None, ABSENT])] and find_differences([{}, {}]) == []


def test_many_sides_have_labels(tmp_path):
    def steps(number):
        def change(identity):
            identity["config"]["run"]["steps"] = number

        return change

    runs = [read_run_files(write_run(tmp_path / str(n), change=steps(n))) for n in range(28)]
    assert [side.label for side in form_sides(runs)][24:] == ["Y", "Z", "side 27", "side 28"]


def test_names_of_runs_and_steps(tmp_path):
    (tmp_path / "a@3").mkdir()
    assert split_run(str(tmp_path / "a@3")) == (tmp_path / "a@3", None)
    for name in ("step0000010", "step0000005", "step7.partial", "other"):
        (tmp_path / "run" / "checkpoints" / name).mkdir(parents=True)
    assert list_steps(tmp_path / "run") == [5, 10] and list_steps(tmp_path) == []
