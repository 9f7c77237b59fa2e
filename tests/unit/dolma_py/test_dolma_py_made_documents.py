"""Names of made documents, and what their metadata tell."""

from __future__ import annotations

import json
import re

import hypothesis
import pytest
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, DataError
from dolma_py.made_documents import MAKER_PATTERN, Making, add_making, make_made_id, read_making

makings = st.builds(
    Making,
    parents=st.lists(st.text(max_size=5), min_size=1, max_size=3).map(tuple),
    recipe=st.text(max_size=5),
    seed=st.integers(0, 2**53),
    model=st.none() | st.text(max_size=5),
    cache_key=st.none() | st.text(max_size=5),
)
json_objects = st.dictionaries(st.text(max_size=6), st.none() | st.integers(-5, 5) | st.text(max_size=5), max_size=3)


@hypothesis.given(makings, st.none() | json_objects)
def test_what_was_written_is_read_and_all_else_stays(making, values):
    metadata = None if values is None else json.dumps(values)
    made = add_making(metadata, making)
    assert read_making(made) == making
    kept = {key: value for key, value in (values or {}).items() if key != "dolma_py_making"}
    assert {key: value for key, value in json.loads(made).items() if key != "dolma_py_making"} == kept


@hypothesis.given(st.text(max_size=8), st.from_regex(MAKER_PATTERN, fullmatch=True), st.integers(0, 99))
def test_a_made_id_is_never_that_of_a_repeat_and_leads_back(parent, maker, number):
    made = make_made_id(parent, maker, number)
    assert re.search(r"#[0-9]+\Z", made) is None  # what repeated_ids takes for a repeat
    assert made.rpartition("#")[0] == parent
    assert made.rpartition("#")[2].rpartition("-")[::2] == (maker, str(number))


def test_different_makings_have_different_ids():
    """A maker's name may end in a number: the last hyphen is ours."""
    assert make_made_id("a", "fim1", 2) != make_made_id("a", "fim", 12)
    assert make_made_id(make_made_id("a", "fim", 0), "qa", 1) == "a#fim-0#qa-1"


@pytest.mark.parametrize("maker", ["", "2", "2nd", "Fim", "a#b", "a b", "\u00e9", "fim\n"])
def test_a_maker_that_is_no_name_is_refused(maker):
    with pytest.raises(ConfigError, match="maker"):
        make_made_id("a", maker, 0)


def test_a_negative_number_and_no_parent_are_refused():
    with pytest.raises(ConfigError, match="number"):
        make_made_id("a", "fim", -1)
    with pytest.raises(ConfigError, match="parents"):
        add_making(None, Making((), "0f", 1))
    with pytest.raises(ConfigError, match="seed"):
        add_making(None, Making(("a",), "0f", 1 << 63))


def test_a_document_that_nobody_made_has_no_making():
    """Nor has a recipe of a kitchen that tells of its making."""
    assert read_making(None) is None and read_making('{"url": "http://a.example/#part-2"}') is None
    assert read_making('{"making": "Mix flour"}') is None
    assert json.loads(add_making('{"making": "Mix flour"}', Making(("a",), "0f", 1)))["making"] == "Mix flour"


@pytest.mark.parametrize(
    "metadata",
    ["{broken", "[]", '{"dolma_py_making": 3}', '{"dolma_py_making": {"parents": ["a"]}}',
     '{"dolma_py_making": {"parents": "a", "recipe": "0f", "seed": 1, "model": null, "cache_key": null}}',
     '{"dolma_py_making": {"parents": [1], "recipe": "0f", "seed": 1, "model": null, "cache_key": null}}',
     '{"dolma_py_making": {"parents": ["a"], "recipe": "0f", "seed": true, "model": null, "cache_key": null}}',
     '{"dolma_py_making": {"parents": ["a"], "recipe": null, "seed": 1, "model": null, "cache_key": null}}'],
)  # fmt: skip
def test_metadata_of_another_form_are_refused(metadata):
    with pytest.raises(DataError, match="metadata"):
        read_making(metadata)
