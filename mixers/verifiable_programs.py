"""Problems of following rules to the letter: changes of a string, short Python programs over a list, sets, shortest paths."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from mixers.verifiable_problem import Family, Problem, join_words, make_problem, ordinal

VOWELS = "aeiou"
NUM_CHANGES = (2, 3, 4, 5, 7)
NUM_STATEMENTS = (2, 3, 5, 7, 9)
NUM_SET_OPERATIONS = (1, 2, 3, 4, 5)
NUM_NODES = (4, 5, 6, 8, 10)


class Change(NamedTuple):
    """One rule, and what it makes of a string."""

    said: str
    apply: Callable[[str], str]


def _draw_change(rng: random.Random, text: str) -> Change:
    number = rng.randint(2, 4)
    kind = rng.choice(
        ["reverse", "front", "back", "vowels", "shift", "remove", "swap", "double", "capital", "sort", "delete"]
    )
    if kind == "reverse":
        return Change("Reverse the string.", lambda s: s[::-1])
    if kind == "front":
        return Change(f"Move the first {number} letters to the end, in their order.", lambda s: s[number:] + s[:number])
    if kind == "back":
        return Change(
            f"Move the last {number} letters to the front, in their order.", lambda s: s[-number:] + s[:-number]
        )
    if kind == "vowels":
        table = str.maketrans(VOWELS + VOWELS.upper(), "eioua" + "EIOUA")
        return Change(
            "Replace each vowel by the next one in the circle a, e, i, o, u, a; capitals stay capitals.",
            lambda s: s.translate(table),
        )
    if kind == "shift":
        said = f"Replace each letter by the one {number} places later in the alphabet, with a after z; capitals stay capitals."
        return Change(said, lambda s: "".join(_shift(letter, number) for letter in s))
    if kind == "remove":
        letter = rng.choice(text).lower()
        return Change(
            f"Remove every {letter}, small or capital.", lambda s: s.replace(letter, "").replace(letter.upper(), "")
        )
    if kind == "swap":
        return Change("Swap the first letter and the last one.", lambda s: s[-1] + s[1:-1] + s[0])
    if kind == "double":
        place = rng.randint(1, 4)
        said = f"Write the {ordinal(place)} letter twice."
        return Change(said, lambda s: s[:place] + s[place - 1] + s[place:])
    if kind == "capital":
        said = f"Make every {ordinal(number)} letter a capital."
        return Change(said, lambda s: "".join(c.upper() if (i + 1) % number == 0 else c for i, c in enumerate(s)))
    if kind == "sort":
        said = "Sort the letters by the alphabet, all capitals before all small letters."
        return Change(said, lambda s: "".join(sorted(s)))
    place = rng.randint(2, 5)
    return Change(f"Delete the {ordinal(place)} letter.", lambda s: s[: place - 1] + s[place:])


def _shift(letter: str, number: int) -> str:
    first = ord("a") if letter.islower() else ord("A")
    return chr(first + (ord(letter) - first + number) % 26)


def draw_string(rng: random.Random, level: int) -> Problem:
    """A string of small letters and rules that are applied one after the other, each of which changes it."""
    size = NUM_CHANGES[level - 1]
    while True:
        start = "".join(rng.choice("abcdefghiklmnoprstuvwxyz") for _ in range(rng.randint(7, 9)))
        text, rules, steps = start, list[str](), list[str]()
        for _ in range(20 * size):
            change = _draw_change(rng, text)
            after = change.apply(text)
            if after == text or len(after) < 6 or change.said in rules:
                continue
            rules.append(change.said)
            steps.append(f"{len(rules)}. {change.said} {text} becomes {after}.")
            text = after
            if len(rules) == size:
                break
        if len(rules) == size and text not in (start, start[::-1]):
            break
    listed = "\n".join(f"{number}. {rule}" for number, rule in enumerate(rules, 1))
    question = (
        f"Begin with the string {start} and apply these rules one after the other:\n\n{listed}\n\nWhich string results?"
    )
    return make_problem(question, steps, text, "text", start=start)


class Statement(NamedTuple):
    """Lines of a program over the list `a`, and what they make of it."""

    code: str
    apply: Callable[[list[int]], list[int]]


def _insert(a: list[int], place: int, value: int) -> list[int]:
    return [*a[:place], value, *a[place:]]


def _swap(a: list[int], one: int, two: int) -> list[int]:
    moved = {one: a[two], two: a[one]}
    return [moved.get(place, value) for place, value in enumerate(a)]


def _replace(a: list[int], place: int, value: int) -> list[int]:
    return [*a[:place], value, *a[place + 1 :]]


def _running_sums(a: list[int]) -> list[int]:
    return [sum(a[: place + 1]) for place in range(len(a))]


def _draw_statement(rng: random.Random, size: int) -> Statement:
    """A statement that does not fail on a list of `size` items, four or more."""
    n, m = rng.randint(2, 9), rng.randint(2, 4)
    one, two = rng.sample(range(size), 2)
    cut = rng.randint(1, size - 1)
    return rng.choice([
        Statement(f"a.append({n})", lambda a: [*a, n]),
        Statement(f"a.insert({one}, {n})", lambda a: _insert(a, one, n)),
        Statement(f"a.pop({one})", lambda a: a[:one] + a[one + 1 :]),
        Statement("a.reverse()", lambda a: a[::-1]),
        Statement("a.sort()", sorted),
        Statement("a.sort(reverse=True)", lambda a: sorted(a, reverse=True)),
        Statement(f"a[{one}], a[{two}] = a[{two}], a[{one}]", lambda a: _swap(a, one, two)),
        Statement(f"a = a[{cut}:] + a[:{cut}]", lambda a: a[cut:] + a[:cut]),
        Statement(f"a[{one}] = a[{two}] - {n}", lambda a: _replace(a, one, a[two] - n)),
        Statement(f"a = [x + {n} for x in a]", lambda a: [x + n for x in a]),
        Statement(f"a = [x * {m} if x % 2 == 0 else x for x in a]", lambda a: [x * m if x % 2 == 0 else x for x in a]),
        Statement(f"a = [x for x in a if x % {m} != 0]", lambda a: [x for x in a if x % m != 0]),
        Statement(f"for i in range(0, len(a), {m}):\n    a[i] += {n}", lambda a: [x + n * (i % m == 0) for i, x in enumerate(a)]),
        Statement("for i in range(1, len(a)):\n    a[i] += a[i - 1]", _running_sums),
        Statement(f"if a[{one}] > a[{two}]:\n    a[{one}] -= a[{two}]\nelse:\n    a.append(len(a))",
                  lambda a: _replace(a, one, a[one] - a[two]) if a[one] > a[two] else [*a, len(a)]),
    ])  # fmt: skip


def draw_program(rng: random.Random, level: int) -> Problem:
    """A program that changes a list; each statement changes it, and no number grows beyond 9,999."""
    size = NUM_STATEMENTS[level - 1]
    while True:
        start = [rng.randint(1, 20) for _ in range(rng.randint(5, 7))]
        values, lines, steps = start, [f"a = {start}"], [f"At first a is {start}."]
        for _ in range(20 * size):
            statement = _draw_statement(rng, len(values))
            after = statement.apply(values)
            if after == values or not 4 <= len(after) <= 9 or max(map(abs, after)) > 9_999:
                continue
            lines.append(statement.code)
            first, *rest = statement.code.split("\n")
            steps.append(f"After {'the lines from ' if rest else ''}`{first}` {'on ' if rest else ''}a is {after}.")
            values = after
            if len(lines) == size + 1:
                break
        if len(lines) == size + 1 and values != start:
            break
    program = "\n".join([*lines, "print(a)"])
    question = f"What does this Python program print?\n\n{program}\n\nGive the list as Python prints it."
    return make_problem(question, steps, str(values), "integers", program=program)


SET_OPERATIONS: dict[str, Callable[[frozenset[int], frozenset[int]], frozenset[int]]] = {
    "union": frozenset.union,
    "intersection": frozenset.intersection,
    "difference": frozenset.difference,
    "symmetric difference": frozenset.symmetric_difference,
}
SET_SAYINGS = {
    "union": "The union of X and Y has what is in X, in Y or in both",
    "intersection": "their intersection what is in both",
    "difference": "the difference of X and Y what is in X and not in Y",
    "symmetric difference": "their symmetric difference what is in exactly one of them",
}


def _write_set(values: frozenset[int]) -> str:
    return "{" + ", ".join(map(str, sorted(values))) + "}"


def draw_sets(rng: random.Random, level: int) -> Problem:
    """Operations one after the other on three or more sets, the result of each named by the next letter."""
    size = NUM_SET_OPERATIONS[level - 1]
    while True:
        named = {
            letter: frozenset(rng.sample(range(1, 31), rng.randint(5, 8))) for letter in "ABCD"[: 2 + (size + 1) // 2]
        }
        given, made, steps = dict(named), list[str](), list[str]()
        for number in range(size):
            letter = "PQRST"[number]
            operation = rng.choice(list(SET_OPERATIONS))
            one, two = rng.sample(sorted(named), 2)
            if number and "PQRST"[number - 1] not in (one, two):  # what was made last is used next
                one = "PQRST"[number - 1]
            named[letter] = SET_OPERATIONS[operation](named[one], named[two])
            made.append(f"{letter} is the {operation} of {one} and {two}.")
            steps.append(f"{made[-1]} {letter} = {_write_set(named[letter])}.")
        result = named[letter]
        if 2 <= len(result) <= 12 and all(result != value for name, value in named.items() if name != letter):
            break
    sets = join_words([f"{name} = {_write_set(value)}" for name, value in given.items()])
    question = f"{'; '.join(SET_SAYINGS.values())}.\n\nLet {sets}. {' '.join(made)}\n\nWhich numbers are in {letter}?"
    return make_problem(question, steps, _write_set(result), "number_set")


Edge = tuple[str, str, int]


def draw_path(rng: random.Random, level: int) -> Problem:
    """A map of roads, on which one way is shorter than all others; it has at least two roads."""
    size = NUM_NODES[level - 1]
    while True:
        nodes = rng.sample("ABCDEFGHJKLMNPRSTUVWXYZ", size)
        order = rng.sample(nodes, size)
        pairs = {
            _pair(order[place], rng.choice(order[:place])) for place in range(1, size)
        }  # a tree: every town can be reached
        while len(pairs) < size + size // 2:
            pairs.add(_pair(*rng.sample(nodes, 2)))
        edges: list[Edge] = [(one, two, rng.randint(2, 30)) for one, two in sorted(pairs)]
        rng.shuffle(edges)
        start, end = rng.sample(nodes, 2)
        paths, steps = find_shortest(edges, start, end)
        if len(paths) == 1 and len(paths[0]) >= 3:
            break
    path = paths[0]
    roads = ", ".join(f"{one}-{two} {length} km" for one, two, length in edges)
    question = (
        f"Roads join these towns, and each can be used both ways: {roads}. Which is the shortest way from {start} to {end}? Name all its towns "
        "in order, with hyphens between."
    )
    return make_problem(
        question, steps, "-".join(path), "order", names=sorted(nodes), edges=[list(edge) for edge in edges]
    )


def _pair(one: str, two: str) -> tuple[str, str]:
    return (one, two) if one < two else (two, one)


def find_shortest(edges: list[Edge], start: str, end: str) -> tuple[list[list[str]], list[str]]:
    """(all shortest paths, how they are found): the nearest town that is not settled is settled, until the end is."""
    distance, before, settled, steps = {start: 0}, {start: list[str]()}, list[str](), list[str]()
    while end not in settled and len(settled) < len(distance):
        town = min((name for name in distance if name not in settled), key=lambda name: (distance[name], name))
        settled.append(town)
        via = f" by {join_words(before[town])}" if before[town] else ""
        steps.append(f"{town} is {distance[town]} km away{via}.")
        for one, two, length in edges:
            if town not in (one, two):
                continue
            other, far = (two if town == one else one), distance[town] + length
            if far < distance.get(other, far + 1):
                distance[other], before[other] = far, [town]
            elif far == distance[other] and other not in settled:
                before[other].append(town)
    if end not in settled:
        return [], steps
    return _walk_back(before, end), steps


def _walk_back(before: dict[str, list[str]], end: str) -> list[list[str]]:
    if not before[end]:
        return [[end]]
    return [[*path, end] for town in before[end] for path in _walk_back(before, town)]


FAMILIES = (
    Family("string-rules", 1, draw_string),
    Family("list-programs", 1, draw_program),
    Family("sets", 1, draw_sets),
    Family("shortest-path", 1, draw_path),
)
