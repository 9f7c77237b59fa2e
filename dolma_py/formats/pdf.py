"""PDF files, one document each: the text that the file has, or what a model reads from its pages' pictures.

Nothing of a PDF is parsed in this process: dolma_py.pdf_process does it in another that may hang, crash or fill its memory. The SHA-1 of
the file is the document's id, as in Olmo 3's funnel; so copies of a file have one id, and `dedup exact` leaves one of them.
"""

from __future__ import annotations

import atexit
import datetime as dt
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal, NamedTuple

import pyarrow as pa
from pydantic import Field, model_validator

from dolma_py import config
from dolma_py.config import Config
from dolma_py.endpoint import Endpoint, EndpointConfig
from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, read_whole
from dolma_py.formats.fields import FieldMap, Record
from dolma_py.formats.limits import Limits, Rejection, make_relative
from dolma_py.pdf_pages import SizedPage, drop_margins, join_lines, join_pages
from dolma_py.pdf_process import Page, Parsed, PdfLimits, PdfProcess, share_process
from dolma_py.pdf_vision import PROMPT_VERSION, VisionResult, read_pages

VERSION = 1  # of how text is made of a file's glyphs; recorded text guards it (tests/golden/make_pdf_outputs.py)
MARK_BYTES = 1024  # at the beginning of a file, among which %PDF- stands


class PdfConfig(Config):
    """How PDFs are read and what one may cost."""

    route: Literal["text", "vision"] = Field(
        default="text",
        description="text: what the file has as text; vision: what a model reads from pictures of the pages",
    )
    tables: bool = Field(default=True, description="route text: tables, found by their columns, as HTML")
    drop_margins: bool = Field(
        default=True, description="route text: without headers, footers, page numbers and stamps"
    )
    max_seconds: float = Field(
        default=120.0, gt=0, description="for parsing one file; a longer one is rejected (our choice)"
    )
    max_memory_bytes: int = Field(
        default=1 << 30, ge=256 << 20, description="address space of the process that parses (our choice)"
    )
    max_pages: int = Field(default=10_000, ge=1, description="a file with more pages is rejected (our choice)")
    max_failed_frac: float = Field(
        default=0.004, ge=0, le=1,
        description="share of pages that may be unreadable (route text) or read from the file's own text after the model failed "
        "(route vision); 1 in 250 as olmOCR",
    )  # fmt: skip
    endpoint: EndpointConfig | None = Field(default=None, description="route vision: the model that reads")
    long_side_pixels: int = Field(
        default=1288, ge=64, le=8192, description="longer side of a page's picture (1288 as olmOCR)"
    )
    max_answer_tokens: int = Field(default=8192, ge=1, description="of the text of one page")
    files_at_once: int = Field(
        default=8,
        ge=1,
        le=256,
        description="route vision: files that a task reads at the same time, so that short ones do not wait",
    )
    page_tries: int = Field(default=4, ge=1, description="questions for one page until its answer is good")

    @model_validator(mode="after")
    def _check_endpoint(self) -> PdfConfig:
        if (self.route == "vision") != (self.endpoint is not None):
            raise ValueError("route vision and endpoint go together")
        return self

    @property
    def limits(self) -> PdfLimits:
        """As the process that parses wants them."""
        return PdfLimits(self.max_seconds, self.max_memory_bytes, self.max_pages)

    def place(self, corpus: str) -> PdfConfig:
        """The settings with the corpus' folder in the path of kept answers."""
        if self.endpoint is None:
            return self
        cache = self.endpoint.cache.replace("{corpus}", corpus)
        return self.model_copy(update={"endpoint": self.endpoint.model_copy(update={"cache": cache})})


class PdfText(NamedTuple):
    """A file's text and what is known of it; or the reason why it has none."""

    text: str
    facts: dict[str, Any]
    reason: str = ""
    said: str = ""  # of that reason, where the file itself does not show it


def extract_pdf(data: bytes, pdf: PdfConfig, process: PdfProcess, endpoint: Endpoint | None = None) -> PdfText:
    """The text of a PDF by the route of the settings; for vision with an open endpoint.

    Facts: pdf_version, pdf_route, pdf_pages, pdf_page_numbers ([start, end, page from 1] in characters), pdf_failed_pages (without text),
    pdf_cut_pages (of which the text ends after 200,000 characters; absent where there are none), and for vision pdf_fallback_pages,
    pdf_turned_pages, pdf_problems, pdf_model, pdf_prompt, prompt_tokens, completion_tokens.
    Reasons: bad_pdf, encrypted, no_pages, too_many_pages, too_long, too_much_memory, pdf_timeout, pdf_crash, truncated (the end is
    missing and nothing could be read), failed_pages, too_many_fallbacks, no_text. Raises EndpointError.
    """
    if b"%PDF-" not in data[:MARK_BYTES]:
        return PdfText("", {}, "bad_pdf")
    if pdf.route == "vision" and endpoint is not None:
        return _read_by_vision(data, pdf, process, endpoint)
    parsed = process.read_text(data, tables=pdf.tables)
    if parsed.reason:
        return PdfText("", {}, _explain(parsed.reason, data))
    texts = _page_texts(parsed, pdf)
    num_failed = texts.count(None)
    if num_failed > pdf.max_failed_frac * parsed.num_pages:
        return PdfText("", {}, "failed_pages")
    return _finish(texts, {"pdf_route": "text", "pdf_failed_pages": num_failed} | _count_cut(parsed.pages))


