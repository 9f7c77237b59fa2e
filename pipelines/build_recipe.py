"""The runner of every flow: does the steps of a recipe in one Spark session, skips what is done, redoes from what changed.

A step is done when its manifest carries the fingerprint of its settings, its version, its input view and the artifacts it
uses, and everything it wrote is still there. Kill it anywhere and give the same command again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from pyspark.sql import SparkSession

from dolma_py import manifest, storage, views
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DataError
from dolma_py.input_files import find_files
from dolma_py.machine import reset_peak
from dolma_py.storage import lock_folder
from dolma_py.views import View
from pipelines import costs, count_view
from pipelines.done_steps import (
    State,
    advance,
    explain_again,
    fingerprint_step,
    list_rules,
    output_stands,
    read_view,
    step_folder,
)
from pipelines.ingest_inputs import IngestConfig
from pipelines.recipe import FIRST_KINDS, Recipe, Step, build_steps, check_steps, load_recipe, name_settings
from pipelines.recipe_progress import RecipeProgress
from pipelines.session import SessionConfig, open_session
from pipelines.steps import (
    SettingsPlace,
    StepContext,
    StepResult,
    check_attribute_sets,
    check_found,
    find_rule_set,
)
from pipelines.task_errors import explain_failures, memory_hint
from pipelines.units import UnitTimes

logger = logging.getLogger("dolma_py.build")


class BuildOptions(NamedTuple):
    """What of a build changes no byte of its output, or stops it early."""

    session: SessionConfig = SessionConfig()
    partitions: int | None = None
    until: str | None = None
    show_progress: bool = True


class Outcome(NamedTuple):
    """One step of a finished build."""

    name: str
    skipped: bool
    seconds: float
    manifest: dict[str, Any]
    started_spark: bool = False  # within its seconds


def build(recipe: Recipe, corpus_root: str, options: BuildOptions) -> list[Outcome]:
    """Run the recipe's steps over a corpus folder; returns what each step did.

    Raises ConfigError before anything runs when a step is misspelled, DolmaError when one fails; finished steps stay.
    """
    recipe = cut_recipe(recipe, options.until)
    corpus = Corpus(corpus_root)
    check_inputs(build_steps(recipe), corpus)
    return build_from(recipe, corpus, options, State(None, {}))


def cut_recipe(recipe: Recipe, until: str | None) -> Recipe:
    """The recipe up to the step named `until`, all of it for None; settings of the steps after it are checked too."""
    names = [step.name for step in build_steps(recipe)]
    if until is None:
        return recipe
    if until not in names:
        raise ConfigError("--until", until, f"expected one of {names}")
    return recipe.model_copy(update={"steps": recipe.steps[: names.index(until) + 1]})


def check_inputs(steps: list[Step], corpus: Corpus) -> None:
    """Raise ConfigError for a path of an ingest that matches nothing, now and not after the steps before it.

    What lies in the corpus itself an earlier step may have yet to write. A recipe all of whose text is what it makes itself
    is refused where the corpus has other text alone: that was given with --input, and a corpus forgets nothing.
    """
    ingests = [step for step in steps if isinstance(step.settings, IngestConfig)]
    made, known = costs.list_made_sources(steps), sorted({shard.source for shard in corpus.read_listing().shards})
    makes_all = made and None not in made and len(made) == sum(len(step.settings.sources) for step in ingests)
    if makes_all and known and not set(made) & set(known):
        raise ConfigError(
            "--input", None,
            f"this corpus has documents of {', '.join(known)} alone, and this would add {', '.join(map(str, made))}",
            "Repeat --input, or give another --corpus.",
        )  # fmt: skip
    for step in ingests:
        for number, source in enumerate(step.settings.sources):
            for path in [path for path in source.inputs if "{corpus}" not in path]:
                found = find_files(storage.resolve_path(path), first_only=True)
                check_found(found, step.place.key(f"sources.{number}.inputs"), path)


def build_from(
    recipe: Recipe, corpus: Corpus, options: BuildOptions, state: State, places: Sequence[SettingsPlace] | None = None
) -> list[Outcome]:
    """Run all steps of a recipe after what `state` says was there before.

    places: where the user gave each step's settings; None: the recipe is the user's. Raises ConfigError before the first step
    for all that check_steps finds.
    """
    steps = build_steps(recipe, places)
    check_steps(steps)
    outcomes = []
    with ExitStack() as stack:
        stack.enter_context(lock_folder(corpus.root))
        check_view_names(recipe, steps, corpus, state.view)
        storage.remove_leftovers(corpus.root)
        sessions: list[SparkSession] = []

        def spark() -> SparkSession:
            if not sessions:
                sessions.append(stack.enter_context(open_session(_session_config(options))))
            return sessions[0]

        progress = stack.enter_context(RecipeProgress(steps, corpus, enabled=options.show_progress))
        for step in steps:
            start, num_sessions = time.perf_counter(), len(sessions)
            progress.start_step(step)
            context = _make_context(recipe, step, corpus, state, spark, options, progress)
            with explain_failures(context, memory_hint(step, recipe)), name_settings(step):
                done, skipped = run_step(context, step)
            state = advance(corpus, state, done)
            seconds = time.perf_counter() - start
            outcomes.append(Outcome(step.name, skipped, seconds, done, len(sessions) > num_sessions))
            progress.end_step(step, skipped)
    return outcomes


def _session_config(options: BuildOptions) -> SessionConfig:
    if options.partitions is None:
        return options.session
    return options.session.model_copy(update={"num_shuffle_partitions": options.partitions})


def _make_context(
    recipe: Recipe, step: Step, corpus: Corpus, state: State, spark: Any, options: BuildOptions, progress: RecipeProgress
) -> StepContext:  # fmt: skip
    return StepContext(
        spark=spark, corpus=corpus, view=read_view(step, state), name=step.name, folder=step_folder(recipe, step),
        fingerprint=fingerprint_step(recipe, step, corpus, state), seed=recipe.seed, artifacts=state.artifacts, partitions=options.partitions,
        split_bytes=recipe.split_bytes, progress=progress.report, phase_times=[], place=step.place,
    )  # fmt: skip


def run_step(context: StepContext, step: Step) -> tuple[dict[str, Any], bool]:
    """(manifest, skipped) of one step: found again, counted again for changed rules, or run."""
    reset_peak()  # the driver's figure in run.json is this step's own
    folder = context.corpus.path(context.folder)
    found = manifest.read_manifest(folder)
    rules = list_rules(step)
    if found is not None and found["fingerprint"] == context.fingerprint and output_stands(context.corpus, found):
        if found["rules"] == rules:
            storage.remove_tree(context.corpus.path(context.work))
            return found, True
        result = StepResult(found["attributes"], found["artifacts"], found["files"], found["facts"])
        storage.remove_file(storage.join_path(folder, "manifest.json"))  # not complete until its view is counted again
    else:
        if found is not None:
            logger.info("%s %s", step.name, explain_again(step, context.fingerprint, found))
        storage.remove_file(storage.join_path(folder, "manifest.json"))
        if context.view is not None:
            check_attribute_sets(context.corpus, context.view)
        result = None
    start = time.perf_counter()
    result = result or step.run(context, step.settings)
    made = _finish_step(context, step, result)
    seconds = time.perf_counter() - start
    text_bytes = count_text_bytes(context, made, result)
    speed = None if text_bytes is None else manifest.mb_per_sec(text_bytes, seconds)
    manifest.write_run(folder, {"seconds": seconds, "mb_per_sec": speed} | result.times | sum_phases(context))
    manifest.write_manifest(folder, made)
    storage.remove_tree(context.corpus.path(context.work))
    return made, False


def count_text_bytes(context: StepContext, made: dict[str, Any], result: StepResult) -> int | None:
    """Bytes of text that the step went through: those that its funnel begins with, those that the job says, or its view's.

    None where it reads no view, or one of which no run left a funnel.
    """
    if made["funnel"] is not None:
        return _sum_bytes((made["funnel"]["steps"] or [made["funnel"]["kept"]])[0])
    if "text_bytes" in result.times:
        return int(result.times["text_bytes"])
    if context.view is None:
        return None
    with suppress(DataError):  # a damaged one of another run is that run's business
        for found in manifest.iterate_manifests(context.corpus.path("runs")):
            if found.get("funnel") and found["view_fingerprint"] == context.view.fingerprint:
                return _sum_bytes(found["funnel"]["kept"])
    return None


def _sum_bytes(line: dict[str, Any]) -> int:
    """Of a line of a funnel, over its sources."""
    return sum(counts["bytes"] for counts in line["sources"].values())


def sum_phases(context: StepContext) -> dict[str, Any]:
    """task_sec and peak_worker_bytes over all phases of the step; nothing where it had none."""
    phases = context.phase_times or []
    if not phases:
        return {}
    return UnitTimes(
        sum(times.task_sec for times in phases), max(times.peak_worker_bytes for times in phases)
    )._asdict()


def _finish_step(context: StepContext, step: Step, result: StepResult) -> dict[str, Any]:
    """Extend the view by the step's rules, count what they do, and put the manifest together."""
    view = context.view
    if step.kind in FIRST_KINDS:
        view = _begin_view(context, step)
    funnel = None
    if view is not None:
        first = len(view.steps)
        view = view.extend(name_view(context.folder.split("/")[1], step.name), view_steps(step, result, view))
        storage.make_folder(context.corpus.path("views"))
        views.save_view(view, context.corpus.path("views", f"{view.name}.yaml"))
        if step.kind in FIRST_KINDS or len(view.steps) > first:
            whole = step.settings.whole_frac if getattr(step.settings, "short_circuit", False) else 1.0
            funnel = count_view.run(context._replace(view=view), first, whole)
    return {
        "format": "dolma-py-step", "recipe": context.folder.split("/")[1], "step": step.name, **step.identity(),
        "rules": list_rules(step), "seed": context.seed,
        "fingerprint": context.fingerprint, "view": None if view is None else view.name,
        "view_fingerprint": None if view is None else view.fingerprint, "attributes": result.attributes,
        "artifacts": result.artifacts,
        "files": result.files, "facts": result.facts, "funnel": funnel,
        "artifact_checksums": {name: storage.checksum_file(context.corpus.path(path)) for name, path in result.artifacts.items()},
    }  # fmt: skip


