"""Cells of a corpus by source, topic and exact percentile: equal to counting by hand, the same bytes whatever the passes and partitions."""

from __future__ import annotations

import itertools
import json
import random
import types
import weakref
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma_py import parquet_files
from dolma_py.errors import ConfigError, DataError, SchemaError
from dolma_py.hashing import hash_ids
from pipelines import partition_quality
from pipelines.build_recipe import BuildOptions
from pipelines.job_main import run_step_file
from pipelines.mix_table import read_tokens
from tests.dedup_jobs import flat_rows, list_output, read_set
from tests.reference.quality_thresholds import bucket_by_middle
from tests.tiny_corpus import write_attributes, write_corpus

SCORES = pa.schema([("score", pa.float32()), ("topic", pa.string()), ("tokens", pa.int64())])
STEP = {"score": "scores-v1.score", "topic": "scores-v1.topic", "tokens": "scores-v1.tokens"}
FOLDER = "runs/partition/00-partition"


def make_shards(seed, num_docs=240):
    """(documents, attributes) of three shards with two row groups; half of the scores are ties."""
    made = random.Random(seed)
    documents, attributes = [], []
    for _ in range(3):
        documents.append([])
        attributes.append([])
        for _ in range(2):
            rows = [
                {"text": f"text {made.random()}", "source": made.choice(["web", "pdf"])} for _ in range(num_docs // 6)
            ]
            values = [
                {"score": made.choice([0.5, 1.0, None, made.random()]), "topic": made.choice(["art", "law", None]),
                 "tokens": made.choice([1, 5, 400])}
                for _ in rows
            ]  # fmt: skip
            documents[-1].append(rows)
            attributes[-1].append(values)
    return documents, attributes


def write(root, seed, num_docs=240):
    documents, attributes = make_shards(seed, num_docs)
    write_attributes(write_corpus(str(root), documents), "scores-v1", attributes, SCORES)
    rows = [
        row | values
        for row, values in zip(flat_rows(documents), [v for s in attributes for g in s for v in g], strict=True)
    ]
    for row in rows:
        row["topic"] = row["topic"] or ""
    return rows


def run(root, partitions=None, **settings):
    values = {"corpus": str(root), "name": "partition", "step": STEP | settings}
    return run_step_file("partition", values, BuildOptions(partitions=partitions, show_progress=False))[0]


def buckets_by_hand(rows, num_buckets, weight="tokens", by_source=True):
    groups = defaultdict(dict)
    for number, row in enumerate(rows):
        score = -float("inf") if row["score"] is None else row["score"]
        key = (score, int(hash_ids([row["id"]], seed=0, name="document")[0]))
        name = (row["source"] if by_source else "", row["topic"])
        groups[name][number] = (key, row["tokens"] if weight == "tokens" else 1)
    buckets = {}
    for documents in groups.values():
        buckets |= bucket_by_middle(documents, num_buckets)
    return [buckets[number] for number in range(len(rows))]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("partition")
    rows = write(root, 1)
    run(root)
    return root, rows


def test_every_document_is_where_counting_by_hand_puts_it(made):
    root, rows = made
    got = read_set(root, "partition-v1")
    expected = buckets_by_hand(rows, 20)
    assert [row["bucket"] for row in got] == expected
    assert [row["topic"] for row in got] == [row["topic"] for row in rows]
    labels = [
        f"{row['topic']}/vigintile_{bucket + 1:04d}".lstrip("/") for row, bucket in zip(rows, expected, strict=True)
    ]
    assert [row["label"] for row in got] == labels and "law/vigintile_0019" in labels


def test_the_table_of_cells_is_their_sums(made):
    root, rows = made
    cells = pq.read_table(root / FOLDER / "cells.parquet").to_pylist()
    assert len(cells) == 2 * 3 * 20
    expected = defaultdict(lambda: [0, 0, 0])
    for row, bucket in zip(rows, buckets_by_hand(rows, 20), strict=True):
        cell = expected[row["source"], row["topic"], bucket]
        cell[0] += 1
        cell[1] += row["tokens"]
        cell[2] += len(row["text"])
    for cell in cells:
        sums = [cell["documents"], cell["tokens"], cell["bytes"]]
        assert sums == expected[cell["source"], cell["topic"], cell["bucket"]]


@pytest.mark.parametrize(("partitions", "max_docs"), [(2, 10_000_000), (7, 1), (3, 40)])
def test_partitions_and_passes_change_no_byte(made, tmp_path, partitions, max_docs):
    write(tmp_path / "other", 1)
    run(tmp_path / "other", partitions, max_docs=max_docs)
    assert list_output(tmp_path / "other") == list_output(made[0])
    passes = json.loads((tmp_path / "other" / FOLDER / "run.json").read_text())["passes"]
    assert bool(passes) == (max_docs < 240)
    assert all(after["documents"] <= before["documents"] for before, after in itertools.pairwise(passes))


def test_bins_counted_in_many_passes_change_no_byte(made, tmp_path, monkeypatch):
    monkeypatch.setattr(partition_quality, "MAX_BINS", 50)
    write(tmp_path / "other", 1)
    run(tmp_path / "other", 2, max_docs=1)
    assert list_output(tmp_path / "other") == list_output(made[0])
    passes = json.loads((tmp_path / "other" / FOLDER / "run.json").read_text())["passes"]
    assert any(step["bins"] > 50 for step in passes)


@pytest.mark.parametrize("max_docs", [1, 10_000_000])
def test_tasks_of_several_splits_change_no_byte_and_the_driver_reads_them_one_by_one(
    made, tmp_path, monkeypatch, max_docs
):
    tables, held = [], []
    read = parquet_files.read_row_groups

    def read_and_count(*arguments):
        table = read(*arguments)
        tables.append(weakref.ref(table))
        held.append(sum(one() is not None for one in tables))
        return table

    monkeypatch.setattr(partition_quality, "MAX_UNITS", 2)  # of three splits
    monkeypatch.setattr(partition_quality, "parquet_files", types.SimpleNamespace(**vars(parquet_files)))
    monkeypatch.setattr(partition_quality.parquet_files, "read_row_groups", read_and_count)
    write(tmp_path / "other", 1)
    run(tmp_path / "other", 3, max_docs=max_docs)
    assert list_output(tmp_path / "other") == list_output(made[0])
    passes = json.loads((tmp_path / "other" / FOLDER / "run.json").read_text())["passes"]
    assert len(held) == 2 * (len(passes) + 2) and (max_docs > 1 or len(passes) > 3)
    # the two of gathered rows stand together; of all others one is left when the next is read
    assert max(held) <= 2


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("score", "Run the step that makes them"),
        ("topic", "Run the step that makes them"),
        ("tokens", "--set tokens=null"),
    ],
)
def test_missing_attributes_are_told_before_any_task(tmp_path, monkeypatch, setting, hint):
    write(tmp_path, 1)
    monkeypatch.setattr(partition_quality, "_Rows", lambda *_: pytest.fail("tasks were started"))
    with pytest.raises(DataError, match=f"no such attributes.*{hint}"):
        run(tmp_path, **{setting: "nosuch-v1.x"})


