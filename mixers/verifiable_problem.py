"""What a problem of mixers.verifiable_tasks is, and what its families draw from."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

LEVELS = (1, 2, 3, 4, 5)
PEOPLE = (
    "Alma", "Boris", "Chiara", "Deniz", "Edda", "Fabio", "Gwen", "Hugo", "Ilse", "Jarek", "Kenji", "Leila", "Milan", "Noor", "Odile",
    "Pavel", "Rania", "Sven", "Thea", "Umar", "Vera", "Wim", "Yara", "Zeno",
)  # fmt: skip


class Problem(NamedTuple):
    """One problem with its only right answer.

    evidence: JSON values; `kind` (mixers.verifiable_answers.READERS), `answer`, and what the problem was made from.
    """

    question: str
    solution: str  # the steps in words, without the answer's own line
    answer: str
    evidence: dict[str, Any]


class Family(NamedTuple):
    """Problems of one kind, from a random stream and a level of LEVELS; a raised version makes other problems of the same seed."""

    name: str
    version: int
    draw: Callable[[random.Random, int], Problem]


def make_problem(question: str, steps: list[str], answer: str, kind: str, **evidence: Any) -> Problem:
    """A problem whose solution has one step on each line."""
    return Problem(question, "\n".join(steps), answer, {"kind": kind, "answer": answer, **evidence})


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ...

    >>> [ordinal(number) for number in (1, 2, 3, 11, 22)]
    ['1st', '2nd', '3rd', '11th', '22nd']
    """
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def join_words(words: list[str]) -> str:
    """a, b and c.

    >>> join_words(["a", "b", "c"])
    'a, b and c'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
