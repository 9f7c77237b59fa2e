"""Calls in the form of Python: what is read, what is refused and why, there and back."""

from __future__ import annotations

import json
import keyword
import math
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.tool_calls import (
    CLOSE_TAG,
    OPEN_TAG,
    PROBLEMS,
    CallLimits,
    ToolCall,
    escape_marks,
    parse_calls,
    render_calls,
    split_assistant,
    wrap_calls,
)
from tests.strategies import texts

NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, texts(max_size=6))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts(max_size=3), inner, max_size=4)),
    max_leaves=12,
)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,12}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))
ARGUMENTS = st.one_of(NAMES, st.sampled_from(sorted(set(keyword.kwlist) - {"None", "True", "False"})))
CALLS = st.builds(ToolCall, NAMES, st.dictionaries(ARGUMENTS, VALUES, max_size=4))


def typed(value):
    """The value with its types, so that 1, 1.0 and True differ, and 0.0 from -0.0."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value).__name__, repr(value)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("f()", [("f", {})]),
        ("\n  f(a=1)\n\n\tg(b='x')  \n", [("f", {"a": 1}), ("g", {"b": "x"})]),
        ("f(a=null, b=true, c=false)", [("f", {"a": None, "b": True, "c": False})]),
        ("f(a=None, b=True, c=False)", [("f", {"a": None, "b": True, "c": False})]),
        ("f(a=-1, b=+2.5, c=1e3, d=0x10, e=1_000)", [("f", {"a": -1, "b": 2.5, "c": 1000.0, "d": 16, "e": 1000})]),
        ("f(a=(1, 2), b=[], c={})", [("f", {"a": [1, 2], "b": [], "c": {}})]),
        ('f(a={"x": [1, {"y": null}], "z": true})', [("f", {"a": {"x": [1, {"y": None}], "z": True}})]),
        (r"f(a='it\'s', b=" + r'"say \"hi\"\n", c="\u00e9")', [("f", {"a": "it's", "b": 'say "hi"\n', "c": "\u00e9"})]),
        (r'f(a="\ud83d\ude00")', [("f", {"a": "\U0001f600"})]),
        (r'f(a="C:\dir", b=r"\d+")', [("f", {"a": "C:\\dir", "b": "\\d+"})]),
        ("f(a='''one\n  two''')\ng()", [("f", {"a": "one\n  two"}), ("g", {})]),
        ("f(\n    a=1,\n    b=[2,\n 3],\n)\ng()", [("f", {"a": 1, "b": [2, 3]}), ("g", {})]),
        ("f(a='x' 'y')  # it's a note\ng()", [("f", {"a": "xy"}), ("g", {})]),
        (
            "send(from='a', class=1, in ='b', to='from=c')",
            [("send", {"from": "a", "class": 1, "in": "b", "to": "from=c"})],
        ),
        ("f(a='x\ry')", None),
        ("f(text='null', b='(((')", [("f", {"text": "null", "b": "((("})]),
        ("f(a=1)\r\ng(b=2)\r\n", [("f", {"a": 1}), ("g", {"b": 2})]),
    ],
)
def test_what_is_read(block, expected):
    found = parse_calls(block)
    if expected is None:
        assert found.problem
    else:
        assert found == (tuple(ToolCall(*call) for call in expected), "")


BAD = [
    ("", "no_call"),
    ("  \n# nothing\n", "no_call"),
    ("f(", "syntax"),
    ("f(a=1", "syntax"),
    ("f(a='x)", "syntax"),
    ("f(a='x\ny')", "syntax"),
    ("f(a='''x)", "syntax"),
    ("f(a=1) g()", "syntax"),
    ("call f(a=1)", "syntax"),
    ("f(user-id=1)", "syntax"),
    ("f(a=\x00)", "syntax"),
    ("f(a='\x00')", "syntax"),
    ("f(a=" + "9" * 5000 + ")", "syntax"),
    ("f(a=1); g()", "not_one_per_line"),
    ("f(a=1), g()", "not_a_call"),
    ("[f(a=1)]", "not_a_call"),
    ("x = f(a=1)", "not_a_call"),
    ("f", "not_a_call"),
    ("f(a=1)(b=2)", "not_a_call"),
    ("f[0](a=1)", "not_a_call"),
    ("import os", "not_a_call"),
    ("def f(): pass", "not_a_call"),
    ("'f'.g()", "not_a_call"),
    ("math.pow(a=1)", "dotted_name"),
    ("\u00e9t\u00e9()", "odd_name"),
    ("f(\u00e9=1)", "odd_name"),
    ("f(1)", "positional_argument"),
    ("f(1, a=2)", "positional_argument"),
    ("f(*a)", "star_argument"),
    ("f(1, *[2])", "star_argument"),
    ("f(**{'a': 1})", "star_argument"),
    ("f(a=1, a=2)", "repeated_argument"),
    ("f(a={'x': 1, 'x': 2})", "repeated_key"),
    ("f(a={1: 2})", "key_not_string"),
    ("f(a={None: 2})", "key_not_string"),
    ("f(a=1e999)", "not_finite"),
    ("f(a=-1e999)", "not_finite"),
    ("f(a=NaN)", "not_a_literal"),
    ("f(a=b)", "not_a_literal"),
    ("f(a=g())", "not_a_literal"),
    ("f(a=__import__('os').system('true'))", "not_a_literal"),
    ("f(a=1+1)", "not_a_literal"),
    ("f(a=1j)", "not_a_literal"),
    ("f(a=b'x')", "not_a_literal"),
    ("f(a={1, 2})", "not_a_literal"),
    ("f(a={**b})", "not_a_literal"),
    ("f(a=...)", "not_a_literal"),
    ("f(a=f'{1}')", "not_a_literal"),
    ("f(a=[x for x in y])", "not_a_literal"),
    ("f(a=lambda: 1)", "not_a_literal"),
    ("f(a=not true)", "not_a_literal"),
    ("f(a=--1)", "not_a_literal"),
    ("f(a=-true)", "not_a_literal"),
    ("f(a=-True)", "not_a_literal"),
    ("f(a=-'x')", "not_a_literal"),
    (r'f(a="\ud800")', "lone_surrogate"),
    ("f(a='\ud800')", "lone_surrogate"),
    ("f(a=" + "[" * 32 + "]" * 32 + ")", "too_deep"),
    ("(" * 1000, "too_deep"),
    ("f(a='" + "x" * (1 << 20) + "')", "too_long"),
    ("f()\n" * 65, "too_many_calls"),
]


@pytest.mark.parametrize(("block", "problem"), BAD, ids=range(len(BAD)))
def test_what_is_refused(block, problem):
    assert parse_calls(block) == ((), problem)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("words", ("words", None, "")),
        (f"words{OPEN_TAG}\nf()\n{CLOSE_TAG}\n", ("words", "\nf()\n", "")),
        (f"{OPEN_TAG}f(){CLOSE_TAG}", ("", "f()", "")),
        (f"a{CLOSE_TAG}", (f"a{CLOSE_TAG}", None, "stray_tag")),
        (f"a{CLOSE_TAG}{OPEN_TAG}f(){CLOSE_TAG}", (f"a{CLOSE_TAG}{OPEN_TAG}f(){CLOSE_TAG}", None, "stray_tag")),
        (f"a{OPEN_TAG}f()", (f"a{OPEN_TAG}f()", None, "unclosed_block")),
        (f"{OPEN_TAG}f(){CLOSE_TAG}b", (f"{OPEN_TAG}f(){CLOSE_TAG}b", None, "text_after_block")),
    ],
)
def test_an_assistant_is_split(text, expected):
    assert split_assistant(text) == expected


def test_every_problem_was_seen():
    seen = {problem for _, problem in BAD} | {"stray_tag", "unclosed_block", "text_after_block"}
    assert seen == set(PROBLEMS)


def test_limits_are_settings():
    assert parse_calls("f(a=[])", CallLimits(max_depth=2)).problem == ""
    assert parse_calls("f(a=[])", CallLimits(max_depth=1)).problem == "too_deep"
    assert parse_calls("f()", CallLimits(max_chars=2)).problem == "too_long"
    assert parse_calls("f()\ng()", CallLimits(max_calls=1)).problem == "too_many_calls"
    assert parse_calls("math.pow(a=1)", CallLimits(allows_dots=True)).calls == (ToolCall("math.pow", {"a": 1}),)
    assert parse_calls("f().pow(a=1)", CallLimits(allows_dots=True)).problem == "not_a_call"


@given(st.lists(CALLS, min_size=1, max_size=4), st.booleans())
def test_there_and_back(calls, as_json):
    found = parse_calls(render_calls(calls, as_json=as_json))
    assert found.problem == ""
    assert [(name, typed(arguments)) for name, arguments in found.calls] == [
        (name, typed(given)) for name, given in calls
    ]
    assert [list(call.arguments) for call in found.calls] == [list(call.arguments) for call in calls]


@given(
    texts(max_size=5).filter(lambda text: OPEN_TAG not in text and CLOSE_TAG not in text),
    st.lists(CALLS, min_size=1, max_size=2),
)
def test_a_turn_there_and_back(content, calls):
    said = split_assistant(wrap_calls(content, calls))
    assert (said.content, said.problem) == (content, "")
    assert len(parse_calls(said.block).calls) == len(calls)


@pytest.mark.parametrize("text", [CLOSE_TAG, OPEN_TAG, "<|im_end|>", f"\\{CLOSE_TAG}<|endoftext|>\\"])
def test_marks_stand_in_no_rendered_text(text):
    calls = [ToolCall("f", {"a": text, "b": {text: [text]}})]
    block = render_calls(calls)
    assert not any(mark in block for mark in (CLOSE_TAG, OPEN_TAG, "<|"))
    assert parse_calls(split_assistant(wrap_calls("", calls)).block).calls == tuple(calls)
    assert json.loads(escape_marks(json.dumps(text))) == text


@given(VALUES)
def test_json_is_read_as_json_is(value):
    for is_ascii in (True, False):
        found = parse_calls(f"f(a={json.dumps(value, ensure_ascii=is_ascii)})")
        assert typed(found.calls[0].arguments["a"]) == typed(value)


@given(VALUES)
def test_python_is_read_as_python_is(value):
    assert typed(parse_calls(f"f(a={value!r})").calls[0].arguments["a"]) == typed(value)


PIECES = [
    *"()[]{}=,:'\"\\\n 1-*#.\r\t\x0c\x00@;f", '\"\"\"', "\'\'\'", "a", "from", "null", "lambda", "\ud800",
]  # fmt: skip


@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), texts()))
def test_nothing_raises_and_nothing_is_half_read(block):
    found = parse_calls(block)
    assert bool(found.calls) != bool(found.problem)
    assert found.problem in ("", *PROBLEMS)
    for call in found.calls:
        json.dumps(call.arguments, allow_nan=False).encode()
        assert parse_calls(render_calls([call])).calls == (call,)


@pytest.mark.parametrize(
    "piece",
    [
        "-", "not ", "f(a=", "x.", "1+", "\\", "'\\", '"""\\', '\\"""', "'", '"', "#", "(",
        "lambda:", "await ", "from=", "a if b else ", "\t", "\n", "*", "~", "f()\n", "''", "b''", "\r",
    ],
)  # fmt: skip
def test_hostile_repetition_ends_soon(piece):
    for head in ("", "f(a="):
        block = (head + piece * (1 << 16))[: 1 << 16]
        started = time.process_time()
        assert parse_calls(block).problem
        assert time.process_time() - started < 20


@pytest.mark.parametrize(
    ("block", "problems"),
    [
        ("f(a=" + "-" * 60_000 + "1)", ("syntax", "not_a_literal")),
        ("f(a=" + "not " * 15_000 + "1)", ("syntax", "not_a_literal")),
        ("f(a=x" + ".x" * 30_000 + ")", ("syntax", "not_a_literal")),
        ("f(a=1" + "+1" * 30_000 + ")", ("syntax", "not_a_literal")),
        ("f(a=1" + "if 1 else 1 " * 5_000 + ")", ("syntax", "not_a_literal")),
        ("f(a=" + "lambda:" * 9_000 + "1)", ("syntax", "not_a_literal")),
        ("x" + ".x" * 30_000 + "()", ("syntax", "dotted_name")),
        ("x=" * 30_000 + "1", ("syntax", "not_a_call")),
        ("f(a=" + "1," * 30_000 + ")", ("syntax", "positional_argument")),
    ],
    ids=range(9),
)
def test_depth_without_brackets(block, problems):
    """What the parser of Python cannot hold is refused by it, and does not end the process."""
    assert parse_calls(block).problem in problems


def test_odd_escapes_warn_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_calls(r'f(a="\d")').calls[0].arguments == {"a": "\\d"}


@pytest.mark.parametrize(
    "call",
    [
        ToolCall("f g", {}),
        ToolCall("class", {}),
        ToolCall("f", {"user-id": 1}),
        ToolCall("f", {"None": 1}),
        ToolCall("f", {"a": math.nan}),
        ToolCall("f", {"a": [math.inf]}),
        ToolCall("f", {"a": "\ud800"}),
        ToolCall("f", {"a": {1: 2}}),
        ToolCall("f", {"a": b"x"}),
        ToolCall("f", {"a": {1}}),
    ],
)
def test_what_cannot_be_written(call):
    with pytest.raises(ValueError):
        render_calls([call])
