"""Tasks about how a problem is solved: a model first makes notes on it, which are checked against the text, and then does one of several tasks.

The notes are JSON: the problem, its answer, its difficulty, the steps of a solution, mistakes that are easily made, a check. The task's answer has
parts that begin with set lines, and ends with the answer of the notes, a rating, or a program, as the task says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dolma_py.config import Config
from dolma_py.hashing import derive_seed
from dolma_py.python_sources import PythonSources
from dolma_py.question_frames import frame_text
from mixers.synthesis_answers import find_blocks, kept_words_frac, read_json, stands_in
from mixers.synthesis_tasks import (
    AskOptions,
    Piece,
    Result,
    Task,
    check_length,
    check_prompts,
    draw_weighted,
    fill_prompt,
)

NOTES = "notes"
KEYS = ("problem", "answer", "difficulty", "steps", "pitfalls", "check")
FORM = (
    'Make notes on it as one JSON object and nothing else: {"problem": "the problem, complete, in the words of the text", "answer": "the final '
    'answer, in the words of the text", "difficulty": a whole number from 1 to 10, "steps": ["the steps of a solution", ...], "pitfalls": '
    '["mistakes that are easily made, and why", ...], "check": "how one can tell that the answer is right"}.'
)
NO_ANSWER = "The solution is a program; its answer has no words of its own: write an empty string for it."
_RATING = re.compile(r"[1-9][0-9]?")


class ReasoningTask(Config):
    """One task."""

    sections: list[str] = Field(min_length=1, description="how the parts of an answer begin, each once, in this order")
    ends_with: Literal["answer", "rating", "code", "text"] = Field(
        description="the last part: the answer of the notes, a whole number, one Python program, or any text"
    )
    lowest: int = Field(default=1, ge=1, le=99, description="least rating")
    highest: int = Field(default=10, ge=1, le=99, description="largest rating")
    weight: float = Field(default=1.0, ge=0, description="how likely the task is drawn")


class ReasoningOptions(AskOptions):
    """Which tasks, how many of each problem."""

    subject: Literal["mathematics", "programming"] = Field(
        default="mathematics",
        description="mathematics: notes must have an answer that stands in the text; programming: it may be empty",
    )
    tasks: dict[str, ReasoningTask] = Field(min_length=1, description="by the name of their prompt")
    tasks_per_document: int = Field(
        default=1, ge=1, description="different ones, for each its own notes are asked once"
    )
    min_problem_words: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="share of the problem's numbers and words of four letters and more that must stand in the text",
    )

    @field_validator("tasks")
    @classmethod
    def _check_tasks(cls, tasks: dict[str, ReasoningTask]) -> dict[str, ReasoningTask]:
        if not any(task.weight for task in tasks.values()):
            raise ValueError("expected a task with a weight above 0")
        return tasks

    @model_validator(mode="after")
    def _check_number(self) -> ReasoningOptions:
        if self.tasks_per_document > sum(task.weight > 0 for task in self.tasks.values()):
            raise ValueError("tasks_per_document must not exceed the tasks with a weight above 0")
        return self


class ReasoningKind:
    """Two requests for each task; the notes of a document are one request for all its tasks, since the same question is asked once."""

    keeps_language = False  # its first answers are JSON
    options_model = ReasoningOptions

    def __init__(
        self, options: ReasoningOptions, prompts: Mapping[str, str], where: str = "", *, sources: PythonSources
    ) -> None:
        needed = {NOTES: ["text", "form"]} | {name: ["notes", "sections"] for name in options.tasks}
        check_prompts(prompts, needed, where)
        self.options, self.prompts, self.sources = options, prompts, sources

    def plan(self, text: str, key: int) -> list[Task] | str:
        """A task of notes for each drawn task; or short or long."""
        reason = check_length(text, self.options)
        if reason:
            return reason
        form = FORM if self.options.subject == "mathematics" else f"{FORM} {NO_ANSWER}"
        prompt = fill_prompt(self.prompts[NOTES], text=frame_text(text.strip()), form=form)
        weights = {name: task.weight for name, task in self.options.tasks.items()}
        tasks = []
        for number in range(self.options.tasks_per_document):
            name = draw_weighted(weights, key, "task", number)
            weights[name] = 0.0
            tasks.append(Task(NOTES, prompt, text.strip(), derive_seed(key, "task", name), {"task": name}))
        return tasks

    def take(self, task: Task, answer: str) -> Result:
        """The task after its notes, or the made document after the task, or why neither."""
        if task.stage == NOTES:
            return self._take_notes(task, answer)
        chosen = self.options.tasks[task.stage]
        parts = split_sections(answer, chosen.sections)
        if parts is None:
            return Result(reason="sections")
        if not all(parts):
            return Result(reason="empty_part")
        reason = self._judge_end(chosen, parts[-1], task.details["answer"])
        if reason:
            return Result(reason=reason)
        details = {name: value for name, value in task.details.items() if name != "problem"}
        return Result([Piece(f"{task.details['problem']}\n\n{answer}\n", details)])

    def later_stages(self, task: Task) -> Sequence[str]:
        """The task, with notes about as long as the text."""
        name = task.details["task"]
        sections = "\n".join(self.options.tasks[name].sections)
        return [fill_prompt(self.prompts[name], notes=task.shown, sections=sections)]

    def _take_notes(self, task: Task, answer: str) -> Result:
        notes = read_json(answer)
        reason = self._judge_notes(notes, task.shown)
        if reason:
            return Result(reason=reason)
        name = task.details["task"]
        lines = [
            f"A problem of {self.options.subject}, between two marks:",
            frame_text(notes["problem"]),
            f"Its answer: {notes['answer'] or '(a program)'}",
            f"Its difficulty, of 10: {notes['difficulty']}",
            "Steps of a solution:",
            *(f"- {step}" for step in notes["steps"]),
            "Mistakes that are easily made:",
            *(f"- {pitfall}" for pitfall in notes["pitfalls"]),
            f"How to check it: {notes['check']}",
        ]
        sections = "\n".join(self.options.tasks[name].sections)
        prompt = fill_prompt(self.prompts[name], notes="\n".join(lines), sections=sections)
        details = task.details | {
            "problem": notes["problem"],
            "answer": notes["answer"],
            "difficulty": notes["difficulty"],
        }
        return Result(next=Task(name, prompt, task.shown, task.key, details))

    def _judge_notes(self, notes: Any, text: str) -> str:
        if not isinstance(notes, dict):
            return "json"
        if set(notes) != set(KEYS):
            return "keys"
        lists = [notes["steps"], notes["pitfalls"]]
        texts = [notes["problem"], notes["answer"], notes["check"]]
        if not all(isinstance(one, list) and one for one in lists) or type(notes["difficulty"]) is not int:
            return "types"
        if not all(isinstance(one, str) for one in [*texts, *lists[0], *lists[1]]):
            return "types"
        may_lack = self.options.subject == "programming"
        if (
            not notes["problem"].strip()
            or not (notes["answer"].strip() or may_lack)
            or not 1 <= notes["difficulty"] <= 10
        ):
            return "empty_part"
        if kept_words_frac(notes["problem"], text) < self.options.min_problem_words:
            return "problem_not_in_text"
        ways = (spaced_answer(notes["answer"]), plain_answer(notes["answer"]))
        if not any(stands_in(way, spaced_answer(text)) for way in ways):
            return "answer_not_in_text"
        return ""

    def _judge_end(self, task: ReasoningTask, end: str, answer: str) -> str:
        if task.ends_with == "answer" and plain_answer(end) != plain_answer(answer):
            return "other_answer"
        if task.ends_with == "rating" and not (_RATING.fullmatch(end) and task.lowest <= int(end) <= task.highest):
            return "rating"
        if task.ends_with == "code":
            blocks = find_blocks(end)
            if len(blocks) != 1:
                return "several_blocks" if blocks else "no_code"
            checked = self.sources.check(blocks[0])
            return checked.problem or ("" if checked.statements else "no_statements")
        return ""


def split_sections(text: str, sections: Sequence[str]) -> list[str] | None:
    """What stands behind each of the section lines' beginnings; None unless each begins one line, in order, the first the text.

    >>> split_sections("Plan: a\\nb\\nAnswer: 4", ["Plan:", "Answer:"])
    ['a\\nb', '4']
    """
    lines = text.split("\n")
    starts = []
    for section in sections:
        found = [number for number, line in enumerate(lines) if line.startswith(section)]
        if len(found) != 1:
            return None
        starts.append(found[0])
    if starts != sorted(set(starts)) or starts[0] != 0:
        return None
    bounds = [*starts, len(lines)]
    return [
        "\n".join(lines[start:end]).removeprefix(section).strip()
        for section, start, end in zip(sections, bounds[:-1], bounds[1:], strict=True)
    ]


def plain_answer(text: str) -> str:
    """An answer without what does not make another one: white space, capitals, dollar signs of LaTeX, \\boxed, the full stop at the end."""
    text = re.sub(r"\\boxed\{([^{}]*)\}", r"\1", text)
    return re.sub(r"[\s$]", "", text).casefold().removesuffix(".")


def spaced_answer(text: str) -> str:
    """The same with one blank for all white space, so that words and numbers stay apart."""
    text = re.sub(r"\\boxed\{([^{}]*)\}", r"\1", text).replace("$", " ")
    return " ".join(text.split()).casefold().removesuffix(".").strip()
