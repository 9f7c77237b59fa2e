"""HTML pages to the text of their main part."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import pyarrow as pa
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, read_whole
from dolma_py.formats.fields import FieldMap, Record
from dolma_py.formats.html_extractors import Extractor, HtmlConfig, extract_main_text
from dolma_py.formats.html_shape import MAX_TRAFILATURA_ELEMENTS, count_elements, find_hazard
from dolma_py.formats.limits import Limits, Rejection, make_relative


class Page(NamedTuple):
    """What a page says; or the reason why it says nothing."""

    text: str
    title: str
    encoding: str
    reason: str = ""
    extractor: str = ""  # that found the text, where another than resiliparse was asked for


def extract_page(data: bytes, limits: Limits, encoding: str = "", extractor: Extractor = "resiliparse") -> Page:
    """Main text and title of an HTML page given as bytes; `encoding` is what the server said, "" to look for it.

    A page of more elements than trafilatura takes in seconds is left to resiliparse. Links, alternative texts and form fields
    stay out. Reasons: too_long, too_deep, too_many_attributes, binary, no_text.
    """
    if len(data) > limits.max_html_bytes:
        return Page("", "", "", "too_long")
    hazard = find_hazard(data, limits.max_html_depth)
    if hazard:
        return Page("", "", "", hazard)
    decoded, encoding = decode_page(data, encoding)
    if "\0" in decoded:
        return Page("", "", encoding, "binary")
    tree = HTMLTree.parse(decoded)
    is_large = extractor != "resiliparse" and count_elements(data) > MAX_TRAFILATURA_ELEMENTS
    used: Extractor = "resiliparse" if is_large else extractor
    text = extract_main_text(tree, decoded, used)
    if not text.strip():
        return Page("", "", encoding, "no_text")
    return Page(
        text, " ".join((tree.title or "").split()), encoding, extractor="" if extractor == "resiliparse" else used
    )


def name_extractor(page: Page) -> dict[str, str]:
    """For metadata: a page may be too large for the one that was asked for."""
    return {"extractor": page.extractor} if page.extractor else {}


def decode_page(data: bytes, declared: str = "") -> tuple[str, str]:
    """(text, encoding): UTF-8 when the bytes are UTF-8 with more than ASCII, whatever they claim; else what the server declared,
    else the page's meta tag, else a guess from the bytes. Bytes that do not fit become replacement characters.
    """
    if not data.isascii():
        try:
            return data.decode("utf-8-sig"), "utf-8"
        except UnicodeDecodeError:
            pass
    encoding = declared or detect_encoding(data, from_html_meta=True) or "utf-8"
    try:
        return bytes_to_str(data, encoding), encoding
    except LookupError:  # a made-up charset
        encoding = detect_encoding(data) or "utf-8"
        return bytes_to_str(data, encoding), encoding


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
    """One batch of one document, or one rejection. Metadata gets `path`, `title` and `encoding`."""
    name = make_relative(path, root)
    builder = BatchBuilder(name, source=source, added=added, limits=limits)
    with open_stream(path) as stream:
        data, reason = read_whole(stream, find_codec(path), limits=limits)
    page = Page("", "", "", reason) if reason else extract_page(data, limits, extractor=settings.extractor)
    if page.reason:
        builder.reject(page.reason, data, line=1, offset_bytes=0)
    else:
        metadata = {"path": name, "title": page.title, "encoding": page.encoding} | name_extractor(page)
        builder.add(Record(None, page.text, source, None, None, metadata), len(page.text.encode()))
    yield from builder.drain()
