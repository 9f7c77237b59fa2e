"""What the command line calls: options to jobs, and what a run says when it ends."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypedDict

from pydantic import Field, field_validator
from rich.console import Console
from rich.table import Column, Table

from dolma_py import config
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, name_known
from dolma_py.formats.json_documents import WHY_LEFT_OUT
from dolma_py.input_files import describe_left_out
from dolma_py.settings_text import render_settings
from pipelines.build_recipe import BuildOptions, build_named, cut_recipe, load_named
from pipelines.bundle import ARCHIVE_NAME, CODE_NAME
from pipelines.done_steps import DONE
from pipelines.job_main import plan_ingest, plan_step_file, run_step_file
from pipelines.outcomes import print_outcomes, print_plain, print_written
from pipelines.plain_commands import PLAIN_KINDS, PlainOptions, plan_plain, run_plain
from pipelines.preset_entries import PresetEntry, render_preset
from pipelines.read_plain_files import ReadingConfig
from pipelines.recipe import SETTINGS, settings_class
from pipelines.recipe_check import check_recipe, print_check, refuse_missing
from pipelines.session import SessionConfig
from pipelines.size_estimates import print_sizes
from pipelines.steps import Rule, SettingsPlace
from pipelines.tag_documents import TagConfig, check_taggers, name_set
from taggers.preset_rules import PRESET_RULES, find_presets
from taggers.registry import TAGGERS, find_tagger

logger = logging.getLogger("dolma_py.build")


class SparkOptions(TypedDict):
    """Options of Spark that every job command has."""

    master: str | None
    partitions: int | None
    bundle: str | None


def run_build(*, until: str | None, dry_run: bool, spark: SparkOptions, check: bool = False, **chosen: Any) -> None:
    """`dolma-py build`; `chosen`: recipe, corpus, flow, inputs and overrides."""
    if check:
        run_check(until=until, **chosen)
        return
    options = make_options(spark)._replace(until=until)
    with name_inputs(bool(chosen["inputs"])):
        result = build_named(dry_run=dry_run, options=options, **chosen)
    if isinstance(result, dict) and "sizes" in result:
        print_sizes(result["sizes"])
    elif isinstance(result, dict):
        print_plan(result)
    else:
        print_outcomes(result, chosen["corpus"])


def run_check(
    *, recipe: str, corpus: str, flow: str | None, inputs: list[str], until: str | None, overrides: list[str]
) -> None:
    """`dolma-py build --check`: a table, and an error where something is missing."""
    loaded = cut_recipe(load_named(recipe, flow, overrides, inputs), until)
    rows = check_recipe(loaded, Corpus(corpus))
    print_check(loaded, rows)
    refuse_missing(loaded, rows)


@contextmanager
def name_inputs(given: bool = True) -> Iterator[None]:
    """What is wrong with the inputs of a job is told of --input, where the user gave them so."""
    try:
        yield
    except ConfigError as error:
        if given and error.key.split(".")[-1] == "inputs":
            raise error.moved("--input") from error
        raise


def make_options(spark: SparkOptions) -> BuildOptions:
    """Local by default; with --bundle the workers get code and packages from that folder."""
    session = SessionConfig(master=spark["master"])
    if spark["bundle"] is not None:
        paths = {"code_zip": CODE_NAME, "packages_archive": ARCHIVE_NAME}
        session = SessionConfig(
            master=spark["master"], **{key: os.path.join(spark["bundle"], name) for key, name in paths.items()}
        )
    return BuildOptions(session=session, partitions=spark["partitions"])


def run_ingest(
    *, corpus: str, inputs: list[str], source: str | None, config: str | None, overrides: list[str], name: str, dry_run: bool,
    spark: SparkOptions,
) -> None:  # fmt: skip
    """`dolma-py ingest`."""
    step = _load_settings(config, overrides)
    given = step.get("sources")
    if inputs or source is not None or not given:
        step["sources"] = _name_sources(given, inputs, source)
    values = {"corpus": corpus, "name": name, "step": step}
    place = SettingsPlace("", config or "")
    with name_inputs(bool(inputs)):
        if dry_run:
            print_plan(plan_ingest(values, place=place))
        else:
            print_outcomes(run_step_file("ingest", values, make_options(spark), place=place), corpus)


def _name_sources(given: Any, inputs: list[str], source: str | None) -> list[dict[str, Any]]:
    """The sources of an ingest when --input or --source stand above what the settings say of the only one."""
    if not inputs and not given:
        raise ConfigError("--input", None, "expected files, or sources with their inputs among the settings")
    sources = given or [{}]
    if not isinstance(sources, list) or not all(isinstance(item, dict) for item in sources):
        raise ConfigError("sources", type(given).__name__, "expected a list of mappings")
    if len(sources) > 1:
        option, value = ("--input", inputs) if inputs else ("--source", source)
        hint = "Leave it out: each source of the settings has its own inputs and name."
        raise ConfigError(option, value, f"expected the settings of one source, there are {len(sources)}", hint)
    paths = [os.path.abspath(path) if "://" not in path else path for path in inputs]
    if paths and sources[0].get("inputs"):
        logger.warning("sources.0.inputs: not read, --input stands in their place")
    named = {} if source is None else {"name": source}
    return [sources[0] | named | ({"inputs": paths} if paths else {})]


def run_job_command(
    *, kind: str, corpus: str, view: str | None, config: str | None, overrides: list[str], run: dict[str, Any], dry_run: bool,
    spark: SparkOptions,
) -> None:  # fmt: skip
    """Every command that is one job over a view; `run` has its name and seed."""
    values = {"corpus": corpus, "view": view, **run, "step": _load_settings(config, overrides)}
    place = SettingsPlace("", config or "")
    if dry_run:
        print_plan(plan_step_file(kind, values, place=place))
    else:
        print_outcomes(run_step_file(kind, values, make_options(spark), place=place), corpus)
        print_written(values["step"])


def run_plain_or_corpus_command(
    *, kind: str, corpus: str | None, view: str | None, plain: dict[str, Any], **options: Any
) -> None:
    """A job over a corpus' view, or over plain files: `plain` has inputs, output, text_column, id_column and mark."""
    if (corpus is None) == (not plain["inputs"]):
        raise ConfigError("--corpus, --input", [corpus, plain["inputs"]], "expected one of the two")
    if corpus is not None:
        given = [name for name in ("output", "id_column", "mark") if plain[name]]
        if given:
            raise ConfigError("--corpus", given, "expected these options with --input only")
        run_job_command(kind=kind, corpus=corpus, view=view, **options)
        return
    if view is not None:
        raise ConfigError("--view", view, "expected with --corpus only: plain files have no views")
    chosen, settings = PlainOptions(**plain), _load_settings(options["config"], options["overrides"])
    place = SettingsPlace("", options["config"] or "")
    with name_inputs():
        if options["dry_run"]:
            print_plan(plan_plain(kind, settings, options["run"], chosen, place))
        else:
            outcomes = run_plain(kind, settings, options["run"], chosen, make_options(options["spark"]), place)
            print_plain(outcomes, plain["output"])


