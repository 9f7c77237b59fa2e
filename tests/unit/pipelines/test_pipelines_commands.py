"""Commands as far as they go without Spark: what they hand to a job, and what they show."""

import json

import pytest

from dolma_py.config import build_config, parse_yaml
from dolma_py.errors import ConfigError
from pipelines import commands, job_main, outcomes
from pipelines.build_recipe import Outcome
from pipelines.job_main import read_job
from pipelines.plain_commands import PLAIN_KINDS, PlainOptions, make_recipe
from pipelines.recipe import KINDS, build_step
from pipelines.steps import SettingsPlace, find_rule_set, find_worst
from pipelines.tag_documents import TagConfig, check_settings

OURS = {"tagger": "contamination", "options": {"items_paths": ["items.jsonl"]}}
LENGTHS = {"tagger": "lengths"}


def decontaminate(monkeypatch, taggers, *overrides):
    """The settings with which the job of the command would run."""
    given = []
    monkeypatch.setattr(commands, "run_plain_or_corpus_command", lambda **options: given.append(options))
    commands.run_decontaminate(config=None, overrides=[f"taggers={commands.config.render_flow(taggers)}", *overrides])
    return build_config(TagConfig, commands.config.apply_overrides({}, given[0]["overrides"]))


@pytest.mark.parametrize(
    ("taggers", "expected"),
    [
        ([OURS], None), ([OURS | {"name": "evals"}], None), ([OURS, LENGTHS], "contamination-v3"),
        ([LENGTHS, OURS | {"name": "evals"}], "evals-v3"), ([LENGTHS], None),
        ([LENGTHS, OURS | {"tagger": "taggers.contamination:ContaminationTagger"}], "contamination-v3"),
    ],
)  # fmt: skip
def test_decontaminate_drops_by_the_set_of_its_tagger(monkeypatch, taggers, expected):
    (rule,) = decontaminate(monkeypatch, taggers).rules
    assert (rule.name, rule.keep, rule.attributes) == ("contaminated", "not contaminated", expected)
    assert decontaminate(monkeypatch, taggers, "rules=[]").rules == []


def test_options_of_contamination_may_stand_by_themselves(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(commands, "run_plain_or_corpus_command", lambda **options: given.append(options))
    file = tmp_path / "settings.yaml"
    file.write_text("threshold: 0.88\nrules: []\n")
    commands.run_decontaminate(config=str(file), overrides=["evaluation_sets=benchmarks", "evaluation_folder=/data/b"])
    assert given[0]["config"] is None
    options = {"threshold": 0.88, "evaluation_sets": "benchmarks", "evaluation_folder": "/data/b"}
    assert commands.config.apply_overrides({}, given[0]["overrides"]) == {
        "rules": [], "taggers": [{"tagger": "contamination", "options": options}],
    }  # fmt: skip
    with pytest.raises(ConfigError, match="under taggers") as error:
        decontaminate(monkeypatch, [OURS], "threshold=0.9")
    assert error.value.key == "threshold"


def test_decontaminate_removes_documents_or_spans(monkeypatch):
    (rule,) = decontaminate(monkeypatch, [OURS, LENGTHS], "rules=span").rules
    assert (rule.name, rule.edit, rule.keep, rule.attributes) == (
        "contaminated_spans",
        "spans",
        None,
        "contamination-v3",
    )
    assert decontaminate(monkeypatch, [OURS], "rules=document") == decontaminate(monkeypatch, [OURS])
    with pytest.raises(ConfigError, match=r"rules.*one of \['document', 'span'\]"):
        decontaminate(monkeypatch, [OURS], "rules=spam")


@pytest.mark.parametrize(("preset", "warned"), [("every-8-grams", True), ("olmo3-posttrain", False)])
def test_a_rule_that_costs_clean_text_is_told_before_the_run(caplog, preset, warned):
    tag = TagConfig(taggers=[{"tagger": "contamination", "options": OURS["options"] | {"preset": preset}}, LENGTHS])
    check_settings(tag, SettingsPlace(""))
    assert ("every run of 8 words" in caplog.text) is warned


@pytest.mark.parametrize("taggers", [[OURS, OURS | {"name": "b"}], [LENGTHS, LENGTHS | {"name": "b"}]])
def test_decontaminate_asks_for_rules_where_its_own_is_unclear(monkeypatch, taggers):
    with pytest.raises(ConfigError, match="expected one tagger `contamination`.*Or give rules"):
        decontaminate(monkeypatch, taggers)


def test_the_settings_of_decontaminate_drop_what_the_command_drops(capsys, monkeypatch):
    commands.run_settings(name="decontaminate")
    printed = parse_yaml(capsys.readouterr().out, "here")
    assert build_config(TagConfig, printed | {"taggers": [OURS]}) == decontaminate(monkeypatch, [OURS])


@pytest.mark.parametrize(
    ("rule", "sets", "expected"),
    [
        ({"keep": "a > 1"}, ["x-v1"], "x-v1"), ({"keep": "a > 1", "attributes": "y-v1"}, ["x-v1", "y-v1"], "y-v1"),
        ({"min_text_bytes": 9}, ["x-v1"], None), ({"min_text_bytes": 9}, [], None),
    ],
)  # fmt: skip
def test_a_rule_is_over_the_set_it_names_or_the_only_one(rule, sets, expected):
    rule = build_step(0, {"kind": "tag", "taggers": [LENGTHS], "rules": [{"name": "r", **rule}]}).rules[0]
    assert find_rule_set(SettingsPlace("steps.tag."), rule, sets) == expected


@pytest.mark.parametrize(("attributes", "sets"), [(None, ["x-v1", "y-v1"]), (None, []), ("z-v1", ["x-v1", "y-v1"])])
def test_a_rule_over_an_unclear_set_is_told(attributes, sets):
    rule = build_step(
        0, {"kind": "tag", "taggers": [LENGTHS], "rules": [{"name": "r", "keep": "a > 1", "attributes": attributes}]}
    ).rules[0]
    with pytest.raises(ConfigError, match=r"steps\.tag\.rules\.r\.attributes"):
        find_rule_set(SettingsPlace("steps.tag."), rule, sets)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(PLAIN_KINDS)))
