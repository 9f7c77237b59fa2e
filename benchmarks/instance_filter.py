"""The instance filter beside OLMo-core's: the same rows, and CPU seconds for rows of 8,192 tokens.

Run:  python -m benchmarks.instance_filter [--olmo-core FOLDER] [--rows 200]
FOLDER holds an unpacked wheel of ai2-olmo-core (`pip download --no-deps ai2-olmo-core`, then unzip); its function is read out of
olmo_core/data/utils.py, so nothing else of it needs to be installed. Without it only our own time is told. Rows are random ids; those of
the comparison have planted loops of 28 to 35 copies of n-grams of 1 to 14 tokens, some with a wrong token inside.
"""

from __future__ import annotations

import argparse
import ast
import time
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolma_py.token_loops import find_looping

RULE = {"min_period": 1, "max_period": 13, "min_repeats": 32}
COMPARED_ROWS = 4000


def read_peer(folder: Path) -> Callable[..., Any]:
    """OLMo-core's find_periodic_sequences with what it calls, compiled from its source."""
    source = (folder / "olmo_core" / "data" / "utils.py").read_text()
    names = ("find_end_", "find_start_", "group_consecutive", "RepetitionTuple", "find_periodic")
    parts = [node for node in ast.parse(source).body if getattr(node, "name", "").startswith(names)]
    values: dict[str, Any] = {"np": np, **{name: getattr(typing, name) for name in typing.__all__}}
    exec(compile(ast.Module(parts, []), "utils.py", "exec"), values)
    return values["find_periodic_sequences"]


def ask_peer(peer: Callable[..., Any], row: NDArray[np.int64]) -> bool:
    found = peer(row, max_period=RULE["max_period"], min_period=RULE["min_period"])
    return any(sequence.times >= RULE["min_repeats"] for sequence in found)


def ask_ours(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    return find_looping(rows, lengths=np.full(len(rows), rows.shape[1]), **RULE)


def make_row(rng: np.random.Generator) -> NDArray[np.int64]:
    """Few kinds of ids, with loops around the border of the rule."""
    row = rng.integers(0, int(rng.integers(2, 50)), int(rng.integers(1, 900)))
    for _ in range(int(rng.integers(0, 3))):
        loop = np.tile(rng.integers(0, 3, int(rng.integers(1, 15))), int(rng.integers(28, 36)))[: len(row)]
        start = int(rng.integers(0, len(row) - len(loop) + 1))
        row[start : start + len(loop)] = loop
        if rng.random() < 0.3:
            row[int(rng.integers(0, len(row)))] = 1
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--olmo-core", type=Path, default=None)
    parser.add_argument("--rows", type=int, default=200)
    options = parser.parse_args()
    rng = np.random.Generator(np.random.PCG64(0))
    rows = rng.integers(0, 100_278, (options.rows, 8192))
    ask_ours(rows[:1])  # compiles
    started = time.process_time()
    ask_ours(rows)
    seconds = time.process_time() - started
    print(f"ours: {1e6 * seconds / options.rows:.1f} microseconds of CPU per row of 8,192 tokens")
    if options.olmo_core is None:
        return
    peer = read_peer(options.olmo_core)
    started = time.process_time()
    for row in rows:
        ask_peer(peer, row)
    peer_seconds = time.process_time() - started
    print(f"OLMo-core: {1e6 * peer_seconds / options.rows:.1f}, {peer_seconds / seconds:.0f} times as much")
    made = [make_row(rng) for _ in range(COMPARED_ROWS)]
    ours = [bool(ask_ours(row[None])[0]) for row in made]
    differing = sum(mine != ask_peer(peer, row) for mine, row in zip(ours, made, strict=True))
    print(f"{differing} of {COMPARED_ROWS} rows differ; {sum(ours)} have a loop")


if __name__ == "__main__":
    main()
