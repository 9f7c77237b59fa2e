"""What tools there are: specs in the form of OpenAPI (name, description, parameters as a JSON schema), and calls checked against them.

Specs come from data sets and servers, so they are bounded and read strictly; schemas hold no references and no patterns that are searched for,
and nothing is fetched. A call's problem says which rule it breaks and where.
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Iterable
from typing import Any, NamedTuple

import jsonschema
import referencing

from dolma_py.tool_calls import NAME, ToolCall, escape_marks

MAX_CHARS = 1 << 20
MAX_TOOLS = 512
MAX_DEPTH = 24
SPEC_PROBLEMS = (
    "too_long", "not_json", "repeated_key", "not_a_list", "too_many_tools", "not_a_tool", "odd_name", "repeated_tool", "too_deep",
    "not_a_schema", "unknown_type", "unsupported_keyword", "bad_schema", "odd_parameter", "required_unknown",
)  # fmt: skip
CALL_PROBLEMS = (
    "unknown_function", "unknown_argument", "missing_argument", "wrong_type", "not_in_enum", "no_alternative", "out_of_bounds",
)  # fmt: skip
# names of types in use beside JSON schema's own -> JSON schema's; None: any value
_TYPES = {
    **{name: name for name in ("string", "integer", "number", "boolean", "array", "object", "null")},
    "str": "string", "int": "integer", "float": "number", "double": "number", "bool": "boolean", "list": "array", "tuple": "array",
    "dict": "object", "none": "null", "any": None,
}  # fmt: skip
_CHECKED = frozenset({
    "enum", "const", "required", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "default",
})  # fmt: skip
# told to the model and not checked; a pattern could keep a processor busy for ever
_TOLD = frozenset({
    "description", "title", "examples", "example", "format", "pattern", "deprecated", "readOnly", "writeOnly", "$schema", "$comment",
})  # fmt: skip
_RANK = {"additionalProperties": 0, "required": 1, "type": 2, "enum": 3, "const": 3}
_REASONS = {
    "additionalProperties": "unknown_argument", "required": "missing_argument", "type": "wrong_type", "enum": "not_in_enum",
    "const": "not_in_enum", "anyOf": "no_alternative", "oneOf": "no_alternative",
}  # fmt: skip


class ToolSpec(NamedTuple):
    """One function that may be called."""

    name: str
    description: str
    parameters: dict[str, Any]  # JSON schema (2020-12) of an object; closed: it takes no other argument
    source: dict[str, Any]  # as it was given, for the system prompt


class ParsedSpecs(NamedTuple):
    """The specs in their order; or none, one of SPEC_PROBLEMS and where it is."""

    specs: tuple[ToolSpec, ...] = ()
    problem: str = ""
    where: str = ""


class CheckedCall(NamedTuple):
    """problem: "" or one of CALL_PROBLEMS; where: function or function.argument, with what is wrong."""

    problem: str = ""
    where: str = ""


class _Refused(Exception):
    def __init__(self, problem: str, where: str = "") -> None:
        self.problem, self.where = problem, where
        super().__init__(problem)


def parse_specs(text: str, *, allows_dots: bool = False) -> ParsedSpecs:
    """Read a JSON list of tools: {name, description, parameters}, OpenAI's {"type": "function", "function": {...}}, MCP's inputSchema.

    Never raises. allows_dots: functions may be called math.factorial.

    >>> parse_specs('[{"name": "stop", "description": "Stop.", "parameters": {"type": "dict", "properties": {}}}]').specs[0].name
    'stop'
    """
    try:
        return ParsedSpecs(tuple(_read_specs(text, allows_dots)))
    except _Refused as refused:
        return ParsedSpecs((), refused.problem, refused.where)


def render_specs(specs: Iterable[ToolSpec]) -> str:
    """The JSON list for the system prompt, in which no special token stands."""
    return escape_marks(json.dumps([spec.source for spec in specs], ensure_ascii=False))


class ToolBox:
    """The tools that a model is offered; checks calls."""

    def __init__(self, specs: Iterable[ToolSpec]) -> None:
        self.specs = {spec.name: spec for spec in specs}
        registry: Any = referencing.Registry()  # holds nothing and fetches nothing
        self._validators = {
            name: jsonschema.Draft202012Validator(spec.parameters, registry=registry)
            for name, spec in self.specs.items()
        }

    def check(self, call: ToolCall) -> CheckedCall:
        """Whether the function is there and takes these arguments. Text is no number and no boolean is one; 3.0 is an integer."""
        validator = self._validators.get(call.name)
        if validator is None:
            return CheckedCall("unknown_function", call.name)
        try:
            errors = sorted(validator.iter_errors(call.arguments), key=_order)
        except OverflowError:  # a whole number of hundreds of digits, divided by a fraction
            return CheckedCall("out_of_bounds", call.name)
        if not errors:
            return CheckedCall()
        first = errors[0]
        place = ".".join([call.name, *map(str, first.absolute_path)])
        said = " ".join(first.message.split())[:200]
        return CheckedCall(_REASONS.get(str(first.validator), "out_of_bounds"), f"{place}: {said}")

    def fill_defaults(self, call: ToolCall) -> ToolCall:
        """The call without arguments that say what the spec has as their default: calls that mean the same become equal.

        1 and 1.0 are the same number, also inside lists and objects.
        """
        properties = self.specs[call.name].parameters["properties"] if call.name in self.specs else {}
        kept = {
            name: value for name, value in sorted(call.arguments.items())
            if not ("default" in properties.get(name, {}) and is_same(properties[name]["default"], value))
        }  # fmt: skip
        return ToolCall(call.name, kept)


def is_same(first: Any, second: Any) -> bool:
    """Whether two JSON values are the same: 1 and 1.0 are, 1 and true are not."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(is_same(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(is_same, first, second))
    return bool(first == second)


