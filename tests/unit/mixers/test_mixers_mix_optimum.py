"""The optimum keeps its limits and no grid has a better mix; what it says of itself is so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError
from mixers.mix_limits import find_limits
from mixers.mix_optimum import find_optimum
from mixers.mix_regression import LogLinear, fit_log_linear
from mixers.mix_swarm import grid_mixes
from tests.reference import mix_optimum as reference

LAWS = st.integers(2, 4).flatmap(
    lambda size: st.tuples(
        st.lists(st.tuples(st.floats(0, 2), st.lists(st.floats(-12, 3), min_size=size, max_size=size)), min_size=1, max_size=4),
        st.lists(st.integers(1, 1000), min_size=size, max_size=size),
    )
)  # fmt: skip


def make_limits(tokens, *, budget, repetition=4.0, fixed=None):
    named = {f"s{i}": count for i, count in enumerate(tokens)}
    return find_limits(
        named, budget=budget, max_repetition=dict.fromkeys(named, repetition), fixed=fixed or {}, frozen={}
    )


@given(LAWS, st.floats(0.2, 4), st.lists(st.floats(0.1, 3), min_size=4, max_size=4))
def test_no_mix_of_the_grid_is_better(drawn, repeated, weights):
    values, tokens = drawn
    limits = make_limits(tokens, budget=max(1, int(sum(tokens) * repeated)))
    laws = [LogLinear(floor, np.array(coefficients)) for floor, coefficients in values]
    weights = weights[: len(laws)]
    found = find_optimum(laws, limits, np.array(weights))
    assert abs(found.shares.sum() - 1) <= 1e-9
    assert (found.shares <= limits.highest + 1e-9).all() and (found.shares >= -1e-9).all()
    assert found.predicted == pytest.approx(reference.mean_prediction(values, weights, found.shares.tolist()))
    assert 0 <= found.gap < 1e-5
    best = reference.find_optimum(values, weights, limits.lowest.tolist(), limits.highest.tolist(), 8)
    assert best is None or found.predicted <= best[0] + found.gap + 1e-12


def test_many_sources_and_tasks():
    draw = np.random.Generator(np.random.PCG64(0))
    tokens = draw.integers(1, 10**6, 30).tolist()
    limits = make_limits(tokens, budget=2 * sum(tokens))
    laws = [LogLinear(0.5, draw.normal(-1, 1, 30)) for _ in range(60)]
    found = find_optimum(laws, limits, np.ones(60))
    assert found.gap < 1e-5 and (found.shares <= limits.highest + 1e-9).all() and abs(found.shares.sum() - 1) < 1e-9
    for mix in draw.dirichlet(np.ones(30) * 3, 200):
        inside = (mix <= limits.highest).all()
        assert not inside or np.mean([law.predict(mix[None])[0] for law in laws]) >= found.predicted


def test_a_minimum_inside_is_where_the_slopes_are_equal():
    laws = [LogLinear(0.0, np.array([-3.0, 0.0])), LogLinear(0.0, np.array([0.0, -3.0]))]
    found = find_optimum(laws, make_limits([1, 1], budget=1), np.ones(2))
    assert found.shares == pytest.approx([0.5, 0.5], abs=1e-6) and found.binds == ("free", "free")
    # twice the weight: exp(-3 w) * 2 = exp(-3 (1 - w))
    found = find_optimum(laws, make_limits([1, 1], budget=1), np.array([2.0, 1.0]))
    assert found.shares[0] == pytest.approx(0.5 + np.log(2) / 6, abs=1e-6)


def test_what_binds_is_named():
    law = [LogLinear(0.0, np.array([0.0, -2.0, 1.0]))]
    found = find_optimum(law, make_limits([80, 10, 10], budget=100), np.ones(1))
    assert found.binds == ("free", "cap", "zero") and found.shares == pytest.approx([0.6, 0.4, 0])
    found = find_optimum(law, make_limits([80, 10, 10], budget=100, fixed={"s2": 0.25}), np.ones(1))
    assert found.binds == ("free", "cap", "fixed") and found.shares == pytest.approx([0.35, 0.4, 0.25])


def test_all_shares_may_be_fixed():
    law = [LogLinear(0.0, np.array([0.0, -2.0]))]
    found = find_optimum(law, make_limits([1, 1], budget=1, fixed={"s0": 0.75, "s1": 0.25}), np.ones(1))
    assert found.shares.tolist() == [0.75, 0.25] and found.gap == 0


@pytest.mark.parametrize("weights", [[], [1.0], [0.0, 0.0], [1.0, -1.0]])
def test_weights_that_cannot_be_are_refused(weights):
    laws = [LogLinear(0.0, np.array([0.0, -2.0]))] * 2
    with pytest.raises(ConfigError, match="weight"):
        find_optimum(laws, make_limits([1, 1], budget=1), np.array(weights))


def test_where_the_law_is_another_the_choice_is_still_near_the_best_mix():
    """Loss falls as a power of what helps a task, as it does where a source is scarce: 15 of the 66 mixes are enough."""
    helps = np.array([[1, 0.08, 0.05], [0.15, 1, 0.06], [0.2, 0.06, 1]])
    mixes = grid_mixes(3, 10)

    def true_mean(shares):
        return (1.5 + 0.4 * (shares @ helps.T + 0.01) ** -0.35).mean(axis=1)

    for seed in range(5):
        draw = np.random.Generator(np.random.PCG64(seed))
        given = draw.permutation(66)[:15]
        values = 1.5 + 0.4 * (mixes[given] @ helps.T + 0.01) ** -0.35 + 0.005 * draw.standard_normal((15, 3))
        laws = [fit_log_linear(mixes[given], values[:, k]) for k in range(3)]
        found = find_optimum(laws, make_limits([1, 1, 1], budget=1), np.ones(3))
        assert true_mean(found.shares[None])[0] <= 1.002 * true_mean(mixes).min()
        # 16% lie between the best and the worst of the grid
        assert true_mean(mixes).max() > 1.1 * true_mean(mixes).min()
