"""Values of JSON: digits of large integers, deep nesting, and names that a record shares with us; through both ways of reading a line."""

from __future__ import annotations

import io
import json

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.formats import FieldMap, Limits, Rejection
from dolma_py.formats.json_values import TooDeepError, dump_json, load_json
from dolma_py.formats.jsonl import read_documents
from pipelines.dolma_lines import dump_documents


def read(data: bytes, fields: FieldMap = FieldMap()):
    """Rows, and (line, reason) of rejections."""
    events = read_documents(
        "/in/sub/a.jsonl", source="web", limits=Limits(), fields=fields, added=None, open_stream=lambda path: io.BytesIO(data), root="/in",
    )  # fmt: skip
    found = list(events)
    rows = [row for event in found if not isinstance(event, Rejection) for row in event.to_pylist()]
    return rows, [(event.line, event.reason) for event in found if isinstance(event, Rejection)]


def nest(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**200), 2**200),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_survives(value):
    assert load_json(json.dumps(value)) == value
    assert json.loads(dump_json(value)) == value
    assert load_json(dump_json(value).encode()) == value


@pytest.mark.parametrize("large", [1, 2**70])
def test_how_deep_a_value_may_be(large):
    def wrap(depth):
        value = large
        for _ in range(depth):
            value = [value]
        return value

    assert json.loads(dump_json(wrap(254))) == wrap(254)
    with pytest.raises(TooDeepError):
        dump_json(wrap(255))


def test_what_is_read_can_be_exported():
    deep = b'{"text":"t","n":100000000000000000001,"k":' + nest(252) + b"}"
    (row,), _ = read(deep, FieldMap(keep_origin=False))
    documents = pa.RecordBatch.from_pylist([row], DOCUMENT_SCHEMA)
    line = dump_documents(documents)
    assert b'"metadata":{"n":100000000000000000001,"k":' + nest(252) + b"}" in line
    again, rejections = read(line, FieldMap(keep_origin=False))
    assert (again, rejections) == ([row], [])


def test_foreign_values_are_told():
    assert dump_json({"a": b"\xff", 1: float("nan"), "n": (2**64, 2**64 - 1)}) == (
        '{"a":"ff","1":null,"n":[18446744073709551616,18446744073709551615]}'
    )
    with pytest.raises(orjson.JSONDecodeError):
        load_json("[")


@pytest.mark.parametrize("key", ["metadata", "extra"])  # by type, and any record
def test_numbers_beyond_64_bits_keep_every_digit(key) -> None:
    numbers = "[100000000000000000001,-9223372036854775809,18446744073709551616,18446744073709551615,1e20,0.5,1]"
    value = f'{{"k":{numbers}}}' if key == "metadata" else numbers
    rows, rejections = read(f'{{"text":"t","{key}":{value}}}\n'.encode(), FieldMap(keep_origin=False))
    assert rejections == []
    assert rows[0]["metadata"] == f'{{"{"k" if key == "metadata" else key}":{numbers.replace("1e20", "1e+20")}}}'
    assert json.loads(rows[0]["metadata"])[{"metadata": "k"}.get(key, key)][0] == 100000000000000000001


def test_an_id_beyond_64_bits_at_a_dotted_path() -> None:
    rows, _ = read(b'{"m":{"id":100000000000000000001},"text":"t"}\n', fields=FieldMap(id="m.id"))
    assert rows[0]["id"] == "100000000000000000001"


@pytest.mark.parametrize(
    ("fits", "line"),
    [
        (True, b'{"text":"t","metadata":{"k":' + nest(252) + b"}}"),
        (False, b'{"text":"t","metadata":{"k":' + nest(253) + b"}}"),
        (False, b'{"text":"t","metadata":{"k":' + nest(1000) + b"}}"),
        (True, b'{"text":"t","k":' + nest(252) + b"}"),
        (False, b'{"text":"t","k":' + nest(253) + b"}"),
        (False, b'{"text":"t","n":100000000000000000000,"k":' + nest(300) + b"}"),
        (False, b'{"text":"t","n":100000000000000000000,"k":' + nest(1000) + b"}"),
        (False, b'{"text":"t","id":' + nest(1000) + b"}"),
        (False, b'{"text":"t","k":' + nest(1000) + b',"metadata":{"k":' + nest(1000) + b"}}"),
    ],
)
def test_a_record_nested_too_deep_costs_itself(fits, line) -> None:
    good = b'{"text": "good"}'
    rows, rejections = read(b"\n".join([good, line, good]))
    assert [row["text"] for row in rows] == ["good", "t", "good"] if fits else ["good", "good"]
    assert rejections == ([] if fits else [(2, "too_deep")])


@pytest.mark.parametrize(
    ("record", "metadata"),
    [
        ({"metadata": {"origin": "liar:1"}}, {"top_level_origin": "liar:1", "origin": "sub/a.jsonl:1"}),
        ({"origin": "liar:1"}, {"top_level_origin": "liar:1", "origin": "sub/a.jsonl:1"}),
        ({"metadata": {"origin": None}}, {"origin": "sub/a.jsonl:1"}),
        ({"metadata": {"origin": "sub/a.jsonl:1"}}, {"origin": "sub/a.jsonl:1"}),
        ({"metadata": {"origin": 1, "top_level_origin": 2}},
         {"top_level_origin": 2, "top_level_top_level_origin": 1, "origin": "sub/a.jsonl:1"}),
        ({"metadata": {"k": 1, "top_level_k": 2}, "k": 3},
         {"k": 1, "top_level_k": 2, "top_level_top_level_k": 3, "origin": "sub/a.jsonl:1"}),
        ({"metadata": {"invalid_created": 1}, "created": "never"},
         {"top_level_invalid_created": 1, "invalid_created": "never", "origin": "sub/a.jsonl:1"}),
    ],
)  # fmt: skip
def test_what_a_record_has_under_our_names_moves(record, metadata) -> None:
    """Both ways of reading: what has a document's fields alone is taken by type."""
    rows, _ = read(json.dumps(record | {"text": "t"}).encode())
    assert json.loads(rows[0]["metadata"]) == metadata
    rows, _ = read(json.dumps(record | {"text": "t", "else": 1}).encode())
    assert json.loads(rows[0]["metadata"]) == metadata | {"else": 1}
