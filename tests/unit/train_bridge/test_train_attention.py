"""Masks and the three back ends of attention against the slow twin; rotary frequencies against published values."""

import contextlib
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask

from dolma_py.errors import ConfigError
from tests.reference import attention as attention_twin
from tests.reference import olmo3 as reference
from train_bridge import attention_flex
from train_bridge.attention import (
    Visibility,
    document_ids_from_eos,
    document_ids_from_offsets,
    document_starts,
    prepare_attention,
    visible_keys,
)
from train_bridge.attention_sdpa import _gradients_again, prepare_sdpa
from train_bridge.rope import YarnConfig, attention_factor, inverse_frequencies, rotate, rotation_table

CPU = torch.device("cpu")


def attend(q, k, v, *, window_tokens, documents_BT=None, backend="sdpa"):
    visibility = Visibility(q.shape[2], window_tokens, documents_BT)
    return prepare_attention(visibility, backend=backend, device=CPU)(q, k, v)


def random_parts(tokens, *, rows=2, heads=4, kv_heads=2, dim=6, seed=4):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, number, tokens, dim, generator=generator) for number in (heads, kv_heads, kv_heads)]


def assert_matches_twin(got, q, k, v, window, documents=None):
    for row in range(len(q)):
        parts = [part[row].double().numpy() for part in (q, k, v)]
        expected = attention_twin.attend(*parts, window, None if documents is None else documents[row].tolist())
        # float32 softmax over few keys of values near 1
        np.testing.assert_allclose(got[row].numpy(), expected, rtol=0, atol=3e-6)


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
    np.testing.assert_array_equal(got, attention_twin.visible_keys(num_tokens, window))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12).map(sorted))
def test_document_starts_match_reference(documents):
    assert document_starts(torch.tensor([documents])).tolist() == [attention_twin.document_starts(documents)]


@contextlib.contextmanager
def flash_stand_in():
    """flash_attn as its documentation describes it, by the twin: (B, T, heads, E), window (left, right) without the query.

    It stands for the package, which needs a GPU; what is tested is how we call it. 32 bits pass, so that the bound is the same.
    """

    def twin(q, k, v, causal, window_size):
        left, right = window_size
        assert causal and (left, right) in {(-1, -1), (left, 0)}
        # fewer queries than keys: the last stands at the last key
        num_missing = len(k) - len(q)
        q = torch.cat((q.new_zeros(num_missing, *q.shape[1:]), q))
        parts = [x.transpose(0, 1).double().numpy() for x in (q, k, v)]
        out = attention_twin.attend(*parts, None if left < 0 else left + 1)
        return torch.from_numpy(out).float().transpose(0, 1)[num_missing:]

    def flash_attn_func(q, k, v, *, causal, window_size):
        return torch.stack([twin(*row, causal, window_size) for row in zip(q, k, v, strict=True)])

    def flash_attn_varlen_func(q, k, v, *lengths, causal, window_size):
        cu_q, cu_k, max_q, max_k = lengths
        pieces = []
        for offsets, longest, x in ((cu_q, max_q, q), (cu_k, max_k, k)):
            assert offsets.dtype == torch.int32 and offsets[0] == 0 and offsets[-1] == len(x)
            assert longest == int(offsets.diff().max()) and offsets.diff().min() >= 0
            pieces.append([slice(a, b) for a, b in zip(offsets.tolist(), offsets.tolist()[1:], strict=False)])
        return torch.cat([twin(q[a], k[b], v[b], causal, window_size) for a, b in zip(*pieces, strict=True)])

    module = types.SimpleNamespace(flash_attn_func=flash_attn_func, flash_attn_varlen_func=flash_attn_varlen_func)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "flash_attn", module)
        patch.setattr("train_bridge.attention_flash._check_dtype", lambda q: None)
        yield


SHAPES = {
    "tokens": st.integers(1, 24),
    "window": st.one_of(st.none(), st.integers(1, 30)),
    "group": st.sampled_from([1, 2, 3]),
    "num_documents": st.one_of(st.none(), st.integers(1, 5)),
    "seed": st.integers(0, 1000),
}


