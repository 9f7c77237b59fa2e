"""WARC archives, plain or gzip: the pages of successful responses become documents.

Framing is ours, so that one record with a lying length, a corrupt gzip member or junk between records costs that record and no
more; HTTP headers, transfer and content encodings are read by fastwarc.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecordType

from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, iterate_members
from dolma_py.formats.fields import FieldMap, Record, parse_time
from dolma_py.formats.html import Page, extract_page
from dolma_py.formats.html_extractors import Extractor, HtmlConfig
from dolma_py.formats.limits import Limits, Rejection, make_relative
from dolma_py.formats.text_encoding import decode_text
from dolma_py.formats.warc_framing import Frame, iterate_frames

PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/plain"})


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
) -> Iterator[pa.RecordBatch | Rejection]:
    """Batches and rejections of one WARC file.

    Kept: records of type response with HTTP status 200 and a media type of HTML or plain text; every other whole record is no
    document and no rejection. `created` is WARC-Date, `metadata.url` is WARC-Target-URI, `metadata.http_headers` the response's
    headers by lower-case name. `line` counts records from 1.
    """
    builder = BatchBuilder(make_relative(path, root), source=source, added=added, limits=limits)
    with open_stream(path) as stream:
        events = iterate_members(stream, find_codec(path), limits=limits, resync=True)
        for frame in iterate_frames(events, limits):
            if frame.reason:
                builder.reject(frame.reason, frame.data, line=frame.number, offset_bytes=frame.offset_bytes)
            elif frame.kind == "response":
                _add_response(builder, frame, settings.extractor)
            if builder.is_full:
                yield from builder.drain()
    yield from builder.drain()


def _add_response(builder: BatchBuilder, frame: Frame, extractor: Extractor) -> None:
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
            return
        kind = (record.http_content_type or "").lower()
        if kind not in PAGE_TYPES:
            return
        body = record.reader.read(limit + 1)
        charset = record.http_charset or ""
        headers = {name.lower(): value for name, value in http.items()}
    except (OSError, StopIteration, ValueError):  # a stream in memory: its errors are the record's
        builder.reject("bad_http", frame.data, line=frame.number, offset_bytes=frame.offset_bytes)
        return
    page = _read_page(body, kind, charset, builder.limits, extractor)
    if page.reason:
        builder.reject(page.reason, body or frame.data, line=frame.number, offset_bytes=frame.offset_bytes)
        return
    metadata: dict[str, object] = {
        "url": frame.headers.get("warc-target-uri", "").strip("<>"),
        "warc_path": builder.path,
        "warc_offset_bytes": frame.offset_bytes,
        "warc_record_id": frame.headers.get("warc-record-id", "").strip("<>"),
        "content_type": kind,
        "encoding": page.encoding,
        "title": page.title,
        "http_headers": headers,
    } | page.facts
    date = frame.headers.get("warc-date", "")
    created = parse_time(date)
    if created is None and date:
        metadata["invalid_created"] = date
    record_out = Record(None, page.text, builder.source, None, created, metadata)
    builder.add(record_out, len(page.text.encode()))


def _read_page(body: bytes, kind: str, charset: str, limits: Limits, extractor: Extractor) -> Page:
    if kind != "text/plain":
        return extract_page(body, limits, charset, extractor)
    if len(body) > limits.max_html_bytes:
        return Page("", "", "", "too_long")
    decoded = decode_text(body, [charset])
    if not decoded.reason and not decoded.text.strip():
        return Page("", "", "", "no_text")
    return Page(decoded.text, "", decoded.encoding, decoded.reason, replaced=decoded.replaced)
