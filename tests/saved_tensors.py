"""Everything that a checkpoint's folder holds, as plain tensors, and a run in Hugging Face's form."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from train_bridge.checkpoint import TENSORS_FOLDER, list_checkpoints
from train_bridge.checkpoint_tensors import read_metadata, read_tensors
from train_bridge.conversion import hf_config_values
from train_bridge.hf_files import write_hf_folder
from train_bridge.run_evaluation import load_run


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


def write_hf_copy(run: Path, folder: Path) -> Path:
    """The run's weights in Hugging Face's form, with a tokenizer.json of one entry."""
    _, model, _ = load_run(str(run))
    tokens = json.loads((run / "tokens.json").read_text())
    sizes = {"vocab_size": tokens["vocab_size"], "eos_token_id": tokens["eos_token_id"]}
    tokenizer = folder.with_name("tokenizer.json")
    tokenizer.write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    folder.mkdir()
    values = hf_config_values(model.config, context_tokens=16, **sizes)
    write_hf_folder(folder, model, values, dtype=torch.float32, tokenizer=tokenizer)
    return folder
