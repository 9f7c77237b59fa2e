"""Run units of work on Spark's tasks: each writes attempt files, the driver publishes them as they finish.

A unit is one named piece of a step: which splits, pools or buckets there are comes from the plan, so names, number and
bytes of files do not depend on cores, executors or partitions. Text never passes through Spark here; a task gets paths
and returns a receipt.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from dolma_py.done import DoneFile
from dolma_py.errors import ConfigError, DolmaError, StoreUnavailableError, describe_os_error
from dolma_py.machine import count_cores, read_peak_bytes, reset_peak
from dolma_py.storage import WrittenFile
from pipelines.arrow_tasks import map_arrow

logger = logging.getLogger(__name__)

# (params of the unit, folder for attempt files relative to the corpus) -> (files, facts for the manifest)
Work = Callable[[dict[str, Any], str], tuple[list[WrittenFile], dict[str, Any]]]
Progress = Callable[[str, int, int], None]  # (what, done bytes, all bytes)

RECEIPT = "unit string, receipt string"
_RECEIPT_SCHEMA = pa.schema([("unit", pa.string()), ("receipt", pa.string())])
WAVES_IN_FLIGHT = 2  # while one wave ends, the next one fills the cores that are free


class Unit(NamedTuple):
    name: str  # unique in its step; _done.jsonl is ordered by it
    params: dict[str, Any]  # JSON values
    num_bytes: int  # of text, for progress and balance


class UnitTimes(NamedTuple):
    """What the tasks of a step cost; goes to run.json, never into data.

    peak_worker_bytes: the largest resident set that a worker's Python process had during one of the units; where the system does
    not let a process reset its peak (dolma_py.machine.reset_peak), since the worker began, which may have served earlier steps.
    """

    task_sec: float
    peak_worker_bytes: int


def run_units(
    spark: Callable[[], SparkSession], units: list[Unit], work: Work, *, done: DoneFile, attempts: str,
    partitions: int | None = None, progress: Progress | None = None, here: bool = False,
) -> UnitTimes:  # fmt: skip
    """Do the units that `done` does not hold yet. `spark` opens the session and is called only when there is work.

    here: in processes of this machine instead, for units that read what only this machine has; no session is opened.
    partitions: into how many Spark partitions a wave is cut; None for one per unit. Changes no byte of any file.

    Raises
    ------
    DolmaError      what a unit raised, with the unit's name; other units of the wave are published first
    """
    left = [unit for unit in units if unit.name not in done.units]
    all_bytes = sum(unit.num_bytes for unit in units)
    done_bytes = all_bytes - sum(unit.num_bytes for unit in left)
    sizes = {unit.name: unit.num_bytes for unit in left}
    task_sec, peak = 0.0, 0
    if not left:
        return UnitTimes(0.0, 0)
    left.sort(key=lambda unit: (-unit.num_bytes, unit.name))  # long ones first: nothing waits for a straggler
    failed: list[dict[str, Any]] = []
    try:
        receipts = _run_here(left, work, attempts) if here else _run_spark(spark(), left, work, attempts, partitions)
        for receipt in receipts:
            task_sec, peak = task_sec + receipt["task_sec"], max(peak, receipt["peak_bytes"])
            if "error" in receipt:
                failed.append(receipt)
                continue
            done.publish(receipt["unit"], [WrittenFile(*file) for file in receipt["files"]], receipt["facts"])
            done_bytes += sizes[receipt["unit"]]
            if progress:
                progress(done.folder, done_bytes, all_bytes)
    finally:
        done.save()  # also when Spark gave a task up: what was published stays done
    if failed:
        raise _read_error(failed)
    return UnitTimes(task_sec, peak)


def _read_error(failed: list[dict[str, Any]]) -> DolmaError:
    """What the first of the failed units raised; of a setting, so that the runner can name it as the user's command does."""
    first = failed[0]
    note = f"[unit {first['unit']}]" + (f" ({len(failed) - 1} more units failed.)" if len(failed) > 1 else "")
    if "setting" in first:
        found = first["setting"]
        return ConfigError(found["key"], found["got"], found["rule"], f"{found['hint']} {note}".strip(), found["where"])
    return DolmaError(f"{first['error']} {note}")


