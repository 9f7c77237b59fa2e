"""All right answers of the puzzles of mixers.verifiable_tasks, read from the question's text, every candidate tried; imports nothing of ours."""

from __future__ import annotations

import itertools
import re


def ordering(question):
    names = re.findall(r"[A-Z][a-z]+", question.split(" stand in a line")[0])
    clues = question.split("one behind the other. ")[1].split(" In which order")[0]
    found = []
    for order in itertools.permutations(names):
        if all(_clue_holds(clue, order) for clue in re.split(r"(?<=\.) ", clues)):
            found.append(", ".join(order))
    return found


def _clue_holds(clue, order):
    if match := re.fullmatch(r"(\w+) stands somewhere in front of (\w+)\.", clue):
        return order.index(match[1]) < order.index(match[2])
    if match := re.fullmatch(r"(\w+) stands directly in front of (\w+)\.", clue):
        return (match[1], match[2]) in set(itertools.pairwise(order))
    if match := re.fullmatch(r"(\w+) and (\w+) do not stand next to each other\.", clue):
        return not {(match[1], match[2]), (match[2], match[1])} & set(itertools.pairwise(order))
    if match := re.fullmatch(r"Exactly (\w+) (?:person stands|people stand) between (\w+) and (\w+)\.", clue):
        number = 1 if match[1] == "one" else int(match[1])
        begin, end = sorted([order.index(match[2]), order.index(match[3])])
        return len(order[begin + 1 : end]) == number
    match = re.fullmatch(r"(\w+) is not the (first|last) in the line\.", clue)
    return order[0 if match[2] == "first" else -1] != match[1]


def knights_and_knaves(question):
    spoken = re.findall(r'(\w+) says: "([^"]*)"', question)
    names = [name for name, _ in spoken]
    found = []
    for size in range(len(names) + 1):
        for knights in itertools.combinations(sorted(names), size):
            if all(_is_true(said, speaker, names, knights) == (speaker in knights) for speaker, said in spoken):
                found.append(", ".join(knights) or "none")
    return found


def _is_true(said, speaker, names, knights):
    knaves = [name for name in names if name not in knights]
    if match := re.fullmatch(r"(\w+) is a knight\.", said):
        return match[1] in knights
    if match := re.fullmatch(r"(\w+) is a knave\.", said):
        return match[1] in knaves
    if match := re.fullmatch(r"(\w+) and I are of the same kind\.", said):
        return {match[1], speaker} <= set(knights) or {match[1], speaker} <= set(knaves)
    if match := re.fullmatch(r"Exactly (\w+) of us (?:is a knight|are knights)\.", said):
        return len(knights) == (1 if match[1] == "one" else int(match[1]))
    if match := re.fullmatch(r"At least (\w+) of us (?:is a knave|are knaves)\.", said):
        return len(knaves) >= (1 if match[1] == "one" else int(match[1]))
    if match := re.fullmatch(r"(\w+) or (\w+) is a knave, or both are\.", said):
        return match[1] in knaves or match[2] in knaves
    if match := re.fullmatch(r"(\w+) and (\w+) are both knights\.", said):
        return match[1] in knights and match[2] in knights
    match = re.fullmatch(r"If (\w+) is a knight, (\w+) is one too\.", said)
    return match[1] in knaves or match[2] in knights


def sudoku_4x4(question):
    """By filling the first hole with each digit that fits, again and again."""
    rows = [line.split() for line in question.split("\n\n")[1].split("\n")]
    grid = [0 if cell == "_" else int(cell) for row in rows for cell in row]
    found = []

    def fill():
        if 0 not in grid:
            found.append(" ".join("".join(map(str, grid[row : row + 4])) for row in range(0, 16, 4)))
            return
        hole = grid.index(0)
        for digit in (1, 2, 3, 4):
            clashes = [
                cell
                for cell in range(16)
                if grid[cell] == digit
                and (
                    cell // 4 == hole // 4
                    or cell % 4 == hole % 4
                    or (cell // 8, cell % 4 // 2) == (hole // 8, hole % 4 // 2)
                )
            ]
            if not clashes:
                grid[hole] = digit
                fill()
                grid[hole] = 0

    fill()
    return found


def shortest_path(question):
    """Every way that visits no town twice is measured."""
    length = {}
    for one, two, kilometres in re.findall(r"([A-Z])-([A-Z]) (\d+) km", question):
        length[one, two] = length[two, one] = int(kilometres)
    start, end = re.search(r"shortest way from ([A-Z]) to ([A-Z])\?", question).groups()
    ways = []

    def walk(way, far):
        if way[-1] == end:
            ways.append((far, "-".join(way)))
            return
        for (one, two), more in length.items():
            if one == way[-1] and two not in way:
                walk([*way, two], far + more)

    walk([start], 0)
    least = min(far for far, _ in ways)
    return [way for far, way in ways if far == least]
