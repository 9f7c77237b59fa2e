"""Text files: encodings, compression, and what is no text."""

from __future__ import annotations

import gzip
import io
import json

import pytest

from dolma_py.formats import FieldMap, Limits, Rejection
from dolma_py.formats.plain_text import read_documents


def read(data: bytes, name: str = "/in/docs/a.txt", limits: Limits | None = None):
    (event,) = read_documents(
        name, source="notes", limits=limits or Limits(), fields=FieldMap(), added=None,
        open_stream=lambda path: io.BytesIO(data), root="/in",
    )  # fmt: skip
    return event if isinstance(event, Rejection) else event.to_pylist()[0]


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("caf\u00e9\r\nzwei\n".encode(), "caf\u00e9\r\nzwei\n", "utf-8"),
        (b"\xef\xbb\xbfmark", "mark", "utf-8"),
        ("\ufeffmark \U0001f600".encode("utf-16-le"), "mark \U0001f600", "utf-16"),
        ("\ufeffmark".encode("utf-16-be"), "mark", "utf-16"),
        (b"caf\xe9 \x93quoted\x94", "caf\u00e9 \u201cquoted\u201d", "windows-1252"),
    ],
)
def test_encodings(data, text, encoding) -> None:
    row = read(data)
    assert row["text"] == text
    assert json.loads(row["metadata"]) == {"path": "docs/a.txt", "encoding": encoding}
    assert row["source"] == "notes"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no_text"),
        (b" \r\n\t", "no_text"),
        (b"\xef\xbb\xbf", "no_text"),
        (b"ELF\0\0\0", "binary"),
        ("\ufeffa\0b".encode("utf-16-le"), "binary"),
        (b"\xff\xfe\x00\xd8", "bad_encoding"),
        (b"x" * 101, "too_long"),
        (b"odd \x81 byte", "bad_encoding"),
    ],
)
def test_no_text(data, reason) -> None:
    rejection = read(data, limits=Limits(max_record_bytes=100))
    assert rejection.reason == reason
    assert rejection.path == "docs/a.txt"


def test_gzip_and_torn_gzip() -> None:
    packed = gzip.compress(b"hello world " * 50)
    assert read(packed, "/in/a.md.gz")["text"] == "hello world " * 50
    assert read(packed[:-9], "/in/a.md.gz").reason == "truncated"


def test_gzip_bomb_is_too_long() -> None:
    rejection = read(gzip.compress(b"\0" * (32 << 20)), "/in/a.txt.gz", Limits(max_record_bytes=1 << 20))
    assert rejection.reason == "too_long"


def test_characters_that_could_not_be_read_are_counted() -> None:
    row = read("caf\u00e9 \u00e9t\u00e9 \u00e0".encode() + b" \xe9")
    assert row["text"].endswith("\u00e0 \ufffd")
    assert json.loads(row["metadata"]) == {"path": "docs/a.txt", "encoding": "utf-8", "replaced_chars": 1}
