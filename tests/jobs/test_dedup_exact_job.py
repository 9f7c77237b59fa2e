"""Exact deduplication as a job: against the twin, over row groups, splits, partitions, hot keys, keep policies, scopes."""

import json

import numpy as np
import pytest

from dolma_py.errors import ConfigError
from tests.dedup_jobs import flat_rows, list_output, metadata, read_set, run_job
from tests.reference import exact as reference

pytestmark = pytest.mark.usefixtures("_spark_of_this_run")


def make_shards():
    """Three shards, five row groups, one empty: copies inside a group, across groups and shards; empty and odd texts."""
    rng = np.random.default_rng(3)
    texts = ["", "same words", "Same, words!", "--", "e\u0301", "\U0001f600", "x" * 3000, "only here"]
    shards = [[[] for _ in range(count)] for count in (3, 1, 2)]
    for shard, groups in enumerate(shards):
        for group, rows in enumerate(groups):
            for row in range(0 if (shard, group) == (0, 1) else 7):
                year = [None, "2019-05", "2024-10", "2021-01"][rng.integers(4)]
                date = {} if year is None else {"warc_date": year}
                text = texts[rng.integers(7)] if (shard, row) != (1, 3) else texts[7]
                rows.append(
                    {
                        "text": text,
                        "source": ["web", "code"][rng.integers(2)],
                        "metadata": metadata(score=row % 3, **date),
                    }
                )
    return shards


SHARDS = make_shards()


def expect(rows, keys, places=None):
    """(is_duplicate, cluster_id, cluster_size, kept_id) of each row by the twin."""
    ids = {row["address"]: row["id"] for row in rows}
    found = reference.choose_kept(keys, [row["address"] for row in rows], places)
    return [(*verdict[:3], ids[verdict[3]]) for verdict in found]


def verdicts(root, name):
    return [
        (row["is_duplicate"], row["cluster_id"], row["cluster_size"], row["kept_id"]) for row in read_set(root, name)
    ]


def test_raw_copies_equal_the_twin_and_counts_are_conserved(tmp_path):
    outcome = run_job("dedup_exact", tmp_path / "corpus", SHARDS, {})
    rows = flat_rows(SHARDS)
    expected = expect(rows, [row["text"] for row in rows])
    assert verdicts(tmp_path / "corpus", "exact-v1") == expected
    facts, kept = outcome.manifest["facts"], outcome.manifest["funnel"]["kept"]["sources"]
    duplicates = sum(verdict[0] for verdict in expected)
    assert 0 < duplicates == facts["duplicates"] == facts["members"] - facts["clusters"]
    assert len(rows) - duplicates == sum(counts["documents"] for counts in kept.values())
    assert (facts["hash"], facts["text"], facts["scope"], facts["without_key"]) == ("xxh3-128", "raw", "global", 0)
    sizes = {verdict[3]: verdict[2] for verdict in expected if verdict[2] > 1}
    assert {row["kept_id"]: row["size"] for row in facts["largest"]} == sizes


def normal_key(row):
    words = row["text"].lower().replace(",", " ").replace("!", " ").replace("-", " ").split()
    return " ".join(words) or row["id"]  # without a word: alone


@pytest.mark.parametrize(
    ("settings", "name", "key"),
    [
        ({"scope": "source"}, "exact-source-v1", lambda row: (row["source"], row["text"])),
        ({"text": "normalised"}, "exact-normalised-v1", normal_key),
        (
            {"text": "normalised", "scope": "source"},
            "exact-normalised-source-v1",
            lambda row: (row["source"], normal_key(row)),
        ),
    ],
)
def test_the_sets_name_says_what_was_compared(tmp_path, settings, name, key):
    outcome = run_job("dedup_exact", tmp_path / "corpus", SHARDS, settings)
    assert list(outcome.manifest["attributes"]) == [name]
    rows = flat_rows(SHARDS)
    assert verdicts(tmp_path / "corpus", name) == expect(rows, [key(row) for row in rows])
    wordless = sum(row["text"] in ("", "--") for row in rows) if "text" in settings else 0
    assert outcome.manifest["facts"]["without_key"] == wordless


