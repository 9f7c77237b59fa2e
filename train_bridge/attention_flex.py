"""Attention by torch's FlexAttention: causality, window and documents as one block mask; blocks that nobody sees are skipped.

Legend: B batch, T tokens, H query heads, K key/value heads, E head dimension.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from dolma_py.errors import ConfigError
from train_bridge.attention import Attend, Visibility


def prepare_flex(visibility: Visibility, device: torch.device) -> Attend:
    """See prepare_attention. Compiled on GPUs; on CPUs forward only, and plain: a check of the mask, not a fast path."""
    num_tokens, window_tokens, documents_BT, queries = visibility
    first_query, end_query = queries or (0, num_tokens)

    def is_visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        query = query + first_query
        visible = key <= query
        if window_tokens is not None:
            visible = visible & (query - key < window_tokens)
        if documents_BT is not None:
            visible = visible & (documents_BT[row, query] == documents_BT[row, key])
        return visible

    rows = None if documents_BT is None else len(documents_BT)
    num_queries = end_query - first_query
    block_mask = create_block_mask(is_visible, rows, None, num_queries, num_tokens, device=str(device))
    flex = _compiled_flex() if device.type == "cuda" else flex_attention

    def attend(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (q_BHTE, k_BKTE, v_BKTE))
        if q_BHTE.device.type == "cpu" and needs_gradient:
            raise ConfigError("attention", "flex", "expected a GPU where gradients are needed", "Use sdpa on CPUs.")
        return flex(q_BHTE, k_BKTE, v_BKTE, block_mask=block_mask, enable_gqa=True)

    return attend


@functools.cache
def _compiled_flex() -> Any:
    """One compiled function for the process: it is compiled again for new shapes only."""
    return torch.compile(flex_attention, dynamic=False)