def _begin_view(context: StepContext, step: Step) -> View:
    """All documents of the corpus; under an ingest's keep_view with the rules of the view before."""
    everything = context.corpus.load_view(None)
    if context.view is None or not getattr(step.settings, "keep_view", False):
        return everything
    for line in context.view.steps:
        if line.sources is None and line.attributes is not None:
            rule = "expected `sources` of each rule before, for new documents have no attributes that it could ask"
            raise ConfigError(context.setting_key("keep_view"), line.name, rule)
    return everything.model_copy(update={"steps": context.view.steps})


def check_view_names(recipe: Recipe, steps: list[Step], corpus: Corpus, view: View | None) -> None:
    """ConfigError where a step would leave a view of the name of the one that the first reads, or of one that another run left."""
    names = {
        name_view(recipe.recipe, step.name): step.name
        for step in steps
        if step.kind in FIRST_KINDS or getattr(step.module, "READS_VIEW", True)
    }
    if view is not None and view.name in names:
        raise ConfigError("name", view.name, "expected another name than that of the view it reads", "Give --name.")
    there = {info.name.removesuffix(".yaml") for info in storage.list_folder(corpus.path("views"))}
    if not there & names.keys():
        return
    for made in manifest.iterate_manifests(corpus.path("runs"), skip_damaged=True):
        name = made["view"]
        if name in names and (made["recipe"], made["step"]) != (recipe.recipe, names[name]):
            left = made["recipe"] if made["recipe"] == made["step"] else f"{made['recipe']}, step {made['step']},"
            raise ConfigError("name", name, f"expected another: run {left} left a view of that name", "Give --name.")


