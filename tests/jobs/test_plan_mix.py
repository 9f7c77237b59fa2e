"""A mix by number of copies from counts to drawn documents, the plan of a dry run, and the pictures that the step leaves."""

from __future__ import annotations

import json
import random
from collections import defaultdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma_py import storage, views
from dolma_py.config import parse_yaml
from dolma_py.done import render_line
from dolma_py.errors import ConfigError
from pipelines import mix_estimate
from pipelines.build_recipe import BuildOptions
from pipelines.commands import print_plan
from pipelines.job_main import plan_step_file, run_step_file
from tests.dedup_jobs import read_set
from tests.reference import duplicate_weights as reference
from tests.tiny_corpus import write_attributes, write_corpus

SETS = {
    "scores-v1": pa.schema([("score", pa.float32()), ("topic", pa.string()), ("tokens", pa.int64())]),
    "minhash-v1": pa.schema([("is_duplicate", pa.bool_()), ("cluster_size", pa.int32())]),
    "rules-v1": pa.schema([("ok", pa.bool_())]),
}
SIZES = [1, 2, 5]
INPUTS = {
    "score": "scores-v1.score", "topic": "scores-v1.topic", "tokens": "scores-v1.tokens", "num_buckets": 4,
    "heldout": {"heldout_docs": 5}, "duplicates": {"sizes": SIZES, "sources": ["web"]},
}  # fmt: skip
PLAN = {
    "token_budget": 30_000, "duplicates": {"min_documents": 10, "max_weight": 4},
    "sources": {"web": {"share": 0.8, "curve": "duplicates"}, "pdf": {"curve": True}},
}  # fmt: skip
OPTIONS = BuildOptions(show_progress=False)
FOLDER = "runs/plan/00-plan"
LOST = {1: 0.6, 2: 0.1, 5: 0.3}  # share that the rules remove, by least cluster size


