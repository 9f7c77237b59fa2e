"""Golden documents of what the web filter's rules count, sentences and line edits; those of the rules are in tests/rule_documents.py."""

import pyarrow as pa
import pytest

from dolma_py.arrow_buffers import build_text, view_text
from dolma_py.spans import cut_spans, read_spans
from taggers.registry import build_tagger
from taggers.web_filter import EDITS
from tests.rule_documents import numbered

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
WITH_PHRASE = [f"{numbered(count)} Read more..." for count in (7, 8, 9)]
EDITED = {
    "4, 5, 6 capitals of 10": (["ABCD fghij", "ABCDE ghij", "ABCDEF hij"], ["ABCD fghij", "ABCDE ghij", ""]),
    "1, 2, 3 words": (["one", "one two", "one two three"], ["", "one two", "one two three"]),
    "a phrase in 9, 10, 11 words": (WITH_PHRASE, [numbered(7), numbered(8), WITH_PHRASE[2]]),
    "2, 3, 4 line feeds": ([f"a b{feeds}c d" for feeds in ("\n\n", "\n\n\n", "\n\n\n\n")], ["a b\n\nc d"] * 3),
}  # fmt: skip


@pytest.mark.parametrize(("texts", "expected"), EDITED.values(), ids=EDITED)
def test_edits_at_each_threshold(texts, expected):
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    edits = read_spans(build_tagger("web-filter").tag(batch).column(EDITS))
    assert build_text(*cut_spans(view_text(batch.column("text")), edits)).to_pylist() == expected
