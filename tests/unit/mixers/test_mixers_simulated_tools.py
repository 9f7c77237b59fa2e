"""Sessions simulated by a model: each way in which an answer can be wrong is counted, what is right is a chat row; asked once, resumed."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.endpoint import Answer
from dolma_py.errors import ConfigError, DataError
from dolma_py.tool_sessions import SYSTEM_WORDS
from mixers.simulated_tools import (
    KINDS,
    SimulateConfig,
    ToolSet,
    Wanted,
    estimate_simulation,
    judge_session,
    plan_sessions,
    read_tool_sets,
    run_simulation,
)
from mixers.tool_domains import DOMAINS
from tests.chat_server import ChatServer, question_of

LIBRARY: ToolSet = next(one for one in read_tool_sets([]) if one.id == "library")
FIND = {"role": "assistant", "function_calls": "find_book(title='Moss')"}
FOUND = {"role": "environment", "content": '{"book_id": "B-12345", "shelf": 3}'}
RESERVE = {
    "role": "assistant",
    "content": "One moment.",
    "function_calls": 'reserve_book(book_id="B-12345", reader="Ada")',
}
SINGLE = [
    {"role": "user", "content": "Do you have Moss?"},
    FIND,
    FOUND,
    {"role": "assistant", "content": "Yes, shelf 3."},
]
GOOD = {
    "single": SINGLE,
    "parallel": [SINGLE[0], {"role": "assistant", "function_calls": "find_book(title='Moss')\nfind_book(title='Fern')"},
                 {"role": "environment", "content": "{}\nnull\n"}, SINGLE[3]],
    "multi_step": [SINGLE[0], FIND, FOUND, RESERVE, {"role": "environment", "content": "{}"}, SINGLE[3]],
    "multi_turn": [*SINGLE, {"role": "user", "content": "For Ada."}, RESERVE, {"role": "environment", "content": "1"}, SINGLE[3]],
    "missing_argument": [{"role": "user", "content": "A book."}, {"role": "assistant", "content": "Which?"}, *SINGLE],
    "no_tool": [{"role": "user", "content": "Cook."}, {"role": "assistant", "content": "I cannot."}],
}  # fmt: skip


def wanted(kind="single"):
    return Wanted("simulated-tools-0-0", LIBRARY, kind, "brief")


def judge(messages, kind="single"):
    return judge_session(Answer(text=json.dumps({"messages": messages}), finish_reason="stop"), wanted(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_of_each_kind(kind):
    found = judge(GOOD[kind], kind)
    assert found.problem == ""
    assert found.messages[0] == {
        "role": "system",
        "content": SYSTEM_WORDS,
        "functions": LIBRARY.functions,
        "function_calls": None,
    }
    assert [message["role"] for message in found.messages[1:]] == [message["role"] for message in GOOD[kind]]
    assert {other for other in KINDS if judge(GOOD[kind], other).problem == ""} >= {kind}


@pytest.mark.parametrize(
    ("kind", "other"),
    [("single", "no_tool"), ("single", "parallel"), ("single", "multi_step"), ("single", "multi_turn"), ("single", "missing_argument"),
     ("no_tool", "single"), ("multi_step", "single"), ("multi_turn", "missing_argument"), ("parallel", "single"), ("no_tool", "multi_turn")],
)  # fmt: skip
def test_a_session_of_another_kind(kind, other):
    assert judge(GOOD[kind], other).problem == "wrong_kind"


def changed(place, **values):
    messages = copy.deepcopy(SINGLE)
    messages[place] = {key: value for key, value in {**messages[place], **values}.items() if value is not ...}
    return messages


BAD = [
    ("not_a_list", {"role": "user"}),
    ("too_many_messages", SINGLE * 20),
    ("not_a_message", [*SINGLE[:3], "words"]),
    ("not_a_message", changed(0, role="system")),
    ("not_a_message", changed(0, role=["user"])),
    ("not_a_message", changed(0, name="Ada")),
    ("not_a_message", changed(0, function_calls="find_book(title='Moss')")),
    ("not_a_string", changed(0, content=3)),
    ("not_a_string", changed(1, function_calls=["find_book(title='Moss')"])),
    ("empty_message", changed(0, content=" ")),
    ("empty_message", changed(0, content=...)),
    ("tags_in_words", changed(3, content="<|im_end|>")),
    ("tags_in_words", changed(3, content="<function_calls>f()</function_calls>")),
    ("bad_order", []),
    ("bad_order", SINGLE[1:]),
    ("bad_order", SINGLE[:3]),
    ("bad_order", [SINGLE[0], SINGLE[0], *SINGLE[1:]]),
    ("bad_order", [SINGLE[0], FIND, SINGLE[3]]),
    ("bad_order", [SINGLE[0], FOUND, SINGLE[3]]),
    ("bad_order", [*SINGLE, SINGLE[0]]),
    ("block:positional_argument", changed(1, function_calls="find_book('Moss')")),
    ("block:no_call", changed(1, function_calls="")),
    ("call:unknown_function", changed(1, function_calls="burn_book(title='Moss')")),
    ("call:missing_argument", changed(1, function_calls="find_book()")),
    ("results_missing", changed(2, content="1\n2")),
    ("results_not_json", changed(2, content="It is there.")),
    ("invented_id", [SINGLE[0], {**RESERVE, "content": "x"}, FOUND, SINGLE[3]]),
]


@pytest.mark.parametrize(("problem", "messages"), BAD, ids=range(len(BAD)))
def test_a_session_that_is_refused(problem, messages):
    assert judge(messages) == ([], problem)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(failure="timeout"), "failed_timeout"),
        (Answer(text="x", finish_reason="length"), "cut_off"),
        (Answer(text="x", finish_reason="content_filter"), "refused"),
        (Answer(text=" "), "empty"),
        (Answer(text="Sure: {}"), "not_json"),
        (Answer(text="[" * 100_000), "not_json"),
        (Answer(text='{"messages": [NaN]}'), "not_json"),
        (Answer(text='{"messages": "\\ud800"}'), "not_json"),
        (Answer(text="[]"), "not_an_object"),
        (Answer(text='{"messages": [], "messages": []}'), "repeated_key"),
        (Answer(text="{}"), "missing_key"),
        (Answer(text='{"messages": [], "note": 1}'), "unknown_key"),
    ],
)
def test_an_answer_that_is_no_session(answer, problem):
    assert judge_session(answer, wanted()).problem == problem


@given(
    st.recursive(
        st.one_of(st.none(), st.text(max_size=3), st.integers(), st.sampled_from(SINGLE)),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["messages", "role", "content", "function_calls"]), inner, max_size=3)
        ),
    )
)
def test_no_answer_raises(value):
    for text in (json.dumps(value), json.dumps({"messages": value})):
        found = judge_session(Answer(text=text), wanted())
        assert bool(found.messages) != bool(found.problem)


def config_of(server_url, tmp_path, **more):
    endpoint = {
        "base_url": server_url,
        "model": "m",
        "cache": str(tmp_path / "answers"),
        "first_wait_seconds": 0.01,
        "max_tries": 2,
        "max_failed_frac": 1.0,
    }
    return SimulateConfig(endpoint=endpoint, **({"sessions": 12, "answer_tries": 2} | more))


def kind_of(body):
    return next(kind for kind, told in KINDS.items() if told in question_of(body))


def write_tools(tmp_path):
    path = tmp_path / "tools.jsonl"
    path.write_text(json.dumps({"id": "lib", "functions": json.loads(LIBRARY.functions)}) + "\n")
    return [str(path)]


def test_rows_are_written_and_what_fails_is_counted(tmp_path):
    """Every second question gets words for an answer at first; one kind never gets anything that can be used."""

    def answer(body):
        number = sum(question_of(other) == question_of(body) for other in server.bodies)
        if kind_of(body) == "no_tool":
            return "I would rather not."
        return (
            "Here you are:"
            if number == 1 and kind_of(body) == "single"
            else json.dumps({"messages": GOOD[kind_of(body)]})
        )

    with ChatServer(answer) as server:
        config = config_of(server.url, tmp_path, tools=write_tools(tmp_path))
        output = str(tmp_path / "out.jsonl")
        summary, is_new = run_simulation(config, output=output, seed=4)
        assert is_new and summary["counts"] == {"wanted": 12, "rows": 10, "dropped:not_json": 2}
        assert len(server.bodies) == 12 + 2 + 2
        rows = [json.loads(line) for line in Path(output).read_text().splitlines()]
        assert [row["category"] for row in rows] == [kind for kind in [*KINDS, *KINDS] if kind != "no_tool"]
        assert (
            {row["domain"] for row in rows} == {"lib"}
            and rows[0]["model"] == "m"
            and rows[0]["source"] == "simulated-tools"
        )
        rejected = [json.loads(line) for line in Path(output + ".rejected.jsonl").read_text().splitlines()]
        assert [one["problem"] for one in rejected] == ["not_json"] * 2 and rejected[0][
            "excerpt"
        ] == "I would rather not."
        assert run_simulation(config, output=output, seed=4) == (summary, False)
        before = Path(output).read_bytes()
        run_simulation(config, output=output, seed=4, replace=True)
        assert Path(output).read_bytes() == before and len(server.bodies) == 16  # all from the cache
        with pytest.raises(ConfigError, match="other rows stand there"):
            run_simulation(config, output=output, seed=5)


def test_too_many_bad_sessions_write_nothing(tmp_path):
    with (
        ChatServer(lambda body: "no") as server,
        pytest.raises(DataError, match=r"12 of 12 came to nothing \(not_json 12\)"),
    ):
        run_simulation(config_of(server.url, tmp_path), output=str(tmp_path / "out.jsonl"), seed=0)
    assert not (tmp_path / "out.jsonl").exists()


def test_cost_comes_first(tmp_path):
    with ChatServer() as server:
        config = config_of(server.url, tmp_path, max_answer_tokens=500)
        found = estimate_simulation(config, seed=0)
        assert (found.requests, found.cached, found.max_completion_tokens) == (12, 0, 6000)
        assert server.bodies == []


def test_every_session_is_another_question(tmp_path):
    config = config_of("http://127.0.0.1:1/v1", tmp_path, sessions=200)
    sets = list(read_tool_sets([]))
    assert {one.id for one in sets} == {name for name, domain in DOMAINS.items() if not domain.is_unseen}
    plans = list(plan_sessions(sets, config, 1))
    assert len({one.id for one in plans}) == 200
    assert {(one.tools.id, one.kind) for one in plans} == {(one.id, kind) for one in sets for kind in KINDS}


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"functions": "x"}', '{"functions": []}', '{"functions": [{"name": "a-b"}]}']
)
def test_a_bad_tool_set_names_its_line(tmp_path, line):
    path = tmp_path / "tools.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"tools\.jsonl:1: "):
        list(read_tool_sets([str(path)]))


def test_kinds_are_known_ones(tmp_path):
    with pytest.raises(ValueError, match="expected kinds among"):
        config_of("http://127.0.0.1:1/v1", tmp_path, kinds=["duel"])


def test_no_session_at_all_is_of_no_kind():
    assert [judge([], kind).problem for kind in KINDS] == ["bad_order"] * len(KINDS)
