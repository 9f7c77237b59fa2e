"""Which inputs are new to a corpus, and what is said about those it has."""

from __future__ import annotations

import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.formats import json_documents
from dolma_py.listing import Listing, Shard, append_shards
from pipelines.ingest_inputs import (
    IngestConfig,
    describe_inputs,
    fingerprint_inputs,
    list_inputs,
    plan_units,
    worker_memory_bytes,
)

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
    assert "the folder above both, or make it another source" in str(caught.value)
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


def list_sources(tmp_path, *sources):
    """The inputs of sources, and their fingerprint."""
    corpus = Corpus(str(tmp_path / "corpus"))
    ingest = IngestConfig.model_validate({"sources": list(sources)})
    return list_inputs(corpus, ingest), fingerprint_inputs(corpus, ingest)


@pytest.mark.parametrize("sources", [
    [{"inputs": ["{corpus}/list.json", "FOLDER"]}], [{"inputs": ["file://FOLDER/../corpus/list.json", "FOLDER"]}],
    [{"inputs": ["{corpus}"]}, {"inputs": ["FOLDER"], "name": "b"}], [{"inputs": ["{corpus}"]}, {"inputs": ["{corpus}"], "name": "b"}],
    [{"inputs": ["FOLDER", "{corpus}/*.json"]}],
])  # fmt: skip
def test_a_pattern_that_leaves_json_documents_alone_is_an_error(tmp_path, days, sources):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "list.json").write_text("[]")
    given = [source | {"inputs": [path.replace("FOLDER", days[0]) for path in source["inputs"]]} for source in sources]
    with pytest.raises(ConfigError, match=r"expected JSON Lines, this is one JSON document.*list\.json"):
        list_sources(tmp_path, *given)


def test_a_file_that_no_reader_reads_is_told_before_the_run(tmp_path, days):
    (tmp_path / "day1" / "more.jsonl.xz").write_bytes(b"\xfd7zXZ\0")
    with pytest.raises(ConfigError, match=r"this is compressed as \.xz, got .*day1/more\.jsonl\.xz.*leave it out"):
        list_sources(tmp_path, {"name": "web", "inputs": days})
    assert list_sources(tmp_path, {"name": "web", "inputs": [f"{days[0]}/*.jsonl"]})[0].files


def test_json_documents_and_hidden_names_are_part_of_the_fingerprint(tmp_path, days):
    """The manifest names them, and its bytes follow from the inputs as they are."""
    source = {"inputs": [str(tmp_path / "day*")]}
    marks = [list_sources(tmp_path, source)[1]]
    for name, text in (("list.json", "[]"), ("_SUCCESS", "")):
        (tmp_path / "day1" / name).write_text(text)
        inputs, mark = list_sources(tmp_path, source)
        marks.append(mark)
    assert (inputs.documents, inputs.left_out) == (["day1/list.json"], ["day1/_SUCCESS"])
    assert len(set(marks)) == 3
    as_records, _ = list_sources(tmp_path, source | {"kind": "jsonl"})
    assert "day1/list.json" in [file.name for file in as_records.files] and not as_records.documents


def test_files_that_the_corpus_has_are_not_looked_into_again(tmp_path, days, monkeypatch):
    """Reading their heads would cost a request each."""
    (tmp_path / "day1" / "lines.json").write_text('{"text": "one"}\n')
    listing = list_of(plan(tmp_path, days[0], EMPTY)[0])
    append_shards(Corpus(str(tmp_path / "corpus")).listing_path, EMPTY, list(listing.shards))
    (tmp_path / "day1" / "new.json").write_text("[]")
    looked: list[str] = []
    monkeypatch.setattr(json_documents, "is_json_document", lambda path: not looked.append(path))
    inputs, _ = list_sources(tmp_path, {"name": "web", "inputs": [days[0]]})
    assert looked == [f"{days[0]}/new.json"] * 2 and inputs.documents == ["new.json"]


