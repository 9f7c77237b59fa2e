"""One update: micro-batches forward and backward, global sums, clipping, optimizer.

Legend: B rows of this rank's share of the batch, T tokens.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
from torch import Tensor

from dolma_py.errors import NotFiniteError
from train_bridge.attention import document_ids_from_eos
from train_bridge.distributed import global_sum, ranks_where, sum_gradients
from train_bridge.loss import LossConfig, shift_labels
from train_bridge.model import Olmo3
from train_bridge.optimizer import SkipStepAdamW


class StepSettings(NamedTuple):
    """What stays the same from step to step."""

    micro_batch_instances: int
    loss: LossConfig
    max_grad_norm: float
    document_eos_id: int | None  # None: no document mask
    autocast_dtype: torch.dtype | None  # None: float32
    rank: int = 0
    world_size: int = 1


class StepResult(NamedTuple):
    """0-dim tensors, means over the global batch's labels; reading them waits for the device."""

    cross_entropy: Tensor
    z: Tensor
    grad_norm: Tensor  # before clipping
    taken: Tensor  # 0 when the step was skipped


def train_step(
    model: Olmo3, optimizer: SkipStepAdamW, ids_BT: Tensor, *, lr: float, step: int, settings: StepSettings
) -> StepResult:
    """Take one step in place. NotFiniteError, before anything changed, when loss or gradient norm is not a number."""
    sums = accumulate_gradients(model, ids_BT, settings=settings)
    total = sums[0] + sums[1]
    parameters = list(model.parameters())
    grad_norm = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
    for what, value in (("loss", total), ("gradient norm", grad_norm)):
        bad_ranks = ranks_where(~torch.isfinite(value), settings.rank, settings.world_size)
        if bad_ranks:
            raise NotFiniteError(step, bad_ranks, what)
    for group in optimizer.param_groups:
        group["lr"] = lr
    taken = optimizer.step(loss=sums[0], grad_norm=grad_norm)
    return StepResult(sums[0], sums[1], grad_norm, taken)


def accumulate_gradients(model: Olmo3, ids_BT: Tensor, *, settings: StepSettings) -> tuple[Tensor, Tensor]:
    """Gradients of the mean loss over the labels of the GLOBAL batch, summed over micro-batches and ranks.

    Returns  mean cross-entropy and mean z-loss over the global batch. The result does not depend on how rows are spread over
    micro-batches and ranks, but for the order of float sums.
    """
    labels_BT = shift_labels(ids_BT)
    num_labels = global_sum((labels_BT >= 0).sum().to(torch.float64)).to(torch.float32)
    sums = torch.zeros(2, dtype=torch.float32, device=ids_BT.device)
    model.zero_grad(set_to_none=True)
    autocast = contextlib.nullcontext()
    if settings.autocast_dtype is not None:
        autocast = torch.autocast(ids_BT.device.type, settings.autocast_dtype)
    for first in range(0, len(ids_BT), settings.micro_batch_instances):
        rows = slice(first, first + settings.micro_batch_instances)
        documents_BT = None
        if settings.document_eos_id is not None:
            documents_BT = document_ids_from_eos(ids_BT[rows], settings.document_eos_id)
        with autocast:
            losses = model.loss(ids_BT[rows], labels_BT[rows], config=settings.loss, documents_BT=documents_BT)
        (losses.total / num_labels).backward()
        sums += torch.stack((losses.cross_entropy, losses.z)) / num_labels
    sum_gradients(model.parameters())
    global_sum(sums)
    return sums[0], sums[1]
