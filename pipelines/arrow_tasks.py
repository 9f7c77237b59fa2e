"""Functions of ours as Spark tasks, in workers that keep what they have loaded out of every garbage collection.

After each task Spark's worker collects garbage over all that the process holds: some 100,000 objects of numba, pyarrow and this project,
0.1 to 0.2 s on one core, many times what a small task takes itself. What a process has loaded never becomes garbage, so it is put aside once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame

FIRST_TASKS = 4  # of a process: kernels are loaded on first use, some without a new module

Batches = Iterable[pa.RecordBatch]
_set_aside = {"modules": 0, "tasks": 0}


def map_arrow(frame: DataFrame, function: Callable[[Batches], Iterator[pa.RecordBatch]], schema: str) -> DataFrame:
    """frame.mapInArrow(function, schema); `schema` names Spark's types."""

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        yield from function(batches)
        set_loaded_aside()

    return frame.mapInArrow(run, schema)


def set_loaded_aside() -> bool:
    """At the end of a task: collect garbage once, and leave what is left out of later collections (gc.freeze).

    Does nothing, and returns False, where neither a module was loaded since nor the process is new: what a task made and lost
    must stay within the collector's sight.
    """
    modules, tasks = len(sys.modules), _set_aside["tasks"] + 1
    is_new = modules != _set_aside["modules"] or tasks <= FIRST_TASKS
    if is_new:
        gc.collect()
        gc.freeze()
    _set_aside.update(modules=modules, tasks=tasks)
    return is_new
