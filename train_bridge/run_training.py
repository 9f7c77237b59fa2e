"""Train a model on token shards: the whole of `dolma-py train`.

OUTPUT receives config.json first, then metrics.jsonl and checkpoints/ as it goes, then metrics.json, manifest.json
(deterministic on one machine) and run.json (times, host). The same command again resumes, or says that all is done.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from dolma_py.config import dump_config, fingerprint
from dolma_py.errors import ConfigError, DataError, ResumeMismatchError
from dolma_py.machine import read_peak_bytes
from train_bridge.attention import AttentionBackend
from train_bridge.checkpoint import list_checkpoints, load_checkpoint, write_json
from train_bridge.checkpoint_writer import CheckpointWriter
from train_bridge.dataset import InstanceDataset
from train_bridge.distributed import start_distributed, wait_for_all
from train_bridge.dry_run import Assumptions, describe_plan, plan_run
from train_bridge.forking import Parent, find_parent, identify, load_parent, local_path, pass_gate
from train_bridge.hf_parent import note_files
from train_bridge.instance_filter import FilteredDataset
from train_bridge.loader import BatchLoader, first_difference
from train_bridge.loop import LoopParts, run_loop
from train_bridge.manifest import MANIFEST_NAME, ShardManifest, read_manifest
from train_bridge.metrics import LOGGER, format_duration, tokens_per_sec
from train_bridge.mixed_sources import MixedDataset, read_sources
from train_bridge.model import count_parameters
from train_bridge.optimizer import build_optimizer
from train_bridge.packed_dataset import PackedDataset
from train_bridge.parallel_mesh import build_layout
from train_bridge.parallel_model import build_parallel_model
from train_bridge.run_log_writers import check_packages
from train_bridge.shard_cache import ShardCache, is_remote, open_shard_file
from train_bridge.step import StepSettings
from train_bridge.train_config import DataConfig, TrainConfig, load_train_config
from train_bridge.utilization import find_peak
from train_bridge.validation import Validator, read_validation_texts

TrainingData = InstanceDataset | PackedDataset | MixedDataset | FilteredDataset
TRAIN_VERSION = 7  # raised when the same inputs give other weights


def train(
    *, config: str, shards: str, output: str, overrides: list[str], dry_run: bool, assumed: dict[str, Any] | None = None,
    parent: str | None = None, inspect: Callable[[TrainConfig, ShardManifest, TrainingData], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run, resume or skip one training run; returns what metrics.json holds, or the plan when `dry_run`.

    Parameters
    ----------
    config : str          a YAML file or the name of a packaged one: quickstart/pretrain
    shards : str          folder with manifest.json; may be absent for a dry run whose configuration names vocab_size
    output : str          folder of the run
    overrides : list      "a.b=c", applied after the file
    assumed : dict        fields of Assumptions, for a dry run
    parent : str          RUN@STEP, RUN or a folder in Hugging Face's form, whose weights the run starts from (forking); None: first weights
    inspect : callable    looks at configuration and data before anything is written; None: nobody
    """
    folder = local_path("--output", output)
    has_shards = not dry_run or (bool(shards) and (is_remote(shards) or (Path(shards) / MANIFEST_NAME).is_file()))
    manifest = read_manifest(shards) if has_shards else None
    settings = load_train_config(config, overrides=overrides, manifest=manifest, shards=shards)
    device = choose_device(settings.run.device)
    if settings.run.num_threads is not None:
        torch.set_num_threads(settings.run.num_threads)
    if settings.preference is not None:
        raise ConfigError(
            "preference",
            settings.preference.loss,
            "expected null: pairs are learned by another command",
            "Run: dolma-py dpo",
        )
    start = None if parent is None else find_start(parent, settings, output, manifest=manifest, shards=shards)
    if dry_run:
        return show_cost(settings, device, Assumptions(**(assumed or {})))
    assert manifest is not None, "only a dry run goes without shards"
    check_packages(settings.logs)
    dataset = open_dataset(shards, manifest, settings.data)
    settings = settings.fit_length(dataset.num_instances)
    settings.schedule.check_fits(settings.run.steps, key="schedule")
    if inspect is not None:
        inspect(settings, manifest, dataset)
    rank, world_size = start_distributed(device.type)
    if start is not None:
        start = identify(start, folder)
    identity = {
        "train_version": TRAIN_VERSION,
        "device": device.type,  # another kind computes in another precision
        "config": settings.values_for_fingerprint(),
        "dataset": dataset.describe(),
        "tokenizer_fingerprint": manifest.tokenizer.fingerprint,
        **({} if start is None else {"parent": start.description}),
    }
    finished = read_finished(folder, identity)
    if finished is not None:
        LOGGER.info("%s is complete (fingerprint %s): nothing to do", output, fingerprint(identity))
        return finished
    if rank == 0:
        prepare_output(folder, shards, manifest, identity, start)
    wait_for_all()
    if start is not None and not list_checkpoints(folder):
        pass_gate(start, folder, device=device)
    started = time.perf_counter()
    parts = build_parts(settings, dataset, device=device, rank=rank, world_size=world_size)
    first_step = resume(parts, folder, start)
    validator = _open_validator(parts, shards, manifest, folder, first_step=first_step)
    first_tokens = parts.loader.num_tokens
    LOGGER.info("%s", _describe(settings, dataset, device))
    with CheckpointWriter(folder, settings.checkpoints, rank=rank) as checkpoints:
        run_loop(parts, first_step=first_step, output=folder, checkpoints=checkpoints, validator=validator)
    if rank == 0:
        seconds = time.perf_counter() - started
        told = {"checkpoint_stall_sec": round(checkpoints.stall_sec, 2), "from": parent}
        num_tokens = parts.loader.num_tokens - first_tokens
        write_results(parts, folder, identity, seconds=seconds, num_tokens=num_tokens, told=told)
    wait_for_all()
    return json.loads((folder / "metrics.json").read_text())


