"""What is united while it is read is what uniting all of it at once gives, and no more of it is held."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.pairs_by_split import gather_pairs
from pipelines.repeat_regions import pack_spans, unite, unpack_spans
from tests.reference import substring as reference

ADDRESSES = [0, 3, (7 << 40) | 5, 2**62]
SPANS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 12)), max_size=40)


def pack(spans):
    columns = np.array(spans, np.int64).reshape(-1, 3).T
    address, start, length = columns
    return pack_spans(np.array(ADDRESSES, np.int64)[address], start.astype(np.int32), (start + length).astype(np.int32))


@given(SPANS, st.integers(1, 9), st.integers(1, 20))
def test_united_by_and_by_is_united_at_once(spans, size, limit):
    pairs, kept = pack(spans), [0]

    def watch(held):
        assert len(held) <= max(limit, kept[-1] + limit // 4) + size
        united = unite(held)
        kept.append(len(united))
        return united

    found = unpack_spans(gather_pairs((pairs[at : at + size] for at in range(0, len(pairs), size)), watch, limit))
    runs = reference.union_spans([(number, start, start + length) for number, start, length in spans], len(ADDRESSES))
    expected = [(ADDRESSES[number], *run) for number, own in enumerate(runs) for run in own]
    assert list(zip(*found.to_pydict().values(), strict=True)) == expected


def test_a_span_that_comes_very_often_is_held_once():
    """As from a bucket that is compared by pairs of pieces."""
    pairs, most = pack([(1, 5, 9), (2, 0, 4), (1, 20, 2)]), []

    def watch(held):
        most.append(len(held))
        return unite(held)

    found = gather_pairs((pairs for _ in range(1000)), watch, 100)
    assert found.tolist() == pairs[[0, 2, 1]].tolist() and max(most) <= 103
