"""Context parallelism: ranks share the tokens of each row, and every rank sees all keys and values.

A row is cut into 2C pieces for C ranks; rank c takes pieces c and 2C - 1 - c, an early one that sees little and a late one that
sees much, so that causal attention costs all ranks the same. Keys and values are gathered before attention; the backward pass
adds up what all ranks send back for each piece. Because whole keys stand in order, windows and documents are the ordinary ones.
Legend: B batch, T tokens of a row, H query heads, K key/value heads, E head dimension.
Source: Llama 3 report (arXiv 2407.21783), section 3.3.2.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from train_bridge.attention import Attend, AttentionBackend, Visibility, prepare_attention

# torch 2.13 gave them new names
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def pieces_of(rank: int, num_ranks: int) -> tuple[int, int]:
    """Numbers of a rank's two pieces.

    Examples
    --------
    >>> [pieces_of(rank, 4) for rank in range(4)]
    [(0, 7), (1, 6), (2, 5), (3, 4)]
    """
    return rank, 2 * num_ranks - 1 - rank


class _Gathered(torch.autograd.Function):
    """(n, ...) of each rank to (C * n, ...) of all; a gradient goes back as the sum of what all ranks have for it."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        whole = part.new_empty((dist.get_world_size(group) * len(part), *part.shape[1:]))
        _all_gather(whole, part.contiguous(), group=group)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        part = grad.new_empty((len(grad) // dist.get_world_size(ctx.group), *grad.shape[1:]))
        _reduce_scatter(part, grad.contiguous(), group=ctx.group)
        return part, None


class SequenceSplit:
    """One rank's share of rows of any even number of pieces, and attention of that share to whole rows."""

    def __init__(self, group: dist.ProcessGroup, *, rank: int, num_ranks: int) -> None:
        self.group, self.rank, self.num_ranks = group, rank, num_ranks
        # gathered: both pieces of rank 0, then both of rank 1, ...; order[p] is where piece p came
        arrived = [piece for other in range(num_ranks) for piece in pieces_of(other, num_ranks)]
        self.order = [arrived.index(piece) for piece in range(2 * num_ranks)]

    def take(self, whole_T: Tensor) -> Tensor:
        """This rank's tokens of (..., T): (..., T / C)."""
        pieces = whole_T.chunk(2 * self.num_ranks, dim=-1)
        return torch.cat([pieces[piece] for piece in pieces_of(self.rank, self.num_ranks)], dim=-1)

    def gather(self, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of whole rows, in order, from those of this rank's tokens."""
        both = torch.stack((k_BKTE, v_BKTE))
        gathered = _Gathered.apply(both, self.group)
        # (C * 2, B, K, T / C, E) -> (C, k or v, B, K, early or late, size, E)
        parts = gathered.unflatten(0, (self.num_ranks, 2)).unflatten(4, (2, -1))
        k, v = torch.cat([parts[place // 2, :, :, :, place % 2] for place in self.order], dim=3).unbind(0)
        return k, v

    def prepare(self, visibility: Visibility, *, backend: AttentionBackend, device: torch.device) -> Attend:
        """prepare_attention for this rank's tokens; what comes back takes and returns these alone."""
        size = visibility.num_tokens // (2 * self.num_ranks)
        spans = [(piece * size, (piece + 1) * size) for piece in pieces_of(self.rank, self.num_ranks)]
        attends = [
            prepare_attention(visibility._replace(queries=span), backend=backend, device=device) for span in spans
        ]

        def attend(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
            k, v = self.gather(k_BKTE, v_BKTE)
            queries = q_BHTE.chunk(2, dim=2)
            return torch.cat([one(q, k, v) for one, q in zip(attends, queries, strict=True)], dim=2)

        return attend
