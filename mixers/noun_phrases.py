"""Noun phrases of one and two words, and how much a section is about each: tf-idf over the sections of a document.

Words are told apart by HanTa (C. Wartena, "The Hanover Tagger"), whose models lie in its package: English with the tags of the BNC, German with
those of the STTS. A phrase is a noun, or a noun with an adjective or noun right before it, inside one sentence and as it is spelled there.
The score of a phrase in a section is f * (1 + ln((1 + S) / (1 + s))): it stands f times there, and in s of the document's S sections. Nothing
outside the document counts, so a document's phrases are the same in whatever batch, split or corpus it lies.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from dolma_py.errors import MissingDependencyError
from mixers.long_sections import LINE, find_breaks

MODELS = {"en": "morphmodel_en.pgz", "de": "morphmodel_ger.pgz"}
NOUNS = {"en": {"NN0", "NN1", "NN2", "NP0"}, "de": {"NN", "NE"}}
ADJECTIVES = {"en": {"AJ0", "AJC", "AJS"}, "de": {"ADJ(A)"}}
MIN_LETTERS, MAX_LETTERS = 3, 40  # of a word of a phrase; the tagger's time grows with the cube of a word's length
MAX_SENTENCE = 200  # words and signs that are tagged at once
_TOKEN = re.compile(r"[^\W_]+|[^\w\s]|_")
Language = Literal["en", "de"]


class Tagged(NamedTuple):
    """S sentences of a section, and the phrases that stand in each."""

    sentences: list[str]  # white space as one blank
    phrases: list[list[str]]  # of each sentence, in order, repeated as they are
    counts: Counter[str]
    untagged: int  # sentences that the tagger could not read


class Phrase(NamedTuple):
    """Of a section."""

    text: str
    count: int
    score: float


@functools.cache
def load_tagger(language: Language) -> Any:
    """HanTa with its model of the language; raises MissingDependencyError where the package is not installed."""
    try:
        from HanTa.HanoverTagger import HanoverTagger
    except ImportError as error:
        raise MissingDependencyError("HanTa", "synth") from error
    return HanoverTagger(MODELS[language])


def split_sentences(text: str) -> list[str]:
    """The text cut at sentence ends and paragraphs, not at plain line ends; blank ones left out."""
    data = text.encode()
    breaks = find_breaks(np.frombuffer(data, np.uint8))
    edges = [0, *breaks.places[breaks.ranks != LINE].tolist(), len(data)]
    pieces = (" ".join(data[start:end].decode().split()) for start, end in zip(edges[:-1], edges[1:], strict=True))
    return [piece for piece in pieces if piece]


def find_phrases(text: str, language: Language) -> Tagged:
    """The sentences of a section's text and their noun phrases."""
    tagger = load_tagger(language)
    sentences = split_sentences(text)
    phrases, untagged = [], 0
    for sentence in sentences:
        found: list[str] = []
        for tokens in _cut_tokens(_TOKEN.findall(sentence)):
            try:
                tags = tagger.tag_sent(tokens, taglevel=0)
            except KeyError:  # no way from one word to the next in its model
                untagged += 1
                continue
            found += pick_phrases(tokens, tags, language)
        phrases.append(found)
    return Tagged(sentences, phrases, Counter(phrase for found in phrases for phrase in found), untagged)


def _cut_tokens(tokens: list[str]) -> list[list[str]]:
    """Runs of at most MAX_SENTENCE tokens; a word longer than MAX_LETTERS is in none."""
    runs: list[list[str]] = [[]]
    for token in tokens:
        if len(token) > MAX_LETTERS or len(runs[-1]) == MAX_SENTENCE:
            runs.append([])
        if len(token) <= MAX_LETTERS:
            runs[-1].append(token)
    return [run for run in runs if run]


def pick_phrases(tokens: Sequence[str], tags: Sequence[str], language: Language) -> list[str]:
    """Nouns, and nouns with the adjective or noun before them.

    >>> pick_phrases(["The", "old", "stone", "arch", "fell"], ["AT0", "AJ0", "NN1", "NN1", "VVD"], "en")
    ['stone', 'old stone', 'arch', 'stone arch']
    """
    is_word = [len(token) >= MIN_LETTERS and token.isalpha() for token in tokens]
    found = []
    for place, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
        if not is_word[place] or tag not in NOUNS[language]:
            continue
        found.append(token)
        if place and is_word[place - 1] and tags[place - 1] in NOUNS[language] | ADJECTIVES[language]:
            found.append(f"{tokens[place - 1]} {token}")
    return found


def rank_phrases(counts: Sequence[Counter[str]]) -> list[list[Phrase]]:
    """The phrases of each of S sections by score, highest first, equals by their letters.

    >>> [[phrase.text for phrase in ranked] for ranked in rank_phrases([Counter(a=2, b=2), Counter(b=1)])]
    [['a', 'b'], ['b']]
    """
    sections = Counter(phrase for section in counts for phrase in section)
    weight = {phrase: 1 + math.log((1 + len(counts)) / (1 + number)) for phrase, number in sections.items()}
    ranked = ([Phrase(text, number, number * weight[text]) for text, number in section.items()] for section in counts)
    return [sorted(phrases, key=lambda phrase: (-phrase.score, phrase.text)) for phrases in ranked]
