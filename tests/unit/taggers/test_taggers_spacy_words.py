import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taggers import spacy_signs_kernels as signs
from taggers.spacy_words import read_facts, split_words, word_tables
from tests.peers.compare_filters import join_texts
from tests.peers.made_filter_texts import C4_TEXTS, WORD_TEXTS
from tests.reference import spacy_words as reference
from tests.strategies import any_bytes, texts

SIGNS = list(".,;:!?()[]{}<>'\"-+*/=%$#&@_~^|\u2026\u2014\u2013\u2019\u201c\u20ac\u00b0\u00a9\u3002\u00bf") + [
    "...",
    "--",
    "'s",
    "\u2019S",
    "::",
]
WORDS = [
    "a", "A", "ab", "AB", "Mr", "it", "don't", "km", "kg", "5", "10", "p.m", "example", "org", "www", "http", "id",
    "\u00e9", "\u4e2d", "K", "C", "US", "o",
]  # fmt: skip
CHUNKS = st.lists(st.sampled_from(WORDS + SIGNS), min_size=1, max_size=8).map("".join)
EXCEPTIONS = st.sampled_from(["".join(pieces.split(" ")) for pieces in read_facts()["exceptions"]])
TEXTS = st.lists(
    st.tuples(st.one_of(CHUNKS, EXCEPTIONS), st.sampled_from([" ", "", "  ", "\n", "\u00a0"])), max_size=10
).map(lambda parts: "".join(map("".join, parts)))


def split(text):
    data = text.encode()
    (spans,) = split_words(*join_texts([data]))
    return [data[start:end].decode() for start, end in spans]


def reference_words(text):
    return [text[start:end] for start, end in reference.split_words(text)]


@given(TEXTS)
def test_words_match_reference(text):
    assert split(text) == reference_words(text)


@given(texts())
def test_words_of_nasty_texts_match_reference(text):
    assert split(text) == reference_words(text)


@pytest.mark.parametrize(
    "text", [*WORD_TEXTS, *C4_TEXTS, "", " ", "x" * 5000, "." * 5000, ":" * 300 + ")" * 300, "a.b/" * 2000]
)
def test_words_of_made_texts_match_reference(text):
    assert split(text) == reference_words(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mr. O'Neil isn't", ["Mr.", "O'Neil", "is", "n't"]),
        ("(don't!)", ["(", "do", "n't", "!", ")"]),
        ("a. A. AB. 5.", ["a.", "A.", "AB", ".", "5", "."]),
        ("5km US$5 +5 5+", ["5", "km", "US$", "5", "+5", "5", "+"]),
        ("it's that's the cat's", ["it", "'s", "that", "'s", "the", "cat", "'s"]),
        ("x:) (see:)", ["x", ":)", "(", "see", ":)"]),
        ("x/Mr. a.b Aa.Bb", ["x", "/", "Mr.", "a.b", "Aa", ".", "Bb"]),
        ("example.org/x?y=1, 10.0.0.1/ab", ["example.org/x?y=1", ",", "10.0.0.1", "/", "ab"]),
        ("192.0.2.1/ab http://a.bc:80/", ["192.0.2.1/ab", "http://a.bc:80/"]),
        ("-a a-b a---b a----b", ["-a", "a", "-", "b", "a", "---", "b", "a----b"]),
    ],
)
def test_worked_examples(text, words):
    assert split(text) == words == reference_words(text)


@given(st.lists(any_bytes(), max_size=4))
def test_broken_bytes_give_words_in_bounds(parts):
    for part, spans in zip(parts, split_words(*join_texts(parts)), strict=True):
        edges = np.array(spans, np.int64).reshape(-1)
        assert (np.diff(edges) >= 0).all() and (edges >= 0).all() and (edges <= len(part)).all()


def test_words_do_not_depend_on_the_batch():
    parts = [text.encode() for text in WORD_TEXTS]
    together = split_words(*join_texts(parts))
    assert together == [split_words(*join_texts([part]))[0] for part in parts]


def test_what_rules_a_text_out_lets_every_exception_and_unit_through():
    tables = word_tables()
    for pieces in read_facts()["exceptions"]:
        encoded = "".join(pieces.split(" ")).encode()
        assert (tables.heads[encoded[0], len(encoded)] >> (encoded[-1] & 31)) & 1
    # and it rules nearly everything else out
    assert np.bitwise_count(tables.heads).sum() < 1000
    assert all(tables.classes[ord(unit[-1])] & signs.UNIT_END for unit in read_facts()["units"])
    assert (tables.classes & signs.UNIT_END != 0).sum() < 40


@given(
    st.sampled_from(read_facts()["units"]),
    st.sampled_from(["5", "x5", "(5", "5.5", "\u0665", "5x"]),
    st.sampled_from(["", ",", ")", "."]),
)
def test_units_behind_digits_match_reference(unit, before, behind):
    assert split(before + unit + behind) == reference_words(before + unit + behind)
