"""What is in a step's fingerprint and what is not, and that a done phase is not believed when its files are cut otherwise."""

from __future__ import annotations

import importlib

import pytest

from dolma_py import config
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from dolma_py.listing import Split
from pipelines import candidate_sets, steps
from pipelines.build_recipe import name_view
from pipelines.candidate_graph import Graph
from pipelines.recipe import KINDS, build_step, build_steps, load_recipe
from pipelines.steps import StepContext
from pipelines.units import UnitTimes

MINHASH = [
    {"components": "spark"}, {"max_edges": 5}, {"max_rounds": 3}, {"unit_docs": 9}, {"max_bucket_bytes": 1 << 20},
    {"keep_bands": False}, {"alarms": {"min_source_docs": 7}}, {"rules": []},
]  # fmt: skip


def identity(kind, **settings):
    return build_step(0, {"kind": kind, "name": "s", **settings}).identity()


@pytest.mark.parametrize("settings", MINHASH, ids=lambda settings: next(iter(settings)))
def test_settings_that_change_no_byte_are_not_in_the_fingerprint(settings):
    assert identity("dedup_minhash", **settings) == identity("dedup_minhash")


def test_those_of_other_kinds_and_those_that_do(tmp_path):
    for kind in ("dedup_exact", "dedup_urls", "dedup_paragraphs"):
        assert identity(kind, keep_keys=False) == identity(kind)
    sources = [{"inputs": ["x"]}]
    assert identity("ingest", sources=sources, max_rejected_frac=0.5) == identity("ingest", sources=sources)
    assert identity("dedup_minhash", preset="fineweb") != identity("dedup_minhash")
    assert identity("dedup_minhash", verification={"threshold": 0.7}) != identity("dedup_minhash")
    assert identity("dedup_exact", scope="source") != identity("dedup_exact")


def test_settings_that_come_to_the_same_are_the_same_step():
    """A preset by name, its numbers without one, and a preset on which its own numbers are laid."""
    fineweb = {"num_bands": 14, "num_rows": 8, "shingles": {"rules": "datatrove", "short_documents": "skip"}}
    assert identity("dedup_minhash", preset="fineweb") == identity("dedup_minhash", preset=None, minhash=fineweb)
    assert identity("dedup_minhash", preset="fineweb", minhash={"num_rows": 8}) == identity(
        "dedup_minhash", preset="fineweb"
    )
    assert identity("dedup_minhash", preset=None) == identity("dedup_minhash") == identity("dedup_minhash", minhash={})
    assert identity(
        "dedup_minhash", preset="olmo3-web", verification={"rule": "representative", "large_index": "prefix"}
    ) == (identity("dedup_minhash", minhash={"num_bands": 26, "num_rows": 11}))


def test_a_preset_stands_when_a_key_is_given():
    made = identity("dedup_minhash", preset="fineweb", minhash={"seed": 2}, verification={"threshold": 0.7})["config"]
    assert (made["minhash"]["num_bands"], made["minhash"]["num_rows"], made["minhash"]["seed"]) == (14, 8, 2)
    assert made["minhash"]["shingles"]["rules"] == "datatrove"
    assert (made["verification"]["threshold"], made["verification"]["rule"]) == (0.7, "representative")
    assert "preset" not in made
    olmo3 = identity("dedup_minhash", preset="olmo3-web", verification={"threshold": 0.7})["config"]["verification"]
    assert (olmo3["rule"], olmo3["large_index"], olmo3["threshold"]) == ("pairs", "olmo3", 0.7)


def test_a_task_gets_the_settings_that_the_driver_has():
    step = build_step(
        0, {"kind": "dedup_minhash", "preset": "bigcode", "minhash": {"seed": 2}, "verification": {"rule": "pairs"}}
    )
    assert type(step.settings).model_validate(config.dump_config(step.settings)) == step.settings


@pytest.mark.parametrize(
    "settings", [{"minhash": 3}, {"verification": "pairs"}, {"minhash": {"num_band": 3}}, {"preset": ["fineweb"]}]
)
def test_what_cannot_be_laid_over_a_preset_is_told_by_its_field(settings):
    (key,) = settings
    with pytest.raises(ConfigError, match=rf"^steps\.s\.{key}"):
        identity("dedup_minhash", **settings)


def test_the_quickstart_keeps_both_ends_of_chains_and_misses_no_pair():
    (step,) = [step for step in build_steps(load_recipe("quickstart", [])) if step.kind == "dedup_minhash"]
    assert (step.settings.settings.num_bands, step.settings.settings.num_rows) == (26, 11)
    assert (step.settings.checking.rule, step.settings.checking.large_index) == ("representative", "prefix")


def test_every_setting_named_exists():
    for module_name, config_name in KINDS.values():
        module = importlib.import_module(module_name)
        fields = getattr(module, config_name).model_fields
        assert set(getattr(module, "CHANGES_NO_BYTE", ())) <= set(fields), module_name
        has_bound = {"alarms", "max_rejected_frac"} & set(fields)
        assert has_bound <= set(getattr(module, "CHANGES_NO_BYTE", ())), module_name


def test_a_done_phase_of_another_layout_is_void(tmp_path):
    context = StepContext(lambda: None, Corpus(str(tmp_path)), None, "s", "runs/r/00-s", "f", 0, {})
    context.done("sets", 3).publish("a", [], {})
    assert "a" in context.done("sets", 3).units
    assert "a" not in context.done("sets", 4).units and "a" not in context.done("sets").units
    assert context.done("sets").fingerprint != context.done("verify").fingerprint


def test_buckets_follow_from_members_or_from_long_texts():
    short = Split(0, 0, 0, 0, 1000, 1_000_000)
    long = Split(1, 0, 0, 0, 100, 4 << 30)  # 43 MB each
    assert candidate_sets.count_buckets(Graph([], [], 0, 0), 10) == 0
    assert candidate_sets.count_buckets(Graph([short], [25], 0, 0), 10) == 3
    sets_bytes = 1.4 * (4 << 30) * 50 / 100
    expected = -(-sets_bytes // (64 << 20))
    assert expected > 5
    assert candidate_sets.count_buckets(Graph([short, long], [1, 50], 0, 0), 50_000) == expected


def test_the_view_of_a_command_of_one_job_is_called_after_its_run():
    assert name_view("dedup-exact", "dedup-exact") == "dedup-exact"
    assert name_view("quickstart", "exact") == "quickstart-exact"


def test_what_every_phase_cost_is_noted(tmp_path, monkeypatch):
    times = [UnitTimes(0.5, 5), UnitTimes(1.5, 9), UnitTimes(0.0, 2)]
    costs = iter(times)
    monkeypatch.setattr(steps, "run_units", lambda *_, **__: next(costs))
    context = StepContext(lambda: None, Corpus(str(tmp_path)), None, "s", "runs/r/00-s", "f", 0, {}, phase_times=[])
    for phase in ("sets", "verify"):
        context.run_units(phase, [], lambda *_: ([], {}))
    context._replace(view=None).run_units("attributes", [], lambda *_: ([], {}))
    assert context.phase_times == times
