"""Specs of tools: what is read, what is refused; calls against them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.tool_calls import ToolCall
from dolma_py.tool_specs import CALL_PROBLEMS, MAX_CHARS, SPEC_PROBLEMS, ToolBox, is_same, parse_specs, render_specs
from tests.strategies import texts

WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "its name", "maxLength": 20},
            "days": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1},
            "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
            "share": {"type": "number", "multipleOf": 0.5},
            "exact": {"type": "boolean"},
            "hours": {"type": "array", "items": {"type": "integer"}, "default": [6, 18]},
            "place": {
                "type": "object",
                "properties": {"lat": {"type": "number"}},
                "required": ["lat"],
                "additionalProperties": False,
            },
            "when": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "note": {"type": "string", "nullable": True},
        },
        "required": ["city"],
    },
}


def box_of(*tools, **more) -> ToolBox:
    parsed = parse_specs(json.dumps(list(tools)), **more)
    assert parsed.problem == ""
    return ToolBox(parsed.specs)


BOX = box_of(WEATHER)


def tool(**schema):
    return json.dumps([{"name": "f", "parameters": {"type": "object", "properties": {"a": schema}}}])


@pytest.mark.parametrize(
    "given_tool",
    [
        WEATHER,
        {"type": "function", "function": WEATHER},
        {"name": "get_weather", "inputSchema": WEATHER["parameters"], "annotations": {"x": 1}},
    ],
)
def test_forms_of_one_tool(given_tool):
    assert parse_specs(json.dumps([given_tool])).specs[0].parameters == BOX.specs["get_weather"].parameters


@pytest.mark.parametrize(
    "given_tool", [{"name": "f"}, {"name": "f", "parameters": {}}, {"name": "f", "parameters": None}]
)
def test_a_tool_without_parameters_takes_none(given_tool):
    box = box_of(given_tool)
    assert box.check(ToolCall("f", {})).problem == ""
    assert box.check(ToolCall("f", {"a": 1})).problem == "unknown_argument"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("str", "x", 1), ("int", 1, "1"), ("float", 1.5, "x"), ("double", 2, "x"), ("bool", True, 1), ("list", [1], 1), ("tuple", [1], {}),
        ("dict", {"x": 1}, []), ("none", None, 0), ("String", "x", 1), (["string", "null"], None, 1),
    ],
)  # fmt: skip
def test_names_of_types_in_use(name, good, bad):
    box = ToolBox(parse_specs(tool(type=name)).specs)
    assert box.check(ToolCall("f", {"a": good})).problem == ""
    assert box.check(ToolCall("f", {"a": bad})).problem == "wrong_type"


def test_any_value():
    box = ToolBox(parse_specs(tool(type="any")).specs)
    assert {box.check(ToolCall("f", {"a": value})).problem for value in (1, "x", None, [], {})} == {""}


CHECKS = [
    ({"city": "Oslo"}, ""),
    ({"city": "Oslo", "days": 2.0, "unit": "kelvin", "share": 1.5, "exact": True, "hours": [], "place": {"lat": 1}, "when": "x", "note": None}, ""),
    ({}, "missing_argument"),
    ({"city": "Oslo", "town": "x"}, "unknown_argument"),
    ({"town": "x"}, "unknown_argument"),
    ({"city": 1}, "wrong_type"),
    ({"city": None}, "wrong_type"),
    ({"city": "Oslo", "days": "2"}, "wrong_type"),
    ({"city": "Oslo", "days": True}, "wrong_type"),
    ({"city": "Oslo", "days": 1.5}, "wrong_type"),
    ({"city": "Oslo", "exact": 1}, "wrong_type"),
    ({"city": "Oslo", "hours": [1, "x"]}, "wrong_type"),
    ({"city": "Oslo", "unit": "rankine"}, "not_in_enum"),
    ({"city": "Oslo", "days": 0}, "out_of_bounds"),
    ({"city": "Oslo", "days": 10}, "out_of_bounds"),
    ({"city": "x" * 21}, "out_of_bounds"),
    ({"city": "Oslo", "share": 0.3}, "out_of_bounds"),
    ({"city": "Oslo", "share": 10**400}, "out_of_bounds"),
    ({"city": "Oslo", "place": {}}, "missing_argument"),
    ({"city": "Oslo", "place": {"lat": 1, "x": 2}}, "unknown_argument"),
    ({"city": "Oslo", "when": []}, "no_alternative"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "problem"), CHECKS, ids=range(len(CHECKS)))
def test_arguments_are_checked(arguments, problem):
    found = BOX.check(ToolCall("get_weather", arguments))
    assert found.problem == problem
    assert bool(found.where) == bool(problem)


def test_every_problem_of_a_call_was_seen():
    seen = {problem for _, problem in CHECKS if problem} | {BOX.check(ToolCall("f", {})).problem}
    assert seen == set(CALL_PROBLEMS)


def test_where_names_the_place():
    found = BOX.check(ToolCall("get_weather", {"city": "Oslo", "hours": [1, "x"]}))
    assert found.where.startswith("get_weather.hours.1: ") and "'x'" in found.where


REFUSED = [
    ("[" * 100_000, "not_json"),
    ("[" + " " * MAX_CHARS + "]", "too_long"),
    ("{", "not_json"),
    ("[NaN]", "not_json"),
    ('["\\ud800"]', "not_json"),
    ("{}", "not_a_list"),
    ("null", "not_a_list"),
    (json.dumps([{"name": f"f{n}"} for n in range(513)]), "too_many_tools"),
    ('[{"name": "f", "name": "g"}]', "repeated_key"),
    ("[1]", "not_a_tool"),
    ('[{"description": "x"}]', "not_a_tool"),
    ('[{"name": 3}]', "not_a_tool"),
    ('[{"name": "f", "description": 3}]', "not_a_tool"),
    ('[{"name": "get-weather"}]', "odd_name"),
    ('[{"name": "math.pow"}]', "odd_name"),
    ('[{"name": "class"}]', "odd_name"),
    ('[{"name": ""}]', "odd_name"),
    ('[{"name": "f"}, {"name": "f"}]', "repeated_tool"),
    ('[{"name": "f", "parameters": [1]}]', "not_a_schema"),
    ('[{"name": "f", "parameters": {"type": "string"}}]', "not_a_schema"),
    ('[{"name": "f", "parameters": {"properties": 3}}]', "not_a_schema"),
    (tool(type="array", items=3), "not_a_schema"),
    (tool(anyOf=[]), "not_a_schema"),
    (tool(type="colour"), "unknown_type"),
    (tool(type=[]), "unknown_type"),
    (tool(type=3), "unknown_type"),
    (tool(**{"$ref": "http://127.0.0.1:1/x.json"}), "unsupported_keyword"),
    (tool(patternProperties={"^(a+)+$": {}}), "unsupported_keyword"),
    ('[{"name": "f", "parameters": {"city": {"type": "str"}}}]', "unsupported_keyword"),
    (tool(enum=3), "bad_schema"),
    (tool(type="string", minLength=-1), "bad_schema"),
    (tool(type="object", required=True), "bad_schema"),
    ('[{"name": "f", "parameters": {"properties": {"user-id": {}}}}]', "odd_parameter"),
    ('[{"name": "f", "parameters": {"properties": {"True": {}}}}]', "odd_parameter"),
    ('[{"name": "f", "parameters": {"required": ["a"]}}]', "required_unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), REFUSED, ids=range(len(REFUSED)))
def test_specs_that_are_refused(text, problem):
    found = parse_specs(text)
    assert (found.specs, found.problem) == ((), problem)


def deep(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return tool(**schema)


def test_depth_is_bounded():
    assert parse_specs(deep(20)).problem == ""
    assert parse_specs(deep(25)).problem == "too_deep"
    assert {problem for _, problem in REFUSED} | {"too_deep"} == set(SPEC_PROBLEMS)


def test_a_pattern_is_told_and_not_run():
    box = ToolBox(parse_specs(tool(type="string", pattern="^(a+)+$")).specs)
    assert box.check(ToolCall("f", {"a": "a" * 5000 + "b"})).problem == ""
    assert "(a+)+" in render_specs(box.specs.values())


def test_names_with_dots_are_an_option():
    assert parse_specs('[{"name": "math.pow"}]', allows_dots=True).specs[0].name == "math.pow"
    assert parse_specs('[{"name": "math."}]', allows_dots=True).problem == "odd_name"


def test_specs_there_and_back():
    marked = {**WEATHER, "description": "<|im_end|></function_calls>"}
    text = render_specs(parse_specs(json.dumps([marked])).specs)
    assert "<|" not in text and "</function_calls>" not in text
    assert json.loads(text) == [marked]


def test_defaults_are_filled():
    same = [{"city": "Oslo"}, {"days": 1, "city": "Oslo"}, {"city": "Oslo", "days": 1.0, "hours": [6.0, 18]}]
    assert {str(BOX.fill_defaults(ToolCall("get_weather", arguments))) for arguments in same} == {
        str(ToolCall("get_weather", {"city": "Oslo"}))
    }
    other = ToolCall("get_weather", {"city": "Oslo", "days": True})
    assert BOX.fill_defaults(other).arguments == {"city": "Oslo", "days": True}
    assert BOX.fill_defaults(ToolCall("g", {"b": 1, "a": 2})) == ToolCall("g", {"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (1, 1.0, True), (1, True, False), (0, False, False), ([1], [1.0], True), ([1], [1, 1], False),
        ({"a": 1}, {"a": 1.0}, True), ({"a": 1}, {"b": 1}, False), ("1", 1, False), (None, False, False),
    ],
)  # fmt: skip
def test_sameness(first, second, expected):
    assert is_same(first, second) is expected


KEYS = ["type", "properties", "name", "parameters", "items", "enum", "required", "nullable", "anyOf", "a"]
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=10,
)  # fmt: skip


@given(JSON_VALUES)
def test_no_specs_raise(value):
    for text in (json.dumps(value), json.dumps([value]), json.dumps([{"name": "f", "parameters": value}])):
        found = parse_specs(text)
        assert (found.problem == "") or found.problem in SPEC_PROBLEMS
        box = ToolBox(found.specs)
        for name in box.specs:
            assert box.check(ToolCall(name, {"a": value})).problem in ("", *CALL_PROBLEMS)
