"""What turns out wrong while a step runs, in a worker too, is named by the key that --set of the user's command takes."""

from __future__ import annotations

import json

import pytest

from dolma_py.errors import ConfigError, DolmaError
from pipelines.build_recipe import BuildOptions, build
from pipelines.job_main import run_step_file
from pipelines.recipe import Recipe
from pipelines.steps import SettingsPlace
from pipelines.units import _read_error

OPTIONS = BuildOptions(show_progress=False)
PLAN = {"tokens": "lengths-v1.num_words", "score": None, "plan": {"token_budget": 10}}


@pytest.fixture
def corpus(tmp_path, _spark_of_this_run):
    lines = [json.dumps({"id": str(number), "text": "word " * number}) for number in range(1, 9)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    build(Recipe(recipe="few", seed=1, steps=first_steps(tmp_path)), str(tmp_path / "corpus"), OPTIONS)
    return tmp_path / "corpus"


def first_steps(folder):
    return [
        {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(folder / "in.jsonl")]}]},
        {"kind": "tag", "taggers": [{"tagger": "lengths"}]},
    ]


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [("tokens", "lengths-v1.nothing", "expected a column of lengths-v1, one of"), ("score", "quality", "expected SET.COLUMN")],
)  # fmt: skip
def test_a_worker_finds_a_wrong_setting(corpus, tmp_path, setting, value, words):
    steps = [*first_steps(tmp_path), {"kind": "plan_mix", "name": "plan", **PLAN, setting: value}]
    with pytest.raises(ConfigError, match=words) as caught:
        build(Recipe(recipe="few", seed=1, steps=steps), str(corpus), OPTIONS)
    assert (caught.value.key, caught.value.got) == (f"steps.plan.{setting}", value)
    assert "[unit " in str(caught.value)
    with pytest.raises(ConfigError, match=words) as caught:
        values = {"corpus": str(corpus), "name": "plan", "step": PLAN | {setting: value}}
        run_step_file("plan_mix", values, OPTIONS, place=SettingsPlace("step.", "plan.yaml"))
    assert (caught.value.key, caught.value.where) == (f"step.{setting}", "plan.yaml")


def test_the_first_of_several_failures_is_told():
    setting = {"key": "tokens", "got": 3, "rule": "expected 4", "hint": "Do it.", "where": "a.yaml"}
    failed = [{"unit": "u", "error": "e", "setting": setting}, {"unit": "v", "error": "f"}]
    found = _read_error(failed)
    assert isinstance(found, ConfigError) and found.key == "tokens"
    assert str(found) == "tokens: expected 4, got 3 (a.yaml). Do it. [unit u] (1 more units failed.)"
    found = _read_error(failed[1:])
    assert type(found) is DolmaError and str(found) == "f [unit v]"
