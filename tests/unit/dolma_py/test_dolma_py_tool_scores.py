"""Scores of calls by structure, items as lines, and a model behind an endpoint."""

from __future__ import annotations

import json
import math
import random

import pytest

from dolma_py.endpoint import Endpoint
from dolma_py.errors import DataError, EndpointError
from dolma_py.tool_calls import ToolCall
from dolma_py.tool_items import ExpectedTurn, ToolItem, read_items, render_item, write_items
from dolma_py.tool_scores import ItemScore, canonical, render_table, score_items, standard_error, tabulate
from dolma_py.tool_sessions import SYSTEM_WORDS, SessionLimits, ToolResult, make_message
from dolma_py.tool_speaker import Speaker, SpeakerConfig, make_request
from dolma_py.tool_specs import ToolBox, parse_specs
from tests.chat_server import ChatServer, question_of

FUNCTIONS = json.dumps([
    {"name": "get", "parameters": {"properties": {"key": {"type": "string"}, "n": {"type": "number", "default": 1}}, "required": ["key"]}},
    {"name": "put", "parameters": {"properties": {"key": {"type": "string"}, "value": {}}, "required": ["key", "value"]}},
])  # fmt: skip
GET_A, GET_B = ToolCall("get", {"key": "a"}), ToolCall("get", {"key": "b"})


def item_of(*turns, category="c", **more) -> ToolItem:
    return ToolItem(more.pop("id", "i"), category, FUNCTIONS, tuple(turns), **more)


ONE = item_of(ExpectedTurn("Get a.", ((GET_A,),), ("17",)))
TWO = item_of(ExpectedTurn("Get a and b.", ((GET_A, GET_B),)))
NONE = item_of(ExpectedTurn("Sing.", ()))
TURNS = item_of(ExpectedTurn("Get a.", ((GET_A,),)), ExpectedTurn("Now b.", ((GET_B,),)))


def score(item, *texts, limits=None) -> ItemScore:
    said = iter(texts)
    return score_items([item], lambda asked: [next(said)], lambda one: lambda call: ToolResult(17), limits)[0]


def calls(*lines):
    return "<function_calls>\n" + "\n".join(lines) + "\n</function_calls>"


@pytest.mark.parametrize(
    ("item", "texts", "expected"),
    [
        (ONE, [calls("get(key='a')"), "It is 17."], "wfca"),
        (ONE, [calls("get(key='a', n=1.0)"), "It is 17."], "wfca"),
        (ONE, [calls("get(key='a', n=2)"), "It is 17."], "wfa"),
        (ONE, [calls("get(key='A')"), "It is 17."], "wfa"),
        (ONE, [calls("get(key='a')"), "It is 18."], "wfc"),
        (ONE, [calls("get(key='a')"), "17", "never"], "wfca"),
        (ONE, [calls("put(key='a', value=1)"), "17"], "wa"),
        (ONE, [calls("get(key='a')"), calls("get(key='a')"), "17"], "wa"),
        (ONE, [calls("get()"), calls("get(key='a')"), "17"], "a"),
        (ONE, [calls("get(key=1)"), "17"], "fa"),
        (ONE, [calls("get('a')"), calls("get(key='a')"), "17"], "a"),
        (ONE, ["17"], "wa"),
        (ONE, [""], "w"),
        (TWO, [calls("get(key='b')", "get(key='a')"), "so"], "wfca"),
        (TWO, [calls("get(key='b')"), calls("get(key='a')"), "so"], "wfca"),
        (TWO, [calls("get(key='a')", "get(key='a')"), "so"], "wfa"),
        (TWO, [calls("get(key='a')"), "so"], "wa"),
        (NONE, ["I cannot."], "wfca"),
        (NONE, ["  "], "wfc"),
        (NONE, [calls("get(key='a')"), "La la."], "wa"),
        (NONE, ["<function_calls>", "La la."], "a"),
        (TURNS, [calls("get(key='a')"), "17", calls("get(key='b')"), "17"], "wfca"),
        (TURNS, ["17", calls("get(key='b')"), "17"], "wa"),
        (TURNS, [calls("get(key='a')"), "17", "17"], "wa"),
    ],
)
def test_what_is_right(item, texts, expected):
    found = score(item, *texts)
    held = "".join(
        letter
        for letter, holds in zip(
            "wfca", (found.well_formed, found.functions, found.arguments, found.answered), strict=True
        )
        if holds
    )
    assert held == expected


def test_a_turn_that_never_ends_is_no_answer():
    found = score(ONE, *[calls("get(key='a')")] * 2, limits=SessionLimits(max_steps=2))
    assert not found.answered and found.problems == {"unfinished": 1}


def test_the_second_turn_is_given_whatever_came_before():
    seen = []

    def ask(conversations):
        seen.append(conversations[0])
        return ["no"]

    score_items([TURNS], ask, lambda one: lambda call: ToolResult(1))
    assert [message["content"] for message in seen[1]] == [SYSTEM_WORDS, "Get a.", "no", "Now b."]


def test_calls_that_mean_the_same():
    box = ToolBox(parse_specs(FUNCTIONS).specs)
    same = [{"key": "a", "value": {"x": 1, "y": [2.0]}}, {"value": {"y": [2], "x": 1.0}, "key": "a"}]
    assert len({canonical(ToolCall("put", arguments), box) for arguments in same}) == 1
    others = [{"key": "a", "value": value} for value in (1, True, "1", [1], None)]
    assert len({canonical(ToolCall("put", arguments), box) for arguments in others}) == 5


