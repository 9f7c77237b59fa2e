"""What a run says of each step: metrics.jsonl, events.jsonl, the console, and other tools' logs where they are asked for.

Every rank has one, for all must know when to stop; the first one alone writes.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dolma_py.config import dump_config
from dolma_py.errors import NotFiniteError, SpikeError
from dolma_py.machine import read_peak_bytes
from train_bridge.cost import flops_per_token
from train_bridge.distributed import global_sum
from train_bridge.loader import BatchLoader
from train_bridge.metrics import LOGGER, MetricsLog, format_duration, tokens_per_sec
from train_bridge.optimizer import SkipStepAdamW
from train_bridge.rows import Rows
from train_bridge.run_log_writers import LogWriter, open_writers
from train_bridge.spikes import SpikeWatch
from train_bridge.step import StepResult
from train_bridge.train_config import TrainConfig
from train_bridge.utilization import find_peak, utilization

SERIES = {"loss": "loss", "grad_norm": "gradient norm"}  # watched for spikes: key -> words
SHOWN = ("reward_margin", "reward_accuracy")  # on the console, where a step has them


class RunLog:
    """`watch` a step, `observe` what it gave, `write` when it `is_due`."""

    def __init__(
        self,
        config: TrainConfig,
        output: Path,
        *,
        first_step: int,
        loader: BatchLoader,
        optimizer: SkipStepAdamW,
        device: torch.device,
        rank: int,
        world_size: int,
    ) -> None:
        self.config, self.loader, self.optimizer, self.device = config, loader, optimizer, device
        self.rank, self.world_size, self.first_step = rank, world_size, first_step
        self.metrics = self.events = None
        self.writers: list[LogWriter] = []
        past: list[dict[str, Any]] = []
        if rank == 0:
            self.metrics = MetricsLog(output / "metrics.jsonl", resume_step=first_step)
            stays = lambda record: record["event"] == "not_finite"  # noqa: E731  # why the run stopped the last time
            self.events = MetricsLog(output / "events.jsonl", resume_step=first_step, stays=stays)
            past = self.events.read()
            self.writers = open_writers(config.logs, output, first_step=first_step, run_config=dump_config(config))
        histories = {"loss": optimizer.loss_history, "grad_norm": optimizer.norm_history}
        spike_steps = self._tell_spikes(past)
        self.spikes = {
            name: SpikeWatch(
                history.tolist(),
                last_step=first_step,
                spike_steps=spike_steps[name],
                sigma=config.logs.spike_sigma,
                window=config.optimizer.skip_window_steps,
                min_values=config.optimizer.skip_min_steps,
                score_steps=config.logs.spike_score_steps,
            )
            for name, history in histories.items()
        }
        self.peak = find_peak(device, given=config.logs.peak_flops_per_sec)
        self.flops_per_token = flops_per_token(config.model, config.data.sequence_tokens)
        self.rows_seen = self.rows_filtered = 0
        self.marked_step = first_step
        self.started = time.perf_counter()
        self.idle_sec = 0.0  # of validation and checkpoints, since the start
        self._mark()

    def _tell_spikes(self, past: list[dict[str, Any]]) -> dict[str, list[int]]:
        """Steps of spikes that still count, from the first rank's events to all: everyone decides alike when to stop."""
        first = max(self.first_step - self.config.logs.spike_score_steps, 0)
        flags = torch.zeros((len(SERIES), self.first_step - first), dtype=torch.float32, device=self.device)
        for row, name in enumerate(SERIES):
            for record in past:
                if name in record.get("spikes", {}) and first < record["step"] <= self.first_step:
                    flags[row, record["step"] - first - 1] = 1
        told = global_sum(flags).tolist()
        return {
            name: [first + 1 + place for place, flag in enumerate(row) if flag]
            for name, row in zip(SERIES, told, strict=True)
        }

    def _mark(self) -> None:
        """What is measured from here on goes into the next line."""
        self.marked, self.marked_idle_sec = time.perf_counter(), self.idle_sec
        self.marked_tokens, self.marked_wait_sec = self.loader.num_tokens, self.loader.wait_sec

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The time of the block is not training's."""
        started = time.perf_counter()
        yield
        self.idle_sec += time.perf_counter() - started

    def see_rows(self, rows: Rows) -> None:
        """Counts this rank's instances and those that the instance filter masked."""
        self.rows_seen += len(rows.ids)
        self.rows_filtered += 0 if rows.is_filtered is None else int(rows.is_filtered.sum())

    @contextlib.contextmanager
    def watch(self, done: int) -> Iterator[None]:
        """One record of a loss or a gradient that is not finite; the error itself is the one line on the console."""
        try:
            yield
        except NotFiniteError as error:
            if self.events is not None:
                self.events.append({"event": "not_finite", "step": done, "what": error.what, "ranks": error.ranks})
            told = NotFiniteError(done, error.ranks, error.what)  # by the number that lines and records have
            told.is_told = self.rank != 0
            raise told from error

    def observe(self, done: int, result: StepResult) -> None:
        """One line and one record of a spike, whatever stands out. SpikeError, on every rank, when there are too many."""
        values = {"loss": float(result.cross_entropy), "grad_norm": float(result.grad_norm)}
        found = {name: self.spikes[name].observe(value) for name, value in values.items()}
        spikes = {name: spike for name, spike in found.items() if spike is not None}
        skipped = not bool(result.taken)
        if (spikes or skipped) and self.events is not None:
            scores = {f"{name}_spike_score": watch.score for name, watch in self.spikes.items()}
            self.events.append({"event": "spike", "step": done, "skipped": skipped, "spikes": spikes, **scores})
            LOGGER.warning("%s", describe_spikes(done, spikes, skipped=skipped))
        allowed = self.config.logs.max_spike_score
        for name, watch in self.spikes.items():
            if spikes and allowed is not None and watch.score > allowed:
                error = SpikeError(done, SERIES[name], watch.score, allowed)
                error.is_told = self.rank != 0
                raise error

    def is_due(self, done: int) -> bool:
        return done % self.config.run.log_every_steps == 0 or done == self.config.run.steps

    def write(self, done: int, result: StepResult, *, lr: float) -> None:
        """One line in metrics.jsonl, one for people; all ranks call it. `step` counts finished updates; loss in nats per token."""
        now = time.perf_counter()
        seconds = now - self.marked - (self.idle_sec - self.marked_idle_sec)
        rate = tokens_per_sec(self.loader.num_tokens - self.marked_tokens, seconds)
        wait_sec = self.loader.wait_sec - self.marked_wait_sec
        loss, skipped = float(result.cross_entropy), int(self.optimizer.num_skipped)
        more = {name: float(value) for name, value in (result.more or {}).items()}
        values = {
            "step": done,
            "tokens": self.loader.num_tokens,
            "epoch": self.loader.epoch,
            "loss": loss,
            "z_loss": float(result.z),
            "grad_norm": float(result.grad_norm),
            "lr": lr,
            "skipped_steps": skipped,
            **{f"{name}_spike_score": round(watch.score, 6) for name, watch in self.spikes.items()},
            **self._count_filtered(),
            **more,
            "tokens_per_sec": round(rate, 1),
            "step_sec": round(seconds / max(done - self.marked_step, 1), 6),
            "mfu_window_aware": round(self.utilization(rate), 6),
            "data_wait_sec": round(wait_sec, 6),
            "data_wait_frac": round(wait_sec / seconds, 6) if seconds > 0 else 0.0,
            "peak_memory_bytes": read_peak_bytes(),
            **self._device_memory(),
        }
        if self.metrics is not None:
            self.metrics.append(values)
            self._send(done, values)
            spent = now - self.started - self.idle_sec
            remaining_sec = (self.config.run.steps - done) * spent / (done - self.first_step)
            LOGGER.info(
                "step %d/%d loss %.4f%s grad norm %.2f lr %.2e %.0f tokens/s MFU %.1f%% data wait %.1f%% left %s%s",
                done,
                self.config.run.steps,
                loss,
                "".join(f" {name.replace('_', ' ')} {more[name]:.4f}" for name in SHOWN if name in more),
                values["grad_norm"],
                lr,
                rate,
                100 * values["mfu_window_aware"],
                100 * values["data_wait_frac"],
                format_duration(remaining_sec),
                f" ({skipped} updates skipped so far)" if skipped else "",
            )
        self._mark()
        self.marked_step = done

    def write_validation(self, done: int, values: dict[str, Any]) -> None:
        """What validation.jsonl has already, for the other tools."""
        self._send(done, flatten(values, prefix="validation"))

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    def utilization(self, rate: float) -> float:
        """MFU at a rate of `rate` tokens per second of all devices, window-aware."""
        return utilization(
            rate,
            flops_per_token=self.flops_per_token,
            peak_flops_per_sec=self.peak.flops_per_sec,
            num_devices=self.world_size,
        )

    def _send(self, done: int, values: dict[str, Any]) -> None:
        numbers = {name: float(value) for name, value in values.items() if name != "step"}
        for writer in self.writers:
            writer.write(done, numbers)

    def _count_filtered(self) -> dict[str, float]:
        if self.config.data.instance_filter is None:
            return {}
        counts = torch.tensor([self.rows_filtered, self.rows_seen], dtype=torch.float64, device=self.device)
        filtered, seen = global_sum(counts).tolist()
        self.rows_filtered = self.rows_seen = 0
        return {"filtered_instances_frac": round(filtered / max(seen, 1), 6)}

    def _device_memory(self) -> dict[str, int]:
        if self.device.type != "cuda":
            return {}
        retries = torch.cuda.memory_stats().get("num_alloc_retries", 0)
        return {"peak_device_memory_bytes": torch.cuda.max_memory_allocated(), "device_alloc_retries": int(retries)}


