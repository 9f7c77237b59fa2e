"""The log-linear law is found again, no worse than by scipy from many starts; errors are those of mixes left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.errors import ConfigError
from mixers.mix_regression import (
    LogLinear,
    fit_log_linear,
    huber_loss,
    leave_one_out,
    measure_fit,
    rank_correlation,
)
from tests.reference import mix_regression as reference


def draw_shares(num_mixes, num_sources, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).dirichlet(np.ones(num_sources), num_mixes)


@given(
    st.integers(0, 1000), st.floats(0, 2), st.lists(st.floats(-3, 1), min_size=2, max_size=5), st.sampled_from([0, 1e-3, 0.02])
)  # fmt: skip
@settings(max_examples=8)
def test_the_loss_is_not_above_that_of_scipy(seed, floor, coefficients, noise):
    shares = draw_shares(4 * len(coefficients), len(coefficients), seed)
    values = floor + np.exp(shares @ np.array(coefficients))
    values = values * (1 + noise * np.random.Generator(np.random.PCG64(seed)).standard_normal(len(values)))
    law = fit_log_linear(shares, values)
    loss = huber_loss(values - law.predict(shares), 0.01)
    _, _, expected = reference.fit_log_linear(shares.tolist(), values.tolist(), 0.01)
    assert law.floor >= 0 and loss <= expected * 1.001 + 1e-9


@given(st.lists(st.floats(-1, 1), max_size=8), st.floats(1e-4, 1))
def test_the_loss_is_huber(residuals, delta):
    assert huber_loss(np.array(residuals), delta) == pytest.approx(reference.huber_loss(residuals, delta))


def test_a_law_is_found_again():
    law = LogLinear(0.7, np.array([0.4, -0.9, -2.0]))
    shares = draw_shares(20, 3)
    found = fit_log_linear(shares, law.predict(shares))
    assert found.floor == pytest.approx(0.7, abs=1e-3)
    assert found.coefficients == pytest.approx(law.coefficients, abs=1e-2)


def test_one_wild_run_moves_little():
    law = LogLinear(0.7, np.array([0.4, -0.9, -2.0]))
    shares = draw_shares(30, 3)
    values = law.predict(shares)
    values[4] += 1.0  # a run that went wrong
    errors = np.abs(fit_log_linear(shares, values).predict(shares) - law.predict(shares))
    assert errors.max() < 0.02
    assert np.abs(fit_log_linear(shares, values, delta=1e9).predict(shares) - law.predict(shares)).max() > 0.05


def test_a_value_that_was_left_out_is_not_known():
    law = LogLinear(0.7, np.array([0.4, -0.9, -2.0]))
    shares = draw_shares(12, 3)
    values = law.predict(shares)
    fitted = fit_log_linear(shares, values)
    assert leave_one_out(shares, values, fitted) == pytest.approx(values, abs=2e-3)
    changed = values.copy()
    changed[5] = 9.0
    assert leave_one_out(shares, changed, fitted)[5] == pytest.approx(values[5], abs=2e-3)


def test_a_constant_task_is_constant():
    shares = draw_shares(10, 3)
    law = fit_log_linear(shares, np.full(10, 1.5))
    assert law.predict(draw_shares(50, 3, 1)) == pytest.approx(np.full(50, 1.5), abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_rank_correlation_is_spearmans(pairs):
    left, right = (np.array([float(pair[k]) for pair in pairs]) for k in (0, 1))
    got = rank_correlation(left, right)
    if len(set(left.tolist())) == 1 or len(set(right.tolist())) == 1:
        assert math.isnan(got)
    else:
        assert got == pytest.approx(reference.rank_correlation(left.tolist(), right.tolist()))


def test_errors_are_in_bits_per_byte():
    quality = measure_fit(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.3]))
    assert quality.rmse == pytest.approx(0.3 / math.sqrt(3)) and quality.max_error == pytest.approx(0.3)
    assert quality.rank_correlation == 1.0


@pytest.mark.parametrize(
    ("shares", "values", "message"),
    [
        (draw_shares(4, 3), np.ones(4), "at least 5 mixes for 3 sources"),
        (np.column_stack((draw_shares(9, 2), np.zeros(9))), np.ones(9), "source 2 is in none"),
        (np.tile([[0.5, 0.25, 0.25], [0.2, 0.4, 0.4]], (4, 1)), np.ones(8), "3 independent ways, they do in 2"),
        (draw_shares(9, 3), np.array([1.0] * 8 + [math.nan]), "mix 8"),
        (draw_shares(9, 3), np.array([0.0] + [1.0] * 8), "above 0"),
    ],
)
def test_what_cannot_be_fitted_is_said(shares, values, message):
    with pytest.raises(ConfigError, match=message):
        fit_log_linear(shares, values)
