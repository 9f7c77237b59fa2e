"""A view as a corpus of its own: asked for twice it is made once, and never over another one."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from dolma_py.made_documents import Making, add_making, make_made_id, read_making
from mixers.tokenization import BpeConfig, train_bpe
from pipelines import steps
from pipelines.build_recipe import BuildOptions, build, build_from
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from tests.jobs import made_mix


def list_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def make(tmp_path, _spark_of_this_run):
    """make(name, least words, row group bytes) -> runs a recipe whose last step is a materialize into tmp_path/out."""
    lines = [json.dumps({"id": str(number), "text": "word " * number}) for number in range(1, 9)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")

    def run(name, min_words, row_group_text_bytes=16 << 20):
        steps = [
            {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(tmp_path / "in.jsonl")]}]},
            {"kind": "tag", "taggers": [{"tagger": "lengths"}],
             "rules": [{"name": "long", "keep": f"num_words >= {min_words}"}]},
            {"kind": "materialize", "output": str(tmp_path / "out"), "row_group_text_bytes": row_group_text_bytes},
        ]  # fmt: skip
        recipe = Recipe(recipe=name, seed=1, steps=steps)
        return build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))[-1].manifest["facts"]

    return run


def test_a_second_view_does_not_go_over_the_first(make, tmp_path):
    assert make("few", 7)["documents"] == 2
    before = list_bytes(tmp_path / "out")
    for arguments in (("many", 2), ("few", 7, 8)):  # the same names of files, other rows or row groups
        with pytest.raises(ConfigError, match="it holds another corpus") as caught:
            make(*arguments)
        assert caught.value.key == "steps.materialize.output"  # as --set takes it
        assert list_bytes(tmp_path / "out") == before


def test_repeated_it_finds_its_work(make, tmp_path):
    """As after a kill between the listing of the new corpus and the manifest of the step."""
    facts = make("few", 7)
    before = {path: Path(path).stat().st_mtime_ns for path in list_bytes(tmp_path / "out")}
    (folder,) = (tmp_path / "corpus" / "runs" / "few").glob("*materialize")
    shutil.rmtree(folder)
    assert make("few", 7) == facts
    assert {path: Path(path).stat().st_mtime_ns for path in list_bytes(tmp_path / "out")} == before
    shard = next((tmp_path / "out" / "documents").rglob("*.parquet"))
    expected = shard.read_bytes()
    shard.unlink()
    shutil.rmtree(folder)
    assert make("few", 7) == facts and shard.read_bytes() == expected
    assert Corpus(str(tmp_path / "out")).read_listing().rows == 2


def test_a_made_document_keeps_its_name_and_its_making(tmp_path, _spark_of_this_run):
    """Through ingest, where a second one of its id gets #2, a view of its own and an export."""
    making = Making(parents=("a#2", "b"), recipe="0f", seed=7, model="m", cache_key="k")
    made = {
        "id": make_made_id("a#2", "fim", 0),
        "text": "made of two",
        "metadata": json.loads(add_making(None, making)),
    }
    (tmp_path / "in.jsonl").write_text((json.dumps(made) + "\n") * 2)
    steps = [
        {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(tmp_path / "in.jsonl")]}]},
        {"kind": "materialize", "output": str(tmp_path / "out")},
        {"kind": "export_dolma", "output": str(tmp_path / "tree")},
    ]
    build(Recipe(recipe="made", seed=1, steps=steps), str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    rows = pq.read_table(next((tmp_path / "out" / "documents").rglob("*.parquet"))).to_pylist()
    assert [row["id"] for row in rows] == ["a#2#fim-0", "a#2#fim-0#2"]
    assert {read_making(row["metadata"]) for row in rows} == {making}
    lines = gzip.decompress(next((tmp_path / "tree" / "documents").rglob("*.gz")).read_bytes()).splitlines()
    assert [read_making(json.dumps(json.loads(line)["metadata"])) for line in lines] == [making, making]


def test_a_parent_of_the_users_own_is_kept(tmp_path, _spark_of_this_run):
    """And the first address, when what was materialized is materialized again."""
    records = [
        {"id": "a", "text": "t", "metadata": {"parent": "t3_abc", "top_level_parent": 1}},
        {"id": "b", "text": "t"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    steps = [
        {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(tmp_path / "in.jsonl")]}]},
        {"kind": "materialize", "output": str(tmp_path / "out")},
    ]
    options = BuildOptions(show_progress=False)
    build(Recipe(recipe="first", seed=1, steps=steps), str(tmp_path / "corpus"), options)
    again = [{"kind": "materialize", "output": str(tmp_path / "again")}]
    corpus = Corpus(str(tmp_path / "out"))
    build_from(Recipe(recipe="second", seed=1, steps=again), corpus, options, State(corpus.load_view(None), {}))
    for folder, depth in (("out", 1), ("again", 2)):
        rows = pq.read_table(next((tmp_path / folder / "documents").rglob("*.parquet"))).to_pylist()
        first, second = (json.loads(row["metadata"]) for row in rows)
        assert first["top_level_parent"] == 1 and first["top_level_parent_2"] == "t3_abc"
        parent = second["parent"]
        for _ in range(depth):
            assert (parent["shard"], parent["row"]) == (0, 1)
            last, parent = parent, parent.get("parent")
        assert parent is None and last["listing"] == Corpus(str(tmp_path / "corpus")).read_listing().fingerprint


