"""Checkpoints: a folder per saved step that is there whole or not at all.

OUTPUT/checkpoints/step0001000/ holds model_and_optim/ (tensors, see checkpoint_tensors) and state.json: step, kind, position in the data,
counters of the optimizer, and the size of every file. It is written under another name, flushed to disk and renamed last; a kill at any
moment leaves the ones before. docs/checkpoints.md has the rules.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import Metadata

from dolma_py.errors import DataError
from train_bridge import checkpoint_tensors as tensors_of
from train_bridge.checkpoint_config import Kind, steps_to_remove
from train_bridge.optimizer import SkipStepAdamW

CHECKPOINT_FORMAT = 2  # 1 was a pair of files of torch.save
TENSORS_FOLDER, STATE_NAME = "model_and_optim", "state.json"
_STEP_FOLDER = re.compile(r"step(\d{7,})$")
_PARTIAL, _REMOVED = "partial-", "removed-"
_COUNTERS = ("num_updates", "num_skipped", "loss_history", "norm_history")


def write_json(path: Path, values: Any) -> None:
    """Indented JSON with sorted keys; the file appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class Snapshot(NamedTuple):
    """What a checkpoint is made of: tensors of this rank, and the values of state.json but for the files' sizes."""

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]


def take_snapshot(
    *, step: int, kind: Kind, model: nn.Module, optimizer: SkipStepAdamW, loader_state: dict[str, Any], rank: int = 0
) -> Snapshot:
    """The state after `step` updates. Weights and moments share memory with model and optimizer until they are staged."""
    tensors = {
        **tensors_of.model_tensors(model),
        **tensors_of.optimizer_tensors(model, optimizer),
        **tensors_of.rng_tensors(rank),
    }
    # 128 losses and norms at most: float32 written as decimals reads back the same
    counters = {name: _to_plain(getattr(optimizer, name)) for name in _COUNTERS}
    values = {"format": CHECKPOINT_FORMAT, "step": step, "kind": kind, "loader": loader_state, "optimizer": counters}
    return Snapshot(step, tensors, values)


def _to_plain(tensor: Tensor) -> Any:
    full = getattr(tensor, "full_tensor", None)  # a DTensor, replicated
    return (tensor if full is None else full()).tolist()


def save_checkpoint(output: Path, snapshot: Snapshot, *, keep_ephemeral: int = 2) -> Path:
    """Write a checkpoint of a single process at once, then remove what the rule says. Returns its folder."""
    folder = write_partial(output, snapshot)
    final = commit(folder, snapshot)
    prune(output, keep_ephemeral=keep_ephemeral)
    return final


def write_partial(
    output: Path, snapshot: Snapshot, *, group: dist.ProcessGroup | None = None, planner: Any = None
) -> Path:
    """The tensors in a folder that no reader takes for a checkpoint; collective over `group`. Returns the folder."""
    folder = output / "checkpoints" / f"{_PARTIAL}step{snapshot.step:07d}"
    tensors_of.write_tensors(folder / TENSORS_FOLDER, snapshot.tensors, group=group, planner=planner)
    return folder


def commit(folder: Path, snapshot: Snapshot) -> Path:
    """state.json, everything flushed, and the name that makes it a checkpoint; one rank calls it when all have written."""
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted((folder / TENSORS_FOLDER).iterdir())
    }
    write_json(folder / STATE_NAME, {**snapshot.values, "files": files})
    _flush_folder(folder / TENSORS_FOLDER)
    _flush_folder(folder)
    final = folder.with_name(folder.name.removeprefix(_PARTIAL))
    folder.rename(final)
    _flush_folder(final.parent)
    return final


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prune(output: Path, *, keep_ephemeral: int) -> None:
    """Remove all ephemeral checkpoints but the newest; each loses its name first, so that no kill leaves half of one."""
    folders = {int(path.name.removeprefix("step")): path for path in list_checkpoints(output)}
    kinds = {step: _kind_of(path) for step, path in folders.items()}
    for step in steps_to_remove(kinds, keep_ephemeral=keep_ephemeral):
        removed = folders[step].with_name(_REMOVED + folders[step].name)
        folders[step].rename(removed)
        shutil.rmtree(removed)


def _kind_of(folder: Path) -> Kind:
    """permanent for one that cannot be read: what is not understood is not removed."""
    try:
        return "ephemeral" if read_state(folder)["kind"] == "ephemeral" else "permanent"
    except DataError:
        return "permanent"


def clear_leftovers(output: Path) -> None:
    """Remove what a kill left half written or half removed."""
    folder = output / "checkpoints"
    for path in [*folder.glob(f"{_PARTIAL}*"), *folder.glob(f"{_REMOVED}*")]:
        shutil.rmtree(path)


