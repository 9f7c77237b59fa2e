import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from dolma_py.errors import ConfigError
from taggers import ngram_match_kernels as kernels
from taggers.contamination import ContaminationTaggerConfig
from taggers.ngram_match import Item, build_index, find_items, make_tables
from tests.reference import ngram_match as reference

WORDS = ["a", "b", "C", "d", "\u00c9t\u00e9", "f", "7", "\u65e5", "\u00b2", "e\u0301"]
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)
ITEMS = st.lists(st.tuples(SENTENCES, SENTENCES.map(lambda text: text[:14])), min_size=1, max_size=6)


def make_settings(**options):
    defaults = {
        "ngram_tokens": 2, "stride_tokens": 3, "max_misses": 3, "hot_ngram_items": 3, "decay_start_tokens": 4,
        "decay_end_tokens": 12, "answer_window_tokens": 9, "long_answer_window_tokens": 9, "answer_ngram_tokens": 2,
        "short_answer_tokens": 2, "threshold": 0.7,
    }  # fmt: skip
    return ContaminationTaggerConfig(items_paths=("x",), **(defaults | options)).settings


def search(texts, questions_and_answers, settings, plain=False):
    """What the fast and the slow search find: ([(score, item, spans)], the same)."""
    items = [Item(str(number), question, answer) for number, (question, answer) in enumerate(questions_and_answers)]
    index = build_index(
        items,
        ngram_tokens=settings.ngram_tokens,
        min_question_tokens=1,
        answer_ngram_tokens=settings.answer_ngram_tokens,
        short_answer_tokens=settings.short_answer_tokens,
    )
    found = find_items(*view_text(pa.array(texts, pa.large_string())), index=index, settings=settings, plain=plain)
    bounds = found.span_offsets.tolist()
    spans = list(zip(found.span_starts.tolist(), found.span_ends.tolist(), found.span_scores.tolist(), strict=True))
    fast = [
        (score, item, spans[bounds[row] : bounds[row + 1]])
        for row, (score, item) in enumerate(zip(found.scores.tolist(), found.items.tolist(), strict=True))
    ]
    kept = [items[int(number)] for number in index.ids]
    words = [
        [[token for token, _, _ in reference.split_tokens(part or "")] for part in (item.question, item.answer)]
        for item in kept
    ]
    slow_items = reference.Items([question for question, _ in words], [answer for _, answer in words], settings)
    slow = [(reference.find_ngrams if plain else reference.find_items)(text, slow_items) for text in texts]
    return fast, slow


@given(ITEMS, st.lists(SENTENCES, max_size=4), st.booleans())
def test_findings_match_reference(items, texts, by_words):
    settings = make_settings(overlap="words" if by_words else "ngrams")
    usable = [*items, ("a b C d f 7 a a b", "d 7 f")]
    texts = [*texts, " ".join([*texts, usable[0][0], usable[0][1], usable[-1][0]])]
    fast, slow = search(texts, usable, settings)
    assert fast == slow  # exact: sums run in the order of the question in both


@pytest.mark.parametrize(("num_foreign", "reaches"), [(0, True), (1, True), (2, False), (3, False)])
def test_an_item_leaves_after_its_budget_of_misses(num_foreign, reaches):
    # with 2-grams, k foreign words between "b" and "C" are k + 1 misses in a row, here of 3 that end the walk; every second
    # text is the first one backwards, for the walk to the left
    settings = make_settings(
        threshold=0.01, stride_tokens=4, overlap="ngrams", decay_start_tokens=0, decay_end_tokens=1
    )
    gap = ["x"] * num_foreign
    forward = ["a", "b", *gap, "C", "d", "e"]
    backward = ["x", "x", "x", "a", *gap, "b", "C"]
    texts = [" ".join(forward), " ".join(backward)]
    fast, slow = search(texts, [("a b C d e", None)], settings)
    assert fast == slow
    whole = (0, len(texts[0]))
    assert (whole in [(start, end) for start, end, _ in fast[0][2]]) is reaches


@given(ITEMS, st.integers(2, 7), st.booleans())
def test_findings_in_edited_questions_match_reference(items, every, by_words):
    settings = make_settings(overlap="words" if by_words else "ngrams", threshold=0.3)
    usable = [*items, ("a b C d f 7 a a b d d C 7 f", "d 7 f")]
    edited = [["zz" if at % every == 0 else word for at, word in enumerate(q.split(" "))] for q, _ in usable]
    texts = [
        " ".join(["q q q", *words, *(answer.split(" "))]) for words, (_, answer) in zip(edited, usable, strict=True)
    ]
    fast, slow = search(texts, usable, settings)
    assert fast == slow


