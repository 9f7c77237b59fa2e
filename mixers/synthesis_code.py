"""Python files rewritten twice by a model, in style and then as programs that stand by themselves; each answer must be a program.

Sources are parsed in a process of their own (dolma_py.python_sources) and never run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from dolma_py.python_sources import Checked, PythonSources
from dolma_py.question_frames import frame_text
from mixers.synthesis_answers import find_blocks
from mixers.synthesis_tasks import AskOptions, Piece, Result, Task, check_length, check_prompts, fill_prompt

STYLE, STANDALONE = "style", "standalone"


class CodeOptions(AskOptions):
    """Which sources are worth it, and when an answer is a program."""

    min_ratio: float = Field(
        default=0.2, ge=0, description="shorter programs are not taken (ratio), per character of the one before"
    )
    max_ratio: float = Field(default=6.0, gt=0, description="longer programs are not taken (ratio)")
    min_score: float = Field(
        default=7.0,
        ge=0,
        le=10,
        description="least score of a source and of each answer, 0 to 10 (lint): docs/synthesis.md has the rules",
    )
    max_comment_frac: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="sources with a larger share of lines that begin with # are left out (comments)",
    )

    @model_validator(mode="after")
    def _check_ratios(self) -> CodeOptions:
        if self.min_ratio > self.max_ratio:
            raise ValueError("min_ratio must not exceed max_ratio")
        return self


class CodeKind:
    """Two requests for each file, the second of what the first gave."""

    keeps_language = False
    options_model = CodeOptions

    def __init__(
        self, options: CodeOptions, prompts: Mapping[str, str], where: str = "", *, sources: PythonSources
    ) -> None:
        check_prompts(prompts, {STYLE: ["text"], STANDALONE: ["text"]}, where)
        self.options, self.prompts, self.sources = options, prompts, sources

    def plan(self, text: str, key: int) -> list[Task] | str:
        """One task; or short, long, what python_sources says is wrong, lint or comments."""
        reason = check_length(text, self.options)
        if reason:
            return reason
        checked = self.sources.check(text)
        reason = self._judge(checked)
        if not reason and checked.comment_frac > self.options.max_comment_frac:
            reason = "comments"
        return reason or [self._ask(STYLE, text.strip("\n"), key, {"score": round(checked.score, 2)})]

    def take(self, task: Task, answer: str) -> Result:
        """The program of the second answer, or the second task; or no_code, several_blocks, ratio, a problem of Checked, undefined_name, lint."""
        blocks = find_blocks(answer)
        if len(blocks) != 1:
            return Result(reason="several_blocks" if blocks else "no_code")
        code = blocks[0].strip("\n")
        if not self.options.min_ratio <= len(code) / len(task.shown) <= self.options.max_ratio:
            return Result(reason="ratio")
        checked = self.sources.check(code)
        reason = self._judge(checked)
        if not reason and task.stage == STANDALONE and checked.findings.get("undefined_name"):
            reason = "undefined_name"
        if reason:
            return Result(reason=reason)
        details = task.details | {f"{task.stage}_score": round(checked.score, 2)}
        if task.stage == STYLE:
            return Result(next=self._ask(STANDALONE, code, task.key, details))
        return Result([Piece(code + "\n", details)])

    def later_stages(self, task: Task) -> Sequence[str]:
        """The second one, of a program as long as the first."""
        return [fill_prompt(self.prompts[STANDALONE], text=frame_text(task.shown))]

    def _ask(self, stage: str, code: str, key: int, details: dict[str, Any]) -> Task:
        return Task(stage, fill_prompt(self.prompts[stage], text=frame_text(code)), code, key, details)

    def _judge(self, checked: Checked) -> str:
        if checked.problem or not checked.statements:
            return checked.problem or "no_statements"
        return "lint" if checked.score < self.options.min_score else ""
