"""The chunked loss against the slow twin and torch's own, with gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import olmo3 as reference
from train_bridge.loss import LossConfig, linear_cross_entropy, shift_labels, token_nats


def draw(tokens=13, width=5, vocab=11, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    hidden = (scale * torch.randn(tokens, width, generator=generator)).requires_grad_()
    weight = (scale * torch.randn(vocab, width, generator=generator)).requires_grad_()
    labels = torch.randint(0, vocab, (tokens,), generator=generator)
    return hidden, weight, labels


@given(
    tokens=st.integers(1, 20),
    chunk=st.integers(1, 25),
    z_weight=st.sampled_from([0.0, 1e-5, 0.5]),
    ignored=st.sets(st.integers(0, 19)),
)
def test_losses_match_reference(tokens, chunk, z_weight, ignored):
    hidden, weight, labels = draw(tokens)
    labels[[i for i in ignored if i < tokens]] = -100
    got = linear_cross_entropy(hidden, weight, labels, config=LossConfig(z_weight=z_weight, chunk_tokens=chunk))
    logits = (hidden.detach().double() @ weight.detach().double().T).tolist()
    total, z, count = reference.losses(logits, labels.tolist(), z_weight)
    assert float(got.cross_entropy) == pytest.approx(total, abs=1e-4)
    assert float(got.z) == pytest.approx(z, abs=1e-4)
    assert float(got.total) == pytest.approx(total + z, abs=1e-4)
    assert int(got.num_labels) == count


@pytest.mark.parametrize("chunk", [1, 4, 13, 100])
@pytest.mark.parametrize("z_weight", [0.0, 0.1])
def test_gradients_match_autograd(chunk, z_weight):
    hidden, weight, labels = draw()
    labels[3] = -100
    got = linear_cross_entropy(hidden, weight, labels, config=LossConfig(z_weight=z_weight, chunk_tokens=chunk))
    gradients = torch.autograd.grad(got.total * 0.37, (hidden, weight))
    logits = hidden @ weight.T
    z = (z_weight * torch.logsumexp(logits, 1).square() * (labels != -100)).sum()
    plain = F.cross_entropy(logits, labels, reduction="sum", ignore_index=-100) + z
    expected = torch.autograd.grad(plain * 0.37, (hidden, weight))
    for left, right in zip(gradients, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-5)


def test_large_logits_stay_finite():
    hidden, weight, labels = draw(scale=60.0)
    got = linear_cross_entropy(hidden, weight, labels, config=LossConfig(chunk_tokens=4))
    assert math.isfinite(float(got.total))


def test_full_logits_never_exist(monkeypatch):
    """The largest tensor that the loss makes has one chunk's rows, or the gradient's shape."""
    hidden, weight, labels = draw(tokens=64, width=3, vocab=40)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.append(out.numel() if isinstance(out, torch.Tensor) else 0)
            return out

    with Watch():
        linear_cross_entropy(hidden, weight, labels, config=LossConfig(chunk_tokens=8)).total.backward()
    assert max(sizes) == 8 * 40  # and not 64 * 40


def test_autocast_uses_bfloat16_products():
    hidden, weight, labels = draw(tokens=32, width=64, vocab=200)
    plain = linear_cross_entropy(hidden, weight, labels, config=LossConfig())
    with torch.autocast("cpu", torch.bfloat16):
        cast = linear_cross_entropy(hidden, weight, labels, config=LossConfig())
    cast.total.backward()
    assert weight.grad.dtype == torch.float32
    assert float(cast.total) != float(plain.total)
    assert float(cast.total) == pytest.approx(float(plain.total), rel=0.02)  # bfloat16 keeps 8 bits


def test_labels_are_shifted_and_masked():
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    assert shift_labels(ids).tolist() == [[4, 5, -100], [7, 8, -100]]
    trained = torch.tensor([[True, False, True], [False, True, True]])
    assert shift_labels(ids, trained).tolist() == [[-100, 5, -100], [7, 8, -100]]


def test_token_nats_match_reference():
    hidden, weight, labels = draw()
    labels[2] = -100
    got = token_nats(hidden, weight, labels, chunk_tokens=4)
    logits = (hidden.detach().double() @ weight.detach().double().T).tolist()
    expected = [reference.losses([row], [label], 0.0)[0] for row, label in zip(logits, labels.tolist(), strict=True)]
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-5)
    assert len(token_nats(hidden[:0], weight, labels[:0], chunk_tokens=4)) == 0


def test_a_document_under_a_mask_ends_without_a_label():
    ids, documents = torch.tensor([[3, 4, 5, 6]]), torch.tensor([[0, 0, 1, 2]])
    assert shift_labels(ids, documents_BT=documents).tolist() == [[4, -100, -100, -100]]
    assert shift_labels(ids, torch.tensor([[True, False, True, True]]), documents_BT=documents).tolist() == [[-100] * 4]


def test_the_gradients_of_one_loss_are_taken_once():
    """They are scaled in place; a second time would scale them twice and say nothing."""
    hidden_ND, weight_VD = torch.randn(6, 4, requires_grad=True), torch.randn(8, 4, requires_grad=True)
    loss = linear_cross_entropy(hidden_ND, weight_VD, torch.arange(6), config=LossConfig()).total
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="gradients were taken already"):
        loss.backward()


@pytest.mark.parametrize("sums_gradients", [True, False])
def test_without_gradients_none_are_made(sums_gradients):
    """A parameter under no_grad, as in validation: no tensor of the weights' shape, one product in place of three, the same sums."""
    hidden, weight, labels = draw(tokens=64, width=3, vocab=40)
    weight, made = torch.nn.Parameter(weight.detach()), []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            made.append((func.overloadpacket.__name__, tuple(out.shape) if isinstance(out, torch.Tensor) else None))
            return out

    with torch.set_grad_enabled(sums_gradients), Watch():
        sums = linear_cross_entropy(hidden, weight, labels, config=LossConfig(chunk_tokens=16))
    assert ((("zeros_like", (40, 3)) in made), sums.total.requires_grad) == (sums_gradients, sums_gradients)
    assert sum(name in ("mm", "addmm_") for name, _ in made) == 4 * (3 if sums_gradients else 1)
    plain = linear_cross_entropy(hidden.detach(), weight, labels, config=LossConfig(chunk_tokens=16))
    assert torch.equal(plain.total, sums.total) and torch.equal(plain.z, sums.z)
