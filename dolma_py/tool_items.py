"""What a conversation with tools should be: the user's turns, the calls that fulfil each, what the answer must hold. One JSON line each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dolma_py import storage
from dolma_py.errors import DataError
from dolma_py.manifest import render_line
from dolma_py.tool_calls import CallLimits, ToolCall, parse_calls, render_calls
from dolma_py.tool_specs import parse_specs

MAX_LINE_BYTES = 4 << 20


class ExpectedTurn(NamedTuple):
    """One turn of the user and what should follow."""

    user: str
    blocks: tuple[
        tuple[ToolCall, ...], ...
    ]  # calls that go out together; the next block needs their results; () where no call is right
    needles: tuple[str, ...] = ()  # each stands in the last words of the assistant


class ToolItem(NamedTuple):
    """One conversation of a test."""

    id: str
    category: str
    functions: str  # JSON list of specs that are offered
    turns: tuple[ExpectedTurn, ...]
    domain: str = ""
    is_unseen: bool = False  # its tools are left out of training data
    seed: int = 0  # of the world in which calls are made


def render_item(item: ToolItem) -> dict[str, Any]:
    """The item as a row; blocks are written as an assistant writes calls."""
    turns = [
        {"user": turn.user, "blocks": [render_calls(block) for block in turn.blocks], "needles": list(turn.needles)}
        for turn in item.turns
    ]
    return {**item._asdict(), "turns": turns}


def write_items(path: str, items: Iterable[ToolItem]) -> int:
    """Write JSON lines; how many."""
    count = 0
    with storage.write_file(path) as stream:
        for item in items:
            stream.write(render_line(render_item(item)))
            count += 1
    return count


def read_items(path: str, limits: CallLimits | None = None) -> Iterator[ToolItem]:
    """The items of a file. Raises DataError, with the line, for anything that is no item."""
    with storage.open_read(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise DataError(path, f"a line of more than {MAX_LINE_BYTES} bytes", number)
            try:
                yield _read_item(json.loads(line), limits)
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                problem = f"no item of a test of tools ({type(error).__name__}: {error})"
                raise DataError(
                    path, problem, number, "Items are written by: dolma-py posttrain tool-sessions."
                ) from error


def _read_item(row: Any, limits: CallLimits | None) -> ToolItem:
    turns = []
    for turn in row["turns"]:
        parsed = [parse_calls(block, limits) for block in turn["blocks"]]
        bad = [one.problem for one in parsed if one.problem]
        if bad:
            raise ValueError(f"calls: {bad[0]}")
        turns.append(
            ExpectedTurn(_text(turn["user"]), tuple(one.calls for one in parsed), tuple(map(_text, turn["needles"])))
        )
    specs = parse_specs(_text(row["functions"]), allows_dots=bool(limits and limits.allows_dots))
    if specs.problem or not turns:
        raise ValueError(f"functions: {specs.problem}" if specs.problem else "turns: none")
    return ToolItem(
        _text(row["id"]), _text(row["category"]), row["functions"], tuple(turns), _text(row.get("domain", "")),
        bool(row.get("is_unseen", False)), int(row.get("seed", 0)),
    )  # fmt: skip


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value
