"""What a run leaves: `manifest.json`, the same for the same input, config and seed, and `run.json`, all the rest."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import socket
import time
from collections.abc import Iterator
from typing import Any

from dolma_py import storage
from dolma_py.errors import DataError
from dolma_py.machine import read_peak_bytes

PACKAGES = (
    "dolma-py",
    "numpy",
    "pyarrow",
    "numba",
    "pyspark",
    "tokenizers",
    "tiktoken",
    "fasttext-numpy2",
    "resiliparse",
    "torch",
)


def write_manifest(folder: str, manifest: dict[str, Any]) -> None:
    """The deterministic file; written last, its presence means the step is complete."""
    storage.write_bytes(storage.join_path(folder, "manifest.json"), render_json(manifest))


def read_manifest(folder: str) -> dict[str, Any] | None:
    """The manifest of a complete step, None when there is none."""
    path = storage.join_path(folder, "manifest.json")
    if storage.file_bytes(path) is None:
        return None
    try:
        content: dict[str, Any] = json.loads(storage.read_bytes(path))
    except ValueError as error:
        raise DataError(path, "not JSON", hint="Remove the file to run the step again.") from error
    return content


def iterate_manifests(runs: str, skip_damaged: bool = False) -> Iterator[dict[str, Any]]:
    """The manifests of all complete steps, `runs`/RECIPE/STEP/manifest.json, in the order of their paths.

    Lists two levels of folders, never a step's work files. Raises DataError at a damaged one, or leaves it out.
    """
    for recipe in storage.list_folder(runs):
        folder = storage.join_path(runs, recipe.name)
        for step in storage.list_folder(folder) if recipe.kind == "folder" else []:
            try:
                found = read_manifest(storage.join_path(folder, step.name)) if step.kind == "folder" else None
            except DataError:
                if not skip_damaged:
                    raise
                continue
            if found is not None:
                yield found


def render_json(values: Any) -> bytes:
    """Indented JSON with sorted keys and a final newline."""
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def render_line(values: Any) -> bytes:
    """One line of JSON with sorted keys."""
    return (json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_run(folder: str, facts: dict[str, Any]) -> None:
    """Times, rates, memory, host and package versions of one run; `facts` go before what describe_host says."""
    storage.write_bytes(storage.join_path(folder, "run.json"), render_json({**describe_host(), **facts}))


def read_run(folder: str) -> dict[str, Any]:
    """What write_run left in the folder."""
    content: dict[str, Any] = json.loads(storage.read_bytes(storage.join_path(folder, "run.json")))
    return content


def describe_host() -> dict[str, Any]:
    """Host, cores, Python and package versions, this process' peak memory and the time of day.

    peak_driver_bytes: the largest resident set of this Python process, without its JVM, since the step began; since the process
    began where the system does not let a process reset its peak (dolma_py.machine.reset_peak).
    """
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "host": socket.gethostname(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "peak_driver_bytes": read_peak_bytes(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def mb_per_sec(num_bytes: int, seconds: float) -> float:
    """Rate in 10^6 bytes per second of measured seconds; 0 when nothing was measured."""
    return num_bytes / 1e6 / seconds if seconds > 0 else 0.0
