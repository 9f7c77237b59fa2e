"""Next-token loss: cross-entropy and z-loss of a linear output layer, without ever holding all logits.

Legend: N tokens (all rows of a batch), D model width, V vocabulary, C tokens of one chunk.
Sums, not means, leave this file: whoever knows the number of labels of the global batch divides by it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor

from dolma_py.config import Config
from train_bridge.compilation import compile_function

IGNORED_LABEL = -100  # torch's and everyone's convention for positions without a label


class LossConfig(Config):
    """Weights and memory of the loss."""

    z_weight: float = Field(
        1e-5, ge=0, description="Weight of (log sum exp of logits)^2, no unit (Olmo 3 report, table 34)."
    )
    divisor: Literal["global", "rank"] = Field(
        "global",
        description="What sums are divided by: labels of the global batch, or each rank's own and then the number of ranks, "
        "where a label weighs more on a rank that has few (OLMo-core's pretraining).",
    )
    chunk_tokens: int = Field(
        512, ge=1, description="Tokens whose logits exist at one time; bounds memory at 4 * this * V bytes."
    )


class LossSums(NamedTuple):
    """Sums over the labels that are not ignored, in nats; `total` = cross_entropy + weighted z carries the gradient."""

    total: Tensor
    cross_entropy: Tensor
    z: Tensor
    num_labels: Tensor


class VocabularyShard(NamedTuple):
    """Which rows of the output matrix this rank holds, first_id and following; the ranks of `group` hold all of them."""

    first_id: int
    group: dist.ProcessGroup


def shift_labels(ids_BT: Tensor, is_trained_BT: Tensor | None = None, *, documents_BT: Tensor | None = None) -> Tensor:
    """Labels of each position: the next token; ignored at the end of a row and where the next token is not trained.

    documents_BT: under a document mask a document's last token has no label either, as if the document stood alone; the
    next document's first token could only be guessed there. Deviation: OLMo-core trains it.

    Examples
    --------
    >>> shift_labels(torch.tensor([[3, 4, 5]])).tolist()
    [[4, 5, -100]]
    """
    ids = ids_BT if is_trained_BT is None else ids_BT.masked_fill(~is_trained_BT, IGNORED_LABEL)
    labels = torch.cat((ids[:, 1:], ids.new_full((len(ids), 1), IGNORED_LABEL)), dim=1)
    if documents_BT is not None:
        labels[:, :-1].masked_fill_(documents_BT[:, 1:] != documents_BT[:, :-1], IGNORED_LABEL)
    return labels


def linear_cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    labels_N: Tensor,
    *,
    config: LossConfig,
    shard: VocabularyShard | None = None,
) -> LossSums:
    """Losses of logits = hidden @ weight.T, chunk by chunk; gradients are made in the same pass while a chunk is hot.

    Per label y: cross-entropy = lse - logit_y, z = z_weight * lse^2, lse = log sum exp of the logits (float32).

    Parameters
    ----------
    hidden_ND : float (N, D)    the dtype of autocast is used for the products when autocast is on
    weight_VD : float (V, D)
    labels_N : int64 (N,)       -100 is ignored; others must lie in [0, V)
    shard : VocabularyShard     weight_VD is that part of the matrix; every rank of its group gets the sums over the whole
                                vocabulary, and the gradient of its part of the weights; the hidden states' gradient is only
                                what comes through this part, to be summed over the group by the caller

    Cost  three products of 2 * N * D * V operations with gradients, one without (under no_grad); 4 * C * V bytes plus the gradients
    """
    if torch.is_autocast_enabled(hidden_ND.device.type):
        dtype = torch.get_autocast_dtype(hidden_ND.device.type)
        hidden_ND, weight_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
    is_labelled = labels_N != IGNORED_LABEL
    labels_N = labels_N.clamp(min=0)
    # decided here: inside of apply gradients are always off, and its needs_input_grad is True for a parameter under no_grad
    needs_gradient = torch.is_grad_enabled() and (hidden_ND.requires_grad or weight_VD.requires_grad)
    sums = _LinearCrossEntropy.apply(hidden_ND, weight_VD, labels_N, is_labelled, config, shard, needs_gradient)
    return LossSums(*sums, is_labelled.sum())


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        labels_N: Tensor,
        is_labelled_N: Tensor,
        config: LossConfig,
        shard: VocabularyShard | None,
        needs_gradient: bool,
    ):
        cross_entropy = hidden_ND.new_zeros((), dtype=torch.float32)
        z = torch.zeros_like(cross_entropy)
        grad_hidden_ND = torch.empty_like(hidden_ND) if needs_gradient else None
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needs_gradient else None
        for first in range(0, len(hidden_ND), config.chunk_tokens):
            chunk = slice(first, first + config.chunk_tokens)
            hidden_CD, is_labelled_C1 = hidden_ND[chunk], is_labelled_N[chunk, None]
            labels_C1 = labels_N[chunk, None]
            is_picked_C1 = is_labelled_C1  # the label's logit is among these
            if shard is not None:
                labels_C1 = labels_C1 - shard.first_id
                is_picked_C1 = is_labelled_C1 & (labels_C1 >= 0) & (labels_C1 < len(weight_VD))
                labels_C1 = labels_C1.clamp(min=0, max=len(weight_VD) - 1)
            of_chunk = _of_chunk if shard is not None or hidden_ND.device.type == "cpu" else _compiled_of_chunk()
            sums, grad_CV = of_chunk(
                hidden_CD @ weight_VD.T, labels_C1, is_labelled_C1, is_picked_C1, config.z_weight, needs_gradient, shard
            )
            cross_entropy += sums[0]
            z += sums[1]
            if grad_hidden_ND is None or grad_weight_VD is None:
                continue
            grad_hidden_ND[chunk] = grad_CV @ weight_VD
            if grad_CV.dtype == torch.float32:
                grad_weight_VD.addmm_(grad_CV.T, hidden_CD)
            elif grad_CV.device.type == "cuda":  # summed in float32 inside of the product
                torch.addmm(grad_weight_VD, grad_CV.T, hidden_CD, out_dtype=torch.float32, out=grad_weight_VD)
            else:
                grad_weight_VD.add_(grad_CV.T @ hidden_CD)
        if needs_gradient:
            # not saved for autograd: the backward pass scales them in place, and so runs once
            ctx.gradients, ctx.weight_dtype = (grad_hidden_ND, grad_weight_VD), weight_VD.dtype
        ctx.mark_non_differentiable(cross_entropy, z)
        return cross_entropy + z, cross_entropy, z

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, *_: Any):
        if ctx.gradients is None:
            raise RuntimeError("linear_cross_entropy: its gradients were taken already; compute the loss again")
        (grad_hidden_ND, grad_weight_VD), ctx.gradients = ctx.gradients, None
        grad_hidden_ND.mul_(grad_total.to(grad_hidden_ND.dtype))
        return grad_hidden_ND, grad_weight_VD.mul_(grad_total).to(ctx.weight_dtype), None, None, None, None, None


def _of_chunk(
    logits_CV: Tensor,
    labels_C1: Tensor,
    is_labelled_C1: Tensor,
    is_picked_C1: Tensor,
    z_weight: float,
    needs_gradient: bool,
    shard: VocabularyShard | None,
) -> tuple[Tensor, Tensor | None]:
    """(float32 (2,): cross-entropy and z, gradient of the logits in their dtype) of one chunk; float32 logits are overwritten."""
    dtype, logits_CV = logits_CV.dtype, logits_CV.float()
    own_C1 = logits_CV.gather(1, labels_C1)
    largest_C1 = logits_CV.amax(dim=1, keepdim=True)
    if shard is not None:
        dist.all_reduce(largest_C1, dist.ReduceOp.MAX, group=shard.group)
    # in place: from here on the chunk's logits become exp(logits - largest), then the gradient
    exp_CV = logits_CV.sub_(largest_C1).exp_()
    sum_C1, picked_C1 = exp_CV.sum(dim=1, keepdim=True), own_C1
    if shard is not None:
        told_C2 = torch.cat((sum_C1, own_C1.masked_fill(~is_picked_C1, 0.0)), dim=1)
        dist.all_reduce(told_C2, group=shard.group)
        sum_C1, picked_C1 = told_C2.split(1, dim=1)
    lse_C1 = largest_C1 + sum_C1.log()
    cross_entropy = ((lse_C1 - picked_C1) * is_labelled_C1).sum()
    sums = torch.stack((cross_entropy, (z_weight * lse_C1.square() * is_labelled_C1).sum()))
    if not needs_gradient:
        return sums, None
    # d(lse - logit_y + w lse^2) / d logits = softmax * (1 + 2 w lse) - onehot(y)
    slope_C1 = (1 + 2 * z_weight * lse_C1) / sum_C1 * is_labelled_C1
    # the label's own in float32, where softmax and 1 are close; put in last, so that the rest is one pass
    own_C1 = (own_C1 - largest_C1).exp() * slope_C1 - is_picked_C1.to(torch.float32)
    return sums, exp_CV.mul_(slope_C1).to(dtype).scatter_(1, labels_C1, own_C1.to(dtype))


@functools.cache
def _compiled_of_chunk() -> Callable[..., tuple[Tensor, Tensor | None]]:
    """On GPUs, where the plain one would pass over a chunk's logits ten times."""
    return compile_function(_of_chunk)


@torch.no_grad()
def token_nats(hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, *, chunk_tokens: int) -> Tensor:
    """-ln p of every label, float32 (N,); zero where ignored."""
    parts = []
    for first in range(0, len(hidden_ND), chunk_tokens):
        chunk = slice(first, first + chunk_tokens)
        labels_C = labels_N[chunk]
        logits_CV = (hidden_ND[chunk] @ weight_VD.T).float()
        nats = torch.logsumexp(logits_CV, dim=1) - logits_CV.gather(1, labels_C.clamp(min=0)[:, None])[:, 0]
        parts.append(nats.masked_fill(labels_C == IGNORED_LABEL, 0.0))
    return torch.cat(parts) if parts else hidden_ND.new_zeros(0, dtype=torch.float32)