def check_backend(backend, tokens, window, group, num_documents, seed):
    q, k, v = random_parts(tokens, heads=2 * group, seed=seed)
    documents = None
    if num_documents is not None:
        generator = torch.Generator().manual_seed(seed)
        documents = torch.randint(0, num_documents, (2, tokens), generator=generator).sort(dim=1).values
    got = attend(q, k, v, window_tokens=window, documents_BT=documents, backend=backend)
    assert_matches_twin(got, q, k, v, window, documents)


@given(**SHAPES)
def test_sdpa_matches_reference(**shape):
    """Masks and the plain causal path, chosen by shape, give the same sums."""
    check_backend("sdpa", **shape)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize(("tokens", "window", "num_documents"), [(24, 5, 3), (23, None, 3), (9, 4, None)])
def test_flex_matches_reference(tokens, window, num_documents):
    """Few shapes: uncompiled it takes a second for each."""
    check_backend("flex", tokens, window, 2, num_documents, seed=1)


@settings(max_examples=60)
@given(
    tokens=st.integers(1, 700),
    window=st.one_of(st.none(), st.integers(1, 700)),
    lengths=st.one_of(st.none(), st.lists(st.integers(1, 300), min_size=1, max_size=8)),
    cut=st.one_of(st.none(), st.tuples(st.integers(0, 699), st.integers(1, 700))),
)
def test_block_masks_are_those_that_torch_finds_pair_by_pair(tokens, window, lengths, cut):
    documents, queries = None, None
    if lengths is not None:
        numbers = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        documents = torch.stack([numbers.repeat(tokens)[:tokens].sort().values, torch.arange(tokens) // 37])
    if cut is not None:
        first = cut[0] % tokens
        queries = (first, first + 1 + cut[1] % (tokens - first))
    first, end = queries or (0, tokens)

    def is_visible(row, head, query, key):
        query = query + first
        seen = (key <= query) & (query - key < (window or tokens))
        return seen if documents is None else seen & (documents[row, query] == documents[row, key])

    rows = None if documents is None else 2
    expected = create_block_mask(is_visible, rows, None, end - first, tokens, device="cpu")
    got = attention_flex._block_mask(Visibility(tokens, window, documents, queries), CPU, is_visible)
    assert got.shape == expected.shape and got.BLOCK_SIZE == expected.BLOCK_SIZE
    for kind in ("", "full_"):
        for side in ("kv", "q"):
            numbers = [getattr(mask, f"{kind}{side}_num_blocks") for mask in (got, expected)]
            assert torch.equal(*numbers), (kind, side)
            indices = [getattr(mask, f"{kind}{side}_indices") for mask in (got, expected)]
            is_used = torch.arange(indices[0].shape[-1]) < numbers[0][..., None]
            assert torch.equal(indices[0][is_used], indices[1][is_used]), (kind, side)
            assert indices[0].dtype == indices[1].dtype and indices[0].shape == indices[1].shape


@settings(max_examples=25)
@given(**SHAPES)
def test_flash_is_called_as_it_documents(**shape):
    with flash_stand_in():
        check_backend("flash", **shape)


@contextlib.contextmanager
def cut_into_chunks(size):
    """Chunks of so many tokens, for sequences of any length."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_WHOLE_TOKENS", 0), ("_MIN_CHUNK_TOKENS", size), ("_MAX_CHUNK_TOKENS", size)):
            patch.setattr(f"train_bridge.attention_sdpa.{name}", value)
        yield


def assert_gradients_match_twin(got, q, k, v, window, documents, *, seed):
    """Of one row: values, and gradients of q, k and v for random weights of the values."""
    assert_matches_twin(got.detach(), q.detach(), k.detach(), v.detach(), window, documents)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(seed))
    gradients = torch.autograd.grad((got * weights).sum(), (q, k, v))
    parts = [part[0].detach().double().numpy() for part in (q, k, v, weights)]
    expected = attention_twin.attend_gradients(*parts, window, None if documents is None else documents[0].tolist())
    for found, known in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(found[0].numpy(), known, rtol=0, atol=2e-5)


@settings(max_examples=30)
@given(
    tokens=st.integers(1, 40),
    window=st.one_of(st.none(), st.integers(1, 45)),
    num_documents=st.one_of(st.none(), st.integers(1, 6)),
    chunk=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_chunks_match_reference_with_gradients(tokens, window, num_documents, chunk, seed):
    """Chunks of any length, as long sequences have them: values and gradients of q, k and v."""
    q, k, v = (part.requires_grad_() for part in random_parts(tokens, rows=1, dim=3, seed=seed))
    documents = None
    if num_documents is not None:
        generator = torch.Generator().manual_seed(seed)
        documents = torch.randint(0, num_documents, (1, tokens), generator=generator).sort(dim=1).values
    visibility = Visibility(tokens, None if window is None or window >= tokens else window, documents)
    with cut_into_chunks(chunk):
        got = prepare_sdpa(visibility, CPU)(q, k, v)
    assert_gradients_match_twin(got, q, k, v, window, documents, seed=seed)


def test_chunks_take_any_strides():
    """Vectors whose numbers are not side by side, and the gradient of a sum, which is one number seen everywhere."""
    plain = random_parts(300, rows=1)
    answers = []
    for turn in (lambda part: part, lambda part: part.transpose(2, 3).contiguous().transpose(2, 3)):
        q, k, v = (turn(part).requires_grad_() for part in plain)
        out = attend(q, k, v, window_tokens=20, documents_BT=None)
        answers.append((out, *torch.autograd.grad(out.sum(), (q, k, v))))
        weighted = torch.autograd.grad((attend(q, k, v, window_tokens=20, documents_BT=None) * torch.ones(1)).sum(), q)[
            0
        ]
        torch.testing.assert_close(weighted, answers[-1][1], rtol=0, atol=1e-6)
    whole = [part.clone().requires_grad_() for part in plain]
    mask = torch.from_numpy(attention_twin.visible_keys(300, 20))
    out = torch.nn.functional.scaled_dot_product_attention(*whole, attn_mask=mask, enable_gqa=True)
    expected = (out, *torch.autograd.grad(out.sum(), whole))
    for answer in answers:
        for found, known in zip(answer, expected, strict=True):
            torch.testing.assert_close(found, known, rtol=0, atol=2e-5)


@pytest.mark.parametrize("with_documents", [False, True])
@pytest.mark.parametrize(("tokens", "window"), [(700, 100), (515, 300), (600, None), (257, 256)])
def test_long_sequences_are_cut_and_give_the_masks_sums(tokens, window, with_documents):
    """Longer than one masked call takes; against one call with the whole mask."""
    q, k, v = random_parts(tokens)
    documents = torch.arange(2)[:, None] + torch.arange(tokens) // 90 if with_documents else None
    mask = torch.from_numpy(attention_twin.visible_keys(tokens, window))
    if documents is not None:
        mask = mask & (documents[:, None, :, None] == documents[:, None, None, :])
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    got = attend(q, k, v, window_tokens=window, documents_BT=documents)
    assert float((got - expected).abs().max()) < 2e-6


def test_a_chunk_meets_no_key_that_none_of_its_queries_sees():
    """What a window and documents save: pairs of 4,096 tokens in chunks, out of 16.8 million."""

    def num_pairs(window, documents=None):
        chunks = prepare_sdpa(Visibility(4096, window, documents), CPU).chunks
        return sum(chunk.visible.shape[-2] * chunk.visible.shape[-1] for chunk in chunks)

    assert num_pairs(512) < 4096 * (512 + 64)
    documents = torch.arange(4096)[None] // 256
    assert num_pairs(None, documents) == 16 * 256**2
    assert num_pairs(512, documents) < 4096 * 320


def test_chunks_with_a_window_alone_share_their_masks():
    """8 chunks of 64 grow to the window, one mask serves the other 55, the last is shorter: memory follows the window, not T."""
    attend = prepare_sdpa(Visibility(64 * 64 + 5, 512), CPU)
    attend(*random_parts(64 * 64 + 5, rows=1, heads=2, dim=2))
    masks = attend.masks[torch.float32]
    assert (len(masks), len({mask.data_ptr() for mask in masks})) == (65, 10)


def test_chunks_keep_no_copies_of_the_keys_they_met():
    """A window of 256 in chunks of 64: each key is met by five chunks, and kept once."""
    q, k, v = (torch.randn(1, heads, 1024, 16, requires_grad=True) for heads in (4, 2, 2))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.nbytes) or tensor, lambda x: x):
        attend(q, k, v, window_tokens=256)
    log_sums = 4 * 4 * 1024
    assert sum(kept) == 2 * q.nbytes + k.nbytes + v.nbytes + log_sums


def test_gradients_made_again_are_those_of_the_cpu_kernel():
    """What other devices do in the backward pass of chunks."""
    torch.manual_seed(1)
    q, k, v = (torch.randn(1, heads, 512, 8, requires_grad=True) for heads in (4, 2, 2))
    grad = torch.randn(1, 4, 512, 8)
    (attend(q, k, v, window_tokens=64) * grad).sum().backward()
    chunk = [piece.detach()[:, :, 448:512] if piece is q else piece.detach()[:, :, 384:512] for piece in (q, k, v)]
    visible = visible_keys(torch.arange(448, 512), torch.arange(384, 512), window_tokens=64)
    mask = torch.zeros(64, 128).masked_fill(~visible, float("-inf"))
    again = _gradients_again(tuple(chunk), mask, grad[:, :, 448:512])
    assert torch.allclose(again[0], q.grad[:, :, 448:512], atol=1e-5)
    # no other chunk meets the last keys
    assert torch.allclose(again[1][:, :, 64:], k.grad[:, :, 448:512], atol=1e-5)
    assert torch.allclose(again[2][:, :, 64:], v.grad[:, :, 448:512], atol=1e-5)


def test_document_numbers_that_fall_are_refused():
    q, k, v = random_parts(3)
    with pytest.raises(ValueError, match="never fall"):
        attend(q, k, v, window_tokens=None, documents_BT=torch.tensor([[0, 1, 0], [0, 0, 0]]))


def test_flex_skips_blocks_that_nobody_sees():
    """1,024 tokens are 8 blocks of 128: 36 causal pairs of blocks, 15 with a window of 128, 12 with documents of 256."""
    seen = []

    def keep_mask(q, k, v, *, block_mask, enable_gqa):
        seen.append(int(block_mask.kv_num_blocks.sum() + block_mask.full_kv_num_blocks.sum()))
        return q

    parts = [torch.zeros(1, 1, 1024, 4)] * 3
    documents = torch.arange(1024)[None] // 256
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_flex, "flex_attention", keep_mask)
        for window, documents_BT in ((None, None), (128, None), (None, documents)):
            attend(*parts, window_tokens=window, documents_BT=documents_BT, backend="flex")
    assert seen == [36, 15, 12]


def test_flex_refuses_gradients_on_a_cpu():
    q, k, v = random_parts(8)
    with pytest.raises(ConfigError, match="expected a GPU where gradients are needed"):
        attend(q.requires_grad_(), k, v, window_tokens=None, backend="flex")


def test_flash_without_its_package_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    with pytest.raises(ConfigError, match="Use sdpa or flex, or: pip install flash-attn"):
        attend(*random_parts(8), window_tokens=None, backend="flash")


def test_flash_refuses_float32(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", types.SimpleNamespace())
    with pytest.raises(ConfigError, match="these are float32.* Set run.precision=bfloat16"):
        attend(*random_parts(8), window_tokens=None, backend="flash")


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["sdpa", "flex", "flash"])
@pytest.mark.parametrize("window", [None, 200])
@pytest.mark.parametrize("with_documents", [False, True])
def test_back_ends_match_reference_on_a_gpu_with_gradients(backend, window, with_documents):
    """bfloat16 against the masks' sums in float64; 3e-2 is 4 units in the last place of values near 2."""
    if backend == "flash":
        pytest.importorskip("flash_attn", reason="not installed on this machine")
    parts = [part.cuda().bfloat16() for part in random_parts(640, dim=64)]
    documents = torch.arange(640, device="cuda").expand(2, -1) // 150 if with_documents else None
    mask = torch.from_numpy(attention_twin.visible_keys(640, window)).cuda()
    if documents is not None:
        mask = mask & (documents[:, None, :, None] == documents[:, None, None, :])
    results = []
    for dtype in (torch.float64, torch.bfloat16):
        q, k, v = (part.to(dtype).requires_grad_() for part in parts)
        if dtype == torch.float64:
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        else:
            visibility = Visibility(640, window, documents)
            out = prepare_attention(visibility, backend=backend, device=q.device)(q, k, v)
        results.append([out, *torch.autograd.grad(out.float().square().sum(), (q, k, v))])
    for known, found in zip(*results, strict=True):
        assert float((known - found.double()).abs().max()) < 3e-2 * float(known.abs().max())


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
