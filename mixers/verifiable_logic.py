"""Puzzles with one solution, which is proved by looking at every candidate: orders of people, knights and knaves, 4x4 Sudoku."""

from __future__ import annotations

import functools
import itertools
import operator
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mixers.verifiable_problem import PEOPLE, Family, Problem, join_words, make_problem

NUM_IN_LINE = (3, 4, 5, 6, 7)
NUM_ISLANDERS = (3, 4, 5, 6, 7)  # of two, the one who speaks first would be the only knight in half of the problems
NUM_HOLES = (4, 6, 8, 10, 11)
MAX_CASES = 7  # wrong cases that a solution goes through one by one; of more it says how many break which statement


class Clue(NamedTuple):
    """A sentence about the places of people in a line, and whether places (by person, from 0) agree with it."""

    said: str
    values: list[Any]  # kind, and the people and numbers it is about, for the evidence
    holds: Callable[[Sequence[int]], bool]


def _draw_clue(rng: random.Random, names: Sequence[str], places: Sequence[int]) -> Clue:
    """A true clue about two people, or about one who is not at a place."""
    one, two = rng.sample(range(len(names)), 2)
    if places[one] > places[two]:
        one, two = two, one
    a, b = names[one], names[two]
    gap = places[two] - places[one]
    kind = rng.choice(["before", "before", "apart", "next", "not_at", "between"])
    if kind == "before":
        return Clue(f"{a} stands somewhere in front of {b}.", ["before", a, b], lambda p: p[one] < p[two])
    if kind == "next" and gap == 1:
        return Clue(f"{a} stands directly in front of {b}.", ["next", a, b], lambda p: p[one] + 1 == p[two])
    if kind == "apart" and gap > 1:
        said = f"{b} and {a} do not stand next to each other."
        return Clue(said, ["apart", a, b], lambda p: abs(p[one] - p[two]) > 1)
    if kind == "between" and gap > 1:
        people = "Exactly one person stands" if gap == 2 else f"Exactly {gap - 1} people stand"
        return Clue(f"{people} between {b} and {a}.", ["between", a, b, gap - 1], lambda p: abs(p[one] - p[two]) == gap)
    last = len(names) - 1
    place, said = rng.choice([(0, "first"), (last, "last")])
    if places[one] == place:
        one, a = two, b  # of two people at most one is there
    return Clue(f"{a} is not the {said} in the line.", ["not_at", a, place], lambda p: p[one] != place)


@functools.cache
def _list_orders(size: int) -> tuple[tuple[int, ...], ...]:
    return tuple(itertools.permutations(range(size)))


def _mark_orders(clue: Clue, orders: Sequence[Sequence[int]]) -> int:
    """A bit for each order, set where the clue holds."""
    return int("".join("1" if clue.holds(order) else "0" for order in orders), 2)


def draw_order(rng: random.Random, level: int) -> Problem:
    """People in a line; clues until one order is left, and none of them is superfluous."""
    names = sorted(rng.sample(PEOPLE, NUM_IN_LINE[level - 1]))
    size = len(names)
    orders = _list_orders(size)  # places by person
    places = rng.choice(orders)
    clues: list[tuple[Clue, int]] = []
    every = left = (1 << len(orders)) - 1
    while left.bit_count() > 1:
        clue = _draw_clue(rng, names, places)
        marks = _mark_orders(clue, orders)
        if left & marks != left:
            clues.append((clue, marks))
            left &= marks
    for item in list(clues):
        others = [other for other in clues if other is not item]
        if functools.reduce(operator.and_, [marks for _, marks in others], every).bit_count() == 1:
            clues = others
    rng.shuffle(clues)
    in_line = [names[places.index(place)] for place in range(size)]
    steps, left = [f"{size} people can stand in {len(orders)} orders."], every
    for clue, marks in clues:
        left &= marks
        steps.append(f"{clue.said} {left.bit_count()} {'order is' if left.bit_count() == 1 else 'orders are'} left.")
    steps.append(f"The one that is left, from the front: {', '.join(in_line)}.")
    question = (
        f"{join_words(names)} stand in a line, one behind the other. {' '.join(clue.said for clue, _ in clues)} In which order do they stand? "
        "Give all names from the front to the back, with commas between."
    )
    said = [clue.values for clue, _ in clues]
    return make_problem(question, steps, ", ".join(in_line), "order", names=names, clues=said)


class Statement(NamedTuple):
    """What an islander says, and whether it is true where `knights` (by person) are."""

    said: str
    values: list[Any]
    holds: Callable[[Sequence[bool]], bool]


