"""How long a training run waits for a checkpoint, written beside it and not; and how long reading one takes.

    python -m benchmarks.checkpoint_stall --folder DIR [--preset ladder_60m] [--rounds 5]

A model of the preset's shape with a vocabulary of 8,192 and its moments, float32. The two ways take
turns; medians, and the times of all. CPU seconds are those of the thread that trains.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path

import torch

from train_bridge.checkpoint import list_checkpoints, load_checkpoint, take_snapshot
from train_bridge.checkpoint_config import CheckpointConfig
from train_bridge.checkpoint_writer import CheckpointWriter
from train_bridge.model import ModelConfig, build_model
from train_bridge.optimizer import OptimizerConfig, build_optimizer
from train_bridge.presets import preset_values


def measure(folder: Path, preset: str, rounds: int) -> dict[str, list[float]]:
    """Seconds by what was measured. A first checkpoint in each way is not counted: its buffers are new."""
    model = build_model(ModelConfig(**{**preset_values(preset), "vocab_size": 8192}), seed=0)
    optimizer = build_optimizer(model, OptimizerConfig())
    for parameter in model.parameters():
        optimizer.state[parameter] = {name: torch.rand_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
    seconds: dict[str, list[float]] = {}
    writers = {way: CheckpointWriter(folder / way, CheckpointConfig(writing=way)) for way in ("sync", "async")}
    for step in range(rounds + 1):
        for way, writer in writers.items():
            snapshot = take_snapshot(step=step, kind="ephemeral", model=model, optimizer=optimizer, loader_state={})
            started, started_cpu = time.perf_counter(), time.thread_time()
            writer.save(snapshot)
            stalled, stalled_cpu = time.perf_counter(), time.thread_time()
            writer.wait()
            if step > 0:
                seconds.setdefault(f"{way}: the run waits", []).append(stalled - started)
                seconds.setdefault(f"{way}: its CPU seconds", []).append(stalled_cpu - started_cpu)
                seconds.setdefault(f"{way}: on disk after", []).append(time.perf_counter() - started)
    num_bytes = sum(path.stat().st_size for path in list_checkpoints(folder / "sync")[-1].rglob("*") if path.is_file())
    for _ in range(rounds):
        started = time.perf_counter()
        load_checkpoint(list_checkpoints(folder / "sync")[-1], model=model, optimizer=optimizer)
        seconds.setdefault("read and checked in", []).append(time.perf_counter() - started)
    print(
        f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters, {num_bytes / 1e9:.2f} GB a checkpoint"
    )
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--preset", default="ladder_60m")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    target = arguments.folder / "checkpoint-stall"
    try:
        for name, values in measure(target, arguments.preset, arguments.rounds).items():
            print(
                f"{name:24s} {statistics.median(values):7.3f} s   {' '.join(f'{value:.3f}' for value in sorted(values))}"
            )
    finally:
        shutil.rmtree(target, ignore_errors=True)


if __name__ == "__main__":
    main()
