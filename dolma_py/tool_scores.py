"""How well a model uses tools, by structure: the right functions, the right arguments, no call where none fits, over several steps and turns.

A turn's calls are compared as a bag: their order among each other is free, but each must be there once and none beside. Arguments are equal when
their JSON values are (1 and 1.0 are), after those that say what the spec has as default are left out; texts are compared as they stand.
The user's turns are given whatever came before, so a turn can be right after a wrong one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dolma_py.tool_calls import CallLimits, ToolCall
from dolma_py.tool_items import ExpectedTurn, ToolItem
from dolma_py.tool_sessions import SYSTEM_WORDS, Ask, ChatMessage, Execute, SessionLimits, Turn, make_message, run_turns
from dolma_py.tool_specs import ToolBox, parse_specs

MEASURES = ("well_formed", "functions", "arguments", "answered")


class ItemScore(NamedTuple):
    """One conversation; each measure is true when it holds in every turn."""

    id: str
    category: str
    is_unseen: bool
    well_formed: bool  # every block could be read and every call fits its spec
    functions: bool  # the right functions, each as often as it should be
    arguments: bool  # the right calls: functions and arguments
    answered: bool  # the last words hold what they must, and the turn ended
    problems: dict[str, int]
    messages: list[ChatMessage]


class Row(NamedTuple):
    """Of a table: shares of `conversations`, each with its standard error."""

    category: str
    conversations: int
    shares: dict[str, float]
    errors: dict[str, float]


def score_items(
    items: Sequence[ToolItem], ask: Ask, execute_for: Callable[[ToolItem], Execute], limits: SessionLimits | None = None,
    calls: CallLimits | None = None,
) -> list[ItemScore]:  # fmt: skip
    """Hold all conversations, turn by turn together, and score them.

    execute_for: how the calls of an item are made. ask: as in run_turns.
    """
    limits = limits or SessionLimits()
    boxes = [
        ToolBox(parse_specs(item.functions, allows_dots=bool(calls and calls.allows_dots)).specs) for item in items
    ]
    histories = [[make_message("system", SYSTEM_WORDS, functions=item.functions)] for item in items]
    held: list[list[tuple[ExpectedTurn, Turn]]] = [[] for _ in items]
    for number in range(max((len(item.turns) for item in items), default=0)):
        rows = [row for row, item in enumerate(items) if number < len(item.turns)]
        for row in rows:
            histories[row].append(make_message("user", items[row].turns[number].user))
        turns = run_turns(
            [histories[row] for row in rows],
            ask,
            [boxes[row] for row in rows],
            [execute_for(items[row]) for row in rows],
            limits,
            calls,
        )
        for row, turn in zip(rows, turns, strict=True):
            histories[row].extend(turn.messages)
            held[row].append((items[row].turns[number], turn))
    return [_score(*parts) for parts in zip(items, boxes, held, histories, strict=True)]


def _score(
    item: ToolItem, box: ToolBox, held: list[tuple[ExpectedTurn, Turn]], messages: list[ChatMessage]
) -> ItemScore:
    problems = Counter(problem for _, turn in held for problem in turn.problems)
    problems.update({"unfinished": sum(not turn.is_ended for _, turn in held)})
    is_well_formed = not any(name.startswith(("block:", "call:")) for name in problems)
    functions = all(same_functions(expected, turn) for expected, turn in held)
    arguments = all(same_calls(expected, turn, box) for expected, turn in held)
    answered = all(
        turn.is_ended and turn.answer.strip() != "" and all(needle in turn.answer for needle in expected.needles)
        for expected, turn in held
    )
    found = {name: count for name, count in sorted(problems.items()) if count}
    return ItemScore(
        item.id, item.category, item.is_unseen, is_well_formed, functions, arguments, answered, found, messages
    )


def _wanted(expected: ExpectedTurn) -> list[ToolCall]:
    return [call for block in expected.blocks for call in block]


def _has_bad_block(turn: Turn) -> bool:
    """A block that could not be read is an attempt to call, and never the right one."""
    return any(problem.startswith("block:") for problem in turn.problems)


def same_functions(expected: ExpectedTurn, turn: Turn) -> bool:
    """The functions that were called are those wanted, each as often."""
    return not _has_bad_block(turn) and Counter(call.name for call in _wanted(expected)) == Counter(
        call.name for call in turn.calls
    )


def same_calls(expected: ExpectedTurn, turn: Turn, box: ToolBox) -> bool:
    """The calls are those wanted, each as often, in whatever order."""
    if _has_bad_block(turn):
        return False
    wanted = Counter(canonical(call, box) for call in _wanted(expected))
    return wanted == Counter(canonical(call, box) for call in turn.calls)


def canonical(call: ToolCall, box: ToolBox) -> str:
    """One text for all calls that mean the same."""
    filled = box.fill_defaults(call)
    return json.dumps([filled.name, _plain_numbers(filled.arguments)], sort_keys=True)


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain_numbers(item) for item in value]
    return {key: _plain_numbers(item) for key, item in value.items()} if isinstance(value, dict) else value


def tabulate(scores: Sequence[ItemScore]) -> list[Row]:
    """A row for each category in the order of their names, seen and unseen tools, and all."""
    groups: dict[str, list[ItemScore]] = {}
    for score in sorted(scores, key=lambda one: one.category):
        groups.setdefault(score.category, []).append(score)
    unseen = [score for score in scores if score.is_unseen]
    if unseen and len(unseen) < len(scores):
        groups["(tools seen)"] = [score for score in scores if not score.is_unseen]
        groups["(tools unseen)"] = unseen
    if scores:
        groups["all"] = list(scores)
    return [_tabulate_group(name, group) for name, group in groups.items()]


def _tabulate_group(name: str, scores: Sequence[ItemScore]) -> Row:
    count = len(scores)
    shares = {measure: sum(getattr(score, measure) for score in scores) / count for measure in MEASURES}
    return Row(name, count, shares, {measure: standard_error(share, count) for measure, share in shares.items()})


def standard_error(share: float, count: int) -> float:
    """Of a share of independent trials: sqrt(p (1 - p) / (n - 1)); nan for a single one.

    >>> round(standard_error(0.5, 101), 3)
    0.05
    """
    return math.sqrt(share * (1 - share) / (count - 1)) if count > 1 else math.nan


def render_table(rows: Sequence[Row]) -> str:
    """A table in markdown: shares in percent with their standard errors."""
    lines = ["| category | n | " + " | ".join(MEASURES) + " |", "|---|---|" + "---|" * len(MEASURES)]
    for row in rows:
        cells = (_cell(row.shares[name], row.errors[name]) for name in MEASURES)
        lines.append(f"| {row.category} | {row.conversations} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(share: float, error: float) -> str:
    # where all are alike the formula gives no width, which is no certainty
    return f"{100 * share:.1f}" if math.isnan(error) or error == 0 else f"{100 * share:.1f} +- {100 * error:.1f}"
