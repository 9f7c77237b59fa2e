"""The search for items equals its slow twin, score by score and span by span."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from dolma_py.errors import ConfigError
from taggers.contamination import ContaminationTaggerConfig
from taggers.contamination_settings import OWN_OPTIONS
from taggers.ngram_match import Item, ItemRules, build_index, find_items
from tests.reference import ngram_align as reference_align
from tests.reference import ngram_index as reference_index
from tests.reference import ngram_match as reference
from tests.reference import ngram_tokens as reference_tokens

WORDS = ["a", "b", "C", "d", "\u00c9t\u00e9", "f", "7", "\u65e5", "\u00b2", "e\u0301", "word"]
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)
SHORT = st.lists(st.sampled_from([*WORDS, "##"]), max_size=7).map(" ".join)
PARTS = st.tuples(SENTENCES, st.none() | SHORT, st.none() | SHORT | SENTENCES, st.sampled_from(["", "x", "y"]))
ITEMS = st.lists(PARTS, min_size=1, max_size=6)
SURE = ("a b C d f 7 a a b d C word alpha bravo charlie delta", "d 7 f", "b b C a word", "x")
SMALL = {
    "ngram_tokens": 2, "stride_tokens": 3, "max_misses": 3, "hot_ngram_items": 3, "decay_start_tokens": 4,
    "decay_end_tokens": 12, "answer_window_tokens": 9, "long_answer_window_tokens": 9, "answer_ngram_tokens": 2,
    "short_answer_tokens": 2, "threshold": 0.7, "min_item_tokens": 1, "min_unique_tokens": 1, "passage_ngram_tokens": 2,
    "passage_window_tokens": 9, "passage_max_misses": 1, "alone_start_tokens": 2, "alone_end_tokens": 6, "question_alone": 0.6,
    "short_question_alone": 0.8,
}  # fmt: skip
OPTIONS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["aligned", "decon"]), "question_alone": st.sampled_from([None, 0.4, 1.0]),
        "whole_short_questions": st.booleans(), "use_answers": st.booleans(), "use_passages": st.booleans(),
        "threshold": st.sampled_from([0.01, 0.3, 0.7, 1.0]), "passage_max_misses": st.integers(0, 3),
        "ngram_tokens": st.integers(1, 4), "short_question_alone": st.just(1.0),
        "stride_tokens": st.integers(1, 4), "hot_ngram_items": st.integers(1, 9),
        "max_single_chars": st.sampled_from([0.5, 1.0]),
        "common_phrases": st.sampled_from([{}, {"": ["a b"]}, {"x": ["C d f", "b"], "y": [""], "": ["7 a a b d C"]}]),
        "final_mark": st.sampled_from([None, "##"]), "min_item_tokens": st.sampled_from([1, 5]), "min_unique_tokens": st.sampled_from([1, 4]),
    }
)  # fmt: skip


def make_config(**options):
    """Small numbers, and of all options those that the mode reads."""
    chosen = {"mode": "aligned"} | SMALL | options
    foreign = {name for mode, names in OWN_OPTIONS.items() for name in names if mode != chosen["mode"]}
    return ContaminationTaggerConfig(
        items_paths=("x",), **{name: value for name, value in chosen.items() if name not in foreign}
    )


def make_items(parts):
    return [Item(str(number), *texts) for number, texts in enumerate(parts)]


def search(texts, items, config):
    """What the fast search finds: [Finding], with items by name."""
    index = build_index(items, settings=config.settings, rules=config.rules)
    view = view_text(pa.array(texts, pa.large_string()))
    found = find_items(view, index=index, settings=config.settings)
    names = [*index.ids, -1]
    bounds = found.span_offsets.tolist()
    columns = (found.span_starts, found.span_ends, found.span_scores, found.span_items)
    spans = [(a, b, score, names[item]) for a, b, score, item in zip(*map(list, columns), strict=True)]
    return [
        reference.Finding(score, names[item], tuple(overlaps), spans[bounds[row] : bounds[row + 1]])
        for row, (score, item, overlaps) in enumerate(
            zip(found.scores.tolist(), found.items.tolist(), found.overlaps.tolist(), strict=True)
        )
    ]


def search_slowly(texts, items, config):
    def split(text):
        return [token for token, _, _ in reference_tokens.split_tokens(text)]

    slow = reference_index.Items(items, config.settings, config.rules, split)
    find = {"aligned": reference_align.find_items, "decon": reference.find_items, "ngrams": reference.find_ngrams}[
        config.mode
    ]
    found = [find(reference_tokens.split_tokens(text), slow) for text in texts]
    names = [*slow.names, -1]
    return [
        finding._replace(
            item=names[finding.item], spans=[(a, b, score, names[item]) for a, b, score, item in finding.spans]
        )
        for finding in found
    ]


def both(texts, items, config):
    """What both searches find, which must be equal to the last bit: sums run in the same order."""
    fast = search(texts, items, config)
    assert fast == search_slowly(texts, items, config)
    return fast


def arrange(item, edit=None):
    """Passage, question and answer of an item as a text, every edit-th word of it another."""
    words = " ".join(filter(None, (item.passage, item.question, item.answer))).split(" ")
    return " ".join("zz" if edit and at % edit == 0 else word for at, word in enumerate(words))


@given(ITEMS, st.lists(SENTENCES, max_size=4), OPTIONS)
def test_findings_match_reference(parts, texts, options):
    items = make_items([SURE, *parts])
    texts = [*texts, " ".join([*texts, items[1].question, arrange(items[0])]), " ".join(map(arrange, items))]
    both(texts, items, make_config(**options))


@given(ITEMS, st.integers(2, 7), OPTIONS)
def test_findings_in_edited_items_match_reference(parts, edit, options):
    items = make_items([SURE, *parts])
    both([f"q q q {arrange(item, edit)} q" for item in items], items, make_config(**options))


QUESTIONS = ["a b C d f 7 a a b d", "bravo word 7 C a"]
FATES = st.tuples(
    st.sampled_from(QUESTIONS), st.none() | SHORT | st.just("x ## 7"), st.none() | SHORT, st.sampled_from(["x", "y"])
)
PIECES = st.one_of(SHORT, st.sampled_from([*QUESTIONS, "a b C d", "7 a a b d", "bravo word"]))


@given(st.lists(FATES, min_size=2, max_size=9), st.lists(PIECES, min_size=1, max_size=14), OPTIONS)
def test_items_with_one_question_and_fates_of_their_own_match_reference(parts, pieces, options):
    items = make_items([SURE, *parts])
    both([" ".join(pieces), " ".join(pieces[::-1] * 2)], items, make_config(**options | {"mode": "aligned"}))


@pytest.mark.parametrize("window", [3000, 3500])
def test_windows_longer_than_what_is_noted(window):
    parts = [
        (QUESTIONS[0], "alpha", None, ""),
        (QUESTIONS[0], "delta " * 9, None, ""),
        (QUESTIONS[0], "nowhere", None, ""),
    ]
    text = f"{QUESTIONS[0]} {'zz ' * 3200} alpha {'delta ' * 9}"
    config = make_config(answer_window_tokens=window, long_answer_window_tokens=window, question_alone=None)
    (found,) = both([text], make_items([SURE, *parts]), config)
    assert (found.overlaps[1] > 0) == (window > 3200)


MANY = [f"w{number}" for number in range(25)]
LONG = st.lists(st.sampled_from(MANY), min_size=15, max_size=60)


@given(st.lists(LONG, min_size=1, max_size=3), st.data(), st.sampled_from([2, 3]))
def test_findings_in_long_questions_match_reference(questions, data, length):
    """More n-grams than seeds, and places with words put into them, left out and changed, some farther apart than the slack."""
    items = [Item(str(number), " ".join(words), "yes w1 w2 w3 w4") for number, words in enumerate(questions)]
    texts = []
    for words in questions:
        edited = list(words)
        for place in data.draw(st.lists(st.integers(0, 59), max_size=6)):
            at = place % len(edited)
            edited[at : at + 1] = data.draw(st.sampled_from([[], ["zz"], ["zz"] * 9, ["zz"] * 17, edited[: at + 1]]))
        texts.append(
            " ".join([*data.draw(st.lists(st.sampled_from(MANY), max_size=12)), *edited[:300], "yes w1 w3 w4"])
        )
    both([*texts, " ".join(texts)], items, make_config(ngram_tokens=length))


@given(
    ITEMS, st.lists(SENTENCES, max_size=3), OPTIONS, st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([("question",), ("passage", "question", "answer"), ("answer", "question")]),
)  # fmt: skip
def test_plain_findings_match_reference(parts, texts, options, least, taken):
    items = make_items([SURE, *parts])
    config = make_config(**{**options, "mode": "ngrams"}, min_overlap=least, plain_parts=taken)
    both([*texts, " ".join(map(arrange, items)), arrange(items[0], 5)], items, config)


@pytest.mark.parametrize(("num_foreign", "reaches"), [(0, True), (1, True), (2, False), (3, False)])
def test_an_item_leaves_after_its_budget_of_misses(num_foreign, reaches):
    # with 2-grams, k foreign words between "b" and "C" are k + 1 misses in a row, here of 3 that end the walk; every second
    # text is the first one backwards, for the walk to the left
    config = make_config(mode="decon", threshold=0.01, stride_tokens=4, decay_start_tokens=0, decay_end_tokens=1)
    gap = ["x"] * num_foreign
    texts = [" ".join(["a", "b", *gap, "C", "d", "e"]), " ".join(["x", "x", "x", "a", *gap, "b", "C"])]
    found = both(texts, make_items([("a b C d e", None)]), config)
    assert ((0, len(texts[0])) in [(start, end) for start, end, *_ in found[0].spans]) is reaches


@pytest.mark.parametrize("text", ["a\u00b2" * 50, "\u00b2" * 50, "a " * 50, "a\u65e5" * 50])
def test_dense_tokens_fit_their_scratch(text):
    both([text], make_items([("a a a a a", None), ("a \u00b2 a \u00b2 a", None)]), make_config())


def test_kernel_example():
    config = make_config(mode="decon", ngram_tokens=5, stride_tokens=1)
    found = both(["x One, two three four five six!"], make_items([("one two three four five six", None)]), config)
    assert [(start, end) for start, end, *_ in found[0].spans] == [(2, 30)]


def test_parts_are_spans_of_their_own():
    item = ("a b C d f 7 a a b", "word d word 7", "one two three four five six")
    text = "q one two three four five six. Q: a b C d f 7 a a b A: x word d word 7 q"
    (found,) = both([text], make_items([item]), make_config())
    assert found.overlaps == (1.0, 1.0, 1.0)
    assert [text[start:end] for start, end, *_ in found.spans] == [item[2], item[0], item[1]]


def test_spans_of_two_items_that_meet_are_one_of_the_better():
    items = make_items([("a b C d f 7", None), ("d f 7 word word b", None)])
    text = "a b C d f 7 word word b"
    (found,) = both([text], items, make_config(stride_tokens=1))
    assert [span[:2] for span in found.spans] == [(0, len(text))]


def test_more_spans_than_the_first_guess():
    text = " ".join(["a b C d q q q q q q"] * 3000)
    found = both(
        [text, "q"], make_items([("a b C d", None)]), make_config(ngram_tokens=4, stride_tokens=1, max_misses=2)
    )
    assert len(found[0].spans) == 3000


def test_findings_do_not_depend_on_the_batch():
    texts = ["", "a b C d", "x", "d d a b C d f 7 z a b f 7", "f 7 a b"]
    items, config = make_items([("a b C d f 7", "a b", "d d"), ("f 7 a b C", None)]), make_config()
    assert search(texts, items, config) == [search([text], items, config)[0] for text in texts]


@given(st.binary(max_size=80), st.sampled_from(["aligned", "decon", "ngrams"]))
def test_bytes_that_are_not_utf8_do_no_harm(blob, mode):
    config = make_config(mode=mode)
    index = build_index([Item("0", "a b", None)], settings=config.settings)
    column = pa.array([blob, b"\xf0\x9f"], pa.large_binary())
    found = find_items(view_text(column), index=index, settings=config.settings)
    assert (found.span_ends <= len(blob)).all()


def test_hot_ngrams_start_nothing_and_the_limit_grows_with_the_items():
    # 2-grams of more than max(1, 2 sqrt(9)) = 6 items are hot: "a b" is in 9, or in 4 of them
    texts = ["a b"]
    config = make_config(mode="decon", hot_ngram_items=1, stride_tokens=1, threshold=0.01)
    many = make_items([(f"a b w{number}", None) for number in range(9)])
    assert both(texts, many, config)[0].item == -1
    few = make_items([(f"a b w{number}" if number < 4 else f"c d w{number}", None) for number in range(9)])
    assert both(texts, few, config)[0].item == "0"


@pytest.mark.parametrize("items", [[], [Item("0", "too short", None)], [Item("0", "a b C d f", None)] * 2])
def test_items_that_cannot_be_indexed_are_refused(items):
    config = make_config(ngram_tokens=3)
    with pytest.raises(ConfigError):
        build_index(items, settings=config.settings, rules=ItemRules(min_tokens=3))


def test_what_is_left_out_is_named():
    items = [Item("0", "a b C d", None), Item("1", "a", "b"), Item("2", "a b C d", None), Item("3", "a b C d", "x")]
    index = build_index(items, settings=make_config().settings)
    assert (index.ids, index.skipped_ids, index.num_read) == (("0", "3"), ("2", "1"), 4)
    assert index.reasons == ("same_as_another", "too_few_question_tokens")


def test_items_that_are_not_searched_are_counted_by_benchmark_and_reason():
    texts = [
        ("a b C d f", None),
        ("a b C d f", None),
        ("a", "b C d f 7"),
        ("a b", "C"),
        ("b b b", "b b b"),
        ("a a b", "C d f"),
    ]
    items = [Item(str(n), *parts, benchmark="xy"[n % 2]) for n, parts in enumerate(texts)]
    rules = ItemRules(min_tokens=4, min_unique_tokens=2)
    index = build_index(
        [*items, Item("9", "a b C d f", None, benchmark="x")], settings=make_config().settings, rules=rules
    )
    assert index.ids == ("0", "1", "5")
    assert index.count_skipped() == {
        "x": {"same_as_another": 1, "too_few_different_tokens": 1, "too_few_question_tokens": 1},
        "y": {"too_short": 1},
    }
