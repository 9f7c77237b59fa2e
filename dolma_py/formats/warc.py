"""WARC archives, plain or compressed: the pages of successful responses become documents, and so does plain text that somebody
made of pages, as Common Crawl's WET files have it.

Framing is ours, so that one record with a lying length, a corrupt gzip member or junk between records costs that record and no
more; HTTP headers, transfer and content encodings are read by fastwarc.
"""

from __future__ import annotations

import datetime as dt
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecordType

from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, iterate_members
from dolma_py.formats.fields import FieldMap, Record, parse_time
from dolma_py.formats.html import Page, extract_page
from dolma_py.formats.html_extractors import Extractor, HtmlConfig
from dolma_py.formats.limits import Limits, Rejection, Skipped, make_relative
from dolma_py.formats.text_encoding import decode_text
from dolma_py.formats.warc_framing import Frame, find_body, iterate_frames

PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/plain"})
CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)


def read_documents(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
    settings: HtmlConfig = HtmlConfig(),
) -> Iterator[pa.RecordBatch | Rejection | Skipped]:
    """Batches and rejections of one WARC file, then how many whole records were passed over and why: kind (neither response nor
    conversion), status (an HTTP status other than 200), media_type (neither HTML nor plain text).

    Kept: records of type response with HTTP status 200 and a media type of HTML or plain text, and of type conversion with plain text,
    which nothing is extracted from. `created` is WARC-Date, `metadata.url` is WARC-Target-URI, `metadata.http_headers` a response's
    headers and `metadata.warc_headers` a conversion's by lower-case name. `line` counts records from 1.
    """
    skipped: Counter[str] = Counter()
    builder = BatchBuilder(make_relative(path, root), source=source, added=added, limits=limits)
    with open_stream(path) as stream:
        events = iterate_members(stream, find_codec(path), limits=limits, resync=True)
        for frame in iterate_frames(events, limits):
            if frame.reason:
                builder.reject(frame.reason, frame.data, line=frame.number, offset_bytes=frame.offset_bytes)
            elif frame.kind == "response":
                skipped[_add_response(builder, frame, settings.extractor)] += 1
            elif frame.kind == "conversion":
                skipped[_add_conversion(builder, frame)] += 1
            else:
                skipped["kind"] += 1
            if builder.is_full:
                yield from builder.drain()
    yield from builder.drain()
    for reason, count in sorted(skipped.items()):
        if reason:
            yield Skipped(builder.path, reason, count)


def _add_conversion(builder: BatchBuilder, frame: Frame) -> str:
    """Add the plain text that a record holds, or reject it; returns why it is passed over, or ""."""
    kind, _, parameters = frame.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind != "text/plain":
        return "media_type"
    charset = CHARSET.search(parameters)
    body = find_body(frame)
    page = _read_text(body, charset[1] if charset else "")
    languages = frame.headers.get("warc-identified-content-language", "")
    more: dict[str, object] = {"warc_headers": frame.headers}
    if languages:
        more["languages"] = [language.strip() for language in languages.split(",")]
    _add_page(builder, frame, page, body, kind, more)
    return ""


def _add_response(builder: BatchBuilder, frame: Frame, extractor: Extractor) -> str:
    """Add the page that a record holds, or reject it; returns why it is passed over, or ""."""
    records = ArchiveIterator(
        io.BytesIO(frame.data),
        record_types=WarcRecordType.response,
        parse_http=True,
        auto_decode="all",
        stream_detect=False,
    )
    limit = builder.limits.max_html_bytes
    try:
        record = next(iter(records))
        http = record.http_headers
        if http is None or http.status_code is None:
            raise OSError("no HTTP header")
        if http.status_code != 200:
            return "status"
        kind = (record.http_content_type or "").lower()
        if kind not in PAGE_TYPES:
            return "media_type"
        body = record.reader.read(limit + 1)
        charset = record.http_charset or ""
        headers = {name.lower(): value for name, value in http.items()}
    except (OSError, StopIteration, ValueError):  # a stream in memory: its errors are the record's
        builder.reject("bad_http", frame.data, line=frame.number, offset_bytes=frame.offset_bytes)
        return ""
    page = _read_page(body, kind, charset, builder.limits, extractor)
    more: dict[str, object] = {"title": page.title, "http_headers": headers}
    _add_page(builder, frame, page, body, kind, more)
    return ""


def _add_page(builder: BatchBuilder, frame: Frame, page: Page, body: bytes, kind: str, more: dict[str, object]) -> None:
    if page.reason:
        builder.reject(page.reason, body or frame.data, line=frame.number, offset_bytes=frame.offset_bytes)
        return
    metadata: dict[str, object] = (
        {
            "url": frame.headers.get("warc-target-uri", "").strip("<>"),
            "warc_path": builder.path,
            "warc_offset_bytes": frame.offset_bytes,
            "warc_record_id": frame.headers.get("warc-record-id", "").strip("<>"),
            "content_type": kind,
            "encoding": page.encoding,
        }
        | more
        | page.facts
    )
    date = frame.headers.get("warc-date", "")
    created = parse_time(date)
    if created is None and date:
        metadata["invalid_created"] = date
    builder.add(Record(None, page.text, builder.source, None, created, metadata), len(page.text.encode()))


def _read_page(body: bytes, kind: str, charset: str, limits: Limits, extractor: Extractor) -> Page:
    if kind != "text/plain":
        return extract_page(body, limits, charset, extractor)
    return Page("", "", "", "too_long") if len(body) > limits.max_html_bytes else _read_text(body, charset)


def _read_text(body: bytes, charset: str) -> Page:
    """Plain text as it stands; what was declared is asked where the bytes are no UTF-8."""
    decoded = decode_text(body, [charset] if charset else [])
    if not decoded.reason and not decoded.text.strip():
        return Page("", "", "", "no_text")
    return Page(decoded.text, "", decoded.encoding, decoded.reason, replaced=decoded.replaced)
