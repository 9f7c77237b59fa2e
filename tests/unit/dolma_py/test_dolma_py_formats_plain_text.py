"""Text files: encodings, compression, and what is no text."""

from __future__ import annotations

import gzip
import io
import json

import pytest

from dolma_py.formats import FieldMap, Limits, Rejection
from dolma_py.formats.plain_text import decode_text, read_documents


def read(data: bytes, name: str = "/in/docs/a.txt", limits: Limits | None = None):
    (event,) = read_documents(
        name, source="notes", limits=limits or Limits(), fields=FieldMap(), added=None,
        open_stream=lambda path: io.BytesIO(data), root="/in",
    )  # fmt: skip
    return event if isinstance(event, Rejection) else event.to_pylist()[0]


LEGACY = {
    "shift_jis": "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3067\u3059\u3002\u3053\u308c\u306f\u30c6\u30b9\u30c8\u3067\u3059\u3002",
    "euc_jp": "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3067\u3059\u3002\u3053\u308c\u306f\u30c6\u30b9\u30c8\u3067\u3059\u3002",
    "gb18030": "\u8fd9\u662f\u4e00\u4e2a\u4e2d\u6587\u6587\u672c\u7684\u4f8b\u5b50\uff0c\u7528\u4e8e\u6d4b\u8bd5\u7f16\u7801\u68c0\u6d4b\u3002",
    "koi8-r": "\u042d\u0442\u043e \u043e\u0431\u044b\u0447\u043d\u044b\u0439 \u0442\u0435\u043a\u0441\u0442.",
    "cp1251": "\u042d\u0442\u043e \u043e\u0431\u044b\u0447\u043d\u044b\u0439 \u0442\u0435\u043a\u0441\u0442.",
    "iso8859-7": "\u0391\u03c5\u03c4\u03cc \u03b5\u03af\u03bd\u03b1\u03b9 \u03ad\u03bd\u03b1 \u03ba\u03b5\u03af\u03bc\u03b5\u03bd\u03bf.",
    "cp1250": "P\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148 \u00fap\u011bl \u010f\u00e1belsk\u00e9 \u00f3dy",
}
WESTERN = [
    "Z\u00f6lf",
    "ma\u00f1ana",
    "na\u00efve",
    "100 \u20ac",
    "\u00e0 la fen\u00eatre",
    "S\u00e3o Paulo, n\u00e3o",
    "G\u00f6teborg \u00e4r en stad",
]


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("caf\u00e9\r\nzwei\n".encode(), "caf\u00e9\r\nzwei\n", "utf-8"),
        (b"\xef\xbb\xbfmark", "mark", "utf-8"),
        ("\ufeffmark \U0001f600".encode("utf-16-le"), "mark \U0001f600", "utf-16"),
        ("\ufeffmark".encode("utf-16-be"), "mark", "utf-16"),
        (b"caf\xe9 \x93quoted\x94", "caf\u00e9 \u201cquoted\u201d", "windows-1252"),
        *((text.encode(encoding), text, encoding) for encoding, text in LEGACY.items()),
        *((text.encode("windows-1252"), text, "windows-1252") for text in WESTERN),
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
        (b"odd \x81 byte", "bad_encoding"),
        (b"x" * 201, "too_long"),
    ],
)
def test_no_text(data, reason) -> None:
    rejection = read(data, limits=Limits(max_record_bytes=200))
    assert rejection.reason == reason
    assert rejection.path == "docs/a.txt"


def test_gzip_and_torn_gzip() -> None:
    packed = gzip.compress(b"hello world " * 50)
    assert read(packed, "/in/a.md.gz")["text"] == "hello world " * 50
    assert read(packed[:-9], "/in/a.md.gz").reason == "truncated"


def test_gzip_bomb_is_too_long() -> None:
    rejection = read(gzip.compress(b"\0" * (32 << 20)), "/in/a.txt.gz", Limits(max_record_bytes=1 << 20))
    assert rejection.reason == "too_long"


def test_every_byte_is_text_or_told() -> None:
    found = [decode_text(bytes([97, byte])) for byte in range(1, 256)]
    assert [bool(decoded.text) for decoded in found] == [not decoded.reason for decoded in found]
    assert {decoded.reason for decoded in found} == {"", "bad_encoding"}
    assert not any("\x80" <= sign < "\xa0" for decoded in found for sign in decoded.text)
