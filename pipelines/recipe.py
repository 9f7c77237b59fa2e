"""Recipes: YAML files that name the steps of a flow, and the job behind each kind of step."""

from __future__ import annotations

import importlib
import importlib.resources
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import Field, PrivateAttr

from dolma_py import config, storage
from dolma_py.config import Config
from dolma_py.errors import ConfigError
from dolma_py.rules import parse_rule
from pipelines.recipe_sources import EndpointPrices, MixSource, StepSize
from pipelines.recipe_variables import fill_variables
from pipelines.steps import Rule, SettingsPlace, StepContext, StepResult

# kind of a step -> the module of its job; a module has VERSION, one Config for it, and run(context, config). It may have
# CHANGES_NO_BYTE (settings that are not part of the fingerprint), READS_VIEW = False (it reads other files; the view goes by it),
# expected_text_bytes, fingerprint_inputs, check_settings, list_sets, and for a plan mb_per_core_sec, worker_memory_bytes, driver_memory_bytes,
# shared_memory_bytes, work_disk_bytes, document_disk_bytes
KINDS = {
    "installed_text": ("pipelines.write_installed_text", "InstalledTextStep"),
    "ingest": ("pipelines.ingest_documents", "IngestConfig"),
    "train_classifier": ("pipelines.train_classifier", "TrainClassifierConfig"),
    "tag": ("pipelines.tag_documents", "TagConfig"),
    "dedup_exact": ("pipelines.dedup_exact", "DedupExactConfig"),
    "dedup_urls": ("pipelines.dedup_urls", "DedupUrlsConfig"),
    "dedup_paragraphs": ("pipelines.dedup_paragraphs", "DedupParagraphsConfig"),
    "dedup_minhash": ("pipelines.dedup_minhash", "DedupMinhashConfig"),
    "dedup_substring": ("pipelines.dedup_substring", "DedupSubstringConfig"),
    "train_tokenizer": ("pipelines.train_tokenizer", "TrainTokenizerConfig"),
    "train_language_model": ("pipelines.train_language_model", "TrainLanguageModelConfig"),
    "partition": ("pipelines.partition_quality", "PartitionConfig"),
    "plan_mix": ("pipelines.plan_mix", "PlanMixConfig"),
    "sample_mix": ("pipelines.sample_mix", "SampleMixConfig"),
    "tokenize": ("pipelines.make_tokens", "MakeTokensConfig"),
    "materialize": ("pipelines.materialize_view", "MaterializeConfig"),
    "synth": ("pipelines.synth_documents", "SynthConfig"),
    "synth_verifiable": ("pipelines.synth_verifiable", "SynthVerifiableConfig"),
    "synth_variants": ("pipelines.synth_variants", "SynthVariantsConfig"),
    "read_plain": ("pipelines.read_plain_files", "ReadPlainConfig"),
    "write_plain": ("pipelines.write_plain_files", "WritePlainConfig"),
    "export_dolma": ("pipelines.export_dolma", "ExportDolmaConfig"),
    "prepare_posttrain": ("pipelines.prepare_posttrain", "PreparePosttrainConfig"),
}
# recipe of a step of kind synth -> the kind that does it, where that is another
SYNTH_KINDS = {"verifiable": "synth_verifiable", "problem-variants": "synth_variants"}
# command -> kind of its job, for `dolma-py settings`
SETTINGS = {
    "ingest": "ingest", "tag": "tag", "decontaminate": "tag", "classifier train": "train_classifier",
    "tokenizer train": "train_tokenizer", "dedup exact": "dedup_exact", "dedup urls": "dedup_urls",
    "dedup paragraphs": "dedup_paragraphs", "dedup minhash": "dedup_minhash", "dedup substring": "dedup_substring",
    "materialize": "materialize", "mix partition": "partition", "mix plan": "plan_mix", "mix sample": "sample_mix", "tokenize": "tokenize",
    "export dolma": "export_dolma", "language-model train": "train_language_model", "synth": "synth",
    "synth verifiable": "synth_verifiable", "synth problem-variants": "synth_variants",
    "posttrain prepare": "prepare_posttrain",
}  # fmt: skip
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]*"  # of a step
NO_FILE = "no such file"  # rule of a ConfigError for an option that names one
FIRST_KINDS = ("ingest", "read_plain")  # after them there is a view of all documents