def test_what_a_sample_drew_is_written_once_each(tmp_path, monkeypatch):
    """Of 40 documents, some drawn twice and some never: each drawn one once, in corpus order; the same name of another sample is another corpus."""
    monkeypatch.setattr(steps, "run_units", made_mix.run_in_order)
    monkeypatch.setattr("pipelines.ingest_documents.rename_repeated_ids", lambda context, listing, shards: shards)
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), "text": f"word {n} " * (1 + n % 3)}) + "\n" for n in range(40)))
    (tmp_path / "t.json").write_bytes(train_bpe(["word 1 word 2"], BpeConfig(vocab_size=260)))
    mix = {"score": None, "num_buckets": 1, "heldout": {"heldout_docs": 3}}

    def run(corpus, output, budget):
        recipe = Recipe(recipe="r", seed=1, steps=[
            {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(path)]}]},
            {"kind": "tag", "taggers": [{"tagger": "mixers.token_count:TokenCountTagger", "options": {"tokenizer": str(tmp_path / "t.json")}}]},
            {"kind": "plan_mix", "plan": {"token_budget": budget}, **mix}, {"kind": "sample_mix", "cells": "artifact:cells", **mix},
            {"kind": "materialize", "output": output, "sample": "sample-v1"},
        ])  # fmt: skip
        return build(recipe, str(tmp_path / corpus), BuildOptions(show_progress=False))[-1].manifest["facts"]

    for name, budget in (("few", 150), ("many", 900)):
        facts = run(name, "{corpus}/made", budget)
        (attributes,) = (tmp_path / name / "attributes" / "sample-v1").rglob("*.parquet")
        copies = pq.read_table(attributes).column("copies").to_pylist()
        (documents,) = (tmp_path / name / "made" / "documents").rglob("*.parquet")
        assert pq.read_table(documents).column("id").to_pylist() == [str(n) for n, count in enumerate(copies) if count]
        assert 0 < facts["documents"] < 40 and (max(copies) > 1) == (name == "many")
    with pytest.raises(ConfigError, match="it holds another corpus"):
        run("few", str(tmp_path / "many" / "made"), 150)


def test_a_sample_that_is_not_there_is_told(make, tmp_path):
    make("few", 7)
    step = {"kind": "materialize", "output": str(tmp_path / "other"), "sample": "sample-v1"}
    view = Corpus(str(tmp_path / "corpus")).load_view("few-tag")
    with pytest.raises(ConfigError, match=r"sample: expected an attribute set of `mix sample`"):
        build_from(
            Recipe(recipe="s", seed=1, steps=[step]),
            Corpus(str(tmp_path / "corpus")),
            BuildOptions(show_progress=False),
            State(view, {}),
        )
