"""AdamW against torch's, and the rule that leaves steps out."""

import math

import pytest
import torch

from dolma_py.config import build_config
from dolma_py.errors import ConfigError
from train_bridge.model import ModelConfig, build_model
from train_bridge.optimizer import OptimizerConfig, SkipStepAdamW, build_optimizer, is_spike
from train_bridge.presets import preset_values

CALM, NORM = torch.tensor(1.0), torch.tensor(0.5)


def one_weight(**settings):
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = SkipStepAdamW([{"params": [weight]}], OptimizerConfig(**settings))
    optimizer.param_groups[0]["lr"] = 0.1
    return weight, optimizer


def feed(optimizer, weight, *, loss, steps=1, norm=NORM):
    taken = []
    for number in range(steps):
        weight.grad = torch.tensor([0.3, -0.1, 0.7]) * (1 + number % 3)
        taken.append(float(optimizer.step(loss=loss + 0.01 * (number % 2), grad_norm=norm + 0.01 * (number % 2))))
    return taken


def test_updates_match_torch():
    weight, ours = one_weight(weight_decay=0.1)
    other = torch.nn.Parameter(weight.detach().clone())
    theirs = torch.optim.AdamW([other], lr=0.1, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for step in range(20):
        weight.grad = torch.tensor([0.3, -0.1, 0.7]) * math.sin(step + 1)
        other.grad = weight.grad.clone()
        ours.step(loss=CALM, grad_norm=NORM)
        theirs.step()
    torch.testing.assert_close(weight, other, rtol=2e-6, atol=0)


def test_counter_advances_with_taken_steps():
    """A counter stuck at 1 would leave the update sqrt(0.05) / 0.1 = 2.236 times too large."""
    weight, optimizer = one_weight(weight_decay=0.0)
    feed(optimizer, weight, loss=CALM, steps=40)
    assert float(optimizer.num_updates) == 40
    state = optimizer.state[weight]
    before = weight.detach().clone()
    feed(optimizer, weight, loss=CALM)
    mean, square = state["exp_avg"] / (1 - 0.9**41), state["exp_avg_sq"] / (1 - 0.95**41)
    torch.testing.assert_close(before - weight, 0.1 * mean / (square.sqrt() + 1e-8), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("steps", [0, 63])
def test_nothing_is_skipped_before_64_steps(steps):
    weight, optimizer = one_weight()
    feed(optimizer, weight, loss=CALM, steps=steps)
    assert feed(optimizer, weight, loss=CALM + 1000) == [1.0]


@pytest.mark.parametrize(("loss", "norm"), [(1001.0, 0.5), (1.0, 500.0)])
def test_a_skipped_step_changes_nothing(loss, norm):
    weight, optimizer = one_weight()
    feed(optimizer, weight, loss=CALM, steps=64)
    state = optimizer.state[weight]
    before = [
        value.clone() for value in (weight.detach(), state["exp_avg"], state["exp_avg_sq"], optimizer.num_updates)
    ]
    assert feed(optimizer, weight, loss=torch.tensor(loss), norm=torch.tensor(norm)) == [0.0]
    after = (weight.detach(), state["exp_avg"], state["exp_avg_sq"], optimizer.num_updates)
    for left, right in zip(before, after, strict=True):
        assert torch.equal(left, right)
    assert feed(optimizer, weight, loss=CALM) == [1.0]
    assert float(optimizer.num_updates) == 65


def test_spike_is_measured_in_sample_deviations():
    history = torch.tensor([1.0, 3.0])  # mean 2, sample deviation 1.41421: the border is 10.48528
    for value, expected in ((10.485, False), (10.486, True), (-100.0, False)):
        assert bool(is_spike(history, torch.tensor(value), sigma=6, min_steps=2)) is expected


@pytest.mark.parametrize(("deviations", "taken"), [(5.9, 1.0), (6.1, 0.0)])
@pytest.mark.parametrize("which", ["loss", "norm"])
def test_six_deviations_are_too_many(deviations, taken, which):
    """By the defaults: of 64 values half at a, half at a + 0.01 the sample deviation is 0.005 * sqrt(64 / 63)."""
    weight, optimizer = one_weight()
    feed(optimizer, weight, loss=CALM, steps=64)
    far = 0.005 + deviations * 0.005 * math.sqrt(64 / 63)
    values = {"loss": CALM, "norm": NORM}
    assert feed(optimizer, weight, **{**values, which: values[which] + far}) == [taken]


def test_a_skip_rule_that_can_never_fire_is_refused():
    with pytest.raises(ConfigError, match="skip_min_steps: expected at most skip_window_steps, 32") as caught:
        build_config(OptimizerConfig, {"skip_window_steps": 32})
    assert (caught.value.key, caught.value.got) == ("skip_min_steps", 64)
    # at the border it fires: all 32 are remembered
    weight, optimizer = one_weight(skip_window_steps=32, skip_min_steps=32)
    feed(optimizer, weight, loss=CALM, steps=40)
    assert feed(optimizer, weight, loss=CALM + 1000) == [0.0]


def test_only_the_last_128_steps_count():
    weight, optimizer = one_weight()
    feed(optimizer, weight, loss=CALM, steps=200)
    assert optimizer.loss_history.shape == optimizer.norm_history.shape == (128,)


def test_decay_spares_the_input_embedding_alone():
    config = ModelConfig(**{**preset_values("ladder_1m"), "vocab_size": 128})
    model = build_model(config, seed=0)
    optimizer = build_optimizer(model, OptimizerConfig())
    decayed, spared = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
    names = {name for name, parameter in model.named_parameters() if id(parameter) in spared}
    assert names == {"embeddings.weight"}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert len(decayed) + len(spared) == len(list(model.parameters()))


def test_state_round_trip_goes_on_bit_for_bit():
    weight, optimizer = one_weight()
    feed(optimizer, weight, loss=CALM, steps=70)
    copy, resumed = one_weight()
    with torch.no_grad():
        copy.copy_(weight)
    resumed.load_state_dict(optimizer.state_dict())
    for each_weight, each in ((weight, optimizer), (copy, resumed)):
        feed(each, each_weight, loss=CALM, steps=5)
        feed(each, each_weight, loss=CALM + 1000)
    assert torch.equal(weight, copy)
    assert torch.equal(optimizer.loss_history, resumed.loss_history)


def test_parameters_without_a_gradient_are_left_alone():
    model = torch.nn.Sequential(*(torch.nn.Linear(size, 3) for size in (2, 9, 4)))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.01)
    model[1].bias.grad = None
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = build_optimizer(model, OptimizerConfig())
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step(loss=CALM, grad_norm=NORM)
    unchanged = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert unchanged == [parameter is model[1].bias for parameter in model.parameters()]
    assert len(optimizer.state) == 5


def test_an_update_needs_no_memory_beside_the_moments():
    """Temporaries of the size of the weights would be gigabytes on a GPU that the moments have filled."""
    weight = torch.nn.Parameter(torch.ones(1000))
    weight.grad = torch.ones(1000)
    optimizer = SkipStepAdamW([{"params": [weight]}], OptimizerConfig())
    optimizer.step(loss=CALM, grad_norm=NORM)  # the moments
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer.step(loss=CALM, grad_norm=NORM)
    assert 0 < max(event.cpu_memory_usage for event in profile.events()) < 1000
