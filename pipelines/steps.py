"""What a step of a recipe gets and gives, and the fingerprints by which finished work is found again."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from pydantic import Field
from pyspark.sql import SparkSession

from dolma_py import config, storage, views
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.done import DoneFile, read_done_lines, render_line, stand_files
from dolma_py.errors import ConfigError, DataError
from dolma_py.input_files import Found, describe_left_out, find_files
from dolma_py.listing import Split, plan_splits
from dolma_py.views import View
from pipelines.units import Progress, Unit, UnitTimes, Work, run_units

logger = logging.getLogger("dolma_py.build")

SPLIT_BYTES = 32 << 20  # of text in one task


class Rule(Config):
    """A line that a step adds to the view once its attributes are there."""

    name: str = Field(description="what the funnel calls it")
    attributes: str | None = Field(default=None, description="attribute set of this step; null: its only one")
    keep: str | None = Field(default=None, description="rule over the set's columns; see dolma_py.rules")
    edit: str | None = Field(default=None, description="spans column whose bytes leave the text")
    min_text_bytes: int | None = Field(default=None, ge=0, description="least bytes of text after the edits before")
    sources: list[str] | None = Field(default=None, description="only for these sources")
    except_sources: list[str] | None = Field(default=None, description="not for these sources")


class SettingsPlace(NamedTuple):
    """Where the user gave the settings of a step, so that errors name them as --set of the same command takes them."""

    prefix: str  # before the name of a setting: "steps.tag." of a recipe, "step." of a job's file, nothing of a command
    where: str = ""  # their file

    def key(self, setting: str) -> str:
        """What --set of the user's command takes for a setting of the step."""
        return self.prefix + setting


COMMAND = SettingsPlace("")  # settings of a command of one job


class StepContext(NamedTuple):
    """Everything a job may use."""

    spark: Callable[[], SparkSession]  # opens the session at its first call
    corpus: Corpus
    view: View | None  # None before ingest, and for jobs without one (READS_VIEW)
    name: str  # of the step
    folder: str  # runs/<recipe>/<step>, relative to the corpus
    fingerprint: str  # of all that decides this step's output
    seed: int
    artifacts: dict[str, str]  # name -> path relative to the corpus
    partitions: int | None = None
    split_bytes: int = SPLIT_BYTES
    progress: Progress | None = None
    phase_times: list[UnitTimes] | None = None  # gets what the tasks of every phase cost
    place: SettingsPlace = COMMAND  # where the user gave the step's settings

    @property
    def work(self) -> str:
        """Where intermediate files lie until the step is complete."""
        return f"{self.folder}/work"

    @property
    def attempts(self) -> str:
        return f"{self.work}/attempts"

    def need_view(self) -> View:
        if self.view is None:
            raise ConfigError("steps", self.name, "expected a step that ingests documents before this one")
        return self.view

    def plan_splits(self) -> list[Split]:
        """The splits of the view's shards."""
        listing = views.check_listing(self.need_view(), self.corpus.read_listing())
        return plan_splits(listing, self.split_bytes)

    def done(self, phase: str, layout: Any = None) -> DoneFile:
        """The done file of one phase of the step.

        layout: what cuts this phase's files, where that follows from settings or numbers outside the step's fingerprint; JSON values.
        """
        values = [self.fingerprint, phase] if layout is None else [self.fingerprint, phase, layout]
        return DoneFile(self.corpus.root, f"{self.work}/{phase}", config.fingerprint(*values))

    def run_units(
        self, phase: str, units: list[Unit], work: Work, *, here: bool = False, layout: Any = None
    ) -> tuple[DoneFile, UnitTimes]:
        """Run a phase's units, on Spark or in processes of this machine, and put its done file in order; layout as in `done`."""
        done = self.done(phase, layout)
        times = run_units(
            self.spark,
            units,
            work,
            done=done,
            attempts=self.attempts,
            partitions=self.partitions,
            progress=self.progress,
            here=here,
        )
        if self.phase_times is not None:
            self.phase_times.append(times)
        names = {unit.name for unit in units}
        done.units = {name: line for name, line in done.units.items() if name in names}
        done.finish()
        return done, times

    def setting_key(self, setting: str) -> str:
        """What --set of the user's command takes for a setting of this step."""
        return self.place.key(setting)

    def artifact(self, name: str) -> str:
        """The absolute path of an artifact of an earlier step."""
        if name not in self.artifacts:
            key = self.place.prefix.removesuffix(".") or self.name
            raise ConfigError(key, name, f"expected an artifact of an earlier step, one of {sorted(self.artifacts)}")
        return self.corpus.path(self.artifacts[name])


class StepResult(NamedTuple):
    """What a job leaves for the steps after it."""

    attributes: dict[str, str] = {}  # attribute set -> fingerprint
    artifacts: dict[str, str] = {}  # name -> path relative to the corpus
    files: dict[str, int] = {}  # other files the step made, relative to the corpus -> bytes
    facts: dict[str, Any] = {}  # deterministic numbers for the manifest
    times: dict[str, Any] = {}  # for run.json


def find_rule_set(place: SettingsPlace, rule: Rule, sets: Collection[str], earlier: Collection[str] = ()) -> str | None:
    """The attribute set that a rule is over: the one it names, else the step's only one; None for a rule over no set.

    sets: those of the step; earlier: those of the steps before, which a rule may name.
    """
    name = rule.attributes
    if name is None and rule.min_text_bytes is None and len(sets) == 1:
        (name,) = sets
    if name not in sets and name not in earlier and not (name is None and rule.min_text_bytes is not None):
        key = place.key(f"rules.{rule.name}.attributes")
        raise ConfigError(key, name, f"expected one of {sorted(sets)}", where=place.where)
    return name


