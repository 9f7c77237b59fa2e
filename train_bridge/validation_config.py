"""Settings of the loss on held-out documents while a run trains."""

from __future__ import annotations

from pydantic import Field

from dolma_py.config import Config


class ValidationConfig(Config):
    """What is measured between two steps; nothing of it changes the training."""

    every_steps: int | None = Field(
        None, ge=1, description="Steps between two validations; the last step has one too. null: none."
    )
    max_docs_per_source: int = Field(100, ge=1, description="First held-out documents of each source that are read.")
    items: str | None = Field(
        None,
        min_length=1,
        description="JSON lines of {id, question, answer, passage}: bits per byte of answers. null: none.",
    )
    batch_tokens: int = Field(
        16384,
        ge=1,
        description="Tokens of one forward pass, with padding, one row at least; changes memory, and results only in their last digits.",
    )
