"""Differences of two sides as JSON values and as a table to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dolma_py.errors import DataError
from dolma_py.paired_differences import Difference


def describe_difference(found: Difference) -> dict[str, Any]:
    """All that a table or a program may ask, as JSON values; null: not known."""
    by_instances, by_runs = found.by_instances, found.by_runs
    return {
        "left": found.left,
        "right": found.right,
        "difference": found.difference,
        "instances": found.num_instances,
        "left_runs": list(found.left_runs),
        "right_runs": list(found.right_runs),
        "error_instances": None if by_instances is None else by_instances.value**0.5,
        "error_runs": None if by_runs is None else by_runs.value**0.5,
        "error": found.error,
        "errors_needed": found.errors_needed,
        "verdict": found.verdict,
    }


def render_differences(
    tasks: Mapping[str, dict[str, Any]], *, left: str, right: str, weights: Mapping[str, float] | None = None
) -> list[str]:
    """Lines of a markdown table, a row for each task of describe_difference; weights: of the tasks in their mean, one column more."""
    heads = ["task", *(["weight"] if weights is not None else []), "instances", left, right, "difference"]
    heads += ["error: instances", "runs", "both", "in errors", "needed", "verdict"]
    lines = ["| " + " | ".join(map(escape_cell, heads)) + " |", "|---" * len(heads) + "|"]
    for task, found in tasks.items():
        cells = [escape_cell(task)]
        if weights is not None:
            cells.append(f"{weights[task]:.3f}" if task in weights else "")
        cells += [
            f"{found['instances']:,}",
            f"{found['left']:.4f}",
            f"{found['right']:.4f}",
            f"{found['difference']:+.4f}",
        ]
        cells += [_number(found[name], ".4f") for name in ("error_instances", "error_runs", "error")]
        cells += [_number(count_errors(found), "+.1f"), _number(found["errors_needed"], ".1f"), found["verdict"] or ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def count_errors(found: Mapping[str, Any]) -> float | None:
    """The difference in standard errors; None where its error is not known or zero."""
    return found["difference"] / found["error"] if found["error"] else None


def check_rows(sides: Mapping[str, list[Any]], task: str, where: str) -> None:
    """DataError unless all lists of rows are the same: values of other documents cannot be paired."""
    first = next(iter(sides.values()))
    for name, rows in sides.items():
        if rows != first:
            raise DataError(where, f"{task}: {name} was measured on other documents than {next(iter(sides))}")


def escape_cell(text: str) -> str:
    """Text for a cell of a markdown table.

    >>> escape_cell("a|b")
    'a\\\\|b'
    """
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
