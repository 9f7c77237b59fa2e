"""mixers.verifiable_answers: which part of a response is its answer, and what each kind of answer may look like."""

from __future__ import annotations

import datetime
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixers.verifiable_answers import MAX_ANSWER, READERS, find_answer, read_answer, read_number

EVIDENCE = {"units": ["marble", "marbles"], "names": ["Ada", "Bo", "Cy"], "base": 16, "cells": 4}


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("Answer: 12", "12"),
        ("so\nanswer : 12\n", "12"),
        ("**Answer:** 12", "12"),
        ("### Final Answer: 12", "12"),
        ("Answer: **12**", "**12**"),
        ("Answer:**12**", "**12**"),
        ("**Answer**: 12", "12"),
        ("- The final answer: 12", "12"),
        ("Answer: 1\nAnswer: 2\nbye", "2"),
        ("Answer:\n12\n\nbye", "12"),
        ("Answer:\n\n1 2\n3 4", "1 2\n3 4"),
        ("Answer: $\\boxed{12}$", "12"),
        ("\\boxed{1} and then\nAnswer: 2", "2"),
        ("Answer: 2, so \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{1} or \\boxed{2}", "2"),
        ("<think>Answer: 1</think>Answer: 2", "2"),
        ("<think>Answer: 1</think>It is 2.", None),
        ("<think>Answer: 1", None),
        ("I think</think> no", None),
        ("The answer is 12", None),
        ("my Answer: 12", None),
        ("12", None),
        ("", None),
        ("Answer:", None),
        ("Answer: \n\n", None),
        ("\\boxed{", None),
        ("\\boxed{}", None),
        ("\\boxed{1", None),
    ],
)
def test_what_of_a_response_is_its_answer(response, expected):
    assert find_answer(response) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("number", "12", 12), ("number", "-12", -12), ("number", "\u221212", -12), ("number", "+12", 12), ("number", "1,234", 1234),
        ("number", "1{,}234", 1234), ("number", "12,34", None), ("number", "12.50", Fraction(25, 2)), ("number", "3/4", Fraction(3, 4)),
        ("number", "-3/4", Fraction(-3, 4)), ("number", r"\dfrac{3}{4}", Fraction(3, 4)), ("number", r"-\frac{3}{4}", Fraction(-3, 4)),
        ("number", "3/0", None), ("number", "1 1/2", None), ("number", "12%", None), ("number", "1e3", None), ("number", "12 or 13", None),
        ("number", "12 marbles", 12), ("number", "12\\text{ marbles}", 12), ("number", "12 apples", None), ("number", "marbles", None),
        ("number", "**12**.", 12), ("number", "$12$", 12), ("number", "= 12", 12), ("number", "x = 12", None), ("number", "\u0661\u0662", None),
        ("date", "5 March 2024", datetime.date(2024, 3, 5)), ("date", "March 5th, 2024", datetime.date(2024, 3, 5)),
        ("date", "2024-3-5", datetime.date(2024, 3, 5)), ("date", "Tuesday, 5 March 2024", datetime.date(2024, 3, 5)),
        ("date", "Monday, 5 March 2024", None), ("date", "05/03/2024", None), ("date", "31 April 2024", None), ("date", "March 2024", None),
        ("weekday", "friday", "Friday"), ("weekday", "Fri", "Friday"), ("weekday", "Friday or Saturday", None), ("weekday", "", None),
        ("text", "aBc", "aBc"), ("text", '"aBc"', "aBc"), ("text", "a b", None), ("text", "", None),
        ("numeral", "FF", "ff"), ("numeral", "0xff", "ff"), ("numeral", "ff_{16}", "ff"), ("numeral", "ff (base 16)", "ff"),
        ("numeral", "ff_{8}", None), ("numeral", "fg", None), ("numeral", "00ff", "ff"), ("numeral", "0", "0"), ("numeral", "-ff", None),
        ("order", "Ada, Bo", ("ada", "bo")), ("order", "Ada -> Bo", ("ada", "bo")), ("order", "ada > bo and cy", ("ada", "bo", "cy")),
        ("order", "Ada-Bo-Ada", ("ada", "bo", "ada")), ("order", "[Ada, Bo, Cy]", ("ada", "bo", "cy")), ("order", "Ada, Dan", None),
        ("order", "Ada,, Bo", None), ("order", "none", ()),
        ("names", "Bo and Ada", ("ada", "bo")), ("names", "none", ()), ("names", "Nobody.", ()), ("names", "Ada, Ada", None),
        ("integers", "[1, -2]", (1, -2)), ("integers", "1 -2", (1, -2)), ("integers", "[]", ()), ("integers", "[1, [2]]", None),
        ("integers", "1, two", None), ("integers", "9" * 40, None),
        ("number_set", "{3, 1}", (1, 3)), ("number_set", r"\{3,1\}", (1, 3)), ("number_set", "1 and 3", (1, 3)), ("number_set", "{1, 1}", None),
        ("grid", "12\n34", "1234"), ("grid", "1 2 | 3 4", "1234"), ("grid", "123", None), ("grid", "12_4", None),
    ],
)  # fmt: skip
def test_forms_of_each_kind(kind, text, expected):
    assert read_answer(text, EVIDENCE | {"kind": kind}) == expected


@pytest.mark.parametrize("kind", READERS)
@given(
    text=st.one_of(
        st.text(),
        st.text(alphabet="0123456789,.-/{}[]()$*\\ abAnswer:\n"),
        st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")),
    )
)
def test_no_text_breaks_a_reader(kind, text):
    evidence = EVIDENCE | {"kind": kind}
    read_answer(text, evidence)
    found = find_answer(text)
    assert found is None or found.strip()
    assert read_answer(f" {text} ", evidence) == read_answer(text.strip(), evidence)


@pytest.mark.parametrize(
    "response",
    [
        "Answer: " + "9" * 1_000_000, "\\boxed{" * 200_000, "Answer:\n" * 200_000, " " * 1_000_000, "*" * 1_000_000 + "Answer:",
        "Answer" + " " * 1_000_000,
        "Answer: " + "-" * 1_000_000, "Answer: " + " ,and " * 200_000, "<think>" * 200_000,
    ],
)  # fmt: skip
def test_a_megabyte_is_read_in_no_time(response):
    start = time.process_time()
    found = find_answer(response)
    values = [read_answer(found, EVIDENCE | {"kind": kind}) for kind in READERS] if found else []
    assert time.process_time() - start < 2 and values in ([], [None] * len(READERS))


def test_the_longest_answer_is_read_in_no_time():
    start = time.process_time()
    for filling in ("-", " ", ",", "*", "9", "(", "a ", ", and ", "$", "\\text{", "and "):
        text = (filling * MAX_ANSWER)[:MAX_ANSWER]
        for kind in READERS:
            read_answer(text, EVIDENCE | {"kind": kind})
    assert time.process_time() - start < 5


def test_a_number_too_long_for_python_is_unreadable():
    for text in ("9" * 5000, "1/" + "9" * 5000, "0." + "9" * 5000):
        assert read_number(text, {}) is None
