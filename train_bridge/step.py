"""One update: micro-batches forward and backward, global sums, clipping, optimizer.

Legend: B rows of this rank's share of the batch, T tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dolma_py.errors import NotFiniteError
from train_bridge.distributed import clip_factor, global_sum, gradient_norm, ranks_where, scale_gradients, sum_gradients
from train_bridge.loss import IGNORED_LABEL, LossConfig, shift_labels
from train_bridge.model import Olmo3
from train_bridge.optimizer import SkipStepAdamW
from train_bridge.parallel_mesh import Layout
from train_bridge.parallel_model import note_micro_batch


class StepSettings(NamedTuple):
    """What stays the same from step to step."""

    micro_batch_instances: int
    loss: LossConfig
    max_grad_norm: float
    autocast_dtype: torch.dtype | None  # None: float32
    layout: Layout = Layout()  # one process

    @property
    def rank(self) -> int:
        return self.layout.rank

    @property
    def world_size(self) -> int:
        return self.layout.world_size


class StepResult(NamedTuple):
    """0-dim tensors, means over the global batch's labels; reading them waits for the device."""

    cross_entropy: Tensor
    z: Tensor
    grad_norm: Tensor  # before clipping
    taken: Tensor  # 0 when the step was skipped
    more: Mapping[str, Tensor] | None = None  # what else a method has to say of its batch, by name, 0-dim


class GradientSums(NamedTuple):
    """0-dim means over the global batch's labels, and which ranks saw a loss that is not finite."""

    cross_entropy: Tensor
    z: Tensor
    is_bad_R: Tensor  # float32 (ranks,): 1 where a rank's own loss is not finite


def train_step(
    model: Olmo3,
    optimizer: SkipStepAdamW,
    ids_BT: Tensor,
    *,
    lr: float,
    step: int,
    settings: StepSettings,
    **rows: Tensor | None,
) -> StepResult:
    """Take one step in place. NotFiniteError, before anything changed, when loss or gradient norm is not a number.

    rows: documents_BT, is_trained_BT and is_filtered_B of accumulate_gradients
    """
    sums = accumulate_gradients(model, ids_BT, **rows, settings=settings)
    return apply_gradients(model, optimizer, sums, lr=lr, step=step, settings=settings)


def apply_gradients(
    model: Olmo3, optimizer: SkipStepAdamW, sums: GradientSums, *, lr: float, step: int, settings: StepSettings
) -> StepResult:
    """The second half of a step, whatever the loss was: norm, clipping, update."""
    parameters = list(model.parameters())
    grad_norm = gradient_norm(parameters)
    factor = clip_factor(grad_norm, settings.max_grad_norm)
    total = sums.cross_entropy + sums.z
    # one wait for the device: who is to blame is asked only when somebody is, and gradients are passed over only when one is too large
    is_finite, is_large = torch.stack((torch.isfinite(total) & torch.isfinite(grad_norm), factor < 1)).tolist()
    if not is_finite:
        bad_ranks = torch.nonzero(sums.is_bad_R).flatten().tolist()
        if bad_ranks:
            raise NotFiniteError(step, bad_ranks, "loss")
        bad_ranks = ranks_where(~torch.isfinite(grad_norm), settings.rank, settings.world_size)
        raise NotFiniteError(step, bad_ranks or [settings.rank], "gradient norm" if bad_ranks else "loss")
    if is_large:
        scale_gradients(parameters, factor)
    for group in optimizer.param_groups:
        group["lr"] = lr
    taken = optimizer.step(loss=sums.cross_entropy, grad_norm=grad_norm)
    return StepResult(sums.cross_entropy, sums.z, grad_norm, taken)


def accumulate_gradients(
    model: Olmo3,
    ids_BT: Tensor,
    *,
    documents_BT: Tensor | None = None,
    is_trained_BT: Tensor | None = None,
    is_filtered_B: Tensor | None = None,
    settings: StepSettings,
) -> GradientSums:
    """Gradients of the mean loss over the labels of the GLOBAL batch, summed over micro-batches and ranks.

    Parameters
    ----------
    ids_BT : int64
    documents_BT : int64 or None    number of each token's document in its row: tokens see only their own, see Visibility
    is_trained_BT : bool or None    tokens that may be labels; None: all
                                    All three are whole rows: where ranks share tokens, the model takes its own of them.
    is_filtered_B : bool or None    rows that teach nothing; their labels stay in the divisor, so the other rows weigh no more for it

    The result does not depend on how rows are spread over micro-batches and ranks, but for the order of float sums (with
    loss.divisor=rank it depends on the ranks, on purpose). A batch without any label gives zeros.
    """
    labels_BT = shift_labels(ids_BT, is_trained_BT, documents_BT=documents_BT)
    divisor = _loss_divisor((labels_BT >= 0).sum(), settings)
    if is_filtered_B is not None:
        labels_BT = labels_BT.masked_fill(is_filtered_B[:, None], IGNORED_LABEL)
    sums = torch.zeros(2, dtype=torch.float32, device=ids_BT.device)
    model.zero_grad(set_to_none=True)
    autocast = contextlib.nullcontext()
    if settings.autocast_dtype is not None:
        autocast = torch.autocast(ids_BT.device.type, settings.autocast_dtype)
    for first in range(0, len(ids_BT), settings.micro_batch_instances):
        note_micro_batch(model, is_last=first + settings.micro_batch_instances >= len(ids_BT))
        rows = slice(first, first + settings.micro_batch_instances)
        documents = None if documents_BT is None else documents_BT[rows]
        with autocast:
            losses = model.loss(ids_BT[rows], labels_BT[rows], config=settings.loss, documents_BT=documents)
        (losses.total / divisor).backward()
        sums += torch.stack((losses.cross_entropy, losses.z)) / divisor
    if not settings.layout.is_sharded:  # FSDP has summed them
        sum_gradients(list(model.parameters()), settings.layout.replicate_group)
    # all of a tensor group have the same sums
    told, is_bad_R = tell_sums(sums, settings, is_counted=settings.layout.tensor_rank == 0)
    return GradientSums(told[0], told[1], is_bad_R)


def tell_sums(sums: Tensor, settings: StepSettings, *, is_counted: bool) -> tuple[Tensor, Tensor]:
    """(float32 sums over the ranks that count, float32 (ranks,): 1 where a rank's own are not all finite). `sums` may be changed."""
    is_bad_R = torch.zeros(settings.world_size, dtype=torch.float32, device=sums.device)
    is_bad_R[settings.rank] = (~torch.isfinite(sums).all()).to(torch.float32)
    if not is_counted:
        sums.zero_()
    told = global_sum(torch.cat((sums.to(torch.float32), is_bad_R)))
    return told[: len(sums)], told[len(sums) :]


def _loss_divisor(num_labels: Tensor, settings: StepSettings) -> Tensor:
    """What this rank's sums are divided by, so that the sum over ranks is the mean; 1 where there is no label."""
    if settings.loss.divisor == "rank":
        return num_labels.clamp(min=1).to(torch.float32) * settings.layout.num_row_ranks
    # of the ranks that read the same rows one counts
    is_counted = settings.layout.context_rank == 0 and settings.layout.tensor_rank == 0
    return global_sum(num_labels.to(torch.float64) * is_counted).clamp(min=1).to(torch.float32)
