"""Conversations with tools: a model speaks, its calls are read, checked and made, the results come back as an `environment` turn.

Many conversations go on together, so that a model is asked in batches. Whatever a model says is data: what cannot be read or is not allowed
becomes an error that the model is told, and is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import Field

from dolma_py.config import Config
from dolma_py.endpoint_http import Line, parse_address
from dolma_py.errors import ConfigError
from dolma_py.tool_calls import OPEN_TAG, CallLimits, ToolCall, escape_marks, parse_calls, split_assistant
from dolma_py.tool_specs import ToolBox

ChatMessage = dict[str, Any]  # role, content, functions, function_calls: a message of a chat row
Ask = Callable[[list[list[ChatMessage]]], list[str]]  # what the assistant says next in each conversation
SYSTEM_WORDS = (
    "You are a helpful assistant who can call functions."  # of made sessions and of the test: a turn is never empty
)
NOT_SAID = (
    OPEN_TAG  # for a request that failed: a block that does not end, for silence is right where no call is wanted
)
_NO_ANSWER = "the tool gave no answer"


class ToolResult(NamedTuple):
    """What a call gave: a JSON value; or why it gave none: `problem` is "" when it did.

    Problems: those of a checked call, tool_error (the tool says so), timeout, connection, truncated, too_large, bad_status, bad_reply
    (no JSON), too_long.
    """

    value: Any = None
    problem: str = ""
    detail: str = ""


Execute = Callable[[ToolCall], ToolResult]


class ToolServerConfig(Config):
    """Where calls are made: POST {"name", "arguments"} to base_url/call, which answers {"result": ...} or {"error": "..."}."""

    base_url: str = Field(description="address below which `call` lies, such as http://127.0.0.1:8900")
    timeout_seconds: float = Field(default=20.0, gt=0, description="for one call, connecting included")
    max_reply_bytes: int = Field(default=1 << 20, ge=64, description="a longer reply is cut off and fails")


class SessionLimits(Config):
    """When a turn ends, whatever the model wants."""

    max_steps: int = Field(default=8, ge=1, description="times the model speaks in answer to one turn of the user")
    max_result_chars: int = Field(default=20_000, ge=16, description="a result longer than this is an error: too_long")


class ToolServer:
    """Makes calls over HTTP, one at a time. A call is made once: a tool may have acted before its answer was lost."""

    def __init__(self, config: ToolServerConfig) -> None:
        address = parse_address(config.base_url)
        path = address.path.removesuffix("/chat/completions") + "/call"
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        self._line = Line(
            address._replace(path=path),
            headers,
            timeout_seconds=config.timeout_seconds,
            max_bytes=config.max_reply_bytes,
        )

    def __enter__(self) -> ToolServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def execute(self, call: ToolCall) -> ToolResult:
        """The tool's answer; never raises for what the server does."""
        body = json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False).encode()
        reply = self._line.post(body)
        if reply.failure:
            return ToolResult(None, reply.failure, reply.detail)
        if reply.status != 200:
            return ToolResult(None, "bad_status", f"status {reply.status}")
        try:
            values = json.loads(reply.body, parse_constant=_refuse_constant)
            json.dumps(values, ensure_ascii=False).encode()  # lone surrogates
        except (ValueError, RecursionError):
            return ToolResult(None, "bad_reply", "not JSON")
        if isinstance(values, dict) and values.keys() == {"result"}:
            return ToolResult(values["result"])
        if isinstance(values, dict) and values.keys() == {"error"} and isinstance(values["error"], str):
            return ToolResult(None, "tool_error", values["error"])
        return ToolResult(None, "bad_reply", "neither a result nor an error")


class Turn(NamedTuple):
    """What followed one turn of the user."""

    messages: list[ChatMessage]  # of assistant and environment, in turns
    calls: list[ToolCall]  # all that could be read, made or not
    problems: list[str]  # of blocks (block:...), calls (call:...) and results (result:...)
    is_ended: bool  # the model spoke without a call

    @property
    def answer(self) -> str:
        """The last words, "" when the model never stopped calling."""
        return str(self.messages[-1]["content"] or "") if self.is_ended else ""


