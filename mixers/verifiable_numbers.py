"""Problems about numbers: arithmetic with a stated order of operations, number bases, conversion of units. All answers are exact."""

from __future__ import annotations

import operator
import random
from fractions import Fraction

from mixers.verifiable_problem import PEOPLE, Family, Problem, join_words, make_problem

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
RULES = {
    "products": "Multiplication comes before addition and subtraction, which are done from left to right.",
    "left": "In this notation no operation comes before another: everything is done strictly from left to right.",
    "right": "In this notation no operation comes before another: everything is done strictly from right to left.",
    "sums": "In this notation addition and subtraction come before multiplication; among themselves they are done from left to right.",
}
NUM_OPERATIONS = (2, 3, 4, 6, 8)


def find_next(signs: list[str], rule: str) -> int:
    """Which of the operations is done first: its place among `signs`.

    >>> find_next(["+", "*", "-"], "products"), find_next(["+", "*", "-"], "right"), find_next(["*", "-"], "sums")
    (1, 2, 1)
    """
    if rule == "right":
        return len(signs) - 1
    first = {"products": "*", "sums": "+-", "left": "+-*"}[rule]
    return next((place for place, sign in enumerate(signs) if sign in first), 0)


def write_expression(numbers: list[int], signs: list[str]) -> str:
    """7 + 3 * (-2): negative numbers stand in brackets behind the first place."""
    shown = [str(number) if number >= 0 or place == 0 else f"({number})" for place, number in enumerate(numbers)]
    return shown[0] + "".join(f" {sign} {number}" for sign, number in zip(signs, shown[1:], strict=True))


def reduce_expression(numbers: list[int], signs: list[str], rule: str) -> tuple[int, list[str]]:
    """(value, one line for each operation) of an expression under one of RULES."""
    numbers, signs = list(numbers), list(signs)
    steps = []
    while signs:
        place = find_next(signs, rule)
        left, right, sign = numbers[place], numbers[place + 1], signs[place]
        value = OPERATIONS[sign](left, right)
        numbers[place : place + 2] = [value]
        del signs[place]
        said = f"{write_expression([left, right], [sign])} = {value}"
        steps.append(f"{said}, which leaves {write_expression(numbers, signs)}." if signs else f"{said}.")
    return numbers[0], steps


def draw_arithmetic(rng: random.Random, level: int) -> Problem:
    """An expression whose value depends on its rule."""
    rule = "products" if level <= 2 else rng.choice(["products", "left", "right", "sums"])
    while True:
        signs = [rng.choice("+-*") for _ in range(NUM_OPERATIONS[level - 1])]
        numbers = [rng.randint(2, 99)] + [rng.randint(2, 9 if sign == "*" else 99) for sign in signs]
        values = {name: reduce_expression(numbers, signs, name)[0] for name in RULES}
        if values[rule] != values["left" if rule == "products" else "products"]:
            break
    answer, steps = reduce_expression(numbers, signs, rule)
    expression = write_expression(numbers, signs)
    question = f"{RULES[rule]} Work out\n\n{expression}\n\nGive the answer as a whole number."
    return make_problem(question, steps, str(answer), "number", expression=expression, rule=rule)


DIGITS = "0123456789abcdef"


def write_numeral(value: int, base: int) -> str:
    """The digits of a number in a base.

    >>> write_numeral(255, 16), write_numeral(0, 2)
    ('ff', '0')
    """
    digits = ""
    while value or not digits:
        value, digit = divmod(value, base)
        digits = DIGITS[digit] + digits
    return digits


def explain_reading(digits: str, base: int) -> str:
    """What a numeral is worth, as a sum of its digits' shares."""
    shares = [(DIGITS.index(digit), base ** (len(digits) - 1 - place)) for place, digit in enumerate(digits)]
    total = sum(digit * weight for digit, weight in shares)
    said = " + ".join(f"{digit} * {weight}" for digit, weight in shares)
    return f"{digits} in base {base} is {said} = {total}."


def explain_writing(value: int, base: int) -> list[str]:
    """The divisions that give a number's digits in a base."""
    steps, rest = [], value
    while rest:
        steps.append(f"{rest} = {base} * {rest // base} + {rest % base}, digit {DIGITS[rest % base]}.")
        rest //= base
    return [*steps, f"From the last digit to the first, {value} in base {base} is {write_numeral(value, base)}."]


