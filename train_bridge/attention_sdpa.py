"""Attention by torch's scaled_dot_product_attention: the back end that runs everywhere, with gradients.

Windows and documents are cut into chunks of queries; a chunk meets only the keys that one of its queries may see, so a window
saves its share of the work and no mask of all tokens against all is made. Legend: B batch, T tokens, H query heads, K key/value
heads, E head dimension, C queries of one chunk, S keys that a chunk meets, Q queries where not all tokens look.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from train_bridge.attention import Attend, Visibility, document_starts, visible_keys

# up to here one masked call costs less than cutting
_WHOLE_TOKENS = 256
_MIN_CHUNK_TOKENS, _MAX_CHUNK_TOKENS = 64, 256


def prepare_sdpa(visibility: Visibility, device: torch.device) -> Attend:
    """See prepare_attention. Cost of a layer: T^2 / 2 pairs when full, at most T * (window + 2 C) with a window.

    Masks, for all layers of the kind together: with a window alone a few of C * (window + C); with documents up to
    T * (window + C) per row, or what documents leave of T^2 / 2.
    """
    if visibility.window_tokens is None and visibility.documents_BT is None:
        return _attend_to_all if visibility.queries is None else _attend_to_earlier(*visibility.queries)
    return _ChunkedAttention(visibility, device)


def _attend_to_all(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q_BHTE, k_BKTE, v_BKTE, is_causal=True, enable_gqa=True)


def _attend_to_earlier(first: int, end: int) -> Attend:
    """Queries first ... end - 1 to all keys up to their own: the last key is the last query's."""
    bias = causal_lower_right(end - first, end)

    def attend(q_BHQE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        k, v = k_BKTE[:, :, :end], v_BKTE[:, :, :end]
        return F.scaled_dot_product_attention(q_BHQE, k, v, attn_mask=bias, enable_gqa=True)

    return attend


class _Chunk(NamedTuple):
    """A chunk of queries and the chunks first ... last of keys that it meets, `last` being its own; True where one sees the other."""

    first: int
    last: int
    visible: Tensor  # bool (C, S), or (B, 1, C, S) with documents


class _ChunkedAttention:
    def __init__(self, visibility: Visibility, device: torch.device) -> None:
        num_tokens, window_tokens, documents_BT, queries = visibility
        self.chunk_tokens = num_tokens
        if num_tokens > _WHOLE_TOKENS:
            size = num_tokens if window_tokens is None else window_tokens // 8
            self.chunk_tokens = min(max(size, _MIN_CHUNK_TOKENS), _MAX_CHUNK_TOKENS)
        first_query, end_query = queries or (0, num_tokens)
        if queries is not None:
            # chunks of queries and of keys lie on one grid
            whole = math.gcd(first_query, end_query)
            self.chunk_tokens = max(size for size in range(1, self.chunk_tokens + 1) if whole % size == 0)
        size = self.chunk_tokens
        self.first_chunk = first_query // size
        starts = list(range(first_query, end_query, size))
        # token of the first key that a query of the chunk may see
        first_keys = [0 if window_tokens is None else max(0, start - window_tokens + 1) for start in starts]
        if documents_BT is not None:
            document_keys = document_starts(documents_BT)[:, first_query:end_query:size].amin(dim=0).tolist()
            first_keys = [max(pair) for pair in zip(first_keys, document_keys, strict=True)]
        positions_T = torch.arange(num_tokens, device=device)
        # without documents all chunks but the first few and the last have one and the same mask
        bands: dict[tuple[int, int], Tensor] = {}
        self.chunks = []
        for number, (start, first_key) in enumerate(zip(starts, first_keys, strict=True), start=self.first_chunk):
            first, end = first_key // size, min(start + size, num_tokens)
            shape = (end - start, end - first * size)
            if shape not in bands:
                queries_C, keys_S = positions_T[start:end], positions_T[first * size : end]
                bands[shape] = visible_keys(queries_C, keys_S, window_tokens=window_tokens)
            visible = bands[shape]
            if documents_BT is not None:
                same_BCS = documents_BT[:, start:end, None] == documents_BT[:, None, first * size : end]
                visible = (visible & same_BCS)[:, None]
            self.chunks.append(_Chunk(first, number, visible))
        self.masks: dict[torch.dtype, list[Tensor]] = {}

    def __call__(self, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        # pieces put together again: the gradient of a slice of k would be as long as k, for every chunk
        queries, keys, values = (x.split(self.chunk_tokens, dim=2) for x in (q_BHTE, k_BKTE, v_BKTE))
        parts = []
        for chunk, mask in zip(self.chunks, self._masks(q_BHTE.dtype), strict=True):
            met = slice(chunk.first, chunk.last + 1)
            k, v = torch.cat(keys[met], dim=2), torch.cat(values[met], dim=2)
            q = queries[chunk.last - self.first_chunk]
            parts.append(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True))
        return torch.cat(parts, dim=2)

    def _masks(self, dtype: torch.dtype) -> list[Tensor]:
        """0 where visible, else -inf; kept, because torch would make them again in every layer and keep each for the backward."""
        if dtype not in self.masks:
            made = {id(chunk.visible): _to_additive(chunk.visible, dtype) for chunk in self._distinct()}
            self.masks[dtype] = [made[id(chunk.visible)] for chunk in self.chunks]
        return self.masks[dtype]

    def _distinct(self) -> list[_Chunk]:
        """A chunk for each mask."""
        return list({id(chunk.visible): chunk for chunk in self.chunks}.values())


def _to_additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, float("-inf"))
