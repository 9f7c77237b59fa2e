"""Text from a model: many sequences at once, one token of each after another, drawn from each sequence's own seed.

Legend: B sequences, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from dolma_py.config import Config
from train_bridge.model import Olmo3


class SamplingConfig(Config):
    """How the next token is drawn: temperature first, then top_k, then top_p."""

    max_new_tokens: int = Field(100, ge=1, description="Tokens of a continuation at most.")
    temperature: float = Field(0.8, ge=0, description="Divides the logits; 0 takes the likeliest token.")
    top_k: int = Field(0, ge=0, description="Only so many of the likeliest tokens; 0: all.")
    top_p: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Only the fewest likeliest tokens that sum to this (Olmo 3's own chat evaluation).",
    )


class Completion(NamedTuple):
    """New ids without the prompt, and whether an end token was drawn (which is not among them)."""

    ids: list[int]
    has_ended: bool


def token_probabilities(logits_BV: Tensor, sampling: SamplingConfig) -> Tensor:
    """Probabilities (B, V) of the next token: softmax(logits / temperature), cut to top_k, then to top_p, and scaled to 1.

    The likeliest token always stays; of equals the first do. Source: nucleus, Holtzman et al. 2020, section 3.1.
    """
    if sampling.temperature == 0:
        likeliest_B1 = logits_BV.argmax(dim=-1, keepdim=True)
        return torch.zeros_like(logits_BV, dtype=torch.float32).scatter_(-1, likeliest_B1, 1.0)
    probabilities_BV = torch.softmax(logits_BV.float() / sampling.temperature, dim=-1)
    if sampling.top_k == 0 and sampling.top_p == 1:
        return probabilities_BV
    sorted_BV, order_BV = probabilities_BV.sort(dim=-1, descending=True, stable=True)
    if sampling.top_k:
        sorted_BV[:, sampling.top_k :] = 0.0
        sorted_BV /= sorted_BV.sum(dim=-1, keepdim=True)
    more_likely_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
    is_kept_BV = more_likely_BV < sampling.top_p
    is_kept_BV[:, 0] = True
    sorted_BV = torch.where(is_kept_BV, sorted_BV, 0.0)
    sorted_BV /= sorted_BV.sum(dim=-1, keepdim=True)
    return torch.zeros_like(probabilities_BV).scatter_(-1, order_BV, sorted_BV)


def draw_tokens(probabilities_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """The first token at which the running sum passes the uniform number times the whole sum; int64 (B,).

    uniforms_B : float64 in [0, 1). A token of probability 0 is never drawn.
    """
    sums_BV = probabilities_BV.double().cumsum(dim=-1)
    total_B = sums_BV[:, -1]
    # below the total, also where the product is rounded up to it
    target_B = torch.minimum(uniforms_B * total_B, torch.nextafter(total_B, torch.zeros_like(total_B)))
    return torch.searchsorted(sums_BV, target_B[:, None], right=True)[:, 0]


@torch.no_grad()
def generate_batch(
    model: Olmo3,
    prompts: Sequence[Sequence[int]],
    *,
    sampling: SamplingConfig,
    seeds: Sequence[int],
    end_ids: Collection[int],
    vocab_size: int,
) -> list[Completion]:
    """One continuation per prompt; each is what the prompt alone would give, but for rounding in the model's sums.

    Parameters
    ----------
    prompts : ids, at least one each    of any lengths: the shorter are padded on the left, and pads are never seen
    seeds : one per prompt              a sequence draws one number per token from its own generator
    end_ids                             a continuation ends before one of these; it may have several, or none
    vocab_size : int                    ids from here on only pad the model's vocabulary and are never drawn
    """
    if not prompts or not all(prompts) or len(seeds) != len(prompts):
        raise ValueError(
            f"expected prompts of one id or more and a seed each, got {len(prompts)} and {len(seeds)} seeds"
        )
    device = model.embeddings.weight.device
    longest = max(len(prompt) for prompt in prompts)
    pads = [longest - len(prompt) for prompt in prompts]
    ids_BT = torch.tensor([[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)], device=device)
    cache = model.new_cache(pads=pads, max_tokens=longest + sampling.max_new_tokens)
    generators = [torch.Generator(device="cpu").manual_seed(seed) for seed in seeds]
    new_ids: list[list[int]] = [[] for _ in prompts]
    has_ended = [False] * len(prompts)
    rows = list(range(len(prompts)))  # number of the prompt that stands in each row of the batch
    for _ in range(sampling.max_new_tokens):
        hidden_BD = model.hidden(ids_BT, cache=cache)[:, -1]
        logits_BV = model.lm_head.w_out(hidden_BD)[:, :vocab_size].float()
        uniforms = [float(torch.rand((), generator=generators[row], dtype=torch.float64)) for row in rows]
        uniforms_B = torch.tensor(uniforms, dtype=torch.float64, device=device)
        drawn_B = draw_tokens(token_probabilities(logits_BV, sampling), uniforms_B)
        for row, drawn in zip(rows, drawn_B.tolist(), strict=True):
            has_ended[row] = has_ended[row] or drawn in end_ids
            if not has_ended[row]:
                new_ids[row].append(drawn)
        going_on = [place for place, row in enumerate(rows) if not has_ended[row]]
        if not going_on:
            break
        if 2 * len(going_on) <= len(rows):
            # the others compute for nothing; moving the cache costs about one token, so not at every end
            rows, drawn_B = [rows[place] for place in going_on], drawn_B[going_on]
            cache.keep_rows(going_on)
        ids_BT = drawn_B[:, None]
    return [Completion(*pair) for pair in zip(new_ids, has_ended, strict=True)]
