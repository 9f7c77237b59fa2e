"""Repeated substrings against a dictionary of all windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup import substring
from dedup.substring import Spans, SubstringConfig
from dolma_py.errors import ConfigError, SchemaError
from tests.reference import substring as reference

# two letters, so that windows repeat; a character of two bytes, of four, stray continuation bytes, 0 and 255
PIECES = [b"a", b"b", b"ab", "\u00e9".encode(), "\U0001f600".encode(), b"\x80", b"\xff", b"\x00", b"abbaab"]
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), max_size=6)
LENGTHS = st.integers(1, 7)
# stretches of one text with some bytes changed: repeats of many lengths, that begin, end and touch documents' borders anywhere
BASE = np.random.default_rng(5).integers(97, 101, 400).astype(np.uint8).tobytes()
STRETCHES = st.lists(
    st.tuples(st.integers(0, 399), st.integers(0, 250), st.lists(st.integers(0, 249), max_size=2)), max_size=7
)
GAPS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=9)  # (gap before, width) per span
SHARES = st.sampled_from([0.3, 0.5, 0.8, 0.95, 1.0])


def to_arrays(texts):
    data = np.frombuffer(b"".join(texts), np.uint8)  # read-only
    return data, np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)


def to_lists(spans):
    pairs = list(zip(spans.start_byte.tolist(), spans.end_byte.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(spans.offsets.tolist(), spans.offsets.tolist()[1:], strict=False)]


def to_spans(lists):
    flat = np.array(sum(lists, []), np.int32).reshape(-1, 2)
    return Spans(flat[:, 0].copy(), flat[:, 1].copy(), np.concatenate([[0], np.cumsum([len(s) for s in lists])]))


def from_gaps(gaps):
    ends = np.cumsum(np.array(gaps, np.int64).ravel())
    return [(int(a), int(b)) for a, b in ends.reshape(-1, 2)]


@given(TEXTS, LENGTHS, st.booleans())
def test_find_repeats_equals_twin(texts, min_length_bytes, keep_first):
    found = substring.find_repeats(*to_arrays(texts), min_length_bytes=min_length_bytes, keep_first=keep_first)
    assert found.start_byte.dtype == found.end_byte.dtype == np.int32
    assert to_lists(found) == reference.find_repeats(texts, min_length_bytes, keep_first)


@given(STRETCHES, st.lists(st.booleans(), min_size=7, max_size=7), st.integers(1, 150), st.booleans())
def test_find_repeats_of_many_blocks_equals_twin(stretches, is_border, min_length_bytes, keep_first):
    texts = [b""]
    for (start, length, changed), new in zip(stretches, is_border, strict=False):
        piece = bytearray(BASE[start : start + length])
        for at in changed:
            piece[at : at + 1] = b"x" if at < len(piece) else b""
        if new:
            texts.append(b"")
        texts[-1] += bytes(piece)
    found = substring.find_repeats(*to_arrays(texts), min_length_bytes=min_length_bytes, keep_first=keep_first)
    assert to_lists(found) == reference.find_repeats(texts, min_length_bytes, keep_first)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 20)), max_size=12), st.integers(4, 6))
def test_union_spans_equals_twin(spans, num_docs):
    flat = np.array(spans, np.int64).reshape(-1, 3)
    found = substring.union_spans(flat[:, 0], flat[:, 1].astype(np.int32), flat[:, 2].astype(np.int32), num_docs)
    assert found.start_byte.dtype == found.end_byte.dtype == np.int32
    assert to_lists(found) == reference.union_spans(spans, num_docs)


@given(st.lists(GAPS, max_size=4), SHARES)
def test_join_spans_equals_twin(gaps, share):
    lists = [from_gaps(g) for g in gaps]
    found = substring.join_spans(to_spans(lists), min_covered_frac=share)
    assert to_lists(found) == [reference.join_spans(spans, share) for spans in lists]


@given(st.lists(GAPS, max_size=4), SHARES)
def test_join_spans_greedy_equals_twin(gaps, share):
    lists = [from_gaps(g) for g in gaps]
    found = substring.join_spans(to_spans(lists), min_covered_frac=share, greedy=True)
    assert to_lists(found) == [reference.join_spans_greedy(spans, share) for spans in lists]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map(b"".join), st.data())
def test_clip_spans_equals_twin(text, draw):
    positions = draw.draw(st.sets(st.integers(0, len(text) - 1)))
    spans = reference.runs(positions)
    found = substring.clip_spans(*to_arrays([text, text]), to_spans([[], spans]))
    assert to_lists(found) == [[], reference.clip_spans(text, spans)]


def test_a_span_to_the_end_of_a_document_stays_although_the_next_one_begins_amid_a_character():
    arrays = to_arrays([b"a\xc3", b"\x80b"])
    assert to_lists(substring.clip_spans(*arrays, to_spans([[(0, 2)], [(0, 1)]]))) == [[(0, 2)], [(0, 1)]]


@pytest.mark.parametrize("greedy", [False, True])
def test_a_stretch_covered_exactly_to_the_share_is_joined(greedy):
    spans = to_spans([[(0, 4), (6, 10)]])  # 8 of 10
    assert to_lists(substring.join_spans(spans, min_covered_frac=0.8, greedy=greedy)) == [[(0, 10)]]
    assert to_lists(substring.join_spans(spans, min_covered_frac=0.800001, greedy=greedy)) == [[(0, 4), (6, 10)]]


@given(st.lists(st.text("ab\u00e9\u6f22\U0001f600", max_size=20), max_size=5), LENGTHS)
def test_what_is_left_of_valid_text_is_valid_text(texts, min_length_bytes):
    encoded = [text.encode() for text in texts]
    config = SubstringConfig(min_length_bytes=min_length_bytes)
    spans = to_lists(substring.find_repeated_spans(*to_arrays(encoded), config=config))
    for text, cuts in zip(encoded, spans, strict=True):
        for start, end in reversed(cuts):
            text = text[:start] + text[end:]
        text.decode()


@given(TEXTS, LENGTHS)
def test_first_occurrences_stay_and_windows_are_found_once(texts, min_length_bytes):
    spans = to_lists(substring.find_repeats(*to_arrays(texts), min_length_bytes=min_length_bytes))
    windows = {text[p : p + min_length_bytes] for text in texts for p in range(len(text) - min_length_bytes + 1)}
    for window in windows:
        d, p = next((d, text.find(window)) for d, text in enumerate(texts) if window in text)
        assert (p, p + min_length_bytes) not in [s for s in spans[d] if s[1] - s[0] == min_length_bytes]


def test_docstring_examples():
    arrays = to_arrays([b"abcx", b"yabc"])
    assert to_lists(substring.find_repeats(*arrays, min_length_bytes=3)) == [[], [(1, 4)]]
    assert to_lists(substring.find_repeats(*arrays, min_length_bytes=3, keep_first=False)) == [[(0, 3)], [(1, 4)]]
    two = to_spans([[(0, 8), (10, 18)]])
    assert to_lists(substring.join_spans(two, min_covered_frac=0.80)) == [[(0, 18)]]
    assert to_lists(substring.join_spans(two, min_covered_frac=0.95)) == [[(0, 8), (10, 18)]]
    clipped = substring.clip_spans(*to_arrays([b"\x61\xc3\xa9\x62"]), to_spans([[(0, 2)]]))
    assert to_lists(clipped) == [[(0, 1)]]


def test_a_suffix_that_runs_over_a_border_does_not_hide_repeats_on_either_side():
    # "abc" stands whole in documents 0 and 3; document 1 ends in "ab" and document 2 begins with "c": no occurrence
    texts = [b"zabc", b"ab", b"cz", b"abc"]
    assert to_lists(substring.find_repeats(*to_arrays(texts), min_length_bytes=3)) == [[], [], [], [(0, 3)]]


def test_all_stretches_find_what_a_greedy_scan_misses():
    # the first two cover 21 of 26, the first three 22 of 28 (too little), all four 42 of 53; the same from the back
    spans = to_spans([[(0, 20), (25, 26), (27, 28), (33, 53)]])
    assert to_lists(substring.join_spans(spans, min_covered_frac=0.79)) == [[(0, 53)]]
    assert to_lists(substring.join_spans(spans, min_covered_frac=0.79, greedy=True)) == [[(0, 26), (27, 53)]]


def test_a_million_equal_bytes_in_two_documents():
    line = b"x" * 500_000
    found = substring.find_repeats(*to_arrays([line, line]), min_length_bytes=500)
    assert to_lists(found) == [[(1, 500_000)], [(0, 500_000)]]


@pytest.mark.parametrize(("fuzzy", "share"), [("off", 1.0), ("written", 0.80), ("released", 0.95)])
def test_config_has_the_share_of_its_rule(fuzzy, share):
    assert SubstringConfig(fuzzy=fuzzy).covered_frac == share
    assert SubstringConfig(fuzzy=fuzzy, min_covered_frac=0.5).covered_frac == 0.5


def test_offsets_that_do_not_start_at_zero_and_strides():
    data, offsets = to_arrays([b"skipped", b"abcabc", b"abc"])
    part = substring.find_repeats(data, offsets[1:], min_length_bytes=3)
    assert to_lists(part) == [[(3, 6)], [(0, 3)]]
    strided = np.repeat(data, 2)[::2]
    assert to_lists(substring.find_repeats(strided, offsets[1:], min_length_bytes=3)) == to_lists(part)
    assert to_lists(substring.clip_spans(strided, offsets[1:], part)) == to_lists(part)


def test_bad_input_is_refused_with_the_value():
    arrays = to_arrays([b"abc"])
    with pytest.raises(ConfigError, match="got 0"):
        substring.find_repeats(*arrays, min_length_bytes=0)
    with pytest.raises(ConfigError, match="1.5"):
        substring.join_spans(to_spans([[]]), min_covered_frac=1.5)
    with pytest.raises(SchemaError, match="outside"):
        substring.clip_spans(*arrays, to_spans([[(0, 4)]]))
    with pytest.raises(SchemaError, match="got 2"):
        substring.clip_spans(*arrays, to_spans([[], []]))
