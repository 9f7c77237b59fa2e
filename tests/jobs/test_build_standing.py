"""What a build says before and after it ran: what stands, what runs again and why, what could not be read."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from pipelines.build_recipe import BuildOptions, build, build_named, check_inputs
from pipelines.job_main import plan_step_file, run_step_file
from pipelines.recipe import Recipe, build_steps
from tests.jobs import made_recipe


@pytest.fixture(scope="module")
def built(tmp_path_factory, _spark_of_this_run):
    """(recipe file, corpus) of a build up to MinHash."""
    folder = tmp_path_factory.mktemp("standing")
    made_recipe.write_inputs(folder)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(made_recipe.make_recipe(folder)))
    run(folder / "tiny.yaml", folder / "corpus", [])
    return folder / "tiny.yaml", folder / "corpus"


def run(recipe, corpus, overrides, dry_run=False):
    return build_named(
        recipe=str(recipe), corpus=str(corpus), flow=None, overrides=overrides, inputs=[], dry_run=dry_run,
        options=BuildOptions(until="minhash", show_progress=False),
    )  # fmt: skip


def plan(recipe, corpus, overrides):
    steps = run(recipe, corpus, overrides, dry_run=True)["steps"]
    return {step["name"]: step["standing"] for step in steps}


CHANGES = [
    ([], ["done"] * 5),
    (["steps.tag.taggers.0.name=other", "steps.tag.rules.long_enough.attributes=other-v1"],
     ["done", "done", "again: taggers changed", *["again: what it reads changes"] * 2]),
    (["steps.minhash.preset=fineweb"], [*["done"] * 4, "again: minhash.num_bands, minhash.num_permutations and 3 more changed"]),
    (["steps.minhash.unit_docs=5"], ["done"] * 5),
    (["seed=4"], [*["again: what it reads changed"] * 2, *["again: what it reads changes"] * 3]),
    (["steps.ingest.row_group_text_bytes=9000"],  # the classifier reads no view
     ["again: row_group_text_bytes changed", "done", *["again: what it reads changes"] * 3]),
    (["seed=4", 'steps.tag.rules.0.keep="num_words >= 60"'],
     ["again: what it reads changed", "again: what it reads changed", *["again: what it reads changes"] * 3]),
    (['steps.tag.rules.0.keep="num_words >= 60"'], ["done", "done", "its view again: rules changed", *["again: what it reads changes"] * 2]),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "expected"), CHANGES, ids=[str(change[0]) for change in CHANGES])
def test_a_plan_says_what_stands_and_why_the_rest_runs_again(built, overrides, expected):
    recipe, corpus = built
    before = made_recipe.list_bytes(corpus)
    assert list(plan(recipe, corpus, overrides).values()) == expected
    assert made_recipe.list_bytes(corpus) == before


def test_a_plan_of_what_is_done_costs_nothing_and_of_nothing_all(built, tmp_path):
    recipe, corpus = built
    done = run(recipe, corpus, [], dry_run=True)
    assert (done["seconds"], done["disk_bytes"], done["memory_bytes"]) == (0, 0, 0)
    new = run(recipe, tmp_path / "none", [], dry_run=True)
    assert new["seconds"] > 10 and new["disk_bytes"] > 0 and {step["standing"] for step in new["steps"]} == {"to do"}


def test_what_a_plan_says_the_run_does(built, tmp_path, caplog, _spark_of_this_run):
    recipe, corpus = built
    shutil.copytree(corpus, tmp_path / "corpus")
    next((tmp_path / "corpus").glob("attributes/exact-v1/*/*.parquet")).unlink()
    standing = plan(recipe, tmp_path / "corpus", [])
    assert standing["exact"] == "again: its output is not all there"
    with caplog.at_level("INFO", logger="dolma_py"):
        outcomes = run(recipe, tmp_path / "corpus", [])
    skipped = {outcome.name: outcome.skipped for outcome in outcomes}
    assert [skipped[name] for name in ("ingest", "classifier", "tag", "exact")] == [True, True, True, False]
    assert "exact again: its output is not all there" in caplog.text
    assert made_recipe.list_bytes(tmp_path / "corpus") == made_recipe.list_bytes(corpus)


def test_own_files_are_not_mixed_with_what_a_recipe_makes_itself(tmp_path, _spark_of_this_run):
    """Whoever forgets --input in the second run would have the quickstart's text in a corpus that forgets nothing."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.jsonl").write_text('{"text": "one"}\n')
    corpus = str(tmp_path / "corpus")
    own = {"kind": "ingest", "sources": [{"name": "mine", "inputs": [str(tmp_path / "mine")]}]}
    build(Recipe(recipe="r", seed=1, steps=[own]), corpus, BuildOptions(show_progress=False))
    listing = (tmp_path / "corpus" / "listing.jsonl").read_bytes()
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match="documents of mine alone.* would add docs_pages.*Repeat --input"):
            build_named(
                recipe="quickstart", corpus=corpus, flow="mix", overrides=[], inputs=[], dry_run=dry_run,
                options=BuildOptions(show_progress=False),
            )  # fmt: skip
    assert (tmp_path / "corpus" / "listing.jsonl").read_bytes() == listing
    makes = {"kind": "installed_text"}
    made = {"name": "docs_pages", "inputs": ["{corpus}/inputs/docs_pages"]}
    for steps in (
        [makes, own | {"sources": [*own["sources"], made]}],  # it names them beside its own
        [makes, own, {"kind": "ingest", "name": "more", "sources": [made]}],
        [makes, own | {"sources": [{"name": None, "inputs": ["{corpus}/inputs"]}]}],
    ):
        check_inputs(build_steps(Recipe(recipe="r", seed=1, steps=steps)), Corpus(corpus))
    planned = build_named(
        recipe="quickstart", corpus=corpus, flow="mix", overrides=[], inputs=[str(tmp_path / "mine")], dry_run=True,
        options=BuildOptions(),
    )  # fmt: skip
    assert planned["text_bytes"] < 1000  # what the recipe would make itself is not read


