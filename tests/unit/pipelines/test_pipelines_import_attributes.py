"""Attribute files of Dolma trees meet their documents row by row, and every way in which they do not is an error with its place."""

from __future__ import annotations

import gzip
import json

import pytest

from dolma_py.errors import ConfigError, DataError
from dolma_py.listing import Listing, append_shards
from dolma_py.storage import publish_file
from dolma_py.views import read_attributes
from pipelines.import_attributes import find_attributes, is_tree, list_names, write_unit
from tests import tiny_corpus

TEXTS = ["one", "tw\u00f6", "three"]
COLUMNS = {"e__t__a": "t__a"}


def make_corpus(folder, ids=("a", "b", "c"), rejected=()):
    """A corpus of three documents in two row groups, as ingest leaves it when it has refused some lines of 0.jsonl."""
    rows = [{"id": name, "text": text} for name, text in zip(ids, TEXTS, strict=True)]
    corpus = tiny_corpus.write_corpus(str(folder), [[rows[:2], rows[2:]]])
    (shard,) = corpus.read_listing().shards
    shard = shard._replace(
        inputs=(("0.jsonl", 1, "0"),), rejected=(("invalid_json", len(rejected)),) if rejected else ()
    )
    (folder / "listing.jsonl").unlink()
    append_shards(corpus.listing_path, Listing(()), [shard])
    if rejected:
        (folder / "rejected" / "web").mkdir(parents=True)
        lines = "".join(json.dumps({"path": "0.jsonl", "line": line}) + "\n" for line in rejected)
        (folder / "rejected" / "web" / "part-00000.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return corpus


def write(corpus, folder, ids, columns=COLUMNS, kind="text"):
    """Run the task over an attribute file with one line for each id; returns the set's rows and the task's facts."""
    path = folder / "attributes.jsonl"
    path.write_text("".join(json.dumps({"id": name, "attributes": {"e__t__a": [[0, 2, 0.5]]}}) + "\n" for name in ids))
    params = {
        "root": corpus.root,
        "shard": 0,
        "set": "dolma-e-v1",
        "columns": columns,
        "path": str(path) if ids else None,
        "document": ["", str(folder / "0.jsonl"), kind],
    }
    (file,), facts = write_unit(params, "attempts")
    publish_file(file.attempt, corpus.path(file.path))
    assert file.rows == 3
    return read_attributes(corpus.root, "dolma-e-v1", corpus.read_listing().shards[0], [0, 1]).to_pylist(), facts


def test_rows_are_aligned_over_row_groups(tmp_path):
    rows, facts = write(make_corpus(tmp_path), tmp_path, "abc")
    assert [[span["end"] for span in row["t__a"]] for row in rows] == [[2], [2], [2]]
    assert facts == {"documents": 3, "clipped_spans": 0}


def test_lines_of_rejected_documents_are_stepped_over(tmp_path):
    rows, _ = write(make_corpus(tmp_path, rejected=(1, 4)), tmp_path, ["x", "a", "b", "y", "c"])
    assert len(rows) == 3


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("blank", [b"", b" \t\r"])
def test_blank_lines_of_documents_are_no_records(tmp_path, mark, blank):
    """rejected/ counts them among the lines of the document file; attribute files have no line for them, or a blank one."""
    lines = [
        mark + blank,
        b'{"text": "one"}',
        blank,
        b"{broken",
        blank,
        blank,
        b'{"text": "two"}',
        b"[]",
        b'{"text": "three"}',
    ]
    (tmp_path / "0.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    corpus = make_corpus(tmp_path, rejected=(4, 8))
    rows, facts = write(corpus, tmp_path, ["a", "x", "b", "y", "c"], kind="jsonl")
    assert len(rows) == 3 and facts["documents"] == 3
    with pytest.raises(
        DataError, match="is about document 'x', expected 'b'"
    ):  # the lines of the file are not its records
        write(corpus, tmp_path, ["a", "x", "b", "y", "c"], kind="text")


def test_an_id_that_ingest_made_unique_is_known(tmp_path):
    rows, _ = write(make_corpus(tmp_path, ids=("a", "a#2", "b#x#3")), tmp_path, ["a", "a", "b#x"])
    assert len(rows) == 3


def test_no_id_in_a_line_is_taken_by_its_place(tmp_path):
    assert len(write(make_corpus(tmp_path), tmp_path, [None, "", "c"])[0]) == 3


def test_a_shard_without_a_file_has_nulls(tmp_path):
    rows, facts = write(make_corpus(tmp_path), tmp_path, [])
    assert rows == [{"t__a": None, "t__a__score": None}] * 3
    assert facts == {"documents": 0, "clipped_spans": 0}


@pytest.mark.parametrize(
    ("ids", "row", "words"),
    [
        ("axc", 2, "is about document 'x', expected 'b'"), ("acb", 2, "is about document 'c', expected 'b'"),
        ("ab", None, "ends before document 'c'"), ("abcd", 4, "goes on behind the last of 3 documents of 0.jsonl"),
        (["a", "b#2", "c"], 2, "'b#2'"),
    ],
)  # fmt: skip
def test_a_mismatch_is_named_with_file_and_line(tmp_path, ids, row, words):
    with pytest.raises(DataError, match=words) as caught:
        write(make_corpus(tmp_path), tmp_path, ids)
    assert (caught.value.path, caught.value.row) == (str(tmp_path / "attributes.jsonl"), row)


def test_documents_read_in_place_are_met_too(tmp_path):
    """The document file lies where it is, its second line is no record."""
    made = make_corpus(tmp_path / "corpus", rejected=(2,))
    lines = [json.dumps({"id": name, "text": text}) for name, text in zip("abc", TEXTS, strict=True)]
    (tmp_path / "0.jsonl").write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    (shard,) = made.read_listing().shards
    num_bytes, text_bytes = (tmp_path / "0.jsonl").stat().st_size, sum(len(text.encode()) for text in TEXTS)
    shard = shard._replace(
        path=str(tmp_path / "0.jsonl"), format="jsonl", row_groups=((3, text_bytes),), num_bytes=num_bytes
    )
    (tmp_path / "corpus" / "listing.jsonl").unlink()
    append_shards(made.listing_path, Listing(()), [shard])
    rejected = tmp_path / "corpus" / "rejected" / "web"
    (rejected / "part-00000.jsonl.gz").rename(rejected / "in-place-00000.jsonl.gz")
    path = tmp_path / "attributes.jsonl"
    path.write_text("".join(json.dumps({"id": name, "attributes": {}}) + "\n" for name in ["a", None, "b", "c"]))
    params = {"root": made.root, "shard": 0, "set": "dolma-e-v1", "columns": COLUMNS, "path": str(path),
              "document": ["", str(tmp_path / "0.jsonl"), "jsonl"]}  # fmt: skip
    (file,), facts = write_unit(params, "attempts")
    assert (file.rows, facts["documents"], file.path) == (3, 3, "attributes/dolma-e-v1/web/in-place-00000.parquet")


def test_names_of_a_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"attributes": {"b": []}}\n{"attributes": {"a": [], "b": []}}\n')
    assert list_names({"path": str(tmp_path / "a.jsonl")}, "") == ([], {"names": ["a", "b"]})


def test_what_belongs_to_a_tree(tmp_path):
    for name in (
        "documents/web/0.jsonl.gz",
        "attributes/e/web/0.jsonl.gz",
        "attributes/f/0.json",
        "attributes/g/0.parquet",
        "attributes/f/_x/0.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert is_tree(str(tmp_path)) and not is_tree(str(tmp_path / "documents"))
    found = [(file.experiment, file.name) for file in find_attributes([str(tmp_path)], None)]
    assert found == [("e", "web/0.jsonl.gz"), ("f", "0.json")]
    assert [file.experiment for file in find_attributes([str(tmp_path)], ["f"])] == ["f"]
    assert find_attributes([str(tmp_path)], []) == find_attributes([], None) == []
    with pytest.raises(ConfigError, match="'h'"):
        find_attributes([str(tmp_path)], ["h"])
