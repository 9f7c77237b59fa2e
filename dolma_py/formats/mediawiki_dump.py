"""The pages of a MediaWiki XML dump, one at a time out of a stream of plain bytes, when the dump is torn, damaged or hostile.

A page is the bytes from `<page>` to `</page>`: inside text the signs < and > are always escaped. Each page is parsed by itself, so
that one that is no XML costs itself alone, no document type (hence no entity) can be declared in it, and memory is bounded by one page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.parsers import expat

from dolma_py.formats.decompress import Break
from dolma_py.formats.limits import EXCERPT_BYTES

MARK = re.compile(rb"<(/?)page>")
CLOSE = b"</mediawiki>"
MAX_HEADER_BYTES = 1 << 20  # <siteinfo> with its namespaces: some 5 KiB
MAX_DEPTH = 8  # a contributor's name stands at depth 4


class RawPage(NamedTuple):
    """One page as bytes, or with a `reason` what was seen of a bad one; the first one of a stream may be its header."""

    number: int  # 1-based, bad ones included; 0 for the header
    offset_bytes: int  # of `<page>` in the plain stream
    data: bytes
    reason: str = ""


class Page(NamedTuple):
    """What a page says of itself and its last revision."""

    title: str = ""
    namespace: str = ""
    page_id: str = ""
    revision_id: str = ""
    timestamp: str = ""
    model: str = ""
    text: str = ""
    redirect: str | None = None


class Site(NamedTuple):
    """What the dump says of its wiki."""

    dbname: str = ""
    base: str = ""  # URL of the main page
    namespaces: dict[int, str] = {}  # key -> name in the wiki's language


def iterate_pages(events: Iterator[bytes | Break], max_page_bytes: int) -> Iterator[RawPage]:
    """The header, then the pages of a dump; a damaged stretch, a page that is too long and an end that is torn are one bad page each."""
    cutter = _PageCutter(max_page_bytes)
    for event in events:
        if not isinstance(event, Break):
            yield from cutter.cut(event)
        elif event.reason:
            yield cutter.break_off(event.reason)
    if not cutter.is_closed:
        yield from cutter.end()


class _PageCutter:
    def __init__(self, max_page_bytes: int) -> None:
        self.max_page_bytes = max_page_bytes
        self.buffer = bytearray()
        self.offset_bytes = 0  # of buffer[0] in the plain stream
        self.searched = 0  # bytes of the buffer in which the end is not
        self.number = 0
        self.is_inside = False  # buffer[0] is the start of a page
        self.is_skipping = False  # of a page that is too long
        self.is_closed = False  # the dump has said its last word
        self.is_broken = False  # and was told so
        self.has_header = False

    def cut(self, piece: bytes) -> Iterator[RawPage]:
        self.buffer += piece
        while found := MARK.search(self.buffer, max(self.is_inside, self.searched - len(CLOSE))):
            start, end, is_end = found.start(), found.end(), bool(found[1])
            del found  # it holds the buffer
            if self.is_inside:
                cut = end if is_end else start  # a page inside a page: the first one has lost its end
                if not self.is_skipping:
                    reason = "too_long" if cut > self.max_page_bytes else "" if is_end else "bad_xml"
                    yield self._make(bytes(self.buffer[:cut]), reason)
                self._drop(cut)
                self.is_inside = self.is_skipping = False
            elif is_end:
                self._drop(end)
            if not is_end:
                yield from self._take_header(start if not self.has_header else 0)
                self._drop(self.buffer.find(b"<page>"))
                self.is_inside, self.is_broken, self.is_closed = True, False, False
                self.number += 1
        self.searched = len(self.buffer)
        if self.is_inside:
            if len(self.buffer) > self.max_page_bytes + len(CLOSE) and not self.is_skipping:
                yield self._make(bytes(self.buffer[: self.max_page_bytes]), "too_long")
                self.is_skipping = True
            if self.is_skipping:
                self._drop(max(1, len(self.buffer) - len(CLOSE)))
        elif self.has_header or len(self.buffer) > MAX_HEADER_BYTES:
            self._see_close()
            self._drop(max(0, len(self.buffer) - len(CLOSE)))

    def _take_header(self, end: int) -> Iterator[RawPage]:
        if not self.has_header:
            self.has_header = True
            yield RawPage(0, self.offset_bytes, bytes(self.buffer[:end]))

    def _see_close(self) -> None:
        if CLOSE in self.buffer:
            self.is_closed = True

    def break_off(self, reason: str) -> RawPage:
        """The stream is damaged here: what was held of a page is lost with it."""
        if not self.is_inside:
            self._see_close()
            self.number += 1
        bad = self._make(bytes(self.buffer[:EXCERPT_BYTES]) if self.is_inside else b"", reason)
        self._drop(len(self.buffer))
        self.is_inside = self.is_skipping = False
        self.is_broken = True
        return bad

    def end(self) -> Iterator[RawPage]:
        """Nothing comes any more."""
        if not self.is_inside:
            self._see_close()
        if self.is_inside or not (self.is_closed or self.is_broken):
            yield self.break_off("truncated")

    def _make(self, data: bytes, reason: str) -> RawPage:
        # the excerpt is no longer than what is certainly there, however the stream was read
        return RawPage(
            self.number, self.offset_bytes, data[: min(EXCERPT_BYTES, self.max_page_bytes)] if reason else data, reason
        )

    def _drop(self, num_bytes: int) -> None:
        del self.buffer[:num_bytes]
        self.offset_bytes += num_bytes
        self.searched = 0


FIELDS = {
    "page/title": "title",
    "page/ns": "namespace",
    "page/id": "page_id",
    "page/revision/id": "revision_id",
    "page/revision/timestamp": "timestamp",
    "page/revision/model": "model",
    "page/revision/text": "text",
}


def parse_page(data: bytes) -> Page | None:
    """A page's fields, of its last revision; None when it is no well-formed XML in UTF-8, or is nested deeper than a page is."""
    values: dict[str, list[str]] = {}
    path: list[str] = []
    redirect: str | None = None
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal redirect
        path.append(name)
        if len(path) > MAX_DEPTH:
            raise _TooDeepError
        joined = "/".join(path)
        if joined in FIELDS:
            values[FIELDS[joined]] = []  # a later revision takes the place of an earlier one
        elif joined == "page/redirect":
            redirect = attributes.get("title", "")

    def end(name: str) -> None:
        path.pop()

    def characters(text: str) -> None:
        field = FIELDS.get("/".join(path))
        if field is not None:
            values[field].append(text)

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, _TooDeepError):
        return None
    return Page(**{name: "".join(parts) for name, parts in values.items()}, redirect=redirect)


class _TooDeepError(Exception):
    pass


SITE_FIELD = re.compile(rb"<(dbname|base)>([^<]{0,2000})</\1>")
NAMESPACE = re.compile(rb'<namespace key="(-?\d{1,6})"[^<>]{0,200}>([^<]{0,200})</namespace>')


def parse_site(header: bytes) -> Site:
    """What stands in <siteinfo>; whatever is missing stays empty. Nothing is resolved, so no declared entity means anything."""
    fields = {name.decode(): value.decode("utf-8", "replace").strip() for name, value in SITE_FIELD.findall(header)}
    names = {int(key): name.decode("utf-8", "replace") for key, name in NAMESPACE.findall(header)}
    return Site(fields.get("dbname", ""), fields.get("base", ""), names)
