"""Sessions with tools simulated by one model: it writes user, assistant and environment together, from specs alone (SimFC, Olmo 3 report, SFT data).

One request is one session. What comes back is believed in nothing: its shape, the order of turns, every call against its spec, one result a call,
ids that somebody gave, and that it is of the kind that was asked for. What fails is counted by its reason, asked for again, and left out.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import Field, field_validator

from dolma_py import config as configuration
from dolma_py.config import Config
from dolma_py.endpoint import Answer, Endpoint, EndpointConfig, Estimate, Message, Request
from dolma_py.errors import ConfigError, DataError
from dolma_py.hashing import derive_seed
from dolma_py.input_files import find_files
from dolma_py.question_frames import frame_text
from dolma_py.storage import checksum_file, open_read
from dolma_py.tool_calls import CLOSE_TAG, OPEN_TAG, ParsedCalls, ToolCall, parse_calls, render_calls
from dolma_py.tool_sessions import SYSTEM_WORDS, ChatMessage, make_message
from dolma_py.tool_specs import ToolBox, parse_specs, render_specs
from mixers.asked_rows import FIRST_TRIES, Dropped, find_standing, read_fields, shorten, write_rows
from mixers.tool_domains import DOMAINS

VERSION = 1
MAX_LINE_BYTES = 4 << 20
MAX_MESSAGES = 60
KINDS = {
    "single": "The user wants one thing that one call of one function fulfils. One user turn.",
    "parallel": "The user wants several things at once that need several calls which do not depend on each other: the assistant makes them "
    "in one turn.",
    "multi_step": "The user wants something that needs two calls or more one after the other: an argument of a later call comes from an "
    "earlier result. One user turn.",
    "multi_turn": "The user speaks two times or more; each wish builds on what came before, and calls are needed.",
    "missing_argument": "The user leaves out something that a call cannot do without: the assistant asks for it without any call; "
    "the user gives it; then the assistant calls.",
    "no_tool": "The user wants something that none of the functions can do, though it is near to what they do: the assistant says so "
    "and makes no call at all.",
}
STYLES = (
    "brief and plain", "polite and long-winded", "in a hurry", "a beginner who does not know the words", "an expert of the field",
    "casual, all in lower case", "with a reason for the wish told first", "precise, with every number given",
)  # fmt: skip
_DATE = re.compile(r"\d{4}-\d\d")
PROMPT = """Write a conversation between a user and an assistant who can call functions. You play all parts: the user, the assistant, and the \
environment that answers calls with results as the real function could.

The functions:
{functions}

Kind of conversation: {kind}
The user's manner: {style}.

