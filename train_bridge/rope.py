"""Rotary position embedding, plain and with YaRN: which angle a position turns each pair of a head's dimensions by.

Legend: T tokens, E head dimension, B batch, H heads.
Source: RoPE, Su et al. 2021; YaRN, Peng et al. 2023, section 3.2-3.4 with the values of Olmo 3's long-context stage.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from dolma_py.config import Config


class YarnConfig(Config):
    """Stretching of the rotary frequencies for long contexts. Applies to full-attention layers only."""

    factor: float = Field(8.0, ge=1, description="New context over original context, no unit (Olmo 3: 65,536 / 8,192).")
    beta_fast: float = Field(32.0, gt=0, description="Turns within the original context above which a pair is kept.")
    beta_slow: float = Field(
        1.0, gt=0, description="Turns within the original context below which a pair is stretched."
    )
    original_context_tokens: int = Field(8192, ge=1, description="Tokens of the context trained before the extension.")


def inverse_frequencies(head_dim: int, *, theta: float, yarn: YarnConfig | None = None) -> Tensor:
    """Radians per position of each pair: theta^(-2i/E), with YaRN blended towards that over `factor`.

    Parameters
    ----------
    head_dim : int, even            E
    theta : float                   rotary base, 500,000 in Olmo 3

    Returns
    -------
    frequencies : float64 (E / 2,)  pair i is (dimension i, dimension i + E/2): the rotate-half layout

    Source  YaRN section 3.2; deviation: none. The bounds of the ramp are rounded outwards to whole pairs.

    Examples
    --------
    >>> inverse_frequencies(4, theta=100.0).tolist()
    [1.0, 0.1]
    """
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float64)
    plain = theta ** (-pairs / head_dim)
    if yarn is None:
        return plain
    low = math.floor(_pair_with_turns(yarn.beta_fast, head_dim, theta, yarn.original_context_tokens))
    high = math.ceil(_pair_with_turns(yarn.beta_slow, head_dim, theta, yarn.original_context_tokens))
    low, high = max(low, 0), min(high, head_dim - 1)
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float64) - low) / max(high - low, 0.001)).clamp(0, 1)
    return (plain / yarn.factor) * ramp + plain * (1 - ramp)


def _pair_with_turns(num_turns: float, head_dim: int, theta: float, context_tokens: int) -> float:
    """Index (not whole) of the pair that turns `num_turns` times over the context."""
    return head_dim * math.log(context_tokens / (2 * math.pi * num_turns)) / (2 * math.log(theta))


def attention_factor(yarn: YarnConfig | None) -> float:
    """YaRN's m = 0.1 ln(factor) + 1, multiplied into cosine and sine; 1 without YaRN."""
    return 1.0 if yarn is None else 0.1 * math.log(yarn.factor) + 1.0


def rotation_table(
    positions_T: Tensor, head_dim: int, *, theta: float, yarn: YarnConfig | None
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles, both float32 (..., T, E); the halves of E repeat each other."""
    frequencies = inverse_frequencies(head_dim, theta=theta, yarn=yarn).to(positions_T.device, torch.float32)
    # angles in float32: bfloat16 has 8 bits and could not tell position 300 from 301
    angles_TE = positions_T.to(torch.float32)[..., None] * frequencies
    angles_TE = torch.cat((angles_TE, angles_TE), dim=-1)
    factor = attention_factor(yarn)
    return angles_TE.cos() * factor, angles_TE.sin() * factor


def rotate(x_BHTE: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
    """Turn the pairs of x by the table's angles, one table for all rows or (B, 1, T, E); float32 inside, the dtype of x outside."""
    x = x_BHTE.to(torch.float32)
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return (x * cos_TE + turned * sin_TE).to(x_BHTE.dtype)
