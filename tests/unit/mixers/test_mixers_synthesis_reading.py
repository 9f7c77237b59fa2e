"""Reading comprehension: passages, numbers of questions, and answers that must stand in the passage."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mixers.synthesis_named import load_recipe
from mixers.synthesis_reading import FORMS, ReadingKind, ReadingOptions, count_questions, cut_passages, judge_item
from mixers.synthesis_tasks import Task

RECIPE = load_recipe("reading-comprehension")
PASSAGE = "The bridge was built in 1889 by two engineers. It is 300 metres long, and the older one is 120 metres long."
SPAN = {"question": "Who built it?", "answer": "two engineers"}
PLACED = {"question": "How old?", "answer": "old", "places": ["built in 1889"]}


def make_kind(**options) -> ReadingKind:
    return ReadingKind(ReadingOptions(**RECIPE.options | options), RECIPE.prompts)


def take(items, kind="span", passage=PASSAGE):
    answer = items if isinstance(items, str) else json.dumps(items)
    return make_kind().take(Task(kind, "prompt", passage, 1, {"questions": kind, "passage": 0}), answer)


@pytest.mark.parametrize(
    ("kind", "item", "reason"),
    [
        ("span", SPAN, ""),
        ("span", SPAN | {"answer": "three engineers"}, "answer_not_in_passage"),
        ("span", SPAN | {"answer": "two\n engineers"}, ""),
        ("span", SPAN | {"question": "Who built it"}, "no_question"),
        ("span", SPAN | {"answer": ""}, "empty_part"),
        ("span", SPAN | {"answer": 3}, "types"),
        ("span", SPAN | {"places": []}, "keys"),
        ("span", [], "keys"),
        ("paraphrase", SPAN, ""),
        (
            "paraphrase",
            SPAN | {"question": "Who were those by whom the bridge was built in 1889 by two?"},
            "copied_question",
        ),
        ("plain", PLACED, ""),
        ("plain", PLACED | {"places": ["built in 1890"]}, "place_not_in_passage"),
        ("plain", PLACED | {"places": []}, "empty_part"),
        ("plain", PLACED | {"places": "built"}, "types"),
        ("reasoning", PLACED | {"answer": "180"}, ""),
        ("reasoning", PLACED | {"answer": "180 metres"}, ""),
        ("reasoning", PLACED | {"answer": "the older one"}, ""),
        ("reasoning", PLACED | {"answer": "the newer one"}, "answer_not_in_passage"),
        ("reasoning", PLACED | {"answer": "180 metres or so"}, "answer_not_in_passage"),
    ],
)
def test_what_an_answer_rests_on_stands_in_the_passage(kind, item, reason):
    assert judge_item(item, kind, PASSAGE) == reason


def test_a_made_document_is_the_passage_with_its_pairs():
    result = take([SPAN, SPAN, SPAN | {"answer": "nobody"}, {"question": "When?", "answer": "1889"}])
    assert result.refused == {"repeated_question": 1, "answer_not_in_passage": 1}
    expected = f"{PASSAGE}\n\nQuestion: Who built it?\nAnswer: two engineers\n\nQuestion: When?\nAnswer: 1889\n"
    assert result.pieces[0].text == expected and result.pieces[0].details["pairs"] == 2
    assert take([]).reason == "no_items" and take("[").reason == "json"


def test_passages_are_whole_texts_or_lines():
    options = ReadingOptions(whole_words=30, min_words=5)
    short = "one two three\nfour five six seven"
    assert cut_passages(short, options) == [short]
    lines = "\n".join(["a b c d", "word " * 6, "", "word " * 30])
    assert cut_passages(lines, options) == ["word word word word word word", ("word " * 30).strip()]
    assert make_kind(min_chars=1).plan("too few words", 1) == "no_passages"


def test_passages_are_drawn_and_stay_in_order():
    text = "\n".join(f"line {number} " + "word " * 30 for number in range(40))
    kind = make_kind()
    tasks = kind.plan(text, 3)
    numbers = [task.details["passage"] for task in tasks]
    assert len(tasks) == 8 and numbers == sorted(set(numbers))
    assert [task.shown.split()[1] for task in tasks] == [str(number) for number in numbers]
    assert [task.details["passage"] for task in kind.plan(text, 4)] != numbers
    found = Counter(task.stage for key in range(250) for task in kind.plan(text, key))  # 2,000 draws
    for name in FORMS:
        weight = RECIPE.options["weights"][name]
        assert abs(found[name] / 2000 - weight) < 4 * (weight * (1 - weight) / 2000) ** 0.5


@pytest.mark.parametrize(
    ("words", "numbers"), [(20, {1}), (59, {1}), (80, {1}), (200, {1, 2, 3, 4}), (400, {6, 7, 8}), (2000, {8})]
)
def test_longer_passages_have_more_questions(words, numbers):
    assert {count_questions("word " * words, key * 7919) for key in range(200)} == numbers
