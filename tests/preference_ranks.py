"""Gradients and reference log-probs of preference pairs, by one process or by two in several layouts, for tests to compare."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.rank_equality import MODEL, REPOSITORY, whole_tensors
from tests.made_pairs import make_pairs, write_pairs
from train_bridge.distributed import start_distributed
from train_bridge.loss import LossConfig
from train_bridge.model import ModelConfig
from train_bridge.pair_dataset import PairDataset
from train_bridge.pair_files import copy_pairs, open_pairs, read_pair_manifest
from train_bridge.parallel_config import ParallelConfig
from train_bridge.parallel_mesh import Layout, build_layout
from train_bridge.parallel_model import build_parallel_model
from train_bridge.preference_loss import PreferenceConfig
from train_bridge.preference_step import accumulate_preference_gradients
from train_bridge.reference_log_probs import compute_references, read_references
from train_bridge.step import StepSettings

NUM_PAIRS = 9  # two ranks have other numbers of pairs, and of rows
LAYOUTS = {
    "replicas": {}, "fsdp": {"shard": 2, "activation_checkpointing": "full"}, "tensor": {"tensor": 2}, "context": {"context": 2},
}  # fmt: skip


def twin_shape(config: ModelConfig) -> dict[str, Any]:
    """The model's shape in the words of tests/reference/olmo3_gradients.py."""
    yarn = config.yarn
    return {
        "layers": config.num_layers, "heads": config.num_heads, "kv_heads": config.num_kv_heads, "head_dim": config.head_dim,
        "theta": config.rope_theta, "eps": config.norm_eps, "windows": [config.layer_window(n) for n in range(config.num_layers)],
        "yarn": None if yarn is None else (yarn.factor, yarn.beta_fast, yarn.beta_slow, yarn.original_context_tokens),
    }  # fmt: skip


def open_made_pairs(
    folder: Path, *, sequence_tokens: int = 48, loss: str = "dpo_norm", num_pairs: int = NUM_PAIRS
) -> PairDataset:
    """A data set of made pairs of the model of rank_equality, written once."""
    if not folder.is_dir():
        write_pairs(folder, make_pairs(num_pairs, vocab_size=MODEL.vocab_size), vocab_size=MODEL.vocab_size)
    manifest = read_pair_manifest(str(folder))
    copy_pairs(str(folder), manifest, folder / "copy")
    arrays = open_pairs(str(folder), manifest, folder / "copy")
    preference = PreferenceConfig(loss=loss, max_tokens=24)
    return PairDataset(str(folder), manifest, arrays, sequence_tokens=sequence_tokens, preference=preference)


def set_references(dataset: PairDataset) -> None:
    """Some values that no model made, so that a loss depends on them."""
    rng = np.random.Generator(np.random.PCG64(7))
    sums = -4.9 * dataset.num_labels + rng.normal(size=dataset.num_labels.shape)
    dataset.references = sums.astype(np.float32)


def find_gradients(
    dataset: PairDataset, parallel: ParallelConfig, layout: Layout, *, cache: Path, micro: int = 1
) -> dict[str, Any]:
    """Loss, what is observed, whole gradients, and log-probs of all pairs by the same model."""
    model = build_parallel_model(MODEL, parallel, layout, seed=3, device=torch.device("cpu"))
    settings = StepSettings(micro, LossConfig(chunk_tokens=40), 1.0, None, layout)
    compute_references(dataset, model, cache, {}, settings=settings)
    rows = dataset.read(np.arange(dataset.num_instances)[layout.row_rank :: layout.num_row_ranks])
    sums, more = accumulate_preference_gradients(
        model, rows, preference=dataset.preference, num_pairs=dataset.num_instances, settings=settings
    )
    return {
        "loss": float(sums.cross_entropy),
        "more": {name: float(value) for name, value in more.items()},
        "gradients": whole_tensors({name: one.grad for name, one in model.named_parameters()}),
        "references": torch.from_numpy(read_references(dataset, cache, {})),
    }


def run_two_ranks(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Each layout's results, by two processes."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-P", "-m", "tests.preference_ranks", str(folder), *names]
    ranks = [subprocess.Popen(command, env={**shared, "RANK": str(rank)}) for rank in range(2)]
    codes = [process.wait(timeout=300) for process in ranks]
    if any(codes):
        raise RuntimeError(f"processes ended with {codes}")
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in names}


def main() -> None:
    torch.set_num_threads(1)
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    rank, world_size = start_distributed("cpu")
    for name in names:
        dataset = open_made_pairs(folder / "pairs")
        set_references(dataset)
        parallel = ParallelConfig(**LAYOUTS[name])
        layout = build_layout(parallel, rank=rank, world_size=world_size, device_type="cpu")
        found = find_gradients(dataset, parallel, layout, cache=folder / f"cache-{name}")
        if rank == 0:
            torch.save(found, folder / f"{name}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
