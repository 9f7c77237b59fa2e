"""Which class answers to a tagger's name; users' own taggers come by dotted name `package.module:Class`."""

from __future__ import annotations

import difflib
import importlib
from typing import Any, cast

import pydantic

from dolma_py.config import build_config
from dolma_py.errors import ConfigError
from taggers.base import Tagger

# name in YAML -> where the class lives; resolved on use, so that a recipe without fastText never loads it
TAGGERS = {
    "lengths": "taggers.lengths:LengthTagger",
    "gopher-dclm": "taggers.gopher:GopherTagger",
    "language": "taggers.language:LanguageTagger",
    "quality": "taggers.quality:QualityTagger",
    "code-rules": "taggers.code_rules:CodeRulesTagger",
    "contamination": "taggers.contamination:ContaminationTagger",
}


def find_tagger(name: str) -> type[Any]:
    """The class of a registered name or of `package.module:Class`.

    Raises
    ------
    ConfigError     unknown name (lists the known and the nearest), module or class not found, or the class is no tagger
    """
    target = TAGGERS.get(name, name)
    module_name, colon, class_name = target.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, TAGGERS, 1)
        hint = (
            f"Did you mean {near[0]}? " if near else ""
        ) + f"Known: {', '.join(sorted(TAGGERS))}; or package.module:Class."
        raise ConfigError("tagger", name, "no such tagger", hint)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # a package that the user's own module lacks is the user's error to read, not an unknown name
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise
        raise ConfigError("tagger", name, f"cannot import {module_name}", "Is its package installed?") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not callable(getattr(found, "tag", None)):
        classes = sorted(
            key for key, value in vars(module).items() if isinstance(value, type) and hasattr(value, "tag")
        )
        raise ConfigError("tagger", name, f"expected a class with a method tag in {module_name}", f"It has: {classes}.")
    return found


def build_tagger(name: str, options: dict[str, Any] | None = None) -> Tagger:
    """The tagger `name` with validated options.

    A class of ours takes its config; a user's class without `config_model` takes nothing, and options are then an error.

    Raises
    ------
    ConfigError     unknown name, options that break the config model, or options for a class without one
    """
    found = find_tagger(name)
    model = getattr(found, "config_model", None)
    if model is None:
        if options:
            raise ConfigError(f"{name}.options", options, "expected none: the class has no config_model")
        tagger = found()
    elif isinstance(model, type) and issubclass(model, pydantic.BaseModel):
        tagger = found(build_config(model, options or {}, prefix=name))
    else:
        raise ConfigError(f"{name}.config_model", model, "expected a pydantic model class")
    for attribute in ("name", "version", "schema"):
        if not hasattr(tagger, attribute):
            raise ConfigError(
                "tagger", name, f"expected the attribute {attribute} on the tagger", "See taggers/base.py."
            )
    return cast(Tagger, tagger)
