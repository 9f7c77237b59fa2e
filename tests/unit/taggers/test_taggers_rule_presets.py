import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError
from dolma_py.rules import parse_rule
from taggers import rule_presets_kernels as kernels
from taggers.bad_words import make_bad_words
from taggers.base import describe_tagger, tag_checked
from taggers.c4 import C4_RULES, clean_lines
from taggers.registry import build_tagger
from taggers.rule_presets import (
    FINEWEB_PAPER_RULES,
    FINEWEB_RULES,
    GOPHER_DOLMA_RELEASED_RULES,
    GOPHER_DOLMA_RULES,
    PRESETS,
    count_presets,
    sweep_presets,
)
from tests.peers.compare_filters import broken_rules, join_texts, statistics
from tests.peers.made_filter_texts import GOLDEN
from tests.reference import rule_presets as reference
from tests.strategies import any_bytes, texts

ALL = sum(preset.want for preset in PRESETS.values())
TOKENS = [
    "the", "The", "THAT", "with", "be", "a", "b", "cat", "don't", "it's", "3.5", "1", "11", "12", "#", "a#b", "...", ".", "....", "\u2026",
    "- ", "-", "\u2022", "\u25cf ", "*", "word.", "(x)", "\u65e5\u672c\u3002", "\U0001f600", "e\u0301", "\u00b2",
]  # fmt: skip
GAPS = [" ", "\n", "\n\n", "\n\n\n", "\r\n", "\u00a0", "", "  ", "\n \n", "\x1f", "\u2028"]
MIXED = st.one_of(
    st.lists(st.tuples(st.sampled_from(TOKENS), st.sampled_from(GAPS)), max_size=60).map(
        lambda parts: "".join(map("".join, parts))
    ),
    st.lists(st.sampled_from(["a", "b"]), max_size=80).map(" ".join),
    st.lists(st.sampled_from(["1", "11", "12", "2"]), max_size=80).map(" ".join),
    st.lists(st.sampled_from(["one line", "two", "", " ", "one line "]), max_size=20).map("\n".join),
    texts(),
)


def count(text):
    return count_presets(*join_texts([text.encode()]), ALL)[0].tolist()


@given(MIXED)
def test_counts_match_reference(text):
    assert count(text) == reference.count_presets(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "\n",
        " ",
        "\n\n",
        "a\n\n",
        "\n\na",
        "a b c d e f g h i j k a b c d e f g h i j k",
        "x " * 5000,
        "\u00e9" * 3000,
    ],
)
def test_odd_texts_match_reference(text):
    assert count(text) == reference.count_presets(text)


def test_a_line_of_a_megabyte_is_counted():
    columns = dict(zip(("words", "chunks"), (kernels.WORDS, kernels.CHUNKS), strict=True))
    row = count("word " * 200_000)
    assert {name: row[column] for name, column in columns.items()} == {"words": 200_000, "chunks": 200_000}
    row = count("(" * 1_000_000)
    assert row[kernels.WORDS] == 1_000_000 and row[kernels.CHUNKS] == 1


@given(st.lists(any_bytes(), max_size=4))
def test_broken_bytes_give_some_counts(parts):
    counts = count_presets(*join_texts(parts), ALL)
    assert counts.shape == (len(parts), kernels.NUM_COUNTS) and (counts >= 0).all()


@given(st.lists(MIXED, min_size=2, max_size=6), st.integers(1, 5))
def test_counts_do_not_depend_on_the_batch(parts, cut):
    encoded = [text.encode() for text in parts]
    whole = count_presets(*join_texts(encoded), ALL)
    data, offsets = join_texts(encoded)
    cut = min(cut, len(parts) - 1)
    halves = [count_presets(data, offsets[: cut + 1], ALL), count_presets(data, offsets[cut:], ALL)]
    assert np.array_equal(whole, np.concatenate(halves))


@pytest.mark.parametrize(("preset", "rule"), [(preset, rule) for preset, rules in GOLDEN.items() for rule in rules])
def test_a_rule_keeps_what_stands_at_its_threshold_and_drops_the_next(preset, rule):
    rules = FINEWEB_PAPER_RULES if rule == "dup_line_chars_paper" else PRESETS[preset].rules
    kept, dropped = statistics(preset, count_presets(*join_texts([t.encode() for t in GOLDEN[preset][rule]]), ALL))
    assert rule not in broken_rules(rules, kept)
    assert rule in broken_rules(rules, dropped)


def test_every_rule_has_its_golden_pair():
    for name, preset in PRESETS.items():
        rules = {rule.name for rule in preset.rules} | ({"dup_line_chars_paper"} if name == "fineweb" else set())
        assert rules == set(GOLDEN[name]), name


@pytest.mark.parametrize("name", PRESETS)
def test_rules_read_columns_and_stand_as_view_rules(name):
    tagger = build_tagger(name)
    for rule in PRESETS[name].rules:
        assert rule.column in tagger.schema.names and rule.source
        parse_rule(rule.expression)
    assert {rule.column for rule in PRESETS[name].rules} == set(tagger.schema.names) - {"num_words"} | (
        {"num_words"} & {rule.column for rule in PRESETS[name].rules}
    )


