import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, DataError
from dolma_py.rules import parse_rule
from taggers import c4_kernels as kernels
from taggers.bad_words import count_bad_words, make_bad_words
from taggers.base import describe_tagger, tag_checked
from taggers.c4 import C4_BAD_WORDS, C4_RULES, MAX_CODE_CHARS, clean_lines
from taggers.registry import build_tagger
from tests.peers.compare_filters import cut_text, join_texts
from tests.peers.made_filter_texts import C4_TEXTS, WORD_TEXTS
from tests.reference import bad_words as reference_words
from tests.reference import c4 as reference
from tests.strategies import any_bytes, texts

PRESETS = tuple(C4_RULES)
BAD = ("damn", "hell fire", "a")
PARTS = [
    "Some words here", "one two", " a", "damn", "Hell fire", "[1]", "[edit]", "[citation needed]", "[x]", "[\u0663]", "[", "]", ".", "?", "!",
    '"', "'", "...", "\u2026", "javascript", "JavaScript", "use cookies", "Coo\u212aie policy", "lorem ipsum", "{", "Mr.", "End. Next",
    "\u3002", "e.g.", " ", "  ", "x" * 1001,
]  # fmt: skip
# line feeds alone can be told apart from other line ends, which spans cannot write
LINES = st.lists(st.lists(st.sampled_from(PARTS), max_size=7).map("".join), max_size=6)


def clean(text, preset, words=()):
    """(counts, what is left)"""
    data = text.encode()
    cleaned = clean_lines(*join_texts([data]), preset, make_bad_words(list(words)))
    return cleaned.counts[0].tolist(), cut_text(data, cleaned.spans).decode()


