"""The log of a training run as plain tuples, and the readers of the JSON files that runs leave."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from dolma_py import storage
from dolma_py.errors import DataError

MAX_POINTS = 400  # of a curve; longer logs are averaged in stretches


class Point(NamedTuple):
    step: float
    loss: float
    lr: float
    tokens_per_sec: float


class Training(NamedTuple):
    points: tuple[Point, ...]
    steps: int  # done
    planned_steps: int | None
    tokens: int
    last_loss: float
    mean_loss_last_tenth: float | None
    parameters: dict[str, int]
    vocab_size: int | None
    is_finished: bool
    num_not_finite: int  # logged lines left out of the curves
    tokenizer: str | None  # fingerprint
    run: dict[str, Any]


def collect_training(folder: str) -> Training | None:
    """The log of a training run, finished or not; None when there is no line yet."""
    lines = read_json_lines(storage.join_path(folder, "metrics.jsonl"))
    if not lines:
        return None
    identity = read_json(storage.join_path(folder, "config.json")) or {}
    made = read_json(storage.join_path(folder, "manifest.json")) or {}
    tokens = read_json(storage.join_path(folder, "tokens.json")) or {}
    points = [Point(line["step"], line["loss"], line["lr"], line["tokens_per_sec"]) for line in lines]
    finite = [point for point in points if all(map(math.isfinite, point))]
    last = lines[-1]
    return Training(
        points=thin_points(finite, MAX_POINTS), steps=last["step"],
        planned_steps=identity.get("config", {}).get("run", {}).get("steps"), tokens=last["tokens"], last_loss=last["loss"],
        mean_loss_last_tenth=made.get("results", {}).get("mean_loss_last_tenth"), parameters=made.get("parameters", {}),
        vocab_size=tokens.get("vocab_size"), is_finished=bool(made), num_not_finite=len(points) - len(finite),
        tokenizer=identity.get("tokenizer_fingerprint"), run=read_json(storage.join_path(folder, "run.json")) or {},
    )  # fmt: skip


def thin_points(points: list[Point], max_points: int) -> tuple[Point, ...]:
    """At most `max_points` means of stretches of equal length (the last may be shorter), in order."""
    width = max(1, math.ceil(len(points) / max_points))
    stretches = [points[start : start + width] for start in range(0, len(points), width)]
    return tuple(
        Point(*(math.fsum(values) / len(stretch) for values in zip(*stretch, strict=True))) for stretch in stretches
    )


def read_json(path: str) -> dict[str, Any] | None:
    """An object of JSON, None when there is no such file."""
    if storage.file_bytes(path) is None:
        return None
    try:
        content: dict[str, Any] = json.loads(storage.read_bytes(path))
    except ValueError as error:
        raise DataError(path, "not JSON", hint="Remove the file, or make it again.") from error
    return content


def read_json_lines(path: str) -> list[dict[str, Any]]:
    """The objects of a log; empty when there is none. A half line at its end, of a writer that works or was killed, is left out."""
    if storage.file_bytes(path) is None:
        return []
    found = []
    for number, line in enumerate(storage.read_bytes(path).split(b"\n")[:-1], 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise DataError(path, "not a line of JSON", number) from error
    return found


def read_text(path: str) -> str | None:
    """A text file, None when there is none."""
    return None if storage.file_bytes(path) is None else storage.read_bytes(path).decode(errors="replace")
