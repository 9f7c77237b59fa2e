"""Problems told in words: stories in which amounts change, and questions about the calendar."""

from __future__ import annotations

import calendar
import datetime
import random
from collections.abc import Callable
from typing import NamedTuple

from mixers.verifiable_answers import MONTHS, WEEKDAYS
from mixers.verifiable_problem import PEOPLE, Family, Problem, make_problem, ordinal

NUM_EVENTS = (2, 3, 4, 6, 8)
LEAST, MOST = 10, 4_000  # of what somebody has between two events


class Theme(NamedTuple):
    """One template of a story: {a} has {amount} of something, and events follow, each with numbers {n} and {m}."""

    name: str
    start: str
    more: tuple[str, ...]  # {n} more
    fewer: tuple[str, ...]  # {n} fewer
    packs: tuple[str, ...]  # {n} times {m} more
    leaves: tuple[str, ...]  # {n} times {m} fewer
    double: str
    half: str
    idle: tuple[str, ...]  # says a number that changes nothing
    ask: str
    units: tuple[str, ...]


THEMES = (
    Theme(
        "marbles", "{a} has {amount} marbles.",
        ("{a} finds {n} marbles in the garden.", "{b} gives {a} {n} marbles."),
        ("{a} loses {n} marbles at play.", "{a} gives {n} marbles to {b}."),
        ("{a} buys {n} bags with {m} marbles in each.",), ("{a} gives {m} marbles to each of {n} friends.",),
        "{a} wins as many marbles as there are already.", "{a} puts half of the marbles away for good.",
        ("{b} has {n} marbles too.", "{a} is {n} years old."), "How many marbles does {a} have in the end?", ("marbles", "marble"),
    ),
    Theme(
        "bus", "A bus leaves the depot with {amount} passengers.",
        ("At the next stop {n} people get on.", "At the station {n} people get on."),
        ("At the next stop {n} people get off.", "At the school {n} pupils get off."),
        ("At a hotel {n} families of {m} get on.",), ("At the harbour {n} groups of {m} get off.",),
        "At the market the number of passengers doubles.", "At the town hall half of the passengers get off.",
        ("The bus has {n} windows.", "The driver has driven for {n} years."), "How many passengers are on the bus then?",
        ("passengers", "passenger", "people"),
    ),
    Theme(
        "coins", "{a} begins the month with {amount} coins.",
        ("{a} is paid {n} coins for a day's work.", "{b} pays back a debt of {n} coins."),
        ("{a} pays a bill of {n} coins.", "{a} lends {b} {n} coins."),
        ("{a} sells {n} baskets for {m} coins each.",), ("{a} buys {n} tickets for {m} coins each.",),
        "A prize doubles what {a} has.", "{a} gives half of the coins to the village school.",
        ("{b} has saved {n} coins.", "A loaf costs {n} coins in the next village."), "How many coins does {a} have at the end?", ("coins", "coin"),
    ),
    Theme(
        "books", "A library owns {amount} books.",
        ("A reader donates {n} books.", "The town pays for {n} new books."),
        ("{n} books are lost in a flood.", "{n} worn books are thrown away."),
        ("{n} boxes with {m} books each arrive.",), ("{n} schools receive {m} books each as a gift.",),
        "The library takes over another one with just as many books.", "Half of the books go to a new branch.",
        ("The reading room has {n} chairs.", "{a} has read {n} of the books."), "How many books does the library own now?", ("books", "book"),
    ),
    Theme(
        "tank", "A tank holds {amount} litres of water.",
        ("Rain adds {n} litres.", "{a} pours in {n} litres."),
        ("{a} draws off {n} litres.", "A leak costs {n} litres."),
        ("A pump adds {m} litres a minute for {n} minutes.",), ("A hose takes {m} litres a minute for {n} minutes.",),
        "A neighbour doubles what is in the tank.", "Half of the water is let into a pond.",
        ("The tank is {n} years old.", "A second tank stays at {n} litres."), "How many litres are in the tank at the end?",
        ("litres", "litre", "liters"),
    ),
    Theme(
        "chairs", "A hall is set with {amount} chairs.",
        ("{a} carries in {n} chairs.", "The choir brings {n} chairs of its own."),
        ("{n} broken chairs are carried out.", "{a} takes {n} chairs to another room."),
        ("Helpers set up {n} rows of {m} chairs more.",), ("Helpers clear {n} rows of {m} chairs.",),
        "For the concert the number of chairs is doubled.", "For the dance half of the chairs are carried out.",
        ("The hall has {n} lamps.", "{b} sits in row {n}."), "How many chairs are in the hall after that?", ("chairs", "chair"),
    ),
)  # fmt: skip


