"""Records of post-training sets as rows of one form, or the reason why a record is none.

A row is chat, pair or prompt; its messages are `{"role", "content", "functions", "function_calls"}`, of which the last three may be null:
`functions` is a JSON list of the tools that a system or user turn offers, `function_calls` what an assistant turn calls, in Pythonic form.
Nothing is mended but names: other names of roles, and keys of ShareGPT. Bad records never raise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import orjson

from dolma_py.formats.fields import take_value

ROLES = ("system", "user", "assistant", "environment")
OTHER_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "environment",
    "function": "environment",
    "ipython": "environment",
    "observation": "environment",
}
_SPEAKER_ROLES = {"Human": "user", "Assistant": "assistant"}
Message = dict[str, str | None]
Kind = Literal["sft", "pairs", "prompts"]
Form = Literal["messages", "sharegpt", "prompt_response", "transcript"]
SPEAKERS = re.compile(r"\n\n(Human|Assistant): ?")  # of form transcript, as HH-RLHF has it

# of records that are no rows at all, as against rows that a filter drops
REASONS = (
    "not_object",
    "no_messages",
    "not_a_message",
    "unknown_role",
    "content_not_text",
    "lone_surrogate",
    "functions_not_json",
    "functions_misplaced",
    "tool_calls",
    "empty_turn",
    "system_not_first",
    "begins_without_user",
    "role_twice",
    "reasoning_apart",
    "tools_beside",
    "system_beside",
    "environment_without_call",
    "ends_without_answer",
    "ends_with_answer",
    "prompts_differ",
    "no_verifier",
    "no_ground_truth",
)
# what a record has under its usual names; a source's `columns` names others
COLUMNS = {
    "id": "id", "messages": "messages", "conversations": "conversations", "system": "system", "prompt": "prompt", "response": "response",
    "chosen": "chosen", "rejected": "rejected", "license": "license", "verifier": "verifier", "ground_truth": "ground_truth",
}  # fmt: skip


class ChatRow(NamedTuple):
    """One record that can be rendered."""

    id: str | None  # None: it has none of its own
    messages: list[Message]  # of a pair: those of the chosen answer
    rejected: list[Message] | None  # of a pair
    license: str | None
    verifier: str | None  # of a prompt
    ground_truth: str | None


def read_row(
    record: Any, *, kind: Kind, form: Form, columns: Mapping[str, str], verifier: str | None = None
) -> ChatRow | str:
    """The row of a record, or one of REASONS.

    Parameters
    ----------
    record : a value of JSON
    kind : what is wanted: a chat that ends with an answer, a pair of two such, or a prompt that ends before it
    form : messages (`messages`, or `chosen` and `rejected`, lists of role and content), sharegpt (lists of from and value),
        prompt_response (strings `prompt` and `response`, or `prompt`, `chosen` and `rejected`; `system` where there is one), transcript (strings
        `messages`, or `chosen` and `rejected`, of turns that begin with a blank line and "Human: " or "Assistant: ")
    columns : own names, or dotted paths, in place of those of COLUMNS
    verifier : of prompts that name none
    """
    if not isinstance(record, dict):
        return "not_object"
    names = COLUMNS | dict(columns)
    found = {name: take_value(record, path) for name, path in names.items()}
    given = found["id"]
    own = None if given is None or isinstance(given, dict | list) else str(given)
    license = found["license"] if isinstance(found["license"], str) else None
    row = ChatRow(own, [], None, license, None, None)
    if form in ("messages", "sharegpt") and found["system"]:
        return "system_beside"
    if kind == "pairs":
        pair = _read_pair(row, found, form)
        return "tools_beside" if isinstance(pair, ChatRow) and _loses_tools(record, pair.messages) else pair
    messages = _take_messages(found, form, "response" if kind == "sft" else None)
    problem = messages if isinstance(messages, str) else check_order(messages, answered=kind == "sft")
    if problem:
        return str(problem)
    if _loses_tools(record, messages):
        return "tools_beside"
    row = row._replace(messages=messages)
    return row if kind == "sft" else _read_prompt(row, found, verifier)


def _loses_tools(record: dict[str, Any], messages: list[Message]) -> bool:
    """Whether a record has tools beside its turns, which no turn names."""
    return bool(record.get("tools")) and not any(message["functions"] for message in messages)


def _read_pair(row: ChatRow, found: dict[str, Any], form: Form) -> ChatRow | str:
    sides = []
    for side in ("chosen", "rejected"):
        value = found | {"messages": found[side], "conversations": found[side], "response": found[side]}
        messages = _take_messages(value, form, "response")
        problem = messages if isinstance(messages, str) else check_order(messages, answered=True)
        if problem:
            return str(problem)
        sides.append(messages)
    chosen, rejected = sides
    if chosen[:-1] != rejected[:-1]:
        return "prompts_differ"
    return row._replace(messages=chosen, rejected=rejected)


def _read_prompt(row: ChatRow, found: dict[str, Any], verifier: str | None) -> ChatRow | str:
    truth = found["ground_truth"]
    named = found["verifier"] if found["verifier"] is not None else verifier
    if isinstance(named, list) and len(named) == 1:  # open-instruct's form
        named = named[0]
    if not isinstance(named, str) or not named:
        return "no_verifier"
    if truth is None:
        return "no_ground_truth"
    text = truth if isinstance(truth, str) else orjson.dumps(truth, default=str).decode()
    return row._replace(verifier=named, ground_truth=text) if is_unicode(text) else "lone_surrogate"


def _take_messages(found: dict[str, Any], form: Form, response: str | None) -> Any:
    """The messages of a record, or the reason why there are none; response: the column of the last answer of form prompt_response."""
    if form == "prompt_response":
        texts = [("system", found["system"]), ("user", found["prompt"])]
        texts += [("assistant", found[response])] if response is not None else []
        value: Any = [
            {"role": role, "content": text}
            for role, text in texts
            if role != "system" or (text is not None and text != "")
        ]
    elif form == "transcript":
        value = _split_transcript(found["messages"])
    else:
        value = found["messages" if form == "messages" else "conversations"]
    return read_messages(
        value, role="from" if form == "sharegpt" else "role", content="value" if form == "sharegpt" else "content"
    )


def _split_transcript(value: Any) -> list[dict[str, str]]:
    """Turns of a transcript; none where it does not begin with one."""
    before, *parts = SPEAKERS.split(value) if isinstance(value, str) else [""]
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [] if before.strip() else [{"role": _SPEAKER_ROLES[who], "content": said.strip()} for who, said in turns]


def read_messages(value: Any, *, role: str = "role", content: str = "content") -> list[Message] | str:
    """Messages of one form, or the reason why they are none. value: a list of mappings, or its JSON."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return "no_messages"
    if not isinstance(value, list) or not value:
        return "no_messages"
    messages: list[Message] = []
    for turn in value:
        message = _read_message(turn, role, content)
        if isinstance(message, str):
            return message
        messages.append(message)
    return messages