def _order(error: Any) -> tuple[int, int, list[str], str]:
    path = [str(part) for part in error.absolute_path]
    return len(path), _RANK.get(str(error.validator), 9), path, str(error.message)


def _read_specs(text: str, allows_dots: bool) -> list[ToolSpec]:
    if len(text) > MAX_CHARS:
        raise _Refused("too_long")
    try:
        values = json.loads(text, object_pairs_hook=_read_object, parse_constant=_refuse_constant)
        json.dumps(values, ensure_ascii=False).encode()  # lone surrogates
    except (ValueError, RecursionError):
        raise _Refused("not_json") from None
    if not isinstance(values, list):
        raise _Refused("not_a_list")
    if len(values) > MAX_TOOLS:
        raise _Refused("too_many_tools")
    specs: list[ToolSpec] = []
    for number, value in enumerate(values):
        spec = _read_tool(value, f"tool {number}", allows_dots)
        if any(spec.name == other.name for other in specs):
            raise _Refused("repeated_tool", spec.name)
        specs.append(spec)
    return specs


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Refused("repeated_key")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _read_tool(value: Any, where: str, allows_dots: bool) -> ToolSpec:
    if isinstance(value, dict) and value.get("type") == "function" and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise _Refused("not_a_tool", where)
    name, description = value["name"], value.get("description")
    parts = name.split(".") if allows_dots else [name]
    if not all(NAME.match(part) and part not in keyword.kwlist for part in parts):
        raise _Refused("odd_name", name[:80])
    if description is not None and not isinstance(description, str):
        raise _Refused("not_a_tool", name)
    given: Any = next((value[key] for key in ("parameters", "inputSchema", "input_schema") if value.get(key)), {})
    return ToolSpec(name, description or "", _read_parameters(given, name), value)


def _read_parameters(given: Any, name: str) -> dict[str, Any]:
    schema = _read_schema({"type": "object", "properties": {}, **given} if isinstance(given, dict) else given, name, 0)
    if schema.get("type") != "object":
        raise _Refused("not_a_schema", name)
    for parameter in schema["properties"]:
        if not NAME.match(parameter) or parameter in ("None", "True", "False"):
            raise _Refused("odd_parameter", f"{name}.{parameter[:80]}")
    schema["additionalProperties"] = False
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise _Refused("bad_schema", f"{name}: {' '.join(error.message.split())[:200]}") from None
    for parameter in schema.get("required", []):
        if parameter not in schema["properties"]:
            raise _Refused("required_unknown", f"{name}.{parameter[:80]}")
    return schema


def _read_schema(given: Any, where: str, depth: int) -> dict[str, Any]:
    """The part of a schema that is checked, with JSON schema's names of types."""
    if depth > MAX_DEPTH:
        raise _Refused("too_deep", where.partition(".")[0])
    if not isinstance(given, dict):
        raise _Refused("not_a_schema", where)
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key == "type":
            found |= _read_type(value, where)
        elif key == "properties":
            if not isinstance(value, dict):
                raise _Refused("not_a_schema", where)
            found[key] = {name: _read_schema(inner, f"{where}.{name[:80]}", depth + 1) for name, inner in value.items()}
        elif key == "items" or (key == "additionalProperties" and not isinstance(value, bool)):
            found[key] = _read_schema(value, f"{where}.{key}", depth + 1)
        elif key in ("anyOf", "oneOf"):
            if not isinstance(value, list) or not value:
                raise _Refused("not_a_schema", where)
            found[key] = [_read_schema(inner, f"{where}.{key}", depth + 1) for inner in value]
        elif key in _CHECKED or key == "additionalProperties":
            found[key] = value
        elif key not in _TOLD and key != "nullable":
            raise _Refused("unsupported_keyword", f"{where}.{key[:80]}")
    return _allow_null(found) if given.get("nullable") is True else found


def _read_type(value: Any, where: str) -> dict[str, Any]:
    names = value if isinstance(value, list) else [value]
    types = [_TYPES.get(name.lower(), "") if isinstance(name, str) else "" for name in names]
    if "" in types or not types:
        raise _Refused("unknown_type", where)
    if None in types:
        return {}
    return {"type": types if isinstance(value, list) else types[0]}


def _allow_null(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0's way to say that null is taken too."""
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = [*types, *["null"] * ("null" not in types)]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    return schema
