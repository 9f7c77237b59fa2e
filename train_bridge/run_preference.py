"""Train a model on preference pairs: the whole of `dolma-py dpo`.

As `train`: OUTPUT receives config.json first, then pairs/ (a flat copy of the pairs), reference/ (log-probs of the model that it starts
from), metrics.jsonl and checkpoints/, then metrics.json, manifest.json and run.json. The same command again resumes.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from dolma_py.config import dump_config, fingerprint
from dolma_py.errors import ConfigError
from train_bridge.checkpoint import list_checkpoints
from train_bridge.checkpoint_writer import CheckpointWriter
from train_bridge.distributed import start_distributed, wait_for_all
from train_bridge.dry_run import Assumptions, describe_plan, plan_run
from train_bridge.forking import Parent, find_parent, identify, load_parent, local_path, pass_gate
from train_bridge.long_waits import from_first_rank
from train_bridge.loop import LoopParts, run_loop
from train_bridge.manifest import MANIFEST_NAME
from train_bridge.masked_sample import mark_trained
from train_bridge.metrics import LOGGER, format_duration
from train_bridge.model import count_parameters
from train_bridge.pair_dataset import PairDataset
from train_bridge.pair_files import SIDES, PairManifest, copy_pairs, open_pairs, read_pair_manifest
from train_bridge.preference_step import take_preference_step
from train_bridge.reference_log_probs import compute_references, is_complete, read_references, reference_key
from train_bridge.run_log_writers import check_packages
from train_bridge.run_training import (
    build_parts,
    choose_attention,
    choose_device,
    prepare_output,
    read_finished,
    resume,
    write_results,
)
from train_bridge.text_tokenizer import TextTokenizer
from train_bridge.train_config import TrainConfig, load_train_config

PREFERENCE_VERSION = 1  # raised when the same inputs give other weights


def dpo(
    *, config: str, pairs: str, output: str, overrides: list[str], dry_run: bool, assumed: dict[str, Any] | None = None,
    parent: str | None = None, reference_cache: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run, resume or skip one run; returns what metrics.json holds, or the plan when `dry_run`.

    Parameters
    ----------
    config : str            a YAML file or the name of a packaged one: olmo3_7b/think-dpo
    pairs : str             folder of pairs with manifest.json; may be absent for a dry run whose configuration names vocab_size
    output : str            folder of the run
    parent : str            RUN@STEP, RUN or a folder in Hugging Face's form: where the policy starts, and the reference
    reference_cache : str   folder of log-probs that several runs share; None: OUTPUT/reference

    overrides, assumed : as in train
    """
    folder = local_path("--output", output)
    settings, manifest = _read_settings(config, pairs, overrides, dry_run=dry_run)
    device = choose_device(settings.run.device)
    if settings.run.num_threads is not None:
        torch.set_num_threads(settings.run.num_threads)
    if dry_run:
        return _show_plan(settings, device, Assumptions(**(assumed or {})))
    assert manifest is not None, "only a dry run goes without pairs"
    if parent is None:
        raise ConfigError(
            "--from",
            None,
            "expected a run or a folder in Hugging Face's form: preferences are learned by a trained model",
        )
    check_packages(settings.logs)
    # a run that goes on reads the weights it started from no more, if their log-probs are all there
    is_loaded = not list_checkpoints(folder)
    yarn = settings.checkpoints.change_parent_yarn
    start = find_parent(
        parent, settings.model, may_change_yarn=yarn, manifest=manifest, shards=pairs, is_loaded=is_loaded
    )
    rank, world_size = start_distributed(device.type)
    start = identify(start, folder)
    dataset = open_pair_dataset(pairs, manifest, settings, folder)
    settings = settings.fit_length(dataset.num_instances)
    settings.schedule.check_fits(settings.run.steps, key="schedule")
    cache = folder / "reference" if reference_cache is None else local_path("--reference-cache", reference_cache)
    identity = {
        "preference_version": PREFERENCE_VERSION,
        "device": device.type,
        "config": settings.values_for_fingerprint(),
        "dataset": dataset.describe(),
        "tokenizer_fingerprint": manifest.tokenizer.fingerprint,
        "parent": start.description,
    }
    finished = read_finished(folder, identity)
    if finished is not None:
        LOGGER.info("%s is complete (fingerprint %s): nothing to do", output, fingerprint(identity))
        return finished
    if rank == 0:
        prepare_output(folder, pairs, manifest, identity, start)
        _tell_sample(pairs, manifest, dataset)
    wait_for_all()
    if is_loaded:
        pass_gate(start, folder, device=device)
    started = time.perf_counter()
    parts = build_parts(
        settings, dataset, device=device, rank=rank, world_size=world_size, count_tokens=dataset.count_tokens
    )
    told: dict[str, Any] = {"from": parent}
    if settings.preference.needs_reference:
        told["reference_sec"] = _find_references(parts, dataset, cache, start, parent=parent)
    first_step = resume(parts, folder, start)
    first_tokens = parts.loader.num_tokens
    LOGGER.info("%s", _describe(settings, dataset, device))
    with CheckpointWriter(folder, settings.checkpoints, rank=rank) as checkpoints:
        run_loop(parts, first_step=first_step, output=folder, checkpoints=checkpoints, take_step=take_preference_step)
    if rank == 0:
        told["checkpoint_stall_sec"] = round(checkpoints.stall_sec, 2)
        num_tokens = parts.loader.num_tokens - first_tokens
        write_results(parts, folder, identity, seconds=time.perf_counter() - started, num_tokens=num_tokens, told=told)
    wait_for_all()
    return json.loads((folder / "metrics.json").read_text())


