"""Ids by content and the columns that every job needs."""

from __future__ import annotations

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given

from dolma_py.documents import DOCUMENT_SCHEMA, DUPLICATE_SCHEMA, SPAN, SPANS, check_documents, make_document_id
from dolma_py.errors import SchemaError
from tests import strategies


def test_an_id_is_a_hash_of_lengths_and_parts():
    content = (3).to_bytes(8, "little") + b"web" + (4).to_bytes(8, "little") + b"a/\xc3\xa9" + b"text"
    assert make_document_id("web", "a/\u00e9", b"text") == xxhash.xxh3_128_hexdigest(content)


def test_ids_never_change():
    """Recorded: an id stands in attributes, decisions and shards of every corpus made so far."""
    assert make_document_id("web", "http://a.b/c", b"hello") == "52d77b20673eeee71b5d8e7187ec21ca"


@given(source=strategies.texts(max_size=3), origin=strategies.texts(max_size=3), text=strategies.any_bytes())
def test_parts_do_not_run_together(source, origin, text):
    """Moving a letter from one part to its neighbour makes another document."""
    one = make_document_id(source + "x", origin, text)
    assert one == make_document_id(source + "x", origin, text) and len(one) == 32
    others = [
        (source, "x" + origin, text),
        (source, origin, b"x" + text),
        (source + "x", origin, text + b"\0"),
        (source + "x", origin + "x", text),
    ]
    assert one not in {make_document_id(*other) for other in others}


def test_a_path_that_is_no_utf8_has_an_id():
    assert len(make_document_id("web", "x\udcff", b"")) == 32


def test_check_documents():
    check_documents(DOCUMENT_SCHEMA, "a.parquet")
    narrow = pa.schema([("source", pa.string()), ("id", pa.string()), ("text", pa.large_string()), ("more", pa.int8())])
    check_documents(narrow, "a.parquet")


@pytest.mark.parametrize("column", ["id", "text", "source"])
@pytest.mark.parametrize("kind", [None, pa.int64(), pa.binary()], ids=str)
def test_a_wrong_schema_is_named(column, kind):
    place = DOCUMENT_SCHEMA.get_field_index(column)
    schema = DOCUMENT_SCHEMA.remove(place) if kind is None else DOCUMENT_SCHEMA.set(place, pa.field(column, kind))
    with pytest.raises(SchemaError) as caught:
        check_documents(schema, "a.parquet")
    error = caught.value
    assert (error.column, error.expected, error.path) == (column, DOCUMENT_SCHEMA.field(column).type, "a.parquet")
    assert error.got == ("no such column" if kind is None else kind)


def test_the_shared_schemas():
    """What other projects and earlier corpora rely on."""
    assert DOCUMENT_SCHEMA.names == ["id", "text", "source", "added", "created", "metadata"]
    assert [field.name for field in DOCUMENT_SCHEMA if not field.nullable] == ["id", "text", "source"]
    assert str(SPAN) == "struct<start: int32, end: int32, score: float>" and SPANS.value_type == SPAN
    assert DUPLICATE_SCHEMA.names == ["is_duplicate", "cluster_id", "cluster_size", "kept_id", "similarity"]