def _draw_statement(rng: random.Random, names: Sequence[str], speaker: int) -> Statement:
    others = [person for person in range(len(names)) if person != speaker]
    one = rng.choice(others)
    a = names[one]
    kinds = ["is", "is_not", "same", "count", "least"] + (["either", "both", "if"] if len(others) > 1 else [])
    kind = rng.choice(kinds)
    if kind == "is":
        return Statement(f"{a} is a knight.", ["is", a], lambda k: k[one])
    if kind == "is_not":
        return Statement(f"{a} is a knave.", ["is_not", a], lambda k: not k[one])
    if kind == "same":
        return Statement(f"{a} and I are of the same kind.", ["same", a], lambda k: k[one] == k[speaker])
    if kind == "count":
        number = rng.randint(0, len(names))
        said = "Exactly one of us is a knight." if number == 1 else f"Exactly {number} of us are knights."
        return Statement(said, ["count", number], lambda k: sum(k) == number)
    if kind == "least":
        number = rng.randint(1, len(names))
        said = "At least one of us is a knave." if number == 1 else f"At least {number} of us are knaves."
        return Statement(said, ["least", number], lambda k: len(k) - sum(k) >= number)
    two = rng.choice([person for person in others if person != one])
    b = names[two]
    if kind == "either":
        return Statement(f"{a} or {b} is a knave, or both are.", ["either", a, b], lambda k: not (k[one] and k[two]))
    if kind == "both":
        return Statement(f"{a} and {b} are both knights.", ["both", a, b], lambda k: k[one] and k[two])
    return Statement(f"If {a} is a knight, {b} is one too.", ["if", a, b], lambda k: not k[one] or k[two])


def draw_knights(rng: random.Random, level: int) -> Problem:
    """An island of people who always or never tell the truth; one statement each, one assignment that agrees with all."""
    size = NUM_ISLANDERS[level - 1]
    cases = list(itertools.product((True, False), repeat=size))
    while True:
        names = rng.sample(PEOPLE, size)
        statements = [_draw_statement(rng, names, person) for person in range(size)]
        right = [case for case in cases if _find_break(case, statements) is None]
        if len(right) == 1 and len({statement.said for statement in statements}) == size:
            break
    knights = [name for name, is_knight in zip(names, right[0], strict=True) if is_knight]
    speech = " ".join(f'{name} says: "{statement.said}"' for name, statement in zip(names, statements, strict=True))
    question = (
        f"On an island everyone is either a knight, who only says what is true, or a knave, who only says what is false. {speech} Who are the "
        "knights? Give their names in any order with commas between, or none if there is none."
    )
    answer = ", ".join(sorted(knights)) or "none"
    said = [[name, *statement.values] for name, statement in zip(names, statements, strict=True)]
    return make_problem(
        question, _explain_knights(names, statements, cases, right[0]), answer, "names", names=names, statements=said
    )


def _find_break(case: Sequence[bool], statements: Sequence[Statement]) -> int | None:
    """The first islander whose statement does not agree with what the islander is."""
    return next((person for person, statement in enumerate(statements) if statement.holds(case) != case[person]), None)


def _explain_knights(
    names: Sequence[str], statements: Sequence[Statement], cases: Sequence[Sequence[bool]], right: Sequence[bool]
) -> list[str]:
    steps = []
    wrong = [(case, _find_break(case, statements)) for case in cases if case != right]
    for case, person in wrong[:MAX_CASES]:
        assert person is not None  # only one case breaks nothing
        kind = "knight" if case[person] else "knave"
        steps.append(
            f"{_say_case(names, case)}: then {names[person]}, a {kind}, would say what is {_say_truth(not case[person])}."
        )
    if len(wrong) > MAX_CASES:
        broken = [names[person] for _, person in wrong[MAX_CASES:] if person is not None]
        counted = [f"{name} in {broken.count(name)}" for name in names if name in broken]
        steps.append(
            f"Of the other {len(broken)} wrong cases the first whose words do not fit is {join_words(counted)}."
        )
    steps.append(f"{_say_case(names, right)}: this case fits.")
    for name, statement, is_knight in zip(names, statements, right, strict=True):
        steps.append(
            f'{name} is a {"knight" if is_knight else "knave"}, and "{statement.said}" is {_say_truth(is_knight)}.'
        )
    return steps


def _say_truth(value: bool) -> str:
    return "true" if value else "false"


def _say_case(names: Sequence[str], case: Sequence[bool]) -> str:
    knights = [name for name, is_knight in zip(names, case, strict=True) if is_knight]
    if not knights:
        return "Nobody is a knight"
    return f"Only {join_words(knights)} {'is a knight' if len(knights) == 1 else 'are knights'}"


