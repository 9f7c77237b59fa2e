"""Runs that compare data: each is `dolma-py train` (or another command that trains) and `dolma-py eval` as subprocesses, in a folder of its own.

A run has a folder named by all that decides its result, so a run that is done is done for every later command, and one that was killed goes
on from its checkpoint. A result counts only when its file stands under its name. The lock of a run's folder is handed to its subprocess:
where this process is killed and the subprocess goes on, the next command waits for it and never trains beside it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dolma_py import storage
from dolma_py.config import fingerprint
from dolma_py.errors import ConfigError, DataError
from dolma_py.manifest import render_json
from mixers.mix_optimize_config import TaskConfig

COMMAND = (sys.executable, "-m", "dolma_py")
RUNS_VERSION = 1  # raised when the same settings may give other results
SPARE_INSTANCES = 2  # of each source, above what a run reads: shares and files are rounded down
_STOPPED = "stopped"  # in place of a problem, where a subprocess was not begun
logger = logging.getLogger("dolma_py.mix")


class Source(NamedTuple):
    """Token shards as their manifest describes them."""

    shards: str
    tokens: int
    instances: int  # of the runs' length; files are cut each alone
    identity: str  # of what the shards hold
    heldout: dict[str, Any]


class Evaluation(NamedTuple):
    """One subprocess of `dolma-py eval`, and the tasks that it measures."""

    shards: str
    heldout: dict[str, str]  # task -> name of its held-out documents
    items: dict[str, str]  # task -> file of its items


class Trial(NamedTuple):
    """One run: what is trained, and what it is called."""

    identity: str  # fingerprint of all that decides its result
    shares: dict[str, float]
    arguments: list[str]  # of the command that trains, its name first, without --output
    label: str = ""  # before the shares in lines of progress

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.identity[:16]


def read_source(key: str, shards: str, sequence_tokens: int) -> Source:
    """ConfigError, naming the setting `key`, where the folder has no manifest of token shards or less than one instance."""
    folder = storage.resolve_path(shards)
    path = storage.join_path(folder, "manifest.json")
    if not storage.path_exists(path):
        raise ConfigError(key, shards, "expected a folder of token shards with manifest.json", "Run: dolma-py tokenize")
    try:
        manifest = json.loads(storage.read_bytes(path))
        files = [(int(entry["tokens"]), str(entry["checksum"])) for entry in manifest["files"]]
        identity = fingerprint(manifest["fingerprint"], files, manifest["tokenizer"]["fingerprint"])
        heldout = dict(manifest.get("heldout", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(path, f"is not a manifest of token shards ({type(error).__name__}: {error})") from error
    instances = sum(tokens // sequence_tokens for tokens, _ in files)
    if not instances:
        raise ConfigError(key, shards, f"expected a file of at least one instance of {sequence_tokens} tokens")
    return Source(folder, sum(tokens for tokens, _ in files), instances, identity, heldout)


def plan_evaluations(
    tasks: Mapping[str, TaskConfig], sources: Mapping[str, Source], sequence_tokens: int
) -> list[Evaluation]:
    """The least number of evaluations that measure all tasks: one for each folder of held-out documents, items with the first."""
    first = next(iter(sources.values()))
    found: dict[str, Evaluation] = {}
    for name, task in tasks.items():
        if task.heldout is None:
            continue
        shards = _heldout_source(name, task, sources, sequence_tokens)
        found.setdefault(shards, Evaluation(shards, {}, {})).heldout[name] = task.heldout
    evaluations = list(found.values()) or [Evaluation(first.shards, {}, {})]
    for name, task in tasks.items():
        if task.items is not None:
            if not Path(task.items).is_file():
                raise ConfigError(f"tasks.{name}.items", task.items, "expected a file of JSON lines")
            evaluations[0].items[name] = task.items
    return evaluations


def _heldout_source(name: str, task: TaskConfig, sources: Mapping[str, Source], sequence_tokens: int) -> str:
    key = f"tasks.{name}.heldout"
    if task.shards is not None:
        source = read_source(f"tasks.{name}.shards", task.shards, sequence_tokens)
    elif task.heldout in sources:
        source = sources[task.heldout]
    else:
        raise ConfigError(key, task.heldout, f"expected one of {sorted(sources)}, or the folder in tasks.{name}.shards")
    if task.heldout not in source.heldout:
        raise ConfigError(
            key, task.heldout, f"expected held-out documents of {source.shards}, it has {sorted(source.heldout)}"
        )
    return source.shards


def identify_evaluations(evaluations: Sequence[Evaluation], sequence_tokens: int, max_docs: int | None) -> str:
    """Fingerprint of what is measured, which files of results are named by."""
    found = []
    for evaluation in evaluations:
        source = read_source("tasks", evaluation.shards, sequence_tokens)
        wanted = {task: [name, source.heldout[name]] for task, name in evaluation.heldout.items()}
        items = {task: storage.checksum_file(path) for task, path in evaluation.items.items()}
        found.append([source.identity, wanted, items])
    return fingerprint(RUNS_VERSION, max_docs, found)


def describe_sources(
    shares: Mapping[str, float], sources: Mapping[str, Source], instances: int, *, key: str = "proxy.steps"
) -> dict[str, Any]:
    """data.sources of a run of so many instances: each source in its share, once before twice, and no more data than the run reads.

    Because a run reads its mixture whole, shares are met to an instance, not only on average. ConfigError, naming the setting `key`, for a
    share too small for one.
    """
    found = {}
    for name, share in shares.items():
        if share <= 0:
            continue
        wanted, there = share * instances, sources[name].instances
        if wanted < 1:
            rule = f"a share of {share:.3g} of {instances} instances is less than one"
            hint = "Raise proxy.steps or swarm.min_share." if key == "proxy.steps" else f"Raise {key}."
            raise ConfigError(key, name, rule, hint)
        wanted += SPARE_INSTANCES
        found[name] = {
            "path": sources[name].shards,
            "target_ratio": share,
            "max_repetition_ratio": max(1.0, wanted / there),
            "max_source_fraction": min(1.0, wanted / there),
        }
    return found


def has_command(name: str) -> bool:
    """Whether `dolma-py NAME` exists here."""
    answer = subprocess.run(
        [*COMMAND, name, "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )  # fmt: skip
    return answer.returncode == 0


class RunOptions(NamedTuple):
    """How runs are made; none of it changes a result."""

    workers: int  # at a time
    retries: int  # more tries of one that failed
    keep_weights: bool


class TrainingRuns:
    """Trains and measures trials below one folder; what is done there already is read."""

    def __init__(
        self,
        folder: str,
        evaluations: Sequence[Evaluation],
        *,
        identity: str,
        max_docs: int | None,
        options: RunOptions,
    ) -> None:
        """identity: of what is measured (identify_evaluations); max_docs: held-out documents of each source, None: all"""
        self.folder, self.evaluations, self.max_docs, self.options = Path(folder), evaluations, max_docs, options
        self._evaluating = identity[:16]
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._guard, self._stopped, self._worked = threading.Lock(), threading.Event(), threading.Event()

    def folder_of(self, trial: Trial) -> Path:
        """Of the run."""
        return self.folder / trial.name

    def run_all(self, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        """What was measured of each trial: `values`, bits per byte by task, and `instances`, what they come from.

        DataError when a run failed as often as it may; the others are finished before, unless none of them works.
        """
        results: list[dict[str, Any]] = [{} for _ in trials]
        failures: list[str] = []
        self._stopped.clear()
        self._worked.clear()
        with ThreadPoolExecutor(self.options.workers) as pool:
            waiting = {pool.submit(self._run_one, trial): number for number, trial in enumerate(trials)}
            num_done = 0
            try:
                while waiting:
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        number = waiting.pop(future)
                        result = future.result()
                        if result is None:
                            continue  # stopped before it began
                        num_done += 1
                        if isinstance(result, str):
                            failures.append(result)
                            logger.warning("run %d of %d: %s", num_done, len(trials), result)
                        else:
                            results[number] = result
                            logger.info("run %d of %d: %s", num_done, len(trials), _tell(trials[number], result))
            except BaseException:
                self._stop()
                raise
        if failures:
            raise DataError(
                str(self.folder), f"{len(failures)} of {len(trials)} runs failed, the first: {failures[0]}",
                hint="Mend what they say and run again: runs that are done stay.",
            )  # fmt: skip
        return results

    def _run_one(self, trial: Trial) -> dict[str, Any] | str | None:
        """What was measured; or what went wrong; or None where all was stopped before."""
        folder = self.folder_of(trial)
        path = folder / f"results-{self._evaluating}.json"
        for left in range(self.options.retries, -1, -1):
            if self._stopped.is_set():
                return None
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / ".lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # a subprocess that outlived its command lets go when it ends
                if path.is_file():
                    found: dict[str, Any] = json.loads(path.read_bytes())
                    self._worked.set()
                    return found
                started = time.perf_counter()
                problem = self._train(folder, trial, lock) or self._evaluate(folder, path, trial, lock)
            if problem is None:
                self._worked.set()
                return json.loads(path.read_bytes()) | {"seconds": time.perf_counter() - started}
            if problem is _STOPPED:
                return None
            if left and not self._stopped.is_set():
                logger.warning("%s; tried again, %d tries left", problem, left)
        if not self._worked.is_set():
            self._stopped.set()  # none has worked: the others would fail alike; here, before this thread takes up the next one
        return problem

    def _train(self, folder: Path, trial: Trial, lock: IO[str]) -> str | None:
        storage.write_bytes(str(folder / "mix.json"), render_json({"shares": trial.shares}))
        return self._call([*trial.arguments, "--output", str(folder / "train")], folder, lock)

    def _evaluate(self, folder: Path, path: Path, trial: Trial, lock: IO[str]) -> str | None:
        values: dict[str, float] = {}
        instances: dict[str, Any] = {}
        for number, evaluation in enumerate(self.evaluations):
            output = folder / f"eval-{self._evaluating}-{number}.json"
            command = ["eval", "--run", str(folder / "train"), "--shards", evaluation.shards, "--output", str(output)]
            limit = self.max_docs if evaluation.heldout else 1
            command += ["--max-docs", str(limit)] if limit is not None else []
            if evaluation.items:
                items = folder / f"items-{self._evaluating}.jsonl"
                storage.write_bytes(str(items), join_items(evaluation.items))
                command += ["--items", str(items)]
            problem = self._call(command, folder, lock)
            if problem is not None:
                return problem
            found = json.loads(output.read_bytes())
            for task, source in evaluation.heldout.items():
                if "bits_per_byte" not in found["sources"].get(source, {}):
                    return f"{output}: no held-out document of {source} could be measured"
                values[task] = found["sources"][source]["bits_per_byte"]
                instances[task] = found["sources"][source]["per_document"]
            for place, task in enumerate(evaluation.items):
                prefix = f"{place}/"
                per_item = {
                    name.removeprefix(prefix): bpb
                    for name, bpb in found["items"]["per_item"].items()
                    if name.startswith(prefix)
                }
                values[task] = float(np.mean(list(per_item.values())))
                # an item's value is bits per byte already, and all items weigh the same
                instances[task] = {
                    "rows": list(per_item),
                    "bits": list(per_item.values()),
                    "bytes": [1] * len(per_item),
                }
        storage.write_bytes(str(path), render_json({"shares": trial.shares, "values": values, "instances": instances}))
        if not self.options.keep_weights:
            # without its manifest the run is not complete: other tasks train it anew
            storage.remove_file(str(folder / "train" / "manifest.json"))
            storage.remove_tree(str(folder / "train" / "checkpoints"))
        return None

    def _call(self, arguments: list[str], folder: Path, lock: IO[str]) -> str | None:
        """None when the subprocess ended well; else its last words."""
        log = folder / "log.txt"
        with open(log, "ab") as stream:
            with self._guard:
                if self._stopped.is_set():
                    return _STOPPED
                process = subprocess.Popen(
                    [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                    pass_fds=[lock.fileno()],
                )  # fmt: skip
                self._processes.add(process)
            status = process.wait()
            with self._guard:
                self._processes.discard(process)
        if status == 0:
            return None
        words = log.read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
        return f"dolma-py {arguments[0]} ended with status {status}, {words[-1] if words else 'without a word'} ({log})"

    def _stop(self) -> None:
        self._stopped.set()
        with self._guard:
            for process in self._processes:
                process.terminate()


def join_items(files: Mapping[str, str]) -> bytes:
    """The items of several tasks as one file; ids are "place of the task/id". DataError for an id that comes twice."""
    lines = []
    for place, path in enumerate(files.values()):
        seen = set()
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            try:
                item = json.loads(line)
                name = str(item["id"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(path, "expected a JSON object with id", row=number) from error
            if name in seen:
                raise DataError(path, f"expected an id that no other item has, got {name!r}", row=number)
            seen.add(name)
            lines.append(json.dumps(item | {"id": f"{place}/{name}"}) + "\n")
        if not seen:
            raise DataError(path, "holds no item")
    return "".join(lines).encode()


def _tell(trial: Trial, result: Mapping[str, Any]) -> str:
    mix = " ".join(f"{name} {share:.3f}" for name, share in trial.shares.items() if share > 0)
    values = " ".join(f"{task} {value:.4f}" for task, value in result["values"].items())
    seconds = f" ({result['seconds']:.0f} s)" if "seconds" in result else ""
    return f"{trial.label}{mix}: {values} bits per byte{seconds}"
