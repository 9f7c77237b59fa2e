"""Which inputs are new to a corpus, and what is said about those it has."""

from __future__ import annotations

import logging

import pytest

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from dolma_py.listing import Listing, Shard
from pipelines.ingest_inputs import IngestConfig, list_inputs, plan_units

EMPTY = Listing(())


@pytest.fixture
def days(tmp_path) -> list[str]:
    """Two folders with a file of one name, and a third with the first one's content."""
    folders = []
    for name, text in (("day1", "one"), ("day2", "two"), ("copy", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part-00000.jsonl").write_text(f'{{"text": "{text}"}}\n')
        folders.append(str(tmp_path / name))
    return folders


def plan(tmp_path, folder: str, listing: Listing, source: str = "web"):
    """The new units of one folder, and the inputs they read."""
    corpus = Corpus(str(tmp_path / "corpus"))
    ingest = IngestConfig.model_validate({"sources": [{"name": source, "inputs": [folder]}]})
    return [unit.params["pieces"] for unit in plan_units(corpus, ingest, listing, list_inputs(corpus, ingest).files)]


def list_of(pieces) -> Listing:
    """The listing of a corpus that has read these pieces."""
    inputs = tuple((piece["name"], piece["num_bytes"], piece["mark"]) for piece in pieces)
    return Listing((Shard(0, "documents/web/part-00000.parquet", "parquet", "web", 1, 3, 9, "", ((1, 3),), inputs),))


def test_another_file_of_a_known_name_is_told_from_a_changed_one(tmp_path, days):
    first = plan(tmp_path, days[0], EMPTY)
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path, days[1], list_of(first[0]))
    assert f"source web of the corpus has another file part-00000.jsonl, got '{days[1]}/part-00000.jsonl'" in str(
        caught.value
    )
    assert "the folder above both as --input, or another --source" in str(caught.value)
    assert len(plan(tmp_path, days[1], list_of(first[0]), source="day2")) == 1


def test_files_that_the_corpus_has_are_counted_aloud(tmp_path, days, caplog):
    with caplog.at_level(logging.WARNING, "dolma_py.build"):
        first = plan(tmp_path, days[0], EMPTY)
        assert len(first) == 1 and not caplog.messages
        assert plan(tmp_path, days[2], list_of(first[0])) == []
    (said,) = caplog.messages
    assert said.startswith("inputs: 1 of 1 files not read again: the corpus has files of that source, name")


def test_a_folder_above_both_grows(tmp_path, days):
    """The layout of docs/dedup.md: names below the folder above differ, and only the new day is read."""
    (tmp_path / "crawl").mkdir()
    (tmp_path / "day1").rename(tmp_path / "crawl" / "day1")
    first = plan(tmp_path, str(tmp_path / "crawl"), EMPTY)
    (tmp_path / "day2").rename(tmp_path / "crawl" / "day2")
    second = plan(tmp_path, str(tmp_path / "crawl"), list_of(first[0]))
    assert [[piece["name"] for piece in pieces] for pieces in second] == [["day2/part-00000.jsonl"]]
