"""Golden documents of the web filter: for each rule one text below its threshold, one at it and one above."""

import numpy as np
import pyarrow as pa
import pytest

from dolma_py.arrow_buffers import build_text, view_text
from dolma_py.rules import evaluate_rule, parse_rule
from dolma_py.spans import cut_spans, read_spans
from taggers.registry import build_tagger
from taggers.web_filter import EDITS, PRESETS


def words(count, start=0):
    """Numbered words of five letters and digits, so that nothing repeats."""
    return " ".join(f"w{start + number:04d}" for number in range(count))


def lines(count, copies, gap="\n"):
    """`count` lines of eight characters, `copies` of them the same."""
    return gap.join([f"line {number:03d}" for number in range(count - copies)] + ["line xyz"] * copies)


def repeated(length, total):
    """`total` words, of which a run of `length` stands twice: 2 length / total of the characters."""
    return f"{words(length, 900)} {words(20)} {words(length, 900)} {words(total - 20 - 2 * length, 100)}"


def sentences(count, listed=0):
    """`count` sentences, `listed` of them of twelve capitalised words."""
    plain = "It was a plain and simple day at sea. "
    return plain * (count - listed) + ("Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu. " * listed)


# rule -> (below, at, above)
GOLDEN = {
    "min_chars": ("x" * 149, "x" * 150, "x" * 151),
    "min_words": (words(49), words(50), words(51)),
    "max_words": (words(99_999), words(100_000), words(100_001)),
    "min_mean_word_chars": ("abc " * 9 + "ab", "abc " * 10, "abc " * 9 + "abcd"),
    "max_mean_word_chars": ("aaaaaaaaaa bbbbbbbbb", "aaaaaaaaaa bbbbbbbbbb", "aaaaaaaaaa bbbbbbbbbbb"),
    "symbols": ("# " + "word " * 10, "# " + "word " * 9, "## " + "word " * 9),
    "bullet_lines": ("- a\n" * 8 + "b\nb", "- a\n" * 9 + "b", "- a\n" * 10 + "b"),
    "ellipsis_lines": ("a...\n" * 2 + "b\n" * 8, "a...\n" * 3 + "b\n" * 7, "a...\n" * 4 + "b\n" * 6),
    "alphabetic_words": ("word " * 4 + "12 13", "word " * 4 + "12", "word " * 5 + "12"),
    "stop_words": ("the cat a dog", "the cat the dog", "the cat and the dog"),
    "dup_lines": (lines(10, 2), lines(10, 3), lines(10, 4)),
    "dup_paragraphs": (lines(10, 2, "\n\n"), lines(10, 3, "\n\n"), lines(10, 4, "\n\n")),
    "dup_line_chars": (lines(11, 2), lines(10, 2), lines(9, 2)),
    "dup_paragraph_chars": (lines(11, 2, "\n\n"), lines(10, 2, "\n\n"), lines(9, 2, "\n\n")),
    "top_2gram": tuple(f"{words(2, 900)} {words(8)} {words(2, 900)} {words(rest, 100)}" for rest in (9, 8, 7)),
    "top_3gram": tuple(
        f"{words(3, 900)} {words(20)} {words(3, 900)} {words(20, 100)} {words(3, 900)} {words(rest, 200)}" for rest in (2, 1, 0)
    ),
    "top_4gram": (repeated(4, 51), repeated(4, 50), repeated(4, 49)),
    "dup_5gram": (repeated(5, 67), f"{repeated(15, 100)} {words(100, 300)}", repeated(5, 66)),
    "dup_6gram": (repeated(6, 86), f"{repeated(7, 100)}", repeated(6, 85)),
    "dup_7gram": (repeated(7, 108), f"{repeated(13, 100)} {words(100, 300)}", repeated(7, 107)),
    "dup_8gram": (repeated(8, 134), f"{repeated(12, 100)} {words(100, 300)}", repeated(8, 133)),
    "dup_9gram": (repeated(9, 164), f"{repeated(11, 100)} {words(100, 300)}", repeated(9, 163)),
    "dup_10gram": (repeated(10, 201), repeated(10, 200), repeated(10, 199)),
    "removed_words": (f"{words(20)}\nX", f"{words(19)}\nX", f"{words(18)}\nX"),
    "min_sentences": (sentences(4), sentences(5), sentences(6)),
    "questionable_sentences": (sentences(6, 1), sentences(5, 1), sentences(6, 2)),
}  # fmt: skip
CASES = [(preset, rule) for preset in PRESETS for rule in PRESETS[preset].rules]


