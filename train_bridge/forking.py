"""A run that starts from another one: `dolma-py train --from RUN@STEP`.

Weights, moments and the count of updates go on; step, schedule and position in the data begin anew, so shards, sources and schedule may
be others. What the new run's config.json says of its parent does not hold a path: a moved parent is the same parent.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dolma_py.config import build_config, fingerprint
from dolma_py.errors import ConfigError, DataError
from train_bridge.checkpoint import list_checkpoints, load_weights_and_moments
from train_bridge.checkpoint_tensors import plain_name
from train_bridge.conversion import HfDescription, read_hf_config
from train_bridge.distributed import cut_like, local_part
from train_bridge.hf_files import is_hf_folder, load_hf_model
from train_bridge.loader import first_difference
from train_bridge.logits_gate import check_logits, gate_ids
from train_bridge.manifest import ShardManifest
from train_bridge.metrics import LOGGER
from train_bridge.model import ModelConfig, Olmo3
from train_bridge.optimizer import SkipStepAdamW

# the same weights mean the same with another of these: YaRN comes with the long-context stage, the others are of first weights
_MAY_DIFFER = ("yarn", "init_std", "init_cut_std")


class Parent(NamedTuple):
    """Where a run starts. `description` stands in its config.json: form, fingerprint and step."""

    name: str  # as it was asked for
    checkpoint: Path  # a checkpoint's folder, or one in Hugging Face's form
    description: dict[str, Any]

    @property
    def is_hf(self) -> bool:
        return bool(self.description["form"] == "huggingface")


def split_run(run: str) -> tuple[Path, int | None]:
    """RUN@STEP as folder and step; None where no step is named. A folder whose name looks like it is a folder.

    Examples
    --------
    >>> split_run("runs/a@1000")
    (PosixPath('runs/a'), 1000)
    >>> split_run("runs/a")
    (PosixPath('runs/a'), None)
    """
    match = re.fullmatch(r"(.+)@(\d+)", run)
    return (Path(match[1]), int(match[2])) if match and not Path(run).is_dir() else (Path(run), None)


def find_checkpoint(run: str, *, option: str = "--run") -> Path:
    """The whole checkpoint of RUN@STEP, or the newest of RUN; ConfigError names the steps that there are."""
    folder, step = split_run(run)
    checkpoints = {int(path.name.removeprefix("step")): path for path in list_checkpoints(folder)}
    if not checkpoints:
        raise ConfigError(option, run, "expected the folder of a run with a checkpoint", "Run: dolma-py train")
    if step is None:
        return checkpoints[max(checkpoints)]
    if step not in checkpoints:
        raise ConfigError(option, run, f"expected one of the steps {', '.join(map(str, sorted(checkpoints)))}")
    return checkpoints[step]


def read_identity(folder: Path) -> dict[str, Any]:
    """config.json of a run or of an average."""
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(str(path), f"cannot be read ({error})") from error
    if not isinstance(values, dict) or not {"config", "tokenizer_fingerprint"} <= set(values):
        raise DataError(str(path), "is not that of a run")
    return values


def find_parent(
    name: str, model: ModelConfig, *, manifest: ShardManifest | None, shards: str, is_loaded: bool = True
) -> Parent:
    """The parent that --from names, a run or a folder in Hugging Face's form.

    is_loaded: False for a run with checkpoints of its own, which reads its parent's no more; RUN@STEP may be removed by then.

    Raises  ConfigError naming the field in which `model` is another, or when the shards are of another tokenizer
    """
    folder, step = split_run(name)
    if is_hf_folder(folder):
        return _find_hf_parent(name, folder, model, manifest=manifest, shards=shards)
    if is_loaded or step is None:
        checkpoint = find_checkpoint(name, option="--from")
    else:
        checkpoint = folder / "checkpoints" / f"step{step:07d}"
    identity = read_identity(folder)
    check_model(model, identity["config"]["model"], name=name)
    if manifest is not None and identity["tokenizer_fingerprint"] != manifest.tokenizer.fingerprint:
        mine, theirs = identity["tokenizer_fingerprint"], manifest.tokenizer.fingerprint
        raise ConfigError("--shards", theirs, f"expected shards of the tokenizer of {name}, {mine}", where=shards)
    form = "average" if "averaged" in identity else "run"
    step = int(checkpoint.name.removeprefix("step"))
    return Parent(name, checkpoint, {"form": form, "fingerprint": fingerprint(identity), "step": step})


def check_model(model: ModelConfig, parents: dict[str, Any], *, name: str) -> None:
    """ConfigError for the first field in which the parent's model is another."""
    theirs, ours = (_shape_values(one) for one in (build_config(ModelConfig, parents, where=name), model))
    difference = first_difference(theirs, ours, "model")
    if difference is not None:
        field, saved, current = difference
        raise ConfigError(field, current, f"expected {saved!r}, as in {name}")


