"""Dolma's attribute lines: in and out, and what is refused."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dolma_py import spans
from dolma_py.arrow_buffers import view_text
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats.dolma_attributes import (
    Row,
    build_columns,
    build_schema,
    dump_rows,
    list_values,
    name_columns,
    read_rows,
)
from dolma_py.formats.limits import Limits
from tests import strategies

COLUMNS = {"e__t__a": "t__a"}


def make_view(texts):
    return view_text(pa.array(texts, pa.large_string()))


def read(content, path="a.jsonl"):
    return list(read_rows(path, Limits(), lambda _: io.BytesIO(content)))


def build(texts, values):
    """Columns of one attribute; a value of None is a document without a line."""
    rows = [None if value is None else Row(n, None, {"e__t__a": value}) for n, value in enumerate(values, 1)]
    return build_columns("a.jsonl", rows, COLUMNS, make_view(texts))


@st.composite
def spanned_texts(draw):
    """Texts with any spans of characters, some without a line."""
    texts = draw(st.lists(strategies.texts(max_size=8), max_size=5))
    score = st.sampled_from([0.0, 0.1, 1.0, -3.5, 206.0])
    lists = [draw(st.one_of(st.none(), strategies.spans(len(text)))) for text in texts]
    return [
        (text, mine and [[*pair, draw(score)] for pair in sorted(mine)])
        for text, mine in zip(texts, lists, strict=True)
    ]


@given(rows=spanned_texts())
@example(
    rows=[
        ("\U0001f468\u200d\U0001f469e\u0301x", [[0, 3, 0.1], [1, 2, 1.0], [3, 6, -3.5]]),
        ("", [[0, 0, 1.0]]),
        ("\u00e9", None),
    ]
)
def test_spans_come_back_as_they_went_in(rows):
    texts, values = [text for text, _ in rows], [value for _, value in rows]
    batch, clipped = build(texts, values)
    assert clipped == 0 and batch.schema == build_schema(COLUMNS)
    back = list_values(batch.column("t__a"), make_view(texts), spans.no_spans(len(texts)))
    key = [None if value is None else sorted(value, key=lambda span: span[:2]) for value in values]
    assert back == key
    for text, value, found in zip(texts, key, batch.column("t__a").to_pylist(), strict=True):
        cut = None if value is None else [text[start:end].encode() for start, end, _ in value]
        assert cut == (None if found is None else [text.encode()[span["start"] : span["end"]] for span in found])


def test_the_score_column_holds_document_level_scores_alone():
    texts = ["ab", "ab", "ab", "", "ab", "a\u00e9", "ab"]
    values = [[[0, 2, 0.25]], [[0, 1, 0.25]], [[0, 2, 1], [0, 2, 2]], [[0, 0, 7]], [], [[0, 3, 2**40 + 1]], None]
    batch, clipped = build(texts, values)
    assert batch.column("t__a__score").to_pylist() == [0.25, None, None, 7.0, None, 2**40 + 1, None]
    assert clipped == 1 and batch.column("t__a").to_pylist()[5][0]["end"] == 3
    assert batch.column("t__a").to_pylist()[4] == [] and batch.column("t__a").to_pylist()[6] is None


def test_a_name_that_a_line_does_not_have_has_no_spans():
    batch, _ = build_columns("a", [Row(1, None, {})], COLUMNS, make_view(["x"]))
    assert batch.to_pylist() == [{"t__a": [], "t__a__score": None}]
    nothing, _ = build_columns("a", [Row(1, None, {}), None], {}, make_view(["x", "y"]))
    assert (nothing.num_rows, nothing.num_columns) == (2, 0)


@pytest.mark.parametrize(
    "value", ["x", 1, None, [1], [[1, 2]], [[0, 1, 2, 3]], [["0", 1, 1.0]], [[0, 1, None]], [[2, 1, 1.0]], [[-1, 1, 1.0]],
              [[0.5, 1, 1.0]], [[0, 2**31, 1.0]], {"a": 1}, [None]],
)  # fmt: skip
def test_what_is_no_list_of_spans_is_named_with_its_line(value):
    rows = [Row(4, None, {"e__t__a": [[0, 1, 1.0]]}), Row(5, None, {"e__t__a": value})]
    with pytest.raises(DataError, match=r"a\.jsonl:5: attribute e__t__a is .*expected \[start, end, score\]") as caught:
        build_columns("a.jsonl", rows, COLUMNS, make_view(["xyz", "xyz"]))
    assert caught.value.row == 5


def test_lines_are_read_with_their_numbers():
    lines = [
        {"id": "a", "attributes": {"x": []}, "source": "s"},
        {"id": 7, "attributes": {}},
        {"attributes": {}},
        {"id": "", "attributes": {}},
    ]
    content = b"\n" + b"\n".join(json.dumps(line).encode() for line in lines)
    expected = [Row(2, "a", {"x": []}), Row(3, "7", {}), Row(4, None, {}), Row(5, None, {})]
    assert read(content) == expected
    assert read(gzip.compress(content), "a.jsonl.gz") == expected


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b'{"attributes": []}', b"\xff", b"1"])
def test_a_line_that_is_no_record_is_named(line):
    with pytest.raises(DataError) as caught:
        read(b'{"attributes": {}}\n' + line)
    assert (caught.value.path, caught.value.row) == ("a.jsonl", 2)


def test_a_torn_file_is_an_error():
    with pytest.raises(DataError, match="truncated"):
        read(gzip.compress(b'{"attributes": {}}\n' * 10)[:-9], "a.jsonl.gz")


def test_two_names_for_one_column_are_refused():
    assert name_columns(["e__a-b", "1", "e__1"], "x") == {"1": "_1", "e__1": "e__1", "e__a-b": "e__a_b"}
    for names in (["a-b", "a_b"], ["a", "a__score"], ["e__a", "a"]):
        with pytest.raises(ConfigError, match="another column name"):
            name_columns(names, "e")


def test_numbers_become_document_level_spans():
    text, none = make_view(["a\u00e9", "", "xyz"]), spans.no_spans(3)
    assert list_values(pa.array([True, False, None]), text, none) == [[[0, 2, 1]], [[0, 0, 0]], None]
    assert list_values(pa.array([0.1, float("nan"), float("inf")], pa.float32()), text, none) == [
        [[0, 2, 0.1]],
        None,
        None,
    ]
    assert list_values(pa.array([2**62 + 1, -1, 0]), text, none) == [[[0, 2, 2**62 + 1]], [[0, 0, -1]], [[0, 3, 0]]]
    assert list_values(pa.array(["en", "de", "fr"]), text, none) is None


def test_spans_move_with_the_edit_and_vanish_with_their_text():
    """abcdef without cd: ab stays, cd is gone, bcde is be; an empty span stays."""
    places = [[(0, 2), (1, 5), (2, 2), (2, 4)]]
    column = pa.array([[{"start": start, "end": end, "score": 1.0} for start, end in places[0]]], SPANS)
    removed = spans.Spans(np.array([0, 1]), np.array([2]), np.array([4]))
    assert list_values(column, make_view(["abef"]), removed) == [[[0, 2, 1.0], [1, 3, 1.0], [2, 2, 1.0]]]


def test_a_span_that_cuts_a_character_or_has_no_score_is_not_exported():
    none = spans.no_spans(1)
    for span, words in (
        ({"start": 1, "end": 2, "score": 1.0}, "cuts"),
        ({"start": 0, "end": 2, "score": None}, "score"),
    ):
        with pytest.raises(DataError, match=words):
            list_values(pa.array([[span]], SPANS), make_view(["\u00e9"]), none)


def test_lines_are_written_as_dolma_reads_them():
    lines = dump_rows(["a", "b"], {"x": [[[0, 1, 1.0]], None], "y": [[], []]})
    assert lines == b'{"id":"a","attributes":{"x":[[0,1,1.0]],"y":[]}}\n{"id":"b","attributes":{"y":[]}}\n'
