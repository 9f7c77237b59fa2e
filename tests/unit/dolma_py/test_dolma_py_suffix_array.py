"""Suffix arrays and PLCP against sorting and counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py import suffix_array
from dolma_py.errors import SchemaError
from tests.reference import suffix_array as reference

# few letters, so that suffixes share prefixes; any bytes, so that 0 and 255 are ordinary letters
TEXTS = st.one_of(st.text("ab", max_size=60).map(str.encode), st.binary(max_size=40), st.just(b"\x00" * 50))


@given(TEXTS, st.sampled_from([1, 2, 8, 64]))
def test_suffix_array_and_plcp_equal_twins(text, step):
    array = np.frombuffer(text, np.uint8)  # read-only
    suffixes = suffix_array.build_suffix_array(array)
    plcp = suffix_array.permuted_lcp(array, suffixes, step=step)
    assert suffixes.dtype == plcp.dtype == np.int32
    assert suffixes.tolist() == reference.build_suffix_array(text)
    assert plcp.tolist() == reference.permuted_lcp(text, suffixes.tolist(), step)


def test_docstring_example():
    text = np.frombuffer(b"abab", np.uint8)
    suffixes = suffix_array.build_suffix_array(text)
    assert suffixes.tolist() == [2, 0, 3, 1]
    assert suffix_array.permuted_lcp(text, suffixes).tolist() == [2, 1, 0, 0]
    assert suffix_array.permuted_lcp(text, suffixes, step=2).tolist() == [2, 0]


@pytest.mark.parametrize("step", [2, -1])
def test_views_are_sorted_as_what_they_show(step):
    parent = np.frombuffer(b"banana bandana" * 3, np.uint8)
    view = parent[3:][::step]
    copy = view.copy()
    suffixes = suffix_array.build_suffix_array(view)
    assert suffixes.tolist() == suffix_array.build_suffix_array(copy).tolist()
    assert suffix_array.permuted_lcp(view, suffixes).tolist() == suffix_array.permuted_lcp(copy, suffixes).tolist()


def test_one_letter_repeated_a_million_times_stays_linear():
    text = np.full(1_000_000, 97, np.uint8)
    suffixes = suffix_array.build_suffix_array(text)
    assert suffixes[:3].tolist() == [999_999, 999_998, 999_997]
    assert suffix_array.permuted_lcp(text, suffixes)[:3].tolist() == [999_999, 999_998, 999_997]


def test_wrong_lengths_and_too_much_text_are_refused():
    with pytest.raises(SchemaError, match="got 2"):
        suffix_array.permuted_lcp(np.zeros(3, np.uint8), np.zeros(2, np.int32))
    with pytest.raises(SchemaError, match="power of two"):
        suffix_array.permuted_lcp(np.zeros(3, np.uint8), np.zeros(3, np.int32), step=3)
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), shape=(2**31,), strides=(0,))  # 2 GiB on paper only
    with pytest.raises(SchemaError, match=str(2**31)):
        suffix_array.build_suffix_array(huge)
