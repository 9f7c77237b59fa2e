"""Calls of tools as Olmo 3's assistant writes them: one call a line, in the form of Python, between tags. Parsed by `ast`, never run.

    <function_calls>
    get_weather(city="Oslo", days=2)
    </function_calls>

Values are literals: of Python (None, True, False, tuples), of JSON (null, true, false), or both. What cannot be read has a reason and no calls:
nothing is mended. Source: Olmo 3 report, tool use (appendix on chat templates); the released chat_template.jinja.
"""

from __future__ import annotations

import ast
import json
import keyword
import math
import re
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

OPEN_TAG, CLOSE_TAG = "<function_calls>", "</function_calls>"
PROBLEMS = (
    "stray_tag",  # a closing tag alone
    "unclosed_block",
    "text_after_block",  # a second block too
    "too_long",
    "too_deep",
    "too_many_calls",
    "no_call",
    "syntax",
    "lone_surrogate",
    "not_one_per_line",
    "not_a_call",
    "dotted_name",
    "odd_name",
    "positional_argument",
    "star_argument",
    "repeated_argument",
    "repeated_key",
    "key_not_string",
    "not_finite",
    "not_a_literal",
)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_JSON_NAMES = {"null": None, "true": True, "false": False}
# Parameters are called `from`, `class` or `in` too, which Python's grammar does not take as names of arguments.
_KEYWORDS = frozenset(keyword.kwlist) - {"None", "True", "False"}
_MARK = "dolma_py_keyword_"
# What a block is made of, as far as the two passes before `ast` must know it: texts, comments, words, blanks, line ends, single signs.
_TOKEN = re.compile(
    r"""[rRbBuUfF]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|(?!\"\"\"|''')(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))"""
    r"|\#[^\r\n]*|[^\W\d]\w*|[ \t\f]+|\r\n|.",
    re.DOTALL,
)
_ARGUMENT = re.compile(r"[ \t]*=(?!=)")


class ToolCall(NamedTuple):
    """One call; the arguments are JSON values, in the order in which they were written."""

    name: str
    arguments: dict[str, Any]


class CallLimits(NamedTuple):
    """How much is read of one block."""

    max_chars: int = 1 << 16
    max_depth: int = 32  # brackets inside one another, the call's own among them
    max_calls: int = 64
    allows_dots: bool = False  # names such as math.factorial


class ParsedCalls(NamedTuple):
    """The calls in their order; or none and one of PROBLEMS."""

    calls: tuple[ToolCall, ...] = ()
    problem: str = ""


class AssistantText(NamedTuple):
    """What an assistant said: words, and the block of calls after them where there is one."""

    content: str
    block: str | None = None
    problem: str = ""


class _Refused(Exception):
    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


def split_assistant(text: str) -> AssistantText:
    """Words and block of an assistant's turn; problem: stray_tag, unclosed_block, text_after_block.

    >>> split_assistant("Let me look.<function_calls>\\nf(a=1)\\n</function_calls>")
    AssistantText(content='Let me look.', block='\\nf(a=1)\\n', problem='')
    """
    content, opening, rest = text.partition(OPEN_TAG)
    if not opening:
        return AssistantText(text, None, "stray_tag" if CLOSE_TAG in text else "")
    if CLOSE_TAG in content:
        return AssistantText(text, None, "stray_tag")
    block, closing, after = rest.partition(CLOSE_TAG)
    if not closing:
        return AssistantText(text, None, "unclosed_block")
    return AssistantText(text, None, "text_after_block") if after.strip() else AssistantText(content, block)


def parse_calls(block: str, limits: CallLimits | None = None) -> ParsedCalls:
    """The calls of a block (without its tags). Never raises, never runs anything.

    A call may go over several lines inside its brackets; comments are let pass; blanks before a call too. Surrogate pairs, as JSON writes
    characters beyond U+FFFF, are joined. Python's own words (from, class, in) may be names of arguments.

    >>> parse_calls("find(name='a', deep=true)\\nstop()").calls
    (ToolCall(name='find', arguments={'name': 'a', 'deep': True}), ToolCall(name='stop', arguments={}))
    >>> parse_calls("find('a')").problem
    'positional_argument'
    """
    limits = limits or CallLimits()
    try:
        return ParsedCalls(tuple(_read_block(block, limits)))
    except _Refused as refused:
        return ParsedCalls((), refused.problem)


def _read_block(block: str, limits: CallLimits) -> list[ToolCall]:
    if len(block) > limits.max_chars:
        raise _Refused("too_long")
    try:
        block.encode()
    except UnicodeEncodeError:
        raise _Refused("lone_surrogate") from None
    source = _prepare(block, limits.max_depth)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know, such as \d
            statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _Refused("syntax") from None
    if not statements:
        raise _Refused("no_call")
    if len(statements) > limits.max_calls:
        raise _Refused("too_many_calls")
    last_line = 0
    calls = []
    for statement in statements:
        if statement.lineno <= last_line:
            raise _Refused("not_one_per_line")
        last_line = statement.end_lineno or statement.lineno
        calls.append(_read_call(statement, limits))
    return calls


