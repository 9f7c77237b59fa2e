"""Finished runs beside each other: the whole of `dolma-py compare`. What differs between their settings, and between what they were measured at.

Runs that differ in nothing but seeds are one side. The first run's side is the reference; every other side is compared with it, task by task,
on the documents and items that both were measured on (dolma_py/paired_differences.py). An ablation is a run without a source beside one with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dolma_py.config import fingerprint
from dolma_py.errors import ConfigError
from dolma_py.paired_differences import pair_instances, weigh_differences
from dolma_py.paired_tables import describe_difference
from dolma_py.run_folders import RunFiles, read_run_files

REPORT_VERSION = 1
SEEDS = ("seed", "source_seed", "init_seed")  # keys of settings that make another run of the same side
ITEMS = "answers of items"
# first word of a setting's path -> what it is about
_TOPICS = {
    "config.data": "data", "dataset": "data", "tokenizer_fingerprint": "data", "config.run.steps": "steps", "step": "steps",
    "config.schedule": "steps", "config.model": "model", "config.optimizer": "optimizer", "parent": "start",
    "evaluation": "evaluation",
}  # fmt: skip
ABSENT = object()  # a setting that a side does not have


class Side(NamedTuple):
    """Runs that differ in their seeds alone."""

    label: str
    runs: list[RunFiles]


class Measured(NamedTuple):
    """One task of one run."""

    digest: str | None  # of the texts
    values: dict[Any, tuple[float, float]]  # row or id -> bits, bytes


def compare_runs(names: Sequence[str], *, evaluation_name: str | None = None) -> dict[str, Any]:
    """The report as JSON values: sides, differences of settings, comparisons with the first side, notes of what could not be compared.

    names: RUN or RUN@STEP, the reference first; evaluation_name: as read_run_files has it

    Raises
    ------
    ConfigError     less than two runs, one named twice, a folder without a run, runs that all differ in their seeds alone
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError("RUN", list(names), "expected two different runs or more")
    sides = form_sides([read_run_files(name, evaluation_name=evaluation_name) for name in names])
    if len(sides) < 2:
        raise ConfigError("RUN", list(names), "expected runs that differ in more than their seeds")
    notes = [
        f"{run.name} was not evaluated. Run: dolma-py eval --run {run.name} --shards DIR"
        for side in sides
        for run in side.runs
        if run.evaluation is None
    ]
    return {
        "format": "dolma-py-comparison",
        "version": REPORT_VERSION,
        "sides": [_describe_side(side) for side in sides],
        "settings": [
            {"topic": find_topic(field), "field": field, "values": [None if v is ABSENT else v for v in values],
             "absent": [v is ABSENT for v in values]}
            for field, values in find_differences([_without_seeds(list_settings(side.runs[0])) for side in sides])
        ],
        "comparisons": [_compare_sides(side, sides[0], notes) for side in sides[1:]],
        "notes": notes,
    }  # fmt: skip


def form_sides(runs: Sequence[RunFiles]) -> list[Side]:
    """Runs by their settings without seeds, in the order in which each first comes; labels A, B, ..."""
    found: dict[str, list[RunFiles]] = {}
    for run in runs:
        found.setdefault(fingerprint(_without_seeds(list_settings(run))), []).append(run)
    return [Side(_label(number), some) for number, some in enumerate(found.values())]