def test_the_sweep_of_all_writes_what_each_writes_alone():
    batch = pa.record_batch(
        {"text": pa.array([*GOLDEN["fineweb"]["short_lines"], "", "The cat. " * 20], pa.large_string())}
    )
    together = tag_checked(build_tagger("rule-presets", {"presets": ["fineweb", "gopher-dolma"]}), batch)
    for name in ("fineweb", "gopher-dolma"):
        alone = tag_checked(build_tagger(name), batch)
        for column in alone.schema.names:
            assert together.column(f"{name.replace('-', '_')}__{column}").equals(alone.column(column)), column
    assert len(together.schema) == sum(len(build_tagger(name).schema) for name in ("fineweb", "gopher-dolma"))


# lines of C4 with citation marks, which have words of their own, among lines whose words are those of the document
C4_PIECES = [
    "Here is one more sentence.", "[1] Cited words[2] stay here.", "Mr. X is [edit] here.", "no end", "Two.", "e.g. (so) it is!",
    "Use cookies {now}.",
    ":) is a sign .", "[1] [2] [3]", "", "  ", "It ends...", "a.m. at 5 p.m. \u2026 so it is?", "damn this is one more line.",
]  # fmt: skip
C4_LINES = st.lists(
    st.tuples(st.sampled_from(C4_PIECES), st.sampled_from(["\n", "\r\n", "\n\n", " ", "\u2028", " \n: "])), max_size=12
).map(lambda parts: "".join(map("".join, parts)))


@pytest.mark.parametrize("want", [0, kernels.WANT_DOLMA, kernels.WANT_FINEWEB, ALL])
@given(texts=st.lists(st.one_of(C4_LINES, MIXED), max_size=4))
def test_c4_in_the_sweep_finds_what_it_finds_alone(want, texts):
    view, bad_words = join_texts([text.encode() for text in texts]), make_bad_words(["damn"])
    swept = sweep_presets(*view, want, list(C4_RULES), bad_words)
    assert np.array_equal(swept.counts, count_presets(*view, want))
    for name, found in zip(C4_RULES, swept.cleaned, strict=True):
        alone = clean_lines(*view, name, bad_words)
        assert all(np.array_equal(one, other) for one, other in zip(found, alone, strict=True)), name


def test_c4_in_the_sweep_makes_room_for_many_cuts_and_words():
    texts = ["One[] two[] three[].\n" * 4000, "a b c. " * 3, "(" * 3000 + "\n" + "a " * 4000 + "[1] end."]
    view = join_texts([text.encode() for text in texts])
    swept = sweep_presets(*view, ALL, ["c4-paper"])
    assert all(
        np.array_equal(one, other) for one, other in zip(swept.cleaned[0], clean_lines(*view, "c4-paper"), strict=True)
    )
    assert np.array_equal(swept.counts, count_presets(*view, ALL))


def test_the_sweep_writes_c4_as_its_tagger_does(tmp_path):
    (tmp_path / "bad.txt").write_text("damn\n")
    batch = pa.record_batch(
        {"text": pa.array(["A damn fine line.\nnot this", "", "Here is a line. " * 9], pa.large_string())}
    )
    for options in ({}, {"bad_words_path": str(tmp_path / "bad.txt")}):
        names = ["c4-code", "fineweb", "c4-paper"]
        tagger = build_tagger("rule-presets", {"presets": names} | options)
        together = tag_checked(tagger, batch)
        for name in names:
            alone = tag_checked(build_tagger(name, options if name in C4_RULES else {}), batch)
            for column in alone.schema.names:
                assert together.column(f"{name.replace('-', '_')}__{column}").equals(alone.column(column)), column
    assert describe_tagger(tagger)["options"]["bad_words_fingerprint"]
    with pytest.raises(ConfigError, match=r"rule-presets\.bad_words_fingerprint"):
        build_tagger("rule-presets", options | {"bad_words_fingerprint": "00"})


@pytest.mark.parametrize("presets", [["fineweb", "fineweb"], [], ["c4"]])
def test_a_wrong_list_of_presets_is_refused(presets):
    with pytest.raises(ConfigError):
        build_tagger("rule-presets", {"presets": presets})


def test_an_empty_batch_keeps_the_schema():
    batch = pa.record_batch({"text": pa.array([], pa.large_string())})
    for name in (*PRESETS, "rule-presets"):
        assert tag_checked(build_tagger(name), batch).num_rows == 0


def test_fineweb_as_written_differs_in_one_rule():
    assert [a == b for a, b in zip(FINEWEB_RULES, FINEWEB_PAPER_RULES, strict=True)].count(False) == 1
    assert FINEWEB_RULES[3].value == 0.01 and FINEWEB_PAPER_RULES[3].value == 0.1


def test_the_released_dolma_rules_lack_those_that_never_fired():
    missing = {rule.name for rule in GOPHER_DOLMA_RULES} - {rule.name for rule in GOPHER_DOLMA_RELEASED_RULES}
    assert missing == {"top_2gram", "top_3gram", "top_4gram"}


@given(st.lists(st.integers(0, 400), min_size=1, max_size=9))
def test_median_of_long_words(sizes):
    row = count(" ".join("x" * size for size in sizes))
    plain = [size for size in sizes if size]
    assert row[kernels.TWICE_MEDIAN_CHARS] == (2 * np.median(plain) if plain else 0)