def make_message(
    role: str, content: str | None, *, functions: str | None = None, function_calls: str | None = None
) -> ChatMessage:
    """A message of a chat row."""
    return {"role": role, "content": content, "functions": functions, "function_calls": function_calls}


def run_turns(
    conversations: Sequence[list[ChatMessage]], ask: Ask, boxes: Sequence[ToolBox], executes: Sequence[Execute], limits: SessionLimits,
    calls: CallLimits | None = None,
) -> list[Turn]:  # fmt: skip
    """Let the model speak in each conversation until it says something without a call, max_steps times at most.

    conversations end with a turn of the user and are not changed; boxes and executes: the tools of each.
    """
    turns = [Turn([], [], [], False) for _ in conversations]
    open_rows = list(range(len(conversations)))
    for _ in range(limits.max_steps):
        if not open_rows:
            break
        texts = ask([[*conversations[row], *turns[row].messages] for row in open_rows])
        if len(texts) != len(open_rows):
            raise ConfigError("ask", len(texts), f"expected {len(open_rows)} answers, one for each conversation")
        still_open = []
        for row, text in zip(open_rows, texts, strict=True):
            turns[row] = _take_step(turns[row], text, boxes[row], executes[row], limits, calls)
            if not turns[row].is_ended:
                still_open.append(row)
        open_rows = still_open
    return turns


def _take_step(
    turn: Turn, text: str, box: ToolBox, execute: Execute, limits: SessionLimits, call_limits: CallLimits | None
) -> Turn:
    said = split_assistant(text)
    if said.block is None and not said.problem:
        return turn._replace(messages=[*turn.messages, make_message("assistant", said.content)], is_ended=True)
    parsed = parse_calls(said.block, call_limits) if said.block is not None else None
    problem = said.problem or (parsed.problem if parsed else "")
    if problem or parsed is None:
        told = render_result(ToolResult(None, problem, f"the calls could not be read: {problem}"))
        messages = [*turn.messages, make_message("assistant", text), make_message("environment", told)]
        return turn._replace(messages=messages, problems=[*turn.problems, f"block:{problem}"])
    results = [make_call(call, box, execute, limits.max_result_chars) for call in parsed.calls]
    block = (said.block or "").strip("\n")
    answer = make_message("environment", "\n".join(map(render_result, results)))
    return Turn(
        [*turn.messages, make_message("assistant", said.content or None, function_calls=block), answer],
        [*turn.calls, *parsed.calls],
        [*turn.problems, *(result.problem for result in results if result.problem)],
        False,
    )


def make_call(call: ToolCall, box: ToolBox, execute: Execute, max_result_chars: int) -> ToolResult:
    """Check a call, make it, and bound its result; the problem begins with call: or result:."""
    checked = box.check(call)
    if checked.problem:
        return ToolResult(None, f"call:{checked.problem}", checked.where)
    result = execute(call)
    if result.problem:
        detail = result.detail if result.problem == "tool_error" else f"{_NO_ANSWER}: {result.problem}"
        return ToolResult(None, f"result:{result.problem}", detail[:max_result_chars])
    try:
        num_chars = len(render_result(result))
    except (ValueError, TypeError, RecursionError):
        return ToolResult(None, "result:bad_reply", f"{_NO_ANSWER}: its result is no JSON")
    if num_chars > max_result_chars:
        return ToolResult(None, "result:too_long", f"the result is longer than {max_result_chars} characters")
    return result


def render_result(result: ToolResult) -> str:
    """One line of JSON, in which no special token stands: the value, or {"error": ...}."""
    value = {"error": result.detail or result.problem} if result.problem else result.value
    return escape_marks(json.dumps(value, ensure_ascii=False, allow_nan=False))


def count_problems(turns: Sequence[Turn]) -> dict[str, int]:
    """turns, calls, unfinished, and each problem with its number."""
    counts: Counter[str] = Counter({"turns": len(turns), "calls": 0, "unfinished": 0})
    for turn in turns:
        counts["calls"] += len(turn.calls)
        counts["unfinished"] += not turn.is_ended
        counts.update(turn.problems)
    return dict(sorted(counts.items()))


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON
