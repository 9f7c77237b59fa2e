"""Attention by torch's scaled_dot_product_attention: the back end that runs everywhere, with gradients.

Windows and documents are cut into chunks of queries; a chunk meets only the keys that one of its queries may see, so a window
saves its share of the work and no mask of all tokens against all is made. Chunks look at slices of the whole k and v, and only
q, k, v and the result are kept for the backward pass: not the keys that every chunk met. Legend: B batch, T tokens, H query
heads, K key/value heads, E head dimension, C queries of one chunk, S keys that a chunk meets, Q queries where not all tokens look.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
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
        masks, size, num_tokens = self._masks(q_BHTE.dtype), self.chunk_tokens, k_BKTE.shape[2]
        spans = []
        for chunk in self.chunks:
            start = (chunk.last - self.first_chunk) * size
            queries = slice(start, min(start + size, q_BHTE.shape[2]))
            spans.append((queries, slice(chunk.first * size, min((chunk.last + 1) * size, num_tokens))))
        if len(spans) == 1:
            keys = (slice(None), slice(None), spans[0][1])
            return F.scaled_dot_product_attention(
                q_BHTE, k_BKTE[keys], v_BKTE[keys], attn_mask=masks[0], enable_gqa=True
            )
        return _AttendInChunks.apply(q_BHTE, k_BKTE, v_BKTE, spans, masks)

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


class _AttendInChunks(torch.autograd.Function):
    """spans: queries and keys of each chunk; masks: additive, one for each."""

    @staticmethod
    def forward(
        ctx: Any, q_BHQE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, spans: list[tuple[slice, slice]], masks: list[Tensor]
    ) -> Tensor:
        q_BHQE, k_BKTE, v_BKTE = map(_with_plain_rows, (q_BHQE, k_BKTE, v_BKTE))
        out_BHQE = torch.empty_like(q_BHQE)
        sums = []  # log sum exp of each chunk, as the CPU's kernel leaves it
        for (queries, keys), mask in zip(spans, masks, strict=True):
            q, k, v = q_BHQE[:, :, queries], k_BKTE[:, :, keys], v_BKTE[:, :, keys]
            if q.device.type == "cpu":
                out_BHQE[:, :, queries], log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    q, k, v, 0.0, False, attn_mask=mask
                )
                sums.append(log_sum)
            else:
                out_BHQE[:, :, queries] = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        ctx.save_for_backward(q_BHQE, k_BKTE, v_BKTE, out_BHQE, *sums)
        ctx.spans, ctx.masks = spans, masks
        return out_BHQE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BHQE: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q_BHQE, k_BKTE, v_BKTE, out_BHQE, *sums = ctx.saved_tensors
        grad_BHQE = _with_plain_rows(grad_BHQE)
        grad_q, grad_k, grad_v = torch.empty_like(q_BHQE), torch.zeros_like(k_BKTE), torch.zeros_like(v_BKTE)
        for number, ((queries, keys), mask) in enumerate(zip(ctx.spans, ctx.masks, strict=True)):
            chunk = (q_BHQE[:, :, queries], k_BKTE[:, :, keys], v_BKTE[:, :, keys])
            grad = grad_BHQE[:, :, queries]
            if grad.device.type == "cpu":
                found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                    grad, *chunk, out_BHQE[:, :, queries], sums[number], 0.0, False, attn_mask=mask
                )
            else:
                found = _gradients_again(chunk, mask, grad)
            grad_q[:, :, queries] = found[0]
            grad_k[:, :, keys] += found[1]
            grad_v[:, :, keys] += found[2]
        return grad_q, grad_k, grad_v, None, None


def _with_plain_rows(tensor: Tensor) -> Tensor:
    """Each vector's numbers side by side: the CPU's kernel takes that for granted, where F.scaled_dot_product_attention looks."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _gradients_again(chunk: tuple[Tensor, ...], mask: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """Of q, k, v; the chunk's attention is computed once more."""
    with torch.enable_grad():
        pieces = [piece.detach().requires_grad_() for piece in chunk]
        out = F.scaled_dot_product_attention(*pieces, attn_mask=mask, enable_gqa=True)
    return torch.autograd.grad(out, pieces, grad)
