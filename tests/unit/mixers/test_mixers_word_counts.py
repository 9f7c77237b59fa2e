"""mixers.word_counts and mixers.passages: counts against the twin, made documents recounted from their own text, planted lies found."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dolma_py.errors import DataError, SchemaError
from mixers import passages, word_counts
from mixers.long_sections import Section, find_breaks
from mixers.passages import Passage, insert_passages, remove_passages
from mixers.word_counts import WordCountConfig
from tests.reference import word_counts as reference
from tests.strategies import any_bytes

CONFIG = WordCountConfig(num_words=2, min_count=2, quote_words=3)
WORDS = st.sampled_from(
    [b"a", b"aa", b"abbey", "\u00e9t\u00e9".encode(), "\u4e2d".encode(), b"", b"a b", b"\x80", "e\u0301".encode()]
)
PIECES = st.sampled_from(
    [b"a", b"aa", b" ", b"abbey", b"'s ", b"-", b"_", "\u00e9t\u00e9".encode(), "\u2019".encode(), "\u4e2d".encode(), b"\xc3", b"\x80",
     "e\u0301".encode(), b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "\U0001f600".encode(), "\U00020000".encode(), b"\n"]
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.lists(PIECES, max_size=12).map(b"".join) | any_bytes(), st.lists(WORDS, max_size=4)), max_size=4
    )
)
@example([])
@example([(b"", [b"a"]), (b"abbey's abbey-wall Abbey abbeys", [b"abbey"])])
@example([("\U0001f600abbey\u201cabbey\u201d".encode(), [b"abbey"]), (b"\xe4\xb8", ["\u4e2d".encode()])])
def test_count_whole_words_match_reference(rows):
    data = np.frombuffer(b"".join(text for text, _ in rows), np.uint8)
    ends = np.cumsum([len(text) for text, _ in rows], dtype=np.int64)
    starts = ends - np.array([len(text) for text, _ in rows], np.int64)
    found = word_counts.count_whole_words(data, starts, ends, [words for _, words in rows])
    assert found == [reference.count_whole_words(text, words) for text, words in rows]


def test_a_megabyte_without_a_border_is_one_word():
    text = "a" * 1_000_000
    assert word_counts.count_in(text, ["a", text]) == [0, 1]
    assert word_counts.count_in("\u00e9 " * 300_000, ["\u00e9"]) == [300_000]


def test_stretches_outside_the_data_are_refused():
    with pytest.raises(SchemaError):
        word_counts.count_whole_words(np.zeros(2, np.uint8), np.zeros(1, np.int64), np.array([3]), [[b"a"]])


def test_capitals_hyphens_and_apostrophes():
    assert word_counts.count_in("Abbey abbey abbey's abbey-wall abbeys my_abbey", ["abbey", "Abbey"]) == [3, 1]


def cut_evenly(text: str, number: int) -> tuple[list[Section], passages.Breaks]:
    """Sections of about the same number of paragraphs."""
    breaks = find_breaks(np.frombuffer(text.encode(), np.uint8))
    edges = [0, *[breaks.places[len(breaks.places) * part // number] for part in range(1, number)], len(text.encode())]
    return [Section(int(a), int(b), 0) for a, b in zip(edges[:-1], edges[1:], strict=True)], breaks


def write_text(number: int) -> str:
    """Paragraphs whose words differ, in which abbey and nun are frequent."""
    return "\n\n".join(
        f'Paragraph {part} "tells" of \u00e9 abbey {part}, a nun and the abbey\'s nun.' for part in range(number)
    )


NOUNS = Counter(abbey=9, nun=8, Paragraph=7, tells=1)


@pytest.mark.parametrize("key", range(12))
def test_a_made_document_counts_right_and_loses_nothing(key):
    text = write_text(30)
    sections, breaks = cut_evenly(text, 3)
    made, details = word_counts.make_document(text, sections, breaks, [NOUNS] * 3, CONFIG, key=key)
    found = word_counts.recount(made, details)
    assert len(found) == 6 and all(one.said == one.counted >= 2 for one in found)
    spans = [(passage["start"], passage["end"]) for passage in details["passages"]]
    assert remove_passages(made, spans) == text
    assert made.count("Question: ") == 6
    assert (made, details) == word_counts.make_document(text, sections, breaks, [NOUNS] * 3, CONFIG, key=key)


def test_passages_stand_at_many_places_and_count_those_inside_a_section():
    text = write_text(30)
    sections, breaks = cut_evenly(text, 3)
    made = [word_counts.make_document(text, sections, breaks, [NOUNS] * 3, CONFIG, key=key) for key in range(60)]
    starts = {details["passages"][0]["start"] for _, details in made}
    assert len(starts) > 10
    lengths = {details["sections"][1][1] - details["sections"][1][0] for _, details in made}
    assert len(lengths) > 1  # some hold the passage of the section before
    said = {one.said for document in made for one in word_counts.recount(*document)}
    assert len(said) > 2  # and then the question's words count too


def test_a_wrong_answer_and_a_moved_passage_are_found():
    text = write_text(30)
    sections, breaks = cut_evenly(text, 2)
    made, details = word_counts.make_document(text, sections, breaks, [NOUNS] * 2, CONFIG, key=1)
    wrong = re.sub(r"Answer: \d", "Answer: 7", made)
    assert len(wrong) == len(made) - 2 * made.count("Answer: ") + 2 * wrong.count("Answer: ") or wrong != made
    assert any(one.said != one.counted for one in word_counts.recount(made.replace("abbey 3,", "abbot 3,"), details))
    with pytest.raises(DataError, match="no questions"):
        word_counts.recount(made.replace("Question: ", "Question- "), details)
    swapped = details | {"sections": details["sections"][::-1]}
    with pytest.raises(DataError, match="does not stand behind"):
        word_counts.recount(made, swapped)


def test_sections_without_words_or_quotes_have_no_passage():
    text = write_text(10)
    sections, breaks = cut_evenly(text, 2)
    few = [Counter(abbey=9), NOUNS]
    _, details = word_counts.make_document(text, sections, breaks, few, CONFIG, key=0)
    assert [passage["section"] for passage in details["passages"]] == [1]
    assert word_counts.make_document(text, sections, breaks, [Counter()] * 2, CONFIG, key=0) == "no_words"
    same = "the abbey and the nun. " * 40
    sections, breaks = cut_evenly(same, 2)
    assert word_counts.make_document(same, sections, breaks, [NOUNS] * 2, CONFIG, key=0) == "no_words"


def test_quotes_grow_until_they_are_unique():
    text = "one two three four five six. one two three nine five six ten."
    section = Section(0, len(text), 0)
    plain = text + " five six ten eleven."
    quote = passages.quote_section(text, plain, section, 2)
    assert quote is None or (plain.count(quote.first), plain.count(quote.last)) == (1, 1)
    found = passages.quote_section(text, text, section, 2)
    assert found.first == "one two three four" and found.last == "nine five six ten."
    assert (text[: found.first_end], text[found.last_start :]) == (found.first, found.last)


@pytest.mark.parametrize("first", ['say "yes" and "no"', 'a" to "b', 'x", its last words are "y', 'it is "so".'])
def test_quotation_marks_in_quotes_are_read_back_or_not_used(first):
    for key in range(8):
        written = word_counts.write_questions(first, 'end of it".', [("abbey", 3)], key)
        assert written is None or (
            word_counts._QUOTES.match(written)["first"] == first and 'end of it".' in written.split("\n")[0]
        )


def test_no_passage_stands_in_a_quote():
    text = write_text(12)
    sections, breaks = cut_evenly(text, 2)
    plain = " ".join(text.split())
    quotes = [
        passages.quote_section(text.encode()[one.start : one.end].decode(), plain, one, 15) for one in sections
    ]  # fmt: skip
    free = passages.find_places(breaks, sections, quotes)
    every = passages.find_places(breaks, sections, [None, None])
    assert set(free) < set(every) and free[-1] == len(text.encode())
    for one, quote in zip(sections, quotes, strict=True):
        assert not [
            place for place in free if one.start < place < quote.first_end or quote.last_start < place < one.end
        ]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["p", "\u00e9\n", "a\n\nb"])), max_size=5),
    st.sampled_from(["\n", "", "\n\n"]),
)
def test_without_its_passages_the_made_text_is_the_document(rows, end):
    text = "\n\n".join("abcdefghij") + end
    places = [*range(3, 28, 3), len(text)]
    given_passages = [Passage(places[row % len(places)], written, {}) for row, written in rows]
    sections = [Section(0, 6, 1), Section(6, 15, 1), Section(15, len(text), 1)]
    made, spans, moved = insert_passages(text, given_passages, sections)
    assert remove_passages(made, spans) == text
    data = made.encode()
    for passage, (start, stop) in zip(given_passages, spans, strict=True):
        assert data[start:stop].decode().strip("\n") == passage.text.strip("\n")
    for before, after in zip(sections, moved, strict=True):
        inside = [written for place, written, _ in given_passages if before.start < place < before.end]
        found = data[after.start : after.end].decode()
        assert all(written in found for written in inside)
        assert Counter(found.replace("\n", "")) == Counter(
            (text[before.start : before.end] + "".join(inside)).replace("\n", "")
        )
