"""ln p of every label of a linear output layer, with gradients, without ever holding all logits.

For losses that are no sum over tokens (preferences, rewards): what a token's gradient is multiplied by is known only when all tokens
of its response are, so the logits of a chunk are made once for the value and once more for the gradient.
Legend: N tokens, L those with a label, D model width, V vocabulary, C tokens of one chunk.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from train_bridge.loss import IGNORED_LABEL, VocabularyShard


def linear_log_probs(
    hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, *, chunk_tokens: int, shard: VocabularyShard | None = None
) -> Tensor:
    """ln softmax(hidden @ weight.T)[label], float32 (N,); 0 without gradient where the label is -100.

    Parameters
    ----------
    hidden_ND : float (N, D)    the dtype of autocast is used for the products when autocast is on
    weight_VD : float (V, D)
    labels_N : int64 (N,)       -100 is ignored; others must lie in [0, V)
    shard : VocabularyShard     as in linear_cross_entropy: weight_VD is that part of the matrix, values are of the whole

    Cost  with gradients four products of 2 * L * D * V operations, else one; tokens without a label cost nothing, and on a GPU
    finding them waits for the device once. Memory 4 * C * V bytes plus the gradients.
    """
    if torch.is_autocast_enabled(hidden_ND.device.type):
        dtype = torch.get_autocast_dtype(hidden_ND.device.type)
        hidden_ND, weight_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
    return _LinearLogProbs.apply(hidden_ND, weight_VD, labels_N, chunk_tokens, shard)


class _LinearLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        labels_N: Tensor,
        chunk_tokens: int,
        shard: VocabularyShard | None,
    ):
        positions_L = torch.nonzero(labels_N != IGNORED_LABEL)[:, 0]
        log_probs_N = hidden_ND.new_zeros(len(labels_N), dtype=torch.float32)
        lse_L = hidden_ND.new_zeros(len(positions_L), dtype=torch.float32)
        for first in range(0, len(positions_L), chunk_tokens):
            chunk = slice(first, first + chunk_tokens)
            positions_C = positions_L[chunk]
            labels_C1, is_picked_C1 = _own_labels(labels_N[positions_C], weight_VD, shard)
            logits_CV = (hidden_ND[positions_C] @ weight_VD.T).float()
            picked_C1 = logits_CV.gather(1, labels_C1)
            largest_C1 = logits_CV.amax(dim=1, keepdim=True)
            if shard is not None:
                dist.all_reduce(largest_C1, dist.ReduceOp.MAX, group=shard.group)
            sum_C1 = logits_CV.sub_(largest_C1).exp_().sum(dim=1, keepdim=True)
            if shard is not None:
                told_C2 = torch.cat((sum_C1, picked_C1.masked_fill(~is_picked_C1, 0.0)), dim=1)
                dist.all_reduce(told_C2, group=shard.group)
                sum_C1, picked_C1 = told_C2.split(1, dim=1)
            lse_C1 = largest_C1 + sum_C1.log()
            lse_L[chunk] = lse_C1[:, 0]
            log_probs_N[positions_C] = (picked_C1 - lse_C1)[:, 0]
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, positions_L, lse_L)
        ctx.chunk_tokens, ctx.shard = chunk_tokens, shard
        return log_probs_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor):
        hidden_ND, weight_VD, labels_N, positions_L, lse_L = ctx.saved_tensors
        grad_hidden_ND = torch.zeros_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        for first in range(0, len(positions_L), ctx.chunk_tokens):
            chunk = slice(first, first + ctx.chunk_tokens)
            positions_C = positions_L[chunk]
            labels_C1, is_picked_C1 = _own_labels(labels_N[positions_C], weight_VD, ctx.shard)
            hidden_CD, slope_C1 = hidden_ND[positions_C], grad_N[positions_C, None]
            # d(logit_y - lse) / d logits = onehot(y) - softmax
            logits_CV = (hidden_CD @ weight_VD.T).float()
            own_C1 = logits_CV.gather(1, labels_C1)
            grad_CV = logits_CV.sub_(lse_L[chunk, None]).exp_().mul_(-slope_C1)
            # the label's own in float32, where softmax and 1 are close
            own_C1 = (is_picked_C1.to(torch.float32) - (own_C1 - lse_L[chunk, None]).exp()) * slope_C1
            grad_CV = grad_CV.scatter_(1, labels_C1, own_C1).to(hidden_CD.dtype)
            grad_hidden_ND[positions_C] = grad_CV @ weight_VD
            if grad_CV.dtype == torch.float32:
                grad_weight_VD.addmm_(grad_CV.T, hidden_CD)
            else:
                grad_weight_VD.add_(grad_CV.T @ hidden_CD)
        return grad_hidden_ND, grad_weight_VD.to(weight_VD.dtype), None, None, None


def _own_labels(labels_C: Tensor, weight_VD: Tensor, shard: VocabularyShard | None) -> tuple[Tensor, Tensor]:
    """Rows of this part of the matrix, inside of it whatever the label is, and whether the label is among them; both (C, 1)."""
    labels_C1 = labels_C[:, None]
    if shard is None:
        return labels_C1, torch.ones_like(labels_C1, dtype=torch.bool)
    labels_C1 = labels_C1 - shard.first_id
    is_picked_C1 = (labels_C1 >= 0) & (labels_C1 < len(weight_VD))
    return labels_C1.clamp(min=0, max=len(weight_VD) - 1), is_picked_C1
