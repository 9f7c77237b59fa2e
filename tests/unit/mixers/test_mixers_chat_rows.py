"""mixers.chat_rows: records of all forms become rows, and every other record has its reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixers.chat_rows import REASONS, ChatRow, join_texts, list_answers, read_messages, read_row, render_messages
from tests.made_chats import chat, conversations, tools_chat, turn

USER, ANSWER = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}
TOOLS = '[{"name": "f"}]'


def read(record, kind="sft", form="messages", columns=None, verifier=None):
    return read_row(record, kind=kind, form=form, columns=columns or {}, verifier=verifier)


def messages_with(*turns):
    return {"messages": [*turns]}


def test_a_chat_is_read_with_what_it_says_of_itself():
    row = read({"id": 7, "messages": [USER, ANSWER], "license": "mit"})
    assert row == ChatRow("7", chat("2 + 2?", "4"), None, "mit", None, None)


@pytest.mark.parametrize(
    ("record", "form", "columns"),
    [
        ({"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]}, "sharegpt", {}),
        ({"prompt": "2 + 2?", "response": "4", "system": ""}, "prompt_response", {}),
        ({"q": "2 + 2?", "a": {"text": "4"}}, "prompt_response", {"prompt": "q", "response": "a.text"}),
        ({"messages": "\n\nHuman: 2 + 2?\n\nAssistant: 4\n"}, "transcript", {}),
        (
            {"messages": '[{"role": "User", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]'},
            "messages",
            {},
        ),
    ],
)
def test_other_forms_give_the_same_turns(record, form, columns):
    assert read(record, form=form, columns=columns).messages == chat("2 + 2?", "4")


def test_tools_calls_and_their_results_stay():
    found = read_messages(
        [{key: value for key, value in message.items() if value is not None} for message in tools_chat()]
    )
    assert found == tools_chat()
    listed = read_messages([{"role": "user", "content": "a", "functions": [{"name": "\u00e9"}]}])
    assert listed[0]["functions"] == '[{"name": "\u00e9"}]'
    named = read_messages(
        [USER, {"role": "assistant", "content": None, "function_calls": "f()"}, {"role": "tool", "content": ""}]
    )
    assert named[2] == turn("environment", "")


@pytest.mark.parametrize(
    ("reason", "record"),
    [
        ("not_object", [1]),
        ("no_messages", {}),
        ("no_messages", {"messages": "{"}),
        ("no_messages", {"messages": []}),
        ("not_a_message", messages_with("hello")),
        ("not_a_message", messages_with({"content": "a"})),
        ("unknown_role", messages_with({"role": "narrator", "content": "a"})),
        ("content_not_text", messages_with({"role": "user", "content": [{"type": "text"}]})),
        ("lone_surrogate", messages_with({"role": "user", "content": "a\ud800"})),
        ("functions_not_json", messages_with({**USER, "functions": "f()"})),
        ("functions_not_json", messages_with({**USER, "functions": "{}"})),
        ("functions_misplaced", messages_with(USER, {**ANSWER, "functions": TOOLS})),
        ("functions_misplaced", messages_with({**USER, "function_calls": "f()"})),
        ("tool_calls", messages_with(USER, {**ANSWER, "tool_calls": [{"id": 1}]})),
        ("empty_turn", messages_with({"role": "user", "content": " \n"})),
        ("empty_turn", messages_with(USER, {"role": "assistant", "content": None})),
        ("system_not_first", messages_with(USER, {"role": "system", "content": "a"}, ANSWER)),
        ("begins_without_user", messages_with(ANSWER)),
        ("begins_without_user", messages_with({"role": "system", "content": "a"})),
        ("role_twice", messages_with(USER, USER, ANSWER)),
        ("environment_without_call", messages_with(USER, {"role": "environment", "content": "4"}, ANSWER)),
        ("ends_without_answer", messages_with(USER, ANSWER, USER)),
    ],
)
def test_a_record_that_is_no_chat_has_its_reason(reason, record):
    assert reason in REASONS and read(record) == reason


def test_a_pair_has_one_prompt_and_two_answers():
    pair = {"chosen": [USER, ANSWER], "rejected": [USER, {"role": "assistant", "content": "5"}]}
    row = read(pair, kind="pairs")
    assert (row.messages, row.rejected) == (chat("2 + 2?", "4"), chat("2 + 2?", "5"))
    assert read({"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}, kind="pairs", form="prompt_response") == row
    other = {"chosen": [USER, ANSWER], "rejected": [{"role": "user", "content": "3 + 3?"}, ANSWER]}
    assert read(other, kind="pairs") == "prompts_differ"
    assert read({"chosen": [USER, ANSWER]}, kind="pairs") == "no_messages"
    spoken = {side: f"\n\nHuman: 2 + 2?\n\nAssistant: {text}" for side, text in (("chosen", "4"), ("rejected", "5"))}
    assert read(spoken, kind="pairs", form="transcript") == row
    assert read({"messages": "Once.\n\nHuman: a\n\nAssistant: b"}, form="transcript") == "no_messages"


def test_a_prompt_names_its_verifier_and_its_truth():
    record = {"messages": [USER], "ground_truth": ["4", 4], "verifier": ["math"]}
    row = read(record, kind="prompts")
    assert (row.messages, row.verifier, row.ground_truth) == (chat("2 + 2?"), "math", '["4",4]')
    assert (
        read(
            {"prompt": "2 + 2?", "ground_truth": "4"}, kind="prompts", form="prompt_response", verifier="math"
        ).verifier
        == "math"
    )
    assert read({"messages": [USER], "ground_truth": "4"}, kind="prompts") == "no_verifier"
    assert read({"messages": [USER], "verifier": "math"}, kind="prompts") == "no_ground_truth"
    assert (
        read({"messages": [USER, ANSWER], "verifier": "math", "ground_truth": "4"}, kind="prompts")
        == "ends_with_answer"
    )
    assert read({"messages": [USER], "verifier": "math", "ground_truth": "\ud800"}, kind="prompts") == "lone_surrogate"


@given(conversations())
def test_messages_come_back_from_their_json(messages):
    assert read_messages(render_messages(messages)) == messages
    assert list_answers(messages) == [
        one["content"] for one in messages if one["role"] == "assistant" and one["content"]
    ]
    assert all(one["content"] in join_texts(messages) for one in messages if one["content"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "messages", "chosen", "rejected", "functions", "prompt", "from"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    json_values,
    st.sampled_from(["sft", "pairs", "prompts"]),
    st.sampled_from(["messages", "sharegpt", "prompt_response", "transcript"]),
)
def test_no_value_of_json_raises(value, kind, form):
    found = read(value, kind=kind, form=form)
    assert isinstance(found, ChatRow) or found in REASONS


def read_chat(record):
    return read_row(record, kind="sft", form="messages", columns={})


def test_what_would_be_lost_beside_the_turns_is_a_reason():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert read_chat({"messages": turns, "tools": tools}) == "tools_beside"
    assert read_chat({"messages": turns, "system": "Be brief."}) == "system_beside"
    thinking = [turns[0], turns[1] | {"reasoning_content": "They greet."}]
    assert read_chat({"messages": thinking}) == "reasoning_apart"
    named = [{"role": "system", "content": None, "functions": tools}, *turns]
    row = read_chat({"messages": named, "tools": tools})
    assert not isinstance(row, str) and row.messages[0]["content"] == "" and row.messages[0]["functions"]
