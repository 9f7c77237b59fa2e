"""mixers.curve against its twin, against scipy, and its constraints."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, SchemaError
from mixers import curve
from tests.reference import curve as reference

CONFIG = curve.CurveConfig()


def solve(tokens, target, max_rate=7.0, config=CONFIG):
    row = np.array([tokens], np.int64)
    return curve.solve_curves(
        row, target_tokens=np.array([float(target)]), max_rate=np.array([max_rate]), config=config, names=["topic"]
    )


@pytest.mark.parametrize("x", [1e-9, 0.05, 0.6, 1.0])
@pytest.mark.parametrize("power", [0.01, 0.4, 2.0])
@pytest.mark.parametrize("growth", [0.0, 2.0, 20.0])
def test_integrals_match_scipy_and_twin(x, power, growth):
    got = float(curve.integrate_curve(np.float64(x), power=np.float64(power), growth=np.float64(growth)))
    exact, _ = scipy.integrate.quad(
        lambda t: np.exp(growth * t), 0, x, weight="alg", wvar=(power, 0), epsabs=0, epsrel=1e-12
    )
    assert got == pytest.approx(exact, rel=1e-11)
    # Simpson's rule at growth 20 on the twin's grid is good to 3e-8
    assert got == pytest.approx(reference.integrate_curve(x, power=power, growth=growth), rel=1e-7)


@settings(max_examples=12, phases=(Phase.explicit, Phase.generate))  # the twin is slow: shrinking takes minutes
@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=12).filter(lambda t: sum(t) > 0),
    st.floats(0.01, 6.0),
    st.floats(0.5, 9.0),
)
def test_curves_match_reference(tokens, mean, max_rate):
    target = mean * sum(tokens)
    expected = reference.solve_curve(tokens, target_tokens=target, max_rate=max_rate)
    if expected is None:
        with pytest.raises(ConfigError):
            solve(tokens, target, max_rate)
        return
    got = solve(tokens, target, max_rate)
    assert got.power[0] == pytest.approx(expected[0], abs=1e-12)
    assert got.growth[0] == pytest.approx(expected[1], abs=1e-4)
    assert got.rates[0] == pytest.approx(expected[2], rel=1e-5, abs=1e-9)


@given(
    st.lists(st.integers(0, 1 << 40), min_size=2, max_size=30).filter(lambda t: sum(t) > 0),
    st.floats(1e-6, 0.99),
    st.floats(0.1, 100.0),
)
def test_constraints_hold_to_a_millionth(tokens, share_of_most, max_rate):
    row = np.array([tokens], np.int64)
    target = share_of_most * curve.max_curve_tokens(row, max_rate=np.array([max_rate]), config=CONFIG)[0]
    got = solve(tokens, target, max_rate)
    assert (got.rates[0] * row[0]).sum() == pytest.approx(target, rel=1e-6)
    assert got.top_rate[0] <= max_rate + 1.1e-6
    last = int(np.flatnonzero(row[0])[-1])
    assert got.rates[0][last] == pytest.approx(got.top_rate[0], rel=1e-5)
    assert got.growth[0] >= 0
    kept = got.rates[0][got.rates[0] > 0]
    assert (np.diff(kept) >= -1e-9 * kept[:-1]).all()


def test_equal_vigintiles_drop_exactly_eight():
    got = solve([1000] * 20, 9000)
    assert got.start[0] == pytest.approx(0.40)
    assert (got.rates[0][:8] == 0).all() and (got.rates[0][8:] > 0).all()
    # at lambda = 2 and p = 2 the top rate is far below 7: the range of lambda decides
    assert (got.power[0], got.growth[0], bool(got.is_capped[0])) == (2.0, 2.0, False)


def test_bucket_that_crosses_the_cut_is_kept():
    got = solve([3, 3, 4], 5)
    assert got.start[0] == pytest.approx(0.3)
    assert got.rates[0][0] == 0 and got.rates[0][1] > 0


def test_largest_power_wins_and_lambda_fills_up_to_the_cap():
    tight = solve([1000] * 20, 70_000)
    assert 0.01 <= tight.power[0] < 2.0 and bool(tight.is_capped[0])
    assert tight.top_rate[0] == pytest.approx(7.0, abs=2e-6)
    # the next power of the grid is infeasible even at lambda = 0
    step = (2.0 - 0.01) / 19
    config = curve.CurveConfig(min_power=tight.power[0] + step, max_power=tight.power[0] + step, num_powers=1)
    with pytest.raises(ConfigError):
        solve([1000] * 20, 70_000, config=config)


def test_infeasible_target_says_what_and_by_how_much():
    with pytest.raises(ConfigError) as caught:
        solve([1000] * 20, 90_000)
    assert caught.value.key == "curve.topic.target_tokens" and caught.value.got == 90_000
    assert "0.571753 too much" in caught.value.rule and "83203" in caught.value.hint
    solve([1000] * 20, 83_203)  # what the hint promises


def test_groups_do_not_see_each_other():
    rng = np.random.default_rng(5)
    tokens = rng.integers(1, 1000, (40, 20))
    arguments = {"config": CONFIG, "max_rate": np.full(40, 7.0), "names": [str(i) for i in range(40)]}
    targets = rng.random(40) * 3 * tokens.sum(axis=1)
    together = curve.solve_curves(tokens, target_tokens=targets, **arguments)
    for i in (0, 17, 39):
        alone = solve(tokens[i].tolist(), targets[i])
        assert np.array_equal(alone.rates[0], together.rates[i])


@pytest.mark.parametrize(("tokens", "target"), [([0, 0], 1.0), ([-1, 5], 1.0), ([1, 5], -1.0), ([1, 5], float("nan"))])
def test_bad_input_is_refused(tokens, target):
    with pytest.raises(SchemaError):
        solve(tokens, target)
