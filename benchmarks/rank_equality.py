"""Every layout of ranks against one process: the largest difference of losses, gradient norms, first and last weights.

Run:  python benchmarks/rank_equality.py [--ranks 2] [--steps 5] [--layouts fsdp,tensor] [--precision float32] [--backend inductor]
Processes on this machine's CPU, gloo between them. The batch is packed: document masks, labels left out, more rows for some ranks
than others have labels; windows on two of three layers, grouped queries, YaRN, two micro-batches a rank.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from train_bridge import distributed, parallel_context, parallel_tensor
from train_bridge.distributed import start_distributed
from train_bridge.loss import LossConfig
from train_bridge.model import ModelConfig
from train_bridge.optimizer import OptimizerConfig, build_optimizer
from train_bridge.parallel_config import ParallelConfig, check_fits
from train_bridge.parallel_mesh import Layout, build_layout
from train_bridge.parallel_model import build_parallel_model
from train_bridge.rope import YarnConfig
from train_bridge.step import StepSettings, train_step

REPOSITORY = Path(__file__).resolve().parents[1]
SHAPE = {"d_model": 32, "mlp_hidden": 48, "num_layers": 3, "num_heads": 8, "num_kv_heads": 4, "head_dim": 8}
MODEL = ModelConfig(
    **SHAPE, vocab_size=128, window_tokens=11, window_pattern=("sliding",), yarn=YarnConfig(original_context_tokens=16)
)
ROWS, TOKENS, LEARNING_RATE = 8, 48, 3e-3

LAYOUTS = {
    2: {
        "replicas": {},
        "fsdp": {"shard": 2},
        "fsdp-mlp-again": {"shard": 2, "activation_checkpointing": "mlp"},
        "fsdp-float8": {"shard": 2, "float8": True},
        "fsdp-blocks-again": {"shard": 2, "activation_checkpointing": "full"},
        "tensor": {"tensor": 2},
        "context": {"context": 2},
        "fsdp-compiled": {"shard": 2, "compile": True},
        "tensor-compiled": {"tensor": 2, "compile": True},
        "context-compiled-budget": {
            "context": 2,
            "compile": True,
            "activation_checkpointing": "budget",
            "activation_budget": 0.5,
        },
    },
    4: {
        "hsdp": {"replicate": 2, "shard": 2},
        "tensor-fsdp": {"tensor": 2, "shard": 2},
        "context-fsdp": {"context": 2, "shard": 2},
        "context-hsdp": {"context": 2, "replicate": 2},
        "tensor-replicas": {"tensor": 2, "replicate": 2},
        "tensor-context": {"tensor": 2, "context": 2, "activation_checkpointing": "full"},
        "tensor-4": {"tensor": 4},
        "context-4": {"context": 4},
        "fsdp-4": {"shard": 4},
    },
    8: {
        "hsdp-tensor": {"replicate": 2, "shard": 2, "tensor": 2},
        "hsdp-context": {"replicate": 2, "shard": 2, "context": 2},
        "fsdp-context-tensor": {"shard": 2, "context": 2, "tensor": 2},
    },
}


class Steps(NamedTuple):
    """What some updates left."""

    losses: list[float]
    grad_norms: list[float]
    first_weights: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]  # of the first update, after clipping
    last_weights: dict[str, torch.Tensor]
    logits: dict[str, torch.Tensor]  # of one row by the last weights; none where ranks share its tokens
    num_compiled: int = 0  # pieces of code


def make_batch(step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, documents and what is trained of one global batch."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, MODEL.vocab_size, (ROWS, TOKENS), generator=generator)
    documents = torch.randint(0, 3, (ROWS, TOKENS), generator=generator).sort(dim=1).values
    # rows that a rank gets have labels of their own number, the last row few
    is_trained = torch.rand(ROWS, TOKENS, generator=generator) > torch.arange(ROWS)[:, None] / ROWS
    return ids, documents, is_trained


def run_steps(parallel: ParallelConfig, layout: Layout, *, steps: int, autocast_dtype: torch.dtype | None) -> Steps:
    """Updates of this rank's model on its rows of made batches; whole tensors come back, on every rank."""
    check_fits(parallel, MODEL, sequence_tokens=TOKENS)
    options = {"seed": 3, "device": torch.device("cpu"), "autocast_dtype": autocast_dtype}
    model = build_parallel_model(MODEL, parallel, layout, **options)
    # with Olmo 3's eps of 1e-8 Adam divides the rounding of gradients near 0 by itself and makes it as large as the rate
    optimizer = build_optimizer(model, OptimizerConfig(eps=1e-4, skip_min_steps=2, skip_sigma=50.0))
    micro_rows = max(1, ROWS // layout.num_row_ranks // 2)
    settings = StepSettings(micro_rows, LossConfig(chunk_tokens=40), 0.5, autocast_dtype, layout)
    left = Steps([], [], whole_tensors(dict(model.named_parameters())), {}, {}, {})
    for step in range(steps):
        ids, documents, is_trained = (part[layout.row_rank :: layout.num_row_ranks] for part in make_batch(step))
        rows = {"documents_BT": documents, "is_trained_BT": is_trained}
        result = train_step(model, optimizer, ids, **rows, lr=LEARNING_RATE, step=step, settings=settings)
        left.losses.append(float(result.cross_entropy))
        left.grad_norms.append(float(result.grad_norm))
        if step == 0:
            left.gradients.update(whole_tensors({name: one.grad for name, one in model.named_parameters()}))
    left.last_weights.update(whole_tensors(dict(model.named_parameters())))
    if layout.context == 1:
        with torch.no_grad(), autocast_of(autocast_dtype):
            left.logits["first row"] = model(make_batch(0)[0][:1])
    return left


def autocast_of(dtype: torch.dtype | None) -> contextlib.AbstractContextManager[object]:
    return contextlib.nullcontext() if dtype is None else torch.autocast("cpu", dtype)


def whole_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies, gathered from all ranks where they are cut."""
    return {
        name: (one.full_tensor() if isinstance(one, DTensor) else one).detach().clone() for name, one in tensors.items()
    }


# fault -> the layout that shows it
FAULTS = {
    "queries and keys normed over the heads of one rank": "tensor",
    "gradients of keys and values kept by the rank that attends": "context",
    "parts of a gradient counted as copies of it": "fsdp",
    "gradients averaged over ranks": "fsdp",
}


def plant_fault(fault: str) -> None:
    """Break one thing in this process; nothing for an empty name."""
    kinds = list(FAULTS)
    if fault == kinds[0]:
        summed = parallel_tensor._OutOfGroup.apply
        # one number for each token is the sum of squares: this rank's own, as if the other's were the same
        parallel_tensor._OutOfGroup.apply = lambda x, group: x * 2 if x.shape[-1] == 1 else summed(x, group)
    elif fault == kinds[1]:
        parallel_context._Gathered.backward = staticmethod(lambda ctx, grad: (grad.chunk(2)[dist.get_rank()], None))
    elif fault == kinds[2]:
        distributed.num_shards = lambda tensor: 1
    elif fault == kinds[3]:
        FSDPModule.set_gradient_divide_factor = lambda self, factor: None


def choose_backend(backend: str) -> None:
    """What compiles in this process, which forgets what was compiled; too often is an error, in place of going on uncompiled."""
    torch.compile = functools.partial(torch.compile, backend=backend)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch._dynamo.config.fail_on_recompile_limit_hit = True


def run_rank(names: list[str], folder: Path, steps: int, precision: str, fault: str, backend: str) -> None:
    """What one process does: all layouts, one after another; rank 0 writes FOLDER/NAME.pt."""
    torch.set_num_threads(1)
    rank, world_size = start_distributed("cpu")
    plant_fault(fault)
    for name in names:
        parallel = ParallelConfig(**LAYOUTS[world_size][name])
        layout = build_layout(parallel, rank=rank, world_size=world_size, device_type="cpu")
        if parallel.compile:
            choose_backend(backend)
        left = run_steps(parallel, layout, steps=steps, autocast_dtype=dtype_of(precision))
        if parallel.compile:
            left = left._replace(num_compiled=torch._dynamo.utils.counters["stats"]["unique_graphs"])
        if rank == 0:
            torch.save(left._asdict(), folder / f"{name}.pt")
    dist.destroy_process_group()


def dtype_of(precision: str) -> torch.dtype | None:
    return torch.bfloat16 if precision == "bfloat16" else None


def run_layouts(
    names: list[str],
    *,
    ranks: int,
    steps: int,
    precision: str = "float32",
    fault: str = "",
    backend: str = "inductor",
) -> dict[str, Steps]:
    """Each layout's steps, by processes of this machine, all layouts in one start of them. backend: torch's, of compiled layouts."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        held.close()
        arguments = [
            "--rank-folder",
            folder,
            "--layouts",
            ",".join(names),
            "--steps",
            str(steps),
            "--precision",
            precision,
            "--fault",
            fault,
            "--backend",
            backend,
        ]
        shared = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "WORLD_SIZE": str(ranks)}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-P", str(Path(__file__).resolve()), *arguments]
        started = [subprocess.Popen(command, env={**shared, "RANK": str(rank)}) for rank in range(ranks)]
        codes = [process.wait() for process in started]
        if any(codes):
            raise RuntimeError(f"processes ended with {codes}")
        return {name: Steps(**torch.load(Path(folder) / f"{name}.pt", weights_only=True)) for name in names}