def _count_cut(pages: list[Page]) -> dict[str, int]:
    """pdf_cut_pages, where there are any."""
    num_cut = sum(page.is_cut for page in pages)
    return {"pdf_cut_pages": num_cut} if num_cut else {}


def _explain(reason: str, data: bytes) -> str:
    return "truncated" if reason == "bad_pdf" and b"%%EOF" not in data[-4096:] else reason


def _page_texts(parsed: Parsed, pdf: PdfConfig) -> list[str | None]:
    pages = [SizedPage(page.lines or [], *page.size) for page in parsed.pages]
    if pdf.drop_margins:
        pages = drop_margins(pages)
    return [None if old.lines is None else join_lines(new) for old, new in zip(parsed.pages, pages, strict=True)]


def _finish(texts: list[str | None], facts: dict[str, Any]) -> PdfText:
    text, numbers = join_pages([part or "" for part in texts])
    facts = {"pdf_version": VERSION, "pdf_pages": len(texts), "pdf_page_numbers": numbers} | facts
    return PdfText(text, facts, "" if text.strip() else "no_text")


def _read_by_vision(data: bytes, pdf: PdfConfig, process: PdfProcess, endpoint: Endpoint) -> PdfText:
    counted = process.count_pages(data)
    if counted.reason:
        return PdfText("", {}, _explain(counted.reason, data))
    result = read_pages(
        data, counted.num_pages, process, endpoint,
        long_side=pdf.long_side_pixels, max_tokens=pdf.max_answer_tokens, page_tries=pdf.page_tries,
    )  # fmt: skip
    texts = list(result.texts)
    num_fallbacks = texts.count(None)
    cut: dict[str, int] = {}
    if num_fallbacks > pdf.max_failed_frac * counted.num_pages:
        return PdfText("", {}, "too_many_fallbacks", _tell_fallbacks(result, num_fallbacks))
    if num_fallbacks:
        parsed = process.read_text(data, tables=pdf.tables)
        cut = _count_cut([page for page, text in zip(parsed.pages, texts, strict=False) if text is None])
        own = _page_texts(parsed, pdf) or [None] * len(texts)
        texts = [mine if text is None else text for text, mine in zip(texts, own, strict=True)]
    facts = {
        "pdf_route": "vision", "pdf_failed_pages": texts.count(None), "pdf_fallback_pages": num_fallbacks,
        "pdf_turned_pages": result.num_turned, "pdf_problems": dict(sorted(result.problems.items())),
        "pdf_model": endpoint.settings.model, "pdf_prompt": PROMPT_VERSION,
        "prompt_tokens": result.prompt_tokens, "completion_tokens": result.completion_tokens, **cut,
    }  # fmt: skip
    return _finish(texts, facts)


def _tell_fallbacks(result: VisionResult, num_fallbacks: int) -> str:
    """Why pages had no good answer: kept in place of the file's first bytes, which say nothing of it."""
    counts = ", ".join(f"{name} {number}" for name, number in sorted(result.problems.items()))
    first = f"; {result.failure}" if result.failure else ""
    return f"no good answer for {num_fallbacks} of {len(result.texts)} pages: {counts}{first}"


_OPENING = threading.Lock()
_ENDPOINTS: dict[tuple[int, str], Endpoint] = {}


def share_endpoint(settings: EndpointConfig) -> Endpoint:
    """One endpoint of this process for those settings, open until the end: a task reads many files."""
    place = (os.getpid(), config.fingerprint(config.dump_config(settings)))
    with _OPENING:
        if place not in _ENDPOINTS:
            _ENDPOINTS[place] = Endpoint(settings)
            atexit.register(_ENDPOINTS[place].close)
        return _ENDPOINTS[place]


def read_documents(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
    settings: PdfConfig = PdfConfig(),
) -> Iterator[pa.RecordBatch | Rejection]:
    """One batch of one document, or one rejection. Metadata gets `path`, `sha1` and the facts of extract_pdf."""
    name = make_relative(path, root)
    builder = BatchBuilder(name, source=source, added=added, limits=limits)
    with open_stream(path) as stream:
        data, reason = read_whole(stream, find_codec(path), limits=limits)
    found = PdfText("", {}, reason)
    if not reason:
        endpoint = None if settings.endpoint is None else share_endpoint(settings.endpoint)
        found = extract_pdf(data, settings, share_process(settings.limits), endpoint)
    if found.reason:
        builder.reject(found.reason, found.said.encode() or data, line=1, offset_bytes=0)
    else:
        digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        metadata = {"path": name, "sha1": digest} | found.facts
        builder.add(Record(digest, found.text, source, None, None, metadata), len(found.text.encode()))
    yield from builder.drain()
