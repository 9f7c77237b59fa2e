"""Olmo 3 in torch's float64 with torch's own gradients, one conversation at a time: the twin of losses whose gradients are compared.

Legend: T tokens, H query heads, E head dimension. tests/reference/olmo3.py has the same in loops, without gradients.
"""

import math

import torch

from tests.reference.olmo3 import inverse_frequencies


def double_state(state):
    """Float64 copies that take gradients."""
    return {name: tensor.detach().double().clone().requires_grad_() for name, tensor in state.items()}


def rms_norm(x, weight, eps):
    return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + eps) * weight


def logits(state, ids, *, layers, heads, kv_heads, head_dim, theta, eps, windows, yarn=None):
    """(T, V) of one conversation alone. windows: one per layer, None for full; yarn: factor, fast, slow, original context."""
    tokens = len(ids)
    x = state["embeddings.weight"][ids]
    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)[None, :]
    for n in range(layers):
        p = {key.removeprefix(f"blocks.{n}."): value for key, value in state.items() if key.startswith(f"blocks.{n}.")}
        scaled = yarn if windows[n] is None else None
        angles = torch.arange(tokens, dtype=torch.float64)[:, None] * torch.from_numpy(
            inverse_frequencies(head_dim, theta, scaled)
        )
        factor = 1.0 if scaled is None else 0.1 * math.log(scaled[0]) + 1

        def split(name, count, norm=None, x=x, p=p, angles=angles, factor=factor):
            values = x @ p[f"attention.{name}.weight"].T
            if norm is not None:
                values = rms_norm(values, p[f"attention.{norm}.weight"], eps)
            values = values.view(tokens, count, head_dim).transpose(0, 1)  # (H, T, E)
            if norm is None:
                return values
            left, right = values[..., : head_dim // 2], values[..., head_dim // 2 :]
            cos, sin = factor * angles.cos(), factor * angles.sin()
            return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)

        q, k, v = split("w_q", heads, "q_norm"), split("w_k", kv_heads, "k_norm"), split("w_v", kv_heads)
        k, v = (one.repeat_interleave(heads // kv_heads, dim=0) for one in (k, v))
        visible = (distance >= 0) & (distance < (windows[n] or tokens))
        scores = (q @ k.transpose(1, 2) / math.sqrt(head_dim)).masked_fill(~visible, -math.inf)
        out = (torch.softmax(scores, dim=-1) @ v).transpose(0, 1).reshape(tokens, -1)
        x = x + rms_norm(out @ p["attention.w_out.weight"].T, p["attention_norm.weight"], eps)
        gate = x @ p["feed_forward.w1.weight"].T
        hidden = gate * torch.sigmoid(gate) * (x @ p["feed_forward.w3.weight"].T)
        x = x + rms_norm(hidden @ p["feed_forward.w2.weight"].T, p["feed_forward_norm.weight"], eps)
    return rms_norm(x, state["lm_head.norm.weight"], eps) @ state["lm_head.w_out.weight"].T


def label_log_probs(rows, ids, mask):
    """ln p of the labels of one conversation, with gradients: tokens that the mask has, but for the first."""
    chosen = torch.log_softmax(rows, dim=1)[:-1].gather(1, ids[1:, None])[:, 0]
    return chosen[mask[1:]]