Rules:
- Answer with one JSON object and nothing else: {"messages": [...]}.
- Each message is {"role": "user", "content": TEXT}, {"role": "assistant", "content": TEXT}, \
{"role": "assistant", "function_calls": CALLS} or {"role": "environment", "content": RESULTS}.
- CALLS is a text with one call on each line: name(argument="value", other=2). Every argument is named; values are literals; only the functions above.
- After CALLS comes the environment, whose RESULTS is a text with one line of JSON for each call, in their order. Then the assistant goes on.
- The assistant takes no id, number or address from nowhere: the user or a result gave it.
- The first message is the user's, the last one is the assistant's, in words."""


class SimulateConfig(Config):
    """What is asked of which model."""

    endpoint: EndpointConfig = Field(description="the model, its cache, its prices and bounds: docs/endpoint.md")
    tools: list[str] = Field(
        default_factory=list,
        description="files of tool sets, JSON lines with `functions` (a JSON list of specs, or the list) and `id`; none: the made domains that train",
    )
    sessions: int = Field(default=100, ge=1, description="wanted; tool sets and kinds are gone through in turn")
    kinds: list[str] = Field(default_factory=lambda: list(KINDS), min_length=1, description="kinds of conversation")
    max_answer_tokens: int = Field(default=3000, ge=16, description="of one session")
    temperature: float = Field(default=1.0, ge=0, description="of the model")
    answer_tries: int = Field(default=3, ge=1, description="times a session is asked for until one can be used")
    max_bad_frac: float = Field(
        default=0.5, ge=0, le=1, description="share of sessions that may come to nothing; with more nothing is written"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="more fields of the request, such as response_format"
    )

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, value: list[str]) -> list[str]:
        unknown = [kind for kind in value if kind not in KINDS]
        if unknown:
            raise ValueError(f"expected kinds among {', '.join(KINDS)}, got {unknown[0]!r}")
        return value


class ToolSet(NamedTuple):
    """Functions that are offered together."""

    id: str
    functions: str  # JSON list
    box: ToolBox


class Wanted(NamedTuple):
    """One session to be written."""

    id: str
    tools: ToolSet
    kind: str
    style: str


class JudgedSession(NamedTuple):
    """The messages of a session, or why it cannot be used."""

    messages: list[ChatMessage]
    problem: str = ""


def read_tool_sets(paths: list[str]) -> Iterator[ToolSet]:
    """Tool sets of files; the made domains that training may see when there are none.

    Raises DataError, with the line, for a set that cannot be read.
    """
    if not paths:
        for domain in DOMAINS.values():
            if not domain.is_unseen:
                yield ToolSet(domain.name, render_specs(domain.specs), ToolBox(domain.specs))
    for path in [found.path for place in paths for found in find_files(place).files]:
        with open_read(path) as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                yield _read_tool_set(line, path, number)


def _read_tool_set(line: bytes, path: str, number: int) -> ToolSet:
    try:
        row = json.loads(line)
        functions = row["functions"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise DataError(path, "expected a JSON object with `functions`", number) from None
    parsed = parse_specs(functions if isinstance(functions, str) else json.dumps(functions))
    if parsed.problem or not parsed.specs:
        raise DataError(path, f"functions: {parsed.problem or 'none'} ({parsed.where})", number)
    return ToolSet(str(row.get("id", f"{path}:{number}")), render_specs(parsed.specs), ToolBox(parsed.specs))


def plan_sessions(sets: list[ToolSet], config: SimulateConfig, seed: int) -> Iterator[Wanted]:
    """Sessions in order: kinds change fastest, so that each set has every kind before any has one twice."""
    for number in range(config.sessions):
        kind = config.kinds[number % len(config.kinds)]
        tools = sets[number // len(config.kinds) % len(sets)]
        style = random.Random(derive_seed(seed, "simulated tools", number)).choice(STYLES)
        yield Wanted(f"simulated-tools-{seed}-{number}", tools, kind, style)


def make_request(wanted: Wanted, config: SimulateConfig, sample: int) -> Request:
    """One session asked for."""
    prompt = PROMPT.replace("{kind}", KINDS[wanted.kind]).replace("{style}", wanted.style)
    prompt = prompt.replace("{functions}", frame_text(wanted.tools.functions))  # last: specs may hold the other holes
    # number of the session, so that two sessions over one set, kind and style are two questions
    prompt += f"\nConversation {wanted.id.rpartition('-')[2]}."
    return Request((Message("user", prompt),), config.max_answer_tokens, config.temperature, sample, config.options)


def judge_session(answer: Answer, wanted: Wanted) -> JudgedSession:
    """Read a session strictly.

    Problems: those of asked_rows.read_fields, not_a_list, too_many_messages, not_a_message, not_a_string, empty_message, tags_in_words,
    bad_order, block:<problem>, call:<problem>, results_not_json, results_missing, invented_id, wrong_kind.
    """
    found = read_fields(answer, ["messages"])
    if found.problem:
        return JudgedSession([], found.problem)
    given = found.values["messages"]
    if not isinstance(given, list):
        return JudgedSession([], "not_a_list")
    if len(given) > MAX_MESSAGES:
        return JudgedSession([], "too_many_messages")
    messages: list[ChatMessage] = [make_message("system", SYSTEM_WORDS, functions=wanted.tools.functions)]
    blocks: list[tuple[int, tuple[ToolCall, ...]]] = []  # (how many user turns before it, its calls)
    num_users, follows = 0, ("user",)
    for one in given:
        problem, message, parsed = _read_message(one)
        role = "calls" if parsed else message["role"]
        if not problem and role not in follows:
            problem = "bad_order"
        if not problem and role == "environment":
            problem = _check_results(message["content"], len(blocks[-1][1]))
        if not problem and parsed:
            problem = _check_calls(parsed.calls, wanted.tools, messages)
            message["function_calls"] = render_calls(parsed.calls)
            blocks.append((num_users, parsed.calls))
        if problem:
            return JudgedSession([], problem)
        num_users += role == "user"
        follows = _FOLLOWS[role]
        messages.append(message)
    if not num_users or follows != _FOLLOWS["assistant"]:
        return JudgedSession([], "bad_order")
    return JudgedSession(messages) if _is_kind(wanted.kind, num_users, blocks) else JudgedSession([], "wrong_kind")


_FOLLOWS = {
    "user": ("assistant", "calls"),
    "calls": ("environment",),
    "environment": ("assistant", "calls"),
    "assistant": ("user",),
}


def _read_message(one: Any) -> tuple[str, ChatMessage, ParsedCalls | None]:
    """(problem, message, calls where it has some)."""
    nothing = make_message("", None)
    if not isinstance(one, dict) or one.get("role") not in ("user", "assistant", "environment"):
        return "not_a_message", nothing, None
    words, block = one.get("content"), one.get("function_calls")
    if not isinstance(words, str | None) or not isinstance(block, str | None):
        return "not_a_string", nothing, None
    if one.keys() - {"role", "content", "function_calls"} or (block is not None and one["role"] != "assistant"):
        return "not_a_message", nothing, None
    if not (words or "").strip() and block is None:
        return "empty_message", nothing, None
    if any(mark in (words or "") for mark in (OPEN_TAG, CLOSE_TAG, "<|")):
        return "tags_in_words", nothing, None
    parsed = None if block is None else parse_calls(block)
    if parsed is not None and parsed.problem:
        return f"block:{parsed.problem}", nothing, None
    return "", make_message(one["role"], words or None), parsed


def _check_results(words: str, num_calls: int) -> str:
    lines = [line for line in words.splitlines() if line.strip()]
    if len(lines) != num_calls:
        return "results_missing"
    try:
        for line in lines:
            json.loads(line)
    except (ValueError, RecursionError):
        return "results_not_json"
    return ""


def _check_calls(calls: Iterable[ToolCall], tools: ToolSet, messages: list[ChatMessage]) -> str:
    """Each fits its spec, and what looks like an id stands in what was said before or in the specs."""
    said = "\n".join([*(str(message["content"] or "") for message in messages), tools.functions])
    for call in calls:
        checked = tools.box.check(call)
        if checked.problem:
            return f"call:{checked.problem}"
        if any(looks_like_id(text) and text not in said for text in _texts(call.arguments)):
            return "invented_id"
    return ""


def looks_like_id(text: str) -> bool:
    """One word of 6 to 80 signs with a letter and three digits that is no date: nobody can know it who was not told.

    >>> looks_like_id("B-20417"), looks_like_id("2026-05-03T10:00"), looks_like_id("Oslo")
    (True, False, False)
    """
    if not 6 <= len(text) <= 80 or any(sign.isspace() for sign in text) or _DATE.match(text):
        return False
    return any(sign.isalpha() for sign in text) and sum(sign.isdigit() for sign in text) >= 3


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _is_kind(kind: str, num_users: int, blocks: list[tuple[int, tuple[ToolCall, ...]]]) -> bool:
    turns = [turn for turn, _ in blocks]
    if kind == "single":
        return num_users == 1 and len(blocks) == 1 and len(blocks[0][1]) == 1
    if kind == "parallel":
        return any(len(calls) > 1 for _, calls in blocks)
    if kind == "multi_step":
        return num_users == 1 and len(blocks) > 1
    if kind == "multi_turn":
        return num_users > 1 and len(blocks) > 0
    if kind == "missing_argument":
        return num_users > 1 and len(blocks) > 0 and 1 not in turns
    return not blocks


def run_simulation(
    config: SimulateConfig, *, output: str, seed: int, replace: bool = False
) -> tuple[dict[str, Any], bool]:
    """Ask, judge, write; (the summary, whether rows were made).

    Raises ConfigError, EndpointError, DataError as find_standing, Endpoint.ask and write_rows do.
    """
    sets, made_from = _prepare(config, seed)
    standing = find_standing(output, made_from, replace=replace)
    if standing is not None:
        return standing, False
    wanted = list(plan_sessions(sets, config, seed))
    judged = [JudgedSession([], "not_asked")] * len(wanted)
    excerpts = [""] * len(wanted)
    rows = list(range(len(wanted)))
    with Endpoint(config.endpoint, first_tries=FIRST_TRIES) as endpoint:
        for sample in range(config.answer_tries):
            answers = endpoint.ask(make_request(wanted[row], config, sample) for row in rows)
            for row, answer in zip(rows, answers, strict=True):
                judged[row] = judge_session(answer, wanted[row])
                excerpts[row] = shorten(answer.text or answer.detail)
            rows = [row for row in rows if judged[row].problem]
    good = [make_row(one, found, config) for one, found in zip(wanted, judged, strict=True) if not found.problem]
    dropped = [
        Dropped(one.id, found.problem, excerpt)
        for one, found, excerpt in zip(wanted, judged, excerpts, strict=True) if found.problem
    ]  # fmt: skip
    summary = {"format": "dolma-py-simulated-tools", "version": VERSION, "model": config.endpoint.model, "seed": seed}
    return write_rows(output, good, dropped, summary, made_from=made_from, max_bad_frac=config.max_bad_frac), True


def make_row(wanted: Wanted, found: JudgedSession, config: SimulateConfig) -> dict[str, Any]:
    """The chat row of a session."""
    return {
        "id": wanted.id, "messages": found.messages, "source": "simulated-tools", "category": wanted.kind,
        "domain": wanted.tools.id, "model": config.endpoint.model,
    }  # fmt: skip


def estimate_simulation(config: SimulateConfig, *, seed: int) -> Estimate:
    """What asking once for every session costs at most, without asking."""
    sets, _ = _prepare(config, seed)
    with Endpoint(config.endpoint) as endpoint:
        return endpoint.estimate(make_request(wanted, config, 0) for wanted in plan_sessions(sets, config, seed))


def _prepare(config: SimulateConfig, seed: int) -> tuple[list[ToolSet], str]:
    sets = list(read_tool_sets(config.tools))
    if not sets:
        raise ConfigError("tools", config.tools, "expected files with at least one tool set")
    asked = configuration.dump_config(config) | {
        "tools": [],
        "endpoint": [config.endpoint.model, config.endpoint.revision],
    }
    files = [checksum_file(found.path) for place in config.tools for found in find_files(place).files]
    return sets, configuration.fingerprint(
        "simulated-tools", VERSION, asked, seed, files, [one.functions for one in sets]
    )