def _read_settings(
    config: str, pairs: str, overrides: list[str], *, dry_run: bool
) -> tuple[TrainConfig, PairManifest | None]:
    has_pairs = not dry_run or (bool(pairs) and (Path(pairs) / MANIFEST_NAME).is_file())
    manifest = read_pair_manifest(str(local_path("--pairs", pairs))) if has_pairs else None
    settings = load_train_config(config, overrides=overrides, manifest=manifest, shards=pairs)
    if settings.preference is None:
        hint = "Take a configuration such as olmo3_7b/think-dpo."
        raise ConfigError("preference", None, "expected the section of preference pairs", hint, where=config)
    return settings, manifest


def open_pair_dataset(pairs: str, manifest: PairManifest, settings: TrainConfig, folder: Path) -> PairDataset:
    """The pairs, of which the first rank makes a flat copy under OUTPUT/pairs. Collective."""
    copy = folder / "pairs"
    from_first_rank(lambda: copy_pairs(pairs, manifest, copy))
    arrays = open_pairs(pairs, manifest, copy)
    return PairDataset(
        pairs, manifest, arrays, sequence_tokens=settings.data.sequence_tokens, preference=settings.preference
    )


def _find_references(parts: LoopParts, dataset: PairDataset, cache: Path, start: Parent, *, parent: str) -> float:
    """Log-probs of all pairs by the weights that the run starts from, into the data set; returns seconds."""
    started = time.perf_counter()
    attention = choose_attention(parts.config.run.attention, parts.device)
    key = reference_key(
        parts.config, dataset, start.description, device=parts.device, settings=parts.settings, attention=attention
    )
    if not from_first_rank(lambda: is_complete(dataset, cache, key)):
        load_parent(start, model=parts.model, optimizer=parts.optimizer, with_moments=False)
        compute_references(dataset, parts.model, cache, key, settings=parts.settings)
    dataset.references = read_references(dataset, cache, key)
    return round(time.perf_counter() - started, 1)


def _tell_sample(pairs: str, manifest: PairManifest, dataset: PairDataset) -> None:
    tokenizer = TextTokenizer(Path(pairs) / manifest.tokenizer.path)
    for side, name in enumerate(SIDES):
        ids, is_trained = dataset.read_conversation(0, side)
        LOGGER.info("%s, {+ trained on +}:\n%s", name, mark_trained(ids, is_trained, tokenizer))
    LOGGER.info(
        "%d conversations are longer than %d tokens and keep their beginning; %d pairs have no label on a side and are left out",
        dataset.num_truncated,
        dataset.preference.max_tokens,
        dataset.num_untrained,
    )


def _describe(settings: TrainConfig, dataset: PairDataset, device: torch.device) -> str:
    batches = dataset.num_instances // settings.data.batch_instances
    return (
        f"{count_parameters(settings.model).total:,} parameters on {device}; {dataset.num_instances:,} pairs, loss "
        f"{dataset.preference.loss} of {dataset.preference.turns} turns; {settings.run.steps:,} steps of "
        f"{settings.data.batch_instances} pairs, {settings.run.steps / max(batches, 1):.2f} epochs"
    )


def _show_plan(settings: TrainConfig, device: torch.device, assumed: Assumptions) -> dict[str, Any]:
    """The trainer's plan, of full rows: how long pairs are is known when they are there. The reference's pass comes on top."""
    assert settings.preference is not None, "a configuration of pairs"
    plan = plan_run(settings, device=device, assumed=assumed)
    # a third of a step's operations: forward alone
    reference_sec = plan["estimated_sec"] / 3 if settings.preference.needs_reference else 0.0
    preference = settings.preference.model_dump(mode="json")
    num_pairs = settings.run.steps * settings.data.batch_instances
    plan |= {"preference": preference, "pairs": num_pairs, "reference_sec": round(reference_sec, 1)}
    kind = f"loss {preference['loss']}, beta {preference['beta']:g}, labels of {preference['turns']} turns"
    size = f"{num_pairs:,} of at most 2 x {preference['max_tokens']:,} tokens, {settings.data.batch_instances} a step"
    lines = [
        *describe_plan(plan),
        f"{'pairs':<14}{size}; {kind}",
        f"{'reference':<14}"
        + (f"one pass before training, at most {format_duration(reference_sec)}" if reference_sec else "none"),
        f"{'':<14}tokens, time and cost above are upper bounds: every pair as long as it may be",
    ]
    for line in lines:
        LOGGER.info("%s", line)
    return {"config": dump_config(settings), **plan}
