"""What workers have loaded is collected once and then left alone; what tasks make stays within the collector's sight."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import weakref
from pathlib import Path

import pyarrow as pa

from pipelines import arrow_tasks


class Node:
    """May be part of a cycle."""


def test_loaded_things_are_put_aside_when_there_are_new_ones(monkeypatch):
    monkeypatch.setattr(arrow_tasks, "_set_aside", {"modules": 0, "tasks": 0})
    try:
        answers = [arrow_tasks.set_loaded_aside() for _ in range(arrow_tasks.FIRST_TASKS + 2)]
        assert answers == [True] * arrow_tasks.FIRST_TASKS + [False, False]
        monkeypatch.setitem(sys.modules, "a_module_that_was_loaded", object())
        assert arrow_tasks.set_loaded_aside() and gc.get_freeze_count() > 1000
        node = Node()
        node.itself = node
        gone = weakref.ref(node)
        assert not arrow_tasks.set_loaded_aside()
        del node
        gc.collect()
        assert gone() is None
    finally:
        gc.unfreeze()


def test_a_cycle_that_is_garbage_is_not_kept():
    """In a process of its own: nothing that was lost before the first task is put aside with what is loaded."""
    code = """
import weakref
from pipelines import arrow_tasks
class Node: pass
node = Node(); node.itself = node; gone = weakref.ref(node); del node
arrow_tasks.set_loaded_aside()
assert gone() is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def tell_frozen(batches):
    for batch in batches:
        yield pa.RecordBatch.from_pydict({"frozen": [gc.get_freeze_count()] * batch.num_rows})


def test_workers_collect_little(spark):
    """After a first round of tasks, each process has most of its objects aside."""
    for _ in range(3):
        frozen = arrow_tasks.map_arrow(spark.range(0, 64, 1, 8), tell_frozen, "frozen long").collect()
    assert min(row.frozen for row in frozen) > 10_000


def test_every_task_goes_through_here():
    """Another call of Spark's own mapInArrow would bring the collections back."""
    folder = Path(arrow_tasks.__file__).parent
    users = [path.name for path in folder.glob("*.py") if re.search(r"\.mapInArrow\(", path.read_text())]
    assert users == ["arrow_tasks.py"]
