"""How the final answer of a response is found and read: rules that are stated, the same for every family of mixers.verifiable_tasks.

A response's answer is what follows its last `Answer:` at the beginning of a line, or stands in its last `\\boxed{}`, whichever begins later; of
a response that thinks, only what follows the last `</think>` counts. What is read there must be one answer in a form of its kind and nothing
else: a text with two answers, a hedge or a remark is unreadable, not half right. Needs the standard library alone.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

MAX_ANSWER = 2_000  # characters; a longer one is unreadable
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# no two runs of blanks beside each other are unbounded: a megabyte of them is read in one pass
_LINE = re.compile(
    r"^[ \t>*_#`-]*(?:the[ \t]{1,4})?(?:final[ \t]{1,4})?answer[ \t]{0,4}[*_]{0,3}[ \t]{0,4}:(?:[*_]{1,3}(?=\s|$))?[ \t]{0,4}",
    re.I | re.M,
)
_WRAPS = (
    ("**", "**"), ("__", "__"), ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("`", "`"), ('"', '"'), ("'", "'"),
    ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("*", "*"),
)  # fmt: skip
_INTEGER = r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_FRACTION = re.compile(rf"({_INTEGER})\s*/\s*([0-9]+)")
_LATEX_FRACTION = re.compile(r"([+-]?)\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}")
_NUMBER = re.compile(rf"{_INTEGER}(?:\.[0-9]+)?")
_BETWEEN = re.compile(r"\s*(?:,\s*(?:and|then)\s+|,|;|-+>|=+>|\u2192|\u2013|>|<|/|\||\n|-|\s(?:and|then)\s)\s*", re.I)
_NOTHING = frozenset(
    {
        "none",
        "nobody",
        "no one",
        "nothing",
        "empty",
        "empty set",
        "the empty set",
        "{}",
        "[]",
        "()",
        r"\emptyset",
        "\u2205",
    }
)


def find_answer(response: str) -> str | None:
    """The text of a response's final answer; None for a response without one, or that never ends to think.

    >>> find_answer("It is 3 + 4 = 7.\\n**Answer:** 7 apples")
    '7 apples'
    >>> find_answer("so we have \\\\boxed{12}.")
    '12'
    """
    said, mark, rest = response.rpartition("</think>")
    if not mark and "<think>" in response:
        return None
    text = rest if mark else response
    lines = list(_LINE.finditer(text))
    box = text.rfind(r"\boxed{")
    if box >= 0 and (not lines or box > lines[-1].start()):
        return _read_braces(text, box + len(r"\boxed{"))
    if not lines:
        return None
    after = text[lines[-1].end() :]
    first, _, more = after.partition("\n")
    if first.strip():
        return first.strip()
    found: list[str] = []  # the answer begins on the next line, and ends before an empty one
    for line in more[: 2 * MAX_ANSWER].split("\n"):
        if line.strip():
            found.append(line.strip())
        elif found:
            break
    return "\n".join(found) or None


def _read_braces(text: str, start: int) -> str | None:
    depth = 1
    for place in range(start, min(len(text), start + 2 * MAX_ANSWER)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start:place].strip() or None
    return None


def clean(text: str) -> str:
    """An answer without what surrounds it: bold, quotes, dollar signs, `\\text{}`, a full stop at its end, a leading equals sign."""
    text = text.replace("\u2212", "-").replace(r"\,", "").replace("{,}", ",").replace("\u00a0", " ").strip()
    before = None
    while text != before:
        before = text
        text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\{([^{}]*)\}", r"\1", text)
        for left, right in _WRAPS:
            if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right):
                inner = text[len(left) : -len(right)]
                if left not in inner and right not in inner:  # one pair around all of it, not two pairs in it
                    text = inner.strip()
        if text.startswith("="):
            text = text[1:].strip()
        if re.search(r"[^.]\.$", text):
            text = text[:-1].strip()
    return text


def _without_unit(text: str, evidence: Mapping[str, Any]) -> str:
    for unit in sorted(evidence.get("units", ()), key=len, reverse=True):
        if text.casefold().endswith(unit.casefold()):
            rest = text[: -len(unit)]
            if not rest or not rest[-1].isalnum() or rest[-1].isdigit():
                return clean(rest)
    return text


def read_number(text: str, evidence: Mapping[str, Any]) -> Fraction | None:
    """An exact number: integer with or without commas, decimal, a/b or \\frac{a}{b}; one of the problem's units may follow."""
    if len(text) > MAX_ANSWER:  # Python reads no number of more than 4,300 digits
        return None
    text = _without_unit(text, evidence)
    if match := _LATEX_FRACTION.fullmatch(text):
        sign = -1 if match[1] == "-" else 1
        return Fraction(sign * int(match[2]), int(match[3])) if int(match[3]) else None
    if match := _FRACTION.fullmatch(text):
        return Fraction(int(match[1].replace(",", "")), int(match[2])) if int(match[2]) else None
    return Fraction(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


def read_date(text: str, evidence: Mapping[str, Any]) -> datetime.date | None:
    """2024-03-05, 5 March 2024 or March 5, 2024, also 5th, or Mar; a weekday before it must be that day's own."""
    weekday = None
    match = re.match(rf"({'|'.join(WEEKDAYS)})\s*,?\s+(?:the\s+)?", text, re.I)
    if match:
        weekday, text = match[1].capitalize(), text[match.end() :]
    names = "|".join(f"{name}|{name[:3]}" for name in MONTHS)
    if found := re.fullmatch(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})", text):
        year, month, day = (int(part) for part in found.groups())
    elif found := re.fullmatch(
        rf"([0-9]{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({names})\.?,?\s+([0-9]{{4}})", text, re.I
    ):
        day, month, year = int(found[1]), _month(found[2]), int(found[3])
    elif found := re.fullmatch(rf"({names})\.?\s+([0-9]{{1,2}})(?:st|nd|rd|th)?,?\s+([0-9]{{4}})", text, re.I):
        month, day, year = _month(found[1]), int(found[2]), int(found[3])
    else:
        return None
    try:
        date = datetime.date(year, month, day)
    except ValueError:
        return None
    return date if weekday in (None, WEEKDAYS[date.weekday()]) else None


