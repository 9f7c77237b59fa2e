"""The estimates of memory against what torch really keeps."""

from __future__ import annotations

import pytest
import torch

from train_bridge.attention import Visibility, prepare_attention
from train_bridge.cost import Placement, memory_parts_bytes, saved_bytes_per_token
from train_bridge.loss import LossConfig, shift_labels
from train_bridge.model import Block, ModelConfig, build_model, count_parameters
from train_bridge.parallel_config import ParallelConfig
from train_bridge.parallel_model import compile_block
from train_bridge.rope import rotation_table
from train_bridge.train_config import load_train_config

SHAPES = [
    {"d_model": 96, "mlp_hidden": 160, "num_heads": 8, "num_kv_heads": 2, "head_dim": 16},
    {"d_model": 64, "mlp_hidden": 256, "num_heads": 4, "num_kv_heads": 4, "head_dim": 16},
]


def bytes_kept(config, dtype, num_tokens=64):
    """Bytes of all distinct tensors that one forward pass keeps for the backward pass, weights apart."""
    model = build_model(config, seed=0).to(dtype)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor lives on, so its address stays its own
        return tensor

    ids_BT = torch.randint(0, config.vocab_size, (1, num_tokens))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.loss(ids_BT, shift_labels(ids_BT), config=LossConfig())
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_keeps_what_the_estimate_says(shape, dtype):
    two, three = (ModelConfig(**shape, num_layers=layers, vocab_size=128, window_tokens=4096) for layers in (2, 3))
    measured = (bytes_kept(three, dtype) - bytes_kept(two, dtype)) / 64
    estimate, _ = saved_bytes_per_token(two, Placement(bfloat16=dtype == torch.bfloat16))
    assert estimate == pytest.approx(measured, rel=0.02)


@pytest.mark.slow
@pytest.mark.skipif(
    " " in torch.__file__, reason="torch's compiler for CPUs needs an environment without a space in its path"
)
def test_a_compiled_layer_keeps_what_the_estimate_says():
    """In bfloat16 by autocast, as on GPUs: results of products alone, and the weights in 2 bytes."""
    config = ModelConfig(**SHAPES[0], num_layers=1, vocab_size=128, window_tokens=4096)
    kept = {}
    for num_tokens in (64, 192):
        block = Block(config)
        compile_block(block)
        rotation = rotation_table(torch.arange(num_tokens), config.head_dim, theta=5e5, yarn=None)
        attend = prepare_attention(Visibility(num_tokens), backend="sdpa", device=torch.device("cpu"))
        own = {tensor.untyped_storage().data_ptr() for tensor in (*block.parameters(), *rotation)}
        found = {}

        def keep(tensor, own=own, found=found):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        x_BTD = torch.randn(1, num_tokens, config.d_model, requires_grad=True)
        with (
            torch.autocast("cpu", torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            block(x_BTD, rotation, attend)
        kept[num_tokens] = sum(size for size, _ in found.values())
    per_token = (kept[192] - kept[64]) / 128
    estimate, _ = saved_bytes_per_token(config, Placement(ParallelConfig(compile=True), bfloat16=True))
    assert estimate == pytest.approx(per_token, rel=0.03)
    matrices = sum(parameter.numel() for parameter in block.parameters() if parameter.ndim == 2)
    assert kept[64] - 64 * per_token == pytest.approx(2 * matrices, rel=0.01)


def test_what_is_made_again_is_not_kept():
    config = ModelConfig(**SHAPES[0], num_layers=2, vocab_size=128, window_tokens=64)

    def kept(mode, budget=None):
        parallel = ParallelConfig(activation_checkpointing=mode, activation_budget=budget, compile=True)
        return saved_bytes_per_token(config, Placement(parallel, bfloat16=True))[0]

    assert kept("none") > kept("mlp") > kept("full") == 2 * config.d_model
    assert kept("budget", 0.5) == (kept("none") + kept("full")) / 2
    # two results of products of the MLP's width and what stands between them and the third, in 2 bytes each
    assert kept("none") - kept("mlp") == 6 * config.mlp_hidden


def test_sharing_divides_states_and_tokens():
    config = load_train_config("olmo3_7b/longcontext", overrides=[], manifest=None)
    alone, shared = (
        memory_parts_bytes(config, Placement(ParallelConfig(context=ways), ways, bfloat16=True)) for ways in (1, 8)
    )
    assert shared["states"] == alone["states"] // 8
    assert shared["activations"] == pytest.approx(alone["activations"] / 8)
    # alone, all layers' weights in bfloat16 beside those in float32
    layers = count_parameters(config.model).without_embeddings
    assert alone["gathered"] == 2 * layers > shared["gathered"] > 2 * layers / 32
    # a rank that has one instance of a step cannot take two at a time
    pretrain = load_train_config("olmo3_7b/pretrain", overrides=[], manifest=None)
    few, many = (memory_parts_bytes(pretrain, Placement(num_gpus=gpus, bfloat16=True)) for gpus in (256, 512))
    assert few["activations"] == 2 * many["activations"]


def test_replicas_copy_one_message_of_gradients_and_not_all_of_them():
    """Of 25 MB, or of all gradients where they are smaller; nothing where ranks hold parts, whose sums are FSDP's."""
    config = load_train_config("olmo3_7b/pretrain", overrides=[], manifest=None)

    def gathered(num_gpus, **parallel):
        return memory_parts_bytes(config, Placement(ParallelConfig(**parallel), num_gpus))["gathered"]

    assert (gathered(1), gathered(8), gathered(8, tensor=8), gathered(8, tensor=4)) == (0, 25 << 20, 0, 25 << 20)
    shape = {**SHAPES[1], "num_layers": 1, "vocab_size": 128, "window_tokens": 64}
    small = config.model_copy(update={"model": ModelConfig(**shape)})
    all_of_them = 4 * count_parameters(small.model).total
    assert memory_parts_bytes(small, Placement(num_gpus=2))["gathered"] == all_of_them < 25 << 20
