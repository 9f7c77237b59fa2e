"""32 bytes at once against a loop over bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.vector_bytes_kernels import LANES, copy_run, find_newline

import numba  # isort: skip


@numba.njit
def run_both(source, at, target, to):
    return copy_run(source, at, target, to), find_newline(source, at)


def first(data: bytes, stops: set[int]) -> int:
    return next((place for place, byte in enumerate(data) if byte in stops), LANES)


@given(
    st.one_of(
        st.binary(min_size=64, max_size=64), st.text('ab"\\\n\x1f\x20', min_size=64, max_size=64).map(str.encode)
    ),
    st.integers(0, 32),
    st.integers(0, 32),
)
def test_first_byte_that_stops_a_run(data, at, to) -> None:
    target = np.zeros(64, np.uint8)
    window = data[at : at + LANES]
    expected = first(window, {0x22, 0x5C, *range(0x20)}), first(window, {0x0A})
    assert run_both(np.frombuffer(data, np.uint8), at, target, to) == expected
    assert target.tobytes() == bytes(to) + window + bytes(32 - to)


@pytest.mark.parametrize("byte", range(256))
def test_every_byte(byte) -> None:
    data = np.full(64, 0x61, np.uint8)
    data[17] = byte
    target = np.zeros(64, np.uint8)
    assert run_both(data, 0, target, 0) == (
        17 if byte in (0x22, 0x5C) or byte < 0x20 else LANES,
        17 if byte == 0x0A else LANES,
    )
