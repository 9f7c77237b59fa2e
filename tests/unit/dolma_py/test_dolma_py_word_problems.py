"""Word problems: distinct, repeatable, and with answers that follow from the numbers in the question."""

from __future__ import annotations

import json
import re

import pytest

from dolma_py.errors import ConfigError
from dolma_py.word_problems import TEMPLATES, describe_item, make_word_problems, write_items

ITEMS = make_word_problems(1000, 7)

# the arithmetic of each template once more, from the numbers of the question in the order in which they stand
ANSWERS = [
    lambda a, b, c: a * b - c,
    lambda count, price, bag, note: note - price * count - bag,
    lambda speed, hours, bus: 2 * (speed * hours + bus),
    lambda morning, afternoon, people: (morning + afternoon) // people,
    lambda start, weekly, weeks, spent: start + weekly * weeks - spent,
    lambda age, times, later: age * (1 + times) + 2 * later,
    lambda rows, seats, empty, late: rows * seats - empty + late,
    lambda eggs, cakes, carton: -(eggs * cakes) % carton,
    lambda first, more, fewer: 3 * first + 2 * more - fewer,
    lambda owned, packs, each: owned // 2 + packs * each,
]


@pytest.mark.parametrize("number", range(len(TEMPLATES)))
def test_answers_follow_from_the_questions(number) -> None:
    items = ITEMS[number :: len(TEMPLATES)]
    numbers = [[int(digits) for digits in re.findall(r"\d+", item["question"])] for item in items]
    assert [item["answer"] for item in items] == [str(ANSWERS[number](*values)) for values in numbers]


def test_every_step_of_every_solution_is_right() -> None:
    steps = [step for item in ITEMS for step in re.findall(r"((?:\d+ [-+x/] )+\d+) = (\d+)", item["solution"])]
    assert len(steps) > 2 * len(ITEMS)
    operators = {"+": "+", "-": "-", "x": "*", "/": "//"}
    wrong = [
        step for step in steps if eval(re.sub(r"[-+x/]", lambda sign: operators[sign[0]], step[0])) != int(step[1])
    ]
    assert wrong == []


def test_answers_are_not_negative_and_end_the_solution() -> None:
    assert all(int(item["answer"]) >= 0 for item in ITEMS)
    assert all(re.findall(r"\d+", item["solution"].rstrip("."))[-1] == item["answer"] or "left" in item["solution"] or "back"
               in item["solution"] for item in ITEMS)  # fmt: skip


def test_items_are_distinct_and_complete() -> None:
    assert len({item["question"] for item in ITEMS}) == len({item["id"] for item in ITEMS}) == 1000
    assert {tuple(item) for item in ITEMS} == {("id", "question", "answer", "passage", "solution")}
    assert {item["passage"] for item in ITEMS} == {None}


def test_same_seed_same_items_and_more_only_add() -> None:
    assert make_word_problems(1000, 7) == ITEMS
    assert make_word_problems(10, 7) == ITEMS[:10]
    other = make_word_problems(1000, 8)
    assert not {item["question"] for item in other} & {item["question"] for item in ITEMS}


def test_first_item_stays_what_it_is() -> None:
    assert (
        ITEMS[0]["question"]
        == "Kofi has 6 boxes with 22 badges in each box. Kofi gives 17 badges to Grete. How many badges does Kofi have left?"
    )


@pytest.mark.parametrize("num_items", [-1])
def test_negative_number_is_refused(num_items) -> None:
    with pytest.raises(ConfigError, match="-1"):
        make_word_problems(num_items, 0)


def test_written_items_read_back(tmp_path) -> None:
    path = tmp_path / "items.jsonl"
    write_items(str(path), ITEMS[:20])
    assert [json.loads(line) for line in path.read_text().splitlines()] == ITEMS[:20]


def test_description_holds_question_and_answer() -> None:
    text = describe_item({"question": "Why?", "answer": "42", "passage": "Once.", "solution": None})
    assert text == "Once. Why? The answer is 42."