def _label(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"side {number + 1}"


def list_settings(run: RunFiles) -> dict[str, Any]:
    """All that decides what was measured."""
    evaluation = run.evaluation or {}
    asked = {name: evaluation.get(name) for name in ("window_tokens", "overlap_tokens", "max_docs_per_source")}
    return {**run.identity, "step": run.step, "evaluation": asked}


def find_differences(values: Sequence[Any], field: str = "") -> list[tuple[str, list[Any]]]:
    """Dotted fields in which the trees differ, with each one's value; ABSENT where one has none, then with all that stands below.

    >>> find_differences([{"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}])
    [('a.c', [2, 3])]
    """
    first = values[0]
    if all(value is first or (value is not ABSENT and first is not ABSENT and value == first) for value in values):
        return []
    if not all(isinstance(value, Mapping) for value in values):
        return [(field, list(values))]
    keys = dict.fromkeys(itertools.chain.from_iterable(values))
    below = [
        find_differences([v.get(key, ABSENT) for v in values], f"{field}.{key}" if field else str(key)) for key in keys
    ]
    return list(itertools.chain.from_iterable(below))


def find_topic(field: str) -> str:
    """What a setting is about: data, steps, model, ...

    >>> find_topic("config.data.sources.web.target_ratio"), find_topic("config.loss.z_loss")
    ('data', 'other')
    """
    for start, topic in _TOPICS.items():
        if field == start or field.startswith(start + "."):
            return topic
    return "other"


def _without_seeds(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _without_seeds(value) for key, value in values.items() if key not in SEEDS}
    return values


def _list_seeds(values: Any, field: str = "") -> dict[str, Any]:
    if not isinstance(values, Mapping):
        return {}
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{field}.{key}" if field else key
        found.update({name: value} if key in SEEDS else _list_seeds(value, name))
    return found


def _describe_side(side: Side) -> dict[str, Any]:
    """Its runs with their seeds, and what they say of training."""
    runs = [
        {"run": run.name, "step": run.step, "seeds": _list_seeds(run.identity["config"]), "metrics": run.metrics}
        for run in side.runs
    ]
    return {"label": side.label, "runs": runs}


def read_tasks(evaluation: Mapping[str, Any]) -> dict[str, Measured]:
    """What an evaluation holds of each document and item. Items count alike: their bits per byte, with a size of one each."""
    found = {}
    for name, source in evaluation.get("sources", {}).items():
        if "per_document" in source:
            parts = (source["per_document"][key] for key in ("rows", "bits", "bytes"))
            found[name] = Measured(
                source["texts_digest"], {row: (bits, size) for row, bits, size in zip(*parts, strict=True) if size > 0}
            )
    items = evaluation.get("items")
    if items is not None and "texts_digest" in items:
        found[ITEMS] = Measured(items["texts_digest"], {key: (value, 1.0) for key, value in items["per_item"].items()})
    return found


def _compare_sides(side: Side, reference: Side, notes: list[str]) -> dict[str, Any]:
    """`tasks` and their unweighted `mean`, of runs that were evaluated; what cannot be compared goes into notes."""
    sides = {one.label: [r for r in one.runs if r.evaluation is not None] for one in (side, reference)}
    left, right = ([read_tasks(run.evaluation or {}) for run in sides[one.label]] for one in (side, reference))
    result: dict[str, Any] = {"side": side.label, "reference": reference.label, "tasks": {}, "mean": None}
    if not left or not right:
        return result
    differences = {}
    for task in dict.fromkeys(itertools.chain.from_iterable([*left, *right])):
        runs = [run.get(task) for run in (*left, *right)]
        there = [run for run in runs if run is not None]
        pair = f"{task}, {side.label} against {reference.label}"
        if len(there) < len(runs):
            notes.append(f"{pair}: not every run was measured on it")
            continue
        if len({run.digest for run in there}) > 1:
            notes.append(f"{pair}: measured on other texts, so nothing can be paired")
            continue
        rows = [row for row in there[0].values if all(row in run.values for run in there)]
        left_out = max(len(run.values) for run in there) - len(rows)
        if left_out:
            notes.append(f"{pair}: {left_out} of {left_out + len(rows)} left out, which not every run has")
        if rows:
            bits = np.array([[run.values[row][0] for row in rows] for run in there], np.float64)
            sizes = np.array([there[0].values[row][1] for row in rows], np.float64)
            differences[task] = pair_instances(bits[: len(left)], bits[len(left) :], sizes)
    result["tasks"] = {task: describe_difference(found) for task, found in differences.items()}
    if differences:
        mean = weigh_differences(list(differences.values()), [1.0] * len(differences))
        result["mean"] = describe_difference(mean)
    return result
