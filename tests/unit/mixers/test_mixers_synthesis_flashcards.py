"""Flashcards: what an item must be, formats by their shares, the right answer's place drawn here and not by the model."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from mixers.synthesis_flashcards import FORMATS, LETTERS, TRUTHS, FlashcardKind, FlashcardOptions, judge_item
from mixers.synthesis_named import load_recipe
from mixers.synthesis_tasks import Task

RECIPE = load_recipe("flashcards")
CARD = {"question": "What is the capital of France?", "options": ["Paris", "Rome", "Oslo", "Bern"], "answer": "Paris"}


def make_kind(**options) -> FlashcardKind:
    return FlashcardKind(FlashcardOptions(**RECIPE.options | options), RECIPE.prompts)


def take(items, form="open_question", key=1):
    task = Task(form, "prompt", "text", key, {"format": form})
    return make_kind().take(task, items if isinstance(items, str) else json.dumps(items))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"answer": "paris."}, ""),
        ({"answer": "Lyon"}, "answer_not_an_option"),
        ({"answer": "A"}, "answer_not_an_option"),
        ({"options": ["Paris", "Rome", "Rome", "Bern"]}, "equal_options"),
        ({"options": ["Paris", "Rome", "rome. ", "Bern"]}, "equal_options"),
        ({"options": ["Paris", "Rome", "Oslo"]}, "number_of_options"),
        ({"options": ["Paris", "Rome", "Oslo", "Bern", "Bonn"]}, "number_of_options"),
        ({"options": ["Paris", "Rome", "Oslo", " "]}, "empty_part"),
        ({"question": " "}, "empty_part"),
        ({"options": ["Paris", "Rome", "Oslo", 4]}, "types"),
        ({"options": "Paris"}, "types"),
        ({"answer": None}, "types"),
        ({"reason": "it is"}, "keys"),
        ({"options": ["A. Paris", "B. Rome", "C. Oslo", "D. Bern"], "answer": "A. Paris"}, "lettered_option"),
        ({"options": ["(1) Rome", "Paris", "Oslo", "Bern"]}, "lettered_option"),
        ({"options": ["Paris", "Rome", "Oslo", "All of the above"]}, "option_of_options"),
        ({"options": ["Paris", "Rome", "Both A and B", "Bern"]}, "option_of_options"),
        ({"question": "What does the text say about France?"}, "speaks_of_text"),
        ({"question": "What is the capital of ____?"}, "form"),
        ({"question": "The capital of France is"}, "form"),
    ],
)
def test_an_item_that_does_not_hold_is_refused(change, reason):
    assert judge_item(CARD | change, FORMATS["open_question"]) == reason


@pytest.mark.parametrize("item", [None, [], "x", 3, {}, {"question": "a?"}])
def test_an_item_that_is_none(item):
    assert judge_item(item, FORMATS["open_question"]) == "keys"


@pytest.mark.parametrize(
    ("form", "question", "fits"),
    [
        ("statement_completion", "The capital of France is", True),
        ("statement_completion", "The capital of France is?", False),
        ("statement_completion", "The capital is ____", False),
        ("fill_in_blank", "The capital of France is ____.", True),
        ("fill_in_blank", "____ is the capital of ____.", False),
        ("fill_in_blank", "The capital of France.", False),
        ("which_has_property", "Which city lies at the Seine?", True),
        ("which_has_property", "What city lies at the Seine?", False),
        ("which_true", "Which of the following is true of France?", True),
        ("which_true", "Which of the following lies in France?", False),
        ("which_true", "Is one of the following true?", False),
    ],
)
def test_each_format_has_its_form(form, question, fits):
    assert judge_item(CARD | {"question": question}, FORMATS[form]) == ("" if fits else "form")


def test_two_statements_have_four_truths():
    item = {
        "question": "Statement 1: It rains. Statement 2: It snows.",
        "options": ["True, True", "True, False", "False, True", "False, False"],
    }
    item["answer"] = "True, False"
    assert judge_item(item, FORMATS["two_statements"]) == "" and {one.casefold() for one in item["options"]} == TRUTHS
    assert (
        judge_item(item | {"options": ["Yes", "No", "True, False", "False, False"]}, FORMATS["two_statements"])
        == "form"
    )
    assert (
        judge_item(item | {"question": "Statement 1: It rains. Statement 2: It rains."}, FORMATS["two_statements"])
        == "form"
    )


def test_choices_stand_in_the_question():
    item = {"question": "Is it hot or cold?", "options": ["hot", "cold"], "answer": "cold"}
    assert judge_item(item, FORMATS["choices_in_question"]) == ""
    assert judge_item(item | {"options": ["hot", "warm"], "answer": "hot"}, FORMATS["choices_in_question"]) == "form"
    result = take([item], "choices_in_question")
    assert result.pieces[0].text.removeprefix("Question: ") == "Is it hot or cold?\nAnswer: cold\n"


@pytest.mark.parametrize("answer", ["", "[", "{}", '"a"', "Here: []", "```json\n[1\n```", "[" * 100_000])
def test_what_is_no_list(answer):
    assert take(answer).reason == "json"


def test_a_list_in_a_fence_is_one_and_items_are_counted():
    items = [CARD, CARD, CARD | {"answer": "Lyon"}, 4]
    result = take(f"```json\n{json.dumps(items)}\n```")
    assert len(result.pieces) == 1 and result.reason == ""
    assert result.refused == {"repeated_question": 1, "answer_not_an_option": 1, "keys": 1}
    assert take([]).reason == take([4]).reason == "no_items" and take([4]).refused == {"keys": 1}


def test_the_place_of_the_right_answer_is_drawn_whatever_the_model_gave():
    """400 items with the right one first: each letter 64 to 136 times (4 standard deviations of 8.7)."""
    items = [CARD | {"question": f"What is {number}?"} for number in range(400)]
    pieces = take(items).pieces
    letters = Counter(piece.text.split("Answer: ")[1][0] for piece in pieces)
    assert set(letters) == set(LETTERS) and all(64 < number < 136 for number in letters.values())
    prefixed = sum(piece.text.startswith("Question: ") for piece in pieces)
    assert 160 < prefixed < 240
    for piece in pieces:
        letter = piece.text.split("Answer: ")[1][0]
        assert f"\n{letter}. Paris\n" in piece.text and f"Answer: {letter}. Paris\n" in piece.text
        assert LETTERS[piece.details["right"]] == letter
    turned = [item | {"options": item["options"][::-1]} for item in items]
    assert [piece.text for piece in take(turned).pieces] == [piece.text for piece in pieces]
    assert [piece.text for piece in take(items, key=2).pieces] != [piece.text for piece in pieces]


def test_formats_are_drawn_by_their_weights():
    """2,000 texts: a share of 0.17 within 4 standard deviations (0.0084), and 0.05 within 0.0195."""
    kind = make_kind()
    found = Counter(kind.plan("word " * 100, key)[0].stage for key in range(2000))
    for name, weight in RECIPE.options["weights"].items():
        assert abs(found[name] / 2000 - weight) < 4 * (weight * (1 - weight) / 2000) ** 0.5
    assert {
        task.stage for key in range(50) for task in make_kind(weights={"which_true": 1}).plan("word " * 100, key)
    } == {"which_true"}


@pytest.mark.parametrize(("words", "requests"), [(100, 1), (590, 1), (610, 2), (1990, 4)])
def test_longer_texts_are_asked_about_more_often(words, requests):
    tasks = make_kind().plan("word " * words, 5)
    assert len(tasks) == requests and len({task.key for task in tasks}) == requests
    assert all("5" in task.prompt and "{" not in task.prompt.split('{"question"')[0] for task in tasks)


@pytest.mark.parametrize("weights", [{}, {"open_question": 0}, {"open_question": -1}, {"rhyme": 1}])
def test_weights_that_draw_nothing(weights):
    with pytest.raises(ValidationError):
        FlashcardOptions(weights=weights)
