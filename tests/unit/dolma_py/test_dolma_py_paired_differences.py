"""Standard errors against a slow twin and scipy; equal sides get a verdict as rarely as promised, different ones get theirs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import DataError
from dolma_py.paired_differences import ERRORS_NEEDED, find_quantile, pair_instances, weigh_differences
from dolma_py.paired_tables import check_rows, count_errors, describe_difference, render_differences
from tests.reference import paired_differences as reference

BITS = st.floats(0, 1e6, allow_subnormal=False)


@st.composite
def sides(draw):
    num = draw(st.integers(1, 8))
    runs = [draw(st.lists(st.lists(BITS, min_size=num, max_size=num), min_size=1, max_size=4)) for _ in range(2)]
    return runs[0], runs[1], draw(st.lists(st.integers(1, 100_000), min_size=num, max_size=num))


@given(sides())
def test_values_and_errors_are_those_of_the_twin(given_sides):
    left, right, sizes = given_sides
    found = pair_instances(np.array(left), np.array(right), np.array(sizes, np.float64))
    expected = reference.pair_instances(left, right, sizes)
    scale = max(1.0, *(abs(bit) for run in (*left, *right) for bit in run)) / sum(sizes)
    assert (found.left, found.right) == pytest.approx(expected[:2], rel=1e-9, abs=1e-12)
    for mine, theirs in zip((found.by_instances, found.by_runs), expected[2:4], strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            # of numbers that cancel: as exact as their size allows
            assert mine.value == pytest.approx(theirs, rel=1e-6, abs=1e-9 * scale**2 * max(sizes) ** 2)
    assert (found.total is None) == (len(left) == 1 or len(right) == 1 or len(sizes) == 1)


def test_degrees_of_freedom_are_those_of_the_twin():
    draw = np.random.Generator(np.random.PCG64(1))
    for runs in ((2, 2), (3, 5), (2, 9)):
        left, right = (draw.normal(1.5, 0.1, (count, 12)) * 50 for count in runs)
        sizes = np.full(12, 50.0)
        found = pair_instances(left, right, sizes)
        freedom = reference.pair_instances(left.tolist(), right.tolist(), sizes.tolist())[4]
        assert found.total is not None and found.total.freedom == pytest.approx(freedom)
        assert found.errors_needed == pytest.approx(reference.find_quantile(freedom), abs=1e-6)


@given(st.one_of(st.floats(1, 50), st.floats(50, 1e5)))
def test_quantiles_are_those_of_scipy(freedom):
    assert find_quantile(freedom) == pytest.approx(reference.find_quantile(freedom), abs=1e-5)


def test_many_runs_need_two_errors():
    assert find_quantile(math.inf) == 2.0 and find_quantile(1e7) == pytest.approx(2.0, abs=1e-5)


@given(sides())
def test_equal_sides_get_no_verdict(given_sides):
    left, _, sizes = given_sides
    same = np.array(left)
    found = pair_instances(same, same.copy(), np.array(sizes, np.float64))
    assert found.difference == 0 and found.verdict is None
    assert weigh_differences([found, found], [1, 2]).verdict is None


def simulate(draw, *, runs, effect, size=40):
    """One comparison: documents differ much, runs of a side somewhat, single values a little."""
    documents, sizes = draw.normal(1.5, 0.4, size), draw.integers(100, 2000, size).astype(float)

    def side(shift):
        of_runs = draw.normal(shift, 0.02, (runs, 1))
        return (documents + of_runs + draw.normal(0, 0.03, (runs, size))) * sizes

    return pair_instances(side(effect), side(0.0), sizes)


@pytest.mark.parametrize(
    ("runs", "expected", "by_two_errors"), [(2, 0.0525, 0.1345), (3, 0.038, 0.1015), (5, 0.031, 0.061)]
)
def test_chance_gets_a_verdict_in_about_one_of_20_comparisons(runs, expected, by_two_errors):
    """The shares that docs/choosing-a-mix.md gives: of the rule, and of plain two standard errors, which promise too much of few runs."""
    draw = np.random.Generator(np.random.PCG64(runs))
    found = [simulate(draw, runs=runs, effect=0.0) for _ in range(2000)]
    assert np.mean([one.verdict is not None for one in found]) == pytest.approx(expected, abs=0.002)
    plain = np.mean([abs(one.difference) > ERRORS_NEEDED * one.error for one in found])
    assert plain == pytest.approx(by_two_errors, abs=0.002)


def test_a_difference_beyond_chance_gets_its_verdict():
    draw = np.random.Generator(np.random.PCG64(0))
    for effect, verdict in ((-0.2, "better"), (0.2, "worse")):
        assert {simulate(draw, runs=3, effect=effect).verdict for _ in range(200)} == {verdict}


def test_pairs_are_worth_more_than_two_means():
    """Documents differ by far more than the sides do: unpaired, nothing could be said."""
    draw = np.random.Generator(np.random.PCG64(4))
    documents = draw.normal(5, 2, 100)
    found = pair_instances((documents - 0.05)[None] + draw.normal(0, 0.01, (1, 100)), documents[None], np.ones(100))
    assert found.by_instances is not None and found.difference < -20 * math.sqrt(found.by_instances.value)
    assert found.error is None and found.verdict is None  # one run a side


def test_the_weighted_mean_is_that_of_its_parts():
    draw = np.random.Generator(np.random.PCG64(2))
    parts = [pair_instances(draw.normal(2, 1, (3, 30)), draw.normal(2, 1, (4, 30)), np.ones(30)) for _ in range(2)]
    found = weigh_differences(parts, [3, 1])
    assert found.difference == pytest.approx(0.75 * parts[0].difference + 0.25 * parts[1].difference)
    a, b = (part.by_instances.value for part in parts)
    assert found.by_instances.value == pytest.approx(0.75**2 * a + 0.25**2 * b)
    runs = [[0.75 * x + 0.25 * y for x, y in zip(*both, strict=True)] for both in (
        (parts[0].left_runs, parts[1].left_runs), (parts[0].right_runs, parts[1].right_runs))]  # fmt: skip
    assert found.by_runs.value == pytest.approx(np.var(runs[0], ddof=1) / 3 + np.var(runs[1], ddof=1) / 4)
    assert found.num_instances == 60 and weigh_differences(parts, [0, 5])._replace(num_instances=30) == parts[1]


def test_a_table_says_what_is_known():
    known = describe_difference(pair_instances(np.array([[1.0, 2.0]] * 2), np.array([[1.5, 2.0]] * 2), np.ones(2)))
    alone = describe_difference(pair_instances(np.array([[1.0]]), np.array([[1.5]]), np.ones(1)))
    lines = render_differences({"a|b": known, "c": alone}, left="x", right="y", weights={"a|b": 0.5})
    assert lines[2] == "| a\\|b | 0.500 | 2 | 1.5000 | 1.7500 | -0.2500 | 0.2500 | 0.0000 | 0.2500 | -1.0 | 14.0 |  |"
    assert lines[3] == "| c |  | 1 | 1.0000 | 1.5000 | -0.5000 |  |  |  |  |  |  |"
    assert count_errors(known) == -1.0 and count_errors(alone) is None


def test_values_of_other_documents_are_not_paired():
    check_rows({"a": [0, 1], "b": [0, 1]}, "task", "file")
    with pytest.raises(DataError, match="file: task: b was measured on other documents than a"):
        check_rows({"a": [0, 1], "b": [0, 2]}, "task", "file")
