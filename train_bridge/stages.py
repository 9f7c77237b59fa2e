"""A run as a link of a chain: which run it goes on from, and how and how fast its source ran it.

Nothing here changes what a run computes. The numbers are those of the Olmo 3 report, tables 34 and 35, and of OLMo-core's
scripts; docs/training.md says where these disagree.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dolma_py.config import Config
from dolma_py.errors import ConfigError
from train_bridge.cost import KNOWN_FLOPS_PER_SEC, Layout


class LayoutConfig(Config):
    """How the run lies on GPUs, for the estimates of a dry run."""

    replicate: int = Field(ge=1, description="Copies of the weights.")
    shard: int = Field(1, ge=1, description="GPUs that share one copy, each taking other instances.")
    context: int = Field(1, ge=1, description="GPUs that share the tokens of one instance.")
    tensor: int = Field(1, ge=1, description="GPUs that share every matrix.")
    recomputed: Literal["none", "mlp", "full", "budget"] = Field(
        "none", description="Activations made again in the backward pass."
    )
    budget: float = Field(1.0, ge=0, le=1, description="With budget: share of the activations that is kept.")
    compiled: bool = Field(True, description="Blocks are compiled.")
    float8: bool = Field(False, description="Products of linear layers in float8; not in the estimates.")


class StageConfig(Config):
    """One link of the chain pretraining, mid-training, long context, as it was published."""

    title: str = Field(description="Name for people.")
    follows: tuple[str, ...] = Field(
        (),
        description="Configurations of the runs whose weights and moments this one goes on from, their mean when several; "
        "empty: first weights.",
    )
    averaged_steps: tuple[int, ...] = Field(
        (), description="Steps whose checkpoints are averaged into the result; empty: the last one is the result."
    )
    gpu: str = Field("H100", description="GPU of the published run.")
    layout: LayoutConfig = Field(description="Layout of the published run.")
    tokens_per_sec_per_gpu: float | None = Field(None, gt=0, description="Published speed.")


def choose_layout(stage: StageConfig | None, *, num_gpus: int | None, bfloat16: bool) -> Layout:
    """The stage's layout with as many copies as `num_gpus` allows; without a stage one copy on each GPU."""
    if stage is None:
        return Layout(replicate=num_gpus or 1, bfloat16=bfloat16)
    values = stage.layout.model_dump(exclude={"float8"})
    published = Layout(**values, bfloat16=True)
    if num_gpus is None or num_gpus == published.num_gpus:
        return published
    group = published.num_gpus // published.replicate
    if num_gpus % group:
        rule = f"expected a multiple of {group}: shard {published.shard} x context {published.context} x tensor {published.tensor}"
        raise ConfigError("--gpus", num_gpus, rule)
    return published._replace(replicate=num_gpus // group)


def gpu_peak(name: str) -> float:
    """Operations per second of dense bfloat16 products; ConfigError lists the known GPUs."""
    if name not in KNOWN_FLOPS_PER_SEC:
        raise ConfigError("--gpu", name, f"expected one of {', '.join(KNOWN_FLOPS_PER_SEC)}")
    return KNOWN_FLOPS_PER_SEC[name]
