"""The tools of the tests catch what they are for: a table that differs in one thing, a text that is not broken."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given

from dolma_py.documents import DOCUMENT_SCHEMA
from tests import strategies
from tests.strict_tables import assert_same_table

SCHEMA = pa.schema([pa.field("a", pa.int64()), pa.field("b", pa.float64()), pa.field("c", pa.list_(pa.string()))])
ROWS = [{"a": 1, "b": math.nan, "c": ["x", None]}, {"a": 2, "b": None, "c": None}, {"a": 3, "b": 0.0, "c": []}]
TABLE = pa.Table.from_pylist(ROWS, SCHEMA)


def changed(row: int, **values) -> pa.Table:
    return pa.Table.from_pylist([old | values if number == row else old for number, old in enumerate(ROWS)], SCHEMA)


def test_a_table_is_the_same_as_itself():
    assert_same_table(TABLE, pa.Table.from_pylist(ROWS, SCHEMA))
    assert_same_table(TABLE.slice(0, 0), SCHEMA.empty_table())
    assert_same_table(TABLE.take([2, 0, 1]), TABLE, sort_by=["a"])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (changed(0, b=1.0), "nan != 1.0"),
        (changed(0, b=None), "nan != None"),
        (changed(2, b=-0.0), "0.0 != -0.0"),
        (changed(1, a=7), "2 != 7"),
        (changed(0, c=["x", ""]), "column c, row 0"),
        (changed(1, c=[]), "None != "),
        (TABLE.slice(1), "3 rows != 2"),
        (pa.concat_tables([TABLE, TABLE.slice(2)]), "3 rows != 4"),
        (TABLE.drop_columns(["c"]), "only in actual: .'c'."),
        (TABLE.append_column("d", pa.array([1, 2, 3])), "only in expected: .'d'."),
        (TABLE.select(["b", "a", "c"]), "column order"),
        (TABLE.cast(SCHEMA.set(0, pa.field("a", pa.int32()))), "int64 != int32"),
        (TABLE.cast(SCHEMA.set(0, pa.field("a", pa.int64(), nullable=False))), "nullable"),
        (TABLE.take([1, 0, 2]), "row 0: 1 != 2"),
    ],
)
def test_one_difference_is_found(other, named):
    with pytest.raises(AssertionError, match=named):
        assert_same_table(TABLE, other)


def test_a_sort_key_must_tell_rows_apart():
    twice = pa.table({"a": [1, 1], "b": [2, 3]})
    with pytest.raises(AssertionError, match="does not tell all rows apart"):
        assert_same_table(twice, twice, sort_by=["a"])


@given(text=strategies.texts())
def test_texts_are_text(text):
    assert text.encode().decode() == text


@given(data=strategies.broken_bytes())
def test_broken_bytes_are_broken(data):
    with pytest.raises(UnicodeDecodeError):
        data.decode()


@given(rows=strategies.documents())
def test_documents_fit_the_schema(rows):
    table = pa.Table.from_pylist(rows, DOCUMENT_SCHEMA)
    table.validate(full=True)
    assert len({row["id"] for row in rows}) == len(rows)


@given(pair=strategies.texts_with_spans())
def test_spans_lie_inside(pair):
    text, spans = pair
    assert [span for span in spans if not 0 <= span[0] <= span[1] <= len(text.encode())] == []
