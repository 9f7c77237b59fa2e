"""The share of a rank in context parallelism: which tokens, and attention of them to whole rows. Gathering is in test_train_parallel.py."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.train_bridge.test_train_attention import (
    assert_gradients_match_twin,
    assert_matches_twin,
    cut_into_chunks,
    flash_stand_in,
    random_parts,
)
from train_bridge.attention import Visibility, prepare_attention
from train_bridge.parallel_context import SequenceSplit

CPU = torch.device("cpu")
SHAPES = {
    "num_ranks": st.integers(1, 4),
    "size": st.integers(1, 7),
    "window": st.one_of(st.none(), st.integers(1, 60)),
    "num_documents": st.one_of(st.none(), st.integers(1, 6)),
    "seed": st.integers(0, 1000),
}


def splits(num_ranks):
    return [SequenceSplit(None, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]


def put_together(parts, num_ranks):
    """Whole rows (..., T, E) of the shares of all ranks."""
    whole = [None] * (2 * num_ranks)
    for rank, part in enumerate(parts):
        whole[rank], whole[2 * num_ranks - 1 - rank] = part.chunk(2, dim=-2)
    return torch.cat(whole, dim=-2)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
def test_each_token_is_one_ranks(num_ranks):
    tokens = torch.arange(2 * num_ranks * 5)
    shares = [split.take(tokens) for split in splits(num_ranks)]
    assert torch.cat(shares).sort().values.tolist() == tokens.tolist()
    # causal work: keys that a share's queries see, the same for all
    assert len({int((share + 1).sum()) for share in shares}) == 1
    rows = torch.stack((tokens, -tokens))
    assert all(torch.equal(split.take(rows)[1], -share) for split, share in zip(splits(num_ranks), shares, strict=True))


def made_documents(rows, tokens, num_documents, seed):
    if num_documents is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, num_documents, (rows, tokens), generator=generator).sort(dim=1).values


def attend_by_ranks(q, k, v, visibility, num_ranks, backend):
    """What all ranks together compute, each from its own queries and, in place of a gathering, whole keys and values."""
    parts = []
    for split in splits(num_ranks):
        split.gather = lambda *_: (k, v)
        own = [split.take(part.transpose(2, 3)).transpose(2, 3) for part in (q, k, v)]
        parts.append(split.prepare(visibility, backend=backend, device=CPU)(*own))
    return put_together(parts, num_ranks)


@settings(max_examples=40)
@given(chunk=st.integers(1, 9), **SHAPES)
def test_shares_match_reference_with_gradients(num_ranks, size, window, num_documents, chunk, seed):
    """Windows and documents across the borders of pieces, in chunks of any length."""
    tokens = 2 * num_ranks * size
    q, k, v = (part.requires_grad_() for part in random_parts(tokens, rows=1, dim=3, seed=seed))
    documents = made_documents(1, tokens, num_documents, seed)
    with cut_into_chunks(chunk):
        got = attend_by_ranks(q, k, v, Visibility(tokens, window, documents), num_ranks, "sdpa")
    assert_gradients_match_twin(got, q, k, v, window, documents, seed=seed)


@settings(max_examples=25)
@given(**SHAPES)
def test_flash_is_called_as_it_documents_by_shares(num_ranks, size, window, num_documents, seed):
    tokens = 2 * num_ranks * size
    q, k, v = random_parts(tokens, seed=seed)
    documents = made_documents(2, tokens, num_documents, seed)
    with flash_stand_in():
        got = attend_by_ranks(q, k, v, Visibility(tokens, window, documents), num_ranks, "flash")
    assert_matches_twin(got, q, k, v, window, documents)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize(("window", "num_documents"), [(5, 3), (None, None)])
def test_flex_matches_reference_by_shares(window, num_documents):
    q, k, v = random_parts(24)
    documents = made_documents(2, 24, num_documents, seed=1)
    got = attend_by_ranks(q, k, v, Visibility(24, window, documents), 2, "flex")
    assert_matches_twin(got, q, k, v, window, documents)


@pytest.mark.parametrize("window", [None, 300])
def test_long_shares_meet_only_keys_that_they_may_see(window):
    """4,096 tokens over 4 ranks: pieces of 512 in chunks; all ranks together do no more than one process."""
    whole = prepare_attention(
        Visibility(4096, window, torch.zeros(1, 4096, dtype=torch.int64)), backend="sdpa", device=CPU
    )
    pairs = lambda attend: sum(chunk.visible.shape[-2] * chunk.visible.shape[-1] for chunk in attend.chunks)  # noqa: E731
    spans = [(start, start + 512) for start in range(0, 4096, 512)]
    visibility = Visibility(4096, window, torch.zeros(1, 4096, dtype=torch.int64))
    shares = [prepare_attention(visibility._replace(queries=span), backend="sdpa", device=CPU) for span in spans]
    assert sum(pairs(share) for share in shares) <= 1.1 * pairs(whole)
