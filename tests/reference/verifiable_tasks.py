"""All right answers of a question of mixers.verifiable_tasks, read from its text and found in the most obvious way; imports nothing of ours.

Each function takes a question and gives the list of all answers that are right, in the form in which the problem states its own.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction


def arithmetic(question):
    expression = question.split("\n\n")[1]
    if question.startswith("Multiplication"):
        return [str(eval(expression, {}))]  # Python's own order
    parts = re.findall(r"\d+|[-+*]", expression)
    if "left to right" in question and "right to left" not in question and "before multiplication" not in question:
        text = parts[0]
        for sign, number in zip(parts[1::2], parts[2::2], strict=True):
            text = f"({text} {sign} {number})"
        return [str(eval(text, {}))]
    if "right to left" in question:
        text = parts[-1]
        for sign, number in zip(parts[-2::-2], parts[-3::-2], strict=True):
            text = f"({number} {sign} {text})"
        return [str(eval(text, {}))]
    product = 1
    for factor in expression.split("*"):
        product *= eval(factor, {})
    return [str(product)]


def number_bases(question):
    if match := re.match(r"What is (\w+), a number in base (\d+), in base 10", question):
        value, base = int(match[1], int(match[2])), 10
    elif match := re.match(r"Write (\w+) in base (\d+)\.", question):
        value, base = int(match[1]), int(match[2])
    elif match := re.match(r"Write (\w+), a number in base (\d+), in base (\d+)", question):
        value, base = int(match[1], int(match[2])), int(match[3])
    elif match := re.match(r"Add (\w+) and (\w+)\. Both are numbers in base (\d+)", question):
        base = int(match[3])
        value = int(match[1], base) + int(match[2], base)
    else:
        match = re.match(
            r"Multiply (\w+), a number in base (\d+), by (\w+), a number in base (\d+), and take away (\d+), a number "
            r"in base 10. What is that in base (\d+)",
            question,
        )
        value, base = int(match[1], int(match[2])) * int(match[3], int(match[4])) - int(match[5]), int(match[6])
    # the only numeral of that value, digit by digit from the left
    length = 1
    while base**length <= value:
        length += 1
    digits = ""
    for place in range(length - 1, -1, -1):
        digit = max(d for d in range(base) if int(digits + _digit(d) + "0" * place, base) <= value)
        digits += _digit(digit)
    return [digits]


def _digit(number):
    return "0123456789abcdef"[number]


# how many of the smallest unit of its kind
SIZES = {
    "kilometre": 1_000_000, "metre": 1_000, "centimetre": 10, "millimetre": 1, "tonne": 10**9, "kilogram": 10**6, "gram": 1_000, "milligram": 1,
    "week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1, "litre": 1_000, "millilitre": 1, "mile": 63_360, "yard": 36,
    "foot": 12, "feet": 12, "inch": 1, "inche": 1, "pound": 16, "ounce": 1, "gallon": 8, "pint": 1,
}  # fmt: skip


def _size(unit):
    return SIZES[unit] if unit in SIZES else SIZES[unit.removesuffix("s")]


def unit_conversion(question):
    if match := re.match(r"A \w+ moves at a steady (\d+) kilometres an hour. .* in (\d+) seconds", question):
        return [str(Fraction(int(match[1]) * 1000, 3600) * int(match[2]))]
    if "old measures" in question:
        worth = {}
        for one, first, two, second in re.findall(r"(\d+) ([\w-]+) (?:is|are) worth (\d+) ([\w-]+)\.", question):
            # so many of the second for one of the first, and the other way round
            first, second = first.removesuffix("s"), second.removesuffix("s")
            worth[first, second] = Fraction(int(two), int(one))
            worth[second, first] = Fraction(int(one), int(two))
        match = re.search(r"How many ([\w-]+) are (\d+) ([\w-]+) worth", question)
        wanted, number, had = match[1].removesuffix("s"), int(match[2]), match[3].removesuffix("s")
        names = {name for pair in worth for name in pair}
        found = set()
        for size in range(2, len(names) + 1):
            for way in itertools.permutations(names, size):
                if way[0] == had and way[-1] == wanted and all(pair in worth for pair in itertools.pairwise(way)):
                    value = Fraction(number)
                    for pair in itertools.pairwise(way):
                        value *= worth[pair]
                    found.add(value)
        return [str(value) for value in found]
    match = re.match(r"How many (\w+) are (.*?)(?: together)?\?", question)
    total = sum(int(number) * _size(unit) for number, unit in re.findall(r"(\d+) (\w+)", match[2]))
    return [str(Fraction(total, _size(match[1])))]


# sentences that change nothing
IDLE = re.compile(
    r"has \d+ marbles too|is \d+ years old|has \d+ windows|has driven|has saved|loaf costs"
    r"|room has \d+ chairs|has read|second tank stays|has \d+ lamps|sits in row"
)


LESS = re.compile(
    r"loses|gives \d+ marbles to|get off|pays a bill|lends|buys \d+ tickets|are lost|thrown|receive|draws off|leak|hose takes|carried out"
    r"|takes \d+ chairs|clear"
)


def word_problems(question):
    story = question.removesuffix(" Give the answer as a whole number.")
    first, *sentences = re.split(r"(?<=\.) ", story)
    (amount,) = (int(number) for number in re.findall(r"\d+", first))
    for sentence in sentences[:-1]:
        numbers = [int(number) for number in re.findall(r"\d+", sentence)]
        if IDLE.search(sentence):
            continue
        if re.search(r"doubl|as many marbles as|just as many", sentence):
            amount *= 2
        elif re.search(r"\b[Hh]alf\b", sentence):
            amount = int(amount / 2)
        else:
            product = numbers[0] * (numbers[1] if len(numbers) == 2 else 1)
            gains = r"gives \w+ \d+ marbles"
            amount += product if re.search(gains, sentence) or not LESS.search(sentence) else -product
    return [str(amount)]


MONTHS = re.findall(r"\w+", "January February March April May June July August September October November December")
WEEKDAYS = re.findall(r"\w+", "Monday Tuesday Wednesday Thursday Friday Saturday Sunday")


def _days_in(year, month):
    if month == 2:
        return 29 if (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _next_day(date):
    year, month, day = date
    if day < _days_in(year, month):
        return year, month, day + 1
    return (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)


def _read(text):
    day, month, year = text.split()
    return int(year), MONTHS.index(month) + 1, int(day)


def _write(date):
    return f"{date[2]} {MONTHS[date[1] - 1]} {date[0]}"


def calendar(question):
    date = r"(\d+ [A-Z][a-z]+ \d+)"
    if match := re.match(rf"Which date is (\d+) days (after|before) {date}", question):
        count, start = int(match[1]), _read(match[3])
        if match[2] == "after":
            for _ in range(count):
                start = _next_day(start)
            return [_write(start)]
        begin = (start[0] - 3, 1, 1)  # walk forward and remember
        walked = [begin]
        while walked[-1] != start:
            walked.append(_next_day(walked[-1]))
        return [_write(walked[-1 - count])]
    if match := re.match(rf"{date} is a (\w+)\. Which day of the week is {date}", question):
        one, two = _read(match[1]), _read(match[3])
        days, here = 0, min(one, two)
        while here != max(one, two):
            here, days = _next_day(here), days + 1
        shift = days if two > one else -days
        return [WEEKDAYS[(WEEKDAYS.index(match[2]) + shift) % 7]]
    if match := re.match(rf"{date} is a (\w+)\. How many (\w+)s are there from that day to {date}", question):
        here, end, weekday = _read(match[1]), _read(match[4]), WEEKDAYS.index(match[2])
        found = int(WEEKDAYS[weekday] == match[3])
        while here != end:
            here, weekday = _next_day(here), (weekday + 1) % 7
            found += WEEKDAYS[weekday] == match[3]
        return [str(found)]
    pattern = rf"{date} is a (\w+)\. A parcel is sent on the (\d)\w\w (\w+) of that month and arrives (\d+) working days later"
    match = re.match(pattern, question)
    here, weekday, left = _read(match[1]), WEEKDAYS.index(match[2]), int(match[3])
    left -= WEEKDAYS[weekday] == match[4]
    while left:
        here, weekday = _next_day(here), (weekday + 1) % 7
        left -= WEEKDAYS[weekday] == match[4]
    left = int(match[5])
    while left:
        here, weekday = _next_day(here), (weekday + 1) % 7
        left -= weekday < 5
    return [_write(here)]


def string_rules(question):
    text = re.match(r"Begin with the string (\w+)", question)[1]
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    for rule in re.findall(r"^\d+\. (.*)$", question, re.M):
        letters = list(text)
        number = next((int(found) for found in re.findall(r"\d+", rule)), 0)
        if rule.startswith("Reverse"):
            letters.reverse()
        elif rule.startswith("Move the first"):
            for _ in range(number):
                letters.append(letters.pop(0))
        elif rule.startswith("Move the last"):
            for _ in range(number):
                letters.insert(0, letters.pop())
        elif rule.startswith("Replace each vowel"):
            after = {"a": "e", "e": "i", "i": "o", "o": "u", "u": "a", "A": "E", "E": "I", "I": "O", "O": "U", "U": "A"}
            letters = [after.get(letter, letter) for letter in letters]
        elif rule.startswith("Replace each letter"):
            twice = {"small": alphabet * 2, "large": alphabet.upper() * 2}
            letters = [
                twice["small" if letter in alphabet else "large"][alphabet.index(letter.lower()) + number]
                for letter in letters
            ]
        elif rule.startswith("Remove every"):
            gone = re.match(r"Remove every (\w)", rule)[1]
            letters = [letter for letter in letters if letter.lower() != gone]
        elif rule.startswith("Swap"):
            letters[0], letters[-1] = letters[-1], letters[0]
        elif rule.startswith("Write"):
            letters.insert(number, letters[number - 1])
        elif rule.startswith("Make"):
            for place in range(number, len(letters) + 1, number):
                letters[place - 1] = letters[place - 1].upper()
        elif rule.startswith("Sort"):
            letters = [letter for letter in alphabet.upper() + alphabet for _ in range(letters.count(letter))]
        else:
            del letters[number - 1]
        text = "".join(letters)
    return [text]


def list_programs(question):
    """The program is run."""
    printed = []
    exec(
        question.split("\n\n")[1],
        {"print": lambda value: printed.append(repr(value)), "__builtins__": {"range": range, "len": len}},
    )
    return printed


def sets(question):
    words = {
        "union": lambda one, two: one or two,
        "intersection": lambda one, two: one and two,
        "difference": lambda one, two: one and not two,
        "symmetric difference": lambda one, two: one != two,
    }
    given = {
        name: [int(number) for number in re.findall(r"\d+", items)]
        for name, items in re.findall(r"([A-D]) = \{([^}]*)\}", question)
    }
    rules = re.findall(r"([P-T]) is the ([a-z ]+) of ([A-T]) and ([A-T])\.", question)
    wanted = re.search(r"Which numbers are in ([P-T])", question)[1]
    found = []
    for number in range(100):
        holds = {name: number in items for name, items in given.items()}
        for name, operation, one, two in rules:
            holds[name] = words[operation](holds[one], holds[two])
        if holds[wanted]:
            found.append(str(number))
    return ["{" + ", ".join(found) + "}"]
