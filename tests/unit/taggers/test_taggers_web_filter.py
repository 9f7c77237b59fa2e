import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import build_text, view_text
from dolma_py.errors import ConfigError
from dolma_py.rules import evaluate_rule, parse_rule
from dolma_py.spans import check_characters, check_spans, cut_spans
from taggers import gopher_kernels as quality
from taggers import line_edits_kernels as line_edits
from taggers import repetition_kernels as repetition
from taggers.base import tag_checked
from taggers.byte_patterns import compile_patterns
from taggers.characters import character_table, lower_table
from taggers.gopher import count_gopher
from taggers.registry import build_tagger
from taggers.web_filter import (
    CURSED_PATTERNS,
    EDITS,
    PRESETS,
    WebFilterTagger,
    WebFilterTaggerConfig,
    build_gates,
    count_web,
    read_cursed,
)
from tests.reference import web_filter as reference

LITERALS, EXPRESSIONS = ["mp3", "Facebook", " №"], [r"\|\s*$", r"(?: [^ ]){4}", r", ?\.\.", "^Buy"]
PATTERNS = compile_patterns(LITERALS, EXPRESSIONS, where="test")


def reading_of(name):
    preset = PRESETS[name]
    options = dict(zip(OPTION_NAMES, (number in preset.edits for number in range(line_edits.NUM_OPTIONS)), strict=True))
    return options | {
        "phrase_max_words": 10 if options["phrase_max_words"] else 10**9, "in_bytes": preset.in_bytes, "has_edits": preset.has_edits,
        "has_sentences": preset.has_sentences, "sentence_rules": preset.sentence_rules,
    }  # fmt: skip


OPTION_NAMES = (
    "counter_open", "spaced_line_words", "phrase_max_words", "any_sign", "ignores_case", "leaves_space", "strips", "trims_returns", "caps_again",
)  # fmt: skip
PIECES = [
    "the", "The Cat", "cat sat on it",
    "don't", "3.5", "1,000", "#", "\u2026", "...", ". . .", ". ", "! ", "?! ", ".", "- x", "\u2022 ", "\u25cf a",
    "items in cart", "3 items in cart now", "ITEMS in carT", "xitems in carty", "Read more...", "Read more", "Read more\u00e9\u4e2d\U0001f600",
    "read MORE...", " Read more abc", "Sign-in", "Sign-in ", "sign-in to it", "12 likes", "1.2K views \u2022", "* 5 comments on it", "7k\u00a0shares",
    "5\u212a likes",
    "\u0663 LIKES", "ABC DEF", "\u00c9\u00c9 ab", "123456", "12345 6", "Facebook", "a mp3", "x |", " \u2116", "a b c d e f", "Buy it",
    "One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve", "{}()>+/ 0 1 2 3 4 5 6", "e\u0301", "\u0301", "\u65e5\u672c", "\u30ab\u30bf",
    "\u0e44\u0e17", "\u00b2", "_x", "x:y", "\u200d", "\U0001f600", "\x00", "word " * 30, "supercalifragilistic", "ABCDEFGH", "abcdefghi",
]  # fmt: skip
GAPS = ["", " ", "  ", "\n", "\n\n", "\n\n\n", "\n\n\n\n", "\r\n", "\r\r\n", "\n \n", "\u00a0", "\t"]
TEXTS = st.one_of(
    st.lists(st.tuples(st.sampled_from(GAPS), st.sampled_from(PIECES)), max_size=30).map(lambda parts: "".join(map("".join, parts))),
    st.lists(st.sampled_from([*PIECES, *GAPS]), max_size=40).map("".join),
    st.lists(st.sampled_from(["a b", "", " ", "A", "items in cart", "12 likes"]), max_size=12).map("\n".join),
    st.lists(st.sampled_from(["a", "b"]), max_size=40).map(" ".join),
    st.text(max_size=80),
)  # fmt: skip
ODD_TEXTS = [
    "", "x", " ", "\n", "\n\n", "\n" * 9, "\r\n", "a" * 1_000_000, "a b. " * 5000, "word\n" * 700, "\n\n\na b\n\n\n\nc d\n\n\n", "\U0001f600" * 20,
    "..." * 50, "items in cart " * 200, "Read more...", "Sign-in", "a\u00b2" * 500, "E" * 9 + "\n" + "one two\n" * 3, "a b\r\n\r\n\r\nc d\r\n\r\n",
]  # fmt: skip