def list_checkpoints(output: Path) -> list[Path]:
    """Whole checkpoints, oldest first; leftovers of a kill are not among them."""
    folder = output / "checkpoints"
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _STEP_FOLDER.match(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step")))


def read_state(folder: Path) -> dict[str, Any]:
    """state.json of a checkpoint; DataError for another form."""
    path = folder / STATE_NAME
    if not path.is_file():
        if (folder / "model.pt").is_file():
            hint = "Start the run anew in another folder."
            raise DataError(
                str(folder), "is a checkpoint of an older form (model.pt), which is not read any more", hint=hint
            )
        raise DataError(str(path), "is missing", hint=_HINT)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(str(path), f"cannot be read ({error})", hint=_HINT) from error
    if not isinstance(values, dict) or values.get("format") != CHECKPOINT_FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise DataError(str(path), f"expected a checkpoint of format {CHECKPOINT_FORMAT}, got {found!r}")
    return values


_HINT = "Remove this checkpoint's folder to go on from the one before."


class OpenCheckpoint(NamedTuple):
    """A checkpoint whose files are all there, in their sizes."""

    folder: Path
    state: dict[str, Any]
    metadata: Metadata

    @property
    def has_moments(self) -> bool:
        return bool(tensors_of.names_of(self.metadata, tensors_of.OPTIMIZER))


def open_checkpoint(folder: Path) -> OpenCheckpoint:
    """Look at every file before anything is read. DataError names the one that is missing, cut short or no checkpoint's."""
    state = read_state(folder)
    for name, num_bytes in state["files"].items():
        path = folder / name
        if not path.is_file():
            raise DataError(str(path), "is missing", hint=_HINT)
        if path.stat().st_size != num_bytes:
            raise DataError(str(path), f"has {path.stat().st_size} bytes, expected {num_bytes}", hint=_HINT)
    return OpenCheckpoint(folder, state, tensors_of.read_metadata(folder / TENSORS_FOLDER))


def load_model_weights(folder: Path, model: nn.Module) -> None:
    """Weights of a checkpoint into `model`, in place; every name and shape must fit."""
    _load_weights(open_checkpoint(folder), model)


def load_checkpoint(
    folder: Path, *, model: nn.Module, optimizer: SkipStepAdamW, rank: int = 0
) -> tuple[int, dict[str, Any]]:
    """Everything back in place on any number of ranks and in any cut; returns (step, loader state)."""
    checkpoint = open_checkpoint(folder)
    _load_weights(checkpoint, model)
    load_moments(checkpoint, model, optimizer)
    load_counters(checkpoint, optimizer, names=_COUNTERS)
    _load_rng(checkpoint, rank)
    return checkpoint.state["step"], checkpoint.state["loader"]


def load_weights_and_moments(folder: Path, *, model: nn.Module, optimizer: SkipStepAdamW, with_moments: bool) -> bool:
    """What another run starts from: weights, and moments with the count of updates where they are wanted and there.

    The skip rule's memory is of the other run's losses and stays empty. Returns  whether there were moments
    """
    checkpoint = open_checkpoint(folder)
    _load_weights(checkpoint, model)
    if not with_moments or not checkpoint.has_moments:
        return False
    load_moments(checkpoint, model, optimizer)
    load_counters(checkpoint, optimizer, names=("num_updates",))
    return True


def _load_weights(checkpoint: OpenCheckpoint, model: nn.Module) -> None:
    wanted = tensors_of.model_tensors(model)
    extra = [name for name in tensors_of.names_of(checkpoint.metadata, tensors_of.MODEL) if name not in wanted]
    if extra:
        raise DataError(str(checkpoint.folder), f"weights do not fit the model: it has no {extra[0]}")
    tensors_of.read_tensors(checkpoint.folder / TENSORS_FOLDER, checkpoint.metadata, wanted)


def load_moments(checkpoint: OpenCheckpoint, model: nn.Module, optimizer: SkipStepAdamW) -> None:
    """Moments into the optimizer, made in the model's cut; none are made where the checkpoint has none."""
    stored = checkpoint.metadata.state_dict_metadata
    names = set(tensors_of.names_of(checkpoint.metadata, tensors_of.OPTIMIZER))
    moments = sorted({name.split(".")[1] for name in names})
    for name, parameter in model.named_parameters():
        plain = tensors_of.plain_name(name)
        for moment in moments:
            key = f"{tensors_of.OPTIMIZER}.{moment}.{plain}"
            if key in names:
                dtype = stored[key].properties.dtype
                optimizer.state[parameter][moment] = torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
    tensors_of.read_tensors(
        checkpoint.folder / TENSORS_FOLDER, checkpoint.metadata, tensors_of.optimizer_tensors(model, optimizer)
    )


def load_counters(checkpoint: OpenCheckpoint, optimizer: SkipStepAdamW, *, names: tuple[str, ...]) -> None:
    """Count of updates and the skip rule's memory, float32."""
    for name in names:
        device = getattr(optimizer, name).device
        setattr(optimizer, name, torch.tensor(checkpoint.state["optimizer"][name], dtype=torch.float32, device=device))


def _load_rng(checkpoint: OpenCheckpoint, rank: int) -> None:
    """This rank's random numbers; on more ranks than were saved, those of the rank modulo their number."""
    stored = checkpoint.metadata.state_dict_metadata
    names = tensors_of.names_of(checkpoint.metadata, tensors_of.RNG)
    if not names:
        return
    source = rank % len({name.split(".")[1] for name in names})
    wanted = {
        device: torch.empty(tuple(stored[key].size), dtype=torch.uint8)
        for device in ("cpu", "cuda")
        if (key := f"{tensors_of.RNG}.{source:05d}.{device}") in stored
    }
    keyed = {f"{tensors_of.RNG}.{source:05d}.{device}": tensor for device, tensor in wanted.items()}
    tensors_of.read_tensors(checkpoint.folder / TENSORS_FOLDER, checkpoint.metadata, keyed)
    torch.set_rng_state(wanted["cpu"])
    if "cuda" in wanted and torch.cuda.is_available():
        torch.cuda.set_rng_state(wanted["cuda"])
