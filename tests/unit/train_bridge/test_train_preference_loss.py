"""Preference losses beside the slow twin; log-probs of labels beside torch's own, with gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import preference as reference
from train_bridge.loss import VocabularyShard
from train_bridge.preference_loss import PreferenceConfig, observe, preference_losses, sum_responses
from train_bridge.token_log_probs import linear_log_probs

SUMS = st.floats(-60, 0, allow_nan=False, width=32)
KINDS = ("dpo_norm", "dpo", "simpo", "wpo")


def settings(loss="dpo_norm", **values):
    return PreferenceConfig(loss=loss, max_tokens=16, **values)


@given(
    loss=st.sampled_from(KINDS),
    sums=st.lists(SUMS, min_size=4, max_size=4),
    labels=st.lists(st.integers(1, 40), min_size=2, max_size=2),
    beta=st.sampled_from([0.1, 1.0, 5.0]),
    smoothing=st.sampled_from([0.0, 0.1]),
    ratio=st.sampled_from([0.0, 0.3]),
)
def test_losses_and_rewards_match_the_twin(loss, sums, labels, beta, smoothing, ratio):
    config = settings(loss, beta=beta, label_smoothing=smoothing, gamma_beta_ratio=ratio)
    policy, known = (torch.tensor([part], dtype=torch.float64) for part in (sums[:2], sums[2:]))
    policy.requires_grad_()
    got = preference_losses(policy, None if loss == "simpo" else known, torch.tensor([labels]), config=config)
    wanted = reference.preference_losses(
        sums[:2], sums[2:], labels, loss=loss, beta=beta, smoothing=smoothing, ratio=ratio
    )
    assert (float(got.loss_P.detach()), *got.rewards_P2[0].tolist()) == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    got.loss_P.sum().backward()
    slopes = reference.preference_slopes(
        sums[:2], sums[2:], labels, loss=loss, beta=beta, smoothing=smoothing, ratio=ratio
    )
    assert policy.grad[0].tolist() == pytest.approx(slopes, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("loss", ["dpo_norm", "dpo"])
def test_a_policy_that_is_its_reference_has_the_log_of_two(loss):
    sums = torch.tensor([[-3.0, -8.0], [-1.0, -1.0]], dtype=torch.float64)
    got = preference_losses(sums, sums, torch.tensor([[3, 5], [1, 2]]), config=settings(loss))
    assert got.loss_P.tolist() == pytest.approx([math.log(2)] * 2)
    assert observe(got)[:4].tolist() == [0.0, 0.0, 0.0, 0.0]  # equal rewards are no success


@pytest.mark.parametrize("loss", KINDS)
def test_the_gradient_raises_chosen_and_lowers_rejected(loss):
    policy = torch.tensor([[-3.0, -8.0]], dtype=torch.float64, requires_grad=True)
    known = torch.tensor([[-4.0, -6.0]], dtype=torch.float64)
    preference_losses(policy, known, torch.tensor([[3, 5]]), config=settings(loss)).loss_P.sum().backward()
    assert policy.grad[0, 0] < 0 < policy.grad[0, 1]


def test_twice_as_many_tokens_of_the_same_log_prob_change_no_mean():
    policy, known = torch.tensor([[-3.0, -8.0]]), torch.tensor([[-4.0, -6.0]])
    once = preference_losses(policy, known, torch.tensor([[3, 5]]), config=settings())
    twice = preference_losses(2 * policy, 2 * known, torch.tensor([[6, 10]]), config=settings())
    assert float(once.loss_P) == float(twice.loss_P)
    sums = [
        preference_losses(k * policy, k * known, torch.tensor([[3, 5]]), config=settings("dpo")).loss_P for k in (1, 2)
    ]
    assert float(sums[0]) != float(sums[1])


def test_the_weight_of_wpo_has_no_gradient():
    policy = torch.tensor([[-3.0, -8.0]], dtype=torch.float64, requires_grad=True)
    known, labels = torch.tensor([[-4.0, -6.0]], dtype=torch.float64), torch.tensor([[3, 5]])
    gradients = [
        torch.autograd.grad(preference_losses(policy, known, labels, config=settings(loss)).loss_P.sum(), policy)[0]
        for loss in ("dpo", "wpo")
    ]
    weight = math.exp(-3 / 3 - 8 / 5)
    torch.testing.assert_close(gradients[1], weight * gradients[0])


def test_what_is_observed():
    policy = torch.tensor([[-2.0, -9.0], [-6.0, -3.0]], dtype=torch.float64)
    known = torch.tensor([[-4.0, -6.0], [-4.0, -6.0]], dtype=torch.float64)
    got = preference_losses(policy, known, torch.tensor([[2, 3], [2, 3]]), config=settings(beta=1.0))
    # rewards: 1, -1 and -1, 1; accuracy counts one; means of the policy: -1, -3 and -3, -1
    assert observe(got).tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0, -4.0, -4.0])


@given(values=st.lists(st.tuples(SUMS, st.integers(0, 4)), max_size=30))
def test_tokens_are_summed_by_response(values):
    log_probs = torch.tensor([value for value, _ in values], dtype=torch.float32)
    numbers = torch.tensor([number for _, number in values], dtype=torch.int64)
    got = sum_responses(log_probs, numbers, num_responses=4)
    wanted = reference.sum_responses([value for value, _ in values], [number for _, number in values], 4)
    assert got.tolist() == pytest.approx(wanted, abs=1e-9)


def draw(tokens=13, width=5, vocab=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, width, generator=generator).requires_grad_()
    weight = torch.randn(vocab, width, generator=generator).requires_grad_()
    return hidden, weight, torch.randint(0, vocab, (tokens,), generator=generator)


@given(tokens=st.integers(0, 20), chunk=st.integers(1, 25), ignored=st.sets(st.integers(0, 19)))
def test_log_probs_and_gradients_are_torchs(tokens, chunk, ignored):
    hidden, weight, labels = draw(tokens)
    labels[[i for i in ignored if i < tokens]] = -100
    slopes = torch.linspace(-1, 2, tokens)
    got = linear_log_probs(hidden, weight, labels, chunk_tokens=chunk)
    plain = torch.log_softmax(hidden @ weight.T, dim=1).gather(1, labels.clamp(min=0)[:, None])[:, 0] * (labels >= 0)
    torch.testing.assert_close(got, plain, rtol=0, atol=1e-5)
    gradients = [torch.autograd.grad((slopes * one).sum(), (hidden, weight)) for one in (got, plain)]
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=2e-5)


def test_full_logits_never_exist():
    hidden, weight, labels = draw(tokens=64, width=3, vocab=40)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.append(out.numel() if isinstance(out, torch.Tensor) else 0)
            return out

    with Watch():
        linear_log_probs(hidden, weight, labels, chunk_tokens=8).sum().backward()
    assert max(sizes) == 8 * 40


def test_autocast_uses_bfloat16_products():
    hidden, weight, labels = draw(tokens=32, width=64, vocab=200)
    plain = linear_log_probs(hidden, weight, labels, chunk_tokens=16)
    with torch.autocast("cpu", torch.bfloat16):
        cast = linear_log_probs(hidden, weight, labels, chunk_tokens=16)
    cast.sum().backward()
    assert weight.grad.dtype == hidden.grad.dtype == torch.float32 and cast.dtype == torch.float32
    assert not torch.equal(cast, plain)
    torch.testing.assert_close(cast, plain, rtol=0.03, atol=0.3)


def test_parts_of_the_vocabulary_make_up_the_whole(monkeypatch):
    """Two ranks in turn; what they tell each other is taken from the whole."""
    hidden, weight, labels = draw()
    whole = linear_log_probs(hidden, weight, labels, chunk_tokens=13)
    logits = (hidden @ weight.T).detach()
    expected = torch.autograd.grad(whole.sum(), (hidden, weight))
    grad_hidden, grad_weights = 0.0, []
    for first, end in ((0, 6), (6, 11)):
        largest = logits.amax(1, keepdim=True)

        def all_reduce(tensor, op=None, group=None, largest=largest):
            if tensor.shape[1] == 1:
                tensor.copy_(largest)
            else:
                tensor[:, :1] = (logits - largest).exp().sum(1, keepdim=True)
                tensor[:, 1:] = logits.gather(1, labels[:, None])

        monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
        part = weight[first:end].detach().requires_grad_()
        got = linear_log_probs(hidden, part, labels, chunk_tokens=13, shard=VocabularyShard(first, None))
        torch.testing.assert_close(got, whole, rtol=0, atol=1e-5)
        gradients = torch.autograd.grad(got.sum(), (hidden, part))
        grad_hidden = grad_hidden + gradients[0]
        grad_weights.append(gradients[1])
    torch.testing.assert_close(grad_hidden, expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.cat(grad_weights), expected[1], rtol=0, atol=1e-5)
