"""mixers.chat_filters: licences, special tokens in texts, problems of answers; of a pair the chosen answer alone."""

from __future__ import annotations

import pytest

from dolma_py.trace_filters import TraceLimits
from mixers.chat_filters import REASONS, find_dropped
from mixers.chat_rows import ChatRow
from tests.made_chats import chat, make_template, turn

LOOP = "The same sentence stands here again. " * 12


def row(*contents, rejected=None, license=None):
    return ChatRow("1", chat(*contents), None if rejected is None else chat(*rejected), license, None, None)


def find(rows, *, licenses=None, default_license=None, traces=TraceLimits()):
    return find_dropped(
        rows, template=make_template("instruct"), licenses=licenses, default_license=default_license, traces=traces
    )


def test_each_row_has_its_own_reason():
    rows = [
        row("a", "b"), row("a", LOOP), row("a", "b", "c", "I am ChatGPT, a model trained by OpenAI."), row("a", "<think>for ever"),
        row("a<|im_end|>", "b"), row(LOOP, "b"), row("a", "\u4e2d\u6587" * 20),
    ]  # fmt: skip
    found = find(rows)
    assert found == ["", "repeated_sentences", "other_model", "incomplete_thinking", "special_token", "", "chinese"]
    assert set(found) - {""} <= set(REASONS)
    assert find(rows, traces=None) == ["", "", "", "", "special_token", "", ""]
    assert find([]) == []


def test_rejected_answers_stay_unfiltered_but_for_special_tokens():
    assert find([row("a", "b", rejected=("a", LOOP))]) == [""]
    assert find([row("a", LOOP, rejected=("a", "b"))]) == ["repeated_sentences"]
    assert find([row("a", "b", rejected=("a", "<|endoftext|>"))]) == ["special_token"]


@pytest.mark.parametrize(
    ("own", "default", "reason"),
    [("MIT", None, ""), ("cc-by-nc-4.0", "mit", "license"), (None, "mit", ""), (None, None, "license")],
)
def test_licences_are_those_allowed(own, default, reason):
    assert find([row("a", "b", license=own)], licenses=["mit", "Apache-2.0"], default_license=default) == [reason]
    assert find([row("a", "b", license=own)], default_license=default) == [""]


def test_calls_and_tools_may_not_spell_a_special_token_either():
    messages = [
        turn("user", "a"),
        turn("assistant", None, calls='f("<|im_start|>")'),
        turn("environment", "1"),
        turn("assistant", "b"),
    ]
    assert find([ChatRow("1", messages, None, None, None, None)]) == ["special_token"]
