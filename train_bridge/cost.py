"""What a run will need: parameters, operations, memory, time. Nothing is allocated.

Operations per token: 6 for every parameter but the input embedding, plus 12 * H * E * min(window, T) per layer; windows are
counted, the causal half is not taken off. Source: OLMo-core's counting.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from train_bridge.metrics import format_duration
from train_bridge.model import ModelConfig, count_parameters
from train_bridge.train_config import TrainConfig

# share of a device's rate on plain products that a training step reaches: 0.4 is what the Olmo 3 report measures on H100
# (table 34: 41-43%), and small CPU runs of this trainer come out near it too
REACHED_FRAC = 0.4
NUM_TRIALS = 5  # of the measurement where a device's rate is not known
_KNOWN_FLOPS_PER_SEC = {"H100": 989.5e12, "H200": 989.5e12, "B200": 2250e12, "A100": 312e12}  # dense bfloat16


def flops_per_token(config: ModelConfig, sequence_tokens: int) -> int:
    """Operations of forward and backward for one token."""
    windows = [config.layer_window(layer) or sequence_tokens for layer in range(config.num_layers)]
    attention = sum(12 * config.num_heads * config.head_dim * min(window, sequence_tokens) for window in windows)
    return 6 * count_parameters(config).without_input_embedding + attention


def estimate_memory_bytes(config: TrainConfig) -> dict[str, int]:
    """Bound of one rank without sharding: float32 weights, gradients and two moments; activations; one chunk of logits."""
    model, data = config.model, config.data
    tokens = data.micro_batch_instances * data.sequence_tokens
    # floats kept per token and layer for the backward pass: branch inputs and norms, q k v, the three MLP streams
    width = 10 * model.d_model + 4 * (model.num_heads + 2 * model.num_kv_heads) * model.head_dim + 5 * model.mlp_hidden
    return {
        "states": 16 * count_parameters(model).total,
        "activations": 4 * tokens * (model.num_layers * width + 4 * model.d_model),
        "logits": 2 * 4 * min(config.loss.chunk_tokens, tokens) * model.vocab_size,
    }


def device_flops_per_sec(device: torch.device) -> float:
    """Rate of plain products: known peaks of GPUs, otherwise the best of NUM_TRIALS measurements of 0.1 s.

    The best, because other work on the machine only ever slows a measurement down.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, rate in _KNOWN_FLOPS_PER_SEC.items():
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


def estimate_cost(config: TrainConfig, *, device: torch.device, world_size: int = 1) -> dict[str, Any]:
    """The numbers of --dry-run, plain JSON values."""
    counts = count_parameters(config.model)
    memory = estimate_memory_bytes(config)
    tokens_per_step = config.data.batch_instances * config.data.sequence_tokens
    flops = flops_per_token(config.model, config.data.sequence_tokens)
    seconds = flops * tokens_per_step * config.run.steps / (device_flops_per_sec(device) * REACHED_FRAC * world_size)
    return {
        "parameters": counts.total,
        "parameters_without_input_embedding": counts.without_input_embedding,
        "parameters_without_embeddings": counts.without_embeddings,
        "tokens_per_step": tokens_per_step,
        "steps": config.run.steps,
        "tokens": tokens_per_step * config.run.steps,
        "flops_per_token": flops,
        "memory_bytes": sum(memory.values()),
        "memory_parts_bytes": memory,
        "checkpoint_bytes": 12 * counts.total * config.checkpoints.most_kept(config.run.steps),
        "device": str(device),
        "world_size": world_size,
        "estimated_sec": round(seconds, 1),
        "estimated_time": format_duration(seconds),
    }
