"""Text from a model: one token after another, by temperature and nucleus sampling from a seed."""

from __future__ import annotations

import torch
from torch import Tensor

from train_bridge.model import Cache, Olmo3


def nucleus_probabilities(logits_V: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Probabilities (V,): softmax(logits / temperature) restricted to the fewest most likely tokens that sum to top_p.

    The most likely token always stays. Temperature 0 is the most likely token alone.
    Source: Holtzman et al. 2020, section 3.1.
    """
    if temperature == 0:
        return torch.zeros_like(logits_V).index_fill_(0, logits_V.argmax(), 1.0)
    probabilities_V = torch.softmax(logits_V.float() / temperature, dim=0)
    sorted_V, order_V = probabilities_V.sort(descending=True, stable=True)
    before_V = sorted_V.cumsum(0) - sorted_V  # mass of the more likely tokens
    kept_V = torch.where(before_V < top_p, sorted_V, 0.0)
    kept_V[0] = sorted_V[0]
    return torch.zeros_like(probabilities_V).index_copy_(0, order_V, kept_V / kept_V.sum())


@torch.no_grad()
def generate_ids(
    model: Olmo3,
    prompt_ids: list[int],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    stop_id: int,
    vocab_size: int,
) -> list[int]:
    """New ids after a prompt of at least one id; ends before `stop_id`. Rows of the padded vocabulary are never drawn."""
    device = model.embeddings.weight.device
    generator = torch.Generator(device="cpu").manual_seed(seed)
    cache = Cache(model.config.num_layers)
    ids_BT = torch.tensor([prompt_ids], device=device)
    new_ids: list[int] = []
    for _ in range(max_new_tokens):
        hidden_BTD = model.hidden(ids_BT, cache=cache)
        logits_V = model.lm_head.w_out(hidden_BTD[0, -1])[:vocab_size].float().cpu()
        probabilities_V = nucleus_probabilities(logits_V, temperature=temperature, top_p=top_p)
        drawn = int(torch.multinomial(probabilities_V, 1, generator=generator))
        if drawn == stop_id:
            break
        new_ids.append(drawn)
        ids_BT = torch.tensor([[drawn]], device=device)
    return new_ids
