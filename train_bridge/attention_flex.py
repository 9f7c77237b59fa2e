"""Attention by torch's FlexAttention: causality, window and documents as one block mask; blocks that nobody sees are skipped.

Legend: B batch, T tokens, H query heads, K key/value heads, E head dimension.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from dolma_py.errors import ConfigError
from train_bridge.attention import Attend, Visibility
from train_bridge.compilation import compile_function

BLOCK_TOKENS = 128  # of queries and of keys: flex_attention's default


def prepare_flex(visibility: Visibility, device: torch.device) -> Attend:
    """See prepare_attention. Compiled on GPUs; on CPUs forward only, and plain: a check of the mask, not a fast path."""
    if visibility.documents_BT is None:
        return _prepare_without_documents(visibility, device)
    return _prepare(visibility, device)


@functools.lru_cache(maxsize=16)
def _prepare_without_documents(visibility: Visibility, device: torch.device) -> Attend:
    """The same for every batch, and kept: what makes a mask is many small operations, which a GPU would wait for."""
    return _prepare(visibility, device)


def _prepare(visibility: Visibility, device: torch.device) -> Attend:
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

    block_mask = _block_mask(visibility, device, is_visible)
    flex = _compiled_flex() if device.type == "cuda" else flex_attention

    def attend(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        needs_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (q_BHTE, k_BKTE, v_BKTE))
        if q_BHTE.device.type == "cpu" and needs_gradient:
            raise ConfigError("attention", "flex", "expected a GPU where gradients are needed", "Use sdpa on CPUs.")
        return flex(q_BHTE, k_BKTE, v_BKTE, block_mask=block_mask, enable_gqa=True)

    return attend


@functools.cache
def _compiled_flex() -> Callable[..., Tensor]:
    """One compiled function for the process: it is compiled again for new shapes only."""
    return compile_function(flex_attention, dynamic=False)


def _block_mask(visibility: Visibility, device: torch.device, is_visible: Callable[..., Tensor]) -> BlockMask:
    """What torch's create_block_mask makes of `is_visible`, from the borders of the blocks alone.

    create_block_mask looks at all pairs of tokens, which at 65,536 tokens are 4 billion. Here two pairs decide a block of queries and
    a block of keys. Its first query and last key are nearest: if they do not see each other, no pair of the block does (where the
    blocks overlap, a token sees itself). Its last query and first key are farthest: if they do and no key is later than a query, all do.
    Documents: their numbers never fall along a row.
    """
    num_tokens, window_tokens, documents_BT, queries = visibility
    first_query, end_query = queries or (0, num_tokens)
    first_q = torch.arange(first_query, end_query, BLOCK_TOKENS, device=device)
    first_k = torch.arange(0, num_tokens, BLOCK_TOKENS, device=device)
    last_q, last_k = first_q + BLOCK_TOKENS - 1, first_k + BLOCK_TOKENS - 1
    # a block that is cut off counts as seen in part: the kernel then looks at its pairs one by one
    is_whole = (last_q < end_query)[:, None] & (last_k < num_tokens)[None, :]
    last_q, last_k = last_q.clamp(max=end_query - 1), last_k.clamp(max=num_tokens - 1)
    is_any = first_k[None, :] <= last_q[:, None]
    is_all = is_whole & (last_k[None, :] <= first_q[:, None])
    if window_tokens is not None:
        is_any = is_any & (first_q[:, None] - last_k[None, :] < window_tokens)
        is_all = is_all & (last_q[:, None] - first_k[None, :] < window_tokens)
    is_any, is_all = is_any[None], is_all[None]
    if documents_BT is not None:
        is_any = is_any & (documents_BT[:, first_q, None] <= documents_BT[:, None, last_k])
        is_all = is_all & (documents_BT[:, last_q, None] == documents_BT[:, None, first_k])
    some, every = _in_order(is_any & ~is_all), _in_order(is_all)
    lengths = (end_query - first_query, num_tokens)
    return BlockMask.from_kv_blocks(*some, *every, BLOCK_SIZE=BLOCK_TOKENS, mask_mod=is_visible, seq_lengths=lengths)


def _in_order(chosen_BQS: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks of keys each block of queries has, int32 (B, 1, Q), and which, those first, int32 (B, 1, Q, S)."""
    order = torch.argsort(chosen_BQS.to(torch.int8), dim=-1, descending=True, stable=True)
    return chosen_BQS.sum(dim=-1, dtype=torch.int32)[:, None], order.to(torch.int32)[:, None].contiguous()
