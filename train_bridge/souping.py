"""The mean of several runs' weights, tensor by tensor: the whole of `dolma-py soup`.

Source: model soups, Wortsman et al. 2022 (arXiv 2203.05482); the Olmo 3 report averages two mid-training runs and the last three
checkpoints of the 32B long-context run. Moments are left out: those of one run do not fit the mean of several.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.planner import WriteItem

from dolma_py.config import fingerprint
from dolma_py.errors import ConfigError, DataError
from train_bridge.checkpoint import (
    CHECKPOINT_FORMAT,
    TENSORS_FOLDER,
    OpenCheckpoint,
    Snapshot,
    commit,
    open_checkpoint,
    write_json,
    write_partial,
)
from train_bridge.checkpoint_tensors import MODEL, names_of, read_tensors
from train_bridge.forking import find_checkpoint, local_path, read_identity, split_run
from train_bridge.loader import first_difference
from train_bridge.metrics import LOGGER

_NOT_COMPARED = ("init_std", "init_cut_std")


class _Input(NamedTuple):
    """One of the runs."""

    name: str
    folder: Path
    checkpoint: OpenCheckpoint
    identity: dict[str, Any]


def soup(*, runs: list[str], weights: list[float], output: str) -> dict[str, Any]:
    """Write a folder that `train --from`, eval, generate and export read as a run of one checkpoint.

    Parameters
    ----------
    runs : list      RUN@STEP, or RUN for its newest checkpoint; averages may be averaged again
    weights : list   of each in the mean, divided by their sum; empty: all the same
    output : str     a folder that is not there yet

    Returns  its config.json. The mean is taken in float64 and stored in float32; one tensor at a time is in memory: 8 bytes per
    element of the largest for the sum and about 12 more while a tensor is read or written.

    Raises  ConfigError for runs of another model or tokenizer, naming the field
    """
    target = local_path("--output", output)
    if target.exists():
        hint = "Remove it, or choose another."
        raise ConfigError("--output", output, "expected a folder that is not there yet", hint)
    weights = _check_weights(weights, len(runs))
    shares = [weight / sum(weights) for weight in weights]
    inputs = [_open(name) for name in runs]
    for other in inputs[1:]:
        _check_alike(inputs[0], other)
    shapes = _shapes(inputs[0].checkpoint)
    for other in inputs[1:]:
        difference = first_difference(_shapes(other.checkpoint), shapes)
        if difference is not None:
            raise DataError(str(other.checkpoint.folder), f"has no {difference[0]} of the shape {difference[2]}")
    first = inputs[0]
    identity = {
        "config": first.identity["config"],
        "tokenizer_fingerprint": first.identity["tokenizer_fingerprint"],
        "averaged": [
            {"fingerprint": fingerprint(one.identity), "step": one.checkpoint.state["step"], "share": share}
            for one, share in zip(inputs, shares, strict=True)
        ],
    }
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write_mean(partial, inputs, weights, shapes)
        for name in ("tokenizer.json", "tokens.json"):
            if (first.folder / name).is_file():
                shutil.copyfile(first.folder / name, partial / name)
        write_json(partial / "config.json", identity)
        manifest = {"format": "dolma-py-average", "fingerprint": fingerprint(identity), **identity}
        write_json(partial / "manifest.json", manifest)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    names = ", ".join(f"{share:.4g} of {name}" for name, share in zip(runs, shares, strict=True))
    LOGGER.info("%s: the mean of %d tensors, %s", output, len(shapes), names)
    return identity


def _check_weights(weights: list[float], num_runs: int) -> list[float]:
    if num_runs < 1:
        raise ConfigError("RUN", num_runs, "expected one run or more")
    weights = weights or [1.0] * num_runs
    if len(weights) != num_runs:
        raise ConfigError("--weight", weights, f"expected one for each of the {num_runs} runs, or none")
    total = sum(weights)
    if not 0 < total < float("inf"):
        raise ConfigError("--weight", weights, "expected numbers with a sum above 0")
    return weights


def _open(name: str) -> _Input:
    folder, _ = split_run(name)
    return _Input(name, folder, open_checkpoint(find_checkpoint(name, option="RUN")), read_identity(folder))


def _check_alike(first: _Input, other: _Input) -> None:
    models = [
        {key: value for key, value in one.identity["config"]["model"].items() if key not in _NOT_COMPARED}
        for one in (first, other)
    ]
    tokenizers = [one.identity["tokenizer_fingerprint"] for one in (first, other)]
    difference = first_difference(models[0], models[1], "model") or first_difference(
        *tokenizers, "tokenizer_fingerprint"
    )
    if difference is not None:
        field, wanted, found = difference
        raise ConfigError("RUN", other.name, f"expected {field} {wanted!r} as in {first.name}, not {found!r}")


def _shapes(checkpoint: OpenCheckpoint) -> dict[str, list[int]]:
    stored = checkpoint.metadata.state_dict_metadata
    return {name: list(stored[name].size) for name in names_of(checkpoint.metadata, MODEL)}


def _write_mean(output: Path, inputs: list[_Input], weights: list[float], shapes: dict[str, list[int]]) -> None:
    def mean(name: str) -> Tensor:
        total = torch.zeros(shapes[name], dtype=torch.float64)
        for one, weight in zip(inputs, weights, strict=True):
            part = {name: torch.empty(shapes[name], dtype=torch.float32)}
            read_tensors(one.checkpoint.folder / TENSORS_FOLDER, one.checkpoint.metadata, part)
            total.add_(part[name], alpha=weight)
        # the division last: equal weights then give the mean to the last bit
        return total.div_(sum(weights)).to(torch.float32)

    empty = {name: torch.empty(shape, dtype=torch.float32, device="meta") for name, shape in shapes.items()}
    # step 0: a new run's steps and an average's have nothing in common
    values = {"format": CHECKPOINT_FORMAT, "step": 0, "kind": "permanent", "loader": {}, "optimizer": None}
    snapshot = Snapshot(0, empty, values)
    commit(write_partial(output, snapshot, planner=_LazyPlanner(mean)), snapshot)


class _LazyPlanner(dcp.DefaultSavePlanner):
    """Makes each tensor when it is written; its plan is made of tensors without memory."""

    def __init__(self, make: Callable[[str], Tensor]) -> None:
        super().__init__()
        self._make = make

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        return self._make(write_item.index.fqn)
