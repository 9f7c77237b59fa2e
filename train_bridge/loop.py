"""The training loop: batch, rate, step, log, checkpoint."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from train_bridge.checkpoint import take_snapshot
from train_bridge.checkpoint_config import Kind
from train_bridge.checkpoint_writer import CheckpointWriter
from train_bridge.loader import BatchLoader
from train_bridge.model import Olmo3
from train_bridge.optimizer import SkipStepAdamW
from train_bridge.rows import Rows
from train_bridge.run_log import RunLog
from train_bridge.schedule import learning_rate
from train_bridge.step import StepResult, StepSettings, train_step
from train_bridge.train_config import TrainConfig
from train_bridge.validation import Validator


class LoopParts(NamedTuple):
    """What a loop works on; all of it is in a checkpoint but the settings."""

    config: TrainConfig
    model: Olmo3
    optimizer: SkipStepAdamW
    loader: BatchLoader
    settings: StepSettings
    device: torch.device


class TakeStep(Protocol):
    """One update from a batch, in place."""

    def __call__(self, parts: LoopParts, batch: Any, *, lr: float, step: int) -> StepResult: ...


def take_next_token_step(parts: LoopParts, batch: Rows, *, lr: float, step: int) -> StepResult:
    """Next-token loss: pretraining and fine-tuning."""
    ids_BT, documents_BT, is_trained_BT, is_filtered_B = batch.to_tensors(parts.device)
    rows = {"documents_BT": documents_BT, "is_trained_BT": is_trained_BT, "is_filtered_B": is_filtered_B}
    return train_step(parts.model, parts.optimizer, ids_BT, **rows, lr=lr, step=step, settings=parts.settings)


def run_loop(
    parts: LoopParts,
    *,
    first_step: int,
    output: Path,
    checkpoints: CheckpointWriter,
    validator: Validator | None = None,
    take_step: TakeStep = take_next_token_step,
) -> None:
    """Updates first_step ... run.steps - 1; leaves a checkpoint after the last one."""
    config, loader, settings = parts.config, parts.loader, parts.settings
    log = RunLog(
        config,
        output,
        first_step=first_step,
        loader=loader,
        optimizer=parts.optimizer,
        device=parts.device,
        rank=settings.rank,
        world_size=settings.world_size,
    )
    with contextlib.closing(log), contextlib.closing(loader):
        for step in range(first_step, config.run.steps):
            done = step + 1
            batch = loader.next_batch()
            log.see_rows(batch)
            lr = learning_rate(config.schedule, done, run_steps=config.run.steps)
            with log.watch(done):
                result = take_step(parts, batch, lr=lr, step=step)
            log.observe(done, result)
            if log.is_due(done):
                log.write(done, result, lr=lr)
            if validator is not None and validator.is_due(done):
                with log.paused():
                    log.write_validation(done, validator.validate(done, parts.model))
            checkpoints.raise_failure()
            kind = config.checkpoints.kind_after(done, run_steps=config.run.steps)
            if kind is not None:
                with log.paused():
                    _save(parts, checkpoints, done, kind)


def _save(parts: LoopParts, checkpoints: CheckpointWriter, step: int, kind: Kind) -> None:
    snapshot = take_snapshot(
        step=step,
        kind=kind,
        model=parts.model,
        optimizer=parts.optimizer,
        loader_state=parts.loader.state_dict(),
        rank=parts.settings.rank,
    )
    checkpoints.save(snapshot, is_last=step == parts.config.run.steps)
