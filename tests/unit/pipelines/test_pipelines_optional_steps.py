"""Steps with `only_with`: left out while the setting that they name is empty, and said so."""

import pytest

from dolma_py.errors import ConfigError
from pipelines import commands
from pipelines.build_recipe import BuildOptions, build_named
from pipelines.recipe import Recipe, build_steps, leave_out, load_recipe
from taggers.url_lists import URL_RULES

KEY = "steps.urls.taggers.0.options"
INGEST = {"kind": "ingest", "sources": [{"inputs": ["a"]}]}


def names(overrides):
    return [step.name for step in build_steps(load_recipe("olmo3-web", overrides))]


@pytest.mark.parametrize(
    "override", ["={exact_domains: [a.txt]}", "={url_keys: [url], domains: [a.txt]}", ".soft_words=[a.txt]"]
)
def test_a_list_brings_the_step_in(override):
    assert names([KEY + override]) == ["ingest", "urls", "filter", "language"]


@pytest.mark.parametrize("overrides", [[], [f"{KEY}={{}}"], [f"{KEY}.domains=[]"], [f"{KEY}=null"]])
def test_without_a_list_the_step_is_left_out(overrides):
    assert names(overrides) == ["ingest", "filter", "language"]
    assert load_recipe("olmo3-web", overrides).skipped == {"urls": KEY}


def test_the_step_has_the_presets_rules():
    steps = {step.name: step for step in build_steps(load_recipe("olmo3-web", [f"{KEY}.domains=[a.txt]"]))}
    ours = [(rule.name, rule.keep) for rule in steps["urls"].rules]
    assert ours == [(rule.name, rule.expression) for rule in URL_RULES["refinedweb-dclm"]]


@pytest.mark.parametrize("key", ["options", "taggers.1.options", "taggers.x", "taggers.0.optoins", 3])
def test_a_key_of_no_setting_is_refused(key):
    step = {"name": "urls", "kind": "tag", "taggers": [{"tagger": "lengths", "options": {}}], "only_with": key}
    with pytest.raises(ConfigError, match=r"^steps\.1\.only_with: expected the key of a setting"):
        leave_out(Recipe(recipe="r", seed=0, steps=[INGEST, step]))


def test_a_recipe_of_steps_that_wait_is_refused():
    with pytest.raises(ConfigError, match=r"steps\.ingest\.sources"):
        leave_out(Recipe(recipe="r", seed=0, steps=[{"kind": "ingest", "sources": [], "only_with": "sources"}]))


def plan(folder, overrides):
    (folder / "in.jsonl").write_text('{"text": "a"}\n')
    return build_named(
        recipe="olmo3-web", corpus=str(folder / "c"), flow="filter", overrides=overrides, inputs=[str(folder / "in.jsonl")],
        dry_run=True, options=BuildOptions(),
    )  # fmt: skip


def test_a_dry_run_says_what_is_left_out_and_why(tmp_path, capsys):
    commands.print_plan(plan(tmp_path, []))
    assert f"urls: left out, {KEY} is empty" in capsys.readouterr().out
    (tmp_path / "hosts.txt").write_text("bad.org\n")
    commands.print_plan(plan(tmp_path, [f"{KEY}.exact_domains=[{tmp_path / 'hosts.txt'}]"]))
    shown = capsys.readouterr().out
    assert "left out" not in shown and "urls" in shown


def test_a_list_that_is_missing_is_named_before_anything_runs(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^steps\.urls\.taggers\.0\.options\.soft_words: no such file, got '.*words\.txt'"
    ):
        plan(tmp_path, [f"{KEY}.soft_words=[{tmp_path / 'words.txt'}]"])
    with pytest.raises(ConfigError, match="at least one of exact_domains"):
        plan(tmp_path, [f"{KEY}.url_keys=[url]"])