def name_view(run: str, step: str) -> str:
    """The view after a step: RUN-STEP; of a command of one job, whose step has the run's name, RUN."""
    return run if run == step else f"{run}-{step}"


def view_steps(step: Step, result: StepResult, view: View) -> list[views.Step]:
    """The step's rules as lines of a view, tied to the attribute sets that it or a step before it made."""
    lines = []
    known = {line.attributes: line.fingerprint for line in view.steps if line.attributes} | result.attributes
    for rule in step.rules:
        name = find_rule_set(step.place, rule, result.attributes, known)
        fingerprint = None if name is None else known[name]
        lines.append(views.Step(**(rule.model_dump() | {"attributes": name, "fingerprint": fingerprint})))
    return lines


def build_named(
    *, recipe: str, corpus: str, flow: str | None, overrides: list[str], inputs: list[str], dry_run: bool, options: BuildOptions
) -> list[Outcome] | dict[str, Any]:  # fmt: skip
    """What the command line calls: load the recipe, put the user's own files in, plan (a dict) or run (a list)."""
    loaded = load_named(recipe, flow, overrides, inputs)
    if dry_run and loaded.sizes and not inputs:
        from pipelines.size_estimates import (
            describe_sizes,
        )  # it plans by the steps of other recipes, which nobody else asks for

        check_steps(build_steps(loaded), without_files=True)
        return {"sizes": describe_sizes(loaded)}
    if dry_run:
        loaded = cut_recipe(loaded, options.until)
        steps, target = build_steps(loaded), Corpus(corpus)
        check_steps(steps)
        check_view_names(loaded, steps, target, None)
        check_inputs(steps, target)
        new = costs.describe_new_inputs(steps, target)
        plan = costs.make_plan(loaded, steps, target, inputs=new, session=options.session) | costs.name_inputs(new)
        return plan | {"skipped": loaded.skipped}
    if loaded.sources:
        from pipelines.recipe_check import check_recipe, refuse_missing

        refuse_missing(loaded, check_recipe(cut_recipe(loaded, options.until), Corpus(corpus)))
    for name, key in loaded.skipped.items():
        logger.info("step %s is left out: %s is empty", name, key)
    return build(loaded, corpus, options)


