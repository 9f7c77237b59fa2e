"""Learning rate as a pure function of the step.

Source: Olmo 3 report table 34 and section 3.6; the stretched second half is OLMo-core's half cosine, and so are the decaying
periods of its ladder (WSD-S). A curve after another is `then`: constant then linear is WSD, cosine then linear a linear tail.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from dolma_py.config import Config, OptionError
from dolma_py.errors import ConfigError


class ScheduleConfig(Config):
    """One curve, or one curve followed by another."""

    kind: Literal["cosine", "half_cosine", "linear", "constant", "inverse_sqrt", "wsd"] = Field(
        "cosine", description="Shape after warm-up; wsd: the peak, with a linear decay at the end of each period."
    )
    peak_lr: float = Field(gt=0, description="Largest learning rate, no unit.")
    warmup_steps: int = Field(
        0, ge=0, description="Steps from 0 to the peak; for half_cosine the step where it begins."
    )
    warmup_frac: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of the run's steps that warm up, rounded; warmup_steps is then counted from it.",
    )
    total_steps: int | None = Field(
        None, ge=1, description="Step at which the curve ends; null: the last step of the run."
    )
    final_frac: float = Field(
        0.1, ge=0, le=1, description="Rate at the end as a share of the peak (Olmo 3: 0.1; mid and long: 0)."
    )
    decay_frac: float = Field(
        0.1, gt=0, le=1, description="wsd: share of a period's steps that decay (OLMo-core: 0.1)."
    )
    period_ends: tuple[int, ...] = Field(
        (),
        description="wsd: rising steps where periods end before the last one; the rate is back at the peak after each.",
    )
    switch_step: int | None = Field(None, ge=0, description="From this step on `then` rules; set both or neither.")
    then: ScheduleConfig | None = Field(None, description="The curve after switch_step.")

    @model_validator(mode="after")
    def _check(self) -> ScheduleConfig:
        if (self.switch_step is None) != (self.then is None):
            raise OptionError(
                "switch_step", self.switch_step, "expected a step where there is `then`, and null without"
            )
        if self.kind == "inverse_sqrt" and not self.warmup_steps:
            rule = "expected a number above 0 with kind=inverse_sqrt, which is measured in it"
            raise OptionError("warmup_steps", self.warmup_steps, rule)
        if self.then is not None and self.then.warmup_frac is not None:
            raise OptionError(
                "then.warmup_frac", self.then.warmup_frac, "expected null: only the first curve's warm-up is counted"
            )
        starts = (self.warmup_steps, *self.period_ends)
        if self.period_ends and (
            self.kind != "wsd" or any(end <= start for start, end in zip(starts, self.period_ends, strict=False))
        ):
            rule = f"expected steps that rise from above warmup_steps={self.warmup_steps}, with kind=wsd"
            raise OptionError("period_ends", list(self.period_ends), rule)
        if self.total_steps is not None and self.kind != "constant" and self.total_steps <= starts[-1]:
            named = f"the last of period_ends, {starts[-1]}" if self.period_ends else f"warmup_steps={starts[-1]}"
            raise OptionError("total_steps", self.total_steps, f"expected a step above {named}")
        return self

    def check_fits(self, run_steps: int, *, key: str) -> None:
        """ConfigError where a curve that ends with the run has its warm-up or a period beyond it. key: of this section."""
        if self.then is not None:
            self.then.check_fits(run_steps, key=f"{key}.then")
        if self.total_steps is not None:  # a run may be a part of a longer curve, if that is said
            return
        last = self.period_ends[-1] if self.period_ends else self.warmup_steps
        if last >= run_steps:
            option, got = ("period_ends", list(self.period_ends)) if self.period_ends else ("warmup_steps", last)
            rule = f"expected less than run.steps={run_steps}, where the curve ends while {key}.total_steps is null"
            raise ConfigError(f"{key}.{option}", got, rule, f"For a part of a longer curve: --set {key}.total_steps=N.")


def learning_rate(config: ScheduleConfig, step: int, *, run_steps: int) -> float:
    """Rate of the update number `step`, the first of which is 1, in a run of `run_steps`: OLMo-core's count.

    So the first update of a warm-up moves the weights, and the last one of a run has the rate of the curve's end.

    With lr = peak, e = final_frac * lr, w = warmup_steps, T = total_steps, x = (step - w) / (T - w), x <= 1:
    cosine e + (lr - e)(1 + cos(pi x))/2; linear lr - (lr - e) x; half_cosine e + (lr - e)(1 + cos(pi (1 + x)/2))/2, which
    is (lr + e)/2 at w and before; inverse_sqrt e + (lr - e) sqrt(w / step); wsd lr, and from f = decay_frac of a period before
    its end, linear to e at the end (the first period begins at 0, the last ends at T); warm-up lr * step / w for the others.
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
    if config.kind == "wsd":
        return _wsd_rate(config, step, total=total)
    if config.kind == "inverse_sqrt":
        return final + (peak - final) * math.sqrt(warmup / min(step, max(total, warmup)))
    passed = min(max((step - warmup) / max(total - warmup, 1), 0.0), 1.0)
    if config.kind == "linear":
        return peak - (peak - final) * passed
    angle = math.pi * (passed if config.kind == "cosine" else (1 + passed) / 2)
    return final + (peak - final) * (1 + math.cos(angle)) / 2


def _wsd_rate(config: ScheduleConfig, step: int, *, total: int) -> float:
    peak, final = config.peak_lr, config.final_frac * config.peak_lr
    borders = (0, *(end for end in config.period_ends if end < total), total)
    # at a border the old period's last rate still rules: a checkpoint taken there is a finished run of that length
    place = next((i for i, end in enumerate(borders[1:]) if step <= end), len(borders) - 2)
    start, end = borders[place], borders[place + 1]
    decay_steps = max(config.decay_frac * (end - start), 1.0)
    left = min(max(end - step, 0) / decay_steps, 1.0)
    return final + (peak - final) * left
