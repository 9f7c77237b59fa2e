"""Repeated lines and paragraphs as a job: against the twin over the whole corpus, whatever row groups, splits and partitions."""

import numpy as np
import pytest

from tests.dedup_jobs import flat_rows, list_output, read_set, run_job
from tests.reference import paragraphs as reference

pytestmark = pytest.mark.usefixtures("_spark_of_this_run")
LINES = ["Menu", "Menu \u00e9t\u00e9 \U0001f600", "Sign in", "", "  ", "a line of its own", "Menu\r", "x" * 500]


def make_shards():
    """Two shards, four row groups, one empty; lines drawn from few, so that they repeat in a text, a group and across shards."""
    rng = np.random.default_rng(11)
    shards = [[[] for _ in range(count)] for count in (3, 1)]
    for shard, groups in enumerate(shards):
        for group, rows in enumerate(groups):
            for number in range(0 if (shard, group) == (0, 1) else 5):
                lines = [LINES[index] for index in rng.integers(0, len(LINES), number * 2)]
                own = [f"only in {shard} {group} {number}"]
                rows.append({"text": "\n".join(lines + own), "source": ["web", "code"][number % 2]})
    return shards


SHARDS = make_shards()


def keys_of(unit, source=None):
    def keys(text):
        for start, end, cut in reference.split_units(text, unit == "paragraph"):
            yield start, cut, (source, text[start:end])

    return keys


def found_spans(root, name):
    return [[(span["start"], span["end"]) for span in row["spans"]] for row in read_set(root, name)]


@pytest.mark.parametrize("unit", ["line", "paragraph"])
@pytest.mark.parametrize("keep", ["first", "none"])
def test_spans_equal_the_twin_and_bytes_are_conserved(tmp_path, unit, keep):
    step = {"unit": unit, "keep": keep, "min_words": 0, "min_left_bytes": 30}
    outcome = run_job("dedup_paragraphs", tmp_path / "corpus", SHARDS, step)
    texts = [row["text"].encode() for row in flat_rows(SHARDS)]
    expected = reference.find_repeats(texts, keys_of(unit), keep)
    name = f"{unit}s-v1"
    assert found_spans(tmp_path / "corpus", name) == expected
    rows, funnel = read_set(tmp_path / "corpus", name), outcome.manifest["funnel"]
    gone = [sum(end - start for start, end in spans) for spans in expected]
    assert [row["repeated_bytes"] for row in rows] == gone
    assert [row["little_left"] for row in rows] == [
        cut > 0 and len(text) - cut < 30 for text, cut in zip(texts, gone, strict=True)
    ]
    assert outcome.manifest["facts"]["repeated_units"] == sum(row["repeated_units"] for row in rows) > 0
    assert outcome.manifest["facts"]["units"] == sum(row["num_units"] for row in rows)
    dropped = sum(counts["dropped_bytes"] for step in funnel["steps"] for counts in step["sources"].values())
    kept = sum(counts["bytes"] for counts in funnel["kept"]["sources"].values())
    assert dropped + kept == sum(map(len, texts))
    assert funnel["steps"][0]["name"] == "repeated_units"


def test_within_sources(tmp_path):
    run_job("dedup_paragraphs", tmp_path / "corpus", SHARDS, {"unit": "line", "scope": "source", "min_words": 0})
    rows = flat_rows(SHARDS)
    expected = {}
    for source in ("web", "code"):
        own = [row for row in rows if row["source"] == source]
        spans = reference.find_repeats([row["text"].encode() for row in own], keys_of("line"), "first")
        expected |= dict(zip((row["id"] for row in own), spans, strict=True))
    found = dict(zip((row["id"] for row in rows), found_spans(tmp_path / "corpus", "lines-source-v1"), strict=True))
    assert found == expected


@pytest.mark.parametrize("partitions", [2, 7])
def test_bytes_do_not_depend_on_partitions(tmp_path, partitions):
    step = {
        "unit": "line",
        "min_words": 0,
        "index": {"save": "{corpus}/seen/lines"},
        "bloom": {"save": "{corpus}/seen/lines.bloom"},
    }
    run_job("dedup_paragraphs", tmp_path / "one", SHARDS, step, 1)
    run_job("dedup_paragraphs", tmp_path / "other", SHARDS, step, partitions)
    one = list_output(tmp_path / "one")
    assert list_output(tmp_path / "other") == one
    assert {"seen/lines/index.json", "seen/lines/part-00000.parquet", "seen/lines.bloom"} <= set(one)


@pytest.mark.parametrize("kind", ["index", "bloom"])
def test_lines_of_the_day_before_leave_altogether(tmp_path, kind):
    """Day 2 after day 1 loses what one corpus of both days would lose in its second half."""
    step = {"unit": "line", "min_words": 0}
    path = str(tmp_path / "seen")
    run_job("dedup_paragraphs", tmp_path / "day1", SHARDS[:1], step | {kind: {"save": path}})
    outcome = run_job("dedup_paragraphs", tmp_path / "day2", SHARDS[1:], step | {kind: {"against": path}})
    texts = [row["text"].encode() for row in flat_rows(SHARDS)]
    both = reference.find_repeats(texts, keys_of("line"), "first")
    spans = found_spans(tmp_path / "day2", "lines-v1")
    assert spans == both[len(texts) - len(spans) :]
    counted = sum(row["repeated_units"] for row in read_set(tmp_path / "day2", "lines-v1"))
    assert outcome.manifest["facts"]["repeated_units"] == counted
