"""Settings of `posttrain pairs`: who answers, who judges, which turns come before, and how much longer one answer may be than the other."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from dolma_py.config import Config
from dolma_py.endpoint import EndpointConfig

ContextKind = Literal["self_talk", "related_query", "paraphrase", "repeat"]


class Responder(Config):
    """A model that answers prompts, behind an endpoint, or by a file of answers that were made elsewhere, by a checkpoint for one."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="in counts, and in rows where it has no endpoint")
    endpoint: EndpointConfig | None = Field(default=None, description="the model, its cache, its prices and bounds")
    answers: str | None = Field(
        default=None,
        description="file of answers in place of the endpoint: JSON lines with `id` of the prompt and `text`",
    )
    is_weak: bool = Field(default=False, description="kind judged: a weak model, one of which stands in every pool")
    system: str = Field(default="", description="system message where the prompt has none; it is no part of the rows")
    max_answer_tokens: int = Field(default=4096, ge=1, description="of an answer")
    temperature: float = Field(default=0.7, ge=0, description="of the model")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="more fields of the request, such as chat_template_kwargs: {enable_thinking: false}",
    )

    @model_validator(mode="after")
    def _check(self) -> Responder:
        if (self.endpoint is None) == (self.answers is None):
            raise ValueError("expected either endpoint or answers")
        return self

    @property
    def model(self) -> str:
        """What rows call it."""
        return self.name if self.endpoint is None else self.endpoint.model


class Teacher(Config):
    """A model that writes turns of the user for multi-turn pairs."""

    endpoint: EndpointConfig = Field(description="the model, its cache, its prices and bounds")
    max_answer_tokens: int = Field(default=512, ge=1, description="of a turn")
    temperature: float = Field(default=0.7, ge=0, description="of the model")
    answer_tries: int = Field(default=2, ge=1, description="times a turn is asked for until one can be used")
    options: dict[str, Any] = Field(default_factory=dict, description="more fields of the request")


class Judge(Config):
    """A model that gives each answer a score; the mean over the aspects counts."""

    endpoint: EndpointConfig = Field(description="the model, its cache, its prices and bounds")
    aspects: dict[str, str] = Field(
        default_factory=lambda: {
            "helpfulness": "does it give the user what is wanted, in full and without ballast",
            "honesty": "does it say what it knows and what it does not",
            "instruction_following": "does it do everything that was asked, as it was asked",
            "truthfulness": "is what it says true",
        },
        min_length=1,
        description="aspect -> what it asks; UltraFeedback's four",
    )
    lowest: int = Field(default=1, description="smallest score")
    highest: int = Field(default=5, description="largest score")
    max_answer_tokens: int = Field(default=200, ge=1, description="of a judgement")
    temperature: float = Field(default=0.0, ge=0, description="of the model")
    answer_tries: int = Field(default=2, ge=1, description="times a judgement is asked for until one can be used")
    options: dict[str, Any] = Field(default_factory=dict, description="more fields of the request")

    @model_validator(mode="after")
    def _check(self) -> Judge:
        if self.lowest >= self.highest:
            raise ValueError("expected lowest < highest")
        return self


class LengthControl(Config):
    """Pairs whose last turns differ by more tokens are left out."""

    tokenizer: str = Field(description="file, folder, address or name on the hub of a tokenizer.json")
    max_difference: int = Field(default=100, ge=0, description="tokens (100 as Olmo 3)")
    sources: list[str] | None = Field(
        default=None, description="of prompts it holds for; null: all (Olmo 3: chat and multi-turn subsets)"
    )


class PairsConfig(Config):
    """Pairs of a chosen and a rejected answer to the same conversation."""

    kind: Literal["delta", "judged", "multi_turn"] = Field(
        description="delta: strong over weak, unread; judged: best over worst of a pool; multi_turn: delta pairs after turns made for it"
    )
    prompts: list[str] = Field(
        default_factory=list,
        description="files of JSON lines: chat rows, of which the last turns of the assistant are left out, or `prompt` as a text",
    )
    strong: Responder | None = Field(default=None, description="delta, multi_turn: who writes the chosen answers")
    weak: Responder | None = Field(default=None, description="delta, multi_turn: who writes the rejected answers")
    pool: list[Responder] = Field(default_factory=list, description="judged: who answers")
    pool_size: int = Field(
        default=4, ge=2, description="judged: how many of the pool answer a prompt, a weak one among them"
    )
    judge: Judge | None = Field(default=None, description="judged: who scores")
    teacher: Teacher | None = Field(default=None, description="multi_turn: who writes turns of the user")
    contexts: list[ContextKind] = Field(
        default_factory=lambda: ["self_talk", "related_query", "paraphrase", "repeat"],
        min_length=1,
        description="multi_turn: kinds of turns before the last one; each prompt gets one of them",
    )
    length: LengthControl | None = Field(
        default=None, description="how far the lengths may be apart; null: as far as they are"
    )
    max_prompts: int | None = Field(default=None, ge=1, description="take the first prompts only; null: all")
    max_bad_frac: float = Field(
        default=0.9, ge=0, le=1, description="share of prompts that may give no pair; with more nothing is written"
    )

    @model_validator(mode="after")
    def _check(self) -> PairsConfig:
        names = [one.name for one in self.responders]
        if len({*names, "judge", "teacher"}) < len(names) + 2:
            raise ValueError("pool, strong, weak: expected names that differ, and none of judge and teacher")
        getattr(self, f"_check_{self.kind}")()
        return self

    def _check_delta(self) -> None:
        if self.strong is None or self.weak is None:
            raise ValueError(f"kind {self.kind}: expected strong and weak")
        self._refuse("pool", "judge")
        if self.kind == "delta":
            self._refuse("teacher")

    def _check_multi_turn(self) -> None:
        self._check_delta()
        if self.teacher is None and set(self.contexts) != {"repeat"}:
            raise ValueError("kind multi_turn: expected teacher, or contexts: [repeat]")
        if any(one.endpoint is None for one in self.responders):
            raise ValueError(
                "kind multi_turn: expected strong and weak with endpoints, since they answer turns that are made here"
            )

    def _check_judged(self) -> None:
        if self.judge is None or len(self.pool) < 2:
            raise ValueError("kind judged: expected judge, and a pool of two or more")
        if not any(one.is_weak for one in self.pool):
            raise ValueError("pool: expected one with is_weak: true at least, which stands in every pool")
        if self.pool_size > len(self.pool):
            raise ValueError(f"pool_size: expected at most {len(self.pool)}, as many as the pool has")
        self._refuse("strong", "weak", "teacher")

    def _refuse(self, *names: str) -> None:
        for name in names:
            if getattr(self, name):
                raise ValueError(f"{name}: not used by kind {self.kind}")

    @property
    def responders(self) -> list[Responder]:
        """All who answer prompts."""
        return [one for one in (self.strong, self.weak, *self.pool) if one is not None]