def test_the_newest_stays_then_the_higher_score_then_the_first(tmp_path):
    newest = [
        {"name": "metadata.warc_date", "order": "descending"},
        {"name": "source_priority", "order": "ascending"},
        {"name": "metadata.score", "order": "descending", "values": "number"},
    ]
    run_job("dedup_exact", tmp_path / "corpus", SHARDS, {"keep": {"source_priority": ["code"], "attributes": newest}})
    rows = flat_rows(SHARDS)

    def place(row):
        values = json.loads(row["metadata"])
        date = values.get("warc_date")
        return (
            date is None,
            -int((date or "0").replace("-", "")),
            row["source"] != "code",
            -values["score"],
            row["address"],
        )

    order = sorted(range(len(rows)), key=lambda index: place(rows[index]))
    places = np.argsort(order).tolist()
    assert verdicts(tmp_path / "corpus", "exact-v1") == expect(rows, [row["text"] for row in rows], places)


@pytest.mark.parametrize("name", ["length", "id", "created"])
def test_every_column_of_a_document_can_decide(tmp_path, name):
    run_job(
        "dedup_exact", tmp_path / "corpus", SHARDS, {"keep": {"attributes": [{"name": name, "order": "descending"}]}}
    )
    rows = flat_rows(SHARDS)
    by = {"length": lambda row: 0, "created": lambda row: 0, "id": lambda row: tuple(-ord(sign) for sign in row["id"])}[
        name
    ]
    order = sorted(range(len(rows)), key=lambda index: (by(rows[index]), rows[index]["address"]))
    places = np.argsort(order).tolist()
    assert verdicts(tmp_path / "corpus", "exact-v1") == expect(rows, [row["text"] for row in rows], places)


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_bytes_do_not_depend_on_partitions(tmp_path, partitions):
    step = {"keep": {"attributes": [{"name": "metadata.warc_date", "order": "descending"}]}}
    run_job("dedup_exact", tmp_path / "one", SHARDS, step)
    run_job("dedup_exact", tmp_path / "other", SHARDS, step, partitions)
    assert list_output(tmp_path / "other") == list_output(tmp_path / "one")


def test_a_hot_key_reaches_the_shuffle_once_per_row_group(tmp_path):
    """4,000 copies in two row groups: two candidates, and nothing else is lost or counted twice."""
    shards = [[[{"text": "hot"}] * 1500, [{"text": "hot"}] * 2500]]
    outcome = run_job("dedup_exact", tmp_path / "corpus", shards, {"alarms": {"allow": ["web"]}})
    found = verdicts(tmp_path / "corpus", "exact-v1")
    assert [verdict[0] for verdict in found] == [False] + [True] * 3999
    assert set(found[1:]) == {(True, 0, 4000, "0-0-0")}
    assert outcome.manifest["facts"]["largest"] == [{"kept_id": "0-0-0", "size": 4000}]


@pytest.mark.parametrize("shards", [[[[]]], [[[{"text": ""}] * 5]]], ids=["nothing", "all empty"])
def test_nothing_and_empty_texts(tmp_path, shards):
    run_job("dedup_exact", tmp_path / "corpus", shards, {})
    rows = flat_rows(shards)
    assert verdicts(tmp_path / "corpus", "exact-v1") == expect(rows, [row["text"] for row in rows])


def test_a_keep_policy_that_cannot_compare_is_refused_with_the_value(tmp_path):
    for name, pattern in [("metadata.score", "expected text in metadata.score"), ("speed", "'speed'")]:
        step = {"keep": {"attributes": [{"name": name, "order": "ascending"}]}}
        with pytest.raises(Exception, match=pattern):
            run_job("dedup_exact", tmp_path / "corpus", SHARDS, step)
    with pytest.raises(ConfigError, match="sideways"):
        step = {"keep": {"attributes": [{"name": "length", "order": "sideways"}]}}
        run_job("dedup_exact", tmp_path / "corpus", SHARDS, step)