def test_other_jobs_do_not_run_over_plain_files(kind, tmp_path):
    plain = PlainOptions(["in.jsonl"], str(tmp_path / "out"), "text", None, False)
    with pytest.raises(ConfigError, match=f"{kind} does not run over plain files, only tag, dedup_exact"):
        make_recipe(kind, {}, {"name": "job", "seed": 0}, plain)


def test_the_worst_input_is_the_sum_of_its_ranges():
    ranges = [("big", {"x": 4}), ("big", {"x": 4, "y": 1}), ("small", {"x": 5, "y": 7})]
    assert find_worst(ranges) == ("big: x", 8)
    assert find_worst([("b", {"y": 2, "x": 2}), ("a", {"x": 2})]) == ("b: x", 2)


def test_names_with_brackets_and_colons_are_shown_as_they_are(capsys):
    outcomes.print_written({"output": "/data/[old]/:tada:/[/x]"})
    assert capsys.readouterr().out == "written: /data/[old]/:tada:/[/x]\n"
    funnel = {"kept": {"sources": {}}}
    done = {"funnel": funnel, "view": "v", "artifacts": {"model": "[bold]m"}}
    outcomes.print_outcomes([Outcome("[a]", True, 0.0, done)], "/data/[old]")
    shown = capsys.readouterr().out
    assert "[a] " in shown and "in /data/[old]: view v; model: [bold]m" in shown


def test_the_last_line_of_a_build_can_be_copied(capsys):
    """However long the path: no line is broken for the width of the terminal."""
    path = "tokens/" + "quickstart/" * 20 + "manifest.json"
    done = {"funnel": None, "view": "quickstart", "artifacts": {"shards_quickstart": path}}
    outcomes.print_outcomes([Outcome("shards", False, 2.0, done)], "/data/corpus")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"in /data/corpus: view quickstart; shards_quickstart: {path}"


@pytest.mark.parametrize(("kind", "file"), [("tag", "tag_documents"), ("tokenize", "make_tokens")])
def test_the_usage_of_a_job_names_its_file(kind, file, capsys):
    with pytest.raises(SystemExit):
        job_main.run_job(kind, ["--help"])
    assert f"usage: pipelines/{file}.py " in capsys.readouterr().out


def test_a_misspelled_preset_is_told_with_its_step_and_the_other_mistakes():
    with pytest.raises(ConfigError) as caught:
        build_step(0, {"kind": "dedup_minhash", "name": "near", "preset": "finewb", "unit_dogs": 3})
    text = str(caught.value)
    assert "2 mistakes" in text and "steps.near.preset" in text and "fineweb" in text and "steps.near.unit_dogs" in text


@pytest.mark.parametrize("kind", ["ingest", "train_classifier"])
def test_a_view_for_a_job_that_reads_none_is_refused(tmp_path, kind):
    step = {"sources": [{"inputs": ["*.jsonl"]}]} if kind == "ingest" else {"positives": ["a"], "negatives": ["b"]}
    job = {"corpus": str(tmp_path), "step": step}
    assert read_job(kind, job, "")[2].view is None
    with pytest.raises(ConfigError, match=f"{kind} reads no view"):
        read_job(kind, job | {"view": "v"}, "")


@pytest.mark.parametrize("name", ["a/b", "A", "../x", "-"])
def test_a_name_that_is_no_folder_of_runs_is_one_sentence(tmp_path, name):
    values = {"corpus": str(tmp_path), "name": name, "step": {"taggers": [LENGTHS]}}
    with pytest.raises(ConfigError, match="name: String should match pattern"):
        read_job("tag", values, "")


def test_a_plan_in_which_all_is_done_says_so_and_cuts_no_name(capsys):
    step = {"name": "decontaminate", "kind": "dedup_paragraphs", "standing": "done", "seconds": 0.0, "disk_bytes": 0,
            "worker_memory_bytes": 10**9, "details": {}}  # fmt: skip
    commands.print_plan({"steps": [step]})
    shown = capsys.readouterr().out
    assert "decontaminate" in shown and "dedup_paragraphs" in shown and "Every step is done" in shown


@pytest.mark.parametrize(
    ("settings", "key", "told"),
    [
        ({"question_alone": 2.0, "items_paths": ["x"]}, "question_alone", "less than or equal to 1"),
        ({"preset": "deconn", "items_paths": ["x"]}, "preset", "Did you mean decon"),
        ({"questions_alone": 0.5, "items_paths": ["x"]}, "questions_alone", "Did you mean question_alone"),
        ({}, "evaluation_sets", "expected a registry"),
        ({"evaluation_sets": "benchmark"}, "evaluation_sets", "benchmark"),
        ({"evaluation_sets": "/nowhere/sets.yaml"}, "evaluation_sets", "/nowhere/sets.yaml"),
    ],
)
def test_mistakes_of_decontaminate_are_named_as_they_were_given(monkeypatch, settings, key, told):
    monkeypatch.setattr(commands, "run_plain_or_corpus_command", lambda **_: None)
    overrides = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    with pytest.raises(ConfigError) as error:
        commands.run_decontaminate(config=None, overrides=overrides)
    assert error.value.key == key and told in str(error.value)