def describe_spikes(done: int, spikes: dict[str, dict[str, Any]], *, skipped: bool) -> str:
    """One line for people.

    Examples
    --------
    >>> describe_spikes(70, {"loss": {"value": 9.0, "mean": 3.0, "deviations": 8.2}}, skipped=True)
    'spike at step 70: loss 9.0000 is 8.2 deviations from the mean 3.0000; update skipped'
    """
    parts = [
        f"{SERIES[name]} {spike['value']:.4f} is "
        + (f"{spike['deviations']} deviations" if spike["deviations"] is not None else "away, all before were alike,")
        + f" from the mean {spike['mean']:.4f}"
        for name, spike in spikes.items()
    ]
    reason = ", ".join(parts) or "above the skip rule's limit (optimizer.skip_sigma)"
    return f"spike at step {done}: {reason}; {'update skipped' if skipped else 'update taken'}"


def flatten(values: dict[str, Any], *, prefix: str) -> dict[str, float]:
    """Finite numbers of nested values under names with slashes.

    Examples
    --------
    >>> flatten({"sources": {"web": {"loss": 2.5, "name": "x"}}}, prefix="validation")
    {'validation/sources/web/loss': 2.5}
    """
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flatten(value, prefix=f"{prefix}/{name}")
        elif isinstance(value, int | float) and name != "step" and math.isfinite(value):
            found[f"{prefix}/{name}"] = float(value)
    return found