@pytest.mark.parametrize("preset", PRESETS)
@given(lines=LINES, end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_cleaning_matches_reference(preset, lines, end):
    text = end.join(lines)
    assert clean(text, preset, BAD) == reference.clean_lines(text, preset, BAD)


@pytest.mark.parametrize("preset", PRESETS)
@given(text=texts())
def test_counts_of_nasty_texts_match_reference(preset, text):
    assert clean(text, preset)[0] == reference.clean_lines(text, preset)[0]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("text", [*C4_TEXTS, *WORD_TEXTS, "", "\n", "One two three.\n" * 3000])
def test_made_texts_match_reference(preset, text):
    ours, theirs = clean(text, preset), reference.clean_lines(text, preset)
    assert (ours[0], ours[1].splitlines()) == (theirs[0], theirs[1].splitlines())


@pytest.mark.parametrize(
    ("preset", "line", "column"),
    [
        ("c4-paper", "Now three words.", kernels.KEPT_LINES),
        ("c4-paper", "Two words.", kernels.SHORT_LINES),
        ("c4-code", "Here are five whole words.", kernels.KEPT_LINES),
        ("c4-code", "Here are four words.", kernels.SHORT_LINES),
        ("c4-paper", "[1] Two words.", kernels.KEPT_LINES),
        ("c4-code", "[1] Here are four words.", kernels.SHORT_LINES),
        ("c4-paper", "a b " + "x" * 999 + ".", kernels.KEPT_LINES),
        ("c4-paper", "a b " + "x" * 1000 + ".", kernels.LONG_WORD_LINES),
        ("c4-paper", "It ends so'", kernels.KEPT_LINES),
        ("c4-code", "In the end it ends so'", kernels.NO_END_LINES),
        ("c4-paper", "It ends so..", kernels.KEPT_LINES),
        ("c4-paper", "It ends so...", kernels.NO_END_LINES),
        ("c4-paper", "It has no end", kernels.NO_END_LINES),
        ("c4-fineweb", "It has no end", kernels.KEPT_LINES),
        ("c4-paper", "Turn on JavaScripts now.", kernels.JAVASCRIPT_LINES),
        ("c4-paper", "Turn on Java scripts now.", kernels.KEPT_LINES),
        ("c4-paper", "See the Terms of Use.", kernels.POLICY_LINES),
        ("c4-paper", "See the terms of using.", kernels.KEPT_LINES),
        ("c4-paper", "Here is Lorem Ipsum.", kernels.LOREM_IPSUM_LINES),
        ("c4-paper", "Here is loremipsum.", kernels.KEPT_LINES),
        ("c4-paper", "if x { y.", kernels.CURLY_LINES),
        ("c4-paper", "if x ( y.", kernels.KEPT_LINES),
    ],
)  # fmt: skip
def test_one_line_is_counted_once_under_its_reason(preset, line, column):
    counts, left = clean(line, preset)
    assert counts[kernels.LINES] == 1 and counts[column] == 1
    assert sum(counts[: kernels.SENTENCES]) + counts[kernels.LOREM_IPSUM_LINES] + counts[kernels.CURLY_LINES] == 2
    assert bool(left) == (column == kernels.KEPT_LINES)


@pytest.mark.parametrize(("preset", "least"), [("c4-paper", 5), ("c4-code", 3), ("c4-fineweb", 5)])
def test_sentences_at_the_threshold(preset, least):
    rule = C4_RULES[preset][0]
    assert rule.value == least
    for count in (least - 1, least):
        counts, _ = clean(" ".join(["Here is one more sentence."] * count), preset)
        assert counts[kernels.SENTENCES] == count


@pytest.mark.parametrize("preset", PRESETS)
@given(parts=st.lists(any_bytes(), max_size=4))
def test_broken_bytes_give_spans_in_bounds(preset, parts):
    cleaned = clean_lines(*join_texts(parts), preset)
    for row, part in enumerate(parts):
        edges = cleaned.spans[cleaned.bounds[row] : cleaned.bounds[row + 1]].reshape(-1)
        assert (np.diff(edges) >= 0).all() and (edges >= 0).all() and (edges <= len(part)).all()


def test_many_short_cuts_fit():
    counts, left = clean("One[] two[] three[].\n" * 4000, "c4-paper")
    assert counts[kernels.KEPT_LINES] == 4000 and left == "\n".join(["One two three."] * 4000)


@given(text=st.one_of(st.lists(st.sampled_from([*PARTS, *BAD, "_", "\u00e9", "-", "\n"])).map("".join), texts()))
def test_bad_words_match_reference(text):
    (found,) = count_bad_words(*join_texts([text.encode()]), make_bad_words(list(BAD)))
    assert found == reference_words.count_bad_words(text, BAD)


def test_the_tagger_reads_a_list_and_writes_spans(tmp_path):
    path = tmp_path / "bad.txt"
    path.write_text("damn\n\nhell fire\n")
    tagger = build_tagger("c4-paper", {"bad_words_path": str(path)})
    batch = pa.record_batch({"text": pa.array(["A damn fine line.\nnot this", ""], pa.large_string())})
    rows = tag_checked(tagger, batch).to_pylist()
    assert rows[0]["removed"] == [{"start": 17, "end": 26, "score": 1.0}] and rows[0]["num_bad_words"] == 1
    assert rows[1]["removed"] == [] and rows[1]["num_bad_words"] == 0
    assert (
        describe_tagger(tagger)["options"]["bad_words_fingerprint"]
        and "bad_words_path" not in describe_tagger(tagger)["options"]
    )
    assert tag_checked(build_tagger("c4-code"), batch).column("num_bad_words").null_count == 2
    with pytest.raises(ConfigError, match="bad_words_fingerprint"):
        build_tagger("c4-paper", {"bad_words_path": str(path), "bad_words_fingerprint": "00"})


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_a_bad_list_is_refused(tmp_path, content):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.txt"):
        build_tagger("c4-code", {"bad_words_path": str(path)})


@pytest.mark.parametrize("name", PRESETS)
def test_rules_read_columns(name):
    for rule in (*C4_RULES[name], C4_BAD_WORDS, MAX_CODE_CHARS):
        assert rule.column in build_tagger(name).schema.names and rule.source
        parse_rule(rule.expression)
