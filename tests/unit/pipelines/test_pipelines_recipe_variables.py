"""Variables of a recipe, steps that wait for another step, and what steps of a recipe make for later ones."""

from __future__ import annotations

import pytest
import yaml

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from pipelines import costs
from pipelines.recipe import Recipe, build_steps, leave_out, load_recipe
from pipelines.recipe_check import check_recipe
from pipelines.recipe_variables import fill_variables
from pipelines.step_outputs import find_maker, list_outputs

INGEST = {"name": "in", "kind": "ingest", "sources": [{"name": "web", "inputs": ["{data}/web", "{corpus}/x"]}]}
SYNTH = {
    "name": "cwe", "kind": "synth", "recipe": "cwe", "output": "{corpus}/made/cwe", "tokenizer": "t.json", "sections": {"scale": "{scale}"},
}  # fmt: skip
MORE = {
    "name": "more",
    "kind": "ingest",
    "keep_view": True,
    "sources": [{"name": "cwe", "inputs": ["{corpus}/made/cwe/documents"]}],
}


def test_a_variable_keeps_its_kind_alone_and_is_words_inside_of_text():
    steps = [{"a": "{scale}", "b": "x{scale}{data}y", "c": ["{data}", 3, None], "d": {"e": "{corpus}/{scale}"}}]
    filled = fill_variables({"variables": {"scale": 16, "data": "/d"}, "steps": steps, "seed": 1})
    assert filled["steps"] == [{"a": 16, "b": "x16/dy", "c": ["/d", 3, None], "d": {"e": "{corpus}/16"}}]
    assert steps[0]["a"] == "{scale}" and filled["seed"] == 1


def test_what_is_filled_in_is_not_filled_in_again():
    values = {"variables": {"a": "{b}", "b": "{corpus}"}, "steps": [{"x": "{a}", "y": "{a}-{b}"}]}
    assert fill_variables(values)["steps"] == [{"x": "{b}", "y": "{b}-{corpus}"}]


def test_a_recipe_without_variables_stays_as_it_is():
    values = {"steps": [{"x": "{a}"}]}
    assert fill_variables(values) is values


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ([1], "variables"), ({"corpus": "x"}, "variables.corpus"), ({"a b": "x"}, "variables.a b"), ({"x": None}, "variables.x"),
        ({"x": ["a"]}, "variables.x"), ({"x": "a", "unused": "b"}, "variables.unused"),
    ],
)  # fmt: skip
def test_variables_that_cannot_be(variables, key):
    with pytest.raises(ConfigError) as caught:
        fill_variables({"variables": variables, "steps": [{"k": "{x}"}]}, "file.yaml")
    assert caught.value.key == key


def write_recipe(folder, steps):
    path = folder / "own.yaml"
    path.write_text(
        yaml.safe_dump({"recipe": "own", "seed": 1, "variables": {"data": "/data", "scale": 16}, "steps": steps})
    )
    return str(path)


def test_a_setting_of_the_command_line_changes_all_places(tmp_path):
    path = write_recipe(tmp_path, [INGEST, SYNTH])
    for overrides, data, scale in (([], "/data", 16), (["variables.scale=8", "variables.data=/e"], "/e", 8)):
        first, second = build_steps(load_recipe(path, overrides))
        assert first.settings.sources[0].inputs == [f"{data}/web", "{corpus}/x"]
        assert second.settings.sections.scale == scale


def test_a_misspelled_variable_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"^variables\.scael: no step has it in braces"):
        load_recipe(write_recipe(tmp_path, [INGEST, SYNTH]), ["variables.scael=8"])


def skip(*steps):
    left = leave_out(Recipe(recipe="r", seed=0, steps=[INGEST, *steps]))
    return [step["name"] for step in left.steps], left.skipped


def test_a_step_waits_for_another_step():
    rex = SYNTH | {"name": "rex", "recipe": "rex", "endpoint": {"base_url": ""}, "only_with": "endpoint.base_url"}
    more = MORE | {"only_with": "steps.rex"}
    last = {"name": "last", "kind": "tag", "taggers": [], "only_with": "steps.more"}
    key = "steps.rex.endpoint.base_url"
    assert skip(rex, more, last) == (["in"], {"rex": key, "more": key, "last": key})
    asked = rex | {"endpoint": {"base_url": "http://127.0.0.1:1/v1"}}
    assert skip(asked, more, last) == (["in", "rex", "more", "last"], {})


def test_a_step_that_waits_for_one_that_is_not_before_it_is_refused():
    with pytest.raises(ConfigError, match=r"^steps\.1\.only_with"):
        skip(MORE | {"only_with": "steps.later"}, SYNTH | {"name": "later"})


def test_what_an_earlier_step_makes_is_not_missing(tmp_path):
    path = write_recipe(tmp_path, [INGEST | {"sources": [{"name": "web", "inputs": ["{data}/web"]}]}, SYNTH, MORE])
    rows = {row.setting: row for row in check_recipe(load_recipe(path, []), Corpus(str(tmp_path)))}
    assert rows["sources.cwe.inputs"].standing == "made by step cwe" and not rows["sources.cwe.inputs"].is_missing
    assert rows["sources.web.inputs"].is_missing
    early = write_recipe(tmp_path, [MORE, INGEST, SYNTH])
    (row,) = [row for row in check_recipe(load_recipe(early, []), Corpus(str(tmp_path))) if row.step == "more"]
    assert row.is_missing  # nothing before it makes it


def test_a_plan_does_not_look_for_what_a_step_is_to_make(tmp_path):
    (tmp_path / "web.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "t.json").write_text("{}")
    steps = [
        INGEST | {"sources": [{"name": "web", "inputs": [str(tmp_path / "web.jsonl")]}]},
        SYNTH | {"sections": {}},
        MORE,
    ]
    built = build_steps(Recipe(recipe="r", seed=0, steps=steps))
    found = costs.describe_new_inputs(built, Corpus(str(tmp_path / "corpus")))
    assert [row["source"] for row in found.rows] == ["web"]
    with pytest.raises(ConfigError, match="expected at least one file"):
        costs.describe_new_inputs([built[2]], Corpus(str(tmp_path / "corpus")))


def test_folders_that_steps_make():
    steps = build_steps(Recipe(recipe="r", seed=0, steps=[SYNTH | {"sections": {}, "output": "/a/b/"}, MORE]))
    outputs = list_outputs(steps)
    assert outputs == {"/a/b": "cwe"}
    assert [find_maker(path, outputs) for path in ("/a/b", "/a/b/c", "/a/bc", "/a")] == ["cwe", "cwe", None, None]
