"""The released rates are those of p = 0.40 and one steepness per topic, and a plan with that rule has them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.released_mix import make_cells, make_rule_plan
from dolma_py.errors import ConfigError
from mixers import plan
from mixers.curve import CurveConfig
from mixers.released_curve import RELEASED_POWER, fit_topic, load_released, mean_rates
from tests.reference import curve as reference
from tests.unit.mixers.test_mixers_plan import build_cells

TOPICS = load_released()
UNIT = 1 << 20  # tokens in place of 1024^3: a smaller corpus of the same shape


def test_the_released_table():
    assert len(TOPICS) == 24 and all(19 not in topic.bucket for topic in TOPICS.values())
    for name, topic in TOPICS.items():
        # what the rates give of the kept tokens is the mix, as far as two or three digits tell
        lowest, highest = (topic.tokens * rates for rates in (topic.lowest, topic.highest))
        assert lowest.sum() * 0.99 - 0.1 <= topic.mix_tokens <= highest.sum() * 1.01 + 0.1, name
    tops = sorted((topic.rate[-1], name) for name, topic in TOPICS.items())[-4:]
    assert [name for rate, name in tops if rate > 7] == [
        "games",
        "software",
        "science_math_and_technology",
        "software_development",
    ]


@pytest.mark.parametrize("name", list(TOPICS))
def test_log_rates_are_met(name):
    fit = fit_topic(name)
    assert fit.rms <= 0.06 and 0.5 < fit.steepness < 13.5
    topic = TOPICS[name]
    far = mean_rates(topic.tokens, power=RELEASED_POWER, steepness=2.0, mean=topic.mix_tokens / topic.tokens.sum())
    if fit.steepness > 4:  # the written range of lambda, 2 at most, cannot meet them
        assert abs(np.log(far / np.clip(far, topic.lowest, topic.highest))).max() > 0.5


def test_rates_match_the_twin():
    tokens, mean = [5.0, 3.0, 2.0], 1.7
    got = mean_rates(np.array(tokens), power=0.4, steepness=6.0, mean=mean)
    edges, total = [0.0, 0.5, 0.8, 1.0], reference.integrate_curve(1.0, power=0.4, growth=6.0)
    for bucket in range(3):
        part = reference.integrate_curve(edges[bucket + 1], power=0.4, growth=6.0) - reference.integrate_curve(
            edges[bucket], power=0.4, growth=6.0
        )
        assert got[bucket] == pytest.approx(mean * part / total / (edges[bucket + 1] - edges[bucket]), rel=1e-6)
    assert (got * np.array(tokens)).sum() == pytest.approx(mean * sum(tokens))


def make_released_cells(unit=UNIT):
    """The released topics as a corpus: kept tokens by bucket, and below them 40% of the tokens in one."""
    cells = {}
    for name, topic in TOPICS.items():
        kept = np.rint(topic.tokens * unit).astype(int).tolist()
        below = round(sum(kept) * 0.4 / 0.6)
        cells["web", name] = [0] * (13 - len(kept)) + [below, *kept]
    return cells


def plan_released(unit=UNIT, **curve):
    total = sum(topic.mix_tokens for topic in TOPICS.values())
    shares = {name: topic.mix_tokens / total for name, topic in TOPICS.items()}
    source = plan.SourceConfig(share=1.0, curve=True, max_repetition=7.0, topics=shares)
    config = plan.PlanConfig(token_budget=round(total * unit), sources={"web": source}, curve=CurveConfig(**curve))
    return plan.make_plan(build_cells(make_released_cells(unit)), config)


def test_a_plan_as_released_has_the_released_rates():
    made = plan_released(rule="as-released")
    for row in made.groups:
        topic = TOPICS[row["topic"]]
        rates = np.array(row["rates"][-len(topic.rate) :])
        rms = np.sqrt(np.mean(np.log(rates / np.clip(rates, topic.lowest, topic.highest)) ** 2))
        assert rms <= 0.06 and row["curve"]["power"] == 0.4 and row["curve"]["binds"] == "steepness", row["topic"]
        assert row["planned_tokens"] == pytest.approx(topic.mix_tokens * UNIT, rel=1e-3)
        # what the plan says of the fit, from the rates themselves
        plain = np.sqrt(np.mean(np.log(rates / topic.rate) ** 2))
        assert row["curve"]["fit_rms_log_rate"] == pytest.approx(rms, abs=2e-3)
        assert row["curve"]["fit_rms_log_rate_written"] == pytest.approx(plain, abs=2e-3)
        assert "rms_log_rate" not in row["curve"]  # no vigintiles
        assert sum(row["rates"][: -len(topic.rate)]) == 0
    top = {row["topic"]: row["rates"][-1] for row in made.groups}
    assert top["software_development"] == pytest.approx(8.37, abs=0.03) and top[
        "science_math_and_technology"
    ] == pytest.approx(8.17, abs=0.03)


def test_a_plan_as_written_differs_and_keeps_the_cap():
    made = plan_released(rule="as-written")
    assert all(row["curve"]["top_rate"] <= 7 + 1e-5 and row["curve"]["growth"] <= 2 for row in made.groups)
    travel = next(row for row in made.groups if row["topic"] == "travel_and_tourism")
    released = TOPICS["travel_and_tourism"].rate
    assert travel["rates"][-len(released)] > 100 * released[0]  # the written curve is far flatter


def test_a_plan_over_vigintiles_says_how_far_its_own_rates_are():
    """Twice the tokens are twice the rates, ln 2 above those of the fit."""
    for times in (1, 2):
        made = make_rule_plan(make_cells(), "as-released", CurveConfig(), times)
        assert len(made.groups) == 24
        for row in made.groups:
            topic = TOPICS[row["topic"]]
            far = [
                math.log(row["rates"][number - 1] / rate) for number, rate in zip(topic.bucket, topic.rate, strict=True)
            ]
            expected = math.sqrt(sum(one * one for one in far) / len(far))
            assert row["curve"]["rms_log_rate"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
            if times == 1:
                assert expected == pytest.approx(row["curve"]["fit_rms_log_rate_written"], abs=5e-3)


@pytest.mark.parametrize("rule", ["as-written", "as-released", "exponential"])
def test_caps_and_rates_hold_to_a_token_at_the_released_size(rule):
    made = plan_released(1 << 30, rule=rule)
    names = ("tokens", "planned_tokens", "rate", "max_repetition")
    tokens, planned, rate, most = (made.cells[name].to_numpy() for name in names)
    assert tokens.max() > 1 << 35 and planned.sum() == sum(row["planned_tokens"] for row in made.groups)
    assert (planned <= most * tokens + 1).all() and np.abs(rate * tokens - planned).max() <= 1
    assert (most == 7).all() or rule == "as-released"


def test_topics_that_were_not_released_need_a_steepness():
    cells = build_cells({("web", "recipes"): [5, 5, 5, 5]})
    source = plan.SourceConfig(curve=True)
    with pytest.raises(ConfigError, match="recipes"):
        plan.make_plan(cells, plan.PlanConfig(token_budget=9, default=source, curve=CurveConfig(rule="as-released")))
    made = plan.make_plan(
        cells,
        plan.PlanConfig(
            token_budget=9, default=source, curve=CurveConfig(rule="as-released", steepness={"recipes": 3.0})
        ),
    )
    assert made.groups[0]["curve"]["growth"] == pytest.approx(3.0 / 0.75)  # the bucket that crosses 0.40 stays


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"b": 0.7, "nosuch": 0.1}, "nosuch"),
        ({"a": 0.7, "b": 0.7}, "sum to at most 1"),
        ({"a": 0.5, "b": 0.2}, "sum to 1"),
    ],
)
def test_shares_of_topics_that_cannot_be(shares, said):
    cells = build_cells({("web", "a"): [10, 10], ("web", "b"): [20, 20]})
    with pytest.raises(ConfigError, match=said):
        plan.make_plan(cells, plan.PlanConfig(token_budget=30, sources={"web": plan.SourceConfig(topics=shares)}))


def test_topics_without_a_share_divide_the_rest():
    cells = build_cells({("web", "a"): [100], ("web", "b"): [200], ("web", "c"): [200]})
    made = plan.make_plan(
        cells, plan.PlanConfig(token_budget=100, sources={"web": plan.SourceConfig(topics={"a": 0.5})})
    )
    assert made.cells["planned_tokens"].to_pylist() == [50, 25, 25]
