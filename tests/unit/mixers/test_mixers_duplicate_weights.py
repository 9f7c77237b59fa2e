"""Buckets of cluster sizes and their weights against the twin, and what they promise."""

from __future__ import annotations

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import SchemaError
from mixers.duplicate_weights import DuplicatesConfig, DuplicateWeightsConfig, find_size_buckets, weigh_sizes
from tests.reference import duplicate_weights as reference

SIZES = st.lists(st.integers(2, 50), unique=True, max_size=8).map(lambda more: [1, *sorted(more)])
COUNTS = st.lists(
    st.integers(0, 3000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=12
)


@given(st.lists(st.integers(-3, 1 << 40), max_size=30), SIZES)
def test_size_buckets_match_reference(sizes, edges):
    assert find_size_buckets(np.array(sizes, np.int64), edges).tolist() == reference.find_size_buckets(sizes, edges)


@given(COUNTS, st.floats(1, 20), st.integers(1, 500))
def test_weights_match_reference(counts, max_weight, min_documents):
    entered, removed = (np.array([row[k] for row in counts], np.int64) for k in (0, 1))
    config = DuplicateWeightsConfig(max_weight=max_weight, min_documents=min_documents)
    got = weigh_sizes(entered, removed, config)
    expected = reference.weigh_sizes(
        entered.tolist(), removed.tolist(), max_weight=max_weight, min_documents=min_documents
    )
    assert got.tolist() == pytest.approx(expected, rel=1e-9)
    assert got.min() >= 1 and got.max() <= max_weight * (1 + 1e-12)


@given(COUNTS)
def test_a_bucket_that_lost_less_weighs_no_less(counts):
    entered, removed = (np.array([row[k] for row in counts], np.int64) + 100 * (k == 0) for k in (0, 1))
    weight = weigh_sizes(entered, removed, DuplicateWeightsConfig())
    order = np.argsort(removed / entered, kind="stable")
    assert (np.diff(weight[order]) <= 1e-9).all()


def test_published_shape_comes_out():
    """Few copies and very many lose most, the middle least: FineWeb2's Italian weights rise to 10 and fall again."""
    entered = np.array([10_000, 5_000, 2_000, 1_000, 500, 200])
    removed = np.array([6_000, 2_000, 600, 200, 150, 190])
    weight = weigh_sizes(entered, removed, DuplicateWeightsConfig())
    assert weight[3] == 10.0 and weight[0] == 1.0 and weight[5] == 1.0
    assert 1 < weight[1] < weight[2] < 10 and 1 < weight[4] < 10


@pytest.mark.parametrize(("entered", "removed"), [([5], [5, 5]), ([5], [6]), ([5], [-1])])
def test_impossible_counts_are_refused(entered, removed):
    with pytest.raises(SchemaError, match=str(removed[0])):
        weigh_sizes(np.array(entered), np.array(removed), DuplicateWeightsConfig())


@pytest.mark.parametrize("sizes", [[], [2, 3], [1, 3, 3], [1, 4, 2]])
def test_sizes_rise_from_one(sizes):
    with pytest.raises(pydantic.ValidationError):
        DuplicatesConfig(sizes=sizes)