def test_too_many_groups_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(partition_quality, "MAX_CELLS", 119)  # 2 sources, 3 topics, 20 buckets
    write(tmp_path, 1)
    with pytest.raises(ConfigError, match="expected at most 119 cells, 6 sources and topics"):
        run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[" * 100_000, b"[1]"])
def test_thresholds_that_are_none_are_one_sentence(tmp_path, content):
    write(tmp_path, 4, 12)
    (tmp_path / "thresholds.json").write_bytes(content)
    with pytest.raises(SchemaError, match="thresholds that `mix partition` saved"):
        run(tmp_path, against="thresholds.json")


@pytest.mark.parametrize("settings", [{"weight": "documents"}, {"by_source": False}, {"num_buckets": 7}])
def test_settings(tmp_path, settings):
    rows = write(tmp_path, 2)
    run(tmp_path, max_docs=20, **settings)
    expected = buckets_by_hand(
        rows, settings.get("num_buckets", 20), settings.get("weight", "tokens"), settings.get("by_source", True)
    )
    got = read_set(tmp_path, "partition-v1")
    assert [row["bucket"] for row in got] == expected
    assert got[0]["label"].rpartition("/")[2].startswith("bucket_" if "num_buckets" in settings else "vigintile_")


def test_later_data_fall_into_the_same_cells(made, tmp_path):
    root, rows = made
    later = write(tmp_path / "later", 3, 60)
    against = str(root / FOLDER / "thresholds.json")
    run(tmp_path / "later", against=against)
    saved = {
        (group["source"], group["topic"]): group
        for group in json.loads((root / FOLDER / "thresholds.json").read_text())["groups"]
    }
    buckets = [row["bucket"] for row in read_set(tmp_path / "later", "partition-v1")]
    # ties are cut by the id
    untied = [pair for pair in zip(later, buckets, strict=True) if pair[0]["score"] not in (None, 0.5, 1.0)]
    assert len(untied) > 10
    for row, bucket in untied:
        scores = saved[row["source"], row["topic"]]["scores"]
        assert bucket == sum(score is None or score <= row["score"] for score in scores)
    # the same documents by their own thresholds: the same cells
    write(tmp_path / "again", 1)
    run(tmp_path / "again", against=against)
    assert read_set(tmp_path / "again", "partition-v1") == read_set(root, "partition-v1")
    first, again = (json.loads((path / FOLDER / "thresholds.json").read_text()) for path in (root, tmp_path / "again"))
    assert first == again


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"against": "nosuch.json"}, "nosuch.json"),
        ({"num_buckets": 10}, "expected 20"),
        ({"weight": "documents"}, "expected 'tokens'"),
        ({"score": "scores-v1.nosuch"}, "expected a column of scores-v1"),
        ({"topic": "scores-v1.tokens"}, "expected a column of text"),
        ({"score": "scores"}, "expected SET.COLUMN"),
        ({"score": "scores-v1.topic"}, "expected a column of numbers, it is string"),
        ({"tokens": "scores-v1.topic"}, "expected a column of whole numbers, it is string"),
        ({"tokens": "scores-v1.score"}, "expected a column of whole numbers, it is float"),
    ],
)
def test_mistakes(made, tmp_path, settings, said):
    write(tmp_path / "corpus", 4, 12)
    with pytest.raises(ConfigError, match=said):
        run(tmp_path / "corpus", **({"against": str(made[0] / FOLDER / "thresholds.json")} | settings))


