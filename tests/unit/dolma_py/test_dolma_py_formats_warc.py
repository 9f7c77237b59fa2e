"""WARC archives: good ones, and each way in which one record can spoil its neighbours."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from datetime import UTC, datetime

import pytest

from dolma_py.formats import FieldMap, Limits, Rejection, Skipped, warc_framing
from dolma_py.formats.warc import read_documents
from dolma_py.formats.warc_framing import parse_headers

BODY = (
    b"<html><head><title>T</title></head><body><main>"
    + b"<p>Hello world, this is a page.</p>" * 20
    + b"</main></body></html>"
)


def make_record(
    url: str, body: bytes = BODY, *, length: object = None, kind="response", status="200 OK", head="", media="text/html"
):
    http = f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\n{head}\r\n".encode() + body
    length = len(http) if length is None else length
    fields = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2020-01-02T03:04:05Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{url}>\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {length}\r\n\r\n"
    )
    return fields.encode() + http + b"\r\n\r\n"


def read_all(data: bytes, suffix: str = "", limits: Limits | None = None):
    rows, rejections, skipped = [], [], {}
    for event in read_documents(
        f"/in/a.warc{suffix}", source="web", limits=limits or Limits(), fields=FieldMap(), added=None,
        open_stream=lambda path: io.BytesIO(data), root="/in",
    ):  # fmt: skip
        if isinstance(event, Skipped):
            skipped[event.reason] = event.records
        elif isinstance(event, Rejection):
            rejections.append(event)
        else:
            rows.extend(event.to_pylist())
    return rows, rejections, skipped


def read(data: bytes, suffix: str = "", limits: Limits | None = None):
    rows, rejections, _ = read_all(data, suffix, limits)
    return rows, rejections


def urls(rows) -> list[str]:
    return [json.loads(row["metadata"])["url"] for row in rows]


def join(records: list[bytes], suffix: str) -> bytes:
    return b"".join(gzip.compress(record) if suffix else record for record in records)


GOOD = [make_record(f"http://a/{number}") for number in range(4)]
ALL_URLS = [f"http://a/{number}" for number in range(4)]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_good_records(suffix) -> None:
    rows, rejections = read(join(GOOD, suffix), suffix)
    assert rejections == []
    assert urls(rows) == ALL_URLS
    assert rows[0]["text"].count("Hello world") == 20
    assert rows[0]["created"] == datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    metadata = json.loads(rows[1]["metadata"])
    assert metadata["warc_path"] == f"a.warc{suffix}"
    assert metadata["warc_offset_bytes"] == len(GOOD[0])
    assert metadata["title"] == "T"
    assert metadata["http_headers"] == {"content-type": "text/html"}


def test_what_is_no_page_is_passed_over() -> None:
    records = [
        make_record("http://info", kind="warcinfo"),
        make_record("http://request", kind="request"),
        make_record("http://gone", status="404 Not Found"),
        make_record("http://moved", status="301 Moved Permanently"),
        make_record("http://part", status="206 Partial Content"),
        make_record("http://image", b"\x89PNG", media="image/png"),
        make_record("http://text", b"plain words", media="text/plain; charset=utf-8"),
    ]
    rows, rejections, skipped = read_all(join(records, ""))
    assert rejections == []
    assert skipped == {"kind": 2, "media_type": 1, "status": 3}
    assert len(records) == len(rows) + sum(skipped.values())
    assert [(row["text"], json.loads(row["metadata"])["content_type"]) for row in rows] == [
        ("plain words", "text/plain")
    ]


@pytest.mark.parametrize(
    ("charset", "encoding", "text"),
    [
        ("; charset=koi8-r", "koi8-r", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440."),
        ("; charset=shift_jis", "cp932", "\u65e5\u672c\u8a9e\u306e\u6587"),
        (
            "; charset=koi8-r",
            "utf-8",
            "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440.",
        ),  # whatever the server says
        ("", "utf-8", "caf\u00e9"),
    ],
)
def test_the_charset_of_plain_text_is_believed(charset, encoding, text) -> None:
    (row,), _ = read(make_record("http://t", text.encode(encoding), media=f"text/plain{charset}"))
    assert row["text"] == text
    assert json.loads(row["metadata"])["encoding"] == encoding


def make_conversion(
    url: str, body: bytes, *, media: str = "text/plain", head: str = "WARC-Identified-Content-Language: eng,deu\r\n"
):
    fields = (
        f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2020-01-02T03:04:05Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{url}>\r\nWARC-Refers-To: <urn:uuid:0>\r\n{head}Content-Type: {media}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return fields.encode() + body + b"\r\n\r\n"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_texts_of_a_wet_file(suffix) -> None:
    texts = ["Title\n<main> is no mark-up here\n\nEnd \u00e9\n", "\r\n\r\nWARC/1.0 in the text\r\n\r\n", " "]
    records = [
        make_record("http://info", kind="warcinfo"), *(make_conversion(f"http://a/{n}", text.encode()) for n, text in enumerate(texts)),
        make_conversion("http://pdf", b"%PDF", media="application/pdf"), make_conversion("http://n", b"plain", head=""),
        make_conversion("http://koi", "\u043c\u0438\u0440".encode("koi8-r"), media='text/plain; charset="KOI8-R"'),
    ]  # fmt: skip
    rows, rejections, skipped = read_all(join(records, suffix), suffix)
    assert [row["text"] for row in rows] == [*texts[:2], "plain", "\u043c\u0438\u0440"]
    assert [rejection.reason for rejection in rejections] == ["no_text"]
    assert skipped == {"kind": 1, "media_type": 1}
    assert rows[0]["created"] == datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    metadata = json.loads(rows[0]["metadata"])
    assert metadata == {
        "url": "http://a/0", "warc_path": f"a.warc{suffix}", "warc_offset_bytes": len(records[0]), "warc_record_id": "urn:uuid:http://a/0",
        "content_type": "text/plain", "encoding": "utf-8", "languages": ["eng", "deu"],
        "warc_headers": metadata["warc_headers"],
    }  # fmt: skip
    assert metadata["warc_headers"]["warc-refers-to"] == "<urn:uuid:0>"
    assert metadata["warc_headers"]["warc-identified-content-language"] == "eng,deu"
    assert "languages" not in json.loads(rows[2]["metadata"])


def test_own_headers_are_kept_and_charset_is_believed() -> None:
    body = "<main><p>Zw\u00f6lf Boxk\u00e4mpfer jagen Viktor.</p></main>".encode("iso-8859-2")
    record = make_record("http://u", body, head="X-Planted-Item: item-7\r\n", media="text/html; charset=iso-8859-2")
    (row,), _ = read(record)
    assert row["text"] == "Zw\u00f6lf Boxk\u00e4mpfer jagen Viktor."
    assert json.loads(row["metadata"])["http_headers"]["x-planted-item"] == "item-7"


def test_compressed_and_chunked_payloads() -> None:
    packed = gzip.compress(BODY)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    records = [
        make_record("http://gzip", packed, head="Content-Encoding: gzip\r\n"),
        make_record("http://chunked", chunked, head="Transfer-Encoding: chunked\r\n"),
    ]
    rows, rejections = read(join(records, ""))
    assert rejections == []
    assert [row["text"].count("Hello world") for row in rows] == [20, 20]


def test_payload_bomb_is_too_long() -> None:
    record = make_record("http://bomb", gzip.compress(b" " * (64 << 20)), head="Content-Encoding: gzip\r\n")
    rows, rejections = read(record)
    assert rows == []
    assert [rejection.reason for rejection in rejections] == ["too_long"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (50, "bad_length"),
        (1000, "bad_length"),
        (10**12, "too_long"),
        (-5, "bad_length"),
        ("abc", "bad_length"),
        ("", "bad_length"),
    ],
)
def test_lying_length_costs_one_record(length, reason, suffix) -> None:
    records = [GOOD[0], make_record("http://liar", length=length), *GOOD[1:]]
    rows, rejections = read(join(records, suffix), suffix)
    assert urls(rows) == ALL_URLS
    assert [(rejection.line, rejection.reason, rejection.offset_bytes) for rejection in rejections] == [
        (2, reason, len(GOOD[0]))
    ]
    assert rejections[0].excerpt.startswith("WARC/1.0")


def test_lying_length_in_a_single_member() -> None:
    records = [GOOD[0], make_record("http://liar", length=1000), *GOOD[1:]]
    rows, rejections = read(gzip.compress(b"".join(records)), ".gz")
    assert urls(rows) == ALL_URLS
    assert [rejection.reason for rejection in rejections] == ["bad_length"]


@pytest.mark.parametrize(("suffix", "reason"), [("", "bad_length"), (".gz", "truncated")])
def test_torn_archive(suffix, reason) -> None:
    rows, rejections = read(join(GOOD, suffix)[:-100], suffix)
    assert urls(rows) == ALL_URLS[:3]
    assert [(rejection.line, rejection.reason) for rejection in rejections] == [(4, reason)]


@pytest.mark.parametrize("spoil", ["flip", "cut", "checksum"])
def test_bad_member_costs_one_record(spoil) -> None:
    members = [bytearray(gzip.compress(record)) for record in GOOD]
    if spoil == "flip":
        members[1][len(members[1]) // 2] ^= 0xFF
    elif spoil == "cut":
        del members[1][-40:]
    else:
        members[1][-6] ^= 0xFF
    rows, rejections = read(b"".join(members), ".gz")
    assert urls(rows) == ["http://a/0", "http://a/2", "http://a/3"]
    assert [rejection.reason for rejection in rejections] == ["corrupt"]


def test_junk_between_members() -> None:
    rows, rejections = read(join(GOOD[:2], ".gz") + b"junk\r\n" * 9 + join(GOOD[2:], ".gz"), ".gz")
    assert urls(rows) == ALL_URLS
    assert [rejection.reason for rejection in rejections] == ["corrupt"]


@pytest.mark.parametrize(
    ("data", "reasons"),
    [
        (b"", []),
        (b"\r\n\r\n", []),
        (b"\0" * 1000, ["bad_header"]),
        (b"WARC/1.0\r\n\r\n", ["bad_length"]),
        (b"WARC/1.0\r\n" + b"a" * 1_000_000, ["bad_header"]),
        (b"WARC/1.0\r\nContent-Length: 0\r\n\r\n", []),
        (b"<html>no archive</html>", ["bad_header"]),
        (make_record("http://x", b"", status="what"), ["bad_http"]),
    ],
)
def test_what_is_no_archive(data, reasons) -> None:
    rows, rejections = read(data)
    assert rows == []
    assert [rejection.reason for rejection in rejections] == reasons


def test_a_header_torn_by_the_next_record_costs_itself() -> None:
    torn = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://torn\r\n"
    rows, rejections = read(GOOD[0] + torn + b"".join(GOOD[1:]))
    assert urls(rows) == ALL_URLS
    assert [(rejection.line, rejection.reason, rejection.offset_bytes) for rejection in rejections] == [
        (2, "bad_header", len(GOOD[0]))
    ]


def test_a_body_that_begins_as_a_record_does_is_a_body() -> None:
    inner = b"WARC/1.0 is a format"
    record = b"WARC/1.0\r\nWARC-Type: metadata\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n" % (len(inner), inner)
    rows, rejections = read(record + GOOD[0])
    assert rejections == []
    assert urls(rows) == ["http://a/0"]


def test_starts_without_end_are_parsed_once(monkeypatch) -> None:
    parsed_bytes = 0

    def count(block: bytes) -> dict[str, str]:
        nonlocal parsed_bytes
        parsed_bytes += len(block)
        return parse_headers(block)

    monkeypatch.setattr(warc_framing, "parse_headers", count)
    data = (b"WARC/1.0\r\n" * 600 + b"\r\n\r\n") * 2
    rows, rejections = read(data)
    assert rows == []
    assert [rejection.reason for rejection in rejections] == [*["bad_header"] * 599, "bad_length"] * 2
    assert parsed_bytes <= len(data)


def test_page_about_archives_is_believed() -> None:
    body = b"<main><p>An archive starts with</p><pre>\r\n\r\nWARC/1.0\r\nContent-Length: 3\r\n\r\nabc</pre></main>"
    rows, rejections = read(make_record("http://x", body) + GOOD[0])
    assert rejections == []
    assert urls(rows) == ["http://x", "http://a/0"]


@pytest.mark.parametrize("step", [1, 13, 1000])
def test_small_reads_change_nothing(step) -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(step)

    data = join([GOOD[0], make_record("http://liar", length=50), GOOD[1]], ".gz")
    events = read_documents(
        "/in/a.warc.gz", source="web", limits=Limits(), fields=FieldMap(), added=None, open_stream=lambda path: Trickle(data), root="/in"
    )  # fmt: skip
    batch, rejection = (event for event in events if not isinstance(event, Skipped))
    assert batch.to_pylist() == read(data, ".gz")[0]
    assert rejection == read(data, ".gz")[1][0]


def test_record_over_the_limit_is_skipped() -> None:
    big = make_record("http://big", b"<p>" + zlib.compress(b"x") * 200_000 + b"</p>")
    rows, rejections = read(join([GOOD[0], big, GOOD[1]], ".gz"), ".gz", Limits(max_record_bytes=1 << 20))
    assert urls(rows) == ["http://a/0", "http://a/1"]
    assert [rejection.reason for rejection in rejections] == ["too_long"]


@pytest.mark.parametrize(("spare_bytes", "reasons"), [(0, []), (-1, ["too_long"])])
def test_the_limit_of_a_record_is_exact(spare_bytes, reasons) -> None:
    num_bytes = len(GOOD[0]) - len(b"\r\n\r\n")
    _, rejections = read(GOOD[0], limits=Limits(max_record_bytes=num_bytes + spare_bytes))
    assert [rejection.reason for rejection in rejections] == reasons


@pytest.mark.parametrize(
    ("name", "num_docs"), [("dolma-sample-0000.warc.gz", 22), ("resiliparse-warcfile.warc.gz", 16)]
)
def test_real_archives(data_dir, name, num_docs) -> None:
    rows, rejections = read((data_dir / "warc" / name).read_bytes(), ".gz")
    assert rejections == []
    assert len(rows) == num_docs
    assert all(row["created"] is not None for row in rows)
