"""Texts rewritten by a model: the answer is the made document, when its length, words and language are those of a rewritten text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field, model_validator

from dolma_py.question_frames import frame_text
from mixers.synthesis_answers import is_fenced, kept_words_frac
from mixers.synthesis_tasks import AskOptions, Piece, Result, Task, check_length, check_prompts, fill_prompt

STAGE = "rewrite"


class RewriteOptions(AskOptions):
    """When an answer is a rewriting of its text."""

    min_ratio: float = Field(
        default=0.25, ge=0, description="shorter answers are not taken (ratio), per character of the text"
    )
    max_ratio: float = Field(
        default=4.0, gt=0, description="longer answers are not taken (ratio), per character of the text"
    )
    min_kept_words: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="share of the text's numbers and words of four letters and more that must be in the answer (unrelated)",
    )

    @model_validator(mode="after")
    def _check_ratios(self) -> RewriteOptions:
        if self.min_ratio > self.max_ratio:
            raise ValueError("min_ratio must not exceed max_ratio")
        return self


class RewriteKind:
    """One request for each document."""

    keeps_language = True
    options_model = RewriteOptions

    def __init__(self, options: RewriteOptions, prompts: Mapping[str, str], where: str = "") -> None:
        check_prompts(prompts, {STAGE: ["text"]}, where)
        self.options, self.prompts = options, prompts

    def plan(self, text: str, key: int) -> list[Task] | str:
        """One task, or short or long."""
        reason = check_length(text, self.options)
        prompt = fill_prompt(self.prompts[STAGE], text=frame_text(text.strip()))
        return reason or [Task(STAGE, prompt, text.strip(), key, {})]

    def take(self, task: Task, answer: str) -> Result:
        """The answer; or fenced, ratio or unrelated."""
        ratio = len(answer) / len(task.shown)
        if is_fenced(answer):
            return Result(reason="fenced")
        if not self.options.min_ratio <= ratio <= self.options.max_ratio:
            return Result(reason="ratio")
        if kept_words_frac(task.shown, answer) < self.options.min_kept_words:
            return Result(reason="unrelated")
        return Result([Piece(answer + "\n", task.details)])

    def later_stages(self, task: Task) -> Sequence[str]:
        """None."""
        return ()
