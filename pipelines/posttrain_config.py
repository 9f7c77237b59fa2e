"""Settings of `posttrain prepare`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dolma_py.config import Config
from dolma_py.errors import name_known
from dolma_py.formats.limits import Limits
from dolma_py.trace_filters import TraceLimits
from mixers.chat_rows import COLUMNS, Form


class PosttrainSource(Config):
    """Files of one kind, and what is said of all their records."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="column `source` of what is written")
    inputs: list[str] = Field(
        min_length=1,
        description="files, folders and globs of JSON Lines, Parquet or Arrow; {corpus} is the corpus folder",
    )
    form: Form = Field(
        default="messages",
        description="messages: lists of role and content; sharegpt: lists of from and value; prompt_response: strings; transcript: HH-RLHF's",
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description=f"own names or dotted paths of columns: {', '.join(COLUMNS)}"
    )
    license: str | None = Field(default=None, description="of records that name none")
    count: int | None = Field(
        default=None, ge=1, description="rows to take, those with the smallest hash of (seed, id); null: all"
    )
    verifier: str | None = Field(default=None, description="rows prompts: of records that name none")
    max_length_difference: int | None = Field(
        default=None,
        ge=0,
        description="rows pairs: most tokens by which the last answers may differ; Olmo 3's chat sets: 100",
    )

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            if name not in COLUMNS:
                raise ValueError(f"no such column {name}. {name_known(name, COLUMNS)}")
        return columns


class PreparePosttrainConfig(Config):
    """What is read, which rows stay, and how they become tokens."""

    mix: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="name of the folder under tokens/ (sft), pairs/ (pairs) or prompts/ (prompts)",
    )
    rows: Literal["sft", "pairs", "prompts"] = Field(
        default="sft", description="chats with label masks, preference pairs, or prompts of RL with their verifier"
    )
    sources: list[PosttrainSource] = Field(min_length=1, description="what is mixed")
    tokenizer: str = Field(description="tokenizer.json, folder or hub name (owner/name or owner/name@revision)")
    eos_token: str | None = Field(
        default=None, description="token that ends a conversation; null: the first usual name it has"
    )
    template: str = Field(
        default="own",
        description="own: the tokenizer's chat template, own:NAME one of several; instruct, think: ours; or a .jinja file",
    )
    template_variables: dict[str, Any] = Field(
        default_factory=dict,
        description="what the template reads besides, such as {think_prompt: true} of `think` for prompts",
    )
    max_tokens: int = Field(
        default=32768,
        ge=2,
        description="longer conversations are cut, longer prompts dropped; Olmo 3: 32768, pairs 16384, prompts 2048",
    )
    licenses: list[str] | None = Field(default=None, description="allowed licences; null: any, and none at all")
    traces: TraceLimits | None = Field(
        default=TraceLimits(), description="problems of answers that drop a row, in pairs of the chosen one; null: none"
    )
    decontaminate: dict[str, Any] | None = Field(
        default=None,
        description="options of the tagger `contamination`, preset olmo3-posttrain (8-grams) unless they say another; null: not",
    )
    tokens_per_part: int = Field(default=1 << 28, ge=1, description="tokens of a part, about; a part is held in memory")
    max_rejected_frac: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of records that may be no rows at all before the job stops; filters do not count",
    )
    limits: Limits = Field(default_factory=Limits, description="bounds on records and compression")

    @model_validator(mode="after")
    def _check_sources(self) -> PreparePosttrainConfig:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("expected each source's name once")
        return self

    @property
    def folder(self) -> str:
        """Of what is written, below the corpus."""
        return f"{'tokens' if self.rows == 'sft' else self.rows}/{self.mix}"
