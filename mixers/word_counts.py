"""CWE: questions about how often a section's common words stand in it, with answers that are counted.

Olmo 3 report 3.6.2: of a section five common noun phrases of one word, and for each the exact number of times it stands there. Sections are
taken in order, and a passage stands behind its section, so a section's words are counted in the text that a reader has before the question,
passages of earlier sections that stand inside it included.

A word is a longest run of letters, digits, underscores and combining marks (Unicode; what Python's str.isalnum says, and categories M*); so
hyphens and apostrophes end it, and "abbey's" holds the word "abbey". Spelling counts: "Abbey" is another word.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dolma_py.config import Config
from dolma_py.errors import DataError
from dolma_py.hashing import check_ranges, derive_seed
from mixers.long_sections import Breaks, Section
from mixers.passages import Passage, describe, draw_place, find_places, insert_passages, quote_section
from mixers.word_counts_kernels import count_whole_words_kernel

RULE = "Words count as they are spelled here, capitals told apart from small letters; a hyphen or an apostrophe ends a word."
OPENINGS = (
    'Questions on the part of the text above that begins with "{first}" and ends with "{last}". ' + RULE,
    'Look back at the part that goes from "{first}" to "{last}". ' + RULE,
    'A few counts over one part of this text: its first words are "{first}", its last words are "{last}". ' + RULE,
    'This is about the part between "{first}" and "{last}", these words included. ' + RULE,
)
QUESTIONS = (
    'How many times does the word "{word}" stand in that part?',
    'How often is the word "{word}" used there?',
    'Count the word "{word}" from the first to the last words named. What is the number?',
    'In that part, what is the number of times that "{word}" stands as a word of its own?',
)
_QUOTES = re.compile(r'\A[^"]*"(?P<first>.*)"(?: and ends with | to |, its last words are | and )"(?P<last>.*)"[.,]')
_ASKED = re.compile(r'^Question: [^"\n]*"(?P<word>[^"\n]+)"[^"\n]*\nAnswer: (?P<said>[0-9]+)$', re.M)


class WordCountConfig(Config):
    """Which words are asked for."""

    num_words: int = Field(default=5, ge=1, le=100, description="of each section, the most frequent nouns")
    min_count: int = Field(default=3, ge=1, description="times that a word stands in its section at least")
    quote_words: int = Field(
        default=8,
        ge=2,
        le=32,
        description="words by which each end of a section is named, more where they are not unique",
    )


class Recount(NamedTuple):
    """A question of a made document and what its own text says."""

    word: str
    said: int
    counted: int


@functools.cache
def list_word_characters() -> npt.NDArray[np.uint8]:
    """1 for each code point that belongs to a word, uint8 (0x110000,)."""
    characters = map(chr, range(0x110000))
    return np.fromiter(map(is_word_character, characters), np.uint8, 0x110000)


def is_word_character(character: str) -> bool:
    """Letters, digits, the underscore, combining marks."""
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"


def count_whole_words(
    data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], words: Sequence[Sequence[bytes]]
) -> list[list[int]]:  # fmt: skip
    """How often the words of each of K stretches stand in it.

    data : uint8 (B,), any bytes; starts, ends : int64 (K,); words : of each stretch, UTF-8. Raises SchemaError for a range outside the data.
    """
    check_ranges(len(data), starts, ends)
    flat = [word for asked in words for word in asked]
    offsets = np.cumsum([0, *map(len, flat)]).astype(np.int64)
    first_words = np.cumsum([0, *map(len, words)]).astype(np.int64)
    counts = np.empty(len(flat), np.int64)
    joined = np.frombuffer(b"".join(flat), np.uint8)
    count_whole_words_kernel(data, starts, ends, list_word_characters(), joined, offsets, first_words, counts)
    return [counts[first:stop].tolist() for first, stop in zip(first_words[:-1], first_words[1:], strict=True)]


def count_in(text: str, words: Sequence[str]) -> list[int]:
    """How often each word stands in the text."""
    data = np.frombuffer(text.encode(), np.uint8)
    edges = np.zeros(1, np.int64), np.array([len(data)], np.int64)
    return count_whole_words(data, *edges, [[word.encode() for word in words]])[0]


def choose_words(text: str, counts: Counter[str], config: WordCountConfig) -> list[tuple[str, int]]:
    """The most frequent noun phrases of one word and how often they stand in the text, num_words of them or none.

    counts: how often the tagger found each phrase. Frequent by that count, equals by their letters; asked for when whole words are enough.
    """
    single = sorted((phrase for phrase in counts if " " not in phrase), key=lambda phrase: (-counts[phrase], phrase))
    candidates = single[: 4 * config.num_words]
    found = [pair for pair in zip(candidates, count_in(text, candidates), strict=True) if pair[1] >= config.min_count]
    return found[: config.num_words] if len(found) >= config.num_words else []


def write_questions(first: str, last: str, counted: Sequence[tuple[str, int]], key: int) -> str | None:
    """The passage: what it is about, then a line with each question and one with its answer.

    None where the quotes hold quotation marks by which no opening could be told from what it quotes.
    """
    start = derive_seed(key, "opening")
    for step in range(len(OPENINGS)):
        opening = OPENINGS[(start + step) % len(OPENINGS)].format(first=first, last=last)
        read = _QUOTES.match(opening)
        if read is not None and (read["first"], read["last"]) == (first, last):
            break
    else:
        return None
    lines = [opening]
    for word, count in counted:
        question = QUESTIONS[derive_seed(key, "question", word) % len(QUESTIONS)].format(word=word)
        lines += [f"Question: {question}", f"Answer: {count}"]
    return "\n".join(lines)


def make_document(
    text: str, sections: Sequence[Section], breaks: Breaks, counts: Sequence[Counter[str]], config: WordCountConfig, *, key: int
) -> tuple[str, dict[str, Any]] | str:  # fmt: skip
    """The document with a passage of questions for each section, and what its metadata says; or `no_words`.

    counts: noun phrases of each section. A section has no passage where it has too few words or no quote of its own.
    """
    data = text.encode()
    parts = [data[section.start : section.end].decode() for section in sections]
    plain = " ".join(text.split())
    quotes = [
        quote_section(part, plain, section, config.quote_words) for part, section in zip(parts, sections, strict=True)
    ]
    places = find_places(breaks, sections, quotes)
    passages: list[Passage] = []
    for number, (section, quote) in enumerate(zip(sections, quotes, strict=True)):
        inside = [passage.text for passage in passages if section.start < passage.place < section.end]
        # a passage begins a paragraph: blank lines keep its words apart from the section's
        words = choose_words("\n\n".join([parts[number], *inside]), counts[number], config)
        if quote is None or not words:
            continue
        own = derive_seed(key, "cwe", number)
        passage = write_questions(quote.first, quote.last, words, own)
        if passage is None:
            continue
        details = {"section": number, "words": [word for word, _ in words]}
        passages.append(Passage(draw_place(places, section, own), passage, details))
    if not passages:
        return "no_words"
    made, spans, moved = insert_passages(text, passages, sections)
    return made, describe("cwe", passages, spans, moved)


def recount(text: str, details: dict[str, Any]) -> list[Recount]:
    """Read every question of a made document and count its word anew, without the kernel: in the text between the quotes it gives.

    details: what its metadata says of sections and passages. Raises DataError for a passage that cannot be read, or that names another part.
    """
    data = text.encode()
    found = []
    for passage in details["passages"]:
        written = data[passage["start"] : passage["end"]].decode().strip("\n")
        start, end, _ = details["sections"][passage["section"]]
        part = data[start:end].decode()
        plain = " ".join(part.split())
        quotes = _QUOTES.match(written.split("\n", 1)[0])
        asked = list(_ASKED.finditer(written))
        if quotes is None or [match["word"] for match in asked] != passage["words"]:
            raise DataError("passage", f"no questions of this kind: {written[:80]!r}")
        if not (plain.startswith(quotes["first"]) and plain.endswith(quotes["last"])) or passage["start"] < end:
            raise DataError("passage", f"it does not stand behind the part that it names: {written[:80]!r}")
        words = "".join(character if is_word_character(character) else " " for character in part).split()
        counted = Counter(words)
        found += [Recount(match["word"], int(match["said"]), counted[match["word"]]) for match in asked]
    return found
