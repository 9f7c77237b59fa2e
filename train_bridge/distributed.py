"""The few things that ranks tell each other, and the parts of tensors that they hold. One process needs no set-up."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

SUM_BYTES = 25 << 20  # of one message of gradients: large enough for a network's full rate, small beside the weights


def start_distributed(device_type: str) -> tuple[int, int]:
    """(rank, world size) from the environment that torchrun sets; (0, 1) without it."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1 and not dist.is_initialized():
        if device_type == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        # gloo beside nccl: checkpoints are written from tensors on the CPU
        dist.init_process_group("cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo")
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def global_sum(tensor: Tensor) -> Tensor:
    """Sum over all ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def local_part(tensor: Tensor) -> Tensor:
    """What this rank holds of a distributed tensor: the same memory, with gradients where they are on. A plain tensor is its own part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def cut_like(full: Tensor, tensor: Tensor) -> Tensor:
    """The part of `full` that this rank holds of the distributed tensor `tensor`, a view; all of it for a plain one."""
    if not isinstance(tensor, DTensor):
        return full
    coordinate = tensor.device_mesh.get_coordinate()
    assert coordinate is not None, "a rank outside of its own mesh"
    # tensor parallelism cuts first, and FSDP the parts that it leaves: the last dimension of the mesh first
    for mesh_dim in reversed(range(tensor.device_mesh.ndim)):
        dim = getattr(tensor.placements[mesh_dim], "dim", None)  # None: replicated
        if dim is not None:
            parts, place = full.chunk(tensor.device_mesh.size(mesh_dim), dim=dim), coordinate[mesh_dim]
            # few rows over many ranks: the last ones have none
            full = parts[place] if place < len(parts) else full.narrow(dim, 0, 0)
    return full


def num_shards(tensor: Tensor) -> int:
    """How many different parts a tensor is cut into; 1 for a plain one."""
    if not isinstance(tensor, DTensor):
        return 1
    sizes = [
        tensor.device_mesh.size(mesh_dim)
        for mesh_dim, placement in enumerate(tensor.placements)
        if getattr(placement, "dim", None) is not None
    ]
    return int(torch.tensor(sizes).prod()) if sizes else 1


def sum_gradients(parameters: Sequence[nn.Parameter], group: dist.ProcessGroup | None = None) -> None:
    """Sum every gradient over the ranks of `group` (None: all); a loss divided by the GLOBAL label count needs no factor.

    A gradient of SUM_BYTES or more is summed where it lies; smaller ones go together in messages of about that size, each copied
    together for as long as its message takes. All ranks have to have the same gradients.
    """
    if not dist.is_initialized():
        return
    waiting: list[Tensor] = []
    for gradient in (local_part(parameter.grad) for parameter in parameters if parameter.grad is not None):
        size = gradient.numel() * gradient.element_size()
        if size >= SUM_BYTES and gradient.is_contiguous():
            dist.all_reduce(gradient, group=group)
            continue
        if waiting and size + sum(one.numel() * one.element_size() for one in waiting) > SUM_BYTES:
            _sum_together(waiting, group)
            waiting = []
        waiting.append(gradient)
    if waiting:
        _sum_together(waiting, group)


def _sum_together(tensors: list[Tensor], group: dist.ProcessGroup | None) -> None:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat, group=group)
    for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))


@torch.no_grad()
def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Global norm of all gradients, float32 0-dim, the same on all ranks.

    Each rank adds the squares of its parts, divided by the number of ranks that hold the same part.
    """
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    if not any(isinstance(parameter.grad, DTensor) for parameter in parameters):
        return torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
    gradients = [local_part(parameter.grad) for parameter in parameters]
    num_ranks = dist.get_world_size()
    copies = [num_ranks // num_shards(parameter) for parameter in parameters]
    norms = torch.stack(torch._foreach_norm(gradients)).float()
    squares = norms.square() / torch.tensor(copies, dtype=torch.float32, device=norms.device)
    return global_sum(squares.sum()).sqrt()


def clip_factor(norm: Tensor, max_norm: float) -> Tensor:
    """What gradients of the norm `norm` are multiplied by to have at most `max_norm`, 0-dim; 1: nothing to do. torch's rule."""
    return (max_norm / (norm + 1e-6)).clamp(max=1.0)


@torch.no_grad()
def scale_gradients(parameters: Sequence[nn.Parameter], factor: Tensor) -> None:
    """Multiply in place, each rank its own parts."""
    torch._foreach_mul_([local_part(p.grad) for p in parameters if p.grad is not None], factor)


def ranks_where(is_bad: Tensor, rank: int, world_size: int) -> list[int]:
    """Numbers of the ranks whose 0-dim bool is True."""
    flags = torch.zeros(world_size, dtype=torch.float32, device=is_bad.device)
    flags[rank] = is_bad.to(torch.float32)
    return torch.nonzero(global_sum(flags)).flatten().tolist()


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()
