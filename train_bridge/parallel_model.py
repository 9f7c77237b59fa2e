"""One rank's model: its parts of the weights, what it computes again, what is compiled, and its first weights.

Parameters keep their names and their shapes as wholes under every layout, so that a checkpoint of one is one of all. In this order:
8-bit linears, context and tensor parallelism, activation checkpointing, compilation, FSDP, memory, first weights.
Source of the order and of the units of FSDP: OLMo-core. FSDP: Zhao et al. 2023 (arXiv 2304.11277).
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from dolma_py.errors import MissingDependencyError
from train_bridge.attention import AttentionBackend
from train_bridge.compilation import compile_function
from train_bridge.distributed import local_part
from train_bridge.model import Block, ModelConfig, Olmo3, init_weights
from train_bridge.parallel_config import ParallelConfig
from train_bridge.parallel_context import SequenceSplit
from train_bridge.parallel_mesh import Layout


def build_parallel_model(
    config: ModelConfig,
    parallel: ParallelConfig,
    layout: Layout,
    *,
    seed: int,
    device: torch.device,
    autocast_dtype: torch.dtype | None = None,
    attention_backend: AttentionBackend = "sdpa",
) -> Olmo3:
    """`build_model` for one rank of a layout: the same float32 weights, of which it holds its parts.

    autocast_dtype: of products; FSDP then sends weights in it. Gradients are summed in float32, master weights and moments are float32.
    """
    with torch.device("meta"):
        model = Olmo3(config, attention_backend=attention_backend)
    if parallel.float8:
        convert_to_float8(model, device, is_sharded=layout.is_sharded)
    if layout.context_group is not None:
        model.context = SequenceSplit(layout.context_group, rank=layout.context_rank, num_ranks=layout.context)
    if layout.tensor > 1:
        from train_bridge.parallel_tensor import split_over_ranks

        assert layout.mesh is not None
        split_over_ranks(model, layout.mesh["tensor"])
    for block in model.blocks:
        if parallel.compile:
            compile_block(block, activation_budget=parallel.activation_budget)
        block.computes_mlp_again = parallel.activation_checkpointing == "mlp"
        if parallel.activation_checkpointing == "full":
            # only a block's input stays; nothing in it is drawn at random
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    if layout.is_sharded:
        shard_model(model, layout, autocast_dtype=autocast_dtype)
    model.to_empty(device=device)
    init_weights(model, seed=seed)
    return model


def compile_block(block: Block, *, activation_budget: float | None = None) -> None:
    """Compile what stands before and after attention; all blocks share what is compiled.

    Attention is left out: masks are new with every batch, and would be compiled anew with them.
    """
    block.attention.project = compile_function(block.attention.project, activation_budget=activation_budget)
    block.finish = compile_function(block.finish, activation_budget=activation_budget)


def shard_model(model: Olmo3, layout: Layout, *, autocast_dtype: torch.dtype | None) -> None:
    """FSDP2, or HSDP where the model has replicas. Units: the embedding, each block, and the root with the output matrix.

    The embedding goes in float32, as autocast leaves it: the residual stream has the precision that it has in one process.
    """
    assert layout.mesh is not None
    mesh = layout.mesh["replicate", "shard"] if layout.replicate > 1 else layout.mesh["shard"]
    # inputs are left alone: autocast casts what products need, and the residual stream stays float32
    policy = MixedPrecisionPolicy(param_dtype=autocast_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    fully_shard(model.embeddings, mesh=mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    # the output matrix is the first that the backward pass needs: it is not given back in between
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    for method in ("loss", "hidden", "log_probs"):
        register_fsdp_forward_method(model, method)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # sums, not means: the loss is divided by the labels of all ranks
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def note_micro_batch(model: nn.Module, *, is_last: bool) -> None:
    """Tell FSDP before each forward pass: replicas are summed once, with the last micro-batch."""
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(is_last)
        model.set_is_last_backward(is_last)


def release_gathered(model: nn.Module) -> None:
    """Give back what FSDP gathered for a forward pass that no backward pass follows."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def convert_to_float8(model: Olmo3, device: torch.device, *, is_sharded: bool) -> None:
    """Linears of the blocks in torchao's 8-bit form: weights, inputs and gradients scaled per tensor, anew in each step.

    Only those with both sides divisible by 16; the output matrix stays. MissingDependencyError without torchao; on a CPU products are emulated.
    """
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    except ImportError as error:
        raise MissingDependencyError("torchao", "float8") from error
    # OLMo-core's choice for Olmo 3: gathered in 8 bits, 8-bit weights made again for the backward pass, scales powers of two
    config = Float8LinearConfig(
        enable_fsdp_float8_all_gather=is_sharded,
        force_recompute_fp8_weight_in_bwd=True,
        round_scales_to_power_of_2=True,
        emulate=device.type == "cpu",
    )
    convert_to_float8_training(model.blocks, module_filter_fn=_is_converted, config=config)
    model.register_state_dict_post_hook(_show_plain_weights)


def _show_plain_weights(_module: nn.Module, state: dict[str, Any], _prefix: str, _metadata: Any) -> None:
    """float32 parts in place of torchao's tensors that hold them, in the same memory: a checkpoint is one of any run."""
    for name, weight in state.items():
        plain = getattr(local_part(weight.detach()), "_tensor", None)
        if isinstance(weight, DTensor) and plain is not None:
            place = {"shape": weight.shape, "stride": weight.stride(), "run_check": False}
            state[name] = DTensor.from_local(plain, weight.device_mesh, weight.placements, **place)


def _is_converted(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear) and module.in_features % 16 == 0 and module.out_features % 16 == 0
