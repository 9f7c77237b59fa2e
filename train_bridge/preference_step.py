"""One update from preference pairs, and log-probs of pairs without one.

Legend: B rows of this rank's share of the batch, T tokens, P pairs, 2 chosen and rejected.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from train_bridge.distributed import sum_gradients
from train_bridge.loop import LoopParts
from train_bridge.loss import shift_labels
from train_bridge.model import Olmo3
from train_bridge.parallel_model import note_micro_batch
from train_bridge.preference_loss import OBSERVED, PreferenceConfig, observe, preference_losses, sum_responses
from train_bridge.rows import PairPlaces, PairRows
from train_bridge.step import GradientSums, StepResult, StepSettings, apply_gradients, tell_sums


class _SummedOverTokens(torch.autograd.Function):
    """The sum over ranks that share the tokens of a row. Every one of them computes the same loss of it, so a gradient is its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        x = x.clone()
        dist.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor):
        return grad, None


class MicroBatch(NamedTuple):
    """Some rows and the pairs in them, whose numbers count from 0; without pairs where other ranks have more rows."""

    ids_BT: Tensor
    documents_BT: Tensor
    is_trained_BT: Tensor
    responses_BT: Tensor  # int64: 2 * pair + side; anything where no label is
    pairs: PairPlaces


def cut_rows(rows: PairRows, *, num_rows: int, device: torch.device) -> Iterator[MicroBatch]:
    """Micro-batches of `num_rows` rows; every rank gives as many as the one that has the most. Collective."""
    count = torch.tensor(-(-len(rows.ids) // num_rows), device=device)
    if dist.is_initialized():
        dist.all_reduce(count, dist.ReduceOp.MAX)
    # number of the first pair of each row
    first_pairs = np.searchsorted(rows.pairs.rows, np.arange(len(rows.ids) + 1))
    for number in range(int(count)):
        first = min(number * num_rows, len(rows.ids))
        end = min(first + num_rows, len(rows.ids))
        some = slice(int(first_pairs[first]), int(first_pairs[end]))
        pairs = PairPlaces(*(None if part is None else part[some] for part in rows.pairs))
        if first == end:  # a row of padding: all ranks have to go through the model together
            ids, documents, is_trained = np.zeros((3, 1, rows.ids.shape[1]), dtype=np.int64)
            responses = documents
        else:
            ids, documents, is_trained = rows.ids[first:end], rows.documents[first:end], rows.is_trained[first:end]
            responses = documents + 2 * (first_pairs[first:end, None] - first_pairs[first])
        parts = (ids, documents, is_trained.astype(np.bool_), responses)
        yield MicroBatch(*(torch.from_numpy(part).to(device) for part in parts), pairs)


def pair_log_probs(model: Olmo3, batch: MicroBatch, settings: StepSettings) -> Tensor:
    """Sums of ln p over the labels of each conversation, float64 (P, 2), the same on all ranks that share rows."""
    labels_BT = shift_labels(batch.ids_BT, batch.is_trained_BT, documents_BT=batch.documents_BT)
    autocast = contextlib.nullcontext()
    if settings.autocast_dtype is not None:
        autocast = torch.autocast(batch.ids_BT.device.type, settings.autocast_dtype)
    with autocast:
        log_probs_BT = model.log_probs(
            batch.ids_BT, labels_BT, chunk_tokens=settings.loss.chunk_tokens, documents_BT=batch.documents_BT
        )
    responses_BT = batch.responses_BT if model.context is None else model.context.take(batch.responses_BT)
    num_responses = 2 * len(batch.pairs.numbers)
    if not num_responses:
        return log_probs_BT.sum(dtype=torch.float64) * torch.zeros(
            (0, 2), dtype=torch.float64, device=log_probs_BT.device
        )
    sums_S = sum_responses(log_probs_BT.flatten(), responses_BT.flatten(), num_responses=num_responses)
    if settings.layout.context_group is not None:
        sums_S = _SummedOverTokens.apply(sums_S, settings.layout.context_group)
    return sums_S.view(-1, 2)


def counts_for_all(settings: StepSettings) -> bool:
    """Whether this rank speaks for those that read the same rows."""
    return settings.layout.context_rank == 0 and settings.layout.tensor_rank == 0


def accumulate_preference_gradients(
    model: Olmo3, rows: PairRows, *, preference: PreferenceConfig, num_pairs: int, settings: StepSettings
) -> tuple[GradientSums, dict[str, Tensor]]:
    """Gradients of the mean loss over the `num_pairs` of the GLOBAL batch, summed over micro-batches and ranks, and means of OBSERVED.

    The result depends neither on how pairs share rows nor on how rows are spread over micro-batches and ranks, but for the order of
    float sums.
    """
    device = model.embeddings.weight.device
    sums = torch.zeros(1 + len(OBSERVED), dtype=torch.float64, device=device)
    model.zero_grad(set_to_none=True)
    batches = list(cut_rows(rows, num_rows=settings.micro_batch_instances, device=device))
    for number, batch in enumerate(batches):
        note_micro_batch(model, is_last=number == len(batches) - 1)
        policy_P2 = pair_log_probs(model, batch, settings)
        references = batch.pairs.references
        losses = preference_losses(
            policy_P2,
            None if references is None else torch.from_numpy(references).to(device, torch.float64),
            torch.from_numpy(batch.pairs.num_labels).to(device),
            config=preference,
        )
        (losses.loss_P.sum() / num_pairs).backward()
        sums += torch.cat((losses.loss_P.detach().sum()[None], observe(losses))) / num_pairs
    if not settings.layout.is_sharded:  # FSDP has summed them
        sum_gradients(list(model.parameters()), settings.layout.replicate_group)
    told, is_bad_R = tell_sums(sums, settings, is_counted=counts_for_all(settings))
    return GradientSums(told[0], torch.zeros_like(told[0]), is_bad_R), dict(zip(OBSERVED, told[1:], strict=True))


def take_preference_step(parts: LoopParts, batch: PairRows, *, lr: float, step: int) -> StepResult:
    """One update of the loop; what it logs as the loss is the preference loss, in nats a pair."""
    config = parts.config
    assert config.preference is not None, "a configuration of pairs"
    sums, more = accumulate_preference_gradients(
        parts.model,
        batch,
        preference=config.preference,
        num_pairs=config.data.batch_instances,
        settings=parts.settings,
    )
    result = apply_gradients(parts.model, parts.optimizer, sums, lr=lr, step=step, settings=parts.settings)
    return result._replace(more=more)
