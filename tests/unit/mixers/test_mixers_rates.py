"""Every rule of rates against its twin, and what all of them promise of a plan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.errors import ConfigError
from mixers import plan
from mixers.curve import CurveConfig
from tests.reference import rates as reference
from tests.unit.mixers.test_mixers_plan import build_cells

TOKENS = st.lists(st.integers(0, 5000), min_size=6, max_size=6).filter(lambda row: sum(row) > 0)
WEIGHTS = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 7)), min_size=6, max_size=6)
RULES = ("flat", "as-written", "exponential", "as-released", "flat-filter", "duplicates", "given")
NUM_BUCKETS = 6


def make_source(rule, max_rate, rates):
    if rule == "flat":
        return plan.SourceConfig(max_repetition=max_rate)
    if rule == "given":
        return plan.SourceConfig(max_repetition=max_rate, rates={"*": [min(rate, max_rate) for rate in rates]})
    return plan.SourceConfig(max_repetition=max_rate, curve=rule)


@settings(max_examples=40)
@given(
    TOKENS, st.sampled_from(["flat", "exponential", "flat-filter", "duplicates"]), st.floats(0.05, 1.0),
    st.sampled_from([1.0, 3.5, 7.0]), WEIGHTS,
)  # fmt: skip
def test_rates_match_reference(tokens, rule, share_of_most, max_rate, weights):
    target = max(1, round(share_of_most * sum(tokens) * max_rate))
    expected = reference.rate_buckets(tokens, rule=rule, target=target, max_rate=max_rate, weights=weights)
    config = plan.PlanConfig(token_budget=target, default=make_source(rule, max_rate, []))
    cells = build_cells({("s", ""): tokens})
    if expected is None:
        with pytest.raises(ConfigError):
            plan.make_plan(cells, config, {"s": np.array(weights)})
        return
    made = plan.make_plan(cells, config, {"s": np.array(weights)})
    assert made.cells["rate"].to_pylist() == pytest.approx(expected, rel=1e-5, abs=1e-9)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(TOKENS, st.sampled_from(RULES)), min_size=1, max_size=5),
    st.floats(0.01, 0.99), st.sampled_from([0.5, 1.0, 7.0]), WEIGHTS,
)  # fmt: skip
def test_plans_keep_budget_caps_and_order(rows, share_of_most, max_rate, weights):
    cells = build_cells({(f"s{i}", "games"): tokens for i, (tokens, _) in enumerate(rows)})
    sources = {f"s{i}": make_source(rule, max_rate, weights) for i, (_, rule) in enumerate(rows)}
    size_weights = {name: np.array(weights) for name in sources}
    # what they give at most the message says: the first budget is too large
    with pytest.raises(ConfigError) as caught:
        plan.make_plan(cells, plan.PlanConfig(token_budget=1 << 50, sources=sources), size_weights)
    most, fixed = read_most(caught.value), given_tokens(rows, max_rate, weights)
    budget = max(1, fixed + int(share_of_most * (most - fixed)))
    if not can_take(rows, budget, fixed):
        return
    made = plan.make_plan(cells, plan.PlanConfig(token_budget=budget, sources=sources), size_weights)
    tokens, planned, rate = (made.cells[name].to_numpy() for name in ("tokens", "planned_tokens", "rate"))
    assert planned.sum() == budget and (planned >= 0).all() and (planned[tokens == 0] == 0).all()
    rules = np.repeat([rule for _, rule in rows], NUM_BUCKETS)
    capped = rules != "as-released"
    assert (rate[capped] <= max_rate).all() and (planned[capped] <= max_rate * tokens[capped] + 1).all()
    assert np.abs(rate * tokens - planned).max() <= 1 + 1e-6 * budget
    for g, (row, rule) in enumerate(rows):
        mine = rate[g * NUM_BUCKETS : (g + 1) * NUM_BUCKETS][np.array(row) > 0]
        if rule in ("flat", "as-written", "exponential", "as-released", "flat-filter"):
            # a better bucket is repeated no less
            assert (np.diff(mine) >= -1e-9 * np.maximum(mine[:-1], 1)).all(), rule
    assert set(made.cells["binds"].to_pylist()) <= set(plan.BINDINGS)


LARGE = st.lists(
    st.one_of(st.just(0), st.integers(1, 1 << 35), st.integers(1 << 34, 1 << 35)), min_size=6, max_size=6
).filter(lambda row: sum(row) > 1 << 20)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(LARGE, st.sampled_from([rule for rule in RULES if rule != "given"])), min_size=1, max_size=4),
    st.floats(0.3, 1.0), st.sampled_from([0.5, 1.0, 7.0]), st.lists(st.floats(1e-6, 7), min_size=6, max_size=6),
)  # fmt: skip
def test_large_plans_keep_caps_to_a_token(rows, share_of_most, max_rate, weights):
    """Cells of up to 2^35 tokens: a millionth of them is not nothing."""
    cells = build_cells({(f"s{i}", "games"): tokens for i, (tokens, _) in enumerate(rows)})
    sources = {f"s{i}": make_source(rule, max_rate, weights) for i, (_, rule) in enumerate(rows)}
    size_weights = {name: np.array(weights) for name in sources}
    with pytest.raises(ConfigError) as caught:
        plan.make_plan(cells, plan.PlanConfig(token_budget=1 << 50, sources=sources), size_weights)
    budget = max(1, int(share_of_most * read_most(caught.value)))
    made = plan.make_plan(cells, plan.PlanConfig(token_budget=budget, sources=sources), size_weights)
    tokens, planned, rate, most = (
        made.cells[name].to_numpy() for name in ("tokens", "planned_tokens", "rate", "max_repetition")
    )
    capped = np.repeat([rule for _, rule in rows], NUM_BUCKETS) != "as-released"
    assert planned.sum() == budget and (most[capped] == max_rate).all()
    assert (most[~capped] == np.maximum(rate[~capped], max_rate)).all()
    assert (planned <= most * tokens + 1).all() and (rate <= most).all()


def read_most(error):
    """The most tokens that an error about the budget names; of rates by hand alone, what they take."""
    words = error.rule.split()
    return int(words[words.index("most") + 1]) if "most" in words else int(words[words.index("take") + 1])


def given_tokens(rows, max_rate, weights):
    copies = np.minimum(weights, max_rate)
    return sum(int(np.rint((copies * row).sum())) for row, rule in rows if rule == "given")


def can_take(rows, budget, fixed):
    return budget == fixed or any(rule != "given" for _, rule in rows)


def plan_one(tokens, budget, **source):
    config = plan.PlanConfig(token_budget=budget, default=plan.SourceConfig(**source))
    return plan.make_plan(build_cells({("web", "a"): tokens}), config)


def test_flat_filtering_at_its_own_size_takes_the_top_half_once():
    made = plan_one([100] * 20, 1000, curve="flat-filter", throwaway_frac=0.5)
    assert made.cells["rate"].to_pylist() == [0.0] * 10 + [1.0] * 10
    assert made.cells["binds"].to_pylist() == ["throwaway"] * 10 + ["natural"] * 10


def test_a_source_has_a_cut_of_its_own():
    tokens = {("a", ""): [10] * 10, ("b", ""): [10] * 10}
    sources = {"a": plan.SourceConfig(curve="as-written", throwaway_frac=0.8), "b": plan.SourceConfig(curve=True)}
    made = plan.make_plan(build_cells(tokens), plan.PlanConfig(token_budget=60, sources=sources))
    used = (made.cells["rate"].to_numpy().reshape(2, 10) > 0).sum(axis=1)
    assert used.tolist() == [2, 6]


def test_an_exponential_is_one():
    made = plan_one([100] * 20, 1000, curve="exponential")
    rates = np.array(made.groups[0]["rates"])[8:]
    assert made.groups[0]["curve"]["power"] == 0.0 and made.groups[0]["curve"]["growth"] == 2.0
    assert np.diff(np.log(rates)) == pytest.approx(2.0 * 0.05, abs=1e-4)


def test_the_cap_binds_an_exponential():
    config = plan.PlanConfig(
        token_budget=5000, curve=CurveConfig(max_growth=50), default=plan.SourceConfig(curve="exponential")
    )
    made = plan.make_plan(build_cells({("web", "a"): [100] * 20}), config)
    curve = made.groups[0]["curve"]
    assert curve["binds"] == "max_repetition" and curve["top_rate"] == pytest.approx(7.0, abs=2e-6)
    assert made.cells["binds"].to_pylist()[-1] == "max_repetition"


def test_duplicates_follow_their_weights_until_the_cap():
    cells = build_cells({("web", ""): [1000, 100, 10, 0]})
    config = plan.PlanConfig(token_budget=1500, default=plan.SourceConfig(curve="duplicates", max_repetition=4))
    made = plan.make_plan(cells, config, {"web": np.array([1.0, 3.0, 10.0, 5.0])})
    rate = made.cells["rate"].to_pylist()
    # 10 tokens at the cap; 1460 in the ratio of 1000 and 300
    assert rate[2] == 4.0 and rate[1] == pytest.approx(3 * rate[0]) and rate[0] == pytest.approx(1460 / 1300)
    assert rate[3] == 0 and made.cells["binds"].to_pylist() == ["natural", "natural", "max_repetition", "empty"]
    assert made.groups[0]["weights"] == [1.0, 3.0, 10.0, 5.0]


def test_weight_zero_throws_away():
    config = plan.PlanConfig(
        token_budget=100, default=plan.SourceConfig(curve="duplicates"), duplicates={"weights": [0.0, 1.0]}
    )
    made = plan.make_plan(build_cells({("web", ""): [50, 50]}), config, {"web": np.ones(2)})
    assert made.cells["rate"].to_pylist() == [0.0, 2.0] and made.cells["binds"].to_pylist()[0] == "throwaway"


def test_rates_by_hand_take_theirs_and_the_others_divide_the_rest():
    tokens = {("code", ""): [100] * 4, ("web", "a"): [100] * 4, ("web", "b"): [100] * 4, ("wiki", ""): [10] * 4}
    sources = {"code": {"rates": {"*": [0, 0.5, 1, 2]}}, "web": {"rates": {"a": 0.25}}, "wiki": {"share": 0.1}}
    config = plan.PlanConfig.model_validate({"token_budget": 1000, "sources": sources})
    made = plan.make_plan(build_cells(tokens), config)
    planned = {(row["source"], row["topic"]): row["planned_tokens"] for row in made.groups}
    assert planned == {("code", ""): 350, ("web", "a"): 100, ("web", "b"): 450, ("wiki", ""): 100}
    assert made.groups[0]["rates"] == [0.0, 0.5, 1.0, 2.0] and made.groups[0]["rule"] == "given"
    assert made.cells["binds"].to_pylist()[:8] == ["given"] * 8
    assert [row["binds"] for row in made.sources] == ["given", "natural", "share"]