class Recipe(Config):
    """The top of a recipe file."""

    recipe: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name; its runs lie under runs/<name>/")
    flow: str = Field(default="mix", description="the flow it belongs to: dolma-py build FLOW --recipe NAME")
    seed: int = Field(ge=0, description="every random choice derives from it and from its purpose's name")
    split_bytes: int = Field(default=32 << 20, ge=1, description="text read by one task, in bytes")
    steps: list[dict[str, Any]] = Field(
        min_length=1,
        description="name, kind, and the settings of the kind; with `only_with`, a setting's key, while that setting is not empty",
    )
    variables: dict[str, str | int | float] = Field(
        default_factory=dict, description="NAME -> what {NAME} in settings of the steps stands for"
    )
    sources: list[MixSource] = Field(
        default_factory=list, description="of a recipe of a whole mix: what its sources are; changes no step"
    )
    sizes: list[StepSize] = Field(
        default_factory=list,
        description="of a recipe of a whole mix: what its steps read at its full size; changes no step",
    )
    prices: EndpointPrices = Field(
        default=EndpointPrices(), description="of what endpoints make of it, for --dry-run; changes no step"
    )
    _file: str = PrivateAttr(default="")  # it was read from, for errors
    _skipped: dict[str, str] = PrivateAttr(
        default_factory=dict
    )  # name of a step that is left out -> the setting it waits for

    @property
    def skipped(self) -> dict[str, str]:
        return dict(self._skipped)


class Step(NamedTuple):
    """One step, its job and its validated settings."""

    index: int
    name: str
    kind: str
    module: ModuleType
    settings: Config
    place: SettingsPlace = SettingsPlace("")

    @property
    def rules(self) -> list[Rule]:
        return list(getattr(self.settings, "rules", []))

    @property
    def run(self) -> Callable[[StepContext, Config], StepResult]:
        run: Callable[[StepContext, Config], StepResult] = self.module.run
        return run

    def identity(self) -> dict[str, Any]:
        """What of the settings decides the step's output: rules belong to the view, others only say how, or whether, it ends."""
        values = config.dump_config(self.settings)
        # rules decide attributes only where they spare taggers
        free = () if values.get("short_circuit") else ("rules", "short_circuit", "whole_frac")
        for name in (*free, *getattr(self.module, "CHANGES_NO_BYTE", ())):
            values.pop(name, None)
        return {"kind": self.kind, "version": self.module.VERSION, "config": values}


def find_recipe(name: str) -> str:
    """The file of a packaged recipe's name, or the path itself."""
    if name.endswith((".yaml", ".yml")):
        return storage.resolve_path(name)
    folder = importlib.resources.files("pipelines") / "recipes"
    found = folder / f"{name}.yaml"
    if not found.is_file():
        known = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
        raise ConfigError("--recipe", name, f"expected a file ending in .yaml or one of {known}")
    return str(found)


def load_recipe(name: str, overrides: list[str]) -> Recipe:
    """A recipe by name or file, with `a.b=c` overrides; steps are addressed by name, or by kind without one: steps.quality.seed=3."""
    path = find_recipe(name)
    values = config.load_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError("recipe", type(values).__name__, "expected a mapping", where=path)
    values = fill_variables(config.apply_overrides(values, overrides), path)
    recipe = leave_out(config.build_config(Recipe, values, where=path), path)
    recipe._file = path
    return recipe


def leave_out(recipe: Recipe, where: str = "") -> Recipe:
    """The recipe without the steps whose `only_with` names a setting that is empty; `skipped` tells which and what they wait for.

    `only_with: taggers.0.options` of a step that needs files which no recipe can bring: give them, and the step is done. `only_with:
    steps.NAME` of a step that reads what an earlier one makes, which may be left out itself.
    """
    steps, skipped = [], dict[str, str]()
    made: list[str] = []
    for number, values in enumerate(recipe.steps):
        name = str(values.get("name") or values.get("kind"))
        key = values.get("only_with")
        rest = {setting: value for setting, value in values.items() if setting != "only_with"}
        if str(key).startswith("steps.") and (earlier := str(key).removeprefix("steps.")) in [*made, *skipped]:
            if earlier in skipped:
                skipped[name] = skipped[earlier]
            else:
                steps.append(rest)
                made.append(name)
            continue
        if key is None or _find_setting(rest, key, f"steps.{number}.only_with", where):
            steps.append(rest)
            made.append(name)
        else:
            skipped[name] = f"steps.{name}.{key}"
    if not steps:
        raise ConfigError(
            "steps", sorted(skipped.values()), "expected one of these settings: every step waits for one", where=where
        )
    chosen = recipe.model_copy(update={"steps": steps})
    chosen._skipped = skipped
    return chosen


