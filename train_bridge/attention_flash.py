"""Attention by the package flash_attn, when it is installed: windows and documents without any mask.

Legend: B batch, T tokens, H query heads, K key/value heads, E head dimension, Q queries, S keys that one of them may see, N = B * Q.
Source: Dao 2023, FlashAttention-2; its window is (left, right), both inclusive and without the query itself; where there are fewer
queries than keys, the last query stands at the last key.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dolma_py.errors import ConfigError
from train_bridge.attention import Attend, Visibility, document_starts


def prepare_flash(visibility: Visibility) -> Attend:
    """See prepare_attention. Documents become offsets of one long sequence of B * T tokens."""
    try:
        import flash_attn
    except ImportError as error:
        rule = "expected the package flash_attn, which is not installed"
        raise ConfigError("attention", "flash", rule, "Use sdpa or flex, or: pip install flash-attn") from error
    num_tokens, window_tokens, documents_BT, queries = visibility
    first_query, end_query = queries or (0, num_tokens)
    # 4,096 tokens with the query are 4,095 before it
    left = -1 if window_tokens is None else window_tokens - 1
    options = {"causal": True, "window_size": (left, -1 if window_tokens is None else 0)}
    if documents_BT is None:
        first_key = 0 if window_tokens is None else max(0, first_query - window_tokens + 1)

        def attend_rows(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
            _check_dtype(q_BHTE)
            k, v = k_BKTE[:, :, first_key:end_query], v_BKTE[:, :, first_key:end_query]
            q, k, v = (x.transpose(1, 2) for x in (q_BHTE, k, v))
            return flash_attn.flash_attn_func(q, k, v, **options).transpose(1, 2)

        return attend_rows
    # a document that ends before the first query has keys and no query
    key_offsets = _document_offsets(documents_BT[:, :end_query])
    query_offsets = _query_offsets(key_offsets, first_query, end_query)
    longest = [int(offsets.diff().max()) for offsets in (query_offsets, key_offsets)]

    def attend_documents(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        _check_dtype(q_BHTE)
        # (B, heads, Q or S, E) -> (N or B * S, heads, E)
        k, v = k_BKTE[:, :, :end_query], v_BKTE[:, :, :end_query]
        q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q_BHTE, k, v))
        out_NHE = flash_attn.flash_attn_varlen_func(q, k, v, query_offsets, key_offsets, *longest, **options)
        return out_NHE.unflatten(0, (-1, end_query - first_query)).transpose(1, 2)

    return attend_documents


def _document_offsets(documents_BT: Tensor) -> Tensor:
    """Where documents begin when all rows stand one after another, and B * T at the end; int32 (documents + 1,)."""
    positions_T = torch.arange(documents_BT.shape[1], device=documents_BT.device)
    starts_N = torch.nonzero((document_starts(documents_BT) == positions_T).flatten()).flatten()
    return torch.cat((starts_N, starts_N.new_tensor([documents_BT.numel()]))).to(torch.int32)


def _query_offsets(key_offsets: Tensor, first_query: int, end_query: int) -> Tensor:
    """The same borders among the queries of rows of `end_query` keys, of which the last end_query - first_query look; int32."""
    rows, places = key_offsets // end_query, key_offsets % end_query
    return (rows * (end_query - first_query) + (places - first_query).clamp(min=0)).to(torch.int32)


def _check_dtype(q_BHTE: Tensor) -> None:
    if q_BHTE.dtype not in (torch.bfloat16, torch.float16):
        rule = f"expected products in 16 bits, these are {str(q_BHTE.dtype).removeprefix('torch.')}"
        raise ConfigError("attention", "flash", rule, "Set run.precision=bfloat16, or use sdpa.")
