"""Recipes of synthesis by name: YAML files with prompts and options, of which each kind has its own, checked before anything is asked."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from dolma_py import config, storage
from dolma_py.config import Config
from dolma_py.errors import ConfigError, name_known
from dolma_py.made_documents import MAKER_PATTERN
from dolma_py.python_sources import PythonSources
from mixers.synthesis_code import CodeKind
from mixers.synthesis_flashcards import FlashcardKind
from mixers.synthesis_reading import ReadingKind
from mixers.synthesis_reasoning import ReasoningKind
from mixers.synthesis_rewrites import RewriteKind
from mixers.synthesis_tasks import AskOptions, Kind

FOLDER = "synthesis_recipes"
KINDS: dict[str, type[Any]] = {
    "rewrite": RewriteKind,
    "code": CodeKind,
    "flashcards": FlashcardKind,
    "reading": ReadingKind,
    "reasoning": ReasoningKind,
}
_WITH_SOURCES = ("code", "reasoning")  # kinds that parse programs


class SynthesisRecipe(Config):
    """A recipe's file."""

    kind: Literal["rewrite", "code", "flashcards", "reading", "reasoning"] = Field(
        description="what is made and how answers are checked"
    )
    version: int = Field(ge=1, description="raised when the file changes")
    about: str = Field(default="", description="what it is for")
    system: str = Field(default="", description="message of the system before each question; empty: none")
    prompts: dict[str, str] = Field(description="what is asked, by stage or form")
    options: dict[str, Any] = Field(default_factory=dict, description="of the kind; a step's options come over them")

    @property
    def prompts_fingerprint(self) -> str:
        """Of all that the model is told beside the texts."""
        return config.fingerprint("prompts", self.system, self.prompts)


def list_recipes() -> list[str]:
    """Names of the packaged recipes."""
    folder = importlib.resources.files("mixers") / FOLDER
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_recipe(name: str) -> SynthesisRecipe:
    """The packaged recipe of that name, or that of a YAML file. ConfigError for neither, and for a mistake in it."""
    if name.endswith((".yaml", ".yml")):
        where = storage.resolve_path(name)
        if storage.file_bytes(where) is None:
            raise ConfigError("recipe", name, "expected a file", "Check the path.")
        text = storage.read_bytes(where).decode("utf-8", "replace")
    elif name in list_recipes():
        place = importlib.resources.files("mixers") / FOLDER / f"{name}.yaml"
        where, text = str(place), place.read_text(encoding="utf-8")
    else:
        known = ["cwe", "rex", "verifiable", "problem-variants", *list_recipes()]
        raise ConfigError(
            "recipe", name, "expected a file ending in .yaml, or a recipe by name", name_known(name, known)
        )
    return config.build_config(SynthesisRecipe, config.parse_yaml(text, where), where=where)


def name_maker(name: str) -> str:
    """The maker in the ids of what is made: the recipe's name, or that of its file. ConfigError for a file whose name is none."""
    maker = name.rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml")
    if not re.fullmatch(MAKER_PATTERN, maker):
        raise ConfigError("recipe", name, "expected a file named by small letters, digits, _ and -, a letter first")
    return maker


def build_options(recipe: SynthesisRecipe, options: Mapping[str, Any]) -> AskOptions:
    """The kind's options: the recipe's with those given over them, mappings inside merged. ConfigError names `options.KEY`."""
    built = config.build_config(KINDS[recipe.kind].options_model, merge(recipe.options, options), prefix="options")
    return built  # type: ignore[no-any-return]


def build_kind(recipe: SynthesisRecipe, options: Mapping[str, Any], sources: PythonSources) -> Kind:
    """The kind with its options and prompts. ConfigError for prompts that lack a hole or that the kind does not know."""
    more = {"sources": sources} if recipe.kind in _WITH_SOURCES else {}
    kind: Kind = KINDS[recipe.kind](build_options(recipe, options), recipe.prompts, **more)
    return kind


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees of settings, the second over the first."""
    merged = dict(first)
    for name, value in second.items():
        own = merged.get(name)
        merged[name] = merge(own, value) if isinstance(own, Mapping) and isinstance(value, Mapping) else value
    return merged
