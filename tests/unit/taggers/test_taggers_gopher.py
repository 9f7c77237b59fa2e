import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from dolma_py.rules import parse_rule
from taggers import gopher_kernels as quality
from taggers import repetition_kernels as kernels
from taggers.base import tag_checked
from taggers.characters import character_table
from taggers.gopher import GOPHER_RULES, GopherTagger, GopherTaggerConfig, count_gopher
from taggers.registry import build_tagger
from tests.reference import gopher as reference
from tests.reference import repetition, word_stats

TOKENS = [
    "the",
    "The",
    "THAT",
    "be",
    "a",
    "b",
    "cat",
    "_x",
    "don't",
    "3.5",
    "1,000",
    "#",
    "\u2026",
    "...",
    ". . .",
    "....",
    ". . . .",
    "- ",
    "\u2022",
    "\u25cf",
    "*",
    "\u65e5\u672c",
    "\u30ab\u30bf",
    "\u0e44\u0e17",
    "e\u0301",
    "\u00b2",
    "x:y",
    "a.b.",
    "\U0001f600",
    "\u200d",
]
GAPS = [" ", "\n", "\n\n", "\n\n\n", "\r\n", "\u00a0", "", "  ", "\n \n"]
TEXTS = st.one_of(
    st.lists(st.tuples(st.sampled_from(TOKENS), st.sampled_from(GAPS)), max_size=60).map(
        lambda parts: "".join(map("".join, parts))
    ),
    st.lists(st.sampled_from(["a", "b"]), max_size=60).map(" ".join),
    st.text(max_size=80),
)
ODD_TEXTS = [
    "",
    "x",
    " ",
    "\n\n",
    "a " * 3000,
    "\u00b2" * 500,
    "a\u00b2" * 500,
    "word\n" * 700,
    "x" * 1_000_000,
    "..." * 50,
    "\U0001f600" * 20,
]


def expected_counts(text):
    paragraphs = reference.split_segments(text, "\n\n")
    lines = reference.split_segments(text, "\n")
    return [
        *reference.count_gopher(text),
        *repetition.count_repetition(word_stats.split_words(text), lines, paragraphs),
    ]


def count_texts(texts):
    return count_gopher(*view_text(pa.array(texts, pa.large_string()))).tolist()


@given(st.lists(TEXTS, max_size=4))
def test_counts_match_reference(texts):
    assert count_texts(texts) == [expected_counts(text) for text in texts]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: f"{text[:6]!r}x{len(text)}")
def test_counts_of_odd_texts_match_reference(text):
    assert count_texts([text]) == [expected_counts(text)]


def test_counts_do_not_depend_on_the_batch():
    texts = [*ODD_TEXTS, "the cat and the cat and the dog"]
    assert count_texts(texts) == [count_texts([text])[0] for text in texts]
    view = view_text(pa.array(texts, pa.large_string()).slice(2, 5))
    assert count_gopher(*view).tolist() == count_texts(texts)[2:7]


@given(st.binary(max_size=80))
def test_bytes_that_are_not_utf8_do_no_harm(blob):
    data = np.frombuffer(blob + b"\xe2\x80", np.uint8)
    counts = count_gopher(data, np.array([0, len(blob)]))
    assert (counts >= 0).all()


def test_line_example():
    out = np.zeros(quality.NUM_QUALITY_COUNTS, np.int64)
    data = np.frombuffer(b" The # x... ", np.uint8)
    assert quality.sweep_line_kernel(data, 0, 12, character_table(), out) == (1, 11, 1, 11, 12)
    assert out.tolist() == [3, 8, 2, 1, 2, 0, 0, 0]


def test_word_example():
    data = np.frombuffer("It's 3.5 _x caf\u00e9".encode(), np.uint8)
    hashes, sums = np.zeros(8, np.uint64), np.zeros(9, np.int64)
    assert kernels.split_words_kernel(data, 0, len(data), character_table(), hashes, sums) == 3
    assert sums[:4].tolist() == [0, 4, 7, 11]
    assert word_stats.split_words("It's 3.5 _x caf\u00e9") == ["It's", "3.5", "caf\u00e9"]


