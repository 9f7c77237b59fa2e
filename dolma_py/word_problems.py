"""Grade-school word problems with worked solutions, made from templates of our own: evaluation items that nobody has to download.

The quickstart plants some of them in its input so that decontamination can be seen to find them, and evaluates on them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import orjson

from dolma_py.errors import ConfigError
from dolma_py.storage import write_bytes

NAMES = (
    "Ada", "Bruno", "Carla", "Dmitri", "Elena", "Farid", "Grete", "Hassan", "Ines", "Jonas", "Kofi", "Lucia", "Mei", "Nadia",
    "Oscar", "Priya", "Quentin", "Rosa", "Samir", "Tomas", "Ursula", "Viktor", "Wanda", "Xenia", "Yusuf", "Zofia", "Abel",
    "Bianca", "Cedric", "Dalia",
)  # fmt: skip
OBJECTS = (
    "apples", "pencils", "marbles", "stickers", "postcards", "buttons", "walnuts", "seashells", "notebooks", "candles", "tulips",
    "badges", "crayons", "ribbons", "puzzles", "bookmarks", "pears", "magnets",
)  # fmt: skip
PLACES = ("market", "school fair", "library", "harbour", "village shop", "museum", "garden centre", "railway station")
MAX_TRIES_PER_ITEM = 50


class Problem(NamedTuple):
    """One filled template."""

    question: str
    solution: str  # the steps in words
    answer: int


class Draw:
    """Numbers and words for one problem, out of one random stream."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.name, self.friend, self.third = rng.sample(NAMES, 3)
        self.thing, self.other = rng.sample(OBJECTS, 2)
        self.place = rng.choice(PLACES)

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return self.rng.randint(low, high)


def _give_away(draw: Draw) -> Problem:
    boxes, each, given = draw.number(3, 12), draw.number(6, 24), draw.number(5, 17)
    total = boxes * each
    return Problem(
        f"{draw.name} has {boxes} boxes with {each} {draw.thing} in each box. {draw.name} gives {given} {draw.thing} to "
        f"{draw.friend}. How many {draw.thing} does {draw.name} have left?",
        f"There are {boxes} x {each} = {total} {draw.thing} in the boxes. After giving away {given}, {total} - {given} = "
        f"{total - given} are left.",
        total - given,
    )


def _shopping(draw: Draw) -> Problem:
    price, count, other_price, note = draw.number(2, 9), draw.number(3, 9), draw.number(4, 15), draw.number(10, 20) * 10
    cost = price * count + other_price
    return Problem(
        f"At the {draw.place} {draw.name} buys {count} {draw.thing} for {price} coins each and a bag for {other_price} coins. "
        f"{draw.name} pays with {note} coins. How many coins come back?",
        f"The {draw.thing} cost {count} x {price} = {count * price} coins. With the bag that makes {count * price} + "
        f"{other_price} = {cost} coins. {note} - {cost} = {note - cost} coins come back.",
        note - cost,
    )


def _walking(draw: Draw) -> Problem:
    speed, hours, extra = draw.number(3, 7), draw.number(2, 6), draw.number(2, 9)
    one_way = speed * hours + extra
    return Problem(
        f"{draw.name} walks {speed} kilometres an hour for {hours} hours and then rides a bus for {extra} kilometres to the "
        f"{draw.place}. In the evening {draw.name} goes back the same way. How many kilometres is the whole trip?",
        f"On foot it is {speed} x {hours} = {speed * hours} kilometres, with the bus {speed * hours} + {extra} = {one_way}. "
        f"There and back it is 2 x {one_way} = {2 * one_way} kilometres.",
        2 * one_way,
    )


