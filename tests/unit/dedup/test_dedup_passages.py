"""What was cut most often: counts of anchors inside spans, and the passages they make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dedup import anchors, passages, substring
from tests.reference import passages as reference

PIECES = [
    b"a",
    b"b",
    b"ab",
    "\u00e9".encode(),
    "\U0001f600".encode(),
    b"\x80",
    b"\xff",
    b"\x00",
    b"abbaab",
    b"abcdefgh",
]
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join), max_size=6)
LENGTHS = st.integers(1, 12)


def to_arrays(texts):
    data = np.frombuffer(b"".join(texts), np.uint8)  # read-only
    return data, np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)


def find(texts, min_length_bytes, first_doc=0, first_place=0):
    """(spans, anchors inside them, pairs) of a search through some texts, clipped and joined as a step does it."""
    config = substring.SubstringConfig(min_length_bytes=min_length_bytes)
    spans = substring.find_repeated_spans(*to_arrays(texts), config=config)
    found = passages.find_span_anchors(*to_arrays(texts), spans, min_length_bytes=min_length_bytes)
    document = np.repeat(np.arange(len(texts)), np.diff(spans.offsets)) + first_doc
    sides = (spans.start_byte[found.span], spans.end_byte[found.span])
    pairs = passages.count_anchors(found.hashes, document[found.span], found.start_byte, sides, first_place=first_place)
    return spans, found, document, pairs


def list_spans(spans):
    pairs = list(zip(spans.start_byte.tolist(), spans.end_byte.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(spans.offsets.tolist(), spans.offsets.tolist()[1:], strict=False)]


@given(TEXTS, LENGTHS)
@example(
    [b"abcdefghijklmnop" + bytes([number]) * 9 + b"abcdefghijklmnop" for number in range(6)], 12
)  # places of five documents
def test_counts_equal_twin(texts, min_length_bytes):
    spans, found, document, pairs = find(texts, min_length_bytes)
    counts = passages.read_counts(pairs)
    length = max(1, min_length_bytes - 6)
    expected = reference.count(texts, list_spans(spans), length, anchors.choose_gram_bytes(length))
    places = [
        [(int(document[found.span[place]]), int(found.start_byte[place])) for place in row if place >= 0]
        for row in counts["places"].tolist()
    ]
    numbers = [counts[name].tolist() for name in ("times", "documents", "num_bytes")]
    assert dict(zip(counts["hash"].tolist(), map(list, zip(*numbers, places, strict=True)), strict=True)) == expected


@given(TEXTS, LENGTHS)
def test_every_span_has_an_anchor_and_every_byte_belongs_to_one(texts, min_length_bytes):
    spans, found, _, pairs = find(texts, min_length_bytes)
    assert set(found.span.tolist()) == set(range(len(spans.start_byte)))
    assert passages.read_counts(pairs)["num_bytes"].sum() == (spans.end_byte - spans.start_byte).sum()


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([0, 5, 2**64 - 1]), st.integers(0, 3), st.integers(0, 99)), max_size=9),
        max_size=4,
    )
)
def test_parts_may_be_added_up_in_any_way(parts):
    """Places are of different anchors, so each is there once."""
    seen = set()
    unique = [[pair for pair in part if pair[1] or not (pair in seen or seen.add(pair))] for part in parts]
    arrays = [
        np.array([(key, kind << 62 | value) for key, kind, value in part], np.uint64).reshape(-1, 2) for part in unique
    ]
    whole = passages.add_counts(np.concatenate([np.empty((0, 2), np.uint64), *arrays]))
    by_parts = np.empty((0, 2), np.uint64)
    for array in reversed(arrays):
        by_parts = passages.add_counts(np.concatenate([by_parts, passages.add_counts(array)]))
    assert whole.tolist() == by_parts.tolist() and len(whole) <= sum(map(len, arrays))


def join(rows, spans, **settings):
    """Passages of (times, bytes, first place, span) and what is in each span, by row."""
    counts = np.zeros(len(rows), passages.COUNT)
    counts["times"], counts["num_bytes"] = [row[0] for row in rows], [row[1] for row in rows]
    counts["documents"], counts["places"] = counts["times"], [[row[2], -1, -1] for row in rows]
    assert np.array_equal(passages.rank_counts(counts, len(rows)), counts)
    members = {span: np.array(own, np.int64) for span, own in spans.items()}
    spans_of = np.array([row[3] for row in rows])
    found = passages.join_passages(counts, spans_of, members, **{"most": 10, "is_whole": True, **settings})
    assert all(passage.documents == passage.times and passage.places[1:] == () for passage in found)
    return [(passage.times, passage.num_bytes, passage.places[0]) for passage in found]


def test_anchors_of_one_text_are_one_passage_and_its_variants_belong_to_it():
    """A licence (rows 0, 1) with a year between (3 in the first document, 4 in another), and a text that follows it (2)."""
    rows = [(9, 100, 10, 1), (9, 200, 12, 1), (6, 70, 13, 1), (5, 50, 11, 1), (4, 40, 31, 2)]
    spans = {1: [0, 3, 1, 2], 2: [0, 4, 1]}
    assert join(rows, spans) == [(9, 390, 10), (6, 70, 13)]
    assert join(rows, spans, most=1) == [(9, 390, 10)]


def test_a_passage_that_may_be_incomplete_is_left_out():
    rows = [(9, 100, 10, 1), (2, 7, 20, 2), (2, 7, 21, 2)]
    spans = {1: [0], 2: [1, 2]}
    assert join(rows, spans) == [(9, 100, 10), (2, 14, 20)]
    assert join(rows, spans, is_whole=False) == [(9, 100, 10)]
    assert join(rows[1:], {2: [0, 1]}, is_whole=False) == [(2, 14, 20)]  # rather than nothing


def test_equal_counts_come_in_corpus_order_and_the_most_first():
    counts = np.zeros(4, passages.COUNT)
    counts["times"], counts["places"][:, 0] = [1, 3, 1, 3], [8, 9, 2, 4]
    assert passages.rank_counts(counts, 3)["places"][:, 0].tolist() == [4, 9, 2]


@pytest.mark.parametrize("text", ["", "a", "\u00e9", "\U0001f600x\U0001f600", "plain"])
def test_characters_cut_at_the_ends_are_left_out(text):
    data = text.encode()
    for start in range(min(4, len(data))):
        for end in range(start, len(data) + 1):
            found = passages.decode_whole(data[start:end])
            assert found in text and len(data[start:end]) - len(found.encode()) <= 6


def test_bytes_that_are_no_text_are_shown_as_such():
    assert passages.decode_whole(b"ab\xffcd") == "ab\ufffdcd"
    assert passages.decode_whole(b"\x80\x80\x80\x80") == "\ufffd"
    assert passages.decode_whole(b"\xff") == "\ufffd"


def test_what_windows_share():
    assert passages.share_text([b"abcdef"], [2]) == b"abcdef"
    assert passages.share_text([b"xabcdx", b"yabcdy", b"abcd"], [2, 2, 1]) == b"abcd"
    assert passages.share_text([b"", b""], [0, 0]) == b""
