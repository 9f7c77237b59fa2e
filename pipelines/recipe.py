"""Recipes: YAML files that name the steps of a flow, and the job behind each kind of step."""

from __future__ import annotations

import importlib
import importlib.resources
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import Field

from dolma_py import config, storage
from dolma_py.config import Config
from dolma_py.errors import ConfigError
from pipelines.steps import Rule, StepContext, StepResult

# kind of a step -> the module of its job; a module has VERSION, one Config for it, and run(context, config). It may have
# CHANGES_NO_BYTE (settings that are not part of the fingerprint), READS_VIEW = False (it reads other files; the view goes by it),
# expected_text_bytes, fingerprint_inputs, worker_memory_bytes, driver_memory_bytes
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
    "plan_mix": ("pipelines.plan_mix", "PlanMixConfig"),
    "sample_mix": ("pipelines.sample_mix", "SampleMixConfig"),
    "tokenize": ("pipelines.make_tokens", "MakeTokensConfig"),
    "materialize": ("pipelines.materialize_view", "MaterializeConfig"),
    "read_plain": ("pipelines.read_plain_files", "ReadPlainConfig"),
    "write_plain": ("pipelines.write_plain_files", "WritePlainConfig"),
    "export_dolma": ("pipelines.export_dolma", "ExportDolmaConfig"),
}
FIRST_KINDS = ("ingest", "read_plain")  # after them there is a view of all documents


class Recipe(Config):
    """The top of a recipe file."""

    recipe: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name; its runs lie under runs/<name>/")
    flow: str = Field(default="mix", description="the flow it belongs to: dolma-py build FLOW --recipe NAME")
    seed: int = Field(ge=0, description="every random choice derives from it and from its purpose's name")
    split_bytes: int = Field(default=32 << 20, ge=1, description="text read by one task, in bytes")
    steps: list[dict[str, Any]] = Field(min_length=1, description="name, kind, and the settings of the kind")


class Step(NamedTuple):
    """One step, its job and its validated settings."""

    index: int
    name: str
    kind: str
    module: ModuleType
    settings: Config

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
        for name in ("rules", *getattr(self.module, "CHANGES_NO_BYTE", ())):
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
    return config.build_config(Recipe, config.apply_overrides(values, overrides), where=path)


def build_steps(recipe: Recipe) -> list[Step]:
    """Validate every step's settings before anything runs."""
    steps: list[Step] = []
    for index, values in enumerate(recipe.steps):
        step = build_step(index, values)
        if step.name in [other.name for other in steps]:
            raise ConfigError(f"steps.{index}.name", step.name, "expected each name once")
        steps.append(step)
    return steps


def build_step(index: int, values: dict[str, Any]) -> Step:
    """One step of a recipe."""
    rest = dict(values)
    kind, name = rest.pop("kind", None), rest.pop("name", None)
    if kind not in KINDS:
        raise ConfigError(f"steps.{index}.kind", kind, f"expected one of {sorted(KINDS)}")
    name = str(name or kind)
    module = importlib.import_module(KINDS[kind][0])
    settings = config.build_config(settings_class(kind), rest, prefix=f"steps.{name}")
    for rule in getattr(settings, "rules", []):
        if rule.edit is None and rule.keep is None and rule.min_text_bytes is None:
            raise ConfigError(f"steps.{name}.rules.{rule.name}", None, "expected keep, edit or min_text_bytes")
    return Step(index, name, kind, module, settings)


def settings_class(kind: str) -> type[Config]:
    """The configuration of a kind of step."""
    module_name, config_name = KINDS[kind]
    found: type[Config] = getattr(importlib.import_module(module_name), config_name)
    return found