def _prepare(block: str, max_depth: int) -> str:
    """The block without blanks before calls and with arguments' names that Python takes; raises for brackets too deep, a text without end."""
    pieces: list[str] = []
    depth = 0
    starts_line = True
    for match in _TOKEN.finditer(block):
        token = match.group()
        if token in "([{":
            depth += 1
            if depth > max_depth:
                raise _Refused("too_deep")
        elif token in ")]}":
            depth -= 1
        elif token in ('"', "'", "\0"):
            raise _Refused("syntax")
        elif token in _KEYWORDS and _ARGUMENT.match(block, match.end()):
            token = _MARK + token
        elif token.isspace() and starts_line and depth <= 0 and token not in ("\n", "\r", "\r\n"):
            continue
        starts_line = token in ("\n", "\r", "\r\n")
        pieces.append(token)
    return "".join(pieces)


def _read_call(statement: ast.stmt, limits: CallLimits) -> ToolCall:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        raise _Refused("not_a_call")
    call = statement.value
    name = _read_name(call.func, limits)
    if call.args:
        raise _Refused(
            "star_argument" if any(isinstance(one, ast.Starred) for one in call.args) else "positional_argument"
        )
    arguments: dict[str, Any] = {}
    for given in call.keywords:
        if given.arg is None:
            raise _Refused("star_argument")
        argument = given.arg.removeprefix(_MARK)
        if not NAME.match(argument):
            raise _Refused("odd_name")
        if argument in arguments:
            raise _Refused("repeated_argument")
        arguments[argument] = _read_value(given.value)
    return ToolCall(name, arguments)


def _read_name(node: ast.expr, limits: CallLimits) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise _Refused("not_a_call")
    parts.append(node.id)
    if len(parts) > 1 and not limits.allows_dots:
        raise _Refused("dotted_name")
    if not all(NAME.match(part) for part in parts):
        raise _Refused("odd_name")
    return ".".join(reversed(parts))


def _read_value(node: ast.expr) -> Any:
    """A JSON value. Recursion is as deep as brackets are, which were counted."""
    if isinstance(node, ast.Constant):
        return _read_constant(node.value)
    if isinstance(node, ast.Name) and node.id in _JSON_NAMES:
        return _JSON_NAMES[node.id]
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub | ast.UAdd)
        and isinstance(node.operand, ast.Constant)
    ):
        number = _read_constant(node.operand.value)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _Refused("not_a_literal")
        return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.List | ast.Tuple):
        return [_read_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return _read_mapping(node)
    raise _Refused("not_a_literal")


def _read_constant(value: Any) -> Any:
    if isinstance(value, str):
        return _join_surrogates(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise _Refused("not_finite")
    if value is None or isinstance(value, bool | int | float):
        return value
    raise _Refused("not_a_literal")  # bytes, complex numbers, ...


def _read_mapping(node: ast.Dict) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in zip(node.keys, node.values, strict=True):
        if key_node is None:
            raise _Refused("not_a_literal")  # {**other}
        key = _read_value(key_node)
        if not isinstance(key, str):
            raise _Refused("key_not_string")
        if key in found:
            raise _Refused("repeated_key")
        found[key] = _read_value(value_node)
    return found


def _join_surrogates(text: str) -> str:
    """JSON escapes a character beyond U+FFFF as a pair, which Python reads as two halves."""
    if not any("\ud800" <= sign <= "\udfff" for sign in text):
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise _Refused("lone_surrogate") from None


def render_calls(calls: Iterable[ToolCall], *, as_json: bool = False) -> str:
    """One line for each call, without tags; `parse_calls` gives the same calls back. as_json: null, true and false in place of Python's.

    Texts are written so that they hold neither the tags nor the beginning of a special token (`<|`) as they stand.

    >>> render_calls([ToolCall("find", {"name": "O'Neil", "ids": [1, None]})])
    'find(name="O\\'Neil", ids=[1, None])'

    Raises ValueError for a name or value that the form cannot hold: NaN, a lone surrogate, a key that is no text.
    """
    return "\n".join(_render_call(call, as_json) for call in calls)


def wrap_calls(content: str, calls: Iterable[ToolCall]) -> str:
    """An assistant's turn: words, then the block with its tags."""
    return f"{content}{OPEN_TAG}\n{render_calls(calls)}\n{CLOSE_TAG}"


def escape_marks(literal: str) -> str:
    r"""JSON or Python text literals in which no tag of calls and no special token's beginning stands: `<` of these becomes `\u003c`."""
    return (
        literal.replace("<|", "\\u003c|")
        .replace(CLOSE_TAG, "\\u003c" + CLOSE_TAG[1:])
        .replace(OPEN_TAG, "\\u003c" + OPEN_TAG[1:])
    )


def _render_call(call: ToolCall, as_json: bool) -> str:
    for part in (*call.name.split("."), *call.arguments):
        if not NAME.match(part):
            raise ValueError(f"expected a name of letters, digits and _, got {part!r}")
    if any(part in keyword.kwlist for part in call.name.split(".")) or not {"None", "True", "False"}.isdisjoint(
        call.arguments
    ):
        raise ValueError(f"{call.name}: a word of Python cannot be the name of a function")
    inside = ", ".join(f"{name}={_render_value(value, as_json)}" for name, value in call.arguments.items())
    return f"{call.name}({inside})"


def _render_value(value: Any, as_json: bool) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value) if as_json else repr(value)
    if isinstance(value, str):
        value.encode()  # UnicodeEncodeError, a ValueError, for a lone surrogate
        return escape_marks(json.dumps(value, ensure_ascii=False))
    if isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"expected a finite number, got {value}")
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_render_value(item, as_json) for item in value)}]"
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        pairs = (f"{_render_value(key, as_json)}: {_render_value(item, as_json)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    raise ValueError(f"expected a JSON value, got {type(value).__name__}")
