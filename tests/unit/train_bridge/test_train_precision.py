"""Runs in bfloat16: products alone are, while norms, rotations, weights, moments, sums of gradients and checkpoints are float32."""

import json

import pytest
import torch
import torch.distributed as dist
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from benchmarks.rank_equality import MODEL, compare, make_batch, run_layouts, run_steps
from train_bridge import run_training
from train_bridge.loss import LossConfig
from train_bridge.model import RMSNorm
from train_bridge.parallel_config import ParallelConfig
from train_bridge.parallel_mesh import Layout
from train_bridge.parallel_model import build_parallel_model
from train_bridge.rope import YarnConfig, rotate, rotation_table

CPU = torch.device("cpu")


def assert_rounded_once(got, exact, margin):
    """bfloat16 `got` is `exact` rounded once, wherever float32's own error, at most `margin`, cannot reach a border of rounding."""
    low, high = (exact - margin).to(torch.bfloat16), (exact + margin).to(torch.bfloat16)
    is_clear = low == high
    assert got.dtype == torch.bfloat16
    assert float(is_clear.double().mean()) > 0.99
    assert torch.equal(got[is_clear], low[is_clear])


@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16])
def test_a_norm_of_bfloat16_is_the_float32_formula_rounded_once(weight_dtype):
    """FSDP sends the weights of norms in bfloat16, a single process keeps them in float32."""
    generator = torch.Generator().manual_seed(1)
    x = (3 * torch.randn(50, 200, generator=generator)).to(torch.bfloat16)
    norm = RMSNorm(200, 1e-6)
    with torch.no_grad():
        norm.weight.copy_(1 + 0.3 * torch.randn(200, generator=generator))
    norm = norm.to(weight_dtype)
    wide = x.double()
    exact = wide / (wide.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * norm.weight.detach().double()
    assert_rounded_once(norm(x).detach(), exact, 1e-6 * exact.abs())


def test_a_rotation_of_bfloat16_is_the_float32_formula_rounded_once():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 3, 40, 16, generator=generator).to(torch.bfloat16)
    cos, sin = rotation_table(torch.arange(5000, 5040), 16, theta=5e5, yarn=YarnConfig())
    left, right = x.double().split(8, dim=-1)
    turned = torch.cat((-right, left), dim=-1)
    parts = x.double() * cos.double(), turned * sin.double()
    assert_rounded_once(rotate(x, cos, sin), parts[0] + parts[1], 1e-6 * (parts[0].abs() + parts[1].abs()))


def test_ten_steps_in_bfloat16_keep_weights_and_moments_in_float32(
    make_shards, train_config_file, tmp_path, monkeypatch
):
    """Losses within a hundredth of those in float32, and none of them equal: 8 bits of each product are left."""
    shards, run_loop, kept, losses = str(make_shards()), run_training.run_loop, [], {}

    def keep(parts, **options):
        kept.append(parts)
        run_loop(parts, **options)

    monkeypatch.setattr(run_training, "run_loop", keep)
    for precision in ("float32", "bfloat16"):
        output = tmp_path / precision
        options = {"config": str(train_config_file), "shards": shards, "output": str(output), "dry_run": False}
        run_training.train(**options, overrides=[f"run.precision={precision}"])
        losses[precision] = [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines()]
    differences = [abs(a - b) / b for a, b in zip(losses["bfloat16"], losses["float32"], strict=True)]
    assert len(differences) == 10 and min(differences) > 0 and max(differences) < 0.01
    model, optimizer = kept[1].model, kept[1].optimizer
    tensors = [*model.parameters(), *(parameter.grad for parameter in model.parameters())]
    tensors += [moment for state in optimizer.state.values() for moment in state.values()]
    assert len(tensors) == 4 * len(list(model.parameters())) and {tensor.dtype for tensor in tensors} == {torch.float32}
    (folder,) = (tmp_path / "bfloat16" / "checkpoints").glob("*10")
    (metadata,) = folder.rglob(".metadata")
    saved = FileSystemReader(metadata.parent).read_metadata().state_dict_metadata
    saved = {name: entry.properties.dtype for name, entry in saved.items() if not name.startswith("rng.")}
    assert len(saved) == 3 * len(list(model.parameters())) and set(saved.values()) == {torch.float32}


def test_fsdp_sends_weights_in_bfloat16_and_keeps_float32():
    """What modules see in a forward pass: blocks and the output matrix in bfloat16, the embedding, whose rows are the stream, not."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1, 1, 1), mesh_dim_names=("replicate", "shard", "tensor"))
        # two ranks by the numbers, so that it is sharded; over a mesh of one
        options = {"seed": 0, "device": CPU, "autocast_dtype": torch.bfloat16}
        model = build_parallel_model(MODEL, ParallelConfig(), Layout(shard=2, mesh=mesh), **options)
        seen = {}

        def see(name):
            return lambda module, given: seen.update({name: (module.weight.dtype, given[0].dtype)})

        block = model.blocks[0]
        names = {"embedding": model.embeddings, "w_q": block.attention.w_q, "norm": block.attention_norm}
        for name, module in names.items():
            module.register_forward_pre_hook(see(name))
        block.register_forward_pre_hook(lambda module, given: seen.update(stream=given[0].dtype))
        ids = make_batch(0)[0]
        with torch.autocast("cpu", torch.bfloat16):
            losses = model.loss(ids, ids, config=LossConfig())
        losses.total.backward()
        assert seen.pop("stream") == torch.float32
        assert {name: weight for name, (weight, _) in seen.items()} == {
            "embedding": torch.float32, "w_q": torch.bfloat16, "norm": torch.bfloat16,
        }  # fmt: skip
        held = [tensor for parameter in model.parameters() for tensor in (parameter, parameter.grad)]
        assert all(isinstance(tensor, DTensor) and tensor.dtype == torch.float32 for tensor in held)
    finally:
        dist.destroy_process_group()


def test_two_ranks_in_bfloat16_differ_from_one_process_as_sums_in_another_order_do():
    """The bounds are a few times the differences of docs/parallelism.md; float32 is further away, so bfloat16 is what ran."""
    one = run_steps(ParallelConfig(), Layout(), steps=2, autocast_dtype=torch.bfloat16)
    plain = run_steps(ParallelConfig(), Layout(), steps=2, autocast_dtype=None)
    many = run_layouts(["replicas", "fsdp"], ranks=2, steps=2, precision="bfloat16")
    for name, steps in many.items():
        found = compare(one, steps)
        assert found.first_weights == 0, name
        assert max(found.loss, found.grad_norm / 10, found.last_weights / 4) < 1e-3, name
        assert found.gradients < 4e-4 < 6e-4 < compare(plain, steps).gradients, name
        kept = [*steps.first_weights.values(), *steps.gradients.values(), *steps.last_weights.values()]
        assert {tensor.dtype for tensor in kept} == {torch.float32}
