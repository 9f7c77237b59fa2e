"""Candidate edges and components against dictionaries and flood fill."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup import candidates, components
from dolma_py.errors import SchemaError
from tests.reference import candidates as candidates_reference
from tests.reference import components as reference

ADDRESSES = st.one_of(
    st.integers(0, 12), st.integers(2**53, 2**53 + 3), st.just(2**63 - 1)
)  # beyond what a float can hold
KEYS = st.one_of(st.integers(0, 4), st.integers(2**63 - 1, 2**63 + 1), st.just(2**64 - 1))


def to_edges(pairs):
    first, member = np.array(pairs, np.int64).reshape(-1, 2).T
    return candidates.Edges(first, member)  # two strided views


def to_pairs(edges):
    return list(zip(edges.first.tolist(), edges.member.tolist(), strict=True))


def to_entries(entries):
    keys = np.array([key for key, _ in entries], np.uint64)
    addresses = np.array([address for _, address in entries], np.int64)
    keys.flags.writeable = addresses.flags.writeable = False
    return keys, addresses


@given(st.lists(st.tuples(KEYS, ADDRESSES), max_size=30))
def test_candidate_edges_equal_twin(entries):
    edges = candidates.candidate_edges(*to_entries(entries))
    assert edges.first.dtype == edges.member.dtype == np.int64
    assert to_pairs(edges) == candidates_reference.unique_edges(candidates_reference.candidate_edges(entries))


@given(st.lists(st.lists(st.tuples(KEYS, ADDRESSES), max_size=10), max_size=5))
def test_edges_by_first_documents_equal_twin(batches):
    """However the entries are cut: first all keys' first documents, then the edges to them."""
    firsts = candidates.NO_FIRSTS
    for batch in batches:
        firsts = candidates.merge_firsts(firsts, *to_entries(batch))
    entries = [entry for batch in batches for entry in batch]
    expected = {key: min(a for k, a in entries if k == key) for key, _ in entries}
    assert dict(zip(firsts.keys.tolist(), firsts.first.tolist(), strict=True)) == expected
    assert firsts.keys.tolist() == sorted(expected)
    edges = [pair for batch in batches for pair in to_pairs(candidates.edges_to_firsts(firsts, *to_entries(batch)))]
    expected_edges = candidates_reference.unique_edges(candidates_reference.candidate_edges(entries))
    assert candidates_reference.unique_edges(edges) == expected_edges


@given(st.lists(st.tuples(ADDRESSES, ADDRESSES), max_size=30))
def test_unique_edges_equal_twin(pairs):
    assert to_pairs(candidates.unique_edges(to_edges(pairs))) == candidates_reference.unique_edges(pairs)


@given(st.lists(st.tuples(ADDRESSES, ADDRESSES), max_size=40))
def test_connected_components_equal_twin(pairs):
    found = components.connected_components(to_edges(pairs))
    assert found.root.dtype == np.int64
    assert dict(zip(found.address.tolist(), found.root.tolist(), strict=True)) == reference.connected_components(pairs)
    assert found.address.tolist() == sorted(set(sum(map(list, pairs), [])))


@given(st.lists(st.tuples(ADDRESSES, ADDRESSES), max_size=30), st.randoms(use_true_random=False))
def test_components_do_not_depend_on_order_repeats_or_direction(pairs, random):
    other = [pair[::-1] if random.random() < 0.5 else pair for pair in pairs * 2]
    random.shuffle(other)
    found = [components.connected_components(to_edges(p)) for p in (pairs, other)]
    assert found[0].root.tolist() == found[1].root.tolist()


def test_docstring_examples():
    edges = candidates.candidate_edges(np.array([5, 9, 5, 5], np.uint64), np.array([4, 2, 1, 6]))
    assert to_pairs(edges) == [(1, 4), (1, 6)]
    found = components.connected_components(to_edges([(3, 1), (1, 4), (0, 0), (2, 2)]))
    assert found.root.tolist() == [0, 1, 2, 1, 1]


@pytest.mark.parametrize("step", [1, -1])
def test_a_chain_of_100_000_documents_is_one_component(step):
    chain = np.arange(100_000, dtype=np.int64)[::step]
    found = components.connected_components(candidates.Edges(chain[:-1], chain[1:]))
    assert len(found.address) == 100_000
    assert not found.root.any()


def test_a_hot_bucket_costs_one_edge_per_member():
    edges = candidates.candidate_edges(np.full(100_000, 7, np.uint64), np.arange(100_000))
    assert len(edges.first) == 99_999


def test_wrongly_typed_input_is_refused():
    with pytest.raises(SchemaError, match="2 values, one per key, got 3"):
        candidates.candidate_edges(np.zeros(2, np.uint64), np.zeros(3, np.int64))
    with pytest.raises(SchemaError, match="int64, int64"):
        candidates.candidate_edges(np.array([1]), np.array([2]))
    with pytest.raises(SchemaError, match="uint64"):
        components.connected_components(candidates.Edges(np.zeros(1, np.uint64), np.zeros(1, np.int64)))


def test_memory_of_an_edge_on_the_driver():
    """16 bytes as read, 16 each once, and what the components take: no more than the plan says, and not far below."""
    import tracemalloc

    numbers = np.random.default_rng(0).permutation(200_000).reshape(2, -1)
    edges = candidates.unique_edges(candidates.Edges(numbers.min(axis=0), numbers.max(axis=0)))
    components.connected_components(edges)  # compiled
    tracemalloc.start()
    components.connected_components(edges)
    peak = tracemalloc.get_traced_memory()[1] / len(edges.first)
    tracemalloc.stop()
    assert 0.7 * components.DRIVER_EDGE_BYTES < 32 + peak <= components.DRIVER_EDGE_BYTES