Grid = tuple[int, ...]  # 16 digits, row by row; 0 for an empty cell


@functools.cache
def list_grids() -> tuple[Grid, ...]:
    """All 288 full grids: each of 1 to 4 once in every row, column and box of two by two."""
    grids: list[Grid] = [()]
    for _ in range(4):
        longer = [grid + row for grid in grids for row in itertools.permutations((1, 2, 3, 4))]
        grids = [grid for grid in longer if not any(_repeats(grid, unit) for unit in _units()[4:])]
    return tuple(grids)


def _repeats(grid: Grid, unit: Sequence[int]) -> bool:
    """Whether a digit stands twice in a unit of a grid whose last rows may be missing."""
    digits = [grid[cell] for cell in unit if cell < len(grid)]
    return len(set(digits)) < len(digits)


@functools.cache
def _units() -> tuple[tuple[int, ...], ...]:
    """Cells of the four rows, then of the columns, then of the boxes."""
    rows = [tuple(range(4 * row, 4 * row + 4)) for row in range(4)]
    columns = [tuple(range(column, 16, 4)) for column in range(4)]
    boxes = [(top, top + 1, top + 4, top + 5) for top in (0, 2, 8, 10)]
    return (*rows, *columns, *boxes)


def count_solutions(puzzle: Grid) -> int:
    """How many full grids agree with a puzzle."""
    given = [(cell, digit) for cell, digit in enumerate(puzzle) if digit]
    return sum(1 for grid in list_grids() if all(grid[cell] == digit for cell, digit in given))


def draw_sudoku(rng: random.Random, level: int) -> Problem:
    """A grid with holes that cells with one candidate, or digits with one place, fill one after the other."""
    while True:
        grid = rng.choice(list_grids())
        puzzle: Grid | None = None
        cells = list(range(16))
        rng.shuffle(cells)
        made = list(grid)
        for cell in cells:
            made[cell] = 0
            if count_solutions(tuple(made)) > 1:
                made[cell] = grid[cell]
            if made.count(0) == NUM_HOLES[level - 1]:
                puzzle = tuple(made)
                break
        steps = None if puzzle is None else _solve_by_singles(puzzle)
        if puzzle is not None and steps is not None:
            break
    shown = "\n".join(" ".join(str(digit or "_") for digit in puzzle[row : row + 4]) for row in range(0, 16, 4))
    question = (
        "Fill the empty cells (_) of this 4x4 Sudoku so that each row, each column and each of the four 2x2 boxes holds 1, 2, 3 and 4 once.\n\n"
        f"{shown}\n\nGive all sixteen digits as four groups of four, row by row, with a space between the groups."
    )
    answer = " ".join("".join(map(str, grid[row : row + 4])) for row in range(0, 16, 4))
    return make_problem(question, steps, answer, "grid", cells=16, puzzle="".join(map(str, puzzle)))


def _solve_by_singles(puzzle: Grid) -> list[str] | None:
    """One line for each hole; None where single candidates and single places do not suffice."""
    grid, steps = list(puzzle), []
    while 0 in grid:
        found = _find_single(grid)
        if found is None:
            return None
        cell, digit, why = found
        grid[cell] = digit
        steps.append(f"Row {cell // 4 + 1}, column {cell % 4 + 1}: {why.format(digit=digit)}")
    rows = [" ".join(map(str, grid[row : row + 4])) for row in range(0, 16, 4)]
    return [*steps, f"The full grid: {' / '.join(rows)}"]


def _find_single(grid: list[int]) -> tuple[int, int, str] | None:
    def candidates(cell: int) -> list[int]:
        seen = {grid[other] for unit in _units() if cell in unit for other in unit}
        return [digit for digit in (1, 2, 3, 4) if digit not in seen]

    holes = {cell: candidates(cell) for cell in range(16) if not grid[cell]}
    for cell, digits in holes.items():
        if len(digits) == 1:
            return cell, digits[0], "its row, column and box leave only {digit}."
    for number, unit in enumerate(_units()):
        name = ("row", "column", "box")[number // 4]
        for digit in (1, 2, 3, 4):
            places = [cell for cell in unit if digit in holes.get(cell, [])]
            if len(places) == 1:
                return places[0], digit, f"the only cell of its {name} that can hold {{digit}}."
    return None


FAMILIES = (
    Family("ordering", 1, draw_order),
    Family("knights-and-knaves", 1, draw_knights),
    Family("sudoku-4x4", 1, draw_sudoku),
)