REMOVALS = {
    "document": Rule(name="contaminated", keep="not contaminated"),
    "span": Rule(name="contaminated_spans", edit="spans"),
}


class DecontaminateConfig(TagConfig):
    """Settings of `decontaminate`: those of `tag`, and contaminated documents leave."""

    rules: list[Rule] = Field(
        default=[REMOVALS["document"]],
        description="added to the view in order; `document`: contaminated documents leave; `span`: what is contaminated leaves them",
    )

    @field_validator("rules", mode="before")
    @classmethod
    def _name_removal(cls, rules: Any) -> Any:
        if isinstance(rules, str):
            if rules not in REMOVALS:
                raise ValueError(f"expected rules, or one of {list(REMOVALS)}")
            return [REMOVALS[rules]]
        return rules


def run_decontaminate(**options: Any) -> None:
    """`dolma-py decontaminate`: contaminated documents leave, or contaminated spans, unless the settings have rules of their own.

    Without taggers, the options of `contamination` may stand among the settings: --set evaluation_sets=FILE.
    """
    settings = gather_options(_load_settings(options["config"], options["overrides"]))
    prefix = "" if settings is None else "taggers.0.options."  # where the command put what was given by itself
    if settings is not None:
        options |= {
            "config": None,
            "overrides": [f"{key}={config.render_flow(value)}" for key, value in settings.items()],
        }
    settings = _load_settings(options["config"], options["overrides"])
    if isinstance(settings.get("rules", ""), str):
        chosen = {name: value for name, value in settings.items() if name in ("taggers", "rules")}
        place = SettingsPlace("", options["config"] or "")
        try:
            tag = config.build_config(DecontaminateConfig, chosen, where=place.where)
        except ConfigError as error:
            raise error.moved(error.key, hint="See: dolma-py settings decontaminate.") from error
        try:
            check_taggers(tag, place)
        except ConfigError as error:
            raise error.moved(error.key.removeprefix(prefix), hint="See: dolma-py settings decontaminate.") from error
        rules = [rule.model_copy(update={"attributes": find_contamination(tag)}) for rule in tag.rules]
        rules_text = config.render_flow([config.dump_config(rule) for rule in rules])
        options["overrides"] = [*options["overrides"], f"rules={rules_text}"]
    run_plain_or_corpus_command(**options)


