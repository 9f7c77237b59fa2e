"""Which text of an HTML page is its main part: resiliparse, as Olmo 3 took it; trafilatura, as FineWeb did; or what both agree on.

    resiliparse             main_content of Bevendorff et al. 2018; the fastest by far (arXiv 2512.13961, 3.4.1 has it)
    trafilatura             Barbaresi 2021, its defaults without comments of readers
    trafilatura-precision   less of what stands around the text (FineWeb: favour_precision)
    trafilatura-recall      more of the text
    combined                lines of the first of these two that resiliparse has too; of the second, where the first lost most of the page;
                            resiliparse's own text, where both lost most of it

benchmarks/html_extraction.py measures all of them against two labelled sets; the table stands in docs/extraction.md.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from typing import Any, Literal, get_args

from pydantic import Field
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from dolma_py.config import Config

Extractor = Literal["resiliparse", "trafilatura", "trafilatura-precision", "trafilatura-recall", "combined"]
EXTRACTORS: tuple[Extractor, ...] = get_args(Extractor)
AGREED_FRAC = 0.5  # of a line's word 3-grams that the other extractor must have
BULLET = "- "  # before an item of a list, as trafilatura writes it
LOST_FRAC = 0.5  # of the more complete text that the more precise one must have


class HtmlConfig(Config):
    """How HTML pages are read, those of WARC archives too."""

    extractor: Extractor = Field(
        default="resiliparse", description="who finds the main text: quality and speed of each in docs/extraction.md"
    )


_WORD = re.compile(r"\w+")


def extract_main_text(tree: HTMLTree, page: str, extractor: Extractor) -> str:
    """The main text of a page, given parsed and as the text it was parsed from; "" where there is none.

    Links, alternative texts and form fields stay out.
    """
    if extractor == "resiliparse":
        return _resiliparse(tree)
    if extractor == "combined":
        return combine_texts(_trafilatura(page, "precision"), _trafilatura(page, "recall"), _resiliparse(tree))
    return _trafilatura(page, extractor.removeprefix("trafilatura").removeprefix("-"))


def combine_texts(precise: str, complete: str, other: str) -> str:
    """Lines of `precise` of which `other` has AGREED_FRAC, and lists among them; of `complete` where less than LOST_FRAC of its agreed
    lines is left.

    The two extractors work by different means, so what both take for the main text rarely is something else. A page of which
    nothing is agreed on is what the first of the three that is not empty says. What neither `precise` nor `complete` has stays lost.

    >>> combine_texts("the text of it\\nRead more here", "the text of it\\nRead more here", "Menu\\nThe text of it")
    'the text of it'
    """
    words = _words(other)
    seen = {length: set(_ngrams(words, length)) for length in (1, 2, 3)}
    precise_agreed, complete_agreed = (_keep_agreed(text, seen) for text in (precise, complete))
    agreed = precise_agreed if len(precise_agreed) >= LOST_FRAC * len(complete_agreed) else complete_agreed
    return next((text for text in (agreed, precise, complete, other) if text.strip()), "")


def _keep_agreed(text: str, seen: dict[int, set[tuple[str, ...]]]) -> str:
    """The lines that are agreed on, blank ones, and whole lists behind an agreed line and not in front of one that is not: what is missing
    of a bulleted list says nothing, for resiliparse leaves all of them out.
    """
    lines = text.split("\n")
    agreed = [_is_agreed(_words(line), seen) for line in lines]
    kept = [is_agreed is not False for is_agreed in agreed]
    before: bool | None = False  # whether the last line with words that is of no list is agreed on
    start = 0
    while start < len(lines):
        end = start + 1
        if not lines[start].lstrip().startswith(BULLET):
            before = before if agreed[start] is None else agreed[start]
        else:
            while end < len(lines) and (lines[end].lstrip().startswith(BULLET) or agreed[end] is None):
                end += 1
            behind = agreed[end] if end < len(lines) else True
            if before and behind:
                kept[start:end] = [True] * (end - start)
        start = end
    return "\n".join(line for line, is_kept in zip(lines, kept, strict=True) if is_kept).strip("\n")


def _is_agreed(words: list[str], seen: dict[int, set[tuple[str, ...]]]) -> bool | None:
    """Whether a line has AGREED_FRAC of its n-grams in the other text; None for a line without words."""
    if not words:
        return None
    ngrams = _ngrams(words, min(3, len(words)))
    return sum(ngram in seen[len(ngram)] for ngram in ngrams) >= AGREED_FRAC * len(ngrams)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ngrams(words: list[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def _resiliparse(tree: HTMLTree) -> str:
    text: str = extract_plain_text(
        tree, main_content=True, alt_texts=False, links=False, form_fields=False, noscript=False, list_bullets=True
    )
    return text


def _trafilatura(page: str, favours: str) -> str:
    options = {f"favor_{favours}": True} if favours else {}
    # no metadata: the dates that it looks for depend on today
    return _load_trafilatura()(page, include_comments=False, with_metadata=False, deduplicate=False, **options) or ""


@functools.cache
def _load_trafilatura() -> Callable[..., Any]:
    """trafilatura.extract: half a second to import, and it logs every page that it finds nothing in."""
    from trafilatura import extract

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    return extract  # type: ignore[no-any-return]
