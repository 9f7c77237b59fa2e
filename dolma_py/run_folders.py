"""Training runs by their folders: names of checkpoints, and the JSON files that runs and evaluations leave. Nothing here loads torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from dolma_py.errors import ConfigError, DataError

_STEP_FOLDER = re.compile(r"^step(\d+)$")


class RunFiles(NamedTuple):
    """What stands in the folder of a run."""

    name: str  # as it was asked for
    identity: dict[str, Any]  # config.json: all that decides the weights
    step: int | None  # of the checkpoint that was evaluated, or that the name says
    evaluation: dict[str, Any] | None  # eval.json, or eval-stepSTEP.json of RUN@STEP
    metrics: dict[str, Any] | None  # metrics.json of a finished run


def split_run(run: str) -> tuple[Path, int | None]:
    """RUN@STEP as folder and step; None where no step is named. A folder whose name looks like it is a folder.

    Examples
    --------
    >>> split_run("runs/a@1000")
    (PosixPath('runs/a'), 1000)
    >>> split_run("runs/a")
    (PosixPath('runs/a'), None)
    """
    match = re.fullmatch(r"(.+)@(\d+)", run)
    return (Path(match[1]), int(match[2])) if match and not Path(run).is_dir() else (Path(run), None)


def list_steps(folder: Path) -> list[int]:
    """Steps of the whole checkpoints below the folder of a run, rising."""
    matches = [_STEP_FOLDER.match(path.name) for path in folder.glob("checkpoints/*")]
    return sorted(int(match[1]) for match in matches if match)


def read_run_files(run: str, *, evaluation_name: str | None = None) -> RunFiles:
    """RUN or RUN@STEP. ConfigError where it is not the folder of a run, DataError for a file that is damaged.

    evaluation_name: file of `eval --output`, seen from the run's folder; None: what `eval` names it without
    """
    folder, step = split_run(run)
    identity = _read_object(folder / "config.json")
    if identity is None or not isinstance(identity.get("config"), dict):
        raise ConfigError("RUN", run, "expected the folder of a training run, with config.json", "Run: dolma-py train")
    name = evaluation_name or ("eval.json" if step is None else f"eval-step{step:07d}.json")
    evaluation = _read_object(folder / name)
    metrics = _read_object(folder / "metrics.json") if step is None else None
    if evaluation is not None:
        evaluated = str(evaluation.get("checkpoint", "")).removeprefix("step")
        if not evaluated.isdigit():
            raise DataError(str(folder / name), "is not an evaluation of dolma-py eval")
        step = int(evaluated)
    return RunFiles(run, identity, step, evaluation, metrics)


def _read_object(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(str(path), f"cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise DataError(str(path), "is not an object of JSON")
    return values