def gather_options(settings: dict[str, Any]) -> dict[str, Any] | None:
    """The settings with the options of `contamination` under its tagger; None when none of them stands by itself."""
    names = find_tagger("contamination").config_model.model_fields
    own = {key: value for key, value in settings.items() if key in names}
    if "taggers" not in settings:
        known = [*names, *DecontaminateConfig.model_fields, "plain"]
        for key in settings:
            if key not in known:
                raise ConfigError(
                    key, settings[key], "no such key", f"{name_known(key, known)} See: dolma-py settings decontaminate."
                )
        if not own:
            hint = "Such as: --set evaluation_sets=benchmarks --set evaluation_folder=FOLDER. See: dolma-py settings decontaminate."
            raise ConfigError("evaluation_sets", None, "expected a registry of evaluation sets", hint)
    if not own:
        return None
    if "taggers" in settings:
        rule = "expected the tagger's options under taggers, or no taggers"
        raise ConfigError(", ".join(own), settings["taggers"], rule)
    rest = {key: value for key, value in settings.items() if key not in own}
    return rest | {"taggers": [{"tagger": "contamination", "options": own}]}


def find_contamination(tag: TagConfig) -> str | None:
    """The attribute set that the rule of `decontaminate` is over; None: that of the only tagger."""
    if len(tag.taggers) == 1:
        return None
    ours = find_tagger("contamination")
    found = [choice for choice in tag.taggers if find_tagger(choice.tagger) is ours]
    if len(found) != 1:
        raise ConfigError(
            "taggers", [choice.tagger for choice in tag.taggers], "expected one tagger `contamination`, whose finds are dropped",
            "Or give rules.",
        )  # fmt: skip
    return name_set(found[0], ours)


def run_export_dolma(
    *, corpus: str, view: str | None, step: dict[str, Any], overrides: list[str], dry_run: bool, spark: SparkOptions
) -> None:
    """`dolma-py export dolma`."""
    values = {"corpus": corpus, "view": view, "name": "export-dolma", "step": config.apply_overrides(step, overrides)}
    if dry_run:
        print_plan(plan_step_file("export_dolma", values))
    else:
        print_outcomes(run_step_file("export_dolma", values, make_options(spark)), corpus)
        print_written(values["step"])


# settings of commands that need no corpus
FILE_SETTINGS = {
    "classifier annotate": "taggers.annotate_texts:AnnotateConfig",
    "classifier recipe": "taggers.train_labels:TrainLabelsConfig",
}


def run_settings(*, name: str) -> None:
    """`dolma-py settings NAME`: what --config and --set of that command, or a tagger, take; the rules of a preset."""
    if name in TAGGERS:
        model: Any = getattr(find_tagger(name), "config_model", None)
        lines = [] if model is None else render_settings(model)
        lines += [f"# {line}" for preset in find_presets(name) for line in ["", *render_preset(preset)]]
    elif name in PRESET_RULES:
        lines = render_preset(name)
    elif name in SETTINGS:
        lines = render_settings(DecontaminateConfig if name == "decontaminate" else settings_class(SETTINGS[name]))
        if SETTINGS[name] == "tag":
            entry = [
                f"  {line}" for line in [*render_settings(PresetEntry), f"# presets: {', '.join(sorted(PRESET_RULES))}"]
            ]
            lines += [f"# {line}" for line in [f"among rules: {PresetEntry.__doc__}", *entry]]
        if SETTINGS[name] in PLAIN_KINDS:
            plain = [
                f"plain: # with --input alone: {ReadingConfig.__doc__}",
                *(f"  {line}" for line in render_settings(ReadingConfig)),
            ]
            lines += [f"# {line}" for line in plain]
        if name == "decontaminate":
            options = render_settings(find_tagger("contamination").config_model)
            lines += ["# in place of taggers, the options of contamination:", *(f"# {line}" for line in options)]
    elif name in FILE_SETTINGS:
        module_name, _, class_name = FILE_SETTINGS[name].partition(":")
        lines = render_settings(getattr(importlib.import_module(module_name), class_name))
    else:
        known = [*sorted([*SETTINGS, *FILE_SETTINGS, "train"]), *sorted({*TAGGERS, *PRESET_RULES})]
        raise ConfigError(
            "settings", name, f"expected a command, a tagger or a preset of rules, one of: {', '.join(known)}"
        )
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _load_settings(path: str | None, overrides: list[str]) -> dict[str, Any]:
    values = {} if path is None else config.load_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError("--config", path, "expected a mapping of settings")
    return config.apply_overrides(values, overrides)


