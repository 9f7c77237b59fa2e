"""Questions with choices in seven formats, made by a model of texts; each becomes a document of its own, its choices in an order drawn here.

What can be checked by structure is checked: the form of the question, that choices differ, that the right answer is one of them. Whether it is
right nobody checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import Field, field_validator

from dolma_py.hashing import derive_seed
from dolma_py.question_frames import frame_text
from mixers.synthesis_answers import plain_words, read_json
from mixers.synthesis_tasks import (
    AskOptions,
    Piece,
    Result,
    Task,
    check_length,
    check_prompts,
    check_weights,
    count_reasons,
    draw_weighted,
    fill_prompt,
)

LETTERS = "ABCD"
FORM = (
    'Answer with a JSON list and nothing else. Each of its items is an object {"question": "...", "options": ["...", ...], "answer": "..."}. '
    'The options carry no letters or numbers before them, none of them speaks of the others (no "all of the above"), and the answer is one of '
    "the options, written in the same way."
)
TRUTHS = frozenset({"true, true", "true, false", "false, true", "false, false"})
_LETTERED = re.compile(r"\(?[A-Da-d1-4][.):]\s")
_OF_OTHERS = re.compile(
    r"\b(?:(?:all|none|both|neither|any|either) of (?:the (?:above|others?|options?|choices?)|these)\b"
    r"|(?:options?|choices?|both) [A-D]\b|[A-D] and [A-D]\b)",
    re.IGNORECASE,
)
_OF_TEXT = re.compile(
    r"\b(?:the|this|above|given) (?:text|passage|excerpt|article|post|comment|author)\b", re.IGNORECASE
)
_BLANK = re.compile(r"_{2,}")


def _is_question(question: str, options: Sequence[str]) -> bool:
    return question.endswith("?") and not _BLANK.search(question)


def _is_beginning(question: str, options: Sequence[str]) -> bool:
    return not question.endswith(("?", ".", "!")) and not _BLANK.search(question)


def _has_blank(question: str, options: Sequence[str]) -> bool:
    return len(_BLANK.findall(question)) == 1


def _has_two_statements(question: str, options: Sequence[str]) -> bool:
    found = re.fullmatch(r"Statement 1:\s*(\S.*?)\s*Statement 2:\s*(\S.*)", question, re.DOTALL)
    return found is not None and found[1] != found[2] and {option.casefold() for option in options} == TRUTHS


def _asks_which(question: str, options: Sequence[str]) -> bool:
    return (
        question.startswith("Which ")
        and not question.startswith("Which of the following statements")
        and question.endswith("?")
    )


def _asks_which_is_true(question: str, options: Sequence[str]) -> bool:
    words = re.search(r"\b(?:true|false|correct|incorrect|accurate|inaccurate|not)\b", question, re.IGNORECASE)
    return question.startswith("Which of the following") and words is not None and question.endswith("?")


def _has_choices_inside(question: str, options: Sequence[str]) -> bool:
    text = plain_words(question).casefold()
    return question.endswith("?") and all(option.casefold() in text for option in options)


class Format(NamedTuple):
    """One way to ask."""

    fits: Callable[[str, Sequence[str]], bool]  # whether question and options have its form
    num_options: tuple[int, int] = (4, 4)
    has_letters: bool = True  # whether the choices are listed below the question


FORMATS = {
    "open_question": Format(_is_question),
    "statement_completion": Format(_is_beginning),
    "fill_in_blank": Format(_has_blank),
    "two_statements": Format(_has_two_statements),
    "which_has_property": Format(_asks_which),
    "which_true": Format(_asks_which_is_true),
    "choices_in_question": Format(_has_choices_inside, (2, 4), has_letters=False),
}


class FlashcardOptions(AskOptions):
    """How many questions of which format."""

    items_per_request: int = Field(default=5, ge=1, le=50, description="questions asked for in one request")
    words_per_request: int = Field(
        default=400, ge=1, description="a text is asked about once for so many words, rounded"
    )
    max_requests: int = Field(default=4, ge=1, le=50, description="about one text")
    weights: dict[str, float] = Field(
        default=dict.fromkeys(FORMATS, 1.0), description=f"how likely each format is: {', '.join(FORMATS)}"
    )
    question_prefix_frac: float = Field(
        default=0.5, ge=0, le=1, description='share of questions with "Question: " before them'
    )

    @field_validator("weights")
    @classmethod
    def _check(cls, weights: dict[str, float]) -> dict[str, float]:
        check_weights(weights, list(FORMATS))
        return weights


class FlashcardKind:
    """Some requests for each text, each in a format that is drawn."""

    keeps_language = False  # its answers are JSON
    options_model = FlashcardOptions

    def __init__(self, options: FlashcardOptions, prompts: Mapping[str, str], where: str = "") -> None:
        check_prompts(prompts, {name: ["text", "number", "form"] for name in FORMATS}, where)
        self.options, self.prompts = options, prompts

    def plan(self, text: str, key: int) -> list[Task] | str:
        """A task for every words_per_request words; or short or long."""
        reason = check_length(text, self.options)
        if reason:
            return reason
        text = text.strip()
        wanted = round(len(text.split()) / self.options.words_per_request)
        tasks = []
        for number in range(min(max(wanted, 1), self.options.max_requests)):
            name = draw_weighted(self.options.weights, key, "format", number)
            prompt = fill_prompt(
                self.prompts[name], text=frame_text(text), number=str(self.options.items_per_request), form=FORM
            )
            tasks.append(Task(name, prompt, text, derive_seed(key, "request", number), {"format": name}))
        return tasks

    def take(self, task: Task, answer: str) -> Result:
        """A piece for each item that holds, the others counted by reason; or json, or no_items when none holds."""
        items = read_json(answer)
        if not isinstance(items, list):
            return Result(reason="json")
        seen: set[str] = set()
        pieces, reasons = [], []
        for number, item in enumerate(items):
            reason = judge_item(item, FORMATS[task.stage])
            question = "" if reason else plain_words(item["question"]).casefold()
            if question in seen:
                reason = "repeated_question"
            reasons.append(reason)
            if not reason:
                seen.add(question)
                pieces.append(self._render(item, task, number))
        return Result(pieces, count_reasons(reasons), reason="" if pieces else "no_items")

    def later_stages(self, task: Task) -> Sequence[str]:
        """None."""
        return ()

    def _render(self, item: dict[str, Any], task: Task, number: int) -> Piece:
        key = derive_seed(task.key, "item", number)
        options = sorted((clean_option(one) for one in item["options"]), key=lambda option: derive_seed(key, option))
        right = [option.casefold() for option in options].index(clean_option(item["answer"]).casefold())
        has_prefix = derive_seed(key, "prefix") / (1 << 64) < self.options.question_prefix_frac
        lines = [("Question: " if has_prefix else "") + item["question"].strip()]
        if FORMATS[task.stage].has_letters:
            lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
            lines.append(f"Answer: {LETTERS[right]}. {options[right]}")
        else:
            lines.append(f"Answer: {options[right]}")
        return Piece("\n".join(lines) + "\n", task.details | {"right": right})


def clean_option(option: str) -> str:
    """A choice without white space around it and a full stop at its end."""
    return plain_words(option).removesuffix(".")


def judge_item(item: Any, form: Format) -> str:
    """ "" for a question that holds, else why not."""
    if not isinstance(item, dict) or set(item) != {"question", "options", "answer"}:
        return "keys"
    question, options, answer = item["question"], item["options"], item["answer"]
    if not isinstance(options, list) or not all(isinstance(one, str) for one in [question, answer, *options]):
        return "types"
    options = [clean_option(option) for option in options]
    if not question.strip() or not all(options):
        return "empty_part"
    if not form.num_options[0] <= len(options) <= form.num_options[1]:
        return "number_of_options"
    if len({option.casefold() for option in options}) < len(options):
        return "equal_options"
    if clean_option(answer).casefold() not in {option.casefold() for option in options}:
        return "answer_not_an_option"
    if any(_LETTERED.match(option) for option in options):
        return "lettered_option"
    if any(_OF_OTHERS.search(option) for option in options):
        return "option_of_options"
    if _OF_TEXT.search(question):
        return "speaks_of_text"
    return "" if form.fits(question.strip(), options) else "form"