def test_the_terminal_tells_what_could_not_be_read(tmp_path, caplog, _spark_of_this_run):
    """Half a file is one record among those rejected: it is told with its name."""
    (tmp_path / "mine").mkdir()
    lines = b"".join(json.dumps({"text": f"document {n} {'x' * (n % 7)}"}).encode() + b"\n" for n in range(4000))
    packed = gzip.compress(lines)
    (tmp_path / "mine" / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "mine" / "torn.jsonl").write_text('{"text": "whole"}\n{"te\n')
    arguments = ["ingest", "--corpus", str(tmp_path / "corpus"), "--input", str(tmp_path / "mine"), "--source", "mine"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert "2 records could not be read: rejected/" in answer.output and "with the start of Spark" in answer.output
    assert "inputs: 2 records could not be read (invalid_json 1, truncated 1), see " in caplog.text
    assert f"inputs: damaged, more than one record may be lost of: {tmp_path}/mine/cut.jsonl.gz\n" in caplog.text


def test_a_command_does_not_take_the_name_of_a_view_that_another_run_left(built):
    """tiny-exact is what step exact of recipe tiny left; without the check the recipe's later steps would stand on another view."""
    _, corpus = built
    before = (corpus / "views" / "tiny-exact.yaml").read_bytes()
    values = {"corpus": str(corpus), "name": "tiny-exact", "step": {}}
    damaged = corpus / "runs" / "aaa" / "00-torn" / "manifest.json"  # comes first, and hides no other
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    for start in (plan_step_file, lambda kind, values: run_step_file(kind, values, BuildOptions(show_progress=False))):
        with pytest.raises(ConfigError, match="run tiny, step exact, left a view of that name"):
            start("dedup_exact", values)
    shutil.rmtree(corpus / "runs" / "aaa")
    assert (corpus / "views" / "tiny-exact.yaml").read_bytes() == before and not (
        corpus / "runs" / "tiny-exact"
    ).exists()


def test_a_step_does_not_take_the_name_of_the_view_that_it_reads(built):
    _, corpus = built
    values = {"corpus": str(corpus), "view": "tiny-exact", "name": "tiny-exact", "step": {}}
    with pytest.raises(ConfigError, match="another name than that of the view it reads"):
        run_step_file("dedup_exact", values, BuildOptions(show_progress=False))
