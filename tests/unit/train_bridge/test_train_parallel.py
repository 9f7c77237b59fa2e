"""Ranks in every layout compute what one process computes; who holds what; what is kept for the backward pass; refusals."""

import functools
import sys

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from benchmarks import rank_equality
from benchmarks.rank_equality import FAULTS, LAYOUTS, MODEL, compare, make_batch, run_layouts, run_steps
from dolma_py.config import build_config
from dolma_py.errors import ConfigError, MissingDependencyError
from tests.not_finite_ranks import run_not_finite_ranks
from train_bridge import distributed
from train_bridge.distributed import local_part
from train_bridge.loss import LossConfig
from train_bridge.model import build_model
from train_bridge.parallel_config import ParallelConfig, check_fits
from train_bridge.parallel_mesh import Layout, build_layout
from train_bridge.parallel_model import build_parallel_model
from train_bridge.run_training import train

CPU = torch.device("cpu")
QUICK = ["replicas", "fsdp-blocks-again", "tensor", "context"]


@functools.cache
def one_process(steps, dtype=None):
    return run_steps(ParallelConfig(), Layout(), steps=steps, autocast_dtype=dtype)


@functools.cache
def ranks_together(names, ranks, steps):
    """All layouts in one start of the processes, which costs more than what they compute. Compiled ones without the C++ compiler."""
    return run_layouts(list(names), ranks=ranks, steps=steps, backend="aot_eager_decomp_partition")


def assert_equal_to_one_process(many, steps):
    """float32 sums in another order."""
    found = compare(one_process(steps), many)
    assert found.first_weights == 0
    assert max(found.loss, found.grad_norm) < 4e-6
    assert found.gradients < 2e-7
    assert found.last_weights < 3e-6


@pytest.mark.parametrize("name", QUICK)
def test_two_ranks_equal_one_process(name):
    assert_equal_to_one_process(ranks_together(tuple(QUICK), 2, 2)[name], 2)


@pytest.mark.parametrize("name", ["fsdp-blocks-again", "tensor"])
def test_two_ranks_give_whole_logits(name):
    one, two = one_process(2).logits["first row"], ranks_together(tuple(QUICK), 2, 2)[name].logits["first row"]
    assert float(one.abs().max()) > 0.1
    # the last weights differ by some 1e-7
    torch.testing.assert_close(two, one, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "name"), [(ranks, name) for ranks in (2, 4, 8) for name in LAYOUTS[ranks] if "float8" not in name]
)
def test_ranks_equal_one_process(ranks, name):
    names = tuple(name for name in LAYOUTS[ranks] if "float8" not in name)
    many = ranks_together(names, ranks, 5)[name]
    assert_equal_to_one_process(many, 5)
    assert (many.num_compiled > 0) == ("compiled" in name)


def test_a_difference_would_be_seen():
    """Another epsilon in the norms, a thousandth of a rate: both are far above the bounds of the tests before this one."""
    known = one_process(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_equality, "MODEL", MODEL.model_copy(update={"norm_eps": 1.1e-6}))
        assert compare(known, run_steps(ParallelConfig(), Layout(), steps=2, autocast_dtype=None)).gradients > 2e-7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_equality, "LEARNING_RATE", rank_equality.LEARNING_RATE * 1.01)
        assert compare(known, run_steps(ParallelConfig(), Layout(), steps=2, autocast_dtype=None)).last_weights > 3e-6


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "name"), FAULTS.items())
def test_faults_of_parallel_code_are_seen(fault, name):
    many = run_layouts([name], ranks=2, steps=2, fault=fault)[name]
    found = compare(one_process(2), many)
    assert found.first_weights == 0
    assert max(found.gradients, found.grad_norm) > 1e-5


@pytest.mark.slow
def test_the_rank_whose_loss_is_not_finite_is_named_on_all_ranks():
    assert run_not_finite_ranks() == ["step 4: loss is not finite on ranks [1]; weights unchanged: True"] * 2


def test_one_process_has_the_model_of_build_model():
    plain = build_model(MODEL, seed=3).state_dict()
    found = build_parallel_model(MODEL, ParallelConfig(), Layout(), seed=3, device=CPU).state_dict()
    assert list(plain) == list(found)
    assert all(torch.equal(plain[name], found[name]) for name in plain)


