"""Rows are divided and rounded as each alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError
from mixers.shares import fill_rows, fill_to_caps, round_rows, round_to_total
from tests.reference import plan as reference

PART = st.tuples(st.one_of(st.just(0.0), st.floats(1e-6, 100)), st.floats(0, 100))


@given(st.lists(st.tuples(st.floats(0, 1), st.lists(PART, min_size=4, max_size=4)), min_size=1, max_size=6))
def test_rows_are_filled_as_alone(rows):
    weights, caps = (np.array([[part[k] for part in parts] for _, parts in rows]) for k in (0, 1))
    budgets = np.array([share * float(caps[i][weights[i] > 0].sum()) for i, (share, _) in enumerate(rows)])
    got = fill_rows(budgets, weights=weights, caps=caps)
    for i in range(len(rows)):
        assert np.array_equal(got[i], fill_to_caps(budgets[i], weights=weights[i], caps=caps[i]))
        expected = reference.fill_to_caps(budgets[i], weights=weights[i].tolist(), caps=caps[i].tolist())
        assert got[i].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(
    st.lists(
        st.lists(st.floats(0, 1e9), min_size=5, max_size=5).filter(lambda row: sum(row) > 0), min_size=1, max_size=6
    )
)
def test_rows_are_rounded_as_alone(rows):
    values = np.array(rows)
    totals = np.array([round(sum(row)) for row in rows])
    got = round_rows(values, totals)
    assert got.sum(axis=1).tolist() == totals.tolist() and (np.abs(got - values) <= 1 + 1e-6).all() and (got >= 0).all()
    for i in range(len(rows)):
        assert np.array_equal(got[i], round_to_total(values[i], int(totals[i])))


SMALL = st.lists(st.one_of(st.just(0.0), st.floats(0, 4)), min_size=4, max_size=4).filter(lambda row: sum(row) > 0)


@given(SMALL, st.integers(-12, 12), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_a_sum_that_is_off_takes_nobody_below_zero_or_above_its_cap(row, off, room):
    """The difference goes in even rounds; the twin gives one by one."""
    values = np.array(row)
    total = max(0, int(np.floor(values).sum()) + off)
    got = round_to_total(values, total)
    assert got.sum() == total and (got >= 0).all() and (got[values == 0] == 0).all()
    assert got.tolist() == reference.round_by_one(row, total, [total] * 4)
    most = np.floor(values).astype(int) + room
    used = values > 0
    if total <= most[used].sum():
        bounded = round_rows(values[None, :], np.array([total]), most[None, :])[0]
        assert bounded.tolist() == reference.round_by_one(row, total, most.tolist())
        assert bounded.sum() == total and (bounded >= 0).all() and (bounded[used] <= most[used]).all()
    else:
        with pytest.raises(ConfigError, match="room for these tokens"):
            round_rows(values[None, :], np.array([total]), most[None, :])


def test_too_much_is_not_taken_from_who_has_nothing():
    assert round_to_total(np.array([10.4, 0.4]), 9).tolist() == [9, 0]


def test_nothing_to_divide_between_is_said():
    with pytest.raises(ConfigError, match="7"):
        round_rows(np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([3, 7]))
