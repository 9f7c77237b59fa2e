"""Pages read by a model that sees: each page's picture goes to an endpoint, the answer is its text.

olmOCR's way (arXiv 2502.18443; Olmo 3, arXiv 2512.13961, 3.4.2) with any chat model and a prompt of our own. A page may be turned and
asked again, asked again more warmly when the answer is no good, and in the end, or when the endpoint fails, left to the text of its file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dolma_py.endpoint import Answer, Endpoint, Image, Message, Request
from dolma_py.pdf_process import PdfProcess

PAGE_PROMPT = (
    "The image shows one page of a document. Write down all of its text in the order in which a person would read it. "
    "Leave out headers, footers and page numbers that repeat from page to page. Write tables as HTML tables, formulas as LaTeX between "
    "\\( and \\) or \\[ and \\], headings and lists as Markdown. Do not describe pictures and do not add anything of your own. "
    "If the page does not stand upright, answer only ROTATE 90, ROTATE 180 or ROTATE 270: the degrees by which it must be turned "
    "clockwise. If there is no text on it, answer only EMPTY."
)
PROMPT_VERSION = 1
PAGES_AT_ONCE = 16  # drawn in one go: the file is opened once for them
MAX_LOOPS = 8  # of the same words at the end of an answer: a model that has lost itself
LOOP_BYTES = 400
_ROTATE = re.compile(r"\W*ROTATE\s+(90|180|270)\W*", re.IGNORECASE)
_EMPTY = re.compile(r"\W*EMPTY\W*", re.IGNORECASE)
_FENCE = re.compile(r"\s*```[a-z]*\n(.*?)\n?```\s*", re.DOTALL | re.IGNORECASE)
_REFUSALS = ("content_filter", "refusal")


class PageReading(NamedTuple):
    """What came of one answer: text, a turn in degrees, or neither with the reason."""

    text: str | None
    turn: int = 0
    problem: str = ""


class VisionResult(NamedTuple):
    """All pages of a file; None where no answer was good."""

    texts: list[str | None]
    problems: dict[str, int]  # why answers were no good, and how often
    num_turned: int
    prompt_tokens: int
    completion_tokens: int
    failure: str = ""  # what the endpoint said of the first page that it failed on


def parse_page(answer: Answer) -> PageReading:
    """The text of an answer: a fence around all of it goes.

    Problems: the failures of the endpoint, refused_page, cut_off (the answer ends at max_tokens), looping.
    """
    if answer.failure:
        return PageReading(None, problem=answer.failure)
    if answer.finish_reason in _REFUSALS:
        return PageReading(None, problem="refused_page")
    if answer.finish_reason == "length":
        return PageReading(None, problem="cut_off")
    fenced = _FENCE.fullmatch(answer.text)
    text = (fenced[1] if fenced else answer.text).strip()
    turned = _ROTATE.fullmatch(text)
    if turned:
        return PageReading(None, turn=int(turned[1]))
    if _EMPTY.fullmatch(text):
        return PageReading("")
    if not text:
        return PageReading(None, problem="refused_page")
    if is_looping(text):
        return PageReading(None, problem="looping")
    return PageReading(text)


def is_looping(text: str) -> bool:
    """Whether the text ends in more than MAX_LOOPS repeats of one piece of up to LOOP_BYTES, each with a letter or digit in it.

    >>> is_looping("a table: " + "0.5 " * 3), is_looping("a table: " + "and so on, " * 30)
    (False, True)
    """
    tail = text[-(MAX_LOOPS + 1) * LOOP_BYTES :]
    for size in range(8, min(LOOP_BYTES, len(tail) // (MAX_LOOPS + 1)) + 1):
        piece = tail[-size:]
        if tail.endswith(piece * (MAX_LOOPS + 1)) and any(letter.isalnum() for letter in piece):
            return True
    return False


def make_page_request(png: bytes, *, max_tokens: int, attempt: int) -> Request:
    """The question for a page; each attempt is a question of its own, a little warmer than the last (as olmOCR)."""
    message = Message("user", PAGE_PROMPT, (Image(png),))
    return Request((message,), max_tokens=max_tokens, temperature=min(0.1 * attempt, 0.8), sample=attempt)


def read_pages(
    data: bytes,
    num_pages: int,
    process: PdfProcess,
    endpoint: Endpoint,
    *,
    long_side: int,
    max_tokens: int,
    page_tries: int,
) -> VisionResult:
    """Ask for every page of a PDF, at most page_tries times each; pictures are drawn as they are asked for.

    A page that cannot be drawn has no text. Raises EndpointError as Endpoint.ask does.
    """
    texts: list[str | None] = [None] * num_pages
    turns = dict.fromkeys(range(num_pages), 0)
    problems: dict[str, int] = {}
    num_turned = prompt_tokens = completion_tokens = 0
    failure = ""
    left = list(range(num_pages))
    for attempt in range(page_tries):
        asked: list[int] = []
        requests = _draw(data, left, turns, process, asked, long_side, max_tokens, attempt)
        left_next = []
        for at, answer in enumerate(endpoint.ask(requests)):
            page = asked[at]
            prompt_tokens += answer.prompt_tokens
            completion_tokens += answer.completion_tokens
            reading = parse_page(answer)
            if answer.failure:
                failure = failure or f"page {page + 1}: {answer.failure} ({answer.detail})"
            texts[page] = reading.text
            if reading.text is None:
                if not answer.failure:  # the endpoint has tried what it could
                    left_next.append(page)
                if reading.turn:
                    num_turned += turns[page] == 0
                    turns[page] = (turns[page] + reading.turn) % 360
                else:
                    problems[reading.problem] = problems.get(reading.problem, 0) + 1
        missing = set(left) - set(asked)
        if missing:
            problems["not_drawn"] = problems.get("not_drawn", 0) + len(missing)
        left = left_next
        if not left:
            break
    return VisionResult(texts, problems, num_turned, prompt_tokens, completion_tokens, failure)


def _draw(
    data: bytes,
    pages: list[int],
    turns: dict[int, int],
    process: PdfProcess,
    asked: list[int],
    long_side: int,
    max_tokens: int,
    attempt: int,
) -> Iterator[Request]:
    """Requests for those pages; their numbers go into `asked` in the same order."""
    at = 0
    while at < len(pages):
        first = pages[at]
        last = at + 1
        while last < len(pages) and pages[last] == pages[last - 1] + 1 and turns[pages[last]] == turns[first]:
            last += 1
        last = min(last, at + PAGES_AT_ONCE)
        drawn = process.render(data, first, pages[last - 1] + 1, long_side=long_side, turn=turns[first])
        for page in drawn.pages:
            if page.png:
                asked.append(page.number)
                yield make_page_request(page.png, max_tokens=max_tokens, attempt=attempt)
        at = last
