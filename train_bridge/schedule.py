"""Learning rate as a pure function of the step.

Source: Olmo 3 report table 34 and section 3.6; the stretched second half is OLMo-core's half cosine.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from dolma_py.config import Config


class ScheduleConfig(Config):
    """One curve, or one curve followed by another."""

    kind: Literal["cosine", "half_cosine", "linear", "constant"] = Field("cosine", description="Shape after warm-up.")
    peak_lr: float = Field(gt=0, description="Largest learning rate, no unit.")
    warmup_steps: int = Field(
        0, ge=0, description="Steps from 0 to the peak; for half_cosine the step where it begins."
    )
    total_steps: int | None = Field(
        None, ge=1, description="Step at which the curve ends; null: the last step of the run."
    )
    final_frac: float = Field(
        0.1, ge=0, le=1, description="Rate at the end as a share of the peak (Olmo 3: 0.1; mid and long: 0)."
    )
    switch_step: int | None = Field(None, ge=0, description="From this step on `then` rules; set both or neither.")
    then: ScheduleConfig | None = Field(None, description="The curve after switch_step.")

    @model_validator(mode="after")
    def _check(self) -> ScheduleConfig:
        if (self.switch_step is None) != (self.then is None):
            raise ValueError("switch_step and then go together")
        if self.total_steps is not None and self.kind != "constant" and self.total_steps <= self.warmup_steps:
            raise ValueError(f"total_steps={self.total_steps} must be above warmup_steps={self.warmup_steps}")
        return self


def learning_rate(config: ScheduleConfig, step: int, *, run_steps: int) -> float:
    """Rate of the update number `step` (the first is 0) in a run of `run_steps`.

    With lr = peak, e = final_frac * lr, w = warmup_steps, T = total_steps, x = (step - w) / (T - w), x <= 1:
    cosine e + (lr - e)(1 + cos(pi x))/2; linear lr - (lr - e) x; half_cosine e + (lr - e)(1 + cos(pi (1 + x)/2))/2, which
    is (lr + e)/2 at w and before; warm-up lr * step / w for the others.
    """
    if config.then is not None and config.switch_step is not None and step >= config.switch_step:
        return learning_rate(config.then, step, run_steps=run_steps)
    peak, warmup = config.peak_lr, config.warmup_steps
    final = config.final_frac * peak
    if step < warmup and config.kind != "half_cosine":
        return peak * step / warmup
    if config.kind == "constant":
        return peak
    total = run_steps if config.total_steps is None else config.total_steps
    passed = min(max((step - warmup) / max(total - warmup, 1), 0.0), 1.0)
    if config.kind == "linear":
        return peak - (peak - final) * passed
    angle = math.pi * (passed if config.kind == "cosine" else (1 + passed) / 2)
    return final + (peak - final) * (1 + math.cos(angle)) / 2
