"""Tasks whose problems and checkers need no model: twelve families, five levels each, any number of problems from seeds.

    problem = make("sudoku-4x4", seed=7, level=3)
    check(problem.evidence, "... Answer: 1234 3412 2143 4321")   # Verdict(is_right=..., reason=..., found=...)

A problem has exactly one right answer, which its family finds by calculation or by looking at every candidate; tests/reference has a second,
obvious way for each. Questions that are alike for two seeds are the same question: `part_of` says by a hash of its text alone
whether it may be trained on, so no seed brings a held-out one back. Only the standard library is needed to check a response:
`mixers.verifiable_tasks:reward` serves wherever a reward is a function named in YAML.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from dolma_py.errors import ConfigError, DataError, name_known
from mixers import verifiable_logic, verifiable_numbers, verifiable_programs, verifiable_stories
from mixers.verifiable_answers import READERS, find_answer, read_answer
from mixers.verifiable_problem import LEVELS, Family, Problem

FAMILIES: dict[str, Family] = {
    family.name: family
    for module in (verifiable_numbers, verifiable_stories, verifiable_logic, verifiable_programs)
    for family in module.FAMILIES
}
PREFIX = "verifiable/"  # of the verifier's name in rows of chats
ASK_FOR_LINE = 'End with a line that begins with "Answer:".'
Part = Literal["train", "heldout"]
Reason = Literal["right", "wrong", "no_answer", "unreadable"]


class Verdict(NamedTuple):
    """What is thought of a response."""

    is_right: bool
    reason: Reason  # no_answer: none was found; unreadable: what was found is not one answer of its kind
    found: str | None  # the answer's text as it stands


def find_family(name: str) -> Family:
    """The family of a name; ConfigError for another."""
    if name not in FAMILIES:
        raise ConfigError("families", name, "expected a family of verifiable tasks", name_known(name, FAMILIES))
    return FAMILIES[name]


def make(name: str, seed: int, level: int) -> Problem:
    """The problem of a seed: the same for ever, as long as the family's version stays.

    Parameters
    ----------
    name : str      of a family in FAMILIES
    seed : int      any; another gives another problem, though the small ones of level 1 may repeat
    level : int     1 to 5, from easy to hard

    Raises ConfigError for a family or level that is not there.
    """
    family = find_family(name)
    if level not in LEVELS:
        raise ConfigError("levels", level, f"expected levels from {LEVELS[0]} to {LEVELS[-1]}")
    return family.draw(random.Random(f"{name} {family.version} {level} {seed}"), level)


def check(evidence: Mapping[str, Any], response: str) -> Verdict:
    """Whether a response's final answer is the problem's; how it is found and read: mixers.verifiable_answers.

    Raises DataError for evidence of no kind of answer, or whose own answer cannot be read.
    """
    right = read_answer(str(evidence.get("answer")), evidence) if evidence.get("kind") in READERS else None
    if right is None:
        raise DataError("evidence", f"no readable answer of a known kind in {str(dict(evidence))[:200]}")
    found = find_answer(response)
    if found is None:
        return Verdict(False, "no_answer", None)
    value = read_answer(found, evidence)
    if value is None:
        return Verdict(False, "unreadable", found)
    return Verdict(True, "right", found) if value == right else Verdict(False, "wrong", found)


def reward(prompt: str, response: str, row: Mapping[str, Any]) -> float:
    """1.0 for a right answer, else 0.0; `row` has `ground_truth`, the evidence as JSON or as a mapping, as rows of chats have it.

    Raises DataError where that is not there or is no evidence: a row of another verifier is never a wrong answer.
    """
    truth = row.get("ground_truth")
    try:
        evidence = json.loads(truth) if isinstance(truth, str) else truth
    except json.JSONDecodeError as error:
        raise DataError("ground_truth", f"not JSON ({error})") from error
    if not isinstance(evidence, Mapping):
        raise DataError("ground_truth", f"{type(evidence).__name__} where an object belongs")
    return float(check(evidence, response).is_right)


def part_of(question: str, heldout_frac: float) -> Part:
    """Whether a question is held out: by a hash of its text alone, whatever seed it was drawn by."""
    digest = hashlib.blake2b(question.encode(), digest_size=8, person=b"heldout").digest()
    return "heldout" if int.from_bytes(digest, "big") < heldout_frac * (1 << 64) else "train"


def write_response(problem: Problem) -> str:
    """The worked solution with the answer's line at its end."""
    return f"{problem.solution}\nAnswer: {problem.answer}"
