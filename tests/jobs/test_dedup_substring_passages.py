"""repeats.json: which texts were cut most often, the same however they were searched, and as the texts themselves say it."""

from __future__ import annotations

import json
import random

import pyarrow.parquet as pq
import pytest

from pipelines import repeated_passages
from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import Recipe
from tests.jobs.made_recipe import make_text

OPTIONS = BuildOptions(show_progress=False)
YEARS = (2019, 2020, 2021)


def make_documents():
    """(id -> text, licences, menu): a licence in 40 texts, three years of it; a menu in 20; a text with escape sequences in 6."""
    rng = random.Random(11)
    head, tail = make_text(rng, 60)[:900], make_text(rng, 60)[:900]
    licences = [f"{head} Copyright {year} {tail}" for year in YEARS]
    menu = "\u00e9".join(make_text(rng, 40)[:700].split(" "))
    hostile = "\x1b[31m<script>\u202e" + make_text(rng, 40)[:600]
    texts = []
    for number in range(40):
        texts.append(f"{make_text(rng, 9)}\n{licences[number % 3 if number else 2]}\n{make_text(rng, 9)}")
    texts += [f"{make_text(rng, 6)}\n{menu}\n{make_text(rng, 7)}" for _ in range(20)]
    texts += [f"{make_text(rng, 5)}\n{hostile}\n{make_text(rng, 7)}" for _ in range(6)]
    texts += [make_text(rng, 30) for _ in range(60)]
    rng.shuffle(texts)
    return {f"d{number}": text for number, text in enumerate(texts)}, licences, menu, hostile


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("passages")
    texts, *passages = make_documents()
    lines = [json.dumps({"id": name, "text": text}) for name, text in texts.items()]
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "in.jsonl", texts, passages


def run(inputs, root, **settings):
    """(content of repeats.json, its bytes, manifest)."""
    steps = [
        {"kind": "ingest", "row_group_text_bytes": 9000, "sources": [{"name": "a", "inputs": [str(inputs)]}]},
        {"kind": "dedup_substring", **settings},
    ]
    made = build(Recipe(recipe="r", seed=1, split_bytes=20_000, steps=steps), str(root), OPTIONS)[-1].manifest
    data = (root / made["artifacts"]["repeats"]).read_bytes()
    return json.loads(data)["passages"], data, made


def test_the_texts_that_are_cut_most_often(made, tmp_path, _spark_of_this_run):
    inputs, texts, (licences, menu, hostile) = made
    found, data, manifest = run(inputs, tmp_path / "whole")
    assert manifest["facts"]["pools"] == 1
    assert [passage["times"] for passage in found[:3]] == [39, 19, 5]  # the first of each stays
    for passage, (whole, *_) in zip(found, [licences, [menu], [hostile]], strict=False):
        assert passage["documents"] == passage["times"]
        assert passage["bytes"] == pytest.approx(passage["times"] * len(whole.encode()), rel=0.02)
        assert len(passage["examples"]) == 3
    for passage, whole in zip(
        found, [licences[0][:900], menu, hostile], strict=False
    ):  # what stands beside may be equal too
        assert whole[20:550] in passage["text"] and len(passage["text"]) < 1600
    assert sum(passage["bytes"] for passage in found) == manifest["facts"]["repeated_bytes"]
    assert data.isascii() and b"\x1b" not in data


def test_examples_are_the_first_documents_that_lost_the_text(made, tmp_path, _spark_of_this_run):
    inputs, texts, (_, menu, _) = made
    found, _, _ = run(inputs, tmp_path / "corpus", pool_bytes=60_000)
    holders = [name for name, text in texts.items() if menu in text]
    assert [example["id"] for example in found[1]["examples"]] == holders[1:4]
    for passage in found:
        for example in passage["examples"]:
            row = pq.read_table(tmp_path / "corpus" / example["file"]).slice(example["row"], 1).to_pylist()[0]
            assert (row["id"], row["source"]) == (example["id"], example["source"])
            assert passage["text"] in row["text"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"keep": "none"}, marks=pytest.mark.slow),
        pytest.param({"min_length_bytes": 90, "fuzzy": "released"}, marks=pytest.mark.slow),
        pytest.param({"min_length_bytes": 30}, marks=pytest.mark.slow),
    ],
)
def test_every_way_of_searching_says_the_same(made, tmp_path, _spark_of_this_run, settings):
    inputs = made[0]
    whole, data, _ = run(inputs, tmp_path / "whole", **settings)
    _, other, manifest = run(inputs, tmp_path / "corpus", pool_bytes=60_000, **settings)
    assert manifest["facts"]["buckets"] > 1 and len(whole) > 2
    assert data == other


@pytest.mark.slow
def test_fewer_hashes_lose_no_count(made, tmp_path, monkeypatch, _spark_of_this_run):
    """What is shown of fewer is what is first of all."""
    inputs = made[0]
    whole, _, _ = run(inputs, tmp_path / "whole")
    monkeypatch.setattr(repeated_passages, "MOST_HASHES", 5)
    few, _, _ = run(inputs, tmp_path / "few", pool_bytes=60_000)
    assert 1 <= len(few) < len(whole)
    assert [passage["times"] for passage in few] == [passage["times"] for passage in whole[: len(few)]]


def test_no_repeats(tmp_path, _spark_of_this_run):
    rng = random.Random(4)
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"id": str(n), "text": make_text(rng, 12)}) + "\n" for n in range(30))
    )
    assert run(tmp_path / "in.jsonl", tmp_path / "corpus")[0] == []
