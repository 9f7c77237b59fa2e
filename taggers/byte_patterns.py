"""Many patterns as one automaton over UTF-8 bytes: a list of literals and regular expressions, searched in one pass, whatever their number.

Understood of regular expressions: literals and escapes, `.`, `[...]` and `[^...]`, `\\s`, `\\d`, groups, `|`, `? * + {m,n}`, `^` at the
start and `$` at the end of a pattern. `.` is any character but a line feed, `$` is the end of what is searched alone. Everything else is
refused, with the pattern's line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError

# the parser of Python's own regular expressions; it has no public name
_parse: Any = re._parser.parse  # type: ignore[attr-defined]

MAX_STATES = 20_000
MAX_REPEATS = 1000
_CONTINUES = sum(1 << byte for byte in range(0x80, 0xC0))
# every character beyond ASCII: first byte, and how many follow
_BEYOND_ASCII = (
    (sum(1 << byte for byte in range(0xC2, 0xE0)), 1),
    (sum(1 << byte for byte in range(0xE0, 0xF0)), 2),
    (sum(1 << byte for byte in range(0xF0, 0xF5)), 3),
)


FOUND, FOUND_AT_END = 1, 2  # bits of a step: a pattern matches there; one does if the text ends there


class BytePatterns(NamedTuple):
    """An automaton; S states, K classes of bytes that no pattern tells apart.

    A step is 4 K times the state it leads to, plus that state's bits. From step `at`, a byte of class k leads to steps[(at >> 2) + k]; the
    last element is the step that every search begins with.
    """

    classes: npt.NDArray[np.uint8]  # uint8 (256,)
    steps: npt.NDArray[np.int32]  # int32 (S * K + 1,)

    def search(self, text: bytes) -> bool:
        """Whether a pattern matches anywhere; for tests and small jobs, kernels walk the arrays themselves."""
        step = found = int(self.steps[-1])
        for byte in text:
            step = int(self.steps[(step >> 2) + int(self.classes[byte])])
            found |= step
        return bool(found & FOUND or step & FOUND_AT_END)


class _Net:
    """States with edges over sets of bytes (as bits of an integer) and free edges."""

    def __init__(self) -> None:
        self.edges: list[list[tuple[int, int]]] = []
        self.free: list[list[int]] = []

    def add(self) -> int:
        self.edges.append([])
        self.free.append([])
        return len(self.edges) - 1

    def step(self, start: int, byte_set: int) -> int:
        end = self.add()
        self.edges[start].append((byte_set, end))
        return end

    def reach(self, states: Iterable[int]) -> frozenset[int]:
        found, front = set(states), list(states)
        while front:
            for target in self.free[front.pop()]:
                if target not in found:
                    found.add(target)
                    front.append(target)
        return frozenset(found)


def compile_patterns(literals: Sequence[str], expressions: Sequence[str], *, where: str) -> BytePatterns:
    """The automaton that finds any of the literals and any of the regular expressions.

    Raises
    ------
    ConfigError     an expression that is not understood (names it), or patterns that need more than 20,000 states; key `where`

    Examples
    --------
    >>> compile_patterns(["mp3"], [r"\\|\\s*$"], where="example").search(b"a | ")
    True
    """
    net = _Net()
    anchored, floating, matched, at_end = net.add(), net.add(), net.add(), net.add()
    for literal in literals:
        start = net.add()
        net.free[floating].append(start)
        net.free[_add_literal(net, start, literal)].append(matched)
    for expression in expressions:
        _add_expression(net, expression, anchored, floating, matched, at_end, where)
    return _determine(net, anchored, floating, matched, at_end, where)


def _add_literal(net: _Net, start: int, literal: str) -> int:
    for byte in literal.encode():
        start = net.step(start, 1 << byte)
    return start


def _add_expression(
    net: _Net, expression: str, anchored: int, floating: int, matched: int, at_end: int, where: str
) -> None:
    try:
        items = list(_parse(expression))
    except re.error as error:
        raise ConfigError(where, expression, f"expected a regular expression ({error})") from error
    start = net.add()
    is_anchored = bool(items) and _is_at(items[0], "AT_BEGINNING")
    ends = bool(items) and _is_at(items[-1], "AT_END")
    net.free[anchored if is_anchored else floating].append(start)
    try:
        end = _add_items(net, start, items[is_anchored : len(items) - ends])
    except _NotUnderstoodError as error:
        raise ConfigError(where, expression, f"expected a simpler regular expression: {error}") from None
    net.free[end].append(at_end if ends else matched)


class _NotUnderstoodError(Exception):
    """The part of an expression that the automaton cannot have."""


def _is_at(item: Any, name: str) -> bool:
    return str(item[0]) == "AT" and str(item[1]) == name


def _add_items(net: _Net, start: int, items: Any) -> int:
    for kind, value in items:
        start = _add_item(net, start, str(kind), value)
    return start


def _add_item(net: _Net, start: int, kind: str, value: Any) -> int:
    if kind == "LITERAL":
        return _add_literal(net, start, chr(value))
    if kind in ("ANY", "NOT_LITERAL", "IN"):
        members, others = _read_set(kind, value)
        return _add_set(net, start, members, others)
    if kind == "SUBPATTERN":
        _, add_flags, del_flags, inner = value
        if add_flags or del_flags:
            raise _NotUnderstoodError("no flags")
        return _add_items(net, start, inner)
    if kind == "BRANCH":
        end = net.add()
        for branch in value[1]:
            begin = net.add()
            net.free[start].append(begin)
            net.free[_add_items(net, begin, branch)].append(end)
        return end
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        return _add_repeat(net, start, *value)
    raise _NotUnderstoodError(kind.lower().replace("_", " "))


def _add_repeat(net: _Net, start: int, least: int, most: Any, inner: Any) -> int:
    is_open = str(most) == "MAXREPEAT"
    if least > MAX_REPEATS or (not is_open and most > MAX_REPEATS):
        raise _NotUnderstoodError(f"at most {MAX_REPEATS} repeats")
    for _ in range(least):
        start = _add_items(net, start, inner)
    if is_open:
        # a state of its own: the loop must not be entered from what stands before
        hub = net.add()
        net.free[start].append(hub)
        net.free[_add_items(net, hub, inner)].append(hub)
        end = net.add()
        net.free[hub].append(end)
        return end
    end = net.add()
    net.free[start].append(end)
    for _ in range(most - least):
        start = _add_items(net, start, inner)
        net.free[start].append(end)
    return end


def _read_set(kind: str, value: Any) -> tuple[set[int], bool]:
    """(code points, whether every other one beyond ASCII is meant too)."""
    if kind == "ANY":
        return set(range(128)) - {10}, True
    items = [("LITERAL", value)] if kind == "NOT_LITERAL" else [(str(name), argument) for name, argument in value]
    negated = kind == "NOT_LITERAL" or items[0][0] == "NEGATE"
    members: set[int] = set()
    for name, argument in items:
        if name == "LITERAL":
            members.add(argument)
        elif name == "RANGE":
            members.update(range(argument[0], argument[1] + 1))
        elif name == "CATEGORY" and str(argument) in ("CATEGORY_SPACE", "CATEGORY_DIGIT"):
            members.update(_category(str(argument)))
        elif name != "NEGATE":
            raise _NotUnderstoodError(f"{name.lower()} {argument}".lower())
    if not negated:
        return members, False
    if max(members, default=0) >= 128:
        raise _NotUnderstoodError("only ASCII characters behind [^")
    return set(range(128)) - members, True


def _category(name: str) -> set[int]:
    chosen = str.isspace if name == "CATEGORY_SPACE" else lambda char: unicodedata.category(char) == "Nd"
    return {code for code in range(0x110000) if chosen(chr(code))}


def _add_set(net: _Net, start: int, members: set[int], others: bool) -> int:
    end = net.add()
    ascii_set = sum(1 << code for code in members if code < 128)
    if ascii_set:
        net.edges[start].append((ascii_set, end))
    for code in sorted(code for code in members if code >= 128):
        net.free[_add_literal(net, start, chr(code))].append(end)
    for first, num_following in _BEYOND_ASCII if others else ():
        at = net.step(start, first)
        for _ in range(num_following):
            at = net.step(at, _CONTINUES)
        net.free[at].append(end)
    return end


def _determine(net: _Net, anchored: int, floating: int, matched: int, at_end: int, where: str) -> BytePatterns:
    """One state for each set of states that the net can be in; the search may begin anew at every byte."""
    sets = sorted({byte_set for edges in net.edges for byte_set, _ in edges})
    marks = [tuple(byte_set >> byte & 1 for byte_set in sets) for byte in range(256)]
    numbers = {mark: number for number, mark in enumerate(dict.fromkeys(marks))}
    classes = np.array([numbers[mark] for mark in marks], np.uint8)
    samples = [marks.index(mark) for mark in numbers]
    again = net.reach([floating])
    states = {net.reach([anchored, floating]): 0}
    order = list(states)
    steps: list[int] = []
    for state in order:  # grows while it is walked
        for byte in samples:
            targets = {target for node in state for byte_set, target in net.edges[node] if byte_set >> byte & 1}
            following = net.reach(targets) | again
            if following not in states:
                if len(states) == MAX_STATES:
                    raise ConfigError(
                        where,
                        f"{len(sets)} sets",
                        f"expected patterns that {MAX_STATES} states suffice for",
                        "Simplify or drop some.",
                    )
                states[following] = len(order)
                order.append(following)
            steps.append(states[following])
    width = 4 * len(samples)
    marked = [
        number * width + FOUND * (matched in state) + FOUND_AT_END * (at_end in state)
        for number, state in enumerate(order)
    ]
    return BytePatterns(classes, np.array([*(marked[state] for state in steps), marked[0]], np.int32))
