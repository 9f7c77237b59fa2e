"""Edges found by histograms are those of sorting everything, whatever the levels and parts; ends against the twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.errors import SchemaError
from mixers import prefix_search as search
from mixers.prefix_search import NUM_DIGITS, Ordered
from tests.reference import prefix_search as reference

HIGHS = st.one_of(
    st.integers(0, 3), st.integers(0, (1 << 64) - 1), st.sampled_from([1 << 53, (1 << 53) + 1, (1 << 64) - 1])
)
DOCUMENTS = st.lists(
    st.tuples(st.integers(-1, 2), HIGHS, st.integers(0, 2), st.one_of(st.integers(1, 3), st.integers(1, 1 << 40))),
    max_size=50,
)
SHARES = st.lists(st.floats(0, 1), min_size=3, max_size=3)
CHAINS = np.int32([0, 0, 1])


def order(documents):
    return Ordered(
        np.array([d[0] for d in documents], np.int32), np.array([d[1] for d in documents], np.uint64),
        np.array([d[2] for d in documents], np.uint64), np.arange(len(documents))[::-1].copy(),
        np.array([d[3] for d in documents], np.int64),
    )  # fmt: skip


def start(docs, shares):
    available = np.array([docs.weight[docs.pool == pool].sum() for pool in range(3)], np.int64)
    counts = np.array([(docs.pool == pool).sum() for pool in range(3)], np.int64)
    budget = np.array([int(a) if s == 1 else int(int(a) * s) for a, s in zip(available, shares, strict=True)], np.int64)
    return search.start_search(budget, available=available, num_docs=counts)


def look(docs, state, levels, parts):
    """The search as the job does it."""
    for _ in range(levels):
        sums = np.zeros((2, 3 * NUM_DIGITS), np.int64)
        for part in range(parts):
            places, weights, counts = search.count_prefixes(Ordered(*(c[part::parts] for c in docs)), state)
            sums[:, places] += np.array([weights, counts])
        state = search.narrow_search(state, *(total.reshape(3, NUM_DIGITS) for total in sums))
    inside = search.is_open(docs, state)
    return search.find_edges(Ordered(*(c[inside] for c in docs)), state), int(inside.sum())


@settings(deadline=None)
@given(DOCUMENTS, SHARES, st.integers(0, 6), st.integers(1, 3))
def test_search_gives_what_sorting_gives(documents, shares, levels, parts):
    docs = order(documents)
    state = start(docs, shares)
    edges, _ = look(docs, state, levels, parts)
    ends = search.choose_ends(edges, budget=state.budget, chain=CHAINS)
    below = search.is_below(docs, ends)
    taken, weights = reference.fill_pools(
        list(zip(*(column.tolist() for column in docs), strict=True)), state.budget.tolist(), CHAINS.tolist()
    )
    assert edges.weight.tolist() == weights
    assert [set(docs.place[below & (docs.pool == pool)].tolist()) for pool in range(3)] == taken
    assert not below[docs.pool < 0].any()


def test_few_documents_are_left_after_two_levels():
    generator = np.random.default_rng(1)
    num = 300_000
    docs = Ordered(
        generator.integers(0, 3, num).astype(np.int32), generator.integers(0, 1 << 64, num, np.uint64), np.zeros(num, np.uint64),
        np.arange(num), generator.integers(1, 3000, num),
    )  # fmt: skip
    state = start(docs, [0.2, 0.5, 0.9])
    straight, everything = look(docs, state, 0, 1)
    edges, left = look(docs, state, 2, 2)
    assert everything == num and left < 20
    assert all(np.array_equal(a, b) for a, b in zip(straight, edges, strict=True))


def test_missing_documents_and_impossible_budgets_are_errors():
    docs = order([(0, 5, 0, 3), (0, 6, 0, 3), (1, 1, 0, 1)])
    state = start(docs, [0.5, 1, 0])
    with pytest.raises(SchemaError, match="2 documents of pool 0"):
        search.find_edges(Ordered(*(c[1:] for c in docs)), state)
    with pytest.raises(SchemaError, match="weight"):
        search.find_edges(docs._replace(weight=docs.weight * 0), state)
    with pytest.raises(SchemaError, match="too few"):
        search.narrow_search(state, *np.zeros((2, 3, NUM_DIGITS), np.int64))
    with pytest.raises(SchemaError, match="0 to 6 in pool 0"):
        search.start_search(np.int64([7]), available=np.int64([6]), num_docs=np.int64([2]))
