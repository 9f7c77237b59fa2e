"""Passages set into a long document: which part of it they speak of, where they may stand, and where everything lies afterwards.

A passage speaks of a section and stands behind it, at the beginning of a paragraph or at the document's end; which one is drawn by a hash. It
names its section by the section's first and last words, as many as it takes to stand in the document once. No passage stands inside such a
quote. Nothing of the document is lost: without the passages' bytes the made text is the document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dolma_py.hashing import derive_seed
from mixers.long_sections import PARAGRAPH, Breaks, Section

MAX_QUOTE_WORDS = 32
_WORD = re.compile(r"\S+")
KEY = "long_context"  # in the metadata of a made document


class Quote(NamedTuple):
    """How a section is named."""

    first: str  # its first words, one blank between them
    last: str
    first_end: int  # bytes of the document: up to here the first words go
    last_start: int


class Passage(NamedTuple):
    """What is set into a document."""

    place: int  # bytes of the document, at the beginning of a paragraph
    text: str
    details: dict[str, Any]  # for the metadata: its section and what it asks or tells


def quote_section(text: str, plain: str, section: Section, num_words: int) -> Quote | None:
    """The quotes of one section; None where it has too few words, or its first or last ones stand in the document more often.

    text: of the section. plain: the document with one blank for all white space between words. num_words: of each quote, at least.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    for number in range(num_words, min(MAX_QUOTE_WORDS, len(words) // 2) + 1):
        first = " ".join(text[start:end] for start, end in words[:number])
        last = " ".join(text[start:end] for start, end in words[-number:])
        if plain.count(first) == plain.count(last) == 1:
            first_end = section.start + len(text[: words[number - 1][1]].encode())
            return Quote(first, last, first_end, section.start + len(text[: words[-number][0]].encode()))
    return None


def find_places(breaks: Breaks, sections: Sequence[Section], quotes: Sequence[Quote | None]) -> list[int]:
    """Beginnings of paragraphs that lie in no quote, and the document's end; ascending."""
    places = breaks.places[breaks.ranks >= PARAGRAPH]
    is_free = np.ones(len(places), np.bool_)
    for section, quote in zip(sections, quotes, strict=True):
        if quote is not None:
            is_free &= ~((places > section.start) & (places < quote.first_end))
            is_free &= ~((places > quote.last_start) & (places < section.end))
    return [*places[is_free].tolist(), sections[-1].end]


def draw_place(places: Sequence[int], section: Section, key: int) -> int:
    """One of the places behind the section, each as likely."""
    behind = [place for place in places if place >= section.end]
    return behind[derive_seed(key, "place") % len(behind)]


def insert_passages(
    text: str, passages: Sequence[Passage], sections: Sequence[Section]
) -> tuple[str, list[tuple[int, int]], list[Section]]:
    """The made text; the bytes there of each passage, its blank lines included; and those of each section.

    Passages at one place stand in their order. A section holds the passages that were set inside it, not those at its borders.
    """
    data = text.encode()
    made = bytearray()
    spans = [(0, 0)] * len(passages)
    last = 0
    for number in sorted(range(len(passages)), key=lambda number: (passages[number].place, number)):
        place = passages[number].place
        made += data[last:place]
        last = place
        before = b"" if made.endswith(b"\n\n") else b"\n" if made.endswith(b"\n") else b"\n\n"
        after = b"\n" if place == len(data) else b"\n\n"
        start = len(made)
        made += before + passages[number].text.encode() + after
        spans[number] = (start, len(made))
    made += data[last:]
    sizes = [(passage.place, end - start) for passage, (start, end) in zip(passages, spans, strict=True)]
    moved = [
        section._replace(
            start=section.start + sum(size for place, size in sizes if place <= section.start),
            end=section.end + sum(size for place, size in sizes if place < section.end),
        )
        for section in sections
    ]
    return made.decode(), spans, moved


def remove_passages(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The document that insert_passages was given."""
    data = text.encode()
    edges = [0, *(edge for span in sorted(spans) for edge in span), len(data)]
    return b"".join(data[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)).decode()


def describe(recipe: str, passages: Sequence[Passage], spans: Sequence[tuple[int, int]], sections: Sequence[Section]) -> dict[str, Any]:  # fmt: skip
    """What the metadata says under KEY; places are bytes of the made text."""
    return {
        "recipe": recipe,
        "sections": [list(section) for section in sections],
        "passages": [
            {"start": start, "end": end, **passage.details}
            for passage, (start, end) in zip(passages, spans, strict=True)
        ],
    }
