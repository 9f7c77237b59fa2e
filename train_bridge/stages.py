"""A run as a link of a chain: which run it goes on from, and how fast its source ran it.

Nothing here changes what a run computes. The numbers are those of the Olmo 3 report, tables 34 and 35, and of OLMo-core's
scripts; docs/training.md says where these disagree.
"""

from __future__ import annotations

from pydantic import Field

from dolma_py.config import Config
from dolma_py.errors import ConfigError
from train_bridge.cost import KNOWN_FLOPS_PER_SEC, Placement
from train_bridge.launch_config import LaunchConfig
from train_bridge.parallel_config import ParallelConfig


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
    tokens_per_sec_per_gpu: float | None = Field(None, gt=0, description="Published speed.")


def choose_placement(
    parallel: ParallelConfig, launch: LaunchConfig, *, num_gpus: int | None, bfloat16: bool
) -> Placement:
    """On `num_gpus`, or on those that the launch settings name. ConfigError where a copy of the model does not divide them."""
    group = parallel.shard * parallel.context * parallel.tensor
    if num_gpus is None:
        num_gpus = launch.nodes * launch.processes_per_node if launch.processes_per_node else launch.nodes * group
    if num_gpus % group:
        rule = f"expected a multiple of {group}: shard {parallel.shard} x context {parallel.context} x tensor {parallel.tensor}"
        raise ConfigError("--gpus", num_gpus, rule)
    return Placement(parallel.model_copy(update={"replicate": num_gpus // group}), num_gpus, bfloat16)


def gpu_peak(name: str) -> float:
    """Operations per second of dense bfloat16 products; ConfigError lists the known GPUs."""
    if name not in KNOWN_FLOPS_PER_SEC:
        raise ConfigError("--gpu", name, f"expected one of {', '.join(KNOWN_FLOPS_PER_SEC)}")
    return KNOWN_FLOPS_PER_SEC[name]
