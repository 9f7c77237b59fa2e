"""Settings of what a run says about itself; none of them changes what it computes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dolma_py.config import Config


class WandbConfig(Config):
    """Weights & Biases beside metrics.jsonl; needs the extra `logs`."""

    mode: Literal["off", "offline", "online"] = Field(
        "off", description="offline: files under OUTPUT/wandb, sent later by `wandb sync`; online: sent as they come."
    )
    project: str = Field("dolma-py", min_length=1, description="Project that the run belongs to.")
    name: str | None = Field(None, min_length=1, description="Name shown for the run; null: the output folder's.")


class LogsConfig(Config):
    """What a run writes besides metrics.jsonl and events.jsonl, and when it gives up."""

    tensorboard: bool = Field(
        False, description="TensorBoard's files under OUTPUT/tensorboard; needs the extra `logs`."
    )
    wandb: WandbConfig = Field(default_factory=WandbConfig, description="Weights & Biases.")
    spike_sigma: float = Field(
        6.0, gt=0, description="A value this many deviations from the mean of those before is a spike (OLMo-core: 6)."
    )
    spike_score_steps: int = Field(
        10_000, ge=1, description="Last steps that a spike score is the share of (OLMo-core)."
    )
    max_spike_score: float | None = Field(
        None, ge=0, le=1, description="Share of spikes above which the run stops with exit code 4; null: never."
    )
    peak_flops_per_sec: float | None = Field(
        None,
        gt=0,
        description="Rate of one device that MFU is a share of; null: known for H100, H200, B200 and A100, measured elsewhere.",
    )