def _month(name: str) -> int:
    return [month[:3].casefold() for month in MONTHS].index(name[:3].casefold()) + 1


def read_weekday(text: str, evidence: Mapping[str, Any]) -> str | None:
    """The English name of a day, or its first three letters."""
    for name in WEEKDAYS:
        if text.casefold() in (name.casefold(), name[:3].casefold()):
            return name
    return None


def read_text(text: str, evidence: Mapping[str, Any]) -> str | None:
    """Letters and digits exactly, capitals told apart."""
    return text if re.fullmatch(r"[A-Za-z0-9]+", text) else None


def read_numeral(text: str, evidence: Mapping[str, Any]) -> str | None:
    """Digits of the base that the problem asks for: 0x, 0b, 0o, a subscript or `base 16` may say it, if it is that base."""
    base = int(evidence["base"])
    text = re.sub(r"\s+", " ", text.casefold().replace(r"\_", "_"))
    if match := re.fullmatch(r"(.+?)(?:_\{?([0-9]+)\}?| ?\(?(?:in )?base ([0-9]+)\)?)", text):
        if int(match[2] or match[3]) != base:
            return None
        text = clean(match[1])
    prefix = {2: "0b", 8: "0o", 16: "0x"}.get(base)
    if prefix and text.startswith(prefix):
        text = text[2:]
    text = text.replace(" ", "")
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"[:base]
    if not text or any(letter not in digits for letter in text):
        return None
    return text.lstrip("0") or "0"


def _read_items(text: str) -> list[str] | None:
    """Items between commas, arrows, `and` or line ends; None for an empty one."""
    if text.casefold() in _NOTHING:
        return []
    text = text.replace(r"\{", "{").replace(r"\}", "}")
    for left, right in ("[]", "{}", "()"):
        if text.startswith(left) and text.endswith(right):
            text = text[1:-1].strip()
            break
    text = text.replace(r"\to", ",").replace(r"\rightarrow", ",")
    text = "\n".join(" ".join(line.split()) for line in text.split("\n") if line.strip())
    items = [clean(item) for item in _BETWEEN.split(text)]
    return None if "" in items else items


def read_order(text: str, evidence: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names in order, between commas, arrows, hyphens or lines; capitals do not matter; only names that the problem has."""
    items = _read_items(text)
    names = {str(name).casefold() for name in evidence["names"]}
    if items is None or any(item.casefold() not in names for item in items):
        return None
    return tuple(item.casefold() for item in items)


def read_names(text: str, evidence: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names in any order, each once; `none` for no name."""
    items = read_order(text, evidence)
    return None if items is None or len(set(items)) != len(items) else tuple(sorted(items))


def read_integers(text: str, evidence: Mapping[str, Any]) -> tuple[int, ...] | None:
    """A list as [1, -2, 3], with or without brackets, with commas or blanks between."""
    if text.casefold() in _NOTHING:
        return ()
    for left, right in ("[]", "()", "{}"):
        if text.startswith(left) and text.endswith(right):
            text = text[1:-1].strip()
            break
    text = text.replace(r"\{", "").replace(r"\}", "").strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,18}(?:\s*,\s*[+-]?[0-9]{1,18}|\s+[+-]?[0-9]{1,18})*", text):
        return None
    return tuple(int(part) for part in re.split(r"\s*,\s*|\s+", text))


def read_number_set(text: str, evidence: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Integers in any order, each once."""
    found = read_integers(text.replace(" and ", ", "), evidence)
    return None if found is None or len(set(found)) != len(found) else tuple(sorted(found))


def read_grid(text: str, evidence: Mapping[str, Any]) -> str | None:
    """All digits of a grid, row by row; blanks, commas, bars, slashes, brackets and line ends may stand between."""
    text = re.sub(r"[\s,;|/\[\]()&\\-]+", "", text)
    size = int(evidence["cells"])
    return text if re.fullmatch(rf"[1-9]{{{size}}}", text) else None


# kind of an answer -> from its clean text and the problem's evidence to a value that compares; None: unreadable
READERS: dict[str, Callable[[str, Mapping[str, Any]], Any]] = {
    "number": read_number,
    "date": read_date,
    "weekday": read_weekday,
    "text": read_text,
    "numeral": read_numeral,
    "order": read_order,
    "names": read_names,
    "integers": read_integers,
    "number_set": read_number_set,
    "grid": read_grid,
}


def read_answer(text: str, evidence: Mapping[str, Any]) -> Any:
    """The value of an answer's text as the kind in `evidence` reads it; None where it is none."""
    if len(text) > MAX_ANSWER:
        return None
    return READERS[evidence["kind"]](clean(text), evidence)