def test_a_table_counts():
    def made(category, is_unseen, arguments):
        return ItemScore("i", category, is_unseen, True, True, arguments, False, {}, [])

    scores = [made("b", False, True), made("a", True, False), made("b", False, True), made("b", True, False)]
    rows = tabulate(scores)
    assert [(row.category, row.conversations) for row in rows] == [
        ("a", 1),
        ("b", 3),
        ("(tools seen)", 2),
        ("(tools unseen)", 2),
        ("all", 4),
    ]
    assert rows[1].shares == {"well_formed": 1.0, "functions": 1.0, "arguments": 2 / 3, "answered": 0.0}
    assert math.isnan(rows[0].errors["arguments"]) and rows[1].errors["answered"] == 0.0
    lines = render_table(rows).splitlines()
    assert lines[3] == "| b | 3 | 100.0 | 100.0 | 66.7 +- 33.3 | 0.0 |"
    assert tabulate([]) == []


def test_the_standard_error_is_that_of_many_trials():
    rng = random.Random(1)
    shares = [sum(rng.random() < 0.3 for _ in range(50)) / 50 for _ in range(4000)]
    mean = sum(shares) / len(shares)
    spread = math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
    assert standard_error(0.3, 50) == pytest.approx(spread, rel=0.05)


def test_items_there_and_back(tmp_path):
    put = ToolCall("put", {"key": "<|", "value": [None, True, 1.5, {"a": "\n"}]})
    first = ExpectedTurn("x", ((put,), (GET_A, GET_B)), ("n",))
    item = item_of(first, ExpectedTurn("y", ()), domain="d", is_unseen=True, seed=7)
    path = str(tmp_path / "items.jsonl")
    assert write_items(path, [item, ONE]) == 2
    assert list(read_items(path)) == [item, ONE]


@pytest.mark.parametrize(
    "change",
    [
        {"turns": []}, {"turns": 3}, {"id": 3}, {"functions": "x"},
        {"turns": [{"user": "x", "blocks": ["f(1)"], "needles": []}]}, {"turns": [{"user": 1, "blocks": [], "needles": []}]},
    ],
)  # fmt: skip
def test_a_bad_item_names_its_line(tmp_path, change):
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(render_item(ONE)) + "\n" + json.dumps(render_item(ONE) | change) + "\n")
    with pytest.raises(DataError, match=r"items\.jsonl:2: no item of a test of tools"):
        list(read_items(str(path)))


@pytest.fixture
def config(tmp_path):
    def make(server, **more):
        endpoint = {
            "base_url": server.url,
            "model": "m",
            "cache": str(tmp_path / "answers"),
            "first_wait_seconds": 0.01,
            "max_tries": 2,
            "max_failed_frac": 1.0,
        }
        return SpeakerConfig(endpoint=endpoint, **more)

    return make


def test_a_model_behind_an_endpoint(config):
    def answer(body):
        return f"It is {question_of(body)}." if body["messages"][-1]["content"] == "17" else calls("get(key='a')")

    with ChatServer(answer) as server, Endpoint(config(server).endpoint) as endpoint:
        speaker = Speaker(endpoint, config(server))
        [found] = score_items([ONE], speaker, lambda one: lambda call: ToolResult(17))
        assert [message["role"] for message in server.bodies[-1]["messages"]] == ["system", "user", "assistant", "user"]
    assert found.answered and found.arguments and speaker.failed == 0
    assert FUNCTIONS in server.bodies[0]["messages"][0]["content"]
    assert server.bodies[1]["messages"][2]["content"] == calls("get(key='a')")


def test_requests_that_fail_are_told_apart(config):
    def fault(number, body):
        return "400" if "Sing" in question_of(body) else ""

    with ChatServer(lambda body: "No.", fault) as server, Endpoint(config(server).endpoint) as endpoint:
        speaker = Speaker(endpoint, config(server))
        scores = score_items([NONE, ONE], speaker, lambda one: lambda call: ToolResult(17))
    assert speaker.failed == 1 and not scores[1].answered
    assert not scores[0].functions and not scores[0].arguments and not scores[0].well_formed


def test_a_dead_server_is_an_error(config):
    with ChatServer() as server:
        settings = config(server)
    with Endpoint(settings.endpoint) as endpoint, pytest.raises(EndpointError, match="no request was ever answered"):
        Speaker(endpoint, settings)([[make_message("user", "x")]])


def test_how_a_conversation_is_sent():
    settings = SpeakerConfig(
        endpoint={"base_url": "http://127.0.0.1:1/v1", "model": "m", "cache": "c"},
        instructions="Do:",
        environment_role="tool",
    )
    messages = [
        make_message("system", "Be brief.", functions="[1]"), make_message("user", "u"),
        make_message("assistant", "w", function_calls="f()"), make_message("environment", "r"),
    ]  # fmt: skip
    sent = [(message.role, message.text) for message in make_request(messages, settings).messages]
    assert sent == [
        ("system", "Be brief.\nDo:\n<functions>[1]</functions>"), ("user", "u"),
        ("assistant", "w<function_calls>\nf()\n</function_calls>"), ("tool", "r"),
    ]  # fmt: skip
