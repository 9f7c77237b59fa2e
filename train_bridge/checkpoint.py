"""Checkpoints: a folder per saved step that is there whole or not at all.

OUTPUT/checkpoints/step0000100/ holds model.pt (weights), train.pt (optimizer, random state) and loop.json (step, loader). It is
written beside as a temporary folder, flushed to disk and renamed last; a kill at any moment leaves the one before.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from dolma_py.errors import DataError
from train_bridge.model import Olmo3
from train_bridge.optimizer import SkipStepAdamW

_STEP_FOLDER = re.compile(r"step(\d{7,})$")


def write_json(path: Path, values: Any) -> None:
    """Indented JSON with sorted keys; the file appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n")
        _flush(file.fileno())
    partial.replace(path)


def save_checkpoint(
    output: Path, *, step: int, model: Olmo3, optimizer: SkipStepAdamW, loader_state: dict[str, Any], keep: int
) -> Path:
    """Write the state after `step` updates, then delete all but the newest `keep` checkpoints. Returns the folder."""
    folder = output / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step{step:07d}"
    partial = folder / f"partial-step{step:07d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    cuda_rng = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    train_state = {"optimizer": optimizer.state_dict(), "cpu_rng": torch.get_rng_state(), "cuda_rng": cuda_rng}
    _save(model.state_dict(), partial / "model.pt")
    _save(train_state, partial / "train.pt")
    write_json(partial / "loop.json", {"step": step, "loader": loader_state})
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    descriptor = os.open(folder, os.O_RDONLY)
    _flush(descriptor)
    os.close(descriptor)
    for old in list_checkpoints(output)[:-keep]:
        shutil.rmtree(old)
    return final


def _save(values: Any, path: Path) -> None:
    with path.open("wb") as file:
        torch.save(values, file)
        file.flush()
        _flush(file.fileno())


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def list_checkpoints(output: Path) -> list[Path]:
    """Whole checkpoints, oldest first; leftovers of a kill are not among them."""
    folder = output / "checkpoints"
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _STEP_FOLDER.match(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step")))


def load_model_weights(folder: Path, model: Olmo3) -> None:
    """Weights of a checkpoint into `model`; every name and shape must fit."""
    state = _load(folder / "model.pt")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(str(folder / "model.pt"), f"weights do not fit the model ({error})") from error


def load_checkpoint(folder: Path, *, model: Olmo3, optimizer: SkipStepAdamW) -> tuple[int, dict[str, Any]]:
    """Everything back in place; returns (step, loader state)."""
    load_model_weights(folder, model)
    train_state = _load(folder / "train.pt")
    optimizer.load_state_dict(train_state["optimizer"])
    torch.set_rng_state(train_state["cpu_rng"])
    if train_state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(train_state["cuda_rng"])
    loop = json.loads((folder / "loop.json").read_text())
    return loop["step"], loop["loader"]


def _load(path: Path) -> Any:
    try:
        # weights_only: a checkpoint is data, a pickle that builds other objects is refused
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(str(path), f"cannot be read ({error})") from error