def draw_bases(rng: random.Random, level: int) -> Problem:
    """Reading, writing, both, a sum in one base, and a calculation over three bases."""
    spell = " Write letters for digits above 9." if level >= 4 else ""
    if level == 1:
        base, target, value = rng.choice([2, 3, 4, 5, 6, 7, 8, 9]), 10, rng.randint(100, 4_000)
        digits = write_numeral(value, base)
        question = f"What is {digits}, a number in base {base}, in base 10?"
        return _finish_bases(question, [explain_reading(digits, base)], value, target)
    if level == 2:
        base, value = rng.choice([3, 4, 5, 6, 7, 8, 9]), rng.randint(1_000, 19_999)
        return _finish_bases(f"Write {value} in base {base}.", explain_writing(value, base), value, base)
    if level == 3:
        base, target = rng.choice([5, 6, 7, 8, 9]), rng.choice([2, 3, 4])
        value = rng.randint(base**3, base**4 - 1)
        digits = write_numeral(value, base)
        steps = [explain_reading(digits, base), *explain_writing(value, target)]
        return _finish_bases(f"Write {digits}, a number in base {base}, in base {target}.", steps, value, target)
    if level == 4:
        base = rng.choice([7, 11, 12, 13, 16])
        one, two = rng.randint(base**3, base**4 - 1), rng.randint(base**3, base**4 - 1)
        shown = [write_numeral(value, base) for value in (one, two)]
        steps = [*(explain_reading(digits, base) for digits in shown), f"{one} + {two} = {one + two}."]
        question = f"Add {shown[0]} and {shown[1]}. Both are numbers in base {base}, and so must the sum be.{spell}"
        return _finish_bases(question, [*steps, *explain_writing(one + two, base)], one + two, base)
    first, second, target = rng.sample([5, 6, 7, 8, 9, 11, 12, 13, 16], 3)
    one, two, less = rng.randint(200, 999), rng.randint(20, 99), rng.randint(100, 999)
    shown = [write_numeral(one, first), write_numeral(two, second)]
    value = one * two - less
    steps = [explain_reading(shown[0], first), explain_reading(shown[1], second), f"{one} * {two} = {one * two}.",
             f"{one * two} - {less} = {value}.", *explain_writing(value, target)]  # fmt: skip
    question = (
        f"Multiply {shown[0]}, a number in base {first}, by {shown[1]}, a number in base {second}, and take away {less}, a number in "
        f"base 10. What is that in base {target}?{spell}"
    )
    return _finish_bases(question, steps, value, target)


def _finish_bases(question: str, steps: list[str], value: int, base: int) -> Problem:
    return make_problem(question, steps, write_numeral(value, base), "numeral", base=base, value=value)


# two units and how many of the second are one of the first
UNITS = (
    ("kilometre", "metre", 1000), ("metre", "centimetre", 100), ("centimetre", "millimetre", 10), ("tonne", "kilogram", 1000),
    ("kilogram", "gram", 1000), ("gram", "milligram", 1000), ("week", "day", 7), ("day", "hour", 24), ("hour", "minute", 60),
    ("minute", "second", 60), ("litre", "millilitre", 1000), ("yard", "foot", 3), ("foot", "inch", 12), ("pound", "ounce", 16),
    ("gallon", "pint", 8), ("mile", "yard", 1760),
)  # fmt: skip
MIXED = (
    (("hour", 3600), ("minute", 60), ("second", 1)),
    (("week", 168), ("day", 24), ("hour", 1)),
    (("yard", 36), ("foot", 12), ("inch", 1)),
    (("kilometre", 1000), ("metre", 1)),
    (("pound", 16), ("ounce", 1)),
)
INVENTED = (
    "blick", "dorp", "fennel-weight", "grell", "harn", "jot", "kelp-measure", "lome", "murt", "nib", "osk", "pell", "quarn", "rudge",
    "sprat-load", "tarn",
)  # fmt: skip
NUM_RATES = {4: 3, 5: 5}


def plural(unit: str, number: object = 2) -> str:
    """foot, feet; 1 metre, 2 metres."""
    if number == 1:
        return unit
    return {"foot": "feet", "inch": "inches"}.get(unit, f"{unit}s")


