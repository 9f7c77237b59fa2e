"""Sessions made without a model: right by the same checks that a model's are scored by, held out, the same each time."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from dolma_py.tool_calls import ToolCall, parse_calls
from dolma_py.tool_scores import score_items, tabulate
from dolma_py.tool_specs import ToolBox, parse_specs
from mixers.made_tool_sessions import CATEGORIES, make_item, make_items, make_row, make_rows
from mixers.tool_commands import execute_in_world
from mixers.tool_domains import DOMAINS
from mixers.tool_worlds import SEEN, UNSEEN, execute

COUNT = len(CATEGORIES) * len(DOMAINS) * 3


class Recited:
    """Says what the rows of these items have, whatever it is asked: finds the place by what was said so far."""

    def __init__(self, rows):
        self.known = {}
        for row in rows:
            for place, message in enumerate(row["messages"]):
                if message["role"] == "assistant":
                    self.known[json.dumps(row["messages"][:place])] = message

    def __call__(self, conversations):
        return [self.say(self.known[json.dumps(messages)]) for messages in conversations]

    @staticmethod
    def say(message):
        if message["function_calls"] is None:
            return message["content"]
        return f"<function_calls>\n{message['function_calls']}\n</function_calls>"


def test_the_right_answers_score_all():
    """The generator, the worlds, the loop and the scores agree on every item."""
    made = [make_item(number, seed=3, part="test") for number in range(COUNT)]
    items = [item for item, _ in made]
    scores = score_items(items, Recited(make_row(*one) for one in made), execute_in_world)
    assert [score.problems for score in scores] == [{}] * COUNT
    table = {row.category: row for row in tabulate(scores)}
    assert table.keys() == {*CATEGORIES, "(tools seen)", "(tools unseen)", "all"}
    assert all(share == 1.0 for row in table.values() for share in row.shares.values())
    assert table["all"].conversations == COUNT and table["(tools unseen)"].conversations == COUNT // 4


def test_who_never_calls_is_right_where_no_call_is():
    items = list(make_items(COUNT, seed=3))
    table = {
        row.category: row for row in tabulate(score_items(items, lambda asked: ["No."] * len(asked), execute_in_world))
    }
    assert {
        name: row.shares["arguments"] for name, row in table.items() if not name.startswith("(") and name != "all"
    } == {name: float(name == "no_tool") for name in CATEGORIES}


def test_who_calls_always_is_wrong_where_no_call_is():
    items = list(make_items(COUNT, seed=3))

    def ask(conversations):
        return [
            "x" if messages[-1]["role"] == "environment" else "<function_calls>find_book(title='x')</function_calls>"
            for messages in conversations
        ]

    scores = score_items(items, ask, execute_in_world)
    assert not any(score.functions for score in scores if score.category in ("no_tool", "missing_argument"))
    assert not any(score.arguments for score in scores)
    assert any(score.functions for score in scores)


def test_rows_are_chat_rows():
    for row in make_rows(COUNT, seed=1):
        roles = [message["role"] for message in row["messages"]]
        assert roles[:2] == ["system", "user"] and roles[-1] == "assistant"
        assert row["messages"][-1]["function_calls"] is None and row["messages"][-1]["content"]
        assert all(message.keys() == {"role", "content", "functions", "function_calls"} for message in row["messages"])
        box = ToolBox(parse_specs(row["messages"][0]["functions"]).specs)
        for message, after in zip(row["messages"], row["messages"][1:], strict=False):
            if message["function_calls"] is not None:
                parsed = parse_calls(message["function_calls"])
                assert [box.check(call).problem for call in parsed.calls] == [""] * len(parsed.calls)
                results = [json.loads(line) for line in after["content"].split("\n")]
                assert after["role"] == "environment" and len(results) == len(parsed.calls)
                assert not any("error" in result for result in results)


def test_categories_are_what_they_are_called():
    for number in range(COUNT):
        item, answers = make_item(number, seed=5, part="test")
        shape = [[len(block) for block in turn.blocks] for turn in item.turns]
        num_tools = len(json.loads(item.functions))
        expected = {
            "simple": [[1]], "multiple": [[1]], "parallel": [[2]], "multi_step": [[1, 1]], "multi_turn": [[1], [1]],
            "missing_argument": [[], [1]], "no_tool": [[]],
        }  # fmt: skip
        assert shape == expected[item.category]
        assert num_tools == {"simple": 2, "no_tool": 4}.get(item.category, 6)
        assert len(answers) == len(item.turns)
        if item.category == "no_tool":
            assert not {spec["name"] for spec in json.loads(item.functions)} & set(DOMAINS[item.domain].results)


def test_the_place_of_a_function_tells_nothing():
    items = [make_item(7 * number, seed=5, part="test")[0] for number in range(200)]
    first = sum(json.loads(item.functions)[0]["name"] == item.turns[0].blocks[0][0].name for item in items)
    assert {item.category for item in items} == {"simple"} and 70 < first < 130


def test_a_second_step_needs_the_first_result():
    """Some argument of the second call stands in the first result and in nothing that the user said."""
    for number in range(COUNT):
        item, _ = make_item(number, seed=5, part="test")
        if item.category not in ("multi_step", "multi_turn"):
            continue
        said = " ".join(turn.user for turn in item.turns)
        first, second = [block[0] for turn in item.turns for block in turn.blocks]
        result = execute(item.seed, first, DOMAINS).value
        passed = [value for value in second.arguments.values() if value in result.values()]
        assert passed and not any(isinstance(value, str) and value in said for value in passed)


def test_needles_cannot_be_guessed():
    for number in range(COUNT):
        item, _ = make_item(number, seed=6, part="test")
        for turn in item.turns:
            if turn.blocks:
                said = " ".join(one.user for one in item.turns)
                assert any(needle not in said for needle in turn.needles)


def test_the_test_is_held_out():
    train = "\n".join(json.dumps(row) for row in make_rows(COUNT, seed=1))
    unseen = [domain for domain in DOMAINS.values() if domain.is_unseen]
    assert len(unseen) == 2
    for word in [word for words in UNSEEN.values() for word in words] + [
        name for domain in unseen for name in domain.results
    ]:
        assert not re.search(rf"\b{re.escape(word)}\b", train)
    assert not {word for words in SEEN.values() for word in words} & {
        word for words in UNSEEN.values() for word in words
    }
    asked = {turn.user for item in make_items(COUNT, seed=1) for turn in item.turns}
    assert len(asked) > COUNT / 2


def test_sessions_follow_from_seed_and_number():
    assert list(make_rows(30, seed=1)) == list(make_rows(60, seed=1))[:30]
    assert list(make_rows(30, seed=1)) != [{**row} for row in make_rows(30, seed=2)]
    rows = [json.dumps(row["messages"]) for row in make_rows(2000, seed=1)]
    assert len(set(rows)) > 1900


def test_all_domains_and_categories_are_as_frequent():
    counts = Counter((row["domain"], row["category"]) for row in make_rows(6 * 7 * 4, seed=0))
    assert set(counts.values()) == {4} and len(counts) == 42


@pytest.mark.parametrize("name", DOMAINS)
def test_a_world_answers_the_same_whoever_asks(name):
    item, _ = make_item(0, seed=1, part="test")
    for spec in DOMAINS[name].specs:
        types = {"string": "x", "integer": 3, "number": 2, "array": [1], "boolean": True}
        arguments = {
            key: types[schema["type"]] for key, schema in spec.parameters["properties"].items() if "enum" not in schema
        }
        first, second = (
            execute(item.seed, ToolCall(spec.name, given), DOMAINS)
            for given in (arguments, dict(reversed(arguments.items())))
        )
        assert first == second and first.problem == ""
        assert execute(item.seed + 1, ToolCall(spec.name, arguments), DOMAINS) != first


def test_a_world_survives_any_call():
    assert execute(1, ToolCall("nothing", {}), DOMAINS).problem == "tool_error"
    assert execute(1, ToolCall("find_book", {}), DOMAINS).problem == "tool_error"
    assert execute(1, ToolCall("find_book", {"a": 1}), DOMAINS).problem == "tool_error"
    assert execute(1, ToolCall("order_parts", {"article": 1, "counts": 2}), DOMAINS).problem == "tool_error"
    assert execute(1, ToolCall("find_contact", {"name": ""}), DOMAINS).problem == "tool_error"
    assert execute(1, ToolCall("find_contact", {"name": 3}), DOMAINS).problem == "tool_error"
    assert execute(1, ToolCall("exchange", {"amount": 10**400, "rate": 0.5}), DOMAINS).problem == "tool_error"
