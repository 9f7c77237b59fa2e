"""Two processes that share one model, of which one alone meets a row that has no finite loss: what each of them says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import torch

from benchmarks.rank_equality import MODEL, REPOSITORY
from dolma_py.errors import NotFiniteError
from train_bridge.distributed import local_part, start_distributed
from train_bridge.loss import LossConfig
from train_bridge.optimizer import OptimizerConfig, build_optimizer
from train_bridge.parallel_config import ParallelConfig
from train_bridge.parallel_mesh import build_layout
from train_bridge.parallel_model import build_parallel_model
from train_bridge.step import StepSettings, train_step


def run_not_finite_ranks() -> list[str]:
    """The line of each rank."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-P", "-m", "tests.not_finite_ranks"]
    ranks = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    return [process.communicate(timeout=300)[0].strip() for process in ranks]


def main() -> None:
    torch.set_num_threads(1)
    rank, world_size = start_distributed("cpu")
    parallel = ParallelConfig(shard=2)
    layout = build_layout(parallel, rank=rank, world_size=world_size, device_type="cpu")
    model = build_parallel_model(MODEL, parallel, layout, seed=0, device=torch.device("cpu"))
    if rank == 0:  # holds the first half of the embedding
        with torch.no_grad():
            local_part(model.embeddings.weight)[7] = float("inf")
    before = [local_part(parameter).detach().clone() for parameter in model.parameters()]
    ids = torch.full((2, 8), 7 if rank == 1 else 9)
    settings = StepSettings(2, LossConfig(), 1.0, None, layout)
    try:
        train_step(model, build_optimizer(model, OptimizerConfig()), ids, lr=1.0, step=4, settings=settings)
    except NotFiniteError as error:
        is_same = all(torch.equal(a, local_part(b)) for a, b in zip(before, model.parameters(), strict=True))
        print(f"{str(error).split('.')[0]}; weights unchanged: {is_same}")


if __name__ == "__main__":
    main()