def draw_units(rng: random.Random, level: int) -> Problem:
    """One conversion, several units in one, a speed, and chains of invented measures."""
    if level == 1:
        large, small, factor = rng.choice(UNITS)
        number = rng.randint(2, 2_000)
        question = f"How many {plural(small)} are {number} {plural(large)}? Give the answer as a whole number."
        steps = [f"1 {large} is {factor} {plural(small)}.", f"{number} * {factor} = {number * factor}."]
        return _finish_units(question, steps, Fraction(number * factor), small)
    if level == 2:
        units = rng.choice(MIXED)
        counts = [rng.randint(2, 20)] + [rng.randint(2, 30) for _ in units[1:]]
        parts = [f"{count} {plural(unit, count)}" for count, (unit, _) in zip(counts, units, strict=True)]
        small = units[-1][0]
        shares = [count * factor for count, (_, factor) in zip(counts, units, strict=True)]
        steps = [
            f"{part}: {count} * {factor} = {count * factor}."
            for part, count, (_, factor) in zip(parts, counts, units, strict=True)
        ]
        question = f"How many {plural(small)} are {join_words(parts)} together? Give the answer as a whole number."
        return _finish_units(
            question, [*steps, f"{' + '.join(map(str, shares))} = {sum(shares)}."], Fraction(sum(shares)), small
        )
    if level == 3:
        return _draw_speed(rng)
    return _draw_chain(rng, NUM_RATES[level], whole=level == 4)


def _finish_units(question: str, steps: list[str], answer: Fraction, unit: str) -> Problem:
    return make_problem(question, steps, str(answer), "number", units=[unit, plural(unit)])


def _draw_speed(rng: random.Random) -> Problem:
    speed, seconds = rng.randint(7, 140), rng.randint(5, 90)
    thing = rng.choice(["train", "bus", "cyclist", "ferry", "horse", "tram"])
    metres = Fraction(speed * 1000 * seconds, 3600)
    question = (
        f"A {thing} moves at a steady {speed} kilometres an hour. How many metres does it cover in {seconds} seconds? Give a whole number or "
        "an exact fraction in lowest terms."
    )
    steps = [f"{speed} kilometres an hour are {speed} * 1000 = {speed * 1000} metres in 3600 seconds.",
             f"In {seconds} seconds it covers {speed * 1000} * {seconds} / 3600 metres.",
             f"{speed * 1000} * {seconds} = {speed * 1000 * seconds}.",
             f"{speed * 1000 * seconds}/3600 in lowest terms is {metres}."]  # fmt: skip
    return _finish_units(question, steps, metres, "metre")


def _draw_chain(rng: random.Random, num_rates: int, *, whole: bool) -> Problem:
    units = rng.sample(INVENTED, num_rates + 2)
    *units, idle = units
    rates = [(1 if whole else rng.randint(2, 9), rng.randint(2, 12)) for _ in range(num_rates)]
    said = [f"{one} {plural(units[place], one)} {'is' if one == 1 else 'are'} worth {two} {plural(units[place + 1])}."
            for place, (one, two) in enumerate(rates)]  # fmt: skip
    said.append(
        f"{rng.randint(2, 9)} {plural(idle)} are worth {rng.randint(2, 9)} {plural(units[rng.randrange(1, len(units))])}."
    )
    rng.shuffle(said)
    number = rng.randint(3, 60)
    value, steps = Fraction(number), []
    for place, (one, two) in enumerate(rates):
        after = value * two / one
        by = f"{value} * {two}" if one == 1 else f"{value} * {two} / {one}"
        steps.append(f"{value} {plural(units[place], value)} are {by} = {after} {plural(units[place + 1], after)}.")
        value = after
    trader = rng.choice(PEOPLE)
    question = (
        f"{trader} trades by old measures. {' '.join(said)} How many {plural(units[-1])} are {number} {plural(units[0])} worth? Give a whole "
        "number or an exact fraction in lowest terms."
    )
    return _finish_units(question, steps, value, units[-1])


FAMILIES = (
    Family("arithmetic", 1, draw_arithmetic),
    Family("number-bases", 1, draw_bases),
    Family("unit-conversion", 1, draw_units),
)