@pytest.mark.parametrize(
    ("tokens", "said"), [(-1, "expected 0 or more in scores-v1.tokens, got -1"), (None, "no value of scores-v1.tokens")]
)
def test_tokens_that_are_no_count(tmp_path, tokens, said):
    """Of a document; what is wrong with the column is told before the tasks."""
    corpus = write_corpus(str(tmp_path), [[[{"text": "a"}, {"text": "b"}]]])
    values = [{"score": 0.1, "topic": "art", "tokens": 3}, {"score": 0.2, "topic": "art", "tokens": tokens}]
    write_attributes(corpus, "scores-v1", [[values]], SCORES)
    (shard,) = corpus.read_listing().shards
    with pytest.raises(DataError, match=said):
        read_tokens(corpus, STEP["tokens"], shard, 0, np.arange(2))
    assert read_tokens(corpus, STEP["tokens"], shard, 0, np.arange(1)).tolist() == [3]


def test_odd_scores_and_names(tmp_path):
    """One document; all of one score; NaN; infinite; a topic of odd letters; no topic: every bucket is counted by hand."""
    scores = {
        "one": [0.5], "equal": [0.25] * 50, "S&P \u4e2d/\u00e9": [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-45, -1.0],
        None: [0.1, 0.2],
    }  # fmt: skip
    values = [{"score": score, "topic": topic, "tokens": 1} for topic, own in scores.items() for score in own]
    documents = [{"text": f"text {number}"} for number in range(len(values))]
    write_attributes(write_corpus(str(tmp_path), [[documents]]), "scores-v1", [[values]], SCORES)
    run(tmp_path)
    rows = [row | value for row, value in zip(flat_rows([[documents]]), values, strict=True)]
    for row in rows:
        row["topic"] = row["topic"] or ""
        # none is below all, the least of the others
        row["score"] = None if row["score"] != row["score"] else max(float(np.float32(row["score"])), -1e300)
    got = read_set(tmp_path, "partition-v1")
    assert [row["bucket"] for row in got] == buckets_by_hand([row | {"source": "web"} for row in rows], 20)
    assert got[0]["label"] == "one/vigintile_0011" and got[-1]["label"] == "vigintile_0016"
    assert (
        [row["bucket"] for row in got[1:51]].count(7) in (2, 3) and got[51]["bucket"] == 1 and got[52]["bucket"] == 18
    )


def test_a_topic_without_thresholds_is_named(made, tmp_path):
    documents = [[[{"text": "new", "source": "web"}]]]
    write_attributes(
        write_corpus(str(tmp_path), documents),
        "scores-v1",
        [[[{"score": 0.1, "topic": "sports", "tokens": 3}]]],
        SCORES,
    )
    with pytest.raises(ConfigError, match="sports"):
        run(tmp_path, against=str(made[0] / FOLDER / "thresholds.json"))


def test_a_mix_is_planned_and_sampled_by_topic(tmp_path):
    """Tokens of topics follow their shares, and every cell gives what was planned of it, to within a document."""
    rows = write(tmp_path, 5, 600)
    inputs = STEP | {"heldout": {"heldout_docs": 5}, "num_buckets": 4}
    shares = {"topics": {"art": 0.5, "law": 0.25}, "curve": True}
    step = inputs | {"plan": {"token_budget": 30_000, "sources": {"web": shares}}}
    options = BuildOptions(show_progress=False)
    run_step_file("plan_mix", {"corpus": str(tmp_path), "name": "plan", "step": step}, options)
    cells = pq.read_table(tmp_path / "runs/plan/00-plan/cells.parquet").to_pylist()
    assert [(cell["source"], cell["topic"], cell["bucket"]) for cell in cells] == [
        (source, topic, bucket) for source in ("pdf", "web") for topic in ("", "art", "law") for bucket in range(4)
    ]
    planned = defaultdict(int)
    for cell in cells:
        planned[cell["source"], cell["topic"]] += cell["planned_tokens"]
    web = sum(tokens for (source, _), tokens in planned.items() if source == "web")
    assert sum(planned.values()) == 30_000
    assert abs(planned["web", "art"] / web - 0.5) < 1e-3 and abs(planned["web", "law"] / web - 0.25) < 1e-3
    step = inputs | {"cells": "runs/plan/00-plan/cells.parquet"}
    run_step_file("sample_mix", {"corpus": str(tmp_path), "name": "sample", "step": step}, options)
    drawn = read_set(tmp_path, "sample-v1")
    given = defaultdict(int)
    for row, values in zip(rows, drawn, strict=True):
        if not values["is_heldout"]:
            given[row["source"], row["topic"], values["bucket"]] += row["tokens"] * values["copies"]
    for cell in cells:
        assert abs(given[cell["source"], cell["topic"], cell["bucket"]] - cell["planned_tokens"]) <= 400
