"""Dumps of Wikipedia, Wikibooks and other MediaWiki sites (pages-articles.xml, plain, .bz2, .gz, .zst): a page is a document.

The text is the title, a blank line and the body, as the dolma toolkit makes its Wikipedia documents (its sources/wikipedia script);
id is the page's id, created the time of its revision.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import quote

import pyarrow as pa
from pydantic import Field

from dolma_py.config import Config
from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, iterate_members
from dolma_py.formats.fields import FieldMap, Record, parse_time
from dolma_py.formats.limits import Limits, Rejection, Skipped, make_relative
from dolma_py.formats.mediawiki_dump import Page, RawPage, Site, iterate_pages, parse_page, parse_site
from dolma_py.formats.wikitext import WikiNames, render_text

FILE_SPACES, CATEGORY_SPACES = (-2, 6), (14,)
URL_SAFE = ";@$!*(),/~:"  # what MediaWiki leaves unescaped in its own links


class WikipediaConfig(Config):
    """Which pages of a MediaWiki dump are documents, and how they are read."""

    namespaces: list[int] = Field(
        default=[0],
        description="numbers of the namespaces to read; 0 is articles (Wikibooks: 102 Cookbook, 110 Wikijunior)",
    )
    skip_redirects: bool = Field(default=True, description="pass over pages that only lead to another one")
    skip_disambiguations: bool = Field(default=True, description="pass over pages that list the meanings of a word")
    disambiguation_templates: list[str] = Field(
        default=[
            "disambiguation", "disambig", "dab", "disamb", "hndis", "geodis", "begriffsklarung", "begriffskl\u00e4rung", "homonymie",
            "desambiguaci\u00f3n", "desambigua\u00e7\u00e3o", "disambigua", "doorverwijspagina", "dp", "ujednoznacznienie", "f\u00f6rgrening",
            "\u043d\u0435\u043e\u0434\u043d\u043e\u0437\u043d\u0430\u0447\u043d\u043e\u0441\u0442\u044c",
            "\u66d6\u6627\u3055\u56de\u907f", "\u6d88\u6b67\u4e49", "\u6d88\u6b67\u7fa9",
        ],
        description="templates by which a page says that it is one, lower case; a name that goes on after a blank or - counts too",
    )  # fmt: skip
    tables: bool = Field(
        default=False, description="keep tables, a row a line with ` | ` between cells; else they are dropped"
    )
    max_page_bytes: int = Field(
        default=4 << 20,
        ge=1,
        description="bytes of one page of the dump (MediaWiki takes 2 MiB of text); longer ones are rejected",
    )


def read_documents(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
    settings: WikipediaConfig | None = None,
) -> Iterator[pa.RecordBatch | Rejection | Skipped]:
    """Batches and rejections of one dump, then how many pages were passed over and why (namespace, redirect, disambiguation,
    model: not wikitext, empty: nothing but templates and tables).

    metadata: title, url, namespace, revision_id, wiki (the dump's dbname). `line` counts pages from 1. Reasons: bad_xml, too_long and
    those of compressed streams. A stream of bzip2 that is damaged (multistream dumps have one per hundred pages) costs its own
    pages; gzip and zstd are read on after damage where another member begins. A dump that ends before `</mediawiki>` is truncated.
    """
    settings = settings or WikipediaConfig()
    builder = BatchBuilder(make_relative(path, root), source=source, added=added, limits=limits)
    reader = _PageReader(builder, settings)
    with open_stream(path) as stream:
        events = iterate_members(stream, find_codec(path), limits=limits, resync=True)
        for raw in iterate_pages(events, min(settings.max_page_bytes, limits.max_record_bytes)):
            reader.take(raw)
            if builder.is_full:
                yield from builder.drain()
    yield from builder.drain()
    for reason, count in sorted(reader.skipped.items()):
        yield Skipped(builder.path, reason, count)


class _PageReader:
    def __init__(self, builder: BatchBuilder, settings: WikipediaConfig) -> None:
        self.builder, self.settings = builder, settings
        self.site, self.names = Site(), WikiNames()
        self.namespaces = {str(number) for number in settings.namespaces}
        self.skipped: Counter[str] = Counter()
        names = "|".join(re.escape(name) for name in settings.disambiguation_templates)
        self.disambiguation = (
            re.compile(rf"\{{\{{\s{{0,9}}(?:{names})\s{{0,9}}[}}| -]", re.IGNORECASE) if names else None
        )

    def take(self, raw: RawPage) -> None:
        """Add one page, reject it or count it as passed over."""
        if not raw.number:
            self.site = parse_site(raw.data)
            self.names = _name_spaces(self.site)
            return
        page = None if raw.reason else parse_page(raw.data)
        reason = raw.reason or ("bad_xml" if page is None or not (page.title and page.page_id) else "")
        if reason or page is None:
            self.builder.reject(reason, raw.data, line=raw.number, offset_bytes=raw.offset_bytes)
            return
        why = self.find_skip(page)
        body = "" if why else render_text(page.text, self.names, table_rows=self.settings.tables)
        if why or not body:
            self.skipped[why or "empty"] += 1
            return
        text = f"{page.title}\n\n{body}"
        metadata: dict[str, object] = {
            "title": page.title,
            "namespace": int(page.namespace),
            "revision_id": page.revision_id,
            "wiki": self.site.dbname,
        }
        url = make_url(self.site.base, page.title)
        if url:
            metadata["url"] = url
        created = parse_time(page.timestamp)
        if created is None and page.timestamp:
            metadata["invalid_created"] = page.timestamp
        self.builder.add(Record(page.page_id, text, self.builder.source, None, created, metadata), len(raw.data))

    def find_skip(self, page: Page) -> str:
        """Why a page is no document; "" when it may be one."""
        settings = self.settings
        if page.namespace not in self.namespaces:
            return "namespace"
        if settings.skip_redirects and page.redirect is not None:
            return "redirect"
        if page.model not in ("", "wikitext"):
            return "model"
        is_list = "__DISAMBIG__" in page.text or (self.disambiguation and self.disambiguation.search(page.text))
        return "disambiguation" if settings.skip_disambiguations and is_list else ""


def _name_spaces(site: Site) -> WikiNames:
    own = {key: name.lower() for key, name in site.namespaces.items()}
    english = WikiNames()
    return WikiNames(
        english.files | {own[key] for key in FILE_SPACES if own.get(key)},
        english.categories | {own[key] for key in CATEGORY_SPACES if own.get(key)},
    )


def make_url(base: str, title: str) -> str:
    """A page's address from that of the main page; "" without one.

    >>> make_url("https://en.wikipedia.org/wiki/Main_Page", "AC/DC (band)")
    'https://en.wikipedia.org/wiki/AC/DC_(band)'
    """
    folder, slash, _ = base.rpartition("/wiki/")
    if not slash:
        folder, slash, _ = base.rpartition("/")
    return (
        f"{folder}{slash}{quote(title.replace(' ', '_'), safe=URL_SAFE)}"
        if base.startswith(("http://", "https://"))
        else ""
    )
