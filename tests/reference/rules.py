"""Slow twin of dolma_py.rules and of a view's verdict: one row after the other, with Python's own exact comparisons."""

from __future__ import annotations

import json
import operator
from typing import Any

from tests.reference import spans as spans_twin

COMPARE = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


def split_rule(text: str) -> list[str]:
    """Words between `and`, letter by letter; what stands in quotes is one word."""
    words, word, quoted, escaped = [], "", False, False
    for letter in text + " ":
        if quoted:
            quoted, escaped = letter != '"' or escaped, letter == "\\" and not escaped
            word += letter
        elif letter.isspace():
            words, word = [*words, word], ""
        else:
            quoted = letter == '"'
            word += letter
    clauses: list[str] = [""]
    for word in words:
        clauses = [*clauses, ""] if word == "and" else [*clauses[:-1], f"{clauses[-1]} {word}".strip()]
    return clauses


def holds(text: str, row: dict[str, Any]) -> bool:
    """Whether one row keeps a rule whose parts are separated by blanks; a row with a null in a column does not."""
    return all(holds_part(part, row) for part in split_rule(text))


def holds_part(part: str, row: dict[str, Any]) -> bool:
    """One comparison."""
    if " " not in part or part.startswith("not "):
        value = row[part.removeprefix("not ")]
        return value is not None and value is not part.startswith("not ")
    column, op, wanted = part.split(" ", 2)
    value, wanted = row[column], json.loads(wanted)
    if value is None or value != value:
        return False
    return value in wanted if op == "in" else COMPARE[op](value, wanted)


def judge(
    steps: list[dict[str, Any]], source: str, num_bytes: int, rows: dict[str, dict[str, Any]]
) -> tuple[int, list[int], spans_twin.Pairs]:
    """(index of the step that drops a row or -1, its bytes at entry of each step and at the end, spans removed from it).

    rows: the row's attributes of each set; a step is a dict with some of keep, edit, min_text_bytes, attributes, sources
    and except_sources.
    """
    failed, removed, before = -1, [], []
    for index, step in enumerate(steps):
        left = num_bytes - len(spans_twin.covered(removed))
        before.append(left)
        is_for_it = source in step.get("sources", [source]) and source not in step.get("except_sources", [])
        if failed >= 0 or not is_for_it:
            continue
        if "edit" in step:
            found = [(span["start"], span["end"]) for span in rows[step["attributes"]][step["edit"]] or []]
            removed = spans_twin.merge(removed, found)
        elif "keep" in step:
            failed = failed if holds(step["keep"], rows[step["attributes"]]) else index
        else:
            failed = failed if left >= step["min_text_bytes"] else index
    return failed, [*before, num_bytes - len(spans_twin.covered(removed))], removed
