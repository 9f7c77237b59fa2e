import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError
from dolma_py.rules import evaluate_rule, parse_rule
from pipelines.recipe import build_steps, load_recipe
from pipelines.short_circuit import ShortCircuit, check_order, choose_whole
from pipelines.steps import Rule, SettingsPlace
from taggers.registry import build_tagger
from taggers.web_filter import PRESETS

SETS = {"lengths-v1": build_tagger("lengths"), "olmo3-web-v1": build_tagger("web-filter")}
RULES = [
    Rule(name="words", attributes="lengths-v1", keep="num_words >= 8"),
    Rule(name="stop_words", attributes="olmo3-web-v1", keep="num_stop_words >= 2", except_sources=["code"]),
    Rule(name="bigrams", attributes="olmo3-web-v1", keep="top_2gram_char_frac <= 0.4"),
    Rule(name="edits", attributes="olmo3-web-v1", edit="edits"),
    Rule(name="removed", attributes="olmo3-web-v1", keep="removed_word_frac <= 0.2"),
    Rule(name="sentences", attributes="olmo3-web-v1", keep="num_sentences >= 2"),
]
TEXTS = [
    "too short", "one two three four five six seven eight nine", "the cat of the hill " * 5, "the cat. The dog of it. And so to bed. Yes, you.",
    "the cat of the hill\nX\nY\nZ\nQ\nand on it went from here to there. It was.", "",
]  # fmt: skip


def make_batch(texts, first=0):
    ids = [f"doc-{first + number}" for number in range(len(texts))]
    sources = ["code" if number % 3 == 2 else "web" for number in range(first, first + len(texts))]
    return pa.record_batch({"id": ids, "source": sources, "text": pa.array(texts, pa.large_string())})


def tag(batch, whole_frac, rules=RULES):
    made = ShortCircuit([rule.model_dump() for rule in rules], seed=5, whole_frac=whole_frac).tag(SETS, batch)
    assert {name: made[name].schema for name in made} == {name: tagger.schema for name, tagger in SETS.items()}
    assert {made[name].num_rows for name in made} == {batch.num_rows}
    return made


def decide(made, sources):
    """Number of the first rule that drops each row, in the view's order."""
    failed = np.full(len(sources), -1)
    for number, rule in enumerate(RULES):
        if rule.keep:
            holds, _ = evaluate_rule(parse_rule(rule.keep), pa.table(made[rule.attributes]))
            asked = np.array([source not in (rule.except_sources or []) for source in sources])
            failed[(failed < 0) & asked & ~holds] = number
    return failed.tolist()


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12), st.sampled_from([0.0, 0.3, 1.0]))
def test_decisions_are_those_without_it(texts, whole_frac):
    batch = make_batch(texts)
    sources = batch.column("source").to_pylist()
    full = {name: tagger.tag(batch) for name, tagger in SETS.items()}
    made = tag(batch, whole_frac)
    assert decide(made, sources) == decide(full, sources)
    whole = choose_whole(batch.column("id"), seed=5, frac=whole_frac)
    for name in SETS:
        for column in made[name].schema.names:
            values, expected = made[name].column(column), full[name].column(column)
            assert not values.is_null().to_numpy(zero_copy_only=False)[whole].any()
            assert values.drop_null().to_pylist() == expected.filter(values.is_valid()).to_pylist()


def test_it_spares_what_comes_after():
    made = tag(make_batch(TEXTS), 0.0)
    assert made["lengths-v1"].column("num_words").null_count == 0
    later = made["olmo3-web-v1"]
    assert later.column("num_words").is_null().to_pylist() == [True, False, False, False, False, True]
    # the second is stopped by its stop words; the third repeats, and is code: what is not for code does not stop it
    assert later.column("top_2gram_char_frac").is_null().to_pylist() == [True, True, False, False, False, True]


def test_the_batch_does_not_matter():
    texts = TEXTS * 7
    whole = tag(make_batch(texts), 0.3)
    parts = [tag(make_batch(texts[start : start + 4], start), 0.3) for start in range(0, len(texts), 4)]
    for name in SETS:
        assert (
            pa.Table.from_batches([part[name] for part in parts]).combine_chunks().to_pylist()
            == whole[name].to_pylist()
        )


def test_the_sample_is_a_function_of_seed_and_id():
    ids = pa.array([f"doc-{number}" for number in range(4000)])
    whole = choose_whole(ids, seed=5, frac=0.1)
    assert 300 < whole.sum() < 500
    assert (choose_whole(ids.slice(1000, 100), seed=5, frac=0.1) == whole[1000:1100]).all()
    assert choose_whole(ids, seed=5, frac=1.0).all() and not choose_whole(ids, seed=5, frac=0.0).any()
    assert (choose_whole(ids, seed=6, frac=0.1) != whole).any()


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        (RULES, None),
        ([RULES[1], RULES[0]], "words"),
        ([RULES[2], RULES[1]], "stop_words"),
        ([RULES[4], RULES[3]], None),
        ([RULES[5], RULES[3]], "edits"),
        ([RULES[2], Rule(name="mixed", attributes="olmo3-web-v1", keep="num_words >= 5 and num_sentences >= 2")], "mixed"),
        ([Rule(name="bytes", min_text_bytes=9), RULES[0]], None),
        ([Rule(name="earlier", attributes="language-v3", keep='lang == "en"'), RULES[0]], None),
    ],
)  # fmt: skip
def test_rules_come_in_the_order_of_what_they_ask(rules, wrong):
    if wrong is None:
        check_order(SettingsPlace(""), rules, SETS)
        return
    with pytest.raises(ConfigError) as caught:
        check_order(SettingsPlace("steps.tag."), rules, SETS)
    assert caught.value.key == f"steps.tag.rules.{wrong}"


def test_the_packaged_recipe_has_the_presets_rules():
    steps = {step.name: step for step in build_steps(load_recipe("olmo3-web", []))}
    rules = [rule for name in ("filter", "language") for rule in steps[name].rules]
    ours = [rule.keep for rule in rules if rule.keep and rule.attributes == "olmo3-web-v1"]
    assert ours == [rule.expression for rule in PRESETS["olmo3-web"].rules]
    assert [rule.name for rule in rules if rule.edit] == ["lines_edits"]
    check_order(SettingsPlace(""), steps["filter"].rules, SETS)


def test_rules_decide_the_step_only_where_they_spare():
    def identity(*overrides):
        (step,) = [step for step in build_steps(load_recipe("olmo3-web", list(overrides))) if step.name == "filter"]
        return step.identity()

    assert "rules" in identity()["config"]
    plain = identity("steps.filter.short_circuit=false")["config"]
    assert not {"rules", "short_circuit", "whole_frac"} & set(plain)
