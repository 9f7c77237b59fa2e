"""Prompts of preference pairs, and files of answers: what is read, what is none and why."""

from __future__ import annotations

import json

import pytest

from dolma_py.errors import ConfigError, DataError
from mixers.pair_prompts import Prompt, read_answers, read_prompt, read_prompts
from tests.pair_settings import user


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"id": "a"}', '{"id": 1, "text": "x"}', '{"id": "a", "text": null}', '{"id": "a", "text": "\\ud800"}'],
)
def test_a_bad_file_of_answers_names_its_line(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "z", "text": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl:2: "):
        read_answers(str(path))


def test_a_prompt_is_answered_once_in_a_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "z", "text": "x"}\n' * 2)
    with pytest.raises(DataError, match="one answer to a prompt"):
        read_answers(str(path))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "x"}, ["x"]),
        ({"messages": [user("x")]}, ["x"]),
        ({"messages": [user("x"), {"role": "assistant", "content": "y"}]}, ["x"]),
        (
            {
                "messages": [
                    {"role": "system", "content": ""},
                    user("x"),
                    {"role": "assistant", "content": "y"},
                    user("z"),
                ]
            },
            ["", "x", "y", "z"],
        ),
        ({"messages": []}, "no_user_turn"),
        ({"messages": [{"role": "assistant", "content": "y"}]}, "no_user_turn"),
        ({"messages": [user("x"), {"role": "system", "content": "y"}]}, "no_user_turn"),
        ({"messages": [user(" ")]}, "bad_message"),
        ({"messages": [user(None)]}, "bad_message"),
        ({"messages": [{"role": "poet", "content": "y"}]}, "bad_message"),
        ({"messages": ["x"]}, "bad_message"),
        ({"messages": [{"role": "system", "content": None, "functions": "[]"}, user("x")]}, "has_tools"),
        ({"messages": [user("x"), {"role": "environment", "content": "y"}]}, "has_tools"),
        ({"messages": "x"}, "no_messages"),
        ({"text": "x"}, "no_messages"),
        ([], "not_json"),
    ],
)
def test_prompts_are_read(row, expected):
    found = read_prompt(json.dumps(row).encode(), "f:1")
    shown = [message["content"] for message in found.messages] if isinstance(found, Prompt) else found.problem
    assert shown == expected and found.id == "f:1"


def test_ids_are_kept_and_repeated_ones_left_out(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"prompt": "a"}\n{"id": 7, "prompt": "b"}\n{"id": "7", "prompt": "c"}\nnot json\n{"id": "x", "prompt": "\\ud800"}\n'
    )
    found = read_prompts([str(path)])
    assert [one.id for one in found.prompts] == ["p.jsonl:1", "7"]
    assert [(one.id, one.problem) for one in found.dropped] == [
        ("7", "repeated_id"),
        ("p.jsonl:4", "not_json"),
        ("p.jsonl:5", "not_json"),
    ]
    assert len(read_prompts([str(path)], at_most=1).prompts) == 1


def test_no_prompt_at_all_is_an_error(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("[]\n")
    with pytest.raises(ConfigError, match=r"at least one prompt \(not_json at p\.jsonl:1\)"):
        read_prompts([str(path)])