def make_rows(seed):
    """Shards of row groups of documents, each with all its attributes; null after the rule that drops it."""
    made = random.Random(seed)
    shards = [[[] for _ in range(2)] for _ in range(3)]
    for number in range(900):
        size = made.choice([1, 1, 1, 2, 3, 5, 9])
        row = {
            "text": f"text {number}",
            "source": made.choice(["web", "web", "pdf"]),
            "is_duplicate": made.random() < 0.1,
        }
        row |= {
            "cluster_size": size,
            "score": made.random(),
            "topic": made.choice(["art", "law"]),
            "tokens": made.choice([5, 20, 90]),
        }
        least = max(least for least in LOST if size >= least)
        row["ok"] = None if row["is_duplicate"] else made.random() >= LOST[least]
        shards[number % 3][number // 3 % 2].append(row)
    return shards


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(folder, rows of the view in corpus order) of a corpus with the view kept."""
    root = tmp_path_factory.mktemp("mix")
    shards = make_rows(3)
    made = write_corpus(
        str(root), [[[{k: row[k] for k in ("text", "source")} for row in group] for group in shard] for shard in shards]
    )
    for name, schema in SETS.items():
        values = [[[{key: row[key] for key in schema.names} for row in group] for group in shard] for shard in shards]
        write_attributes(made, name, values, schema)
        line = {"unit": name, "fingerprint": "f", "files": [], "facts": {}}
        storage.write_bytes(made.path("attributes", name, "_done.jsonl"), render_line(line))
    rules = [("minhash-v1", "not is_duplicate"), ("rules-v1", "ok")]
    steps = [views.Step(name=name, attributes=name, fingerprint="f", keep=keep) for name, keep in rules]
    views.save_view(made.load_view(None).extend("kept", steps), made.path("views/kept.yaml"))
    return root, [row for shard in shards for group in shard for row in group]


def job(root, step, name):
    return {"corpus": str(root), "view": "kept", "name": name, "step": step}


@pytest.fixture(scope="module")
def planned(corpus):
    root, _ = corpus
    run_step_file("plan_mix", job(root, INPUTS | {"plan": PLAN}, "plan"), OPTIONS)
    return parse_yaml((root / FOLDER / "plan.yaml").read_text(), "plan.yaml")


def count_by_hand(rows):
    """Documents of web by bucket of cluster sizes: [out of deduplication, removed later]."""
    counts = [[0] * len(SIZES), [0] * len(SIZES)]
    for row in rows:
        if row["source"] == "web" and not row["is_duplicate"]:
            (bucket,) = reference.find_size_buckets([row["cluster_size"]], SIZES)
            counts[0][bucket] += 1
            counts[1][bucket] += not row["ok"]
    return counts


def test_weights_are_those_of_what_the_rules_removed(corpus, planned):
    counts = count_by_hand(corpus[1])
    assert planned["duplicates"] == {"sizes": SIZES, "entered_and_removed": {"web": counts}}
    expected = [*reference.weigh_sizes(*counts, max_weight=4, min_documents=10), 0]
    assert expected[1] == 4 and expected[0] == 1
    for group in planned["groups"]:
        if group["source"] == "web":
            assert group["weights"] == pytest.approx(expected, rel=1e-5)
            assert group["rates"][1] == pytest.approx(4 * group["rates"][0], rel=1e-5)
    assert {group["rule"] for group in planned["groups"] if group["source"] == "pdf"} == {"as-written"}


def test_what_is_planned_is_drawn(corpus, planned):
    root, rows = corpus
    step = INPUTS | {"cells": f"{FOLDER}/cells.parquet"}
    run_step_file("sample_mix", job(root, step, "sample"), OPTIONS)
    given, copies_of = defaultdict(int), defaultdict(list)
    kept = [row for row in rows if row["ok"]]
    drawn = [values for values in read_set(root, "sample-v1") if values["copies"] is not None]
    for row, values in zip(kept, drawn, strict=True):
        if not values["is_heldout"]:
            given[row["source"], row["topic"], values["bucket"]] += row["tokens"] * values["copies"]
        if row["source"] == "web" and not values["is_heldout"]:
            assert values["bucket"] == reference.find_size_buckets([row["cluster_size"]], SIZES)[0]
            copies_of[values["bucket"]].append(values["copies"])
    for group in planned["groups"]:
        for bucket, tokens in enumerate(group["planned_by_bucket"]):
            assert abs(given[group["source"], group["topic"], bucket] - tokens) <= 90
    means = [sum(copies_of[bucket]) / len(copies_of[bucket]) for bucket in range(3)]
    assert means[1] > means[2] > means[0]


def test_pictures_lie_beside_the_plan(corpus, planned):
    folder = corpus[0] / FOLDER
    for name in ("heat", "curves", "shares"):
        assert (folder / f"plan-{name}.svg").read_text().startswith("<svg xmlns=")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files[f"{FOLDER}/plan-heat.svg"] == (folder / "plan-heat.svg").stat().st_size


def test_a_dry_run_shows_the_plan_that_the_step_makes(corpus, planned, capsys):
    root, rows = corpus
    values = job(root, INPUTS | {"plan": PLAN}, "again")
    details = plan_step_file("plan_mix", values)["steps"][0]["details"]
    assert details["counted"] == f"{sum(bool(row['ok']) for row in rows)} documents of view kept"
    for row, made in zip(details["sources"], planned["sources"], strict=True):
        assert (row["source"], row["planned"]) == (made["source"], f"{made['planned_tokens']:,}")
    assert len(details["topics"]) == 4 and details["topics"][0]["binds"] == "share, empty"
    print_plan(plan_step_file("plan_mix", values))
    shown = capsys.readouterr().out
    assert "24,000" in shown and "Nothing was done" in shown and not (root / "runs/again").exists()


def test_a_dry_run_of_many_row_groups_scales_some(corpus, monkeypatch):
    monkeypatch.setattr(mix_estimate, "MAX_GROUPS", 3)
    details = plan_step_file("plan_mix", job(corpus[0], INPUTS | {"plan": PLAN}, "again"))["steps"][0]["details"]
    assert "3 of 6 row groups" in details["counted"]
    total = sum(row["tokens"] for row in corpus[1] if row["ok"])
    available = sum(int(row["available"].replace(",", "")) for row in details["sources"])
    assert available == pytest.approx(total, rel=0.25)
    over = job(corpus[0], INPUTS | {"plan": PLAN | {"token_budget": 10**9}}, "again")
    assert "the sources give at most" in plan_step_file("plan_mix", over)["steps"][0]["details"]["as it stands"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"plan": PLAN | {"token_budget": 10**9}}, "token_budget.*the sources give at most"),
        ({"plan": PLAN | {"sources": {"web": {"curve": True}}}}, "its buckets are cluster sizes"),
        ({"plan": PLAN, "num_buckets": 2}, "Set num_buckets: 3"),
        ({"plan": PLAN | {"sources": {"webb": {}}}}, r"plan\.sources: expected one of \['pdf', 'web'\], got 'webb'"),
        ({"plan": PLAN, "duplicates": {"sizes": SIZES, "sources": ["books"]}}, "duplicates.sources.*books"),
        ({"plan": PLAN, "duplicates": {"sizes": SIZES, "column": "scores-v1.score"}}, "a column of counts"),
        ({"plan": PLAN | {"duplicates": {"weights": [1, 2]}}}, "expected 3 weights"),
        ({"plan": PLAN, "tokens": "scores-v1.topic"}, "tokens: expected a column of whole numbers, it is string"),
    ],
)
def test_settings_that_cannot_be_are_said_before_the_run(corpus, step, said):
    with pytest.raises(ConfigError, match=said):
        plan_step_file("plan_mix", job(corpus[0], INPUTS | step, "again"))


def test_sources_that_are_not_there_may_be_left_out(corpus):
    """Only when it is said so: a misspelled name is an error (above)."""
    sources = PLAN["sources"] | {"books": {"share": 0.1}}
    step = INPUTS | {"plan": PLAN | {"sources": sources}, "skip_missing": True}
    details = plan_step_file("plan_mix", job(corpus[0], step, "again"))["steps"][0]["details"]
    assert [row["source"] for row in details["sources"]] == ["pdf", "web"]
    assert details["sources"][1]["planned"] == "24,000"


def test_weights_need_rules_after_deduplication(corpus):
    root, _ = corpus
    made = views.load_view(str(root / "views/kept.yaml"))
    early = made.model_copy(update={"name": "early", "steps": made.steps[:1]})
    views.save_view(early, str(root / "views/early.yaml"))
    with pytest.raises(ConfigError, match="no rule after minhash-v1 removed a document of web"):
        plan_step_file("plan_mix", job(root, INPUTS | {"plan": PLAN}, "again") | {"view": "early"})
    given = PLAN | {"duplicates": {"weights": [1, 2, 3]}}
    plan_step_file("plan_mix", job(root, INPUTS | {"plan": given}, "again") | {"view": "early"})


def test_a_dry_run_says_which_attributes_are_not_there(corpus):
    step = INPUTS | {"plan": PLAN, "score": "quality-v1.score"}
    details = plan_step_file("plan_mix", job(corpus[0], step, "again"))["steps"][0]["details"]
    assert (
        "attributes/quality-v1" in details["not counted"] and "Run the step that makes them" in details["not counted"]
    )


def test_cells_are_those_of_before(corpus, planned):
    names = pq.read_schema(corpus[0] / FOLDER / "cells.parquet").names
    assert names == ["source", "topic", "bucket", "documents", "tokens", "bytes", "rate", "planned_tokens", "binds",
                     "max_repetition"]  # fmt: skip
