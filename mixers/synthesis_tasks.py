"""What a kind of synthesis gives and takes: tasks for a model, and what became of an answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import Field, model_validator

from dolma_py.config import Config
from dolma_py.errors import ConfigError
from dolma_py.hashing import derive_seed
from dolma_py.trace_filters import TraceLimits

_HOLE = re.compile(r"\{(text|number|form|notes|sections)\}")
_FRACTION = float(1 << 64)


class AskOptions(Config):
    """Of every recipe: which documents, and how the model is asked."""

    min_chars: int = Field(default=200, ge=1, description="shorter documents are left out (short), in characters")
    max_chars: int = Field(default=20_000, ge=1, description="longer documents are left out (long), in characters")
    temperature: float = Field(default=0.7, ge=0, description="of the model")
    max_tokens: int = Field(default=4096, ge=1, description="of one answer")
    trace: TraceLimits = Field(
        default=TraceLimits(),
        description="what an answer must not be: dolma_py.trace_filters; its thinking is taken off",
    )

    @model_validator(mode="after")
    def _check_chars(self) -> AskOptions:
        if self.min_chars > self.max_chars:
            raise ValueError("min_chars must not exceed max_chars")
        return self


class Task(NamedTuple):
    """One answer wanted."""

    stage: str  # name of the prompt
    prompt: str
    shown: str  # the text that it is about
    key: int  # of everything that is drawn for it
    details: dict[str, Any]  # for the metadata of what is made


class Piece(NamedTuple):
    """A made document."""

    text: str
    details: dict[str, Any]


class Result(NamedTuple):
    """What became of an answer: pieces, or a further task, or a reason why nothing."""

    pieces: Sequence[Piece] = ()
    refused: Mapping[str, int] = {}  # parts of the answer that were not taken, by reason
    next: Task | None = None
    reason: str = ""


class Kind(Protocol):
    """One kind of recipe, with its options and prompts."""

    options: AskOptions
    keeps_language: bool  # whether an answer in another language than the text is refused

    def plan(self, text: str, key: int) -> list[Task] | str:
        """The first tasks of a document, or why it has none."""
        ...

    def take(self, task: Task, answer: str) -> Result:
        """What an answer gives that ended by itself and has nothing of a chat in it."""
        ...

    def later_stages(self, task: Task) -> Sequence[str]:
        """Prompts that follow on a first task when all goes well, for estimates."""
        ...


def fill_prompt(prompt: str, **values: str) -> str:
    """The prompt with its holes filled in one pass: a text that holds {number} keeps it.

    >>> fill_prompt("{number} of {text}", number="2", text="{number}")
    '2 of {number}'
    """
    return _HOLE.sub(lambda match: values.get(match[1], match[0]), prompt)


def check_prompts(prompts: Mapping[str, str], needed: Mapping[str, Sequence[str]], where: str) -> None:
    """ConfigError unless the prompts are the needed ones, each with its holes."""
    if set(prompts) != set(needed):
        raise ConfigError("prompts", sorted(prompts), f"expected {sorted(needed)}", where=where)
    for name, holes in needed.items():
        missing = [hole for hole in holes if f"{{{hole}}}" not in prompts[name]]
        if missing:
            raise ConfigError(
                f"prompts.{name}", prompts[name][:80], f"expected a prompt with {{{missing[0]}}}", where=where
            )


def check_length(text: str, options: AskOptions) -> str:
    """ "", short or long."""
    size = len(text.strip())
    return "short" if size < options.min_chars else "long" if size > options.max_chars else ""


def draw_weighted(weights: Mapping[str, float], key: int, *names: str | int) -> str:
    """One of the names of `weights`, each as likely as its weight says, by a hash."""
    total = sum(weights.values())
    at = derive_seed(key, *names) / _FRACTION * total
    last = ""
    for name, weight in weights.items():
        if weight > 0:
            last = name
            at -= weight
            if at < 0:
                return name
    return last


def check_weights(weights: Mapping[str, float], known: Sequence[str]) -> None:
    """ValueError for names that are not known, negative weights, and none above 0."""
    unknown = [name for name in weights if name not in known]
    if unknown:
        raise ValueError(f"expected names of {', '.join(known)}, got {unknown[0]!r}")
    if any(weight < 0 for weight in weights.values()) or not any(weights.values()):
        raise ValueError("expected weights of 0 or more, one of them above 0")


def count_reasons(reasons: Sequence[str]) -> Counter[str]:
    """How often each reason stands there, without ""."""
    return Counter(reason for reason in reasons if reason)
