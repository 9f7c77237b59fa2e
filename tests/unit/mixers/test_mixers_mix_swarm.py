"""Drawn mixes keep their limits and have the natural distribution as their mean; grids are whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.config import build_config
from dolma_py.errors import ConfigError
from mixers.mix_limits import expand_shares, find_limits, natural_shares
from mixers.mix_swarm import SwarmConfig, draw_mixes, fits_limits, grid_mixes
from tests.reference import mix_swarm as reference

THREE = {"web": 800, "code": 150, "math": 50}


def make_limits(tokens=THREE, *, budget=1, repetition=4.0, fixed=None, frozen=None):
    return find_limits(
        tokens, budget=budget, max_repetition=dict.fromkeys(tokens, repetition), fixed=fixed or {}, frozen=frozen or {}
    )


@pytest.mark.parametrize(("num_sources", "parts"), [(1, 1), (1, 5), (2, 3), (3, 10), (4, 4), (5, 1)])
def test_the_grid_is_that_of_all_tuples(num_sources, parts):
    assert grid_mixes(num_sources, parts).tolist() == reference.grid_mixes(num_sources, parts)


def test_the_tenth_grid_of_three_sources_has_66_mixes():
    mixes = grid_mixes(3, 10)
    assert len(mixes) == 66 and len({tuple(mix) for mix in mixes.tolist()}) == 66
    assert np.allclose(mixes.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize(("num_sources", "parts"), [(0, 3), (3, 0), (30, 30)])
def test_a_grid_that_cannot_be_is_refused(num_sources, parts):
    with pytest.raises(ConfigError, match="grid"):
        grid_mixes(num_sources, parts)


@given(
    st.lists(st.integers(1, 10**12), min_size=2, max_size=8), st.floats(0.2, 1), st.integers(0, 5), st.floats(0, 0.2)
)
def test_draws_keep_their_limits(tokens, tightness, seed, min_share):
    named = {f"s{i}": count for i, count in enumerate(tokens)}
    # a budget between what is there once and what the caps allow
    budget = max(1, int(4 * sum(tokens) * tightness * 0.9))
    limits = make_limits(named, budget=budget)
    try:
        mixes = draw_mixes(limits, SwarmConfig(seed=seed, min_share=min_share), count=5)
    except ConfigError as error:
        assert error.key == "swarm"  # so few mixes fit that five different ones are not found
        return
    assert mixes.shape == (5, len(tokens))
    assert np.abs(mixes.sum(axis=1) - 1).max() < 1e-9 and fits_limits(mixes, limits).all()
    smallest = np.minimum(min_share, limits.highest)
    assert ((mixes == 0) | (mixes >= smallest - 1e-9)).all()


def test_the_mean_is_the_natural_distribution():
    mixes = draw_mixes(make_limits(), SwarmConfig(min_share=0, min_strength=0.5, max_strength=20), count=1000)
    # standard error of a share of variance at most 0.16 / 1.5
    assert np.abs(mixes.mean(axis=0) - [0.8, 0.15, 0.05]).max() < 4 * np.sqrt(0.107 / 1000)


def test_strength_is_nearness_to_the_natural_distribution():
    far, near = (
        draw_mixes(make_limits(), SwarmConfig(min_strength=s, max_strength=s, min_share=0), count=200) for s in (1, 100)
    )
    natural = make_limits().natural
    assert np.abs(near - natural).mean() < np.abs(far - natural).mean() / 3


def test_the_first_mixes_stay_and_the_seed_decides():
    few, many, other = (
        draw_mixes(make_limits(), SwarmConfig(seed=seed), count=count) for seed, count in ((1, 4), (1, 9), (2, 4))
    )
    assert np.array_equal(few, many[:4]) and not np.allclose(few, other)


def test_no_mix_comes_twice():
    # so weak that nearly every draw is one source alone: there are three such mixes
    settings = SwarmConfig(min_strength=0.001, max_strength=0.001, min_share=0.4)
    mixes = draw_mixes(make_limits(), settings, count=3)
    assert sorted(np.argmax(mixes, axis=1).tolist()) == [0, 1, 2]
    with pytest.raises(ConfigError, match="40 different mixes"):
        draw_mixes(make_limits(), settings, count=40)


def test_a_cap_is_reached_and_not_passed():
    # math has 50 of 1,000 tokens: four times that is a fifth of the budget
    limits = make_limits(budget=1000)
    assert limits.highest.tolist() == pytest.approx([1, 0.6, 0.2])
    mixes = draw_mixes(limits, SwarmConfig(min_strength=1, max_strength=1), count=100)
    assert mixes[:, 2].max() == pytest.approx(0.2) and fits_limits(mixes, limits).all()
    uncapped = draw_mixes(make_limits(), SwarmConfig(min_strength=1, max_strength=1), count=100)
    assert uncapped[:, 2].max() > 0.3


def test_a_fixed_share_stays():
    limits = make_limits(fixed={"web": 0.75})
    mixes = draw_mixes(limits, SwarmConfig(), count=20)
    assert (mixes[:, 0] == 0.75).all() and np.allclose(mixes.sum(axis=1), 1) and mixes[:, 1].std() > 0.01
    with pytest.raises(ConfigError, match="not fixed"):
        draw_mixes(make_limits(fixed={"web": 0.75, "code": 0.25, "math": 0.0}), SwarmConfig(), count=1)


def test_a_frozen_mix_is_one_source():
    limits = make_limits(budget=1000, frozen={"old": {"web": 3, "math": 1}})
    assert limits.names == ("code", "old") and limits.natural.tolist() == pytest.approx([0.15, 0.85])
    # math may be 0.2 of the budget and is a quarter of the frozen mix
    assert limits.highest.tolist() == pytest.approx([0.6, 0.8])
    assert expand_shares(limits, np.array([0.4, 0.6])) == pytest.approx({"code": 0.4, "web": 0.45, "math": 0.15})
    for mix in draw_mixes(limits, SwarmConfig(), count=10):
        shares = expand_shares(limits, mix)
        assert shares["web"] == pytest.approx(3 * shares["math"]) and shares["math"] <= 0.2 + 1e-9
        assert sum(shares.values()) == pytest.approx(1)


def test_the_natural_distribution_is_cut_at_caps():
    limits = find_limits(
        {"a": 90, "b": 10}, budget=100, max_repetition={"a": 0.5, "b": 7}, fixed={}, frozen={}
    )  # fmt: skip
    assert natural_shares(limits).tolist() == pytest.approx([0.45, 0.55])
    assert natural_shares(make_limits(fixed={"code": 0.6})).tolist() == pytest.approx([0.4 * 16 / 17, 0.6, 0.4 / 17])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"budget": 10_000}, "at most 4000 tokens .*web 3200, code 600, math 200.*Lower it by 6000, raise max_repetition 2.5 times"),
        ({"budget": 1000, "fixed": {"math": 0.3}}, "sources.math.fixed_share: max_repetition allows 0.2 .*raise max_repetition 1.5 times"),
        ({"fixed": {"web": 0.8, "code": 0.3}}, "0.1 too much"),
        ({"fixed": {"web": 0.8, "code": 0.1, "math": 0.0}}, "0.1 are missing"),
        ({"fixed": {"wiki": 0.1}}, "sources.wiki.fixed_share"),
        ({"frozen": {"old": {"wiki": 1}}}, "frozen.old: expected sources"),
        ({"frozen": {"web": {"code": 1}}}, "a name that no source has"),
        ({"frozen": {"old": {"web": 0}}}, "one above 0"),
        ({"frozen": {"old": {"web": 1}, "new": {"web": 1}}}, "no other frozen mix"),
        ({"fixed": {"web": 0.5}, "frozen": {"old": {"web": 1}}}, "sources.web.fixed_share"),
    ],
)  # fmt: skip
def test_limits_that_cannot_hold_are_told_with_the_amount(values, message):
    with pytest.raises(ConfigError, match=message):
        make_limits(**values)


def test_strengths_in_the_wrong_order_are_refused():
    with pytest.raises(ConfigError, match="min_strength"):
        build_config(SwarmConfig, {"min_strength": 5, "max_strength": 1})