def split_params(context: StepContext, split: Split) -> dict[str, Any]:
    """What a task needs to read a split of the view."""
    return {"root": context.corpus.root, "view": config.dump_config(context.need_view()), "split": list(split)}


def split_name(split: Split) -> str:
    """shard-00003-group-00012-00015: the split's row groups; sorts in corpus order."""
    return f"shard-{split.shard:05d}-group-{split.first_group:05d}-{split.last_group:05d}"


def file_lists(done: DoneFile) -> list[dict[str, Any]]:
    """The files of a complete phase, in order of unit names."""
    return [file for name in sorted(done.units) for file in done.units[name]["files"]]


def start_attribute_set(corpus: Corpus, name: str, fingerprint: str) -> None:
    """Before the first file of a set is replaced, take back the claim that it is complete."""
    path = corpus.path("attributes", name, "_done.jsonl")
    lines = read_done_lines(path)
    if lines and lines[0]["fingerprint"] != fingerprint:
        storage.remove_file(path)


def finish_attribute_set(corpus: Corpus, name: str, fingerprint: str, files: list[dict[str, Any]]) -> None:
    """All files of the set are there: say so in its `_done.jsonl`, and remove files that no longer belong."""
    ordered = sorted(files, key=lambda file: str(file["path"]))
    line = {"unit": name, "fingerprint": fingerprint, "files": ordered, "facts": {}}
    storage.write_bytes(corpus.path("attributes", name, "_done.jsonl"), render_line(line))
    known = {corpus.path(file["path"]) for file in ordered} | {corpus.path("attributes", name, "_done.jsonl")}
    for info in storage.list_files(corpus.path("attributes", name)):
        if info.path not in known:
            storage.remove_file(info.path)


def attribute_set_stands(corpus: Corpus, name: str, fingerprint: str) -> bool:
    """Whether the set was completed with this fingerprint and all its files are still there."""
    lines = read_done_lines(corpus.path("attributes", name, "_done.jsonl"))
    if not lines or lines[0]["fingerprint"] != fingerprint:
        return False
    return stand_files(corpus.root, [lines[0]["files"]])[0]


def fingerprint_named_sets(corpus: Corpus, settings: dict[str, Any]) -> dict[str, str]:
    """Fingerprints of the attribute sets that settings name, as "SET" or "SET.COLUMN": their content decides the step's output.

    `settings` are without the step's rules, which speak of sets that the step itself makes.
    """
    text = json.dumps(settings)
    done = (info.path for info in storage.list_files(corpus.path("attributes")) if info.path.endswith("/_done.jsonl"))
    names = sorted(path.rsplit("/", 2)[1] for path in done)
    used = [name for name in names if f'"{name}"' in text or f'"{name}.' in text]
    lines = {name: read_done_lines(corpus.path("attributes", name, "_done.jsonl")) for name in used}
    return {name: found[0]["fingerprint"] for name, found in lines.items() if found}


def checksum_if_file(value: Any) -> Any:
    """The checksum of a file that a setting names, or of the tokenizer.json in a folder, else the value: a file may change behind its name."""
    if isinstance(value, str) and 0 < len(value) < 4096:
        inner = value if storage.is_remote(value) else storage.join_path(value, "tokenizer.json")
        for path in (value, inner):
            if storage.file_bytes(path) is not None:
                return storage.checksum_file(path)
    return value


def check_attribute_sets(corpus: Corpus, view: View) -> None:
    """Raise DataError when an attribute set of the view is incomplete or was made again for something else."""
    for step in view.steps:
        if step.attributes is None:
            continue
        lines = read_done_lines(corpus.path("attributes", step.attributes, "_done.jsonl"))
        if not lines or lines[0]["fingerprint"] != step.fingerprint:
            raise DataError(
                corpus.path("attributes", step.attributes), f"incomplete, or not those of view {view.name}",
                hint="Run the recipe again from the step that makes them.",
            )  # fmt: skip


def expand_inputs(patterns: list[str], *, corpus: Corpus, key: str = "inputs") -> Found:
    """Files of paths, folders and globs; `{corpus}` stands for the corpus folder. ConfigError for a pattern without files, under `key`."""
    parts = []
    for pattern in patterns:
        is_own = "{corpus}" in pattern
        path = pattern.replace("{corpus}", corpus.root)
        found = find_files(storage.resolve_path(path))
        hint = "Give --input, or put files there." if is_own and key.endswith("inputs") else ""
        check_found(found, key, path, hint)
        parts.append(found)
    files = {info.path: info for found in parts for info in found.files}
    return Found(
        [files[path] for path in sorted(files)],
        frozenset().union(*(found.named for found in parts)),
        sorted({path for found in parts for path in found.folders}),
        sorted({path for found in parts for path in found.left_out}),
    )


def check_found(found: Found, key: str, pattern: str, hint: str = "") -> None:
    """Raise ConfigError when nothing is left of what a pattern names; hint: what to do, where that is known."""
    if not found.files:
        left_out = f"Of what is there, {describe_left_out(found.left_out)}." if found.left_out else ""
        raise ConfigError(
            key, pattern, "expected at least one file", left_out or hint or "Check the path; quote globs."
        )


def find_worst(rejected: Iterable[tuple[str, dict[str, int]]]) -> tuple[str, int]:
    """("input: reason", records) of the most rejected for one reason, of (input, counts by reason); the first of equals.

    An input that was read in ranges stands there more than once; its counts are added up.
    """
    counts: Counter[str] = Counter()
    for path, of_input in rejected:
        counts.update({f"{path}: {reason}": number for reason, number in sorted(of_input.items())})
    return counts.most_common(1)[0]