def test_every_rank_has_its_own_place():
    """Ranks of a context or a tensor group read the same rows; each row is read by one such group."""
    layouts = [Layout(2, 2, 3, 2, rank=rank) for rank in range(24)]
    places = {(one.row_rank, one.context_rank, one.tensor_rank) for one in layouts}
    assert len(places) == 24
    assert {one.row_rank for one in layouts} == set(range(4)) == set(range(layouts[0].num_row_ranks))
    assert [one.row_rank for one in layouts[:7]] == [0, 0, 0, 0, 0, 0, 1]
    assert [(one.context_rank, one.tensor_rank) for one in layouts[:4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def kept_bytes(**options):
    """Bytes that autograd keeps between forward and backward of one batch, parameters apart."""
    model = build_parallel_model(MODEL, ParallelConfig(**options), Layout(), seed=0, device=CPU)
    ids, kept = make_batch(0)[0], {}

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model.loss(ids, ids, config=LossConfig())
    losses.total.backward()
    return sum(kept.values())


def test_what_is_computed_again_is_not_kept():
    everything, without_mlp, inputs = (kept_bytes(activation_checkpointing=mode) for mode in ("none", "mlp", "full"))
    assert inputs < 0.2 * everything and without_mlp < 0.9 * everything


@pytest.mark.slow
def test_compiled_blocks_give_the_same_and_share_their_code(monkeypatch):
    """Without the C++ compiler: what is traced, cut and chosen by the budget is what matters here."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager_decomp_partition"))
    monkeypatch.setattr("train_bridge.compilation.NUM_KINDS", 3)
    with torch._dynamo.config.patch(recompile_limit=3, fail_on_recompile_limit_hit=True):
        torch._dynamo.reset()
        for mode in ("none", "mlp", "full"):
            options = ParallelConfig(compile=True, activation_checkpointing=mode)
            found = compare(one_process(2), run_steps(options, Layout(), steps=2, autocast_dtype=None))
            assert max(found.loss, found.gradients) < 2e-6 and found.last_weights < 3e-6
            torch._dynamo.reset()
        sizes = []
        for budget in (1.0, 0.5, 0.0):
            sizes.append(kept_bytes(compile=True, activation_checkpointing="budget", activation_budget=budget))
            torch._dynamo.reset()
    assert sizes[2] < sizes[1] < sizes[0]


@pytest.mark.slow
def test_blocks_compile_to_machine_code():
    if " " in torch.__file__:
        pytest.skip("torch's compiler for CPUs does not quote its folders: this environment lies in one with a space")
    found = run_steps(ParallelConfig(compile=True), Layout(), steps=2, autocast_dtype=None)
    assert_equal_to_one_process(found, 2)


@pytest.mark.parametrize(
    ("values", "key", "rule"),
    [
        ({"activation_checkpointing": "budget", "activation_budget": 0.5}, "compile", "expected true"),
        ({"activation_checkpointing": "budget", "compile": True}, "activation_budget", "expected a share"),
        ({"activation_budget": 0.5}, "activation_budget", "null with the others"),
        ({"float8": True, "tensor": 2}, "float8", "expected false with tensor above 1"),
        ({"shard": 0}, "shard", "greater than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, key, rule):
    with pytest.raises(ConfigError, match=rule) as caught:
        build_config(ParallelConfig, values, where="parallel")
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("values", "model", "tokens", "message"),
    [
        ({"tensor": 8}, {}, 48, "parallel.tensor: expected a divisor of model.num_kv_heads=4, got 8"),
        ({"tensor": 4}, {"mlp_hidden": 50}, 48, "divisor of model.mlp_hidden=50"),
        ({"tensor": 2}, {"vocab_size": 129}, 48, "divisor of model.vocab_size=129"),
        ({"context": 5}, {}, 48, "whose double divides data.sequence_tokens=48, got 5"),
    ],
)
def test_degrees_that_do_not_divide_are_named(values, model, tokens, message):
    with pytest.raises(ConfigError, match=message):
        check_fits(ParallelConfig(**values), MODEL.model_copy(update=model), sequence_tokens=tokens)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_layout_that_does_not_fit_is_refused_before_anything_is_written(
    dry_run, make_shards, train_config_file, tmp_path
):
    options = {"shards": str(make_shards()), "output": str(tmp_path / "run"), "overrides": ["parallel.tensor=2"]}
    with pytest.raises(ConfigError, match="divisor of model.num_kv_heads=1, got 2"):
        train(config=str(train_config_file), **options, dry_run=dry_run)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "values", [{"shard": 3}, {"replicate": 3, "shard": 2}, {"context": 2, "tensor": 2, "shard": 2}]
)
def test_degrees_that_do_not_make_up_the_ranks_are_refused(values):
    with pytest.raises(ConfigError, match="to be the number of ranks, 4"):
        build_layout(ParallelConfig(**values), rank=0, world_size=4, device_type="cpu")


def test_float8_without_its_package_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.float8", None)
    with pytest.raises(
        MissingDependencyError, match=r"torchao is not installed. Run: pip install 'dolma-py\[float8\]'"
    ):
        build_parallel_model(MODEL, ParallelConfig(float8=True), Layout(), seed=0, device=CPU)


@pytest.mark.slow
def test_linears_of_16ths_are_converted_and_learn_nearly_the_same(monkeypatch):
    """Gradients of the first batch within 3 % of their norm of those in bfloat16: 8-bit numbers of 3 bits behind the point."""
    pytest.importorskip("torchao", reason="pip install 'dolma-py[float8]'")
    monkeypatch.setattr(
        rank_equality, "MODEL", MODEL.model_copy(update={"d_model": 64, "mlp_hidden": 128, "head_dim": 10})
    )
    model = build_parallel_model(rank_equality.MODEL, ParallelConfig(float8=True), Layout(), seed=0, device=CPU)
    kinds = {name: type(module).__name__ for name, module in model.named_modules() if hasattr(module, "in_features")}
    # 8 query heads of 10 are 80, 4 key heads 40
    assert kinds["blocks.0.attention.w_q"] == kinds["blocks.2.feed_forward.w2"] == "Float8Linear"
    assert kinds["blocks.0.attention.w_k"] == kinds["lm_head.w_out"] == "Linear"
    options = {"steps": 3, "autocast_dtype": torch.bfloat16}
    plain, found = (run_steps(ParallelConfig(float8=on), Layout(), **options) for on in (False, True))
    differences = compare(plain, found)
    assert differences.first_weights == 0
    assert 1e-3 < differences.gradients < 3e-2
    assert differences.loss < 0.05


@pytest.mark.slow
def test_a_sharded_float8_model_shows_plain_weights_and_takes_them():
    """What a checkpoint saves and loads in place: float32 tensors of torch, no tensors of torchao."""
    pytest.importorskip("torchao", reason="pip install 'dolma-py[float8]'")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1, 1, 1), mesh_dim_names=("replicate", "shard", "tensor"))
        config = MODEL.model_copy(update={"d_model": 64, "mlp_hidden": 128, "head_dim": 10})
        # two ranks by the numbers, so that it is sharded; over a mesh of one
        layout = Layout(shard=2, mesh=mesh)
        model = build_parallel_model(config, ParallelConfig(float8=True), layout, seed=0, device=CPU)
        state = model.state_dict()
        held = local_part(model.blocks[0].attention.w_q.weight.detach())
        assert type(held).__name__ == "WeightWithDynamicFloat8CastTensor"
        assert {type(local_part(value)) for value in state.values()} == {torch.Tensor}
        plain = build_model(config, seed=0).state_dict()
        assert all(torch.equal(local_part(state[name]), plain[name]) for name in plain)
        local_part(state["blocks.0.attention.w_q.weight"]).fill_(0.5)
        assert float(held._tensor.min()) == float(held._tensor.max()) == 0.5
    finally:
        dist.destroy_process_group()


def test_gradients_are_summed_in_messages_of_bounded_size(monkeypatch):
    """Small ones together, one of a message's size or more where it lies: no copy of all gradients beside them."""
    sent = []

    def double(tensor, group=None):
        sent.append((tensor.numel(), tensor.data_ptr()))
        tensor.mul_(2)

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", double)
    monkeypatch.setattr(distributed, "SUM_BYTES", 400)
    gradients = [torch.arange(float(size)) for size in (30, 60, 20, 250, 90, 100, 1, 40)]
    gradients.append(torch.arange(300.0).view(10, 30).T)  # not in order in memory: cannot be sent where it lies
    parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for gradient, parameter in zip(gradients, parameters, strict=True):
        parameter.grad = gradient.clone()
    distributed.sum_gradients([*parameters, torch.nn.Parameter(torch.zeros(5))])  # the last one has no gradient
    # with 20 more the first message would have 110 numbers, above 100
    assert [size for size, _ in sent] == [90, 250, 20, 100, 91, 40, 300]
    assert [sent[1][1], sent[3][1]] == [parameters[3].grad.data_ptr(), parameters[5].grad.data_ptr()]
    assert all(torch.equal(p.grad, 2 * gradient) for p, gradient in zip(parameters, gradients, strict=True))