def _shape_values(model: ModelConfig) -> dict[str, Any]:
    """What must be alike; of the pattern of windows what it says of each layer, since a pattern can be written in more ways than one."""
    values = {key: value for key, value in model.model_dump(mode="json").items() if key not in _MAY_DIFFER}
    windows = [model.layer_window(layer) for layer in range(model.num_layers)]
    return {**values, "window_pattern": ["full" if window is None else "sliding" for window in windows]}


def _find_hf_parent(
    name: str, folder: Path, model: ModelConfig, *, manifest: ShardManifest | None, shards: str
) -> Parent:
    where = folder / "config.json"
    description = read_hf_config(json.loads(where.read_text(encoding="utf-8")), where=str(where))
    check_model(model, description.config.model_dump(mode="json"), name=name)
    if manifest is not None:
        _check_hf_tokenizer(name, folder, description, manifest, shards)
    digests = {}
    for path in sorted([where, *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return Parent(name, folder, {"form": "huggingface", "fingerprint": fingerprint(digests), "step": None})


def _check_hf_tokenizer(
    name: str, folder: Path, description: HfDescription, manifest: ShardManifest, shards: str
) -> None:
    """Size, end of text and, where both files are there, the entries."""
    if description.vocab_size != manifest.vocab_size:
        rule = f"expected shards of a tokenizer with {description.vocab_size} entries, as {name} has"
        raise ConfigError("--shards", manifest.vocab_size, rule, where=shards)
    if manifest.eos_token_id not in description.end_ids:
        rule = f"expected shards whose documents end with one of the ids {list(description.end_ids)}, as in {name}"
        raise ConfigError("--shards", manifest.eos_token_id, rule, where=shards)
    paths = [folder / "tokenizer.json", Path(shards) / manifest.tokenizer.path]
    if all(path.is_file() for path in paths):
        entries = [json.loads(path.read_text(encoding="utf-8"))["model"].get("vocab") for path in paths]
        if entries[0] != entries[1]:
            raise ConfigError("--shards", str(paths[1]), f"expected the tokenizer of {name}, it has other entries")


def load_parent(
    parent: Parent, *, model: Olmo3, optimizer: SkipStepAdamW, with_moments: bool, device: torch.device, rank: int
) -> None:
    """Weights into the model and, where they are wanted and there, moments into the optimizer; on all ranks, in any cut."""
    if parent.is_hf:
        _load_hf_weights(parent.checkpoint, model, device=device, has_gate=rank == 0)
        took_moments = False
    else:
        took_moments = load_weights_and_moments(
            parent.checkpoint, model=model, optimizer=optimizer, with_moments=with_moments
        )
    what = "weights and moments" if took_moments else "weights, with fresh moments,"
    LOGGER.info("starting from %s: %s of %s", parent.name, what, parent.checkpoint)


def _load_hf_weights(folder: Path, model: Olmo3, *, device: torch.device, has_gate: bool) -> None:
    """Each rank reads the whole file; one of them compares the logits with those that transformers gives."""
    source = load_hf_model(folder)
    if has_gate:
        vocab_size, context_tokens = source.description.vocab_size, source.description.context_tokens
        ids_BT = gate_ids(source.model, vocab_size=vocab_size, context_tokens=context_tokens)
        with torch.no_grad():
            check_logits(folder, source.model(ids_BT)[0, :, :vocab_size], ids_BT)
    whole = dict(source.model.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            local_part(parameter).copy_(cut_like(whole[plain_name(name)], parameter).to(device))
