"""An ingest in the middle of a recipe that keeps the view before it, and partitions whose buckets are rules. In this process, without Spark."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from dolma_py.corpus import Corpus, read_view
from dolma_py.errors import ConfigError
from dolma_py.listing import plan_splits
from pipelines import steps
from pipelines.build_recipe import BuildOptions, build
from pipelines.job_main import run_step_file
from pipelines.recipe import Recipe
from tests.jobs import made_mix
from tests.jobs.made_recipe import list_bytes

NUM_FIRST, NUM_LATER = 50, 7
OPTIONS = BuildOptions(show_progress=False)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(steps, "run_units", made_mix.run_in_order)
    monkeypatch.setattr("pipelines.ingest_documents.rename_repeated_ids", lambda context, listing, shards: shards)


def write(folder):
    rows = [
        {"id": f"a-{n}", "text": "word " * (1 + n % 9), "metadata": {"score": n * 37 % 50}} for n in range(NUM_FIRST)
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "b.jsonl").write_text(
        "".join(json.dumps({"id": f"b-{n}", "text": "later word"}) + "\n" for n in range(NUM_LATER))
    )
    return rows


def make_steps(folder, sources=("a",), **later):
    return [
        {"name": "first", "kind": "ingest", "sources": [{"name": "a", "inputs": [str(folder / "a.jsonl")]}], "row_group_text_bytes": 200},
        {"name": "scores", "kind": "tag",
         "taggers": [{"tagger": "lengths"}, {"tagger": "metadata-numbers", "options": {"columns": {"score": "score"}}}],
         "rules": [{"name": "two_words", "attributes": "lengths-v1", "keep": "num_words >= 2", "sources": list(sources)}]},
        {"name": "fifths", "kind": "partition", "set_name": "fifths", "score": "metadata-numbers-v1.score", "tokens": None, "weight": "documents",
         "num_buckets": 5, "rules": [{"name": "middle", "keep": "bucket >= 1 and bucket <= 3", "sources": ["a"]}]},
        {"name": "later", "kind": "ingest", "sources": [{"name": "b", "inputs": [str(folder / "b.jsonl")]}], **({"keep_view": True} | later)},
        {"name": "words", "kind": "tag", "taggers": [{"tagger": "lengths", "name": "again"}],
         "rules": [{"name": "short", "attributes": "again-v1", "keep": "num_words <= 7"}]},
    ]  # fmt: skip


def run(folder, **settings):
    recipe = Recipe(recipe="r", seed=1, split_bytes=500, steps=make_steps(folder, **settings))
    return build(recipe, str(folder / "corpus"), OPTIONS)


def list_ids(folder, view):
    corpus = Corpus(str(folder / "corpus"))
    found = corpus.load_view(view)
    return [
        name for split in plan_splits(corpus.read_listing(), 10**6) if split.shard < found.shards
        for batch in read_view(corpus, found, split) for name in batch.documents.column("id").to_pylist()
    ]  # fmt: skip


def test_the_rules_before_go_on_and_new_documents_are_let_in(tmp_path):
    rows = write(tmp_path)
    outcomes = run(tmp_path)
    long = [row for row in rows if len(row["text"].split()) >= 2]
    order = sorted(long, key=lambda row: row["metadata"]["score"])
    fifth = len(order) / 5
    middle = {row["id"] for row in order[round(fifth) : round(4 * fifth)]}
    kept = [row["id"] for row in long if row["id"] in middle]
    later = [f"b-{n}" for n in range(NUM_LATER)]
    assert abs(len(kept) - 0.6 * len(long)) < 2
    found = list_ids(tmp_path, "r-fifths")
    assert len(set(found) ^ set(kept)) <= 2 and not set(found) & set(
        later
    )  # of ties at an edge one may be the other side's
    assert list_ids(tmp_path, "r-later") == [*found, *later]
    words = {row["id"]: len(row["text"].split()) for row in rows}
    assert list_ids(tmp_path, "r-words") == [name for name in [*found, *later] if words.get(name, 2) <= 7]
    assert outcomes[3].manifest["funnel"]["kept"]["sources"]["b"]["documents"] == NUM_LATER


def test_a_partition_has_its_own_set_and_every_bucket(tmp_path):
    write(tmp_path)
    run(tmp_path)
    attributes = tmp_path / "corpus" / "attributes"
    assert not (attributes / "partition-v1").exists()
    (path,) = (attributes / "fifths-v1").rglob("*.parquet")
    buckets = np.array([bucket for bucket in pq.read_table(path).column("bucket").to_pylist() if bucket is not None])
    assert np.bincount(buckets).min() >= np.bincount(buckets).max() - 1 and set(buckets) == {0, 1, 2, 3, 4}


def test_asked_for_again_nothing_is_done_and_another_threshold_only_counts(tmp_path):
    write(tmp_path)
    run(tmp_path)
    before = list_bytes(tmp_path / "corpus")
    assert all(outcome.skipped for outcome in run(tmp_path)) and list_bytes(tmp_path / "corpus") == before
    changed = make_steps(tmp_path)
    changed[2]["rules"][0]["keep"] = "bucket >= 2"
    outcomes = build(Recipe(recipe="r", seed=1, split_bytes=500, steps=changed), str(tmp_path / "corpus"), OPTIONS)
    assert [outcome.skipped for outcome in outcomes[:2]] == [True, True] and not outcomes[2].skipped
    after = list_bytes(tmp_path / "corpus")
    assert [name for name in before if name.startswith("attributes/fifths") and after[name] != before[name]] == []
    assert 0 < len(list_ids(tmp_path, "r-later")) != 0.6 * NUM_FIRST


def test_without_it_all_documents_come_back(tmp_path):
    write(tmp_path)
    run(tmp_path, keep_view=False)
    assert len(list_ids(tmp_path, "r-later")) == NUM_FIRST + NUM_LATER


def test_a_rule_that_names_no_sources_is_refused(tmp_path):
    write(tmp_path)
    values = make_steps(tmp_path)
    values[1]["rules"][0].pop("sources")
    with pytest.raises(
        ConfigError, match=r"^steps\.later\.keep_view: expected `sources` of each rule before.*two_words"
    ):
        build(Recipe(recipe="r", seed=1, steps=values), str(tmp_path / "corpus"), OPTIONS)


def test_a_job_file_names_the_view(tmp_path):
    write(tmp_path)
    run(tmp_path)
    job = {"corpus": str(tmp_path / "corpus"), "view": "r-fifths", "name": "more"}
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "c", "text": "more"}) + "\n")
    step = {"sources": [{"name": "c", "inputs": [str(tmp_path / "c.jsonl")]}]}
    with pytest.raises(ConfigError, match="ingest reads no view"):
        run_step_file("ingest", job | {"step": step}, OPTIONS)
    run_step_file("ingest", job | {"step": step | {"keep_view": True}}, OPTIONS)
    assert list_ids(tmp_path, "more") == [*list_ids(tmp_path, "r-fifths"), *(f"b-{n}" for n in range(NUM_LATER)), "c"]