def _sharing(draw: Draw) -> Problem:
    people, each = draw.number(3, 9), draw.number(4, 16)
    gathered = people * each
    own = draw.number(3, gathered // 2)
    return Problem(
        f"{draw.name} found {gathered - own} {draw.thing} in the morning and {own} in the afternoon. They are shared equally among "
        f"{people} children, and {draw.friend} is one of them. How many {draw.thing} does {draw.friend} get?",
        f"Together there are {gathered - own} + {own} = {gathered} {draw.thing}. Shared among {people} children, each gets "
        f"{gathered} / {people} = {each}.",
        each,
    )


def _saving(draw: Draw) -> Problem:
    start, weekly, weeks, spent = draw.number(10, 60), draw.number(4, 15), draw.number(3, 12), draw.number(5, 20)
    saved = start + weekly * weeks
    return Problem(
        f"{draw.name} has {start} coins and saves {weekly} coins every week for {weeks} weeks. Then {draw.name} spends {spent} coins "
        f"on {draw.thing} for {draw.friend}. How many coins are left?",
        f"In {weeks} weeks {weekly} x {weeks} = {weekly * weeks} coins are saved. {start} + {weekly * weeks} = {saved}, and "
        f"{saved} - {spent} = {saved - spent} coins are left.",
        saved - spent,
    )


def _ages(draw: Draw) -> Problem:
    age, times, later = draw.number(4, 14), draw.number(2, 5), draw.number(2, 15)
    older = age * times
    return Problem(
        f"{draw.name} is {age} years old. {draw.friend} is {times} times as old as {draw.name}. How old will the two be together "
        f"in {later} years?",
        f"{draw.friend} is {times} x {age} = {older}. Today they are {age} + {older} = {age + older} together. In {later} years "
        f"each is {later} older: {age + older} + 2 x {later} = {age + older + 2 * later}.",
        age + older + 2 * later,
    )


def _rows(draw: Draw) -> Problem:
    rows, seats, empty, late = draw.number(5, 15), draw.number(6, 18), draw.number(4, 20), draw.number(2, 9)
    late = min(late, empty)
    seated = rows * seats - empty
    return Problem(
        f"A hall at the {draw.place} has {rows} rows of {seats} seats. When {draw.name} comes in, {empty} seats are empty. Then "
        f"{late} more guests sit down. How many guests are seated now?",
        f"The hall has {rows} x {seats} = {rows * seats} seats. {rows * seats} - {empty} = {seated} are taken. With {late} more "
        f"guests, {seated} + {late} = {seated + late}.",
        seated + late,
    )


def _recipe(draw: Draw) -> Problem:
    eggs, cakes, carton = draw.number(2, 6), draw.number(3, 12), draw.number(6, 12)
    needed = eggs * cakes
    cartons = -(-needed // carton)
    return Problem(
        f"One cake needs {eggs} eggs. {draw.name} and {draw.friend} bake {cakes} cakes for the {draw.place}. Eggs are sold in cartons "
        f"of {carton}. How many eggs are left over when they buy just enough cartons?",
        f"They need {eggs} x {cakes} = {needed} eggs, so they buy {cartons} cartons, which hold {cartons} x {carton} = "
        f"{cartons * carton} eggs. {cartons * carton} - {needed} = {cartons * carton - needed} are left over.",
        cartons * carton - needed,
    )


def _collections(draw: Draw) -> Problem:
    first, more, fewer = draw.number(20, 80), draw.number(3, 30), draw.number(2, 19)
    second, third = first + more, first + more - fewer
    return Problem(
        f"{draw.name} has {first} {draw.thing}. {draw.friend} has {more} more than {draw.name}. {draw.third} has {fewer} fewer than "
        f"{draw.friend}. How many {draw.thing} do the three have together?",
        f"{draw.friend} has {first} + {more} = {second}. {draw.third} has {second} - {fewer} = {third}. Together they have "
        f"{first} + {second} + {third} = {first + second + third}.",
        first + second + third,
    )


def _half(draw: Draw) -> Problem:
    half, bought, packs = draw.number(6, 40), draw.number(2, 7), draw.number(3, 9)
    return Problem(
        f"{draw.name} had {2 * half} {draw.thing} and swapped half of them for {draw.other} with {draw.friend}. Later {draw.name} "
        f"bought {packs} packs of {bought} {draw.thing}. How many {draw.thing} does {draw.name} have now?",
        f"Half of {2 * half} is {half}. The packs hold {packs} x {bought} = {packs * bought}. Now there are {half} + "
        f"{packs * bought} = {half + packs * bought}.",
        half + packs * bought,
    )


TEMPLATES: tuple[Callable[[Draw], Problem], ...] = (
    _give_away, _shopping, _walking, _sharing, _saving, _ages, _rows, _recipe, _collections, _half,
)  # fmt: skip


def make_word_problems(num_items: int, seed: int) -> list[dict[str, object]]:
    """`num_items` distinct items with the keys id, question, answer (digits), passage (None) and solution, templates in turn.

    The same seed gives the same items, and a larger number only adds items at the end.

    Raises ConfigError when num_items is negative, or larger than the templates can fill without repeating a question.
    """
    if num_items < 0:
        raise ConfigError("num_items", num_items, "expected 0 or more")
    rng = random.Random(f"word problems {seed}")
    items: list[dict[str, object]] = []
    seen: set[str] = set()
    for number in range(num_items):
        template = TEMPLATES[number % len(TEMPLATES)]
        for _ in range(MAX_TRIES_PER_ITEM):
            problem = template(Draw(rng))
            if problem.question not in seen:
                break
        else:
            raise ConfigError("num_items", num_items, f"expected at most {number} items for seed {seed}")
        seen.add(problem.question)
        items.append(
            {
                "id": f"word-problem-{seed}-{number:05d}",
                "question": problem.question,
                "answer": str(problem.answer),
                "passage": None,
                "solution": problem.solution,
            }
        )
    return items


def write_items(path: str, items: list[dict[str, object]]) -> None:
    """Write items as JSON lines, one an item, in the given order."""
    write_bytes(path, b"".join(orjson.dumps(item) + b"\n" for item in items))


def describe_item(item: dict[str, object]) -> str:
    """Question and answer in prose, the way a page would leak them: passage, question, solution, answer."""
    parts = [item.get("passage"), item["question"], item.get("solution"), f"The answer is {item['answer']}."]
    return " ".join(str(part) for part in parts if part)