def _find_setting(values: Any, key: Any, name: str, where: str) -> bool:
    """Whether the setting that the dotted `key` names says anything: a mapping of empty lists does not."""
    for part in str(key).split("."):
        if isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        elif isinstance(values, dict) and part in values:
            values = values[part]
        else:
            raise ConfigError(name, key, "expected the key of a setting of the step", where=where)
    return any(values.values()) if isinstance(values, dict) else bool(values)


def build_steps(recipe: Recipe, places: Sequence[SettingsPlace] | None = None) -> list[Step]:
    """Validate every step's settings before anything runs; places: of each step's settings, None: the recipe is the user's."""
    steps: list[Step] = []
    for index, values in enumerate(recipe.steps):
        step = build_step(index, values, places[index] if places else None, recipe._file)
        if step.name in [other.name for other in steps]:
            raise ConfigError(f"steps.{index}.name", step.name, "expected each name once")
        steps.append(step)
    return steps


def build_step(index: int, values: dict[str, Any], place: SettingsPlace | None = None, where: str = "") -> Step:
    """One step of a recipe; place: of its settings, None: below `steps` in the file `where`."""
    rest = dict(values)
    kind, name = rest.pop("kind", None), rest.pop("name", None)
    if kind not in KINDS:
        raise ConfigError(f"steps.{index}.kind", kind, f"expected one of {sorted(KINDS)}")
    name = str(name or kind)
    if kind == "synth":
        kind = SYNTH_KINDS.get(str(rest.get("recipe")), kind)
    if re.fullmatch(NAME_PATTERN, name) is None:
        key = place.key("name") if place else f"steps.{index}.name"
        raise ConfigError(key, name, "expected letters, digits, _ and -: it names a folder", where=where)
    module = importlib.import_module(KINDS[kind][0])
    place = place or SettingsPlace(f"steps.{name}.", where)
    try:
        settings = config.build_config(
            settings_class(kind), rest, where=place.where, prefix=place.prefix.removesuffix(".")
        )
    except ConfigError as error:
        raise error.moved(error.key, hint=see_settings(kind)) from error
    for rule in getattr(settings, "rules", []):
        if rule.edit is None and rule.keep is None and rule.min_text_bytes is None:
            key, expected = place.key(f"rules.{rule.name}"), "expected keep, edit or min_text_bytes"
            raise ConfigError(key, None, expected, where=place.where)
    return Step(index, name, kind, module, settings, place)


@contextmanager
def name_settings(step: Step) -> Iterator[None]:
    """A setting of the step that turns out wrong while it runs is named as --set of the user's command takes it."""
    try:
        yield
    except ConfigError as error:
        if step.place.prefix and error.key.partition(".")[0] in type(step.settings).model_fields:
            raise error.moved(step.place.key(error.key), where=step.place.where) from error
        raise


def see_settings(kind: str) -> str:
    """The hint to the command that shows the settings of a kind of step; empty for a kind that is no command."""
    commands = [command for command, its_kind in SETTINGS.items() if its_kind == kind]
    return f"See: dolma-py settings {commands[0]}." if commands else ""


def check_steps(steps: list[Step], *, without_files: bool = False) -> None:
    """Raise ConfigError for what only the step itself would find in its settings, before the first step is run.

    Nothing is asked of what earlier steps are yet to make. without_files: a file that is missing is no mistake, and what it hides is left.
    """
    earlier: list[str] = []  # attribute sets of the steps before
    for step in steps:
        for rule in step.rules:
            try:
                parse_rule(rule.keep or "any")
            except ConfigError as error:
                raise error.moved(step.place.key(f"rules.{rule.name}.keep"), where=step.place.where) from error
        try:
            if hasattr(step.module, "list_sets"):
                step.module.check_settings(step.settings, step.place, earlier)
            elif hasattr(step.module, "check_settings"):
                step.module.check_settings(step.settings, step.place)
        except ConfigError as error:
            is_missing = error.rule == NO_FILE or error.rule.startswith("expected at least one file")
            if not (without_files and is_missing):
                raise
        if hasattr(step.module, "list_sets"):
            earlier += step.module.list_sets(step.settings)


def settings_class(kind: str) -> type[Config]:
    """The configuration of a kind of step."""
    module_name, config_name = KINDS[kind]
    found: type[Config] = getattr(importlib.import_module(module_name), config_name)
    return found
