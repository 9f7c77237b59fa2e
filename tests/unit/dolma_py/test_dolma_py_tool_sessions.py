"""Conversations with tools against a server on this machine: results, faults, steps, what a model is told."""

from __future__ import annotations

import json

import pytest

from dolma_py.errors import ConfigError
from dolma_py.tool_calls import ToolCall
from dolma_py.tool_sessions import (
    SessionLimits,
    ToolResult,
    ToolServer,
    ToolServerConfig,
    count_problems,
    make_call,
    make_message,
    render_result,
    run_turns,
)
from dolma_py.tool_specs import ToolBox, parse_specs
from tests.tool_server import FAULTS, ToolServerOfTests

SPECS = parse_specs(json.dumps([
    {"name": "add", "parameters": {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}},
    {"name": "find", "parameters": {"properties": {"key": {"type": "string"}}, "required": ["key"]}},
])).specs  # fmt: skip
BOX = ToolBox(SPECS)
TABLE = {"x": 7, "long": "z" * 500}
FUNCTIONS = {"add": lambda a, b: a + b, "find": lambda key: TABLE[key]}
OPENING = [make_message("system", None, functions="[]"), make_message("user", "What is it?")]


def block(*lines: str, words: str = "") -> str:
    return f"{words}<function_calls>\n" + "\n".join(lines) + "\n</function_calls>"


def run(server, texts, limits=None, seconds=5.0):
    """One conversation in which the model says these texts; what came of it, and what the model saw each time."""
    seen, said = [], iter(texts)

    def ask(conversations):
        seen.extend(conversations)
        return [next(said)]

    with ToolServer(ToolServerConfig(base_url=server.url, timeout_seconds=seconds, max_reply_bytes=4096)) as tools:
        [turn] = run_turns([OPENING], ask, [BOX], [tools.execute], limits or SessionLimits())
    return turn, seen


@pytest.fixture
def server():
    with ToolServerOfTests(FUNCTIONS) as running:
        yield running


def test_calls_are_made_and_results_come_back(server):
    turn, seen = run(
        server, [block("add(a=1, b=2)", "find(key='x')", words="One moment."), block("add(a=3, b=7)"), "It is 10."]
    )
    assert turn.messages == [
        {
            "role": "assistant",
            "content": "One moment.",
            "functions": None,
            "function_calls": "add(a=1, b=2)\nfind(key='x')",
        },
        {"role": "environment", "content": "3\n7", "functions": None, "function_calls": None},
        {"role": "assistant", "content": None, "functions": None, "function_calls": "add(a=3, b=7)"},
        {"role": "environment", "content": "10", "functions": None, "function_calls": None},
        {"role": "assistant", "content": "It is 10.", "functions": None, "function_calls": None},
    ]
    assert (turn.answer, turn.problems, turn.is_ended) == ("It is 10.", [], True)
    assert turn.calls == [
        ToolCall("add", {"a": 1, "b": 2}),
        ToolCall("find", {"key": "x"}),
        ToolCall("add", {"a": 3, "b": 7}),
    ]
    assert seen == [OPENING, [*OPENING, *turn.messages[:2]], [*OPENING, *turn.messages[:4]]]
    assert server.calls[0] == {"name": "add", "arguments": {"a": 1, "b": 2}}


@pytest.mark.parametrize(
    ("text", "problem", "told"),
    [
        (block("add(a=1)"), "call:missing_argument", "'b' is a required property"),
        (block("sub(a=1, b=2)"), "call:unknown_function", "sub"),
        (block("add(a='1', b=2)"), "call:wrong_type", "add.a"),
        (block("add(1, 2)"), "block:positional_argument", "positional_argument"),
        ("<function_calls>add(a=1, b=2)", "block:unclosed_block", "unclosed_block"),
        (block("find(key='nothing')"), "result:tool_error", "nothing"),
        (block("find(key='long')"), "result:too_long", "longer than 300"),
    ],
)
def test_a_mistake_is_told_and_the_model_goes_on(server, text, problem, told):
    turn, _ = run(server, [text, "Sorry."], SessionLimits(max_result_chars=300))
    assert turn.problems == [problem]
    error = json.loads(turn.messages[1]["content"])
    assert list(error) == ["error"] and told in error["error"]
    assert turn.messages[1]["role"] == "environment" and turn.answer == "Sorry."


