"""`dolma-py build --check`: whether all that a recipe reads is there, before any of its work.

Settings are parsed as a run parses them. Then a row for each file, folder or pattern that a step reads: inputs, examples, models, lists, items.
What an earlier step makes is not asked for; names on the Hugging Face Hub and endpoints are told and not asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Column, Table

from dolma_py import config, storage
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DolmaError
from dolma_py.input_files import find_files
from pipelines.ingest_inputs import IngestConfig
from pipelines.recipe import Recipe, Step, build_steps, check_steps, load_recipe
from pipelines.step_outputs import find_maker, list_outputs
from pipelines.tag_documents import TagConfig

__all__ = ["THERE", "Checked", "check_recipe", "print_check", "refuse_missing"]

THERE = "there"
MISSING = "missing"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# of settings that name what is read, beside those that end in _path and _paths
READ_KEYS = ("inputs", "positives", "negatives", "against", "evaluation_folder")
NOT_LISTS = ("url_keys",)  # options of the tagger url-lists that name no file


class Checked(NamedTuple):
    """One thing that a step reads."""

    step: str
    setting: str
    path: str  # as a run would open it
    standing: str  # THERE, MISSING, or who makes or is asked for it
    note: str = ""  # of what is missing: where it is to be had

    @property
    def is_missing(self) -> bool:
        return self.standing.startswith(MISSING)


def check_recipe(recipe: Recipe, corpus: Corpus) -> list[Checked]:
    """A row for each thing that the recipe reads, in order of its steps; recipes of its sources are parsed too.

    Raises ConfigError for settings that a run would refuse; one whose file is missing is a row.
    """
    steps = build_steps(recipe)
    check_steps(steps, without_files=True)
    for source in recipe.sources:
        if source.recipe is not None:
            check_steps(build_steps(load_recipe(source.recipe, [])), without_files=True)
    rows, made, writer = [], set[str](), ""
    for number, step in enumerate(steps):
        outputs = list_outputs(steps[:number])
        for setting, value in list_readings(step):
            maker = find_maker(value, outputs)
            if maker is not None:
                rows.append(Checked(step.name, setting, value, f"made by step {maker}"))
                continue
            rows.append(_check(recipe, corpus, step, (setting, value), made, writer))
        made |= made_artifacts(step)
        if hasattr(step.module, "expected_text_bytes"):
            writer = step.name
    return rows


def list_readings(step: Step) -> Iterator[tuple[str, str]]:
    """(setting, value) of all that names something to be read."""
    values = config.dump_config(step.settings)
    if isinstance(step.settings, IngestConfig):
        for number, source in enumerate(step.settings.sources):
            name = source.name or str(number)
            yield from ((f"sources.{name}.inputs", path) for path in source.inputs)
            endpoint = source.pdf.endpoint if source.kind == "pdf" else None
            if endpoint is not None:
                yield f"sources.{name}.pdf.endpoint.base_url", endpoint.base_url
        return
    if isinstance(step.settings, TagConfig):
        for number, choice in enumerate(step.settings.taggers):
            is_lists = choice.tagger == "url-lists"
            yield from _walk(choice.options, f"taggers.{number}.options", is_lists)
        return
    yield from _walk(values, "", False)


def _walk(values: dict[str, Any], prefix: str, is_lists: bool) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield from _walk(value, name, False)
            continue
        is_read = (
            key.endswith(("_path", "_paths"))
            or key in (*READ_KEYS, "tokenizer", "base_url", "cells")
            or (is_lists and isinstance(value, list) and key not in NOT_LISTS)
        )
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, str) and item and (is_read or item.startswith("artifact:")):
                yield name, item


def made_artifacts(step: Step) -> set[str]:
    """Names of what later steps may take as artifact:NAME."""
    settings = step.settings
    if step.kind in ("train_classifier", "train_language_model"):
        name = settings.name  # type: ignore[attr-defined]
        return {name, f"{name}_card", f"{name}_calibration", f"{name}_quantized"}
    if isinstance(settings, TagConfig):
        return {f"{name}-items" for name in step.module.list_sets(settings)}
    return {
        "installed_text": {"items"}, "train_tokenizer": {"tokenizer"}, "plan_mix": {"plan", "cells"}, "sample_mix": {"sampled"},
        "partition": {"partition_cells", "quality_thresholds"},
    }.get(step.kind, set())  # fmt: skip


def _check(
    recipe: Recipe, corpus: Corpus, step: Step, reading: tuple[str, str], made: set[str], writer: str
) -> Checked:
    setting, value = reading
    if value.startswith("artifact:"):
        is_made = value.removeprefix("artifact:") in made
        return Checked(
            step.name,
            setting,
            value,
            "made by an earlier step" if is_made else MISSING,
            "" if is_made else "no earlier step makes it",
        )
    if setting.endswith("base_url"):
        return Checked(step.name, setting, value, "not asked: an endpoint")
    path = value.replace("{corpus}", corpus.root)
    if setting.endswith("cells"):  # below the corpus
        path = corpus.path(path)
    if setting.endswith("tokenizer") and HUB_NAME.fullmatch(value) and not _stands(path):
        return Checked(step.name, setting, value, "not asked: a name on the Hub")
    standing = _look(path)
    if standing == MISSING and "{corpus}" in value and writer:
        standing = f"made by step {writer}"
    return Checked(
        step.name, setting, path, standing, _tell_origin(recipe, setting) if standing.startswith(MISSING) else ""
    )


def _stands(path: str) -> bool:
    return _look(path) == THERE


def _look(path: str) -> str:
    """Whether a path or pattern names a file; what it says where it cannot be asked."""
    try:
        return THERE if find_files(storage.resolve_path(path), first_only=True).files else MISSING
    except (OSError, DolmaError) as error:
        return f"{MISSING}: {error}"


def _tell_origin(recipe: Recipe, setting: str) -> str:
    """Where the input of a source of the mix is to be had."""
    match = re.fullmatch(r"sources\.(.+)\.inputs", setting)
    for source in recipe.sources if match else []:
        if match and source.stands_for(match[1]):
            return f"{source.dataset}. {source.get}. {source.licence}. {source.made}"
    return ""


def print_check(recipe: Recipe, rows: list[Checked]) -> None:
    """The rows as a table, and under it where what is missing is to be had."""
    console = Console(markup=False, emoji=False)
    table = Table(
        Column("step", no_wrap=True), Column("setting", overflow="fold"), Column("path", overflow="fold"), "standing"
    )
    for row in rows:
        table.add_row(row.step, row.setting, row.path, row.standing)
    console.print(table)
    for note, settings in _group_notes(rows).items():
        console.print(f"{', '.join(settings)}: {note}", highlight=False, soft_wrap=True)
    for name, key in recipe.skipped.items():
        console.print(f"{name}: left out, {key} is empty", highlight=False, soft_wrap=True)
    missing = sum(row.is_missing for row in rows)
    console.print(
        f"{recipe.recipe}: settings parse; of {len(rows)} things that it reads {missing} are missing. Nothing was done.",
        highlight=False,
    )


def _group_notes(rows: list[Checked]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            found.setdefault(row.note, []).append(row.setting.removesuffix(".inputs"))
    return found


def refuse_missing(recipe: Recipe, rows: list[Checked]) -> None:
    """Raise ConfigError that names the first thing that is missing."""
    missing = [row for row in rows if row.is_missing]
    if missing:
        first = missing[0]
        rule = f"{len(missing)} of {len(rows)} things that {recipe.recipe} reads are missing, the first"
        raise ConfigError(
            f"steps.{first.step}.{first.setting}", first.path, rule, "Bring them, or name them with --set."
        )