def count_all(texts, name):
    view = view_text(pa.array(texts, pa.large_string()))
    found = count_web(*view, preset=PRESETS[name], patterns=PATTERNS)
    check_spans(found.edits, np.diff(view.offsets), name)
    check_characters(found.edits, view, name)
    edited = cut_spans(view, found.edits)
    return found.counts.tolist(), build_text(*edited).to_pylist()


def expect_all(texts, name):
    results = [reference.filter_documents(text, reading_of(name), LITERALS, EXPRESSIONS) for text in texts]
    return [counts for counts, _ in results], [edited for _, edited in results]


@pytest.mark.parametrize("name", PRESETS)
@given(texts=st.lists(TEXTS, max_size=4))
def test_counts_and_edits_match_reference(name, texts):
    assert count_all(texts, name) == expect_all(texts, name)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: f"{text[:6]!r}x{len(text)}")
def test_odd_texts_match_reference(name, text):
    assert count_all([text], name) == expect_all([text], name)


def test_the_gopher_statistics_are_those_of_gopher_dclm():
    view = view_text(pa.array([*ODD_TEXTS, *PIECES], pa.large_string()))
    found = count_web(*view, preset=PRESETS["olmo3-web"], patterns=PATTERNS)
    assert found.counts[:, :26].tolist() == count_gopher(*view).tolist()


@pytest.mark.parametrize("name", PRESETS)
def test_counts_do_not_depend_on_the_batch(name):
    counts, edited = count_all(ODD_TEXTS, name)
    alone = [count_all([text], name) for text in ODD_TEXTS]
    assert counts == [one for (one,), _ in alone]
    assert edited == [one for _, (one,) in alone]


@pytest.mark.parametrize("name", PRESETS)
@given(blob=st.binary(max_size=80))
def test_bytes_that_are_not_utf8_do_no_harm(name, blob):
    # the guard bytes would be read by a kernel that runs past its text
    data = np.frombuffer(blob + b"\xe2\x80 items in cart", np.uint8)
    found = count_web(data, np.array([0, len(blob)]), preset=PRESETS[name], patterns=PATTERNS)
    assert (found.counts[:, [0, 1, 5, 8, 26]] >= 0).all()
    check_spans(found.edits, np.array([len(blob)]), name)


def test_a_text_with_more_edits_than_room_is_done_again():
    lines = "one two\nX\n" * 3000
    ((counts,), (edited,)) = count_all([lines], "olmo3-web")
    assert edited == "one two\n" * 3000
    assert counts[31] == 3000


def test_sweep_example():
    ((counts,), _) = count_all(["The cat.\n\n# 1"], "olmo3-web")
    assert [
        counts[column] for column in (quality.LINES, repetition.PARAGRAPHS, repetition.WORDS, repetition.WORD_CHARS)
    ] == [2, 2, 3, 7]


@pytest.mark.parametrize(
    ("line", "is_open", "expected"),
    [
        ("* 1.2K likes *", 0, True), ("12 views of it", 0, False), ("12 views of it", 1, True), ("12views", 0, False), ("likes", 1, False),
        ("", 1, False),
    ],
)  # fmt: skip
def test_counter_lines(line, is_open, expected):
    data = np.frombuffer(line.encode() + b" ", np.uint8)
    assert line_edits.is_counter_kernel(data, 0, len(data) - 1, character_table(), lower_table(), is_open) == expected
    assert reference.is_counter(line, is_open) == expected