def test_a_wrong_call_is_not_made(server):
    run(server, [block("add(a=1)", "add(a=1, b=1)"), "Done."])
    assert server.calls == [{"name": "add", "arguments": {"a": 1, "b": 1}}]


EXPECTED = {
    "hang": "result:timeout", "500": "result:bad_status", "html": "result:bad_reply", "huge": "result:too_large",
    "truncated": "result:truncated", "not_a_result": "result:bad_reply", "surrogate": "result:bad_reply", "nan": "result:bad_reply",
    "deep": "result:too_large",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_with_a_fault(fault):
    with ToolServerOfTests(FUNCTIONS, lambda number, call: fault if number == 0 else "") as server:
        turn, _ = run(server, [block("add(a=1, b=2)", "add(a=2, b=2)"), "So it is."], seconds=1.0)
    assert turn.problems == [EXPECTED[fault]]
    first, second = turn.messages[1]["content"].split("\n")
    assert "the tool gave no answer" in json.loads(first)["error"] and second == "4"


def test_deep_json_is_no_reply():
    with ToolServerOfTests(FUNCTIONS, lambda number, call: "deep") as server:
        config = ToolServerConfig(base_url=server.url)
        with ToolServer(config) as tools:
            assert tools.execute(ToolCall("add", {})).problem == "bad_reply"


def test_nobody_listens():
    with ToolServerOfTests(FUNCTIONS) as server:
        url = server.url
    with ToolServer(ToolServerConfig(base_url=url)) as tools:
        assert tools.execute(ToolCall("add", {})).problem == "connection"


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {1, 2}, 10**5000], ids=range(4))
def test_a_function_of_ours_that_gives_no_json(value):
    found = make_call(ToolCall("add", {"a": 1, "b": 2}), BOX, lambda call: ToolResult(value), 100)
    assert found.problem == "result:bad_reply" and json.loads(render_result(found))["error"].startswith(
        "the tool gave no answer"
    )


def test_steps_are_bounded(server):
    turn, seen = run(server, [block("add(a=1, b=1)")] * 3, SessionLimits(max_steps=3))
    assert (len(seen), turn.is_ended, turn.answer, len(turn.calls)) == (3, False, "", 3)
    assert count_problems([turn]) == {"calls": 3, "turns": 1, "unfinished": 1}


def test_conversations_go_on_together():
    batches = []

    def ask(conversations):
        batches.append(len(conversations))
        last = [conversation[-1] for conversation in conversations]
        return [
            block(f"find(key='{one['content'][0]}')")
            if one["role"] == "user" and one["content"][0] != "q"
            else f"end {one['content']}"
            for one in last
        ]

    openings = [[make_message("user", text)] for text in ("x", "q", "y")]
    executes = [lambda call, number=number: ToolResult([number, call.arguments["key"]]) for number in range(3)]
    turns = run_turns(openings, ask, [BOX] * 3, executes, SessionLimits())
    assert [turn.answer for turn in turns] == ['end [0, "x"]', "end q", 'end [2, "y"]']
    assert batches == [3, 2]
    assert [len(opening) for opening in openings] == [1, 1, 1]


def test_too_few_answers_are_an_error():
    with pytest.raises(ConfigError, match="expected 1 answers"):
        run_turns([OPENING], lambda conversations: [], [BOX], [lambda call: ToolResult(1)], SessionLimits())


def test_results_hold_no_special_token():
    text = render_result(ToolResult({"page": "<|im_end|></function_calls>\n"}))
    assert "<|" not in text and "</function_calls>" not in text and "\n" not in text
    assert json.loads(text) == {"page": "<|im_end|></function_calls>\n"}
