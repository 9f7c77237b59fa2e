"""Reasoning tasks: notes that must fit their text, parts in order, ends as the task wants them."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from dolma_py.python_sources import PythonSources
from mixers.synthesis_named import load_recipe
from mixers.synthesis_reasoning import ReasoningKind, ReasoningOptions, plain_answer, split_sections
from mixers.synthesis_tasks import Task
from tests.made_answers import CODE, PAGE, make_notes

NOTES = make_notes(PAGE)


@pytest.fixture(scope="module")
def kinds():
    with PythonSources() as sources:
        found = {}
        for name in ("meta-reasoning-math", "meta-reasoning-code"):
            recipe = load_recipe(name)
            found[name] = ReasoningKind(ReasoningOptions(**recipe.options), recipe.prompts, sources=sources)
        yield found


def take_notes(kind, notes):
    task = Task("notes", "prompt", PAGE, 1, {"task": next(iter(kind.options.tasks))})
    return kind.take(task, notes if isinstance(notes, str) else json.dumps(notes))


def end_with(kind, name, end, answer="42"):
    """What becomes of an answer to a task whose last part is `end`."""
    sections = kind.options.tasks[name].sections
    text = "\n".join([*(f"{section} words" for section in sections[:-1]), f"{sections[-1]} {end}"])
    details = {"task": name, "problem": "A problem.", "answer": answer, "difficulty": 3}
    return kind.take(Task(name, "prompt", PAGE, 1, details), text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"answer": "43"}, "answer_not_in_text"),
        ({"answer": "$4 2$."}, ""),
        ({"answer": ""}, "empty_part"),
        ({"problem": "Something entirely else about chemistry and molecules"}, "problem_not_in_text"),
        ({"difficulty": 0}, "empty_part"),
        ({"difficulty": "easy"}, "types"),
        ({"difficulty": True}, "types"),
        ({"steps": []}, "types"),
        ({"pitfalls": [1]}, "types"),
        ({"more": 1}, "keys"),
    ],
)
def test_notes_must_fit_the_text(kinds, change, reason):
    result = take_notes(kinds["meta-reasoning-math"], NOTES | change)
    assert result.reason == reason and (result.next is None) is bool(reason)


def test_notes_that_are_none(kinds):
    kind = kinds["meta-reasoning-math"]
    assert [take_notes(kind, text).reason for text in ("", "[]", "{", "No.")] == ["json"] * 4
    assert take_notes(kinds["meta-reasoning-code"], NOTES | {"answer": ""}).reason == ""


def test_the_task_is_asked_with_the_notes(kinds):
    task = take_notes(kinds["meta-reasoning-math"], NOTES).next
    assert task.stage == "error_recovery" and "to subtract" in task.prompt and "Its answer: 42" in task.prompt
    assert "\nAttempt:\nDoubt:\nCorrection:\nAnswer:" in task.prompt and "{" not in task.prompt


@pytest.mark.parametrize(
    ("name", "end", "reason"),
    [
        ("error_recovery", "42", ""),
        ("error_recovery", "$\\boxed{42}$.", ""),
        ("error_recovery", "43", "other_answer"),
        ("error_recovery", "42, since 17 + 25 = 42", "other_answer"),
        ("error_recovery", "", "empty_part"),
        ("difficulty_estimation", "10", ""),
        ("difficulty_estimation", "11", "rating"),
        ("difficulty_estimation", "3 of 10", "rating"),
        ("difficulty_estimation", "9" * 5000, "rating"),
    ],
)
def test_the_end_of_a_mathematical_task(kinds, name, end, reason):
    result = end_with(kinds["meta-reasoning-math"], name, end)
    assert result.reason == reason
    if not reason:
        assert result.pieces[0].text.startswith("A problem.\n\n") and "problem" not in result.pieces[0].details


@pytest.mark.parametrize(
    ("name", "end", "reason"),
    [
        ("implementation", f"\n```python\n{CODE}```", ""),
        ("implementation", CODE.replace("\n", " "), "no_code"),
        ("implementation", "\n```python\nx = (\n```", "syntax"),
        ("implementation", "\n```python\n# todo\n```", "no_statements"),
        ("implementation", "\n```\nx = 1\n```\n```\ny = 1\n```", "several_blocks"),
        ("quality_high", "8", ""),
        ("quality_high", "5", "rating"),
        ("quality_low", "8", "rating"),
        ("planning", "first this, then that", ""),
    ],
)
def test_the_end_of_a_programming_task(kinds, name, end, reason):
    assert end_with(kinds["meta-reasoning-code"], name, end).reason == reason


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("A: x\nB: y\nz", ["x", "y\nz"]),
        ("A:\nB:", ["", ""]),
        ("B: y\nA: x", None),
        ("A: x", None),
        ("A: x\nA: z\nB: y", None),
        ("Well.\nA: x\nB: y", None),
        ("", None),
    ],
)
def test_parts_begin_lines_in_their_order(text, parts):
    assert split_sections(text, ["A:", "B:"]) == parts


def test_every_task_is_drawn_and_several_differ():
    recipe = load_recipe("meta-reasoning-math")
    with PythonSources() as sources:
        kind = ReasoningKind(
            ReasoningOptions(**recipe.options | {"tasks_per_document": 3}), recipe.prompts, sources=sources
        )
        plans = [kind.plan(PAGE, key) for key in range(300)]
    found = Counter(task.details["task"] for plan in plans for task in plan)
    assert set(found) == set(recipe.options["tasks"]) and min(found.values()) > 300 * 3 / 7 * 0.7
    assert all(
        len({task.details["task"] for task in plan}) == 3 and len({task.prompt for task in plan}) == 1 for plan in plans
    )
    with pytest.raises(ValidationError, match="must not exceed"):
        ReasoningOptions(**recipe.options | {"tasks_per_document": 8})


def test_plain_answers():
    assert plain_answer(r" $\boxed{x = 3}$. ") == plain_answer("X=3") == "x=3"
