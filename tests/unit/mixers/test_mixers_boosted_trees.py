"""Boosted trees learn what is not log-linear, and their search keeps the limits."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dolma_py.errors import ConfigError, MissingDependencyError
from mixers.boosted_trees import fit_boosted_trees, leave_one_out_trees, search_optimum
from mixers.mix_limits import find_limits
from mixers.mix_optimum import find_optimum
from mixers.mix_regression import LogLinear, fit_log_linear, rank_correlation

NAMES = ("web", "code", "math")


def make_limits(*, budget=1, fixed=None):
    tokens = dict(zip(NAMES, (800, 150, 50), strict=True))
    return find_limits(tokens, budget=budget, max_repetition=dict.fromkeys(NAMES, 4.0), fixed=fixed or {}, frozen={})


def draw(num_mixes, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).dirichlet(np.ones(3), num_mixes)


def bent(shares):
    """A valley around a fifth of code, which no monotone law has."""
    return 1.0 + 4 * np.abs(shares[:, 1] - 0.2) + 0.2 * shares[:, 2]


def test_a_valley_is_learned():
    pytest.importorskip("lightgbm")
    mixes, others = draw(150), draw(200, 1)
    trees = fit_boosted_trees(mixes, bent(mixes))
    assert rank_correlation(trees.predict(others), bent(others)) > 0.95
    law = fit_log_linear(mixes, bent(mixes))
    assert np.abs(trees.predict(others) - bent(others)).mean() < 0.5 * np.abs(law.predict(others) - bent(others)).mean()
    found = search_optimum([trees], make_limits(), np.ones(1), seed=0)
    assert found.shares[1] == pytest.approx(0.2, abs=0.05) and found.gap is None
    assert found.predicted == pytest.approx(trees.predict(found.shares[None])[0])


def test_the_same_input_gives_the_same():
    pytest.importorskip("lightgbm")
    mixes = draw(30)
    first, second = (fit_boosted_trees(mixes, bent(mixes)).booster.model_to_string() for _ in range(2))
    assert first == second


def test_a_mix_left_out_is_not_seen():
    pytest.importorskip("lightgbm")
    mixes = draw(20)
    values = bent(mixes)
    changed = values.copy()
    changed[7] = 50.0
    assert leave_one_out_trees(mixes, changed)[7] == leave_one_out_trees(mixes, values)[7]


def test_the_search_is_near_the_convex_minimum_and_keeps_its_limits():
    laws = [LogLinear(0.5, np.array([0.3, -3.0, 0.0])), LogLinear(0.8, np.array([0.2, -0.5, -2.0]))]
    for values in ({}, {"budget": 1000}, {"fixed": {"web": 0.5}}, {"fixed": {"web": 0.5, "code": 0.25, "math": 0.25}}):
        limits = make_limits(**values)
        exact, found = find_optimum(laws, limits, np.ones(2)), search_optimum(laws, limits, np.ones(2), seed=0)
        assert abs(found.shares.sum() - 1) < 1e-9
        assert (found.shares <= limits.highest + 1e-9).all() and (found.shares >= limits.lowest - 1e-9).all()
        assert exact.predicted - 1e-9 <= found.predicted <= exact.predicted + 0.01


def test_too_few_mixes_and_no_library_are_said(monkeypatch):
    with pytest.raises(ConfigError, match="at least 5 mixes"):
        fit_boosted_trees(draw(4), np.ones(4))
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingDependencyError, match=r"dolma-py\[trees\]"):
        fit_boosted_trees(draw(9), np.ones(9))
