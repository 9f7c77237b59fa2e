"""Where a rank stands among the others: which rows, tokens, parts of weights and parts of products are its own."""

from __future__ import annotations

from typing import NamedTuple

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from dolma_py.errors import ConfigError
from train_bridge.parallel_config import ParallelConfig


class Layout(NamedTuple):
    """Rank number ((r * shard + s) * context + c) * tensor + t. The defaults are one process."""

    replicate: int = 1
    shard: int = 1
    context: int = 1
    tensor: int = 1
    rank: int = 0
    mesh: DeviceMesh | None = None  # "replicate", "shard" (with context: its ranks hold parts too), "tensor"
    context_group: dist.ProcessGroup | None = None
    tensor_group: dist.ProcessGroup | None = None

    @property
    def world_size(self) -> int:
        return self.replicate * self.shard * self.context * self.tensor

    @property
    def num_row_ranks(self) -> int:
        """How many share the rows of a batch."""
        return self.replicate * self.shard

    @property
    def row_rank(self) -> int:
        """Which of them this is; ranks of a context or tensor group read the same rows."""
        return self.rank // (self.context * self.tensor)

    @property
    def context_rank(self) -> int:
        return self.rank // self.tensor % self.context

    @property
    def tensor_rank(self) -> int:
        return self.rank % self.tensor

    @property
    def is_sharded(self) -> bool:
        return self.shard * self.context > 1

    @property
    def replicate_group(self) -> dist.ProcessGroup | None:
        """Ranks whose gradients are summed when nothing is sharded; None: all ranks."""
        return None if self.mesh is None or self.tensor == 1 else self.mesh.get_group("replicate")


def build_layout(config: ParallelConfig, *, rank: int, world_size: int, device_type: str) -> Layout:
    """The place of this rank, with the groups that it talks to. ConfigError when the numbers do not make up the ranks.

    All ranks have to call it, because groups are made by all.
    """
    others = config.shard * config.context * config.tensor
    replicate = config.replicate or max(1, world_size // others)
    if replicate * others != world_size:
        named = "replicate * shard * context * tensor"
        values = f"{replicate} * {config.shard} * {config.context} * {config.tensor}"
        raise ConfigError("parallel", values, f"expected {named} to be the number of ranks, {world_size}")
    layout = Layout(replicate, config.shard, config.context, config.tensor, rank)
    if world_size == 1:
        return layout
    shape = (replicate, config.shard * config.context, config.tensor)
    mesh = init_device_mesh(device_type, shape, mesh_dim_names=("replicate", "shard", "tensor"))
    context_group = None
    if config.context > 1:
        rows = init_device_mesh(
            device_type,
            (replicate * config.shard, config.context, config.tensor),
            mesh_dim_names=("rows", "context", "tensor"),
        )
        context_group = rows.get_group("context")
    tensor_group = mesh.get_group("tensor") if config.tensor > 1 else None
    return layout._replace(mesh=mesh, context_group=context_group, tensor_group=tensor_group)
