"""xxh3-128 against the xxhash package, bit for bit, at every length around the borders of its branches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import SchemaError
from dolma_py.xxh3 import digest_ranges
from tests.reference import xxh3 as reference
from tests.strategies import any_bytes


def to_pairs(high, low):
    assert high.dtype == low.dtype == np.uint64
    return list(zip(high.tolist(), low.tolist(), strict=True))


def test_every_length_to_four_blocks_equals_the_library():
    """0-3, 4-8, 9-16, 17-128, 129-240 and long texts to the fifth block of 1,024 bytes, from odd places."""
    data = np.random.default_rng(5).integers(0, 256, 8_000, dtype=np.uint8)
    lengths = np.arange(4_200)
    starts = lengths % 7
    found = digest_ranges(data, starts, starts + lengths)
    pairs = list(zip(starts.tolist(), (starts + lengths).tolist(), strict=True))
    assert to_pairs(*found) == reference.digest_ranges(data.tobytes(), pairs)


@given(st.lists(any_bytes(), max_size=8), st.integers(1, 40))
def test_digest_ranges_equals_twin(pieces, repeats):
    content = b"".join(pieces) * repeats
    bounds = np.unique(np.linspace(0, len(content), 6).astype(np.int64))
    pairs = [(start, end) for start in bounds.tolist() for end in bounds.tolist() if start <= end]
    starts, ends = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    data = np.frombuffer(content, np.uint8)  # read-only
    assert to_pairs(*digest_ranges(data, starts, ends)) == reference.digest_ranges(content, pairs)


def test_no_bytes():
    high, low = digest_ranges(np.empty(0, np.uint8), np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert to_pairs(high, low) == [(0x99AA06D3014798D8, 0x6001C324468D497F)] * 2


def test_strides_are_honoured_and_a_range_outside_is_refused():
    data = np.arange(60, dtype=np.uint8)
    bounds = np.array([0]), np.array([60])
    assert to_pairs(*digest_ranges(np.repeat(data, 2)[::2], *bounds)) == to_pairs(*digest_ranges(data, *bounds))
    with pytest.raises(SchemaError, match="61"):
        digest_ranges(data, np.array([0]), np.array([61]))
