"""Which class answers to a tagger's name; users' own taggers come by dotted name `package.module:Class`."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import Any, cast

import pydantic

from dolma_py.config import build_config, check_known
from dolma_py.errors import ConfigError, name_known
from taggers.base import Tagger

# name in YAML -> where the class lives; resolved on use, so that a recipe without fastText never loads it
TAGGERS = {
    "lengths": "taggers.lengths:LengthTagger",
    "gopher-dclm": "taggers.gopher:GopherTagger",
    "gopher-paper": "taggers.rule_presets:GopherPaperTagger",
    "gopher-datatrove": "taggers.rule_presets:GopherDatatroveTagger",
    "gopher-dolma": "taggers.rule_presets:GopherDolmaTagger",
    "fineweb": "taggers.rule_presets:FinewebTagger",
    "rule-presets": "taggers.rule_presets:RulePresetsTagger",
    "c4-paper": "taggers.c4:C4PaperTagger",
    "c4-code": "taggers.c4:C4CodeTagger",
    "c4-fineweb": "taggers.c4:C4FinewebTagger",
    "web-filter": "taggers.web_filter:WebFilterTagger",
    "language": "taggers.language:LanguageTagger",
    "quality": "taggers.quality:QualityTagger",
    "toxicity": "taggers.toxicity:ToxicityTagger",
    "adult": "taggers.toxicity:AdultTagger",
    "perplexity": "taggers.perplexity:PerplexityTagger",
    "topic": "taggers.quality:TopicTagger",
    "classifiers": "taggers.quality:ClassifiersTagger",
    "code-rules": "taggers.code_rules:CodeRulesTagger",
    "gzip-ratio": "taggers.gzip_ratio:GzipRatioTagger",
    "ngram-loops": "taggers.ngram_loops:NgramLoopsTagger",
    "code-content": "taggers.code_content:CodeContentTagger",
    "code-endings": "taggers.code_endings:CodeEndingsTagger",
    "pdf-text": "taggers.pdf_text:PdfTextTagger",
    "pii": "taggers.pii:PiiTagger",
    "url-lists": "taggers.url_lists:UrlListsTagger",
    "contamination": "taggers.contamination:ContaminationTagger",
    "download-spam": "taggers.download_spam:DownloadSpamTagger",
    "metadata-numbers": "taggers.metadata_numbers:MetadataNumbersTagger",
    "document-privacy": "taggers.document_privacy:DocumentPrivacyTagger",
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
        hint = name_known(name, TAGGERS).removesuffix(".") + "; or package.module:Class."
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
    model = _find_model(found, options or {}, f"{name}.options")
    tagger = found() if model is None else found(build_config(model, options or {}, prefix=name))
    for attribute in ("name", "version", "schema"):
        if not hasattr(tagger, attribute):
            raise ConfigError(
                "tagger", name, f"expected the attribute {attribute} on the tagger", "See taggers/base.py."
            )
    return cast(Tagger, tagger)


def check_options(
    found: type[Any], options: dict[str, Any], unknown: Collection[str], *, prefix: str, where: str = ""
) -> None:
    """Raise ConfigError for options that build_tagger would refuse; those named in `unknown` have no value yet."""
    model = _find_model(found, options, prefix, where)
    if model is None:
        return
    try:
        check_known(model, options, unknown, where=where, prefix=prefix)
    except (OSError, LookupError, ArithmeticError):
        return  # a validator that reads files which are not there yet; what it says is left to build_tagger


def _find_model(
    found: type[Any], options: dict[str, Any], key: str, where: str = ""
) -> type[pydantic.BaseModel] | None:
    """The config model of a tagger's class, None for a class that takes no options."""
    model = getattr(found, "config_model", None)
    if model is None and options:
        raise ConfigError(key, options, "expected none: the class has no config_model", where=where)
    if model is not None and not (isinstance(model, type) and issubclass(model, pydantic.BaseModel)):
        raise ConfigError(f"{found.__name__}.config_model", model, "expected a pydantic model class")
    return model
