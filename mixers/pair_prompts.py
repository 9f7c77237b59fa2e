"""Prompts for preference pairs: conversations that end with a turn of the user, out of chat rows or texts; what is none is counted by its reason."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dolma_py.errors import ConfigError, DataError
from dolma_py.input_files import find_files
from dolma_py.storage import open_read
from dolma_py.tool_sessions import ChatMessage, make_message
from mixers.asked_rows import Dropped, shorten

MAX_LINE_BYTES = 16 << 20


class Prompt(NamedTuple):
    """One conversation that waits for an answer."""

    id: str
    source: str
    messages: tuple[ChatMessage, ...]  # of roles system, user, assistant; the last one is the user's


class ReadPrompts(NamedTuple):
    """The prompts of all files in their order, and the lines that are none."""

    prompts: list[Prompt]
    dropped: list[Dropped]


def read_prompts(paths: Iterable[str], *, at_most: int | None = None) -> ReadPrompts:
    """Read files of JSON lines; ids are the row's own, else FILE:LINE.

    Reasons: not_json, no_messages, bad_message, has_tools, no_user_turn, repeated_id, too_long (a line).
    Raises ConfigError when there is no prompt at all.
    """
    prompts: list[Prompt] = []
    dropped: list[Dropped] = []
    seen: set[str] = set()
    places = list(paths)
    for name, line in _iterate_lines(places):
        if at_most is not None and len(prompts) >= at_most:
            break
        found = read_prompt(line, name) if len(line) <= MAX_LINE_BYTES else Dropped(name, "too_long")
        if isinstance(found, Prompt) and found.id in seen:
            found = Dropped(found.id, "repeated_id")
        if isinstance(found, Dropped):
            dropped.append(found)
        else:
            seen.add(found.id)
            prompts.append(found)
    if not prompts:
        reason = f" ({dropped[0].problem} at {dropped[0].id})" if dropped else ""
        raise ConfigError("prompts", places, f"expected files with at least one prompt{reason}")
    return ReadPrompts(prompts, dropped)


def _iterate_lines(places: list[str]) -> Iterator[tuple[str, bytes]]:
    for path in [found.path for place in places for found in find_files(place).files]:
        with open_read(path) as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                yield f"{path.rpartition('/')[2]}:{number}", line
                while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES + 1)


def read_prompt(line: bytes, name: str) -> Prompt | Dropped:
    """The prompt of one line, or why there is none."""
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()  # lone surrogates
    except (ValueError, RecursionError):
        return Dropped(name, "not_json", shorten(line[:400].decode("utf-8", "replace")))
    if not isinstance(row, dict):
        return Dropped(name, "not_json")
    given = row.get("id")
    name = str(given) if isinstance(given, str | int) and not isinstance(given, bool) and str(given) else name
    source = row.get("source")
    source = source if isinstance(source, str) else ""
    messages = row.get("messages")
    if messages is None and isinstance(row.get("prompt"), str):
        messages = [{"role": "user", "content": row["prompt"]}]
    if not isinstance(messages, list):
        return Dropped(name, "no_messages")
    kept: list[ChatMessage] = []
    for one in messages:
        problem = _find_problem(one)
        if problem:
            return Dropped(name, problem)
        kept.append(make_message(one["role"], one["content"]))
    while kept and kept[-1]["role"] == "assistant":
        kept.pop()
    if not kept or kept[-1]["role"] != "user":
        return Dropped(name, "no_user_turn")
    return Prompt(name, source, tuple(kept))


def _find_problem(one: Any) -> str:
    if not isinstance(one, dict):
        return "bad_message"
    if (
        one.get("role") in ("environment", "tool")
        or one.get("functions")
        or one.get("function_calls")
        or one.get("tool_calls")
    ):
        return "has_tools"
    content = one.get("content")
    if one.get("role") not in ("system", "user", "assistant") or not isinstance(content, str):
        return "bad_message"
    return "bad_message" if one["role"] == "user" and not content.strip() else ""


def read_answers(path: str) -> dict[str, str]:
    """The texts of a file of answers, by the id of their prompts.

    Raises DataError, with the line, for a line that is none and for a second answer to one prompt.
    """
    found: dict[str, str] = {}
    for name, line in _iterate_lines([path]):
        number = int(name.rpartition(":")[2])
        try:
            row = json.loads(line)
            prompt, text = row["id"], row["text"]
            json.dumps(row, ensure_ascii=False).encode()  # lone surrogates
        except (ValueError, LookupError, TypeError, RecursionError):
            raise DataError(path, "expected a JSON object with `id` and `text`", number) from None
        if not isinstance(prompt, str) or not isinstance(text, str) or prompt in found:
            raise DataError(path, "expected texts as `id` and `text`, and one answer to a prompt", number)
        found[prompt] = text
    return found
