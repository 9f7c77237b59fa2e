"""`dolma-py train --dry-run`: what a run would be, need, take and cost, without shards and without a GPU."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from train_bridge.cost import (
    REACHED_FRAC,
    Placement,
    counts_of,
    device_flops_per_sec,
    flops_per_token,
    memory_parts_bytes,
)
from train_bridge.metrics import format_duration
from train_bridge.schedule import ScheduleConfig, learning_rate
from train_bridge.stages import choose_placement, gpu_peak
from train_bridge.train_config import TrainConfig


class Assumptions(NamedTuple):
    """What is supposed of the machines; None: as published for the stage, or this machine."""

    gpus: int | None = None
    gpu: str | None = None
    mfu: float | None = None  # of the window-aware count
    price: float | None = None  # of one GPU for one hour, in any currency


class _Speed(NamedTuple):
    tokens_per_sec: float  # all GPUs together
    basis: str
    peak_flops_per_sec: float  # of one GPU


def plan_run(config: TrainConfig, *, device: torch.device, assumed: Assumptions = Assumptions()) -> dict[str, Any]:
    """The numbers of a dry run, plain JSON values. Rates are per update, memory in bytes of one GPU.

    Raises  ConfigError for an unknown GPU, or a number of GPUs that the stage's layout does not divide
    """
    stage = config.stage
    on_gpu = device.type == "cuda" or stage is not None or assumed.gpu is not None
    bfloat16 = config.run.precision == "bfloat16" or (config.run.precision == "auto" and on_gpu)
    placement = choose_placement(config.parallel, config.launch, num_gpus=assumed.gpus, bfloat16=bfloat16)
    counts = counts_of(config.model)
    data, steps = config.data, config.run.steps
    tokens_per_step = data.batch_instances * data.sequence_tokens
    flops = flops_per_token(config.model, data.sequence_tokens)
    flops_full = flops_per_token(config.model, data.sequence_tokens, count_windows=False)
    speed = _choose_speed(config, placement, flops, device, assumed)
    seconds = tokens_per_step * steps / speed.tokens_per_sec
    rank_rows = data.batch_instances / placement.num_row_ranks
    memory = memory_parts_bytes(config, placement)
    per_gpu = speed.tokens_per_sec / placement.num_gpus
    values: dict[str, Any] = {
        "stage": None if stage is None else {"title": stage.title, "follows": list(stage.follows)},
        "parameters": counts.total,
        "parameters_without_input_embedding": counts.without_input_embedding,
        "parameters_without_embeddings": counts.without_embeddings,
        "schedule": _schedule_text(config.schedule),
        "warmup_steps": config.schedule.warmup_steps,
        "peak_lr": config.schedule.peak_lr,
        "lr_at_end": learning_rate(config.schedule, steps, run_steps=steps),
        "temperature": config.schedule.peak_lr**2 / tokens_per_step,
        "sequence_tokens": data.sequence_tokens,
        "batch_instances": data.batch_instances,
        "tokens_per_step": tokens_per_step,
        "steps": steps,
        "tokens": tokens_per_step * steps,
        "loader_seed": data.seed,
        "gpus": placement.num_gpus,
        "parallel": placement.parallel.model_dump(),
        "instances_per_rank": rank_rows,
        "micro_batch_instances": min(data.micro_batch_instances, math.ceil(rank_rows)),
        "flops_per_token": flops,
        "flops_per_token_all_full": flops_full,
        "tokens_per_sec_per_gpu": per_gpu,
        "speed_basis": speed.basis,
        "mfu": per_gpu * flops / speed.peak_flops_per_sec,
        "mfu_all_full": per_gpu * flops_full / speed.peak_flops_per_sec,
        "memory_bytes": sum(memory.values()),
        "memory_parts_bytes": memory,
        "checkpoint_bytes": 12 * counts.total,
        "estimated_sec": round(seconds, 1),
        "estimated_time": format_duration(seconds),
        "gpu_hours": seconds * placement.num_gpus / 3600,
    }
    if assumed.price is not None:
        values["cost"] = assumed.price * values["gpu_hours"]
    return values


def _choose_speed(
    config: TrainConfig, placement: Placement, flops: int, device: torch.device, assumed: Assumptions
) -> _Speed:
    stage = config.stage
    name = assumed.gpu or (stage.gpu if stage is not None else None)
    peak = device_flops_per_sec(device) if name is None else gpu_peak(name)
    where = str(device) if name is None else name
    published = stage.tokens_per_sec_per_gpu if stage is not None and assumed.gpu in (None, stage.gpu) else None
    if assumed.mfu is None and published is not None:
        return _Speed(published * placement.num_gpus, f"published rate on {where}", peak)
    mfu = REACHED_FRAC if assumed.mfu is None else assumed.mfu
    basis = f"{mfu:.0%} of {where}'s {peak / 1e12:,.4g} TFLOP/s"
    return _Speed(peak * mfu / flops * placement.num_gpus, basis, peak)


def describe_plan(values: dict[str, Any]) -> list[str]:
    """The plan as lines for people, `what  how much`."""
    memory = values["memory_parts_bytes"]
    sizes = {**memory, "all": values["memory_bytes"], "checkpoint": values["checkpoint_bytes"]}
    unit, size_of = ("GiB", 2**30) if sizes["all"] >= 2**30 else ("MiB", 2**20)
    told = {name: f"{size / size_of:,.1f}" for name, size in sizes.items()}
    gflops = [values["flops_per_token"] / 1e9, values["flops_per_token_all_full"] / 1e9]
    windows, full = (f"{value:.2f}" if value >= 0.1 else f"{value:.3g}" for value in gflops)
    rows = [
        ("parameters", f"{values['parameters']:,}; {values['parameters_without_input_embedding']:,} without the input embedding, "
                       f"{values['parameters_without_embeddings']:,} without both matrices"),
        ("learning rate", f"{values['schedule']}, {values['warmup_steps']:,} steps of warm-up, peak {values['peak_lr']:.5g}, "
                          f"at the end {values['lr_at_end']:.3g}; temperature (peak^2 / tokens of a step) {values['temperature']:.3e}"),
        ("step", f"{values['batch_instances']:,} instances x {values['sequence_tokens']:,} = {values['tokens_per_step']:,} tokens; "
                 f"seed {values['loader_seed']}"),
        ("length", f"{values['steps']:,} steps, {_count(values['tokens'])} tokens"),
        ("layout", _layout_text(values, values["parallel"])),
        ("memory", f"about {told['all']} {unit} a GPU: states {told['states']}, gathered {told['gathered']}, "
                   f"activations {told['activations']}, logits {told['logits']}; a checkpoint {told['checkpoint']} {unit}"),
        ("operations", f"{windows} GFLOP a token with windows counted, {full} with all layers full"),
        ("speed", f"{values['tokens_per_sec_per_gpu']:,.0f} tokens/s a GPU ({values['speed_basis']}): MFU {values['mfu']:.1%} with "
                  f"windows counted, {values['mfu_all_full']:.1%} with all layers full"),
        ("time", f"{values['estimated_time']}, {values['gpu_hours']:,.4g} GPU hours" if values["gpu_hours"] < 1e4 else
                 f"{values['estimated_time']}, {values['gpu_hours']:,.0f} GPU hours"),
    ]  # fmt: skip
    if values["stage"] is not None:
        follows = values["stage"]["follows"]
        origin = {0: "", 1: f", from the run of {' '.join(follows)}"}.get(
            len(follows), f", from the mean of the runs of {' and '.join(follows)}"
        )
        rows.insert(0, ("stage", values["stage"]["title"] + origin))
    if "cost" in values:
        rows.append(("cost", f"{values['cost']:,.2f}, in the currency of the price"))
    return [f"{name:<14}{text}" for name, text in rows]


def _schedule_text(schedule: ScheduleConfig) -> str:
    if schedule.then is None:
        return schedule.kind
    return f"{schedule.kind}, from step {schedule.switch_step:,} {_schedule_text(schedule.then)}"


def _layout_text(values: dict[str, Any], parallel: dict[str, Any]) -> str:
    ways = [f"{parallel[name]} x {name}" for name in ("replicate", "shard", "context", "tensor") if parallel[name] > 1]
    share, micro = values["instances_per_rank"], values["micro_batch_instances"]
    group = parallel["context"] * parallel["tensor"]
    text = f"{values['gpus']:,} GPU{'s' if values['gpus'] > 1 else ''}"
    text += f" ({', '.join(ways)})" if ways else ""
    per = "GPU" if group == 1 else f"group of {group} GPUs"
    text += f"; {share:g} instance{'s' if share != 1 else ''} of a step per {per}, {micro} at a time"
    mode, budget = parallel["activation_checkpointing"], parallel["activation_budget"]
    if mode != "none":
        text += f"; activation checkpointing: {mode}" + ("" if budget is None else f" {budget:g}")
    return text + ("; float8" if parallel["float8"] else "")


def _count(number: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:,.3f}{letter}"
    return f"{number:,}"
