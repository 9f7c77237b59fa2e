"""Spans: kernels against their twins, the hand examples, columns in and out, and what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dolma_py import spans, spans_kernels
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.documents import SPANS
from dolma_py.errors import DataError, SchemaError
from dolma_py.spans import Spans
from tests import strategies
from tests.reference import spans as reference


def make_spans(lists) -> Spans:
    """Lists of pairs as arrays."""
    pairs = [pair for row in lists for pair in row]
    offsets = np.cumsum([0, *(len(row) for row in lists)]).astype(np.int64)
    starts, ends = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    return Spans(offsets, starts, ends)


def list_spans(found: Spans) -> list[list[tuple[int, int]]]:
    """Arrays as lists of pairs."""
    pairs = list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))
    bounds = zip(found.offsets[:-1].tolist(), found.offsets[1:].tolist(), strict=True)
    return [pairs[start:end] for start, end in bounds]


def list_texts(view: TextView) -> list[bytes]:
    bounds = zip(view.offsets[:-1].tolist(), view.offsets[1:].tolist(), strict=True)
    return [view.data[start:end].tobytes() for start, end in bounds]


def make_view(texts: list[bytes]) -> TextView:
    return view_text(pa.array(texts, pa.large_binary()))


def freeze(found: Spans) -> Spans:
    """The same spans in the middle of larger, read-only arrays."""
    frozen = []
    for array in found:
        padded = np.concatenate([[-7, -7], array, [-7]])
        padded.flags.writeable = False
        frozen.append(padded[2:-1])
    return Spans(*frozen)


def rows_of(text_and_spans=strategies.texts_with_spans()):
    """Texts in bytes, each with sorted disjoint spans, empty ones among them."""
    pair = text_and_spans.map(lambda row: (row[0].encode(), disjoint(row[1])))
    return st.lists(pair, max_size=6)


def disjoint(pairs) -> list[tuple[int, int]]:
    """Those pairs, sorted, that do not overlap one before."""
    kept: list[tuple[int, int]] = []
    for pair in sorted(pairs):
        if not kept or pair[0] >= kept[-1][1]:
            kept.append(pair)
    return kept


LONG = (b"a" * 1_000_000, [(0, 1), (10, 999_999)])


@given(rows=rows_of())
@example(rows=[])
@example(rows=[(b"", []), (b"", [(0, 0)]), (b"x", [(0, 1)])])
@example(rows=[LONG])
@example(rows=[(b"\xff\xfe", [(1, 2)])])
def test_cut_spans_matches_the_twin(rows):
    texts, lists = [text for text, _ in rows], [row for _, row in rows]
    cut = spans.cut_spans(make_view(texts), freeze(make_spans(lists)))
    assert list_texts(cut) == [reference.cut(text, row) for text, row in rows]
    assert cut.offsets[0] == 0 and cut.offsets.dtype == np.int64


@given(rows=rows_of(), start=st.integers(0, 6), length=st.integers(0, 6))
def test_cut_spans_reads_a_slice(rows, start, length):
    view = view_text(pa.array([text for text, _ in rows], pa.large_binary()).slice(start, length))
    part = rows[start : start + length]
    cut = spans.cut_spans(view, make_spans([row for _, row in part]))
    assert list_texts(cut) == [reference.cut(text, row) for text, row in part]


@given(rows=st.lists(st.tuples(strategies.spans(30), strategies.spans(30)), max_size=6))
@example(rows=[([(0, 2), (5, 6)], [(1, 3)]), ([], []), ([(1, 1)], []), ([(0, 2)], [(2, 4)])])
def test_merge_spans_matches_the_twin(rows):
    rows = [(sorted(first), sorted(other)) for first, other in rows]
    first, other = (freeze(make_spans([row[side] for row in rows])) for side in (0, 1))
    assert list_spans(spans.merge_spans(first, other)) == [reference.merge(*row) for row in rows]


@st.composite
def edited_rows(draw):
    """(text length, removed spans, any spans of the edited text) per row."""
    rows = []
    for _ in range(draw(st.integers(0, 5))):
        num_bytes = draw(st.integers(0, 40))
        removed = disjoint(draw(strategies.spans(num_bytes)))
        left = num_bytes - len(reference.covered(removed))
        rows.append((num_bytes, removed, draw(strategies.spans(left))))
    return rows


@given(rows=edited_rows(), order=st.sampled_from([sorted, list]))
@example(rows=[(6, [(1, 3)], [(1, 2), (0, 2)])], order=list)
@example(rows=[(4, [(0, 4)], [(0, 0)])], order=list)
@example(rows=[(9, [(0, 2), (4, 5), (8, 9)], [(0, 1), (2, 3), (3, 5), (1, 4), (5, 5)])], order=list)
def test_restore_spans_matches_the_twin(rows, order):
    rows = [(num_bytes, removed, order(found)) for num_bytes, removed, found in rows]
    removed = freeze(make_spans([row[1] for row in rows]))
    restored = spans.restore_spans(freeze(make_spans([row[2] for row in rows])), removed)
    assert list_spans(restored) == [reference.restore(found, gone, size) for size, gone, found in rows]


@given(rows=rows_of(), data=st.data())
def test_a_restored_span_holds_the_bytes_it_had(rows, data):
    """What a tagger found in the edited text is what the original text has there, less what the edit removed."""
    edited = [reference.cut(text, row) for text, row in rows]
    found = [data.draw(strategies.spans(len(text))) for text in edited]
    restored = list_spans(spans.restore_spans(make_spans(found), make_spans([row for _, row in rows])))
    for (text, gone), after, inside, places in zip(rows, edited, found, restored, strict=True):
        for (start, end), (old_start, old_end) in zip(inside, places, strict=True):
            assert 0 <= old_start <= old_end <= len(text)
            left = bytes(text[place] for place in range(old_start, old_end) if place not in reference.covered(gone))
            assert left == after[start:end]


@given(rows=rows_of(), data=st.data())
def test_shift_spans_matches_the_twin(rows, data):
    found = [data.draw(strategies.spans(len(text))) for text, _ in rows]
    shifted = spans.shift_spans(freeze(make_spans(found)), freeze(make_spans([gone for _, gone in rows])))
    expected = [reference.shift(mine, gone) for mine, (_, gone) in zip(found, rows, strict=True)]
    assert list_spans(shifted) == expected


@given(rows=rows_of(), data=st.data())
def test_shifting_takes_back_restoring(rows, data):
    edited = [len(reference.cut(text, row)) for text, row in rows]
    found, removed = (
        make_spans([data.draw(strategies.spans(size)) for size in edited]),
        make_spans([r for _, r in rows]),
    )
    assert list_spans(spans.shift_spans(spans.restore_spans(found, removed), removed)) == list_spans(found)


byte_texts = st.lists(strategies.any_bytes(), max_size=6)
ODD_TEXTS = [
    b"", b"a", "a\u00e9b".encode(), "\U0001f468\u200d\U0001f469 e\u0301".encode(), b"\x80\xbfa\xff\xf0\x9f\x98", b"\x80" * 9,
    "\U0001f600".encode() * 5000,
]  # fmt: skip


@given(texts=byte_texts)
@example(texts=ODD_TEXTS)
def test_count_characters_matches_the_twin(texts):
    assert spans.count_characters(make_view(texts)).tolist() == [reference.count_characters(text) for text in texts]


@given(texts=byte_texts, data=st.data())
@example(texts=ODD_TEXTS, data=None)
def test_characters_to_bytes_matches_the_twin(texts, data):
    """Positions up to three characters behind the end, in any order."""
    sizes = [reference.count_characters(text) + 3 for text in texts]
    found = [data.draw(strategies.spans(size)) if data else [(0, size), (1, 2), (0, 0)] for size in sizes]
    converted = list_spans(spans.to_bytes(freeze(make_spans(found)), make_view(texts)))
    for text, before, after in zip(texts, found, converted, strict=True):
        for side in (0, 1):
            assert [pair[side] for pair in after] == reference.find_bytes(text, [pair[side] for pair in before])


@given(texts=byte_texts, data=st.data())
@example(texts=ODD_TEXTS, data=None)
def test_bytes_to_characters_matches_the_twin(texts, data):
    sizes = [len(text) for text in texts]
    found = [data.draw(strategies.spans(size)) if data else [(size // 2, size), (0, size)] for size in sizes]
    converted = list_spans(spans.to_characters(freeze(make_spans(found)), make_view(texts)))
    for text, before, after in zip(texts, found, converted, strict=True):
        for side in (0, 1):
            assert [pair[side] for pair in after] == reference.find_characters(text, [pair[side] for pair in before])


@given(texts=st.lists(strategies.texts(), max_size=5), data=st.data())
def test_characters_are_pythons(texts, data):
    """In UTF-8 a character is what str counts, and spans come back from bytes as they went in."""
    found = make_spans([data.draw(strategies.spans(len(text))) for text in texts])
    view = make_view([text.encode() for text in texts])
    assert spans.count_characters(view).tolist() == [len(text) for text in texts]
    in_bytes = spans.to_bytes(found, view)
    for text, chars, places in zip(texts, list_spans(found), list_spans(in_bytes), strict=True):
        assert [text.encode()[start:end].decode() for start, end in places] == [text[s:e] for s, e in chars]
    assert list_spans(spans.to_characters(in_bytes, view)) == list_spans(found)


def test_converting_reads_a_slice():
    view = view_text(pa.array(["\u00e9\u00e9", "a\u00e9b", "x"], pa.large_string()).slice(1, 2))
    assert list_spans(spans.to_bytes(make_spans([[(1, 2)], [(0, 1)]]), view)) == [[(1, 3)], [(0, 1)]]
    assert spans.count_characters(view).tolist() == [3, 1]


def test_converting_many_spans_is_not_quadratic():
    """100,000 spans that nest, so that ends descend while starts ascend, over 400 KB."""
    places = np.arange(100_000, dtype=np.int64)
    found = Spans(np.array([0, len(places)]), places, 200_000 - places)
    view = make_view([("\u00e9" * 200_000).encode()])
    converted = spans.to_bytes(found, view)
    assert np.array_equal(converted.starts, 2 * places) and np.array_equal(converted.ends, 400_000 - 2 * places)


def test_restoring_many_spans_is_not_quadratic():
    """200,000 spans behind 200,000 removals: 4 * 10^10 comparisons if each span looked at each removal."""
    places = np.arange(200_000, dtype=np.int64)
    offsets = np.array([0, len(places)])
    removed = Spans(offsets, 3 * places, 3 * places + 1)
    restored = spans.restore_spans(Spans(offsets, 2 * places, 2 * places + 2), removed)
    assert np.array_equal(restored.starts, 3 * places + 1) and np.array_equal(restored.ends, 3 * places + 3)


def test_the_examples_of_the_kernels():
    out_data, out_offsets = np.zeros(6, np.uint8), np.zeros(2, np.int64)
    one, two = np.array([0, 1]), np.array([0, 2])
    data = np.frombuffer(b"abcdef", np.uint8)
    written = spans_kernels.cut_kernel(data, np.array([0, 6]), one, np.array([1]), np.array([3]), out_data, out_offsets)
    assert out_data[:written].tobytes() == b"adef" and out_offsets.tolist() == [0, 4]
    starts, ends = np.zeros(2, np.int64), np.zeros(2, np.int64)
    spans_kernels.restore_kernel(
        two, np.array([1, 0]), np.array([2, 2]), one, np.array([1]), np.array([3]), starts, ends
    )
    assert (starts.tolist(), ends.tolist()) == ([3, 0], [4, 4])
    out_starts, out_ends = np.zeros(3, np.int64), np.zeros(3, np.int64)
    other = (one, np.array([1]), np.array([3]))
    written = spans_kernels.merge_kernel(
        two, np.array([0, 5]), np.array([2, 6]), *other, out_offsets, out_starts, out_ends
    )
    assert (out_starts[:written].tolist(), out_ends[:written].tolist()) == ([0, 5], [3, 6])
    four, five, out = np.array([0, 4]), np.array([0, 5]), np.zeros(5, np.int64)
    spans_kernels.shift_kernel(one, np.array([1]), np.array([3]), four, np.array([1, 2, 3, 4]), out)
    assert out[:4].tolist() == [1, 1, 1, 2]
    data = np.frombuffer("a\u00e9b".encode(), np.uint8)
    spans_kernels.find_bytes_kernel(data, np.array([0, 4]), five, np.array([0, 1, 2, 3, 9]), out)
    assert out.tolist() == [0, 1, 3, 4, 4]
    spans_kernels.find_characters_kernel(data, np.array([0, 4]), five, np.array([0, 1, 2, 3, 4]), out)
    assert out.tolist() == [0, 1, 2, 2, 3]
    spans_kernels.count_characters_kernel(data[:3], np.array([0, 3, 3]), out)
    assert out[:2].tolist() == [2, 0]


@given(lists=st.lists(strategies.spans(50), max_size=6), data=st.data())
def test_take_spans_picks_lists(lists, data):
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8)) if lists else []
    taken = spans.take_spans(freeze(make_spans(lists)), np.array(rows, np.int64))
    assert list_spans(taken) == [lists[row] for row in rows]


@given(lists=st.lists(strategies.spans(50).map(disjoint), max_size=6))
def test_count_bytes(lists):
    assert spans.count_bytes(make_spans(lists)).tolist() == [len(reference.covered(row)) for row in lists]


def test_a_column_and_back():
    """Slices, empty lists, nulls and scores."""
    span = {"start": 3, "end": 5, "score": 0.25}
    column = pa.array([[span], None, [], [span, {"start": 7, "end": 2**31 - 1, "score": None}], [span]], SPANS)
    part = column.slice(1, 3)
    found = spans.read_spans(part)
    assert list_spans(found) == [[], [], [(3, 5), (7, 2**31 - 1)]]
    built = spans.build_spans(found, part.flatten().field("score"), part.is_null())
    assert built.equals(part) and built.type == SPANS
    assert spans.build_spans(found).to_pylist()[2][0] == {"start": 3, "end": 5, "score": 1.0}


def test_chunks_are_read_as_one():
    rows = [[{"start": 1, "end": 2, "score": 0.5}], []]
    column = pa.chunked_array([pa.array(rows, SPANS), pa.array(rows, SPANS)])
    assert list_spans(spans.read_spans(column)) == [[(1, 2)], [], [(1, 2)], []]


def test_no_spans():
    assert list_spans(spans.no_spans(2)) == [[], []]
    assert list_spans(spans.read_spans(pa.array([], SPANS))) == []


@pytest.mark.parametrize(
    "broken", [{"start": None, "end": 2, "score": 1.0}, {"start": 1, "end": None, "score": 1.0}, None]
)
def test_a_span_without_ends_is_refused(broken):
    with pytest.raises(DataError, match="without start or end"):
        spans.read_spans(pa.array([[broken]], SPANS))


def test_another_column_is_refused():
    with pytest.raises(SchemaError) as caught:
        spans.read_spans(pa.array([[1]]))
    assert caught.value.got == pa.list_(pa.int64())


@pytest.mark.parametrize(
    ("lists", "row", "span"),
    [
        ([[(-1, 2)], []], 0, (-1, 2)), ([[], [(2, 1)]], 1, (2, 1)), ([[(0, 4)], []], 0, (0, 4)),
        ([[(0, 2), (1, 3)], []], 0, (1, 3)), ([[(2, 3), (0, 1)], []], 0, (0, 1)), ([[], [(0, 6)]], 1, (0, 6)),
    ],
)  # fmt: skip
def test_check_spans_names_the_span(lists, row, span):
    with pytest.raises(DataError, match=r"span \({}, {}\)".format(*span)) as caught:
        spans.check_spans(make_spans(lists), np.array([3, 5]), "a.parquet")
    assert (caught.value.path, caught.value.row) == ("a.parquet", row)


def test_check_spans_lets_good_spans_pass():
    """Touching, empty and full ones; the next text may begin before the last one's end."""
    spans.check_spans(make_spans([[(0, 1), (1, 1), (1, 3)], [(0, 5)], []]), np.array([3, 5, 0]), "a")


@given(rows=rows_of())
def test_check_characters_finds_what_breaks_the_text(rows):
    """Refused exactly when a span does not begin and end where a character does."""
    texts, lists = [text for text, _ in rows], [row for _, row in rows]
    bounds = [{0, *np.cumsum([len(c.encode()) for c in text.decode()]).tolist()} for text in texts]
    is_whole = all(place in bounds[row] for row, found in enumerate(lists) for pair in found for place in pair)
    assert is_refused(make_spans(lists), make_view(texts)) is not is_whole


def is_refused(found: Spans, text: TextView) -> bool:
    try:
        spans.check_characters(found, text, "a")
    except DataError:
        return True
    return False


@pytest.mark.parametrize("span", [(1, 3), (0, 2)])
def test_a_cut_character_is_named(span):
    """By hand: "a", then a character of 3 bytes at 0 to 3; the span starts or ends inside it."""
    with pytest.raises(DataError, match=r"span \({}, {}\) cuts".format(*span)) as caught:
        spans.check_characters(make_spans([[(0, 1)], [span]]), make_view([b"a", "\u4e2d".encode()]), "a.parquet")
    assert caught.value.row == 1
