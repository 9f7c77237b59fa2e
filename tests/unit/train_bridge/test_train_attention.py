"""Masks and attention against the slow twin; rotary frequencies against published values."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import olmo3 as reference
from train_bridge.attention import attend, document_ids_from_eos, document_ids_from_offsets, visible_keys
from train_bridge.rope import YarnConfig, attention_factor, inverse_frequencies, rotate, rotation_table


@pytest.mark.parametrize("window", [1, 3, 4096, None])
def test_window_rows_sum_to_their_visible_tokens(window):
    num_tokens = 5000 if window == 4096 else 10
    positions = torch.arange(num_tokens)
    sums = visible_keys(positions, positions, window_tokens=window).sum(dim=1)
    assert sums.tolist() == [min(i + 1, window or num_tokens) for i in range(num_tokens)]


@given(st.integers(1, 20), st.one_of(st.none(), st.integers(1, 25)))
def test_visible_keys_match_reference(num_tokens, window):
    positions = torch.arange(num_tokens)
    got = visible_keys(positions, positions, window_tokens=window).numpy()
    np.testing.assert_array_equal(got, reference.visible_keys(num_tokens, window))


@given(
    tokens=st.integers(1, 24),
    window=st.one_of(st.none(), st.integers(1, 30)),
    group=st.sampled_from([1, 2, 3]),
    num_documents=st.one_of(st.none(), st.integers(1, 5)),
    seed=st.integers(0, 1000),
)
def test_attend_matches_reference(tokens, window, group, num_documents, seed):
    """Blocks, masks and the plain causal path, chosen by shape, all give the same sums."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(2, 2 * group, tokens, 6, generator=generator)
    k, v = torch.randn(2, 2, tokens, 6, generator=generator), torch.randn(2, 2, tokens, 6, generator=generator)
    documents = None
    if num_documents is not None:
        documents = torch.randint(0, num_documents, (2, tokens), generator=generator).sort(dim=1).values
    got = attend(q, k, v, window_tokens=window, documents_BT=documents)
    for row in range(2):
        parts = [part[row].double().numpy() for part in (q, k, v)]
        expected = reference.attend(*parts, window, None if documents is None else documents[row].tolist())
        # float32 softmax over at most 24 keys of values near 1
        np.testing.assert_allclose(got[row].numpy(), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("with_documents", [False, True])
@pytest.mark.parametrize(("tokens", "window"), [(12, 3), (8, 4), (5, 1), (12, 5)])
def test_blocks_match_reference(tokens, window, with_documents):
    """All but the last shape are cut into blocks; zeros stand before the first block and must not be seen."""
    generator = torch.Generator().manual_seed(4)
    q, k, v = (torch.randn(2, heads, tokens, 4, generator=generator) for heads in (4, 2, 2))
    documents = torch.arange(tokens).expand(2, -1) // 5 if with_documents else None
    got = attend(q, k, v, window_tokens=window, documents_BT=documents)
    for row in range(2):
        parts = [part[row].double().numpy() for part in (q, k, v)]
        expected = reference.attend(*parts, window, None if documents is None else documents[row].tolist())
        np.testing.assert_allclose(got[row].numpy(), expected, rtol=0, atol=3e-6)


def test_blocks_have_the_gradients_of_the_mask():
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(2, heads, 12, 4, generator=generator, requires_grad=True) for heads in (4, 2, 2)]
    gradients = []
    for tokens in (12, 11):  # 12 is a multiple of the window of 3: blocks; 11 is not: a mask
        out = attend(*[part[:, :, :tokens] for part in parts], window_tokens=3)[:, :, :11]
        gradients.append(torch.autograd.grad(out.square().sum(), parts))
    for blocks, mask in zip(*gradients, strict=True):
        torch.testing.assert_close(blocks[:, :, :9], mask[:, :, :9], rtol=0, atol=1e-5)


def test_document_ids_agree():
    ids = torch.tensor([[5, 0, 7, 8, 0]])
    assert document_ids_from_eos(ids, 0).tolist() == [[0, 0, 1, 1, 1]]
    assert document_ids_from_offsets(torch.tensor([0, 2, 5])).tolist() == [[0, 0, 1, 1, 1]]


PUBLISHED = {
    0: 1.0,
    1: 0.8146172338565447,
    18: 0.024955408670558694,
    19: 0.01928275493783198,
    26: 0.00284671843865876,
    30: 0.0008148398229369278,
    34: 0.00016561303594542006,
    35: 9.556212353964683e-05,
    63: 3.068925988914511e-07,
}


@pytest.mark.parametrize(("pair", "expected"), PUBLISHED.items())
def test_yarn_frequencies_are_the_published_ones(pair, expected):
    got = inverse_frequencies(128, theta=500_000.0, yarn=YarnConfig())
    assert float(got[pair]) == pytest.approx(expected, rel=1e-12)


def test_yarn_attention_factor_is_the_published_one():
    assert attention_factor(YarnConfig()) == pytest.approx(1.2079441541679836, rel=1e-15)
    assert attention_factor(None) == 1.0


@given(st.sampled_from([2, 4, 16, 128]), st.floats(10, 1e6), st.one_of(st.none(), st.sampled_from([(8, 32, 1, 8192)])))
def test_frequencies_match_reference(head_dim, theta, yarn):
    config = yarn and YarnConfig(factor=yarn[0], beta_fast=yarn[1], beta_slow=yarn[2], original_context_tokens=yarn[3])
    got = inverse_frequencies(head_dim, theta=theta, yarn=config).numpy()
    low_and_high_differ = True
    try:
        expected = reference.inverse_frequencies(head_dim, theta, yarn)
    except ZeroDivisionError:
        low_and_high_differ = False
    if low_and_high_differ:
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert np.isfinite(got).all()


def test_rotation_matches_reference_and_keeps_dtype():
    x = torch.randn(1, 1, 9, 8, generator=torch.Generator().manual_seed(2))
    cos, sin = rotation_table(torch.arange(9), 8, theta=1000.0, yarn=None)
    frequencies = reference.inverse_frequencies(8, 1000.0)
    expected = [reference.rotate(x[0, 0, t].double().numpy(), t, frequencies) for t in range(9)]
    np.testing.assert_allclose(rotate(x, cos, sin)[0, 0].numpy(), expected, rtol=0, atol=1e-5)
    assert rotate(x.bfloat16(), cos, sin).dtype == torch.bfloat16


def test_rotated_products_depend_on_distance_only():
    q, k = torch.randn(2, 64, generator=torch.Generator().manual_seed(3))
    cos, sin = rotation_table(torch.tensor([2, 7, 502, 507]), 64, theta=500_000.0, yarn=None)
    products = [
        rotate(q.expand(1, 1, 1, -1), cos[i : i + 1], sin[i : i + 1]).flatten()
        @ rotate(k.expand(1, 1, 1, -1), cos[j : j + 1], sin[j : j + 1]).flatten()
        for i, j in ((1, 0), (3, 2))
    ]
    assert float(products[0]) == pytest.approx(float(products[1]), abs=1e-3)