def _read_message(turn: Any, role: str, content: str) -> Message | str:
    if not isinstance(turn, dict) or not isinstance(turn.get(role), str):
        return "not_a_message"
    name = turn[role].strip().lower()
    name = OTHER_ROLES.get(name, name)
    if name not in ROLES:
        return "unknown_role"
    if turn.get("tool_calls") or turn.get("function_call"):
        return "tool_calls"  # another form of calls; rewriting them would be guesswork
    text, calls = turn.get(content), turn.get("function_calls")
    if not isinstance(text, str | None) or not isinstance(calls, str | None):
        return "content_not_text"
    functions = _read_functions(turn.get("functions"))
    if functions is not None and functions is False:
        return "functions_not_json"
    if (functions and name not in ("system", "user")) or (calls and name != "assistant"):
        return "functions_misplaced"
    if turn.get("reasoning_content") or turn.get("reasoning"):
        return "reasoning_apart"  # thoughts beside the answer: trained without them it would be another answer
    if not (text or "").strip() and not (calls or "").strip() and not (name == "environment" and text is not None):
        if not (name == "system" and functions):
            return "empty_turn"
        text = ""
    message: Message = {"role": name, "content": text, "functions": functions or None, "function_calls": calls or None}
    return message if all(value is None or is_unicode(value) for value in message.values()) else "lone_surrogate"


def _read_functions(value: Any) -> Any:
    """The JSON of a list of tools as text, None without one, False for anything else."""
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return False
    try:
        return value if isinstance(orjson.loads(value), list) else False
    except orjson.JSONDecodeError:
        return False


def check_order(messages: list[Message], *, answered: bool) -> str:
    """Why the turns do not follow each other as a conversation's do, "" when they do; answered: it has to end with an assistant turn."""
    roles = [message["role"] for message in messages]
    if "system" in roles[1:]:
        return "system_not_first"
    spoken = roles[1:] if roles[0] == "system" else roles
    if not spoken or spoken[0] != "user":
        return "begins_without_user"
    for before, now in zip(spoken, spoken[1:], strict=False):
        if before == now and now != "environment":
            return "role_twice"
        if now == "environment" and before == "user":
            return "environment_without_call"
    if answered != (spoken[-1] == "assistant"):
        return "ends_without_answer" if answered else "ends_with_answer"
    return ""


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold the text: JSON may spell half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def join_texts(messages: list[Message]) -> str:
    """All that the turns say, for searches: contents, tools and calls with a blank line between."""
    parts = [message[name] for message in messages for name in ("content", "functions", "function_calls")]
    return "\n\n".join(part for part in parts if part)


def list_answers(messages: list[Message]) -> list[str]:
    """The contents of the assistant turns that have one."""
    return [message["content"] for message in messages if message["role"] == "assistant" and message["content"]]


def render_messages(messages: list[Message]) -> str:
    """JSON of the messages, keys that are null left out; the same bytes for the same messages."""
    return orjson.dumps([{key: value for key, value in m.items() if value is not None} for m in messages]).decode()
