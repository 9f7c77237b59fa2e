"""Tensor parallelism: ranks of a group hold a part of every matrix, and each does its part of every product.

q, k, v, w1 and w3 are cut by output (a rank has whole heads), out and w2 by input, embedding and output matrix by vocabulary. All
ranks of a group hold the same residual stream; a branch is summed over the group on its way out, its gradient on its way in.
Queries and keys are normed over the whole projection, of which a rank has only its heads: the mean of squares is taken over the group.
Legend: B batch, T tokens, D model width, V vocabulary.
Source: Shoeybi et al. 2019 (arXiv 1909.08053), section 3; the norm is Olmo 3's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import _functional_collectives as collectives
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from train_bridge.distributed import local_part
from train_bridge.loss import LossConfig, LossSums, VocabularyShard, linear_cross_entropy
from train_bridge.model import Attention, FeedForward, LMHead, ModelConfig, Olmo3, RMSNorm
from train_bridge.token_log_probs import linear_log_probs


class _IntoGroup(torch.autograd.Function):
    """The identity, whose gradient is summed over the group."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        return _summed(grad, ctx.group), None


class _OutOfGroup(torch.autograd.Function):
    """The sum over the group, whose gradient is the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        return _summed(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        return grad, None


def _summed(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    return collectives.wait_tensor(collectives.all_reduce(x.contiguous(), "sum", group))


def split_parameter(parameter: nn.Parameter, dim: int, mesh: DeviceMesh) -> nn.Parameter:
    """A distributed parameter without values (on the meta device) of which a rank holds its part along `dim`."""
    shape = list(parameter.shape)
    shape[dim] //= mesh.size()
    part = torch.empty(shape, dtype=parameter.dtype, device="meta")
    return nn.Parameter(DTensor.from_local(part, mesh, [Shard(dim)], run_check=False))


class SplitLinear(nn.Linear):
    """The product with this rank's part of the weight."""

    def __init__(self, whole: nn.Linear, dim: int, mesh: DeviceMesh) -> None:
        super().__init__(whole.in_features, whole.out_features, bias=False, device="meta")
        self.weight = split_parameter(whole.weight, dim, mesh)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, local_part(self.weight))


class SplitOutput(SplitLinear):
    """Whole logits, gathered and without gradients: for evaluation. The loss never has them."""

    def __init__(self, whole: nn.Linear, mesh: DeviceMesh) -> None:
        super().__init__(whole, 0, mesh)
        self.group = mesh.get_group()

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x).detach()
        parts = [torch.empty_like(logits) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, logits.contiguous(), group=self.group)
        return torch.cat(parts, dim=-1)


class SplitRMSNorm(RMSNorm):
    """RMSNorm over a vector of which each rank of the group has a part."""

    def __init__(self, size: int, eps: float, mesh: DeviceMesh) -> None:
        super().__init__(size, eps)
        self.size, self.group = size, mesh.get_group()
        self.weight = split_parameter(self.weight, 0, mesh)

    def forward(self, x: Tensor) -> Tensor:
        part = x.float()
        # every rank's outputs depend on the sum, so its gradient is a sum over ranks as well
        squares = _OutOfGroup.apply(part.square().sum(dim=-1, keepdim=True), self.group)
        mean = _IntoGroup.apply(squares, self.group) / self.size
        return (part * torch.rsqrt(mean + self.eps) * local_part(self.weight).float()).to(x.dtype)


class SplitAttention(Attention):
    """The heads of one rank."""

    def __init__(self, config: ModelConfig, mesh: DeviceMesh) -> None:
        super().__init__(config)
        self.group = mesh.get_group()
        self.w_q, self.w_k, self.w_v = (SplitLinear(linear, 0, mesh) for linear in (self.w_q, self.w_k, self.w_v))
        self.w_out = SplitLinear(self.w_out, 1, mesh)
        self.q_norm, self.k_norm = (
            SplitRMSNorm(len(norm.weight), norm.eps, mesh) for norm in (self.q_norm, self.k_norm)
        )

    def project(self, x_BTD: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        return super().project(_IntoGroup.apply(x_BTD, self.group), rotation)

    def merge(self, out_BHTE: Tensor) -> Tensor:
        return _OutOfGroup.apply(super().merge(out_BHTE), self.group)


class SplitFeedForward(FeedForward):
    """Some of the hidden units."""

    def __init__(self, config: ModelConfig, mesh: DeviceMesh) -> None:
        super().__init__(config)
        self.group = mesh.get_group()
        self.w1, self.w3, self.w2 = (
            SplitLinear(linear, dim, mesh) for linear, dim in ((self.w1, 0), (self.w3, 0), (self.w2, 1))
        )

    def forward(self, x_BTD: Tensor) -> Tensor:
        return _OutOfGroup.apply(super().forward(_IntoGroup.apply(x_BTD, self.group)), self.group)


class SplitEmbedding(nn.Embedding):
    """Some rows; the embedding of an id comes from the rank that has it."""

    def __init__(self, config: ModelConfig, mesh: DeviceMesh) -> None:
        super().__init__(config.vocab_size, config.d_model, device="meta")
        self.group = mesh.get_group()
        self.num_rows = config.vocab_size // mesh.size()
        self.first_id = mesh.get_local_rank() * self.num_rows
        self.weight = split_parameter(self.weight, 0, mesh)

    def forward(self, ids_BT: Tensor) -> Tensor:
        rows_BT = ids_BT - self.first_id
        is_here_BT1 = ((rows_BT >= 0) & (rows_BT < self.num_rows))[..., None]
        x_BTD = F.embedding(rows_BT.clamp(0, self.num_rows - 1), local_part(self.weight))
        return _OutOfGroup.apply(x_BTD * is_here_BT1, self.group)


class SplitLMHead(LMHead):
    """The logits of some ids."""

    def __init__(self, config: ModelConfig, mesh: DeviceMesh) -> None:
        super().__init__(config)
        self.group = mesh.get_group()
        self.w_out = SplitOutput(self.w_out, mesh)
        self.shard = VocabularyShard(mesh.get_local_rank() * (config.vocab_size // mesh.size()), self.group)

    def loss(self, x_BTD: Tensor, labels_BT: Tensor, config: LossConfig) -> LossSums:
        hidden_ND = _IntoGroup.apply(self.norm(x_BTD).flatten(0, 1), self.group)
        weight_VD = local_part(self.w_out.weight)
        return linear_cross_entropy(hidden_ND, weight_VD, labels_BT.flatten(), config=config, shard=self.shard)

    def log_probs(self, x_BTD: Tensor, labels_BT: Tensor, chunk_tokens: int) -> Tensor:
        hidden_ND = _IntoGroup.apply(self.norm(x_BTD).flatten(0, 1), self.group)
        weight_VD, labels_N = local_part(self.w_out.weight), labels_BT.flatten()
        log_probs_N = linear_log_probs(hidden_ND, weight_VD, labels_N, chunk_tokens=chunk_tokens, shard=self.shard)
        return log_probs_N.view(labels_BT.shape)


def split_over_ranks(model: Olmo3, mesh: DeviceMesh) -> None:
    """Replace the matrices and the norms of q and k, in place, by this rank's parts. `model` has no values yet; names stay."""
    with torch.device("meta"):
        model.embeddings = SplitEmbedding(model.config, mesh)
        for block in model.blocks:
            block.attention = SplitAttention(model.config, mesh)
            block.feed_forward = SplitFeedForward(model.config, mesh)
        model.lm_head = SplitLMHead(model.config, mesh)