def test_large_files_are_copied_in_spite_of_in_place(tmp_path, days, monkeypatch, caplog):
    """No later job could split them where they lie; as our Parquet they have small row groups."""
    for name, group_rows in (("large", 100), ("small", 1)):
        rows = {"id": ["a", "b", "c"], "text": pa.array(["0123456789" * n for n in (500, 501, 502)], pa.large_string())}
        table = pa.table(rows | {"source": ["own"] * 3})
        pq.write_table(table, tmp_path / "day1" / f"{name}.parquet", row_group_size=group_rows, use_dictionary=False)
    monkeypatch.setattr("pipelines.ingest_inputs.MAX_IN_PLACE_BYTES", 10_000)
    (tmp_path / "day1" / "large.jsonl").write_text('{"text": "more than ten thousand bytes: %s"}\n' % ("0" * 10_000))
    corpus = Corpus(str(tmp_path / "corpus"))
    source = {"name": "web", "inputs": [days[0]], "in_place": True}
    ingest = IngestConfig.model_validate({"sources": [source]})
    units = plan_units(corpus, ingest, EMPTY, list_inputs(corpus, ingest).files)
    names = [
        (unit.name, [(piece["name"], piece["copied"]) for piece in unit.params["pieces"]], unit.params.get("max_text_bytes"))
        for unit in units
    ]  # fmt: skip
    assert names == [
        ("web/part-00000", [("large.jsonl", True), ("large.parquet", True)], None),
        ("web/part-00001", [("part-00000.jsonl", False)], 10_000), ("web/part-00002", [("small.parquet", False)], 10_000),
    ]  # fmt: skip
    with caplog.at_level(logging.WARNING, "dolma_py.build"):
        (row,) = describe_inputs(corpus, ingest).rows
    assert (row["files"], row["shards"], row["in_place"]) == (4, 3, 2)
    (said,) = caplog.messages
    assert said.startswith("inputs: 2 files copied in spite of in_place") and said.endswith("day1/large.jsonl")


def test_a_copy_of_parquet_has_the_columns_that_are_read_in_place(tmp_path, monkeypatch):
    """Whatever field map the source has: in place it counts for nothing."""
    pq.write_table(
        pa.table({"id": ["a"], "text": pa.array(["b"], pa.large_string()), "source": ["own"]}), tmp_path / "x.parquet"
    )
    corpus = Corpus(str(tmp_path / "corpus"))
    source = {"name": "web", "inputs": [str(tmp_path / "*.parquet")], "fields": {"text": "body"}, "in_place": True}
    ingest = IngestConfig.model_validate({"sources": [source]})
    for max_bytes in (1, 1000):
        monkeypatch.setattr("pipelines.ingest_inputs.MAX_IN_PLACE_BYTES", max_bytes)
        (unit,) = plan_units(corpus, ingest, EMPTY, list_inputs(corpus, ingest).files)
        (piece,) = unit.params["pieces"]
        assert (piece["fields"]["text"], piece["fields"]["source"], piece["copied"]) == (
            "text",
            "source",
            max_bytes == 1,
        )
    pq.write_table(pa.table({"body": ["b"]}), tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match="column id"):
        plan_units(corpus, ingest, EMPTY, list_inputs(corpus, ingest).files)


def test_files_that_a_model_reads_together_count_in_the_memory_of_a_task():
    def memory(**pdf):
        source = {"inputs": ["a"], "kind": "pdf", "pdf": {"max_memory_bytes": 1 << 30} | pdf}
        limits = {"batch_text_bytes": 1, "max_record_bytes": 100}
        return worker_memory_bytes(
            IngestConfig.model_validate({"sources": [source], "limits": limits, "row_group_text_bytes": 1}), 0
        )

    vision = {
        "route": "vision",
        "endpoint": {"base_url": "http://127.0.0.1:1/v1", "model": "m", "cache": "{corpus}/answers"},
    }
    assert memory() == 6 * 102 + (1 << 30)
    assert memory(files_at_once=8) == 6 * 102 + (1 << 30)  # nobody is asked
    assert memory(**vision, files_at_once=1) == 6 * 102 + (1 << 30)
    assert memory(**vision, files_at_once=8) == 6 * 802 + (1 << 30)
