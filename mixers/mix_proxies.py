"""Proxies: small models, one trained on each mix that is tried and measured on every task, as subprocesses of `dolma-py train` and `eval`.

A run has a folder named by all that decides its result, so a run that is done is done for every later command, and one that was killed goes
on from its checkpoint. A result counts only when its file stands under its name. The lock of a run's folder is handed to its subprocess:
where this process is killed and the subprocess goes on, the next command waits for it and never trains beside it.
Legend: M mixes, K tasks.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py import storage
from dolma_py.config import fingerprint
from dolma_py.errors import ConfigError, DataError
from dolma_py.manifest import render_json
from mixers.mix_optimize_config import OptimizeConfig, TaskConfig

Floats = npt.NDArray[np.float64]
COMMAND = (sys.executable, "-m", "dolma_py")
PROXY_VERSION = 1  # raised when the same settings may give other results
SPARE_INSTANCES = 2  # of each source, above what a run reads: shares and files are rounded down
logger = logging.getLogger("dolma_py.mix")


class Source(NamedTuple):
    """Token shards as their manifest describes them."""

    shards: str
    tokens: int
    instances: int  # of the proxies' length; files are cut each alone
    identity: str  # of what the shards hold
    heldout: dict[str, Any]


class Evaluation(NamedTuple):
    """One subprocess of `dolma-py eval`, and the tasks that it measures."""

    shards: str
    heldout: dict[str, str]  # task -> name of its held-out documents
    items: dict[str, str]  # task -> file of its items


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


def plan_evaluations(settings: OptimizeConfig, sources: Mapping[str, Source]) -> list[Evaluation]:
    """The least number of evaluations that measure all tasks: one for each folder of held-out documents, items with the first."""
    first = next(iter(sources.values()))
    found: dict[str, Evaluation] = {}
    for name, task in settings.tasks.items():
        if task.heldout is None:
            continue
        shards = _heldout_source(name, task, settings, sources)
        found.setdefault(shards, Evaluation(shards, {}, {})).heldout[name] = task.heldout
    evaluations = list(found.values()) or [Evaluation(first.shards, {}, {})]
    for name, task in settings.tasks.items():
        if task.items is not None:
            if not Path(task.items).is_file():
                raise ConfigError(f"tasks.{name}.items", task.items, "expected a file of JSON lines")
            evaluations[0].items[name] = task.items
    return evaluations


def _heldout_source(name: str, task: TaskConfig, settings: OptimizeConfig, sources: Mapping[str, Source]) -> str:
    key = f"tasks.{name}.heldout"
    if task.shards is not None:
        source = read_source(f"tasks.{name}.shards", task.shards, settings.proxy.sequence_tokens)
    elif task.heldout in sources:
        source = sources[task.heldout]
    else:
        raise ConfigError(key, task.heldout, f"expected one of {sorted(sources)}, or the folder in tasks.{name}.shards")
    if task.heldout not in source.heldout:
        raise ConfigError(
            key, task.heldout, f"expected held-out documents of {source.shards}, it has {sorted(source.heldout)}"
        )
    return source.shards


def describe_sources(shares: Mapping[str, float], sources: Mapping[str, Source], instances: int) -> dict[str, Any]:
    """data.sources of a run of so many instances: each source in its share, once before twice, and no more data than the run reads.

    Because a run reads its mixture whole, shares are met to an instance, not only on average. ConfigError for a share too small for one.
    """
    found = {}
    for name, share in shares.items():
        if share <= 0:
            continue
        wanted, there = share * instances, sources[name].instances
        if wanted < 1:
            rule = f"a share of {share:.3g} of {instances} instances is less than one"
            raise ConfigError("proxy.steps", name, rule, "Raise proxy.steps or swarm.min_share.")
        wanted += SPARE_INSTANCES
        found[name] = {
            "path": sources[name].shards,
            "target_ratio": share,
            "max_repetition_ratio": max(1.0, wanted / there),
            "max_source_fraction": min(1.0, wanted / there),
        }
    return found


def leave_out_small(shares: Mapping[str, float], instances: int) -> dict[str, float]:
    """Shares that sum to 1 without those below one of so many instances, which a proxy could not be trained on.

    >>> leave_out_small({"web": 0.25, "code": 0.75, "math": 0.0}, 100)
    {'web': 0.25, 'code': 0.75}
    """
    kept = {source: share for source, share in shares.items() if share * instances >= 1}
    return {source: share / sum(kept.values()) for source, share in kept.items()}


class ProxyRuns:
    """Trains and measures mixes below one folder; what is done there already is read."""

    def __init__(self, settings: OptimizeConfig, sources: Mapping[str, Source], folder: str) -> None:
        self.settings, self.sources, self.folder = settings, dict(sources), Path(folder)
        self.evaluations = plan_evaluations(settings, sources)
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._guard, self._stopped = threading.Lock(), threading.Event()
        self._training = _training_identity(settings, sources)
        self._evaluating = fingerprint(PROXY_VERSION, settings.max_docs, [self._identify(e) for e in self.evaluations])

    def folder_of(self, shares: Mapping[str, float]) -> Path:
        """Of the run on this mix."""
        return self.folder / fingerprint(self._training, {name: s for name, s in shares.items() if s > 0})[:16]

    def measure(self, mixes: Sequence[Mapping[str, float]]) -> Floats:
        """Bits per byte of every task after training on each mix, float64 (M, K), tasks in the settings' order.

        DataError when a run failed as often as it may; the others are finished before, unless none of them works.
        """
        values = np.full((len(mixes), len(self.settings.tasks)), np.nan)
        failures: list[str] = []
        self._stopped.clear()
        with ThreadPoolExecutor(self.settings.proxy.workers) as pool:
            waiting = {pool.submit(self._run_one, shares): number for number, shares in enumerate(mixes)}
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
                            logger.warning("run %d of %d: %s", num_done, len(mixes), result)
                        else:
                            values[number] = [result["values"][task] for task in self.settings.tasks]
                            logger.info("run %d of %d: %s", num_done, len(mixes), _tell(mixes[number], result))
                    if failures and len(failures) == num_done:
                        self._stopped.set()  # none works: the others would fail alike
            except BaseException:
                self._stop()
                raise
        if failures:
            raise DataError(
                str(self.folder), f"{len(failures)} of {len(mixes)} runs failed, the first: {failures[0]}",
                hint="Mend what they say and run again: runs that are done stay.",
            )  # fmt: skip
        return values

    def _run_one(self, shares: Mapping[str, float]) -> dict[str, Any] | str | None:
        """What was measured; or what went wrong; or None where all was stopped before."""
        folder = self.folder_of(shares)
        path = folder / f"results-{self._evaluating[:16]}.json"
        for left in range(self.settings.proxy.retries, -1, -1):
            if self._stopped.is_set():
                return None
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / ".lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # a subprocess that outlived its command lets go when it ends
                if path.is_file():
                    found: dict[str, Any] = json.loads(path.read_bytes())
                    return found
                started = time.perf_counter()
                problem = self._train(folder, shares, lock) or self._evaluate(folder, path, shares, lock)
            if problem is None:
                return json.loads(path.read_bytes()) | {"seconds": time.perf_counter() - started}
            if left and not self._stopped.is_set():
                logger.warning("%s; tried again, %d tries left", problem, left)
        return problem

    def _train(self, folder: Path, shares: Mapping[str, float], lock: IO[str]) -> str | None:
        proxy = self.settings.proxy
        storage.write_bytes(str(folder / "mix.json"), render_json({"shares": dict(shares)}))
        instances = proxy.steps * proxy.batch_instances
        given = [
            *proxy.overrides,
            f"run.steps={proxy.steps}",
            f"data.batch_instances={proxy.batch_instances}",
            f"data.sequence_tokens={proxy.sequence_tokens}",
            f"data.sources={json.dumps(describe_sources(shares, self.sources, instances))}",
        ]
        first = next(iter(self.sources.values()))
        command = ["train", "--config", proxy.config, "--shards", first.shards, "--output", str(folder / "train")]
        return self._call([*command, *(word for setting in given for word in ("--set", setting))], folder, lock)

    def _evaluate(self, folder: Path, path: Path, shares: Mapping[str, float], lock: IO[str]) -> str | None:
        values: dict[str, float] = {}
        for number, evaluation in enumerate(self.evaluations):
            output = folder / f"eval-{self._evaluating[:16]}-{number}.json"
            command = ["eval", "--run", str(folder / "train"), "--shards", evaluation.shards, "--output", str(output)]
            limit = self.settings.max_docs if evaluation.heldout else 1
            command += ["--max-docs", str(limit)] if limit is not None else []
            if evaluation.items:
                items = folder / f"items-{self._evaluating[:16]}.jsonl"
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
            for place, task in enumerate(evaluation.items):
                prefix = f"{place}/"
                bits = [bpb for name, bpb in found["items"]["per_item"].items() if name.startswith(prefix)]
                values[task] = float(np.mean(bits))
        storage.write_bytes(str(path), render_json({"shares": dict(shares), "values": values}))
        if not self.settings.proxy.keep_weights:
            storage.remove_tree(str(folder / "train" / "checkpoints"))
        return None

    def _call(self, arguments: list[str], folder: Path, lock: IO[str]) -> str | None:
        """None when the subprocess ended well; else its last words."""
        log = folder / "log.txt"
        with open(log, "ab") as stream:
            with self._guard:
                if self._stopped.is_set():
                    return "stopped"
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

    def _identify(self, evaluation: Evaluation) -> list[Any]:
        source = read_source("tasks", evaluation.shards, self.settings.proxy.sequence_tokens)
        wanted = {task: [name, source.heldout[name]] for task, name in evaluation.heldout.items()}
        items = {task: storage.checksum_file(path) for task, path in evaluation.items.items()}
        return [source.identity, wanted, items]


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


def _training_identity(settings: OptimizeConfig, sources: Mapping[str, Source]) -> str:
    proxy = settings.proxy
    text = Path(proxy.config).read_text(encoding="utf-8") if os.path.isfile(proxy.config) else proxy.config
    shapes = [proxy.steps, proxy.batch_instances, proxy.sequence_tokens, list(proxy.overrides)]
    return fingerprint(PROXY_VERSION, text, shapes, {name: source.identity for name, source in sources.items()})


def _tell(shares: Mapping[str, float], result: Mapping[str, Any]) -> str:
    mix = " ".join(f"{name} {share:.3f}" for name, share in shares.items() if share > 0)
    values = " ".join(f"{task} {value:.4f}" for task, value in result["values"].items())
    return f"{mix}: {values} bits per byte" + (f" ({result['seconds']:.0f} s)" if "seconds" in result else "")
