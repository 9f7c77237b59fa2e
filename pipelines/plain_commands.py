"""`dolma-py dedup|tag|decontaminate --input FILES --output DIR`: one job over plain files, for people who want only that.

Three steps of one recipe in one session: read the texts into DIR/.dolma-py, run the job there as over any corpus, write the
files again. A killed command is given again; a finished one says so; another setting of the job redoes what depends on it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dedup.keepers import KeepPolicy
from dolma_py import config, manifest, storage
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from pipelines import costs
from pipelines.build_recipe import BuildOptions, Outcome, build_from
from pipelines.done_steps import State
from pipelines.read_plain_files import WORK_FOLDER, ReadPlainConfig, check_first_file
from pipelines.recipe import Recipe, build_step, build_steps, check_steps
from pipelines.steps import COMMAND, SettingsPlace

PLAIN_KINDS = ("tag", "dedup_exact", "dedup_urls", "dedup_paragraphs", "dedup_minhash", "dedup_substring")


class PlainOptions(NamedTuple):
    """What the command line says about plain files."""

    inputs: list[str]
    output: str | None
    text_column: str
    id_column: str | None
    mark: bool


def plan_plain(
    kind: str, settings: dict[str, Any], run: dict[str, Any], plain: PlainOptions, place: SettingsPlace = COMMAND
) -> dict[str, Any]:
    """What run_plain would cost."""
    recipe, corpus = make_recipe(kind, settings, run, plain, place)
    steps = build_steps(recipe, _find_places(place))
    check_steps(steps)
    reading = steps[0].settings
    assert isinstance(reading, ReadPlainConfig), type(reading)
    check_first_file(reading)
    return costs.make_plan(recipe, steps, corpus)


def run_plain(
    kind: str, settings: dict[str, Any], run: dict[str, Any], plain: PlainOptions, options: BuildOptions,
    place: SettingsPlace = COMMAND,
) -> list[Outcome]:  # fmt: skip
    """Run the three steps and leave DIR/run.json; place: where the user gave `settings`."""
    recipe, corpus = make_recipe(kind, settings, run, plain, place)
    outcomes = build_from(recipe, corpus, options, State(None, {}), _find_places(place))
    folder = corpus.root.removesuffix(f"/{WORK_FOLDER}")
    if not all(outcome.skipped for outcome in outcomes) or not storage.path_exists(f"{folder}/run.json"):
        seconds = {outcome.name: outcome.seconds for outcome in outcomes}
        steps = [f"runs/{recipe.recipe}/{step.index:02d}-{step.name}" for step in build_steps(recipe)]
        peak = max(
            manifest.read_run(corpus.path(step))["peak_driver_bytes"] for step in steps
        )  # each is its step's own
        manifest.write_run(
            folder, {"seconds": sum(seconds.values()), "step_seconds": seconds, "peak_driver_bytes": peak}
        )
    return outcomes


def _find_places(place: SettingsPlace) -> list[SettingsPlace]:
    """Of the three steps' settings: those of reading and writing stand under `plain`."""
    ends = place._replace(prefix=place.key("plain."))
    return [ends, place, ends]


def make_recipe(
    kind: str, settings: dict[str, Any], run: dict[str, Any], plain: PlainOptions, place: SettingsPlace = COMMAND
) -> tuple[Recipe, Corpus]:
    """The steps, and the working corpus below the output folder."""
    if kind not in PLAIN_KINDS:
        rule = f"expected corpus in place of inputs: {kind} does not run over plain files, only {', '.join(PLAIN_KINDS)} do"
        raise ConfigError("inputs", plain.inputs, rule)
    if not plain.output:
        raise ConfigError("--output", plain.output, "expected a folder for the files that are written")
    folder = storage.resolve_path(plain.output)
    corpus = Corpus(storage.join_path(folder, WORK_FOLDER))
    if not storage.path_exists(corpus.root) and storage.list_files(folder):
        raise ConfigError("--output", plain.output, "expected a new or empty folder", "Give another one.")
    settings = dict(settings)
    inputs = [storage.resolve_path(pattern) for pattern in plain.inputs]
    columns = {"text_column": plain.text_column, "id_column": plain.id_column}
    plain_settings = settings.pop("plain", {})
    fields = {"metadata_fields": compared_fields(kind, run["name"], settings, place)}
    shared = {"inputs": inputs} | columns | fields | plain_settings
    steps = [
        {"kind": "read_plain", "name": "read", **shared},
        {"kind": kind, "name": run["name"], **settings},
        {"kind": "write_plain", "name": "write", **shared, "job": run["name"], "mark": plain.mark},
    ]
    if run["name"] in ("read", "write"):
        raise ConfigError("--name", run["name"], "expected another name than those of the steps before and after")
    values = {"recipe": "plain", "flow": "job", "seed": run["seed"], "steps": steps}
    return config.build_config(Recipe, values), corpus


def compared_fields(kind: str, name: str, settings: dict[str, Any], place: SettingsPlace) -> list[str]:
    """Metadata fields that a job reads of each document: its URL, and what its keep policy compares."""
    step = build_step(0, {"kind": kind, "name": name, **settings}, place).settings
    fields = list(getattr(step, "fields", ())) if kind == "dedup_urls" else []
    keep = getattr(step, "keep", None)
    names = [attribute.name for attribute in keep.columns] if isinstance(keep, KeepPolicy) else []
    fields += [found.removeprefix("metadata.") for found in names if found.startswith("metadata.")]
    return list(dict.fromkeys(fields))