def find_start(
    parent: str, settings: TrainConfig, output: str, *, manifest: ShardManifest | None, shards: str
) -> Parent:
    return find_parent(
        parent,
        settings.model,
        may_change_yarn=settings.checkpoints.change_parent_yarn,
        manifest=manifest,
        shards=shards,
        is_loaded=not (output and list_checkpoints(Path(output))),
    )


def _open_validator(
    parts: LoopParts, shards: str, manifest: ShardManifest, folder: Path, *, first_step: int
) -> Validator | None:
    if parts.config.validation.every_steps is None:
        return None
    return Validator(
        parts.config,
        read_validation_texts(parts.config, shards, manifest),
        folder,
        first_step=first_step,
        autocast_dtype=parts.settings.autocast_dtype,
        device=parts.device,
        layout=parts.settings.layout,
        attention_backend=parts.model.attention_backend,
    )


def open_dataset(shards: str, manifest: ShardManifest, data: DataConfig) -> TrainingData:
    """The instances that the settings ask for; ConfigError when sources are of another tokenizer than `manifest`."""
    dataset: TrainingData
    if not data.sources:
        dataset = _open_source(shards, manifest, data)
    else:
        manifests = read_sources(shards, manifest, data.sources)
        datasets = {name: _open_source(folder, own, data) for name, (folder, own) in manifests.items()}
        dataset = MixedDataset(datasets, data.sources, seed=data.source_seed)
    return dataset if data.instance_filter is None else FilteredDataset(dataset, data.instance_filter)


def _open_source(shards: str, manifest: ShardManifest, data: DataConfig) -> InstanceDataset | PackedDataset:
    cache = ShardCache(data.cache) if is_remote(shards) else None
    common = {"sequence_tokens": data.sequence_tokens, "cache": cache}
    if data.instances == "packed":
        options = {"long_documents": data.long_documents, "group_files": data.pack_group_files}
        return PackedDataset(shards, manifest, **common, **options)
    return InstanceDataset(shards, manifest, **common, document_mask=data.document_mask)


