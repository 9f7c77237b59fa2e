"""Numbers of the metadata as columns."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from pydantic import ValidationError

from dolma_py.errors import DataError, SchemaError
from taggers.base import tag_checked
from taggers.metadata_numbers import MetadataNumbersTagger, MetadataNumbersTaggerConfig
from taggers.registry import build_tagger


def make_batch(*metadata):
    return pa.record_batch(
        {"text": pa.array([""] * len(metadata), pa.large_string()), "metadata": pa.array(metadata, pa.string())}
    )


def tag(batch, **columns):
    return tag_checked(MetadataNumbersTagger(MetadataNumbersTaggerConfig(columns=columns)), batch)


def test_numbers_words_of_numbers_and_what_is_neither():
    values = [
        {"score": 3},
        {"score": 2.5, "edu": {"year": "1999"}},
        {"score": "many"},
        {"score": True},
        {"score": None},
        {},
    ]
    batch = make_batch(*map(json.dumps, values), None, '{"score": "1e999"}')
    found = tag(batch, quality="score", year="edu.year")
    assert found.column("quality").to_pylist() == [3.0, 2.5, None, None, None, None, None, None]
    assert found.column("year").to_pylist() == [None, 1999.0, *[None] * 6]


def test_no_document_is_a_batch_too():
    assert tag(make_batch(), score="score").num_rows == 0


def test_a_recipe_finds_it_by_its_name():
    tagger = build_tagger("metadata-numbers", {"columns": {"score": "score"}})
    assert tagger.schema == pa.schema([("score", pa.float64())]) and tagger.version == 1


def test_what_cannot_be_read_is_an_error():
    with pytest.raises(SchemaError, match="metadata"):
        tag(pa.record_batch({"text": pa.array(["a"], pa.large_string())}), score="score")
    with pytest.raises(DataError, match="not JSON"):
        tag(make_batch("{"), score="score")


@pytest.mark.parametrize("columns", [{}, {"a b": "x"}, {"": "x"}])
def test_names_of_columns_are_names(columns):
    with pytest.raises(ValidationError):
        MetadataNumbersTaggerConfig(columns=columns)
