"""A run that starts from another one: `dolma-py train --from RUN@STEP`.

Weights, moments and the count of updates go on; step, schedule and position in the data begin anew, so shards, sources and schedule may
be others. What the new run's config.json says of its parent does not hold a path: a moved parent is the same parent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dolma_py.config import build_config, fingerprint
from dolma_py.errors import ConfigError, DataError
from dolma_py.run_folders import split_run
from train_bridge import hf_parent
from train_bridge.checkpoint import list_checkpoints, load_weights_and_moments
from train_bridge.hf_files import is_hf_folder, load_hf_weights, read_description
from train_bridge.hf_parent import check_tokenizer, find_fingerprint
from train_bridge.loader import first_difference
from train_bridge.long_waits import from_first_rank, wait_for_slowest
from train_bridge.manifest import ShardManifest
from train_bridge.metrics import LOGGER
from train_bridge.model import ModelConfig, Olmo3
from train_bridge.optimizer import SkipStepAdamW

_OF_FIRST_WEIGHTS = ("init_std", "init_cut_std")


class Parent(NamedTuple):
    """Where a run starts. `description` stands in its config.json: form, fingerprint and step."""

    name: str  # as it was asked for
    checkpoint: Path  # a checkpoint's folder, or one in Hugging Face's form
    description: dict[str, Any]  # of a Hugging Face folder without its fingerprint, until `identify`

    @property
    def is_hf(self) -> bool:
        return bool(self.description["form"] == "huggingface")


def local_path(option: str, path: str) -> Path:
    """A place of this machine. ConfigError for s3:// and the like, which would become a folder of that name here."""
    if "://" in path:
        hint = "Copy to and from object stores with their own programs."
        raise ConfigError(option, path, "expected a path of this machine", hint)
    return Path(path)


def find_checkpoint(run: str, *, option: str = "--run") -> Path:
    """The whole checkpoint of RUN@STEP, or the newest of RUN; ConfigError names the steps that there are."""
    local_path(option, run)
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
    name: str,
    model: ModelConfig,
    *,
    may_change_yarn: bool = False,
    manifest: ShardManifest | None,
    shards: str,
    is_loaded: bool = True,
) -> Parent:
    """The parent that --from names, a run or a folder in Hugging Face's form. Only small files are read.

    may_change_yarn: see check_model
    is_loaded: False for a run with checkpoints of its own, which reads its parent's no more; RUN@STEP may be removed by then.

    Raises  ConfigError naming the field in which `model` is another, or when the shards are of another tokenizer
    """
    folder, step = split_run(name)
    if is_hf_folder(folder):
        return _find_hf_parent(name, folder, model, may_change_yarn=may_change_yarn, manifest=manifest, shards=shards)
    if is_loaded or step is None:
        checkpoint = find_checkpoint(name, option="--from")
    else:
        checkpoint = folder / "checkpoints" / f"step{step:07d}"
    identity = read_identity(folder)
    check_model(model, identity["config"]["model"], name=name, may_change_yarn=may_change_yarn)
    if manifest is not None and identity["tokenizer_fingerprint"] != manifest.tokenizer.fingerprint:
        mine, theirs = identity["tokenizer_fingerprint"], manifest.tokenizer.fingerprint
        raise ConfigError("--shards", theirs, f"expected shards of the tokenizer of {name}, {mine}", where=shards)
    form = "average" if "averaged" in identity else "run"
    step = int(checkpoint.name.removeprefix("step"))
    return Parent(name, checkpoint, {"form": form, "fingerprint": fingerprint(identity), "step": step})


def check_model(model: ModelConfig, parents: dict[str, Any], *, name: str, may_change_yarn: bool = False) -> None:
    """ConfigError for the first field in which the same weights would be another model than the parent.

    YaRN may come to a parent without it, as it does with the long-context stage. It turns other angles and scales attention, so without
    may_change_yarn it may not go or get other values: a stage after the long one whose configuration forgets it is refused.
    """
    parent = build_config(ModelConfig, parents, where=name)
    difference = first_difference(_shape_values(parent), _shape_values(model), "model")
    if difference is not None:
        field, saved, current = difference
        raise ConfigError(field, current, f"expected {saved!r}, as in {name}")
    if parent.yarn is not None and parent.yarn != model.yarn and not may_change_yarn:
        got = None if model.yarn is None else model.yarn.model_dump()
        hint = "Where another model is meant: --set checkpoints.change_parent_yarn=true"
        raise ConfigError("model.yarn", got, f"expected {parent.yarn.model_dump()}, as in {name}", hint)


def _shape_values(model: ModelConfig) -> dict[str, Any]:
    """What must be alike but for YaRN; of the pattern of windows what it says of each layer, since a pattern can be written in more ways
    than one."""
    values = model.model_dump(mode="json", exclude={"yarn", *_OF_FIRST_WEIGHTS})
    windows = [model.layer_window(layer) for layer in range(model.num_layers)]
    return {**values, "window_pattern": ["full" if window is None else "sliding" for window in windows]}


def _find_hf_parent(
    name: str, folder: Path, model: ModelConfig, *, may_change_yarn: bool, manifest: ShardManifest | None, shards: str
) -> Parent:
    description = read_description(folder)
    values = description.config.model_dump(mode="json")
    check_model(model, values, name=name, may_change_yarn=may_change_yarn)
    if manifest is not None:
        check_tokenizer(name, folder, description, manifest=manifest, shards=shards)
    return Parent(name, folder, {"form": "huggingface", "fingerprint": None, "step": None})


def identify(parent: Parent, output: Path) -> Parent:
    """The parent with its fingerprint, which for a Hugging Face folder the first rank finds. Collective."""
    if not parent.is_hf:
        return parent
    found = from_first_rank(lambda: find_fingerprint(parent.checkpoint, output))
    return parent._replace(description={**parent.description, "fingerprint": found})


def pass_gate(parent: Parent, output: Path, *, device: torch.device) -> None:
    """Before its weights are taken: the first rank compares a Hugging Face folder with transformers. Collective."""
    if parent.is_hf:
        from_first_rank(lambda: hf_parent.pass_gate(parent.checkpoint, output, device=device))


def load_parent(parent: Parent, *, model: Olmo3, optimizer: SkipStepAdamW, with_moments: bool) -> None:
    """Weights into the model and, where they are wanted and there, moments into the optimizer; on all ranks, in any cut. Collective."""
    if parent.is_hf:
        load_hf_weights(parent.checkpoint, model, vocab_size=read_description(parent.checkpoint).vocab_size)
        wait_for_slowest()
        took_moments = False
    else:
        took_moments = load_weights_and_moments(
            parent.checkpoint, model=model, optimizer=optimizer, with_moments=with_moments
        )
    what = "weights and moments" if took_moments else "weights, with fresh moments,"
    LOGGER.info("starting from %s: %s of %s", parent.name, what, parent.checkpoint)
