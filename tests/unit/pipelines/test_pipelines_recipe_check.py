"""What `--check` finds of the things that a recipe reads, before any of its work."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.config import load_yaml
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from pipelines import recipe_check
from pipelines.build_recipe import BuildOptions, build_named
from pipelines.recipe import Recipe, load_recipe
from tests.conftest import REPOSITORY

RECIPES = sorted(path.stem for path in (REPOSITORY / "pipelines" / "recipes").glob("*.yaml"))
MIXES = ("dolma3-mix-6t", "dolma3-mix-150b")
SOURCE = {
    "name": "web", "dataset": "Pages", "get": "from there", "licence": "CC0", "made": "by hand", "pool_tokens": 1, "mix_tokens": 1,
}  # fmt: skip


def make(*steps, **top):
    return Recipe(recipe="r", seed=0, steps=list(steps), **top)


def check(folder, *steps, **top):
    rows = recipe_check.check_recipe(make(*steps, **top), Corpus(str(folder)))
    return {(row.step, row.setting, row.path.removeprefix(f"{folder}/")): row for row in rows}


def ingest(*inputs, **source):
    return {"kind": "ingest", "sources": [{"name": "web", "inputs": list(inputs), **source}]}


@pytest.mark.parametrize("name", RECIPES)
def test_every_packaged_recipe_names_what_is_missing(name, tmp_path):
    loaded = load_recipe(name, [])
    rows = recipe_check.check_recipe(loaded, Corpus(str(tmp_path)))
    missing = {row.setting for row in rows if row.is_missing}
    if name == "quickstart":  # it makes all of it
        assert not missing
        return
    wanted = [
        source["name"] or "0"
        for step in load_yaml(recipe_file(name))["steps"]
        if step["kind"] == "ingest"
        for source in step["sources"]
        if not source["inputs"][0].startswith("{corpus}/made/")  # by a step of its own
    ]
    assert {f"sources.{source}.inputs" for source in wanted} <= missing
    with pytest.raises(
        ConfigError,
        match=rf"^steps\.\w+\.sources\.\w+\.inputs: {len([r for r in rows if r.is_missing])} of {len(rows)} things",
    ):
        recipe_check.refuse_missing(loaded, rows)


def recipe_file(name):
    return REPOSITORY / "pipelines" / "recipes" / f"{name}.yaml"


@pytest.mark.parametrize("name", MIXES)
def test_missing_sources_of_a_mix_say_where_they_are_to_be_had(name, tmp_path):
    loaded = load_recipe(name, [])
    rows = [row for row in recipe_check.check_recipe(loaded, Corpus(str(tmp_path))) if row.setting.endswith("inputs")]
    assert len(rows) == 20
    for row in rows:
        (source,) = [source for source in loaded.sources if source.stands_for(row.setting.split(".")[1])]
        assert source.licence in row.note and source.get in row.note and source.made in row.note


def test_files_that_are_there(tmp_path):
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "a.jsonl").write_text('{"text": "a"}\n')
    rows = check(tmp_path, ingest("{corpus}/inputs", f"{tmp_path}/inputs/*.jsonl", f"{tmp_path}/inputs/*.gz"))
    assert [row.standing for row in rows.values()] == ["there", "there", "missing"]
    rows = check(tmp_path, ingest(f"{tmp_path}/no"), sources=[SOURCE])
    (row,) = rows.values()
    assert row.note == "Pages. from there. CC0. by hand"
    rows = check(tmp_path, ingest(f"{tmp_path}/no"), sources=[SOURCE | {"name": "we"}])
    assert next(iter(rows.values())).note == ""


def test_a_place_that_cannot_be_asked_is_missing_with_its_reason(tmp_path):
    ((_, row),) = check(tmp_path, ingest("nowhere://bucket/x")).items()
    assert row.is_missing and len(row.standing) > len("missing: ")


def test_models_lists_examples_and_names_on_the_hub(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"x")
    (tmp_path / "d.txt").write_text("a.example\n")
    rows = check(
        tmp_path,
        {"kind": "train_classifier", "positives": [f"{tmp_path}/model.bin"], "negatives": [f"{tmp_path}/no.jsonl"]},
        ingest(f"{tmp_path}/model.bin"),
        {"kind": "tag", "taggers": [
            {"tagger": "quality", "options": {"model_path": "artifact:quality"}},
            {"tagger": "topic", "options": {"model_path": "artifact:topic"}},
            {"tagger": "classifiers", "options": {"model_paths": [f"{tmp_path}/model.bin", f"{tmp_path}/no.bin"], "columns": ["a", "b"]}},
            {"tagger": "url-lists", "options": {"exact_domains": [f"{tmp_path}/d.txt"], "url_keys": ["url"]}},
            {"tagger": "mixers.token_count:TokenCountTagger", "options": {"tokenizer": "org/name"}},
        ]},
        {"kind": "partition", "against": f"{tmp_path}/thresholds.json"},
        {"kind": "sample_mix", "cells": "runs/p/cells.parquet"},
    )  # fmt: skip
    assert {key[1:]: row.standing for key, row in rows.items()} == {
        ("positives", "model.bin"): "there",
        ("negatives", "no.jsonl"): "missing",
        ("sources.web.inputs", "model.bin"): "there",
        ("taggers.0.options.model_path", "artifact:quality"): "made by an earlier step",
        ("taggers.1.options.model_path", "artifact:topic"): "missing",
        ("taggers.2.options.model_paths", "model.bin"): "there",
        ("taggers.2.options.model_paths", "no.bin"): "missing",
        ("taggers.3.options.exact_domains", "d.txt"): "there",
        ("taggers.4.options.tokenizer", "org/name"): "not asked: a name on the Hub",
        ("against", "thresholds.json"): "missing",
        ("cells", "runs/p/cells.parquet"): "missing",
    }


def test_a_setting_that_does_not_parse_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="num_wordz"):
        tag = {"kind": "tag", "taggers": [{"tagger": "lengths"}], "rules": [{"name": "a", "keep": "num_wordz > 1"}]}
        check(tmp_path, ingest("a"), tag)
    with pytest.raises(ConfigError, match="no_such_recipe"):
        check(tmp_path, ingest("a"), sources=[SOURCE | {"recipe": "no_such_recipe"}])


def test_a_file_that_is_missing_is_a_row_and_hides_no_later_mistake(tmp_path):
    steps = [
        ingest("a"),
        {
            "name": "lists",
            "kind": "tag",
            "taggers": [{"tagger": "url-lists", "options": {"exact_domains": ["no.txt"]}}],
        },
        {"name": "topics", "kind": "tag", "taggers": [{"tagger": "topic", "options": {"model_path": "no.bin"}}]},
    ]
    rows = check(tmp_path, *steps)
    assert [row.path for row in rows.values() if row.is_missing] == ["a", "no.txt", "no.bin"]
    with pytest.raises(ConfigError, match="num_wordz"):
        last = {
            "name": "last",
            "kind": "tag",
            "taggers": [{"tagger": "lengths"}],
            "rules": [{"name": "a", "keep": "num_wordz > 1"}],
        }
        check(tmp_path, *steps, last)


def test_the_command_prints_and_refuses(tmp_path):
    arguments = ["build", "mix", "--recipe", "dolma3-mix-6t", "--corpus", str(tmp_path / "c"), "--check"]
    answer = CliRunner().invoke(app, arguments)
    assert isinstance(answer.exception, ConfigError) and "22 of 25 things" in str(answer.exception)
    assert "22 are missing" in " ".join(answer.output.split()) and "hf://datasets/allenai/dolma3_pool" in answer.output
    assert not (tmp_path / "c").exists()
    answer = CliRunner().invoke(
        app, ["build", "mix", "--recipe", "quickstart", "--corpus", str(tmp_path / "c"), "--check"]
    )
    assert answer.exit_code == 0 and "0 are missing" in " ".join(answer.output.split())
    assert not (tmp_path / "c").exists()


def test_a_mix_is_not_begun_while_something_is_missing(tmp_path):
    with pytest.raises(ConfigError, match="22 of 25 things that dolma3-mix-6t reads are missing"):
        build_named(
            recipe="dolma3-mix-6t",
            corpus=str(tmp_path / "c"),
            flow="mix",
            overrides=[],
            inputs=[],
            dry_run=False,
            options=BuildOptions(),
        )
    assert not (tmp_path / "c").exists()