@pytest.mark.parametrize(("preset", "rule"), CASES, ids=[f"{preset}-{rule.name}" for preset, rule in CASES])
def test_golden_documents_at_each_threshold(preset, rule):
    texts = GOLDEN[rule.name]
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    table = pa.table(build_tagger("web-filter", {"preset": preset}).tag(batch))
    values = table.column(rule.column).to_pylist()
    sides = np.sign(np.array(values) - rule.value).astype(int).tolist()
    assert sides == [-1, 0, 1], values
    kept = {">=": (0, 1), "<=": (-1, 0), "<": (-1,)}[rule.op]
    assert evaluate_rule(parse_rule(rule.expression), table)[0].tolist() == [side in kept for side in sides]


# what makes a sentence questionable -> (texts of one sentence, whether it is) below, at and above
SENTENCES = {
    "list_case of 11, 12, 13 words": ("list_case", [("Alpha " * count).strip() for count in (11, 12, 13)], [False, True, True]),
    "list_case of 5, 6, 7 of 12": ("list_case", [" ".join(["Alpha"] * count + ["beta"] * (12 - count)) for count in (5, 6, 7)], [False, False, True]),
    "odd_length of 19, 20, 21 characters": ("odd_length", ["x" * count for count in (19, 20, 21)], [True, False, False]),
    "odd_length of 499, 500, 501 characters": ("odd_length", ["\u00e9" * count for count in (499, 500, 501)], [False, False, True]),
    "technical of 3, 4, 5 of 20": ("technical", ["1" * count + "x" * (20 - count) for count in (3, 4, 5)], [False, False, True]),
    "cursed of 8, 9, 10 single letters": ("cursed", ["word" + " a" * count for count in (8, 9, 10)], [False, True, True]),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "texts", "expected"), SENTENCES.values(), ids=SENTENCES)
def test_sentences_at_each_threshold(rule, texts, expected):
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    found = build_tagger("web-filter", {"preset": "madlad400"}).tag(batch)
    assert found.column("num_sentences").to_pylist() == [1, 1, 1]
    assert [value > 0 for value in found.column(f"{rule}_sentence_frac").to_pylist()] == expected


# line edit -> (texts below, at and above, what stays of each)
WITH_PHRASE = [f"{words(count)} Read more..." for count in (7, 8, 9)]
EDITED = {
    "4, 5, 6 capitals of 10": (["ABCD fghij", "ABCDE ghij", "ABCDEF hij"], ["ABCD fghij", "ABCDE ghij", ""]),
    "1, 2, 3 words": (["one", "one two", "one two three"], ["", "one two", "one two three"]),
    "a phrase in 9, 10, 11 words": (WITH_PHRASE, [words(7), words(8), WITH_PHRASE[2]]),
    "2, 3, 4 line feeds": ([f"a b{feeds}c d" for feeds in ("\n\n", "\n\n\n", "\n\n\n\n")], ["a b\n\nc d"] * 3),
}  # fmt: skip


@pytest.mark.parametrize(("texts", "expected"), EDITED.values(), ids=EDITED)
def test_edits_at_each_threshold(texts, expected):
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    edits = read_spans(build_tagger("web-filter").tag(batch).column(EDITS))
    assert build_text(*cut_spans(view_text(batch.column("text")), edits)).to_pylist() == expected
