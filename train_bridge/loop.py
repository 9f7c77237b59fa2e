"""The training loop: batch, rate, step, log, checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import torch

from train_bridge.checkpoint import take_snapshot
from train_bridge.checkpoint_config import Kind
from train_bridge.checkpoint_writer import CheckpointWriter
from train_bridge.loader import BatchLoader
from train_bridge.metrics import LOGGER, MetricsLog, format_duration, tokens_per_sec
from train_bridge.model import Olmo3
from train_bridge.optimizer import SkipStepAdamW
from train_bridge.schedule import learning_rate
from train_bridge.step import StepResult, StepSettings, train_step
from train_bridge.train_config import TrainConfig


class LoopParts(NamedTuple):
    """What a loop works on; all of it is in a checkpoint but the settings."""

    config: TrainConfig
    model: Olmo3
    optimizer: SkipStepAdamW
    loader: BatchLoader
    settings: StepSettings
    device: torch.device


def run_loop(parts: LoopParts, *, first_step: int, output: Path, checkpoints: CheckpointWriter) -> None:
    """Updates first_step ... run.steps - 1; leaves a checkpoint after the last one."""
    config, loader = parts.config, parts.loader
    log = MetricsLog(output / "metrics.jsonl", resume_step=first_step) if parts.settings.rank == 0 else None
    started, logged_tokens, logged_time = time.perf_counter(), loader.num_tokens, time.perf_counter()
    for step in range(first_step, config.run.steps):
        ids_BT, documents_BT, is_trained_BT = loader.next_batch().to_tensors(parts.device)
        lr = learning_rate(config.schedule, step, run_steps=config.run.steps)
        rows = {"documents_BT": documents_BT, "is_trained_BT": is_trained_BT}
        result = train_step(parts.model, parts.optimizer, ids_BT, **rows, lr=lr, step=step, settings=parts.settings)
        done = step + 1
        if log is not None and (done % config.run.log_every_steps == 0 or done == config.run.steps):
            now = time.perf_counter()
            rate = tokens_per_sec(loader.num_tokens - logged_tokens, now - logged_time)
            remaining_sec = (config.run.steps - done) * (now - started) / (done - first_step)
            _log_step(log, result, done=done, lr=lr, rate=rate, remaining_sec=remaining_sec, parts=parts)
            logged_tokens, logged_time = loader.num_tokens, now
        checkpoints.raise_failure()
        kind = config.checkpoints.kind_after(done, run_steps=config.run.steps)
        if kind is not None:
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


def _log_step(
    log: MetricsLog, result: StepResult, *, done: int, lr: float, rate: float, remaining_sec: float, parts: LoopParts
) -> None:
    """One line in metrics.jsonl, one for people. `step` counts finished updates; loss in nats per token."""
    loss, skipped = float(result.cross_entropy), int(parts.optimizer.num_skipped)
    values = {
        "step": done,
        "tokens": parts.loader.num_tokens,
        "epoch": parts.loader.epoch,
        "loss": loss,
        "z_loss": float(result.z),
        "grad_norm": float(result.grad_norm),
        "lr": lr,
        "skipped_steps": skipped,
        "tokens_per_sec": round(rate, 1),
    }
    log.append(values)
    LOGGER.info(
        "step %d/%d loss %.4f grad norm %.2f lr %.2e %.0f tokens/s left %s%s",
        done,
        parts.config.run.steps,
        loss,
        values["grad_norm"],
        lr,
        rate,
        format_duration(remaining_sec),
        f" ({skipped} updates skipped: loss or gradient far above the last ones)" if skipped else "",
    )
