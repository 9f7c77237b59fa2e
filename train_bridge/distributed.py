"""The few things that ranks tell each other: data parallelism by summed gradients. One process needs no set-up."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def start_distributed(device_type: str) -> tuple[int, int]:
    """(rank, world size) from the environment that torchrun sets; (0, 1) without it."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def global_sum(tensor: Tensor) -> Tensor:
    """Sum over all ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def global_max(tensor: Tensor) -> Tensor:
    """Largest of all ranks, value by value, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum every gradient over all ranks, in one message; a loss divided by the GLOBAL label count then needs no factor."""
    if not dist.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, summed in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))


def ranks_where(is_bad: Tensor, rank: int, world_size: int) -> list[int]:
    """Numbers of the ranks whose 0-dim bool is True."""
    flags = torch.zeros(world_size, dtype=torch.float32, device=is_bad.device)
    flags[rank] = is_bad.to(torch.float32)
    return torch.nonzero(global_sum(flags)).flatten().tolist()


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()