# ---- readings: where the presets differ, one text each, and what is left of it
ROWS = "\n".join(f"row number {number}" for number in range(3))
LONG = "a long line of more than ten words that says at its end"
READINGS = [
    ("any three signs end the phrase", "See it. Read more ab", {"olmo3-web": "See it. Read more ab", "olmo3-web-released": "See it."}),
    ("a phrase in a long line", f"{LONG} Read more...", {
        "olmo3-web": f"{LONG} Read more...", "olmo3-web-released": LONG, "refinedweb-dclm": f"{LONG} Read more...",
    }),
    ("a phrase in a short line", "See it. Read more...", {"olmo3-web": "See it.", "olmo3-web-released": "See it.", "refinedweb-dclm": "See it."}),
    ("a counter with more behind it", f"{ROWS}\n3 comments on this", {"olmo3-web": ROWS, "olmo3-web-released": f"{ROWS}\n3 comments on this"}),
    ("what a cut phrase leaves", "3 items in cart now", {"olmo3-web": "3 now", "olmo3-web-released": "3 now", "refinedweb-dclm": "3 now"}),
    ("what a cut phrase leaves without a space", "two items in cart", {"olmo3-web": "two ", "refinedweb-dclm": "two"}),
    ("upper case of phrases", "sign-in to it all", {"olmo3-web": "sign-in to it all", "refinedweb-dclm": "to it all"}),
    ("upper-case letters of two bytes", "\u00c9\u00c9\u00c9\u00c9 ab", {"olmo3-web": "", "olmo3-web-released": "\u00c9\u00c9\u00c9\u00c9 ab"}),
    ("returns and a line feed at the end", "a b\r\nc d\n", {
        "olmo3-web": "a b\r\nc d\n", "olmo3-web-released": "a b\nc d", "refinedweb-dclm": "a b\r\nc d",
    }),
    ("blank lines", "a b\n\n\n\nc d\n\nX\n\ne f", {"olmo3-web": "a b\n\nc d\n\ne f", "refinedweb-dclm": "a b\n\nc d\n\n\ne f"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in READINGS], ids=[row[0] for row in READINGS])
def test_where_the_readings_differ(text, expected):
    assert {name: count_all([text], name)[1][0] for name in expected} == expected


# ---- tagger
@pytest.mark.parametrize("name", PRESETS)
def test_rules_are_views_rules_over_the_columns(name):
    tagger = build_tagger("web-filter", {"preset": name})
    assert tagger.name == name
    clauses = [clause for rule in PRESETS[name].rules for clause in parse_rule(rule.expression)]
    assert {clause.column for clause in clauses} <= set(tagger.schema.names)
    assert [float(clause.value) for clause in clauses] == [rule.value for rule in PRESETS[name].rules]


def test_tagger_writes_its_schema():
    batch = pa.record_batch({"text": pa.array(["One two. " * 9, "", "X\nthe cat sat"], pa.large_string())})
    rows = tag_checked(WebFilterTagger(WebFilterTaggerConfig()), batch).to_pylist()
    assert rows[0]["num_sentences"] == 9
    assert rows[2][EDITS] == [{"start": 0, "end": 2, "score": 1.0}]
    assert rows[2]["removed_word_frac"] == 0.25
    assert tag_checked(WebFilterTagger(WebFilterTaggerConfig()), batch.slice(0, 0)).num_rows == 0


def test_gates_spare_later_columns_and_change_nothing_else():
    texts = ["too short", "the cat and the dog " * 30, " ".join(f"the w{number:03d}" for number in range(60)) + "\nX"]
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    tagger = WebFilterTagger(WebFilterTaggerConfig())
    rules = [parse_rule(rule.expression) for rule in PRESETS["olmo3-web"].rules]
    full = tagger.tag(batch)
    gated = tagger.tag_gated(batch, rules, np.zeros(3, np.bool_))
    assert gated.column("top_2gram_char_frac").null_count == 1
    assert gated.column("removed_word_frac").null_count == 2
    assert gated.column(EDITS).is_null().to_pylist() == [True, True, False]
    for column, values in zip(gated.schema.names, gated.columns, strict=True):
        assert values.drop_null().to_pylist() == full.column(column).filter(values.is_valid()).to_pylist()
    # what is missing was dropped by a rule over columns that are there
    kept = [
        np.logical_and.reduce([evaluate_rule(rule, pa.table(table))[0] for rule in rules]) for table in (full, gated)
    ]
    assert kept[0].tolist() == kept[1].tolist()
    whole = tagger.tag_gated(batch, rules, np.array([True, False, False]))
    assert whole.slice(0, 1) == full.slice(0, 1)


def test_gates_take_only_what_they_can_compare():
    rules = [parse_rule('num_words > 5 and num_words != 9 and lang == "en" and num_words <= 90071992547409930001')]
    gates = build_gates(rules, ("num_words",))
    assert gates.lows.tolist() == [np.nextafter(5, 6)]
    assert gates.part_ends.tolist() == [1, 1, 1, 1]


# ---- cursed patterns
def test_our_own_patterns_are_understood_by_every_preset():
    tagged = [build_tagger("web-filter", {"preset": name}) for name in PRESETS]
    assert [tagger.patterns.search(b"dolor sit amet") for tagger in tagged] == [True] * 4
    assert not any(tagger.patterns.search(b"a plain sentence, and another: it's fine") for tagger in tagged)
    assert len(CURSED_PATTERNS) == 11


def test_released_reads_all_but_the_last_four_as_literals(tmp_path):
    path = tmp_path / "cursed.txt"
    path.write_text("nr\\.$\nmp3\n\na\nb\nc\n\\|\\s*$\n")
    assert read_cursed(str(path)) == ["nr\\.$", "mp3", "a", "b", "c", "\\|\\s*$"]
    meant, released = (
        build_tagger("web-filter", {"preset": name, "cursed_path": str(path)})
        for name in ("olmo3-web", "olmo3-web-released")
    )
    assert [tagger.patterns.search(b"x nr.") for tagger in (meant, released)] == [True, False]
    assert [tagger.patterns.search(b"x nr\\.$") for tagger in (meant, released)] == [False, True]
    assert [tagger.patterns.search(b"x | ") for tagger in (meant, released)] == [True, True]


def test_a_packed_list_is_read(tmp_path):
    import gzip

    path = tmp_path / "cursed.txt.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\n"))
    assert read_cursed(str(path)) == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"(", "regular expression"), (b"a(?=b)", "assert"), (b"[^\xc3\xa9]", "ASCII"), (b"\xff", "text file")],
)
def test_a_bad_list_is_told(tmp_path, content, told):
    path = tmp_path / "cursed.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as caught:
        build_tagger("web-filter", {"cursed_path": str(path)})
    assert caught.value.key == "cursed_path"


