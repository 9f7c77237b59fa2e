"""A corpus of many pools gives what one suffix array over all of it gives."""

from __future__ import annotations

import json
import random

import pyarrow.parquet as pq
import pytest

from pipelines import repeat_regions
from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import Recipe
from tests.jobs.made_recipe import make_text

OPTIONS = BuildOptions(show_progress=False)


def make_documents():
    """Ten passages, each in several documents of their own text; a document that repeats itself; one byte many times; emoji; short, empty."""
    rng = random.Random(8)
    passages = [make_text(rng, rng.randrange(8, 30)) for _ in range(10)]
    texts = []
    for number in range(120):
        parts = [make_text(rng, rng.randrange(3, 20))]
        for _ in range(rng.randrange(3)):
            parts += [rng.choice(passages)[rng.randrange(40) :], make_text(rng, rng.randrange(1, 12))]
        texts.append("\n\n".join(parts))
        if number % 17 == 3:
            texts.append(texts[rng.randrange(len(texts))])
    own = make_text(rng, 9)
    texts += [
        own + make_text(rng, 3) + own,
        "a" * 3000,
        "b" + "a" * 2500,
        "\U0001f600" * 400,
        "\u00e9" * 100 + "\U0001f600" * 300,
    ]
    texts += ["", "short", passages[0][:600], passages[0]]
    rng.shuffle(texts)
    return texts


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repeats")
    lines = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(make_documents())]
    half = len(lines) // 2
    for number, part in enumerate((lines[:half], lines[half:])):
        (folder / f"part-{number}.jsonl").write_text("\n".join(part) + "\n")
    dropped = "".join(json.dumps({"id": f"e{number}", "text": " "}) + "\n" for number in range(5))
    (folder / "part-2.jsonl").write_text(dropped)  # a split of which the view keeps nothing
    return folder


EDIT = {"kind": "dedup_paragraphs", "unit": "line", "min_words": 3}  # lines that stand before are cut from the view


def run(inputs, root, options=OPTIONS, before=(), **settings):
    """(rows of the attribute set, facts)."""
    steps = [
        {"kind": "ingest", "row_group_text_bytes": 9000, "sources": [{"name": "a", "inputs": [str(inputs)]}]},
        {"kind": "tag", "taggers": [{"tagger": "lengths"}], "rules": [{"name": "some", "keep": "num_words != 0"}]},
        *before,
        {"kind": "dedup_substring", "min_length_bytes": 200, **settings},
    ]
    recipe = Recipe(recipe="r", seed=1, split_bytes=20_000, steps=steps)
    made = build(recipe, str(root), options)[-1].manifest
    paths = sorted((root / "attributes" / "substring-v1").rglob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()], made["facts"]


def read_sets(root):
    """Bytes of each file of the set, by its path."""
    folder = root / "attributes" / "substring-v1"
    return {path.relative_to(root): path.read_bytes() for path in folder.rglob("*.parquet")}


SHARED = ("documents", "documents_with_spans", "spans", "repeated_bytes", "text_bytes")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"keep": "none", "fuzzy": "off"}, marks=pytest.mark.slow),
        pytest.param({"fuzzy": "released", "min_length_bytes": 90}, marks=pytest.mark.slow),
    ],
)
def test_buckets_find_what_one_suffix_array_finds(inputs, tmp_path, _spark_of_this_run, settings):
    expected, whole = run(inputs, tmp_path / "whole", pool_bytes=1 << 28, **settings)
    found, facts = run(inputs, tmp_path / "corpus", pool_bytes=60_000, **settings)
    assert whole["pools"] == 1 and whole["spans"] > 50
    assert facts["buckets"] > 3 and facts["anchors"] > facts["anchors_repeated"] > 100
    assert found == expected and read_sets(tmp_path / "corpus") == read_sets(tmp_path / "whole")
    assert [facts[name] for name in SHARED] == [whole[name] for name in SHARED]


@pytest.mark.slow
def test_a_bucket_larger_than_a_pool_is_compared_by_pieces(inputs, tmp_path, monkeypatch):
    """Every bucket in pieces of a few row groups, each pair of them a task."""
    counts = []

    def cut(sizes, pool_bytes):
        pieces, totals = plain(sizes, 20_000)
        counts.append(len(totals))
        return pieces, totals

    plain = repeat_regions.cut_pieces
    expected, _ = run(inputs, tmp_path / "whole", pool_bytes=1 << 28)
    monkeypatch.setattr(repeat_regions, "cut_pieces", cut)
    found, _ = run(inputs, tmp_path / "corpus", pool_bytes=60_000)
    assert sum(count > 2 for count in counts) > 5 and found == expected


@pytest.mark.slow
@pytest.mark.parametrize("partitions", [pytest.param(1, marks=pytest.mark.slow), 7])
def test_bytes_do_not_depend_on_partitions(inputs, tmp_path, _spark_of_this_run, partitions):
    run(inputs, tmp_path / "corpus", pool_bytes=60_000)
    run(inputs, tmp_path / "other", BuildOptions(partitions=partitions, show_progress=False), pool_bytes=60_000)
    one, other = (
        {
            path.relative_to(root): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and path.name != "run.json"
        }
        for root in (tmp_path / "corpus", tmp_path / "other")
    )
    assert sorted(one) == sorted(other)
    assert [path for path in one if one[path] != other[path]] == []


def test_pools_are_searched_apart_when_asked(inputs, tmp_path, _spark_of_this_run):
    expected, whole = run(inputs, tmp_path / "whole", pool_bytes=1 << 28)
    found, facts = run(inputs, tmp_path / "corpus", pool_bytes=60_000, scope="pool")
    assert facts["pools"] > 3 and 0 < facts["spans"] < whole["spans"]


def write_lines(path, texts):
    path.parent.mkdir()
    path.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))


@pytest.mark.slow
def test_one_passage_in_every_document(tmp_path, _spark_of_this_run):
    """Its few anchors make a few buckets much larger than a pool, and leave others empty."""
    rng = random.Random(3)
    passage = make_text(rng, 4)[:300]
    write_lines(
        tmp_path / "in" / "a.jsonl", [f"{make_text(rng, 2)}\n{passage}\n{make_text(rng, 2)}" for _ in range(300)]
    )
    expected, _ = run(tmp_path / "in", tmp_path / "whole", pool_bytes=1 << 28)
    found, facts = run(tmp_path / "in", tmp_path / "corpus", pool_bytes=30_000)
    assert found == expected and sum(bool(row["spans"]) for row in found) == 299
    assert facts["gathered_bytes"] / facts["buckets"] > 30_000


def test_no_repeats(tmp_path, _spark_of_this_run):
    rng = random.Random(4)
    write_lines(tmp_path / "in" / "a.jsonl", [make_text(rng, 12) for _ in range(100)])
    found, facts = run(tmp_path / "in", tmp_path / "corpus", pool_bytes=30_000)
    assert len(found) == 100 and not any(row["spans"] or row["little_left"] for row in found)
    assert (facts["buckets"], facts["spans"]) == (0, 0)