class Differences(NamedTuple):
    """Largest absolute differences, of gradients over the gradients' norm."""

    loss: float
    grad_norm: float
    first_weights: float
    gradients: float
    last_weights: float


def compare(one: Steps, many: Steps) -> Differences:
    """Inf where a name or a shape is missing."""

    def largest(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
        if {name: value.shape for name, value in left.items()} != {name: value.shape for name, value in right.items()}:
            return math.inf
        return max(float((left[name] - right[name]).abs().max()) for name in left)

    def largest_of(left: list[float], right: list[float]) -> float:
        return max(abs(a - b) for a, b in zip(left, right, strict=True))

    norm = float(torch.cat([value.flatten() for value in one.gradients.values()]).norm())
    return Differences(
        largest_of(one.losses, many.losses),
        largest_of(one.grad_norms, many.grad_norms),
        largest(one.first_weights, many.first_weights),
        largest(one.gradients, many.gradients) / norm,
        largest(one.last_weights, many.last_weights),
    )


def show(differences: Differences) -> str:
    return " | ".join(f"{value:.1e}" if value else "0" for value in differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2, choices=sorted(LAYOUTS))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--layouts", default="")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument(
        "--backend", default="inductor", help="torch's, of compiled layouts; aot_eager_decomp_partition: no compiler"
    )
    parser.add_argument("--fault", default="", help="break one thing in the ranks, to see that it is seen")
    parser.add_argument("--faults", action="store_true", help="one line per fault in place of the layouts")
    parser.add_argument("--rank-folder", help="given to the processes that this one starts")
    arguments = parser.parse_args()
    names = [name for name in arguments.layouts.split(",") if name]
    if arguments.rank_folder:
        run_rank(
            names,
            Path(arguments.rank_folder),
            arguments.steps,
            arguments.precision,
            arguments.fault,
            arguments.backend,
        )
        return
    torch.set_num_threads(1)
    one = run_steps(ParallelConfig(), Layout(), steps=arguments.steps, autocast_dtype=dtype_of(arguments.precision))
    names = names or list(LAYOUTS[arguments.ranks])
    if arguments.faults:
        print("| fault | layout | loss | gradient norm | first weights | first gradients / norm | last weights |")
        print("|---|---|---|---|---|---|---|")
        for fault, name in FAULTS.items():
            many = run_layouts([name], ranks=2, steps=arguments.steps, precision=arguments.precision, fault=fault)[name]
            print(f"| {fault} | {name} | {show(compare(one, many))} |", flush=True)
        return
    options = {"precision": arguments.precision, "backend": arguments.backend}
    ran = run_layouts(names, ranks=arguments.ranks, steps=arguments.steps, **options)
    print(f"one process: losses {one.losses[0]:.4f} to {one.losses[-1]:.4f}, gradient norm {one.grad_norms[0]:.3f}")
    print("| layout | settings | loss | gradient norm | first weights | first gradients / norm | last weights |")
    print("|---|---|---|---|---|---|---|")
    for name, many in ran.items():
        settings = ", ".join(f"{key} {value}" for key, value in LAYOUTS[arguments.ranks][name].items())
        print(f"| {name} | {settings or f'replicate {arguments.ranks}'} | {show(compare(one, many))} |")


if __name__ == "__main__":
    main()
