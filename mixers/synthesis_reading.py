"""Questions and answers about passages, made by a model; what an answer rests on must stand in the passage.

A passage is the whole text below `whole_words` words, else a line of it with `min_words` or more; a made document is a passage with its questions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from dolma_py.hashing import derive_seed
from dolma_py.question_frames import frame_text
from mixers.synthesis_answers import plain_words, read_json, stands_in
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

SPAN_FORM = (
    'Answer with a JSON list and nothing else. Each of its items is an object {"question": "...", "answer": "..."}.'
)
PLACES_FORM = (
    'Answer with a JSON list and nothing else. Each of its items is an object {"question": "...", "answer": "...", "places": ["...", ...]}, '
    "where places are the words of the passage that the answer rests on."
)
FORMS = {"plain": PLACES_FORM, "span": SPAN_FORM, "paraphrase": SPAN_FORM, "reasoning": PLACES_FORM}
WORDS_PER_QUESTION = 40
MOST_QUESTIONS = 8
COPIED_WORDS = 6  # in a row, that a question in other words must not share with its passage
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*(?:\s*(?:%|[^\W\d_]{1,12}))?")  # with a unit


class ReadingOptions(AskOptions):
    """Which passages, and how they are asked about."""

    whole_words: int = Field(
        default=300, ge=1, description="a text of fewer words is one passage, a longer one is parted by lines"
    )
    min_words: int = Field(default=20, ge=1, description="passages of fewer words are left out")
    max_passages: int = Field(default=8, ge=1, description="of one text, drawn by a hash, in its order")
    weights: dict[str, float] = Field(
        default=dict.fromkeys(FORMS, 1.0), description=f"how likely each kind of question is: {', '.join(FORMS)}"
    )

    @field_validator("weights")
    @classmethod
    def _check(cls, weights: dict[str, float]) -> dict[str, float]:
        check_weights(weights, list(FORMS))
        return weights


class ReadingKind:
    """A request for each passage."""

    keeps_language = False  # its answers are JSON
    options_model = ReadingOptions

    def __init__(self, options: ReadingOptions, prompts: Mapping[str, str], where: str = "") -> None:
        check_prompts(prompts, {name: ["text", "number", "form"] for name in FORMS}, where)
        self.options, self.prompts = options, prompts

    def plan(self, text: str, key: int) -> list[Task] | str:
        """A task for each passage; or short, long, or no_passages."""
        reason = check_length(text, self.options)
        if reason:
            return reason
        passages = cut_passages(text, self.options)
        order = sorted(range(len(passages)), key=lambda number: derive_seed(key, "passage", number))
        tasks = []
        for number in sorted(order[: self.options.max_passages]):
            own = derive_seed(key, "questions", number)
            name = draw_weighted(self.options.weights, own, "kind")
            wanted = count_questions(passages[number], own)
            prompt = fill_prompt(
                self.prompts[name], text=frame_text(passages[number]), number=str(wanted), form=FORMS[name]
            )
            tasks.append(Task(name, prompt, passages[number], own, {"questions": name, "passage": number}))
        return tasks or "no_passages"

    def take(self, task: Task, answer: str) -> Result:
        """The passage with the items that hold, the others counted by reason; or json, or no_items."""
        items = read_json(answer)
        if not isinstance(items, list):
            return Result(reason="json")
        passage = plain_words(task.shown)
        seen: set[str] = set()
        lines, reasons = [], []
        for item in items:
            reason = judge_item(item, task.stage, passage)
            question = "" if reason else plain_words(item["question"])
            if question.casefold() in seen:
                reason = "repeated_question"
            reasons.append(reason)
            if not reason:
                seen.add(question.casefold())
                lines.append(f"Question: {question}\nAnswer: {plain_words(item['answer'])}\n")
        if not lines:
            return Result(refused=count_reasons(reasons), reason="no_items")
        piece = Piece("\n".join([task.shown + "\n", *lines]), task.details | {"pairs": len(lines)})
        return Result([piece], count_reasons(reasons))

    def later_stages(self, task: Task) -> Sequence[str]:
        """None."""
        return ()


def cut_passages(text: str, options: ReadingOptions) -> list[str]:
    """The whole text, or those of its lines that are long enough."""
    text = text.strip()
    parts = [text] if len(text.split()) < options.whole_words else [line.strip() for line in text.split("\n")]
    return [part for part in parts if len(part.split()) >= options.min_words]


def count_questions(passage: str, key: int) -> int:
    """How many are asked for: by the length L in 40 words, 1 below L = 2, else between L - 4 and L - 1, drawn, and 1 to 8 (Wiki-to-RCQA)."""
    length = round(len(passage.split()) / WORDS_PER_QUESTION)
    if length < 2:
        return 1
    return min(max(length - 4 + derive_seed(key, "number") % 4, 1), MOST_QUESTIONS)


def judge_item(item: Any, kind: str, passage: str) -> str:
    """ "" for a pair that holds, else why not. passage: with one blank between words."""
    has_places = FORMS[kind] is PLACES_FORM
    if not isinstance(item, dict) or set(item) != {"question", "answer", *(["places"] if has_places else [])}:
        return "keys"
    places = item.get("places", [])
    if not isinstance(places, list) or not all(
        isinstance(one, str) for one in [item["question"], item["answer"], *places]
    ):
        return "types"
    question, answer = plain_words(item["question"]), plain_words(item["answer"])
    if not question or not answer or not all(plain_words(place) for place in places) or (has_places and not places):
        return "empty_part"
    if not question.endswith("?"):
        return "no_question"
    if any(not stands_in(plain_words(place), passage) for place in places):
        return "place_not_in_passage"
    is_extractive = kind in ("span", "paraphrase") or (kind == "reasoning" and not _NUMBER.fullmatch(answer))
    if is_extractive and not stands_in(answer, passage):
        return "answer_not_in_passage"
    if kind == "paraphrase" and _is_copied(question, passage):
        return "copied_question"
    return ""


def _is_copied(question: str, passage: str) -> bool:
    """Whether COPIED_WORDS words in a row are the passage's."""
    asked, read = question.casefold().split(), passage.casefold().split()
    rows = {tuple(read[at : at + COPIED_WORDS]) for at in range(len(read) - COPIED_WORDS + 1)}
    return any(tuple(asked[at : at + COPIED_WORDS]) in rows for at in range(len(asked) - COPIED_WORDS + 1))
