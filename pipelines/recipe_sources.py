"""What a recipe of a whole mix says of its sources: where each comes from, how it is made here, and how large each step of that is."""

from __future__ import annotations

from pydantic import Field

from dolma_py.config import Config


class StepSize(Config):
    """The text that a step reads when a mix is made at its full size; 1 TB is 10^12 bytes."""

    step: str = Field(description="name of a step of the recipe")
    text_tb: float = Field(ge=0, description="text that the step reads, or for an ingest makes, in TB")
    read_tb: float | None = Field(
        default=None, ge=0, description="of an ingest, what its reader goes through, unpacked, in TB; null: text_tb"
    )
    disk_tb: float | None = Field(default=None, ge=0, description="what it writes, in TB; null: by its kind")
    documents: int | None = Field(
        default=None,
        ge=1,
        description="that the step reads, for what it writes of each; null: at most one for 200 bytes of text",
    )
    parts: int = Field(default=1, ge=1, description="corpora of equal size that the step is run over one by one")


class EndpointPrices(Config):
    """What an endpoint takes; the numbers are examples, in whatever currency."""

    per_million_prompt: float = Field(default=0.1, ge=0, description="price of a million prompt tokens")
    per_million_completion: float = Field(default=0.3, ge=0, description="price of a million tokens of answers")


class EndpointSize(Config):
    """What a language model is asked when a source is made at its full size."""

    stage: str = Field(min_length=1, description="what is asked, in a word or two")
    model: str = Field(min_length=1, description="the model that the report or the data set's card names")
    requests: int = Field(ge=1, description="how many")
    prompt_tokens: int = Field(ge=0, description="of all requests together, about")
    answer_tokens: int = Field(ge=0, description="of all answers together, about")


class MixSource(Config):
    """One source of a mix."""

    name: str = Field(description="source of the ingest; NAME stands for NAME_... too")
    dataset: str = Field(min_length=1, description="the data set outside, with its version")
    get: str = Field(min_length=1, description="where it is to be had")
    licence: str = Field(min_length=1, description="under which it is given, and what is said of the texts in it")
    made: str = Field(
        min_length=1,
        description="how the files that the ingest reads are made, by commands of dolma-py where there are any",
    )
    recipe: str | None = Field(
        default=None, description="packaged recipe that makes them; null: they are read as they are"
    )
    sizes: list[StepSize] = Field(default_factory=list, description="of that recipe's steps")
    endpoint: list[EndpointSize] = Field(
        default_factory=list, description="of a source that a language model made, or makes here: what that asks"
    )
    pool_tokens: int = Field(ge=0, description="expected before mixing")
    mix_tokens: int = Field(ge=0, description="expected in the mix")

    def stands_for(self, source: str) -> bool:
        """Whether a source of the ingest is this one, or a part of it."""
        return source == self.name or source.startswith(f"{self.name}_")
