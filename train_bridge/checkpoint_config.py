"""When checkpoints are taken and which of them stay: the section `checkpoints` of a training configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from dolma_py.config import Config, OptionError

Kind = Literal["permanent", "ephemeral"]


class CheckpointConfig(Config):
    """A permanent checkpoint is never removed, an ephemeral one when newer ones are whole."""

    permanent_every_steps: int = Field(
        1000, ge=1, description="Steps between two permanent checkpoints (Olmo 3); the last step has one always."
    )
    ephemeral_every_steps: int | None = Field(
        None, ge=1, description="Steps between two ephemeral ones, fewer than between permanent ones; null: none."
    )
    keep_ephemeral: int = Field(2, ge=1, description="Newest ephemeral checkpoints that stay.")
    writing: Literal["async", "sync"] = Field(
        "async",
        description="async: the run goes on while a copy of its state in the memory of the CPU is written; sync: it waits.",
    )
    load_parent_optimizer: bool = Field(
        True, description="With --from: moments and count of updates go on; false, or where there are none: fresh ones."
    )
    change_parent_yarn: bool = Field(
        False,
        description="With --from: model.yarn may be another than the parent's, and so may the model that its weights make; false: "
        "it may only come to a parent without it.",
    )

    @model_validator(mode="after")
    def _check_ephemeral(self) -> CheckpointConfig:
        every = self.ephemeral_every_steps
        if every is not None and every >= self.permanent_every_steps:
            rule = f"expected fewer steps than permanent_every_steps={self.permanent_every_steps}"
            raise OptionError("ephemeral_every_steps", every, rule)
        return self

    def kind_after(self, step: int, *, run_steps: int) -> Kind | None:
        """Which checkpoint follows the update number `step`, the first being 1; None: none.

        Examples
        --------
        >>> config = CheckpointConfig(permanent_every_steps=4, ephemeral_every_steps=3)
        >>> [config.kind_after(step, run_steps=7) for step in range(1, 8)]
        [None, None, 'ephemeral', 'permanent', None, 'ephemeral', 'permanent']
        """
        if step == run_steps or step % self.permanent_every_steps == 0:
            return "permanent"
        every = self.ephemeral_every_steps
        return "ephemeral" if every is not None and step % every == 0 else None


def steps_to_remove(kinds: Mapping[int, Kind], *, keep_ephemeral: int) -> list[int]:
    """Steps whose checkpoints go, oldest first: the ephemeral ones but the newest `keep_ephemeral`. All of `kinds` are whole.

    Examples
    --------
    >>> steps_to_remove({1: "ephemeral", 2: "permanent", 3: "ephemeral", 4: "ephemeral", 5: "permanent"}, keep_ephemeral=1)
    [1, 3]
    """
    return sorted(step for step, kind in kinds.items() if kind == "ephemeral")[:-keep_ephemeral]
