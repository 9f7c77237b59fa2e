"""mixers.noun_phrases: phrases of sentences read by hand, scores by hand, odd texts, the same whatever came before."""

from __future__ import annotations

import builtins
import math
from collections import Counter

import pytest
from hypothesis import example, given, settings

from dolma_py.errors import MissingDependencyError
from mixers import noun_phrases
from tests.strategies import texts


def test_phrases_of_an_english_sentence():
    found = noun_phrases.find_phrases("The old abbess walked to the Convent cloister.\nShe sang.", "en")
    assert found.sentences == ["The old abbess walked to the Convent cloister.", "She sang."]
    assert found.phrases == [["abbess", "old abbess", "Convent", "cloister", "Convent cloister"], []]
    assert found.counts["abbess"] == 1 and found.untagged == 0


def test_phrases_of_a_german_sentence():
    text = "Die Verordnung regelt die neue Zustellung durch das Bundesamt."
    assert noun_phrases.find_phrases(text, "de").phrases == [
        ["Verordnung", "Zustellung", "neue Zustellung", "Bundesamt"]
    ]


def test_a_phrase_ends_with_its_sentence_and_goes_over_a_line():
    found = noun_phrases.find_phrases("He saw the stone\narch. Monks came.", "en")
    assert found.sentences == ["He saw the stone arch.", "Monks came."]
    assert "stone arch" in found.counts and "arch Monks" not in found.counts


def test_scores_by_hand():
    first, second = noun_phrases.rank_phrases([Counter(nun=3, abbey=4), Counter(abbey=2, b=2, a=2)])
    assert [(phrase.text, phrase.count) for phrase in first] == [("nun", 3), ("abbey", 4)]
    assert first[0].score == 3 * (1 + math.log(3 / 2)) and first[1].score == 4
    assert [phrase.text for phrase in second] == ["a", "b", "abbey"]
    assert noun_phrases.rank_phrases([]) == []


@given(texts(max_size=20))
@settings(max_examples=15)
@example("")
@example("x" * 5000)
@example("\U0001f600 " * 300)
@example(". " * 500)
def test_odd_texts_have_sentences_and_phrases_of_their_own_words(text):
    found = noun_phrases.find_phrases(text, "en")
    assert " ".join(found.sentences).split() == text.split() or len(text) > 4096
    for sentence, phrases in zip(found.sentences, found.phrases, strict=True):
        assert all(word in sentence and word.isalpha() for phrase in phrases for word in phrase.split())
    assert found == noun_phrases.find_phrases(text, "en")


def test_what_was_tagged_before_changes_nothing():
    text = "The flurgle of the abbey grobbed a brindlewood."
    before = noun_phrases.find_phrases(text, "en")
    noun_phrases.find_phrases("They flurgle brindlewood daily. The grobbed flurgle." * 20, "en")
    assert noun_phrases.find_phrases(text, "en") == before


def test_words_too_long_for_the_tagger_part_a_sentence():
    long = "z" * 41
    assert noun_phrases._cut_tokens(["a", long, long, "b"]) == [["a"], ["b"]]
    assert [len(run) for run in noun_phrases._cut_tokens(["a"] * 450)] == [200, 200, 50]


def test_without_the_package_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments):
        if name.startswith("HanTa"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match=r"dolma-py\[synth\]"):
        noun_phrases.load_tagger.__wrapped__("en")