def _draw_event(rng: random.Random, theme: Theme, amount: int) -> tuple[str, int, str] | None:
    """(sentence, new amount, the line of the solution); None where the drawn one does not fit the amount."""
    kind = rng.choice(["more", "fewer", "packs", "leaves", "double", "half"])
    n, m = rng.randint(3, 60), 0
    if kind in ("packs", "leaves"):
        n, m = rng.randint(2, 9), rng.randint(3, 25)
    if kind == "double":
        sentence, after, said = theme.double, 2 * amount, f"2 * {amount}"
    elif kind == "half":
        sentence, after, said = theme.half, amount // 2, f"{amount} / 2"
    elif kind == "more":
        sentence, after, said = rng.choice(theme.more), amount + n, f"{amount} + {n}"
    elif kind == "fewer":
        sentence, after, said = rng.choice(theme.fewer), amount - n, f"{amount} - {n}"
    elif kind == "packs":
        sentence, after, said = rng.choice(theme.packs), amount + n * m, f"{amount} + {n} * {m}"
    else:
        sentence, after, said = rng.choice(theme.leaves), amount - n * m, f"{amount} - {n} * {m}"
    if not LEAST <= after <= MOST or (kind == "half" and amount % 2):
        return None
    return sentence.replace("{n}", str(n)).replace("{m}", str(m)), after, f"{said} = {after}"


def draw_story(rng: random.Random, level: int) -> Problem:
    """A story of several events; from level 3 on one sentence has a number that does not matter."""
    theme = rng.choice(THEMES)
    a, b = rng.sample(PEOPLE, 2)
    amount = start = rng.randint(20, 200)
    sentences, steps = [], []
    while len(steps) < NUM_EVENTS[level - 1]:
        event = _draw_event(rng, theme, amount)
        if event is not None and not (sentences and event[0] == sentences[-1]):
            sentences.append(event[0])
            steps.append(f"{event[0]} {event[2]}.")
            amount = event[1]
    if level >= 3:
        idle = rng.choice(theme.idle).replace("{n}", str(rng.randint(11, 60)))
        sentences.insert(rng.randint(0, len(sentences)), idle)
    story = " ".join([theme.start.replace("{amount}", str(start)), *sentences, theme.ask])
    lines = [f"At first it is {start}.", *steps]
    names = {"{a}": a, "{b}": b}
    for mark, name in names.items():
        story, lines = story.replace(mark, name), [line.replace(mark, name) for line in lines]
    question = f"{story} Give the answer as a whole number."
    return make_problem(question, lines, str(amount), "number", units=list(theme.units), template=theme.name)


def write_date(date: datetime.date) -> str:
    """5 March 2024."""
    return f"{date.day} {MONTHS[date.month - 1]} {date.year}"


def _draw_date(rng: random.Random) -> datetime.date:
    return datetime.date(1950, 1, 1) + datetime.timedelta(rng.randrange(100 * 365))


def _explain_shift(start: datetime.date, days: int) -> tuple[datetime.date, list[str]]:
    """The date so many days on (or back), and how one gets there month by month, or year by year where it is far."""
    date, left, steps = start, abs(days), []
    end = start + datetime.timedelta(days)
    while left:
        if days > 0:
            first_of_next = datetime.date(date.year + (date.month == 12), date.month % 12 + 1, 1)
            step = min(left, (first_of_next - date).days)
            date += datetime.timedelta(step)
        else:
            step = min(left, date.day)
            date -= datetime.timedelta(step)
        left -= step
        steps.append(
            f"{step} {'day' if step == 1 else 'days'} {'on' if days > 0 else 'back'} it is {write_date(date)}, {left} left."
        )
    assert date == end, (start, days)
    return end, steps


def draw_date(rng: random.Random, level: int) -> Problem:
    """A date some days on, hundreds of days on or back, a weekday, how many of one weekday, and working days."""
    makers: tuple[Callable[[random.Random], Problem], ...] = (
        _near_date,
        _far_date,
        _weekday,
        _count_weekdays,
        _working_days,
    )
    return makers[level - 1](rng)


def _near_date(rng: random.Random) -> Problem:
    start, days = _draw_date(rng), rng.randint(12, 40)
    end, steps = _explain_shift(start, days)
    question = f"Which date is {days} days after {write_date(start)}? Give day, month and year."
    return make_problem(question, steps, write_date(end), "date")


