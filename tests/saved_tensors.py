"""Everything that a checkpoint's folder holds, as plain tensors."""

from __future__ import annotations

from pathlib import Path

import torch

from train_bridge.checkpoint import TENSORS_FOLDER, list_checkpoints
from train_bridge.checkpoint_tensors import read_metadata, read_tensors


def saved_tensors(checkpoint: Path, section: str = "") -> dict[str, torch.Tensor]:
    """Name in the checkpoint -> tensor; section: model, optimizer or rng alone."""
    folder = checkpoint / TENSORS_FOLDER
    metadata = read_metadata(folder)
    tensors = {
        name: torch.empty(tuple(stored.size), dtype=stored.properties.dtype)
        for name, stored in metadata.state_dict_metadata.items()
        if name.startswith(section)
    }
    read_tensors(folder, metadata, tensors)
    return tensors


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    """Weights of a run's newest checkpoint."""
    return saved_tensors(list_checkpoints(Path(run))[-1], "model.")
