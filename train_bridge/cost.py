"""What a run will need: parameters, operations, memory of one GPU, time, price. Nothing is allocated.

Operations per token: 6 for every parameter but the input embedding, plus 12 * H * E * min(window, T) per layer; windows are
counted, the causal half is not taken off. Source: OLMo-core's counting.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, NamedTuple

import torch

from train_bridge.distributed import SUM_BYTES
from train_bridge.model import ModelConfig, ParameterCounts, count_parameters
from train_bridge.parallel_config import ParallelConfig

if TYPE_CHECKING:
    from train_bridge.train_config import TrainConfig

# share of a device's rate on plain products that a training step reaches: 0.4 is what the Olmo 3 report measures on H100
# (table 34: 41-43%), and small CPU runs of this trainer come out near it too
REACHED_FRAC = 0.4
NUM_TRIALS = 5  # of the measurement where a device's rate is not known
KNOWN_FLOPS_PER_SEC = {"H100": 989.5e12, "H200": 989.5e12, "B200": 2250e12, "A100": 312e12}  # dense bfloat16


class Placement(NamedTuple):
    """A run on its GPUs."""

    parallel: ParallelConfig = ParallelConfig()
    num_gpus: int = 1
    bfloat16: bool = False  # products and activations; weights, gradients and moments stay float32

    @property
    def num_sharing(self) -> int:
        """GPUs that hold a part each of weights, gradients and moments, whole matrices apart."""
        return self.parallel.shard * self.parallel.context

    @property
    def num_row_ranks(self) -> int:
        """Groups of GPUs that take other instances."""
        return max(1, self.num_gpus // (self.parallel.context * self.parallel.tensor))


@functools.lru_cache(maxsize=16)
def counts_of(config: ModelConfig) -> ParameterCounts:
    """count_parameters, which takes a tenth of a second for many layers, once for each shape."""
    return count_parameters(config)


def flops_per_token(config: ModelConfig, sequence_tokens: int, *, count_windows: bool = True) -> int:
    """Operations of forward and backward for one token; count_windows=False counts every layer as if it were full."""
    windows = [config.layer_window(layer) or sequence_tokens for layer in range(config.num_layers)]
    if not count_windows:
        windows = [sequence_tokens] * config.num_layers
    attention = sum(12 * config.num_heads * config.head_dim * min(window, sequence_tokens) for window in windows)
    return 6 * counts_of(config).without_input_embedding + attention


def saved_bytes_per_token(config: ModelConfig, placement: Placement) -> tuple[int, int]:
    """(bytes, bytes with everything computed again) that one layer keeps of one token for the backward pass.

    Uncompiled: what torch was seen to keep on CPUs, in float32 and in bfloat16 (tests/unit/train_bridge/test_train_cost.py holds
    it to the real modules). Compiled: the same on CPUs, and on an H200 in bfloat16, where a layer kept 145,000 bytes for the 7B and 91,000
    for the ladder's 1B (docs/training.md); this says 147,968 and 90,112.
    """
    parallel, d_model, mlp_hidden = placement.parallel, config.d_model, config.mlp_hidden
    heads = (config.num_heads + config.num_kv_heads) * config.head_dim
    size = 2 if placement.bfloat16 else 4
    if parallel.compile:
        parts = (4 * size * d_model, 3 * size * heads, 3 * size * mlp_hidden)
    elif placement.bfloat16:  # norms and rotations in float32
        parts = (20 * d_model, 12 * heads, 8 * mlp_hidden)
    else:
        parts = (24 * d_model, 16 * heads, 16 * mlp_hidden)
    stream, attention, mlp = parts[0], parts[1] // parallel.tensor, parts[2] // parallel.tensor
    everything, least = stream + attention + mlp, size * d_model
    kept = {
        "none": everything,
        "mlp": stream + attention,
        "full": least,
        "budget": least + round((parallel.activation_budget or 0.0) * (everything - least)),
    }
    return kept[parallel.activation_checkpointing], least


def memory_parts_bytes(config: TrainConfig, placement: Placement) -> dict[str, int]:
    """Memory of one GPU by purpose: a guide, since the allocator's gaps and the libraries' own buffers are not in it.

    states: float32 weights, gradients and two moments, 16 bytes a parameter, shared by shard * context * tensor GPUs
    gathered: weights of two layers and both embedding matrices, and one layer's whole gradients, where states are shared; else all layers'
    weights in bfloat16, which the backward pass needs again, and where replicas sum whole gradients the copy of one message
    activations: of one micro-batch; logits: of one chunk of the loss, twice
    """
    model, parallel, counts = config.model, placement.parallel, counts_of(config.model)
    rows = min(config.data.micro_batch_instances, -(-config.data.batch_instances // placement.num_row_ranks))
    tokens = -(-rows * config.data.sequence_tokens // parallel.context)
    kept, _ = saved_bytes_per_token(model, placement)
    nothing_again = parallel.model_copy(update={"activation_checkpointing": "none", "activation_budget": None})
    everything, _ = saved_bytes_per_token(model, placement._replace(parallel=nothing_again))
    # the layer in whose backward pass the rest is made again has all of it
    activations = tokens * (model.num_layers * kept + (everything - kept))
    activations += tokens * 4 * model.d_model * 4  # embedding, last norm and their gradients
    size = 2 if placement.bfloat16 else 4
    gathered = 0
    if placement.num_sharing > 1:
        layer = counts.without_embeddings // model.num_layers // parallel.tensor
        matrices = (counts.total - counts.without_embeddings) // parallel.tensor
        gathered = size * (2 * layer + matrices) + (size + 4) * layer
    else:
        if placement.bfloat16:
            gathered = size * counts.without_embeddings // parallel.tensor
        if placement.num_row_ranks > 1:
            gathered += min(SUM_BYTES, 4 * counts.total // parallel.tensor)
    return {
        "states": 16 * counts.total // (placement.num_sharing * parallel.tensor),
        "gathered": gathered,
        "activations": activations,
        "logits": 2 * 4 * min(config.loss.chunk_tokens, tokens) * model.vocab_size // parallel.tensor,
    }


def device_flops_per_sec(device: torch.device) -> float:
    """Rate of plain products: known peaks of GPUs, otherwise the best of NUM_TRIALS measurements of 0.1 s.

    The best, because other work on the machine only ever slows a measurement down.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, rate in KNOWN_FLOPS_PER_SEC.items():
            if known in name:
                return rate
    size = 512 if device.type == "cpu" else 4096
    a = torch.ones(size, size, device=device)
    a @ a
    return max(_measure_rate(a) for _ in range(NUM_TRIALS))


def _measure_rate(a: torch.Tensor) -> float:
    started, rounds = time.perf_counter(), 0
    while time.perf_counter() - started < 0.1:
        (a @ a).sum().item()
        rounds += 1
    return rounds * 2 * len(a) ** 3 / (time.perf_counter() - started)
