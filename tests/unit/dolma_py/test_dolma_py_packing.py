"""Best-fit packing against the twin that looks at every instance, and what packing must keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.packing import pack_best_fit
from tests.reference import packing as reference


@given(capacity=st.integers(1, 70), seed=st.integers(0, 2**32), size=st.integers(0, 60), top=st.integers(1, 70))
def test_packing_matches_reference(capacity, seed, size, top):
    lengths = np.random.default_rng(seed).integers(1, min(top, capacity) + 1, size)
    instances, num_instances = pack_best_fit(lengths, capacity)
    expected, expected_num = reference.pack_best_fit(lengths.tolist(), capacity)
    assert instances.tolist() == expected
    assert num_instances == expected_num


@pytest.mark.parametrize(
    ("lengths", "capacity"),
    [
        ([], 5),
        ([5], 5),
        ([1], 1),
        ([1] * 7, 1),
        ([1] * 64, 64),
        ([64] * 3, 64),
        ([33] * 9 + [31] * 9, 64),
        ([2] * 50, 3),
    ],
)
def test_corners_match_reference(lengths, capacity):
    instances, num_instances = pack_best_fit(np.array(lengths, dtype=np.int64), capacity)
    assert (instances.tolist(), num_instances) == reference.pack_best_fit(lengths, capacity)


def test_nothing_overflows_and_little_is_empty():
    """A million documents: every one is in an instance, none is overfull, and less than 0.1% of the space is empty."""
    lengths = np.minimum(np.random.default_rng(1).lognormal(6, 1.2, 1_000_000).astype(np.int64) + 1, 8192)
    instances, num_instances = pack_best_fit(lengths, 8192)
    used = np.bincount(instances, weights=lengths, minlength=num_instances)
    assert used.max() <= 8192 and used.min() > 0 and len(used) == num_instances
    assert 1 - lengths.sum() / (num_instances * 8192) < 0.001


@pytest.mark.parametrize("lengths", [[0], [9], [3, -1]])
def test_a_length_outside_is_refused(lengths):
    with pytest.raises(ValueError, match="expected 1 to 8"):
        pack_best_fit(np.array(lengths), 8)