def choose_device(name: str) -> torch.device:
    """auto: cuda where there is one. ConfigError when cuda is asked for and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("run.device", name, "expected a CUDA device on this machine", "Use: --set run.device=cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def choose_autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """bfloat16 for products on request, and on cuda by default; None is float32 throughout."""
    wants_bfloat16 = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.bfloat16 if wants_bfloat16 else None


def choose_attention(name: str, device: torch.device) -> AttentionBackend:
    """flex on cuda by default, where sdpa has no windows of its own."""
    if name == "auto":
        return "flex" if device.type == "cuda" else "sdpa"
    return cast(AttentionBackend, name)


def show_cost(config: TrainConfig, device: torch.device, assumed: Assumptions) -> dict[str, Any]:
    plan = plan_run(config, device=device, assumed=assumed)
    for line in describe_plan(plan):
        LOGGER.info("%s", line)
    return {"config": dump_config(config), **plan}


def read_finished(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """metrics.json of a complete run with this identity; ResumeMismatchError when the folder holds another run."""
    saved_path = folder / "config.json"
    if not saved_path.is_file():
        return None
    try:
        saved = json.loads(saved_path.read_text())
    except json.JSONDecodeError as error:
        raise DataError(str(saved_path), f"is not JSON ({error})") from error
    difference = first_difference(saved, identity)
    if difference is not None:
        raise ResumeMismatchError(*difference, f"{folder} holds another run: choose another output or delete it.")
    # manifest.json is written last
    if (folder / "manifest.json").is_file():
        return json.loads((folder / "metrics.json").read_text())
    return None


def prepare_output(
    folder: Path, shards: str, manifest: ShardManifest, identity: dict[str, Any], start: Parent | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # evaluation and generation need it; training does not
    with contextlib.suppress(FileNotFoundError), open_shard_file(shards, manifest.tokenizer.path) as tokenizer:
        (folder / "tokenizer.json").write_bytes(tokenizer.read())
    write_json(folder / "tokens.json", {"eos_token_id": manifest.eos_token_id, "vocab_size": manifest.vocab_size})
    write_json(folder / "config.json", identity)
    if start is not None and start.is_hf:
        note_files(start.checkpoint, folder, found=start.description["fingerprint"])


def build_parts(
    config: TrainConfig, dataset: Any, *, device: torch.device, rank: int, world_size: int,
    count_tokens: Callable[[NDArray[np.integer]], int] | None = None,
) -> LoopParts:  # fmt: skip
    """Model with first weights, optimizer and loader of one rank. count_tokens: see BatchLoader."""
    torch.manual_seed(config.run.init_seed)  # torch starts each process with another state, and checkpoints hold it
    layout = build_layout(config.parallel, rank=rank, world_size=world_size, device_type=device.type)
    autocast_dtype = choose_autocast(config.run.precision, device)
    options = {
        "seed": config.run.init_seed,
        "device": device,
        "autocast_dtype": autocast_dtype,
        "attention_backend": choose_attention(config.run.attention, device),
    }
    model = build_parallel_model(config.model, config.parallel, layout, **options)
    loader = BatchLoader(
        dataset,
        batch_instances=config.data.batch_instances,
        seed=config.data.seed,
        rank=layout.row_rank,
        world_size=layout.num_row_ranks,
        prefetch_batches=config.data.prefetch_batches,
        count_tokens=count_tokens,
    )
    settings = StepSettings(
        micro_batch_instances=config.data.micro_batch_instances,
        loss=config.loss,
        max_grad_norm=math.inf if config.optimizer.max_grad_norm is None else config.optimizer.max_grad_norm,
        autocast_dtype=autocast_dtype,
        layout=layout,
    )
    return LoopParts(config, model, build_optimizer(model, config.optimizer), loader, settings, device)


def resume(parts: LoopParts, folder: Path, start: Parent | None) -> int:
    """Step to go on with: what the newest checkpoint says; else 0, with the weights of `start`."""
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        if start is not None:
            load_parent(
                start,
                model=parts.model,
                optimizer=parts.optimizer,
                with_moments=parts.config.checkpoints.load_parent_optimizer,
            )
        return 0
    step, loader_state = load_checkpoint(
        checkpoints[-1], model=parts.model, optimizer=parts.optimizer, rank=parts.settings.rank
    )
    parts.loader.load_state_dict(loader_state)
    LOGGER.info("resuming after step %d from %s", step, checkpoints[-1])
    return step


def _describe(config: TrainConfig, dataset: TrainingData, device: torch.device) -> str:
    tokens = config.run.steps * config.data.batch_instances * config.data.sequence_tokens
    epochs = config.run.steps / (dataset.num_instances // config.data.batch_instances)
    padding = getattr(dataset, "num_padding_tokens", 0) / (dataset.num_instances * dataset.sequence_tokens)
    return (
        f"{count_parameters(config.model).total:,} parameters on {device}; {dataset.num_instances:,} instances of "
        f"{dataset.sequence_tokens} tokens, {dataset.num_dropped_tokens:,} tokens left out, "
        f"{padding:.2%} of the space padding; {config.run.steps:,} steps, {tokens:,} tokens, {epochs:.2f} epochs"
    )


def write_results(
    parts: LoopParts, folder: Path, identity: dict[str, Any], *, seconds: float, num_tokens: int, told: dict[str, Any]
) -> None:
    """metrics.json, run.json (with `told`, which is of this run of the command) and manifest.json, which makes the run complete."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    tail = lines[-max(1, len(lines) // 10) :]
    counts = count_parameters(parts.config.model)
    results = {
        "steps": parts.config.run.steps,
        "tokens": parts.loader.num_tokens,
        "final_loss": lines[-1]["loss"],
        "mean_loss_last_tenth": sum(line["loss"] for line in tail) / len(tail),
        "skipped_steps": lines[-1]["skipped_steps"],
    }
    rate = tokens_per_sec(num_tokens, seconds)
    write_json(folder / "metrics.json", {**results, "tokens_per_sec": round(rate, 1), "seconds": round(seconds, 1)})
    peak = torch.cuda.max_memory_allocated() if parts.device.type == "cuda" else 0
    run = {
        "seconds": round(seconds, 1),
        "tokens_per_sec": round(rate, 1),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(parts.device),
        "device_peak": find_peak(parts.device, given=parts.config.logs.peak_flops_per_sec)._asdict(),
        "num_threads": torch.get_num_threads(),
        "ranks": parts.settings.world_size,
        "peak_memory_bytes": read_peak_bytes(),
        "peak_device_memory_bytes": peak,
        **told,
    }
    write_json(folder / "run.json", run)
    manifest = {
        "format": "dolma-py-training-run",
        "fingerprint": fingerprint(identity),
        **identity,
        "parameters": counts._asdict(),
        "instances": {
            "instances": parts.loader.dataset.num_instances,
            "dropped_tokens": parts.loader.dataset.num_dropped_tokens,
        },
        "results": results,
    }
    write_json(folder / "manifest.json", manifest)
    LOGGER.info(
        "%s: loss %.4f after %s tokens in %s, %.0f tokens/s",
        folder,
        results["final_loss"],
        f"{results['tokens']:,}",
        format_duration(seconds),
        rate,
    )
