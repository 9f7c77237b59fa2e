"""The experiment on preferences runs as it stands, in small: what is right is counted right, and every table is printed."""

import re
import sys

import numpy as np
import pytest

from benchmarks import delta_learning
from benchmarks.delta_learning import Question, is_right, make_questions, make_sums, row

QUESTION = Question("How many?", "38", "30 + 8 = 38.")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("30 + 8 = 38. The answer is 38.", True), ("The answer is 83.", False), ("38", False), ("", False), ("The answer is 380.", False),
        ("The answer is 1. The answer is 38.", True), ("The answer is 38. The answer is 1.", False), ("The answer is 38", False),
    ],
)  # fmt: skip
def test_the_last_answer_counts(text, right):
    assert is_right(QUESTION, text) is right


@pytest.mark.parametrize("family", ["short", "word_problems"])
def test_held_out_questions_are_not_among_others(family):
    test = make_questions(40, 1, family=family)
    others = make_questions(200, 1, family=family, without=test)
    assert len(test) == 40 and not {one.text for one in test} & {one.text for one in others}
    assert all(is_right(question, question.worked) for question in test)


@pytest.mark.parametrize("family", ["short", "word_problems"])
def test_sums_are_right(family):
    for line in make_sums(300, 3, family=family):
        left, result = re.fullmatch(r"(.+) (?:=|is) (\d+)\.", line).groups()
        left = re.sub(r"Half of (\d+)", r"\1 // 2", left.replace(" x ", " * "))
        assert re.fullmatch(r"[\d +*/-]+", left) and eval(left) == int(result)


def test_a_row_has_standard_errors():
    start = np.array([True, False, False, True])
    after = np.array([True, True, False, True])
    assert row("x", after, None) == "| x | 75.0% +- 21.7% | |"
    assert row("x", after, start) == "| x | 75.0% +- 21.7% | +25.0 +- 21.7 |"


@pytest.mark.slow
def test_the_experiment_runs(tmp_path, monkeypatch, capsys):
    arguments = ["--test", "8", "--fine", "60", "--pairs", "70", "--sums", "400", "--stories", "60", "--base-steps", "4", "--epochs", "2",
                 "--keep-every", "1", "--early", "1", "--middle", "2", "--threads", "1"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["delta_learning", str(tmp_path), *arguments])
    delta_learning.main()
    shown = capsys.readouterr().out
    for name in (
        "base",
        "start",
        "early",
        "middle",
        "sft on chosen",
        "dpo, large delta",
        "dpo, small delta",
        "dpo, no delta",
    ):
        assert re.search(rf"^\| {name} \| \d+\.\d% \+- ", shown, re.MULTILINE), name