@given(ITEMS, st.lists(SENTENCES, min_size=1, max_size=4))
def test_plain_findings_match_reference(items, texts):
    fast, slow = search(texts, [*items, ("a b C d", "")], make_settings(), plain=True)
    assert fast == slow


@given(st.text(max_size=60))
def test_tokens_match_reference(text):
    data = np.frombuffer(text.encode(), np.uint8)
    capacity = 2 * len(data) // 3 + 2
    hashes, places = np.zeros(capacity, np.uint64), np.zeros((2, capacity), np.int64)
    count = kernels.split_tokens_kernel(data, 0, len(data), make_tables(), hashes, places[0], places[1])
    expected = reference.split_tokens(text)
    assert list(zip(*places[:, :count].tolist(), strict=True)) == [(start, end) for _, start, end in expected]
    names = [token for token, _, _ in expected]
    assert [hashes[:count].tolist().index(value) for value in hashes[:count].tolist()] == [
        names.index(name) for name in names
    ]


@pytest.mark.parametrize("text", ["a\u00b2" * 50, "\u00b2" * 50, "a " * 50, "a\u65e5" * 50])
def test_dense_tokens_fit_their_scratch(text):
    fast, slow = search([text], [("a a a a a", None), ("a \u00b2 a \u00b2 a", None)], make_settings())
    assert fast == slow


def test_token_example():
    assert [token for token, _, _ in reference.split_tokens("It's 3.5")] == ["it", "s", "3", "5"]
    data = np.frombuffer(b"It's 3.5 IT", np.uint8)
    hashes, places = np.zeros(9, np.uint64), np.zeros((2, 9), np.int64)
    assert kernels.split_tokens_kernel(data, 0, 11, make_tables(), hashes, places[0], places[1]) == 5
    assert hashes[0] == hashes[4]


def test_kernel_example():
    settings = make_settings(ngram_tokens=5, stride_tokens=1)
    fast, slow = search(["x One, two three four five six!"], [("one two three four five six", None)], settings)
    assert fast == slow
    assert [(start, end) for start, end, _ in fast[0][2]] == [(2, 30)]


def test_more_spans_than_the_first_guess():
    text = " ".join(["a b C d q q q q q q"] * 3000)
    fast, slow = search([text, "q"], [("a b C d", None)], make_settings(ngram_tokens=4, stride_tokens=1))
    assert fast == slow
    assert len(fast[0][2]) == 3000


def test_findings_do_not_depend_on_the_batch():
    texts = ["", "a b C d", "x", "d d a b C d f 7 z a b f 7", "f 7 a b"]
    items = [("a b C d f 7", "a b"), ("f 7 a b C", None)]
    whole, _ = search(texts, items, make_settings())
    assert whole == [search([text], items, make_settings())[0][0] for text in texts]


@given(st.binary(max_size=80))
def test_bytes_that_are_not_utf8_do_no_harm(blob):
    index = build_index(
        [Item("0", "a b", None)], ngram_tokens=2, min_question_tokens=1, answer_ngram_tokens=2, short_answer_tokens=2
    )
    data = np.frombuffer(blob + b"\xf0\x9f", np.uint8)
    found = find_items(data, np.array([0, len(blob)]), index=index, settings=make_settings())
    assert (found.span_ends <= len(blob)).all()


def test_hashes_stay_unsigned_and_depend_on_order():
    tokens = np.array([2**64 - 1, 2**63, 1], np.uint64)
    forward, backward = np.zeros(1, np.uint64), np.zeros(1, np.uint64)
    kernels.hash_ngrams_kernel(tokens, np.array([0]), 3, forward)
    kernels.hash_ngrams_kernel(tokens[::-1].copy(), np.array([0]), 3, backward)
    assert forward[0] != backward[0]
    assert forward[0] == mix(mix(mix(0x6E6772616D ^ (2**64 - 1)) ^ 2**63) ^ 1)


def mix(key):
    """splitmix64 in Python integers."""
    mask = 2**64 - 1
    key = (key + 0x9E3779B97F4A7C15) & mask
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 & mask
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB & mask
    return key ^ (key >> 31)


@pytest.mark.parametrize("items", [[], [Item("0", "too short", None)], [Item("0", "a b C d f", None)] * 2])
def test_items_that_cannot_be_indexed_are_refused(items):
    with pytest.raises(ConfigError):
        build_index(items, ngram_tokens=3, min_question_tokens=3, answer_ngram_tokens=2, short_answer_tokens=2)
