"""How a run is spread over ranks, and what it gives up of memory for time or of time for memory."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dolma_py.config import Config, OptionError
from dolma_py.errors import ConfigError
from train_bridge.model import ModelConfig

# these change how a result is computed, not what it is but for the order of sums
LAYOUT_OPTIONS = (
    "replicate",
    "shard",
    "context",
    "tensor",
    "activation_checkpointing",
    "activation_budget",
    "compile",
)


class ParallelConfig(Config):
    """replicate * shard * context * tensor is the number of ranks; ranks of one tensor group are neighbours, then context, shard, replicate."""

    replicate: int | None = Field(
        None, ge=1, description="Copies of the model that share the batch; null: as many as the ranks allow."
    )
    shard: int = Field(
        1,
        ge=1,
        description="Ranks that share the batch and hold a part each of weights, gradients and moments (FSDP; with "
        "replicate above 1 HSDP). Olmo 3 7B: 8 on each of 64 machines.",
    )
    context: int = Field(
        1,
        ge=1,
        description="Ranks that share the tokens of a row and, as in shard, the weights; all see all keys and values "
        "(Olmo 3, long context: 8).",
    )
    tensor: int = Field(
        1, ge=1, description="Ranks that share every matrix product; divides heads, MLP and vocabulary."
    )
    activation_checkpointing: Literal["none", "mlp", "full", "budget"] = Field(
        "none",
        description="What the backward pass computes again: nothing; the MLPs (Olmo 3 7B, mid-training); whole blocks; what "
        "torch's partitioner chooses so that activation_budget of the memory is left (Olmo 3 32B; needs compile).",
    )
    activation_budget: float | None = Field(
        None, ge=0, le=1, description="Share of activation memory that stays, with budget (Olmo 3 32B: 0.5, long 0.3)."
    )
    compile: bool = Field(
        False, description="Compile each block before and after its attention; the first steps take minutes."
    )
    float8: bool = Field(
        False,
        description="Products of the blocks in 8 bits, scaled per tensor (Olmo 3 7B, long context); needs torchao.",
    )

    @model_validator(mode="after")
    def _check(self) -> ParallelConfig:
        if (self.activation_checkpointing == "budget") != (self.activation_budget is not None):
            rule = "expected a share with activation_checkpointing=budget, and null with the others"
            raise OptionError("activation_budget", self.activation_budget, rule)
        if self.activation_checkpointing == "budget" and not self.compile:
            # torch would quietly keep all activations
            raise OptionError("compile", self.compile, "expected true with activation_checkpointing=budget")
        if self.float8 and self.tensor > 1:
            raise OptionError(
                "float8", self.float8, "expected false with tensor above 1: only whole linears are converted"
            )
        return self


def check_fits(parallel: ParallelConfig, model: ModelConfig, *, sequence_tokens: int) -> None:
    """ConfigError where a number does not divide what it shares out."""
    for name in ("num_heads", "num_kv_heads", "mlp_hidden", "vocab_size"):
        if getattr(model, name) % parallel.tensor:
            raise ConfigError(
                "parallel.tensor", parallel.tensor, f"expected a divisor of model.{name}={getattr(model, name)}"
            )
    if parallel.context > 1 and sequence_tokens % (2 * parallel.context):
        rule = f"expected a number whose double divides data.sequence_tokens={sequence_tokens}"
        raise ConfigError(
            "parallel.context", parallel.context, rule, "Each rank takes an early and a late piece of a row."
        )
