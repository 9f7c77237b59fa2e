"""Which token may look at which, and attention under that rule.

Legend: B batch, T tokens, Q query tokens, S key tokens, D model width, H query heads, K key/value heads, E head dimension,
N blocks of one window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def visible_keys(query_positions_Q: Tensor, key_positions_S: Tensor, *, window_tokens: int | None) -> Tensor:
    """True where a query may see a key: the key is not later, and lies among the last `window_tokens` including the query.

    Parameters
    ----------
    query_positions_Q, key_positions_S : int64   positions in the sequence
    window_tokens : int or None                  4,096 means the query itself and the 4,095 before it; None: no limit

    Returns
    -------
    visible : bool (Q, S)

    Examples
    --------
    >>> visible_keys(torch.arange(3), torch.arange(3), window_tokens=2).int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    distance_QS = query_positions_Q[:, None] - key_positions_S[None, :]
    visible = distance_QS >= 0
    return visible if window_tokens is None else visible & (distance_QS < window_tokens)


def document_ids_from_eos(ids_BT: Tensor, eos_token_id: int) -> Tensor:
    """Number of each token's document inside its row, int64 (B, T); an EOS belongs to the document that it ends.

    Examples
    --------
    >>> document_ids_from_eos(torch.tensor([[5, 0, 7, 8, 0, 9]]), 0).tolist()
    [[0, 0, 1, 1, 1, 2]]
    """
    is_end = (ids_BT == eos_token_id).to(torch.int64)
    return is_end.cumsum(dim=1) - is_end


def document_ids_from_offsets(offsets: Tensor) -> Tensor:
    """The same from cumulative lengths (first 0, last T), int64 (1, T): [0, 2, 5] gives [[0, 0, 1, 1, 1]]."""
    return torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())[None]


def attend(
    q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, *, window_tokens: int | None, documents_BT: Tensor | None = None
) -> Tensor:
    """Causal attention of a whole sequence onto itself, with a window and document borders where given.

    Query head h reads key/value head h // (H / K). Scale E^-0.5, softmax in float32 inside torch's kernels.

    Parameters
    ----------
    documents_BT : int64 (B, T) or None   tokens see only tokens of the same number

    Returns
    -------
    out : (B, H, T, E), dtype of q

    Cost  full layers O(T^2); windows O(T * window) where T is a multiple of the window and at least twice as long
    """
    num_tokens = q_BHTE.shape[2]
    if window_tokens is not None and window_tokens >= num_tokens:
        window_tokens = None
    if window_tokens is not None and num_tokens % window_tokens == 0 and num_tokens >= 2 * window_tokens:
        return _attend_in_blocks(q_BHTE, k_BKTE, v_BKTE, window_tokens, documents_BT)
    if window_tokens is None and documents_BT is None:
        return F.scaled_dot_product_attention(q_BHTE, k_BKTE, v_BKTE, is_causal=True, enable_gqa=True)
    positions = torch.arange(num_tokens, device=q_BHTE.device)
    mask = visible_keys(positions, positions, window_tokens=window_tokens)
    if documents_BT is not None:
        mask = mask & (documents_BT[:, None, :, None] == documents_BT[:, None, None, :])
    return F.scaled_dot_product_attention(q_BHTE, k_BKTE, v_BKTE, attn_mask=mask, enable_gqa=True)


def attend_cached(q_BHQE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, *, visible_QS: Tensor) -> Tensor:
    """Attention of new tokens onto cached and new keys; visible from `visible_keys`."""
    return F.scaled_dot_product_attention(q_BHQE, k_BKSE, v_BKSE, attn_mask=visible_QS, enable_gqa=True)


def _attend_in_blocks(
    q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, window: int, documents_BT: Tensor | None
) -> Tensor:
    """Window attention block by block: a query of block n sees only keys of blocks n - 1 and n, so 2 windows of keys do."""
    batch, num_heads, num_tokens, head_dim = q_BHTE.shape
    num_blocks = num_tokens // window

    # (B, heads, N * window, E) -> (B * N, heads, window, E)
    def to_blocks(x: Tensor) -> Tensor:
        blocks = x.unflatten(2, (num_blocks, window))
        return blocks.transpose(1, 2).flatten(0, 1)

    # the same with the block before in front: (B * N, heads, 2 * window, E); before the first block stand zeros, masked below
    def to_block_pairs(x: Tensor) -> Tensor:
        blocks = x.unflatten(2, (num_blocks, window))
        before = F.pad(blocks, (0, 0, 0, 0, 1, 0))[:, :, :-1]
        return torch.cat((before, blocks), dim=3).transpose(1, 2).flatten(0, 1)

    device = q_BHTE.device
    keys = torch.arange(2 * window, device=device)
    visible = visible_keys(keys[window:], keys, window_tokens=window)  # (window, 2 * window)
    mask = visible.expand(num_blocks, window, 2 * window).clone()
    mask[0, :, :window] = False
    mask = mask[None].expand(batch, -1, -1, -1)
    if documents_BT is not None:
        blocks_BNW = documents_BT.unflatten(1, (num_blocks, window))
        before_BNW = F.pad(blocks_BNW, (0, 0, 1, 0), value=-1)[:, :-1]
        pairs_BNS = torch.cat((before_BNW, blocks_BNW), dim=2)
        mask = mask & (blocks_BNW[..., :, None] == pairs_BNS[..., None, :])
    out = F.scaled_dot_product_attention(
        to_blocks(q_BHTE),
        to_block_pairs(k_BKTE),
        to_block_pairs(v_BKTE),
        attn_mask=mask.flatten(0, 1)[:, None],
        enable_gqa=True,
    )
    return out.unflatten(0, (batch, num_blocks)).transpose(1, 2).reshape(batch, num_heads, num_tokens, head_dim)