def print_plan(plan: dict[str, Any]) -> None:
    """The tables of --dry-run."""
    console = Console(markup=False, emoji=False)
    if plan.get("inputs"):
        found = Table("source", "new files", "shards", "in place", "MB on disk")
        for row in plan["inputs"]:
            numbers = [row["files"], row["shards"], row["in_place"], f"{row['bytes'] / 1e6:.1f}"]
            found.add_row(row["source"], *map(str, numbers))
        console.print(found)
    if plan.get("left_out"):
        console.print(f"inputs: {describe_left_out(plan['left_out'])}", highlight=False, soft_wrap=True)
    if plan.get("documents"):
        said = describe_left_out(plan["documents"], WHY_LEFT_OUT)
        console.print(f"inputs: {said}", highlight=False, soft_wrap=True)
    table = Table(Column("step", no_wrap=True), Column("kind", no_wrap=True), "s", "MB disk", "MB/task", "standing")
    for step in plan["steps"]:
        numbers = [
            f"{step['seconds']:.0f}",
            f"{step['disk_bytes'] / 1e6:.0f}",
            f"{step['worker_memory_bytes'] / 1e6:.0f}",
        ]
        table.add_row(step["name"], step["kind"], *numbers, step["standing"])
    console.print(table)
    for name, key in plan.get("skipped", {}).items():
        console.print(f"{name}: left out, {key} is empty", highlight=False, soft_wrap=True)
    for step in plan["steps"]:
        for name, value in step["details"].items():
            if isinstance(value, list):
                console.print(make_table(value))
            else:
                console.print(f"{step['name']}: {format_detail(name, value)}", highlight=False, soft_wrap=True)
    if all(step["standing"] == DONE for step in plan["steps"]):
        console.print("Every step is done: the command would only look. Nothing was done.", highlight=False)
        return
    shared = (
        f" and {plan['shared_memory_bytes'] / 1e6:.0f} MB that they share" if plan.get("shared_memory_bytes") else ""
    )
    free = "" if plan.get("free_disk_bytes") is None else f" ({plan['free_disk_bytes'] / 1e6:,.0f} free)"
    console.print(
        f"{plan['text_bytes'] / 1e6:.1f} MB of text on {plan['cores']} cores: about {plan['seconds']:.0f} s, "
        f"{plan['disk_bytes'] / 1e6:.0f} MB of disk{free}, at most {plan['memory_bytes'] / 1e6:.0f} MB of memory for tasks{shared}, "
        f"{'about ' if plan.get('driver_is_estimate') else ''}{plan['driver_memory_bytes'] / 1e6:.0f} MB for the driver and "
        f"{plan['jvm_memory_bytes'] / 1e6:.0f} MB for its JVM. Nothing was done.",
        highlight=False,
        soft_wrap=True,
    )


def make_table(rows: list[dict[str, str]]) -> Table:
    """Rows of one kind under the names of their values; numbers to the right."""
    names = list(rows[0]) if rows else []
    is_number = {name: all(row[name][:1].isdigit() for row in rows) for name in names}
    table = Table(*(Column(name, justify="right" if is_number[name] else "left") for name in names))
    for row in rows:
        table.add_row(*row.values())
    return table


def format_detail(name: str, value: Any) -> str:
    """One detail of a plan as text: bytes in MB, seconds and rates with their unit, a mapping in one line."""
    if isinstance(value, dict):
        return f"{name} " + ", ".join(f"{key}: {inner}" for key, inner in value.items())
    for suffix, unit, scale in (("_bytes", "MB", 1e6), ("_mb_per_core_sec", "MB/s and core", 1.0), ("_sec", "s", 1.0)):
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix).replace('_', ' ')} {value / scale:,.1f} {unit}"
    if name.endswith("_docs"):
        return f"{name.removesuffix('_docs').replace('_', ' ')} {value:,} documents"
    return f"{name} {value:,}" if isinstance(value, int | float) else f"{name} {value}"
