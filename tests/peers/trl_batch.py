"""The conversations, pairs and model that TRL was asked about, for its recorder and for the test."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.made_pairs import make_pairs
from train_bridge.model import ModelConfig, build_model

SHAPE = ModelConfig(
    d_model=32, mlp_hidden=48, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=8, vocab_size=384, window_tokens=7,
    window_pattern=("sliding",),
)  # fmt: skip
PAIRS = make_pairs(5, seed=4)
CHATS = [
    {"ids": pair[f"{side}_ids"], "mask": pair[f"{side}_mask"]} for pair in PAIRS for side in ("chosen", "rejected")
]
# sums of ln p that no model made, so that the loss is not ln 2; numbers that float32 has
REFERENCES = [[-6.0 * sum(pair[f"{side}_mask"]) + k for k, side in enumerate(("chosen", "rejected"))] for pair in PAIRS]


def hf_names() -> list[str]:
    """Names of all parameters, ours."""
    return [name for name, _ in build_model(SHAPE, seed=3).named_parameters()]


def describe_gradients(gradients: dict[str, Tensor]) -> dict[str, list[float]]:
    """Norm and product with a vector of cosines, in float64; rows of padding of the vocabulary are left out."""
    found = {}
    for name, gradient in gradients.items():
        one = gradient.detach().double()
        if name in ("embeddings.weight", "lm_head.w_out.weight"):
            one = one[:257]
        one = one.flatten()
        found[name] = [float(one.norm()), float(one @ torch.cos(torch.arange(len(one), dtype=torch.float64)))]
    return dict(sorted(found.items()))