def load_named(recipe: str, flow: str | None, overrides: list[str], inputs: list[str]) -> Recipe:
    """The recipe of a command line."""
    loaded = load_recipe(recipe, overrides)
    if flow is not None and flow != loaded.flow:
        raise ConfigError("FLOW", flow, f"expected {loaded.flow}, the flow of recipe {loaded.recipe}")
    return replace_inputs(loaded, inputs) if inputs else loaded


def replace_inputs(recipe: Recipe, inputs: list[str]) -> Recipe:
    """The same recipe over the user's own files: its ingest step reads `inputs`, one source per folder below each.

    A step of one source keeps what that says of kind, name and reading.
    """
    steps = []
    for values in recipe.steps:
        if values.get("kind") == "ingest":
            settings = {key: value for key, value in values.items() if key != "sources"}
            given = values.get("sources")
            kept = (
                given[0]
                if isinstance(given, list) and len(given) == 1 and isinstance(given[0], dict)
                else {"name": None}
            )
            values = settings | {"sources": [kept | {"inputs": inputs}]}
        steps.append(values)
    if not any(values.get("kind") == "ingest" for values in steps):
        raise ConfigError("--input", inputs, f"expected a recipe with a step of kind ingest, {recipe.recipe} has none")
    return recipe.model_copy(update={"steps": steps})
