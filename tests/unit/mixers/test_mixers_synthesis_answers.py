"""Chat, fences, JSON and words of answers."""

from __future__ import annotations

import pytest

from mixers.synthesis_answers import (
    find_blocks,
    find_other_languages,
    is_chat,
    is_fenced,
    kept_words_frac,
    read_json,
    stands_in,
)
from mixers.synthesis_tasks import draw_weighted, fill_prompt


@pytest.mark.parametrize(
    "text",
    [
        "Sure, here it is.",
        "Certainly! The text:",
        "Of course. x",
        "Here's the revised version:\n\nx",
        "Below is the text:\nx",
        "I'm sorry, but no.",
        "I cannot help with that.",
        "As an AI, I do",
        "x\nI hope this helps!",
        "x\n\nFeel free to ask.",
        "x\nLet me know if so.",
        "Here are the notes:",
        "x\nIf you need more help, ask.",
        "Absolutely!",
    ],
)
def test_chat(text):
    assert is_chat(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "Here is a triangle with sides 3, 4 and 5.", "Surely x > 0.", "Let x be 3.", "Coursework: of course it is hard", "The proof:\nx",
        "I can not only add but multiply: see below.", "Below zero, water freezes.", "Let me know.\nThen x.", "Absolute values are not negative.",
    ],
)  # fmt: skip
def test_no_chat(text):
    assert not is_chat(text)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("", []),
        ("```\n```", [""]),
        ("a\n```python\nx\n\ny\n```\nb\n~~~\nz\n~~~", ["x\n\ny", "z"]),
        ("```\nnever ended", []),
        ("inline ```x``` here", []),
        ("```\n" * 100_001, [""] * 50_000),
    ],
)
def test_blocks(text, blocks):
    assert find_blocks(text) == blocks


def test_a_text_that_is_one_block():
    assert is_fenced("```\nx\n```") and not is_fenced("a\n```\nx\n```") and not is_fenced("```\nx\n```\n```\ny\n```")


def test_json_alone_or_in_a_fence():
    assert read_json("```json\n[1]\n```") == read_json("[1]") == [1] and read_json("```\n{}\n```") == {}
    assert read_json("[1] and") is read_json("") is read_json("[" * 100_000) is None


def test_words_that_are_kept():
    assert kept_words_frac("Three sheep and 17 cows", "17 SHEEP") == 2 / 4
    assert kept_words_frac("a b c", "") == 1.0


def test_languages_that_are_not_clear_are_none_other():
    def name(texts):
        return [{"a": "en", "b": "de"}.get(text, "") for text in texts]

    assert find_other_languages(["a", "a", "x", "a"], ["a", "b", "b", "x"], name) == [False, True, False, False]


def test_texts_fill_no_holes():
    assert fill_prompt("{text} {number} {other}", text="{number}", number="3") == "{number} 3 {other}"


def test_weights_of_one_name():
    assert {draw_weighted({"a": 0, "b": 2, "c": 0}, key) for key in range(50)} == {"b"}


def test_json_that_no_text_can_hold_is_none():
    assert read_json('["a\\ud83d"]') is None and read_json("NaN") is None and read_json("1" * 5000) is None


def test_words_stand_in_a_text_as_whole_words():
    assert stands_in("4", "it is 4.") and stands_in("art", "the art of") and stands_in("-2", "x = -2,")
    for words, text in (
        ("4", "14 and 41"),
        ("12", "1 2"),
        ("10", "2010"),
        ("art", "start"),
        ("3", "3.5"),
        ("5", "3.5"),
    ):
        assert not stands_in(words, text)