def _far_date(rng: random.Random) -> Problem:
    start, days = _draw_date(rng), rng.choice([-1, 1]) * rng.randint(100, 400)
    end, steps = _explain_shift(start, days)
    said = "after" if days > 0 else "before"
    question = f"Which date is {abs(days)} days {said} {write_date(start)}? Give day, month and year."
    return make_problem(question, steps, write_date(end), "date")


def _weekday(rng: random.Random) -> Problem:
    start = _draw_date(rng)
    end = start + datetime.timedelta(rng.choice([-1, 1]) * rng.randint(400, 2_000))
    name = WEEKDAYS[start.weekday()]
    days = abs((end - start).days)
    steps = [*_explain_days(*sorted([start, end])), f"{days} = 7 * {days // 7} + {days % 7}."]
    way = "on" if end > start else "back"
    steps.append(
        f"{days % 7} {'day' if days % 7 == 1 else 'days'} {way} from a {name} it is a {WEEKDAYS[end.weekday()]}."
    )
    question = f"{write_date(start)} is a {name}. Which day of the week is {write_date(end)}?"
    return make_problem(question, steps, WEEKDAYS[end.weekday()], "weekday")


def _explain_days(start: datetime.date, end: datetime.date) -> list[str]:
    """How many days lie between two dates, by whole years and the rest."""
    steps, parts, date = [], [], start
    while (later := _next_year(date)) <= end:
        parts.append((later - date).days)
        steps.append(f"From {write_date(date)} to {write_date(later)} it is {parts[-1]} days.")
        date = later
    parts.append((end - date).days)
    steps.append(f"From {write_date(date)} to {write_date(end)} it is {parts[-1]} days.")
    return [*steps, f"{' + '.join(map(str, parts))} = {sum(parts)}."] if len(parts) > 1 else steps


def _next_year(date: datetime.date) -> datetime.date:
    if (date.month, date.day) == (2, 29):
        return datetime.date(date.year + 1, 3, 1)
    return date.replace(year=date.year + 1)


def _count_weekdays(rng: random.Random) -> Problem:
    start = _draw_date(rng)
    days = rng.randint(40, 200)
    end, wanted = start + datetime.timedelta(days), rng.randrange(7)
    name = WEEKDAYS[wanted]
    first = start + datetime.timedelta((wanted - start.weekday()) % 7)
    last = end - datetime.timedelta((end.weekday() - wanted) % 7)
    weeks = (last - first).days // 7
    steps = [
        *_explain_days(start, end),
        f"{days} = 7 * {days // 7} + {days % 7}, so {write_date(end)} is a {WEEKDAYS[end.weekday()]}.",
        f"The first {name} is {write_date(first)}, the last one {write_date(last)}.",
        f"Between them lie 7 * {weeks} = {7 * weeks} days.",
        f"Both of them counted, {weeks} + 1 = {weeks + 1}.",
    ]
    question = (
        f"{write_date(start)} is a {WEEKDAYS[start.weekday()]}. How many {name}s are there from that day to {write_date(end)}, both days "
        "included?"
    )
    return make_problem(question, steps, str(weeks + 1), "number", units=[f"{name}s"])


def _working_days(rng: random.Random) -> Problem:
    year, month = rng.randint(1950, 2049), rng.randint(1, 12)
    wanted, number, days = rng.randrange(5), rng.randint(1, 4), rng.randint(11, 30)
    begin = datetime.date(year, month, 1)
    first = begin + datetime.timedelta((wanted - begin.weekday()) % 7)
    start = first + datetime.timedelta(7 * (number - 1))
    weeks, rest = divmod(days, 5)
    after_weeks = date = start + datetime.timedelta(7 * weeks)
    steps = [
        f"The first {WEEKDAYS[wanted]} of the month is {write_date(first)}, the {ordinal(number)} one is {write_date(start)}.",
        f"{days} = 5 * {weeks} + {rest}: {weeks} weeks of five working days lead to {write_date(after_weeks)}.",
    ]
    for _ in range(rest):
        date += datetime.timedelta(3 if date.weekday() == calendar.FRIDAY else 1)
        steps.append(f"The next working day is {WEEKDAYS[date.weekday()]}, {write_date(date)}.")
    question = (
        f"1 {MONTHS[month - 1]} {year} is a {WEEKDAYS[begin.weekday()]}. A parcel is sent on the {ordinal(number)} {WEEKDAYS[wanted]} of that "
        f"month and arrives {days} working days later; working days are Monday to Friday, without any holidays. On which date does it arrive? Give "
        "day, month and year."
    )
    return make_problem(question, steps, write_date(date), "date")


FAMILIES = (Family("word-problems", 1, draw_story), Family("calendar", 1, draw_date))