def test_a_damaged_packed_list_is_told(tmp_path):
    import gzip

    path = tmp_path / "cursed.txt.gz"
    packed = bytearray(gzip.compress(b"one two three four five six seven\n" * 9))
    packed[12] ^= 0xFF
    path.write_bytes(bytes(packed))
    with pytest.raises(ConfigError, match="text file") as caught:
        build_tagger("web-filter", {"cursed_path": str(path)})
    assert caught.value.key == "cursed_path"


def test_a_missing_list_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no-such-list"):
        build_tagger("web-filter", {"cursed_path": str(tmp_path / "no-such-list")})


EXPRESSION_POOL = [
    "a", "ab|c", "a?b", "(ab)*c$", "^a.c", "[^a]b", "a{2,3}", "\\s\\d", "\u00e9+", ".\u65e5", "[a-c\u00e9]x", "a$", "(?:a|bb)+\\.", "x*$", "\\|\\s*$",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(EXPRESSION_POOL), min_size=1, max_size=4),
    st.text(st.sampled_from("abcx. |\u00e9\u65e5\n 1\u00a0"), max_size=12),
)
def test_patterns_match_as_pythons_own(expressions, text):
    found = compile_patterns([], expressions, where="test").search(text.encode())
    assert found == any(re.search(expression.replace("$", r"\Z"), text) for expression in expressions)
