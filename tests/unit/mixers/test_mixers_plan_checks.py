"""What cannot hold is said: which setting, by how much, what would do; and what the message offers does."""

from __future__ import annotations

import pytest

from dolma_py.errors import ConfigError
from mixers import plan
from tests.unit.mixers.test_mixers_plan import build_cells, planned_by_source

CELLS = build_cells({
    ("code", ""): [100] * 10, ("web", "a"): [300] * 10, ("web", "b"): [50] * 10, ("web", "none"): [0] * 10, ("wiki", ""): [10] * 10,
})  # fmt: skip


def make(budget, sources, **settings):
    config = plan.PlanConfig.model_validate({"token_budget": budget, "sources": sources, **settings})
    return plan.make_plan(CELLS, config)


def refuse(budget, sources, **settings):
    with pytest.raises(ConfigError) as caught:
        make(budget, sources, **settings)
    return caught.value


@pytest.mark.parametrize("rule", [False, "as-written", "exponential", "flat-filter"])
def test_the_budget_that_the_message_offers_can_be_planned(rule):
    default = {"curve": rule, "max_repetition": 2.0}
    error = refuse(1_000_000, {}, default=default)
    most = int(error.rule.split()[5])
    assert error.key == "plan.token_budget" and "web " in error.rule and str(1_000_000 - most) in error.hint
    # a floor of a float sum: the last token may be one that no whole part has
    made = make(most - 1, {}, default=default)
    assert sum(planned_by_source(made).values()) == most - 1
    assert refuse(most + 1, {}, default=default).key == "plan.token_budget"


def test_a_topic_that_cannot_give_its_share_is_told_and_others_give_more():
    web = {"share": 0.5, "topics": {"b": 0.6}, "max_repetition": 2}
    made = make(4000, {"web": web})
    (short,) = made.shortages
    assert short.key() == "plan.sources.web.topics.b" and (short.wanted_tokens, short.planned_tokens) == (1200, 1000)
    assert short.say().endswith("200 too few: max_repetition 2 binds, 2.4 would do")
    assert [row["planned_tokens"] for row in made.groups if row["source"] == "web"] == [1000, 1000, 0]
    assert not make(4000, {"web": web | {"max_repetition": 2.4}}).shortages
    error = refuse(4000, {"web": web}, on_shortage="error")
    assert error.key == "plan.sources.web.topics.b" and "1000 of the 1200" in error.rule


def test_shares_of_what_has_no_tokens_are_told():
    made = make(2000, {"web": {"topics": {"none": 0.25}}})
    assert [short.say() for short in made.shortages] == [
        "web/none gives at most 0 of the 380 tokens of its share, 380 too few: it has no tokens that the plan may take"
    ]
    empty = build_cells({("a", ""): [10], ("b", ""): [0]})
    config = plan.PlanConfig.model_validate({"token_budget": 10, "sources": {"b": {"share": 0.5}}})
    made = plan.make_plan(empty, config)
    assert [row["binds"] for row in made.sources] == ["natural", "empty"] and made.shortages[0].binds == "empty"


def test_topics_with_all_of_the_share_bound_their_source():
    """Only what may be taken counts: topic b alone cannot be repeated for the others."""
    web = {"share": 0.5, "topics": {"b": 1.0}, "max_repetition": 2}
    made = make(4000, {"web": web, "code": {"max_repetition": 5}})
    assert planned_by_source(made)["web"] == 1000 and max(made.cells["rate"].to_pylist()) <= 7
    error = refuse(4000, {"web": web}, on_shortage="error")
    assert error.key == "plan.sources.web.share" and "1000 of the 2000" in error.rule


def test_all_shares_that_fail_are_counted():
    sources = {"wiki": {"share": 0.5, "max_repetition": 1}, "code": {"share": 0.4, "max_repetition": 1}}
    error = refuse(4000, sources, on_shortage="error")
    assert error.key == "plan.sources.wiki.share" and "1 other shares fail too" in error.rule


@pytest.mark.parametrize(
    ("budget", "sources", "key", "said"),
    [
        (1000, {"code": {"rates": {"*": 8}}}, "plan.sources.code.rates.*", "1 too much: lower the rate, or set max_repetition: 8"),
        (1000, {"code": {"rates": {"*": [1, 2]}}}, "plan.sources.code.rates.*", "expected 10 rates"),
        (1000, {"code": {"rates": {"x": 1}}}, "plan.sources.code.rates", "expected topics of the source"),
        (1000, {"web": {"rates": {"a": 1}, "topics": {"a": 0.5}}}, "plan.sources.web.rates.a", "not both"),
        (1000, {"code": {"rates": {"*": 0.5}, "share": 0.5}}, "plan.sources.code.share", "take 500 tokens"),
        (1000, {"code": {"rates": {"*": 2}}}, "plan.token_budget", "take 2000 tokens"),
        (1000, {"code": {"rates": {"*": 0.5}}, "web": {"share": 0.6}}, "plan.token_budget", "at least 1250"),
        (1000, {"code": {"rates": {"*": 0.5}}, "web": {"share": 0.4}, "wiki": {"share": 0.0}}, "plan.token_budget", "Set it to 833"),
        (1000, {"web": {"rates": {"a": 0.2}, "share": 0.1}}, "plan.sources.web.rates", "take 500 too many"),
        (1000, {"web": {"share": 0.7}, "code": {"share": 0.5}}, "plan.sources.share", "0.2 too much"),
        (1000, {"web": {"curve": "duplicates"}}, "plan.sources.web.curve", "Set duplicates"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(budget, sources, key, said):
    error = refuse(budget, sources)
    assert error.key == key and said in str(error)


def test_what_the_message_about_rates_offers_does():
    sources = {"code": {"rates": {"*": 0.5}}, "web": {"share": 0.6}, "wiki": {"share": 0.0}}
    assert planned_by_source(make(1250, sources)) == {"code": 500, "web": 750, "wiki": 0}
    made = make(1250, sources)
    assert made.cells["binds"].to_pylist()[-10:] == ["no_share"] * 10