def test_ngram_example():
    (counts,) = count_texts(["a b a b a"])
    assert counts[kernels.WORDS] == 5
    assert counts[kernels.FIRST_NGRAM : kernels.FIRST_NGRAM + 3] == [4, 6, 0]


# one document at each rule's threshold and one just beyond it; words are numbered so that nothing else repeats
def numbered(count, start=0, form="w{:04d}"):
    return " ".join(form.format(start + i) for i in range(count))


def lines_of(count, duplicates):
    return "\n".join([f"line {i:03d}" for i in range(count - duplicates)] + ["line xyz"] * duplicates)


GOLDEN = {
    "min_words": (numbered(50), numbered(49)),
    "max_words": (numbered(100_000), numbered(100_001)),
    "min_mean_word_chars": ("abc " * 10, "abc " * 9 + "ab"),
    "max_mean_word_chars": ("a" * 10 + " " + "b" * 10, "a" * 10 + " " + "b" * 11),
    "symbols": ("# " + "word " * 9, "## " + "word " * 9),
    "bullet_lines": ("- a\n" * 9 + "b", "- a\n" * 10 + "b"),
    "ellipsis_lines": ("a...\n" * 3 + "b\n" * 7, "a...\n" * 4 + "b\n" * 7),
    "alphabetic_words": ("word " * 4 + "12", "word " * 4 + "12 13"),
    "stop_words": ("the cat the dog", "the cat a dog"),
    "dup_lines": (lines_of(10, 3), lines_of(10, 4)),
    "dup_line_chars": (lines_of(10, 2), lines_of(9, 2)),
    "dup_paragraphs": (lines_of(10, 3).replace("\n", "\n\n"), lines_of(10, 4).replace("\n", "\n\n")),
    "dup_paragraph_chars": (lines_of(10, 2).replace("\n", "\n\n"), lines_of(9, 2).replace("\n", "\n\n")),
    # n-grams: k words of 5 chars twice among words of 5 chars, m words in all: 2 k / m is the share
    "top_2gram": (f"aaaaa bbbbb {numbered(8)} aaaaa bbbbb {numbered(8, 50)}", f"aaaaa bbbbb {numbered(8)} aaaaa bbbbb {numbered(7, 50)}"),
    **{
        f"{kind}_{n}gram": tuple(
            f"{numbered(n, 900)} {numbered(20)} {numbered(n, 900)} {numbered(total - 20 - 2 * n, 30)}" for total in totals
        )
        for kind, n, totals in (
            ("top", 3, (34, 33)),
            ("top", 4, (50, 49)),
            ("dup", 5, (67, 66)),
            ("dup", 6, (86, 85)),
            ("dup", 7, (108, 107)),
            ("dup", 8, (134, 133)),
            ("dup", 9, (164, 163)),
            ("dup", 10, (200, 199)),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("rule", GOPHER_RULES, ids=lambda rule: rule.name)
def test_golden_documents_at_each_threshold(rule):
    batch = pa.record_batch({"text": pa.array(GOLDEN[rule.name], pa.large_string())})
    values = tag_checked(GopherTagger(GopherTaggerConfig()), batch).column(rule.column).to_pylist()
    assert rule.holds(values).tolist() == [True, False], values


def test_rules_are_views_rules_over_our_columns():
    columns = set(GopherTagger.schema.names)
    clauses = [clause for rule in GOPHER_RULES for clause in parse_rule(rule.expression)]
    assert [(clause.column, clause.op, float(clause.value)) for clause in clauses] == [
        (rule.column, rule.op, rule.value) for rule in GOPHER_RULES
    ]
    assert {rule.column for rule in GOPHER_RULES} == columns


def test_attribute_is_named_after_the_preset():
    assert build_tagger("gopher-dclm").name == "gopher-dclm"