def _run_here(units: list[Unit], work: Work, attempts: str) -> Iterator[dict[str, Any]]:
    """Receipts as units end, in processes that start afresh: this one has threads, and perhaps a JVM, that a fork would break."""
    waiting, running = list(reversed(units)), set[Future[dict[str, Any]]]()
    context, at_once = multiprocessing.get_context("spawn"), min(count_cores(), len(units))
    try:
        with ProcessPoolExecutor(at_once, context, _end_with_parent, (os.getpid(),)) as pool:
            while waiting or running:
                while waiting and len(running) < at_once:
                    unit = waiting.pop()
                    running.add(pool.submit(_run_unit, unit.name, unit.params, work, attempts))
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    receipt = future.result()
                    if "error" in receipt:
                        waiting = []  # what runs is heard out
                    yield receipt
    except BrokenProcessPool as error:
        text = f"a process of this machine was killed ({error}). Give it more memory and run again."
        raise DolmaError(text) from error


def _end_with_parent(parent: int) -> None:
    """In a process of the pool: end when the one that started it was killed, instead of waiting for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_spark(
    session: SparkSession, units: list[Unit], work: Work, attempts: str, partitions: int | None
) -> Iterator[dict[str, Any]]:
    """Receipts of all units as waves end; no new wave starts after one with an error, and waves in flight are heard out."""
    size = 2 * session.sparkContext.defaultParallelism
    waiting = [units[start : start + size] for start in range(0, len(units), size)][::-1]
    gave_up: Py4JError | PySparkException | None = None
    running: set[Future[list[dict[str, Any]]]] = set()
    with ThreadPoolExecutor(WAVES_IN_FLIGHT) as pool:
        while waiting or running:
            while waiting and len(running) < WAVES_IN_FLIGHT:
                running.add(pool.submit(_run_wave, session, waiting.pop(), work, attempts, partitions))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                try:
                    receipts = future.result()
                except (Py4JError, PySparkException) as error:
                    gave_up, waiting = gave_up or error, []
                    continue
                if any("error" in receipt for receipt in receipts):
                    waiting = []
                yield from receipts
    if gave_up is not None:
        raise gave_up


def _run_wave(
    session: SparkSession, units: list[Unit], work: Work, attempts: str, partitions: int | None
) -> list[dict[str, Any]]:
    params = [(unit.name, json.dumps(unit.params)) for unit in units]

    def run_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                name, values = params[index]
                receipt = json.dumps(_run_unit(name, json.loads(values), work, attempts))
                yield pa.RecordBatch.from_pydict({"unit": [name], "receipt": [receipt]}, _RECEIPT_SCHEMA)

    frame = session.range(0, len(units), 1, min(partitions or len(units), len(units)))
    rows = map_arrow(frame, run_batches, RECEIPT).collect()  # one short row per unit of the wave
    return [json.loads(row.receipt) for row in rows]


def _run_unit(name: str, params: dict[str, Any], work: Work, attempts: str) -> dict[str, Any]:
    """On the executor. Errors a user can mend become part of the receipt; anything else fails the task and Spark tries again."""
    reset_peak()  # the process may have done other units before
    start = time.perf_counter()
    receipt: dict[str, Any] = {"unit": name}
    try:
        files, facts = work(params, attempts)
        receipt |= {"files": [list(file) for file in files], "facts": facts}
    except DolmaError as error:
        receipt["error"] = str(error)
        if isinstance(error, ConfigError):
            got = error.got if isinstance(error.got, str | int | float | list | None) else repr(error.got)
            receipt["setting"] = {
                "key": error.key, "got": got, "rule": error.rule, "hint": error.hint, "where": error.where,
            }  # fmt: skip
    except StoreUnavailableError:  # Spark tries again
        raise
    except MemoryError as error:  # of this machine, as a disk's: trying again on it would end the same way
        receipt["error"] = f"MemoryError: {error}. Free memory and run again: what was finished stays."
    except OSError as error:
        receipt["error"] = describe_os_error(error, names_trace=False)
    receipt["task_sec"] = time.perf_counter() - start
    receipt["peak_bytes"] = read_peak_bytes()
    return receipt
