"""Which reader reads which file; names are relative; real errors raise."""

from __future__ import annotations

import bz2
import json
import re

import pytest

from dolma_py.errors import DataError
from dolma_py.formats import FieldMap, Limits, Rejection, detect_format, read_any
from dolma_py.formats.limits import make_relative
from dolma_py.storage import open_read


def read(path, **options):
    arguments = {
        "source": "s",
        "limits": Limits(),
        "fields": FieldMap(),
        "added": None,
        "open_stream": open_read,
    }
    return list(read_any(str(path), **(arguments | options)))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.jsonl", "jsonl"), ("a.JSONL.GZ", "jsonl"), ("a.json.zst", "jsonl"), ("b/a.ndjson", "jsonl"), ("a.parquet", "parquet"),
        ("a.html", "html"), ("a.htm.gz", "html"), ("a.warc", "warc"), ("s3://b/a.warc.gz", "warc"), ("a.txt", "text"),
        ("README", "text"), ("a.py", "text"), ("a.rst.gz", "text"), ("a.gz", "text"), ("b/A.PDF", "pdf"), ("a.pdf.gz", "pdf"),
        ("a.jsonl.bz2", "jsonl"), ("CC-MAIN-1.warc.wet.gz", "warc"),
    ],
)  # fmt: skip
def test_detect_format(path, kind) -> None:
    assert detect_format(path) == kind


def test_missing_file_raises(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.jsonl")


def test_unknown_kind_raises(tmp_path) -> None:
    with pytest.raises(DataError, match="docx"):
        read(tmp_path / "a.docx", kind="docx")


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("a.jsonl.xz", "", "compressed as .xz. Compress it as .gz, .zst or .bz2."), ("a.jsonl.xz", "jsonl", "compressed as .xz."),
        ("a.arrow", "", "a table as .arrow. Write it as Parquet or JSON Lines."), ("A.WARC.WAT.GZ", "", "Give the .warc.wet.gz"),
        ("a.warc.wat.gz", "warc", "no text"), ("enwiki-20240501-pages-articles.xml.7z", "wikipedia", "compressed as .7z"),
    ],
)  # fmt: skip
def test_what_no_reader_reads_is_told(tmp_path, name, kind, told) -> None:
    (tmp_path / name).write_bytes(b"\xfd7zXZ\0")
    with pytest.raises(DataError, match=re.escape(told)):
        read(tmp_path / name, kind=kind)


@pytest.mark.parametrize("kind", ["jsonl", "text"])
def test_a_kind_may_have_any_name(tmp_path, kind) -> None:
    path = tmp_path / "a.arrow"
    path.write_text('{"text": "a"}\n')
    assert len(read(path, kind=kind)) == 1


def test_bzip2(tmp_path) -> None:
    path = tmp_path / "a.jsonl.bz2"
    path.write_bytes(bz2.compress(b'{"text": "a"}\n{"te', 9) + bz2.compress(b'xt": "b"}\n', 1))
    (batch,) = read(path)
    assert batch.column("text").to_pylist() == ["a", "b"]


def test_kind_wins_over_name(tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text('{"text": "a"}\n')
    (batch,) = read(path, kind="jsonl", root=str(tmp_path))
    assert batch.column("text").to_pylist() == ["a"]
    assert json.loads(batch.column("metadata")[0].as_py()) == {"origin": "a.txt:1"}


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [
        ("/data/in/a/b.txt", "/data/in", "a/b.txt"), ("/data/in/a/b.txt", "/data/in/", "a/b.txt"), ("/data/in2/b.txt", "/data/in", "b.txt"),
        ("/data/in/b.txt", "", "b.txt"), ("s3://bucket/in/a/b.txt", "s3://bucket/in", "a/b.txt"), ("/in/x\udcff.txt", "/in", "x\ufffd.txt"),
    ],
)  # fmt: skip
def test_make_relative(path, root, name) -> None:
    assert make_relative(path, root) == name


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.txt", "a.html", "a.warc", "a.parquet", "a.jsonl.gz", "a.txt.zst", "a.warc.gz"]
)
def test_no_machine_path_in_output(tmp_path, name) -> None:
    path = tmp_path / "deep" / name
    path.parent.mkdir()
    path.write_bytes(b"\xff\0 nothing that any of them can read")
    events = read(path, root=str(tmp_path))
    assert [event.path for event in events if isinstance(event, Rejection)] == [f"deep/{name}"]
