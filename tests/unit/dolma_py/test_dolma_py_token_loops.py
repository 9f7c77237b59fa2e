"""Rows with loops: against the slow twin, at the borders of the rule, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.token_loops import find_looping
from tests.reference import token_loops as reference

OLMO = {"min_period": 1, "max_period": 13, "min_repeats": 32}


def find(rows, **rule):
    """find_looping of lists of different lengths, with tokens behind each row that would make a loop."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ids = np.full((len(rows), int(lengths.max(initial=0)) + 40), 7, dtype=np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
        row[len(tokens) : len(tokens) + 1] = -1
    return find_looping(ids, lengths=lengths, **rule).tolist()


@given(
    st.lists(st.lists(st.integers(0, 2), max_size=40), max_size=6),
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(2, 6),
)
def test_rows_match_reference(rows, min_period, more_periods, min_repeats):
    rule = {"min_period": min_period, "max_period": min_period + more_periods, "min_repeats": min_repeats}
    assert find(rows, **rule) == reference.find_looping(rows, **rule)


@given(
    st.lists(st.integers(0, 3), max_size=20),
    st.lists(st.integers(0, 3), min_size=1, max_size=15),
    st.integers(28, 36),
    st.lists(st.integers(0, 3), max_size=20),
)
def test_long_loops_match_reference(before, ngram, copies, after):
    """Around Olmo 3's border of 32 copies and 13 tokens, with anything before and after."""
    row = before + ngram * copies + after
    assert find([row], **OLMO) == reference.find_looping([row], **OLMO)


@pytest.mark.parametrize(
    ("row", "is_looping"),
    [
        ([], False),
        ([5] * 31, False),
        ([5] * 32, True),
        ([2**40] * 32, True),
        ([1, 2] * 31 + [1], False),
        ([9] + [1, 2] * 32, True),
        (list(range(13)) * 32, True),
        (list(range(14)) * 32, False),
        (([1] * 31 + [2]) * 4, False),
        (list(range(1_000_000)), False),
    ],
)
def test_the_border_of_olmo_3(row, is_looping):
    assert find([row], **OLMO) == [is_looping]


def test_a_rule_that_finds_everything_is_refused():
    with pytest.raises(ValueError, match="2 repeats or more, got 1, 2, 1"):
        find_looping(np.zeros((1, 4), np.int64), lengths=np.array([4]), min_period=1, max_period=2, min_repeats=1)
