"""A comparison of runs as markdown: what was compared, which settings differ, a table for each pair of sides."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dolma_py import storage
from dolma_py.errors import ConfigError
from dolma_py.manifest import render_json
from dolma_py.paired_differences import ERRORS_NEEDED
from dolma_py.paired_tables import escape_cell, render_differences
from dolma_py.run_comparison import compare_runs

MAX_VALUE_CHARS = 60  # of a setting's value in the table
MEAN = "mean of the tasks"
_METRICS = {"steps": ",", "tokens": ",", "final_loss": ".4f", "mean_loss_last_tenth": ".4f"}


def render_comparison(report: Mapping[str, Any]) -> str:
    """The report to read; the same facts as the JSON."""
    lines = ["# Runs compared", "", *_render_sides(report["sides"]), "", "## What differs", ""]
    lines += [*_render_settings(report["settings"], [side["label"] for side in report["sides"]]), ""]
    for one in report["comparisons"]:
        if not one["tasks"]:
            continue
        lines += [f"## {one['side']} against {one['reference']}", ""]
        rows = {**one["tasks"], MEAN: one["mean"]}
        lines += render_differences(rows, left=one["side"], right=one["reference"])
        lines += ["", *_say_differences(one), ""]
    if any(one["tasks"] for one in report["comparisons"]):
        lines += [
            "Bits per byte; below zero the first side is better. Error over instances: of the paired differences of documents or items; over "
            "runs: of seeds; both: root of the sum of squares. A verdict needs two standard errors, more with few runs.",
            "",
        ]
    lines += [f"- {note}" for note in report["notes"]]
    return "\n".join(lines).rstrip() + "\n"


def _render_sides(sides: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| side | run | seeds | steps | tokens | last loss | mean of the last tenth |",
        "|---|---|---|---|---|---|---|",
    ]
    for side in sides:
        for run in side["runs"]:
            seeds = ", ".join(f"{name} {value}" for name, value in run["seeds"].items())
            metrics = run["metrics"] or {}
            cells = [format(metrics[name], form) if name in metrics else "" for name, form in _METRICS.items()]
            lines.append("| " + " | ".join([side["label"], escape_cell(run["run"]), seeds, *cells]) + " |")
        losses = [run["metrics"]["mean_loss_last_tenth"] for run in side["runs"] if run["metrics"]]
        if len(losses) > 1:
            error = statistics.stdev(losses) / len(losses) ** 0.5
            lines.append(
                f"| {side['label']} | mean of {len(losses)} runs | | | | | {statistics.mean(losses):.4f} +- {error:.4f} |"
            )
    return lines


def _render_settings(settings: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[str]:
    if not settings:
        return ["Nothing but seeds."]
    lines = ["| of | setting | " + " | ".join(labels) + " |", "|---" * (len(labels) + 2) + "|"]
    for one in sorted(settings, key=lambda one: str(one["topic"])):
        values = [
            "-" if absent else shorten_value(value) for value, absent in zip(one["values"], one["absent"], strict=True)
        ]
        lines.append(f"| {one['topic']} | {escape_cell(one['field'])} | " + " | ".join(values) + " |")
    return lines


def shorten_value(value: Any) -> str:
    """A setting's value for a cell: JSON, cut where it is long.

    >>> shorten_value(0.5), shorten_value({"a": "b" * 100})[-9:]
    ('0.5', 'bbbbbb...')
    """
    text = json.dumps(value, ensure_ascii=False)
    return escape_cell(text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 3] + "...")


def _say_differences(one: Mapping[str, Any]) -> list[str]:
    """Verdicts where runs of a side tell of chance; else what differs on these documents, which is less."""
    side, reference = one["side"], one["reference"]
    rows = {**one["tasks"], MEAN: one["mean"]}
    if one["mean"]["error_runs"] is not None:
        told = [f"{found['verdict']} on {task}" for task, found in rows.items() if found["verdict"] is not None]
        return [f"{side} is {', '.join(told)}."] if told else []
    told = []
    for task, found in rows.items():
        errors = found["difference"] / found["error_instances"] if found["error_instances"] else 0.0
        if abs(errors) > ERRORS_NEEDED:
            told.append(
                f"{'better' if errors < 0 else 'worse'} on {task} ({abs(errors):.1f} standard errors over instances)"
            )
    text = f"Of these two models {side} is {', '.join(told)}. " if told else ""
    return [
        f"{text}One run of a side does not say how much runs of {side} or {reference} differ, so there is no verdict: add seeds."
    ]


def run_compare(*, runs: list[str], evaluation: str | None, output: str | None) -> str:
    """`dolma-py compare`: what is shown."""
    if output is not None and not output.endswith((".md", ".json")):
        raise ConfigError("--output", output, "expected a file that ends in .md or .json")
    report = compare_runs(runs, evaluation_name=evaluation)
    text = render_comparison(report)
    if output is None:
        return text
    storage.write_bytes(output, render_json(report) if output.endswith(".json") else text.encode())
    return f"{text}\nwrote {output}"
