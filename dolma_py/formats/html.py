"""HTML pages to the text of their main part."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import pyarrow as pa
from resiliparse.parse.html import HTMLTree

from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, read_whole
from dolma_py.formats.fields import FieldMap, Record
from dolma_py.formats.html_extractors import Extractor, HtmlConfig, extract_main_text
from dolma_py.formats.html_shape import MAX_TRAFILATURA_ELEMENTS, count_elements, find_hazard
from dolma_py.formats.limits import Limits, Rejection, make_relative
from dolma_py.formats.text_encoding import Decoded, decode_text

# the page's own word for its encoding, in a meta element or an XML declaration (HTML standard, 13.2.3.2: in its first 1,024 bytes)
DECLARED = re.compile(
    rb"<(?:meta|\?xml)\b[^>]{0,500}?\b(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE
)
DECLARED_BYTES = 4096  # pages put other elements before it


class Page(NamedTuple):
    """What a page says; or the reason why it says nothing."""

    text: str
    title: str
    encoding: str
    reason: str = ""
    extractor: str = ""  # that found the text, where another than resiliparse was asked for
    replaced: int = 0  # characters of the page that could not be read

    @property
    def facts(self) -> dict[str, str | int]:
        """For metadata: a page may be too large for the extractor that was asked for."""
        found: dict[str, str | int] = {"extractor": self.extractor} if self.extractor else {}
        return found | ({"replaced_chars": self.replaced} if self.replaced else {})


def extract_page(data: bytes, limits: Limits, encoding: str = "", extractor: Extractor = "resiliparse") -> Page:
    """Main text and title of an HTML page given as bytes; `encoding` is what the server said, "" to look for it.

    A page of more elements than trafilatura takes in seconds is left to resiliparse. Links, alternative texts and form fields
    stay out. Reasons: too_long, too_deep, too_many_attributes, too_many_elements, binary, bad_encoding, no_text.
    """
    if len(data) > limits.max_html_bytes:
        return Page("", "", "", "too_long")
    decoded = decode_page(data, encoding)
    if decoded.reason:
        return Page("", "", decoded.encoding, decoded.reason)
    if decoded.encoding != "utf-8":
        data = decoded.text.encode()  # tags do not look like tags in UTF-16
    hazard = find_hazard(data, limits.max_html_depth)
    if hazard:
        return Page("", "", "", hazard)
    tree = HTMLTree.parse(decoded.text)
    is_large = extractor != "resiliparse" and count_elements(data) > MAX_TRAFILATURA_ELEMENTS
    used: Extractor = "resiliparse" if is_large else extractor
    text = extract_main_text(tree, decoded.text, used)
    if not text.strip():
        return Page("", "", decoded.encoding, "no_text")
    title = " ".join((tree.title or "").split())
    return Page(text, title, decoded.encoding, "", "" if extractor == "resiliparse" else used, decoded.replaced)


def decode_page(data: bytes, declared: str = "") -> Decoded:
    """A page's text: as decode_text finds it, which asks what the server `declared` and then what the page says of itself."""
    own = DECLARED.search(data[:DECLARED_BYTES])
    names = [declared] if declared else []
    return decode_text(data, names + ([own.group(1).decode("ascii")] if own else []))


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
    shorter = limits.model_copy(update={"max_record_bytes": min(limits.max_record_bytes, limits.max_html_bytes)})
    with open_stream(path) as stream:
        data, reason = read_whole(stream, find_codec(path), limits=shorter)
    page = Page("", "", "", reason) if reason else extract_page(data, limits, extractor=settings.extractor)
    if page.reason:
        builder.reject(page.reason, data, line=1, offset_bytes=0)
    else:
        metadata = {"path": name, "title": page.title, "encoding": page.encoding} | page.facts
        builder.add(Record(None, page.text, source, None, None, metadata), len(page.text.encode()))
    yield from builder.drain()
