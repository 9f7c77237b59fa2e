"""Two processes that start from one Hugging Face folder, in which everything that takes long takes longer than a collective may.

Run by run_hf_parent_ranks: python -m tests.hf_parent_ranks CONFIG SHARDS OUTPUT PARENT. Each prints how often it did what.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.conftest import REPOSITORY
from train_bridge import hf_files, hf_parent
from train_bridge.logits_gate import GateResult
from train_bridge.run_training import train

TIMEOUT_SEC, SLOW_SEC = 12, 15
SETTINGS = ["parallel.shard=2", "schedule.peak_lr=1e-12", "optimizer.weight_decay=0", "run.steps=1"]


def run_hf_parent_ranks(*arguments: Path) -> list[dict[str, int]]:
    """What each rank did."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-P", "-m", "tests.hf_parent_ranks", *map(str, arguments)]
    ranks = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    return [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in ranks]


def main(config: str, shards: str, output: str, parent: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=TIMEOUT_SEC))
    rank = dist.get_rank()
    counts = {"hashed": 0, "compared": 0, "largest_bytes": 0}
    digest, read = hashlib.file_digest, hf_files._read_tensors

    def slow_digest(file: Any, kind: Any) -> Any:
        counts["hashed"] += 1
        if counts["hashed"] == 1:
            time.sleep(SLOW_SEC)
        return digest(file, kind)

    def slow_gate(folder: Path, *, device: torch.device) -> GateResult:
        counts["compared"] += 1
        time.sleep(SLOW_SEC)
        return GateResult(1, 0.0, 1.0, "none")

    def slow_read(folder: Path) -> Any:
        if rank == 1:
            time.sleep(SLOW_SEC)
        for name, tensor in read(folder):
            counts["largest_bytes"] = max(counts["largest_bytes"], tensor.nbytes)
            yield name, tensor

    hashlib.file_digest, hf_parent.compare_with_transformers = slow_digest, slow_gate
    hf_files._read_tensors = slow_read
    train(config=config, shards=shards, output=output, overrides=SETTINGS, dry_run=False, parent=parent)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
