"""Run taggers over a view in one pass over the text, and add rules over what they wrote.

Reads a view; writes attributes/<tagger>-v<version>/ for every tagger. Rows outside the view are null. Documents in the
view = documents tagged, checked.

    spark-submit pipelines/tag_documents.py --config tag.yaml
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, field_validator

from dolma_py import config, storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.errors import ConfigError, name_known
from dolma_py.rules import parse_rule
from pipelines.attribute_sets import write_attribute_sets
from pipelines.named_tokenizers import identify_options, place_option
from pipelines.preset_entries import expand_entries, is_entry
from pipelines.short_circuit import ShortCircuit, check_order
from pipelines.steps import (
    Rule,
    SettingsPlace,
    StepContext,
    StepResult,
    attribute_set_stands,
    checksum_if_file,
    find_rule_set,
)
from taggers.base import Tagger, describe_tagger, tag_checked
from taggers.registry import build_tagger, check_options, find_tagger

logger = logging.getLogger("dolma_py.build")
VERSION = 2
OUR_PACKAGES = (
    "taggers",
    "mixers",
)  # a class of theirs that says name, version and schema has objects that say the same


class TaggerChoice(Config):
    """One tagger and its options."""

    tagger: str = Field(description="name in the registry, or package.module:Class of your own")
    name: str | None = Field(default=None, description="attribute set's name; null: the tagger's own")
    options: dict[str, Any] = Field(
        default_factory=dict, description="checked by the tagger; artifact:NAME is a file an earlier step made"
    )


class TagConfig(Config):
    """Which taggers run, and which rows leave the view after them."""

    taggers: list[TaggerChoice] = Field(min_length=1, description="run in one pass")
    rules: list[Rule] = Field(
        default_factory=list,
        description="added to the view in order; {preset: NAME} among them stands for the rules of a preset",
    )
    short_circuit: bool = Field(
        default=False,
        description="a document that a rule drops is not given to the taggers after it, and a tagger of several parts stops at the part whose "
        "rule it breaks; what is spared is null, so the attributes are for these rules only",
    )
    whole_frac: float = Field(
        default=0.01, ge=0, le=1,
        description="with short_circuit: share of documents, by hash of id, that get every attribute, so that the funnel counts what each rule "
        "would drop by itself",
    )  # fmt: skip

    @field_validator("rules", mode="wrap")
    @classmethod
    def _expand_presets(cls, rules: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if not isinstance(rules, list | tuple) or not any(map(is_entry, rules)):
            return handler(rules)
        # what stands for an entry keeps the numbers of the other rules, by which their mistakes are named
        given = handler([Rule(name="") if is_entry(rule) else rule for rule in rules])
        if "taggers" not in info.data:  # wrong themselves, which is what the user reads
            return given
        return expand_entries(rules, given, info.data["taggers"])


class TaggerMaker:
    """The taggers of one worker process."""

    columns = None

    def __init__(self, options: dict[str, Any]) -> None:
        self.taggers: dict[str, Tagger] = {
            choice["set"]: build_tagger(choice["tagger"], choice["options"]) for choice in options["taggers"]
        }
        self.schemas: dict[str, pa.Schema] = {name: tagger.schema for name, tagger in self.taggers.items()}
        self.short_circuit = ShortCircuit(**options["short_circuit"]) if options.get("short_circuit") else None

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """Attributes of the batch by every tagger."""
        if self.short_circuit is not None:
            return self.short_circuit.tag(self.taggers, batch.documents)
        made = {}
        for name, tagger in self.taggers.items():
            made[name] = tag_checked(tagger, batch.documents)
        return made


def run(context: StepContext, tag: TagConfig) -> StepResult:
    """Tag the view; sets that stand with the same fingerprint are not made again."""
    chosen, fingerprints, columns, artifacts, facts = [], {}, {}, {}, {}
    taggers: dict[str, Tagger] = {}
    for choice in tag.taggers:
        options, identity = resolve_options(context, choice.options)
        settled = settle_options(context, choice, options)
        if settled is not None:
            options, identity = settled.options, settled.identity(identity)
            artifacts |= settled.artifacts
            facts |= settled.facts
        for key, mark in identify_options(find_tagger(choice.tagger), options).items():
            identity[key], options[key] = mark, place_option(context, f"tokenizer-{len(chosen)}", options[key])
        tagger = build_tagger(choice.tagger, options)
        name = name_set(choice, tagger)
        for benchmark, reasons in getattr(tagger, "not_searched", {}).items():
            facts.setdefault(name, {}).setdefault(benchmark, {})["not_searched"] = reasons
        if name in fingerprints:
            raise _name_twice(context.setting_key("taggers"), name)
        view = context.need_view().fingerprint
        columns[name] = tagger.schema.names
        taggers[name] = tagger
        described = describe_tagger(tagger)  # with defaults, which the settings do not have
        unset = {key: value for key, value in described["options"].items() if key not in options}
        mark = [VERSION, choice.tagger, tagger.version, described["columns"], unset, identity, view]
        fingerprints[name] = config.fingerprint(*mark)
        chosen.append({"set": name, "tagger": choice.tagger, "options": options, "fingerprint": fingerprints[name]})
    earlier = {step.attributes for step in context.need_view().steps if step.attributes}
    _check_rules(context.place, tag.rules, columns, earlier)
    spared = None
    if tag.short_circuit:
        check_order(context.place, tag.rules, taggers)
        rules = [
            rule.model_copy(update={"attributes": find_rule_set(context.place, rule, columns, earlier)})
            for rule in tag.rules
        ]
        spared = {"step_rules": config.dump_config(tag.model_copy(update={"rules": rules}))["rules"], "seed": context.seed,
                  "whole_frac": tag.whole_frac}  # fmt: skip
        fingerprints = {name: config.fingerprint(value, spared) for name, value in fingerprints.items()}
        for choice in chosen:
            choice["fingerprint"] = fingerprints[choice["set"]]
    missing = {
        name: value for name, value in fingerprints.items() if not attribute_set_stands(context.corpus, name, value)
    }
    times: dict[str, Any] = {}
    if missing:
        if spared is not None:  # each set decides what the ones after it hold
            missing = fingerprints
        options = {"taggers": [choice for choice in chosen if choice["set"] in missing], "short_circuit": spared}
        times = write_attribute_sets(context, "pipelines.tag_documents:TaggerMaker", options, missing)._asdict()
    return StepResult(attributes=fingerprints, artifacts=artifacts, facts=facts, times=times)


class Settled(NamedTuple):
    """A tagger's options once the driver has read for all workers what they name."""

    options: dict[str, Any]  # for the workers: they name the corpus' own file
    artifacts: dict[str, str]  # that file
    facts: dict[str, Any]  # what became of the records, by attribute set
    checksum: str  # of the file
    replaced: tuple[str, ...]  # options that the file stands for

    def identity(self, identity: dict[str, Any]) -> dict[str, Any]:
        """What identifies the tagger: the file's content in place of where it came from."""
        return {key: value for key, value in identity.items() if key not in self.replaced} | {"items": self.checksum}


def settle_options(context: StepContext, choice: TaggerChoice, options: dict[str, Any]) -> Settled | None:
    """Evaluation items, read once on the driver into the step's folder: workers, reports and people then read that one file.

    For taggers whose class has `collect_items(options) -> (bytes, counts)` and `ITEMS_OPTIONS`; None for all others.
    """
    found = find_tagger(choice.tagger)
    if not hasattr(found, "collect_items"):
        return None
    content, counts = found.collect_items(options)
    name = name_set(choice, found)
    path = f"{context.folder}/{name}-items.jsonl"
    storage.write_bytes(context.corpus.path(path), content)
    kept = {key: value for key, value in options.items() if key not in found.ITEMS_OPTIONS}
    return Settled(
        options=kept | {"items_paths": [context.corpus.path(path)]},
        artifacts={f"{name}-items": path},
        facts={name: counts},
        checksum=storage.checksum_file(context.corpus.path(path)),
        replaced=found.ITEMS_OPTIONS,
    )


def name_set(choice: TaggerChoice, tagger: Tagger | type[Any]) -> str:
    """The attribute set that a tagger writes."""
    return f"{choice.name or tagger.name}-v{tagger.version}"


def check_settings(tag: TagConfig, place: SettingsPlace, earlier: Collection[str] = ()) -> None:
    """Raise ConfigError for a tagger, an option, an attribute set or a column that is not there, before any step is run.

    What an option that names an artifact hides, or a tagger that cannot be built yet, is left to the run. earlier: attribute sets of the
    steps before, which rules may be over too.
    """
    check_taggers(tag, place)
    for choice in tag.taggers:
        for warning in _find_warnings(choice):
            logger.warning("%s", warning)
    try:
        _check_sets(tag, place, [_look_up(choice) for choice in tag.taggers], earlier)
    except ConfigError:  # what a class says of itself its objects may say otherwise
        _check_sets(tag, place, [_look_up(choice, surely=True) for choice in tag.taggers], earlier)


def list_sets(tag: TagConfig) -> list[str]:
    """The attribute sets that the step will write, as far as that is known before it runs."""
    return [found[0] for found in map(_look_up, tag.taggers) if found is not None]


def check_taggers(tag: TagConfig, place: SettingsPlace) -> None:
    """Raise ConfigError for an unknown tagger, and for options that it does not take."""
    for number, choice in enumerate(tag.taggers):
        key = place.key(f"taggers.{number}")
        try:
            found = find_tagger(choice.tagger)
        except ConfigError as error:
            raise error.moved(f"{key}.tagger", where=place.where) from error
        artifacts = _list_artifacts(choice)
        check_options(found, choice.options, artifacts, prefix=f"{key}.options", where=place.where)
        _check_files(found, choice, f"{key}.options", place)
        if not artifacts and hasattr(found, "list_input_files"):
            try:  # a registry that cannot be read is told before anything runs
                found.list_input_files(choice.options)
            except ConfigError as error:
                raise error.moved(f"{key}.options.{error.key}", where=place.where) from error


def _check_files(found: type[Any], choice: TaggerChoice, key: str, place: SettingsPlace) -> None:
    """Raise ConfigError for a file that an option of a tagger of ours names and that is not there; somebody else's may be yet to come."""
    if found.__module__.partition(".")[0] not in OUR_PACKAGES:
        return
    for name, value in choice.options.items():
        is_path = name.endswith("_path") and isinstance(value, str) and value != ""
        if is_path and "artifact:" not in value and "{corpus}" not in value and not storage.path_exists(value):
            raise ConfigError(f"{key}.{name}", value, "no such file", "Check the path.", place.where)


def _find_warnings(choice: TaggerChoice) -> list[str]:
    """What the tagger's config has to say of options that are right and costly."""
    model = getattr(find_tagger(choice.tagger), "config_model", None)
    if not hasattr(model, "warnings"):
        return []
    try:
        return list(config.build_config(model, choice.options).warnings)
    except ConfigError:  # an option whose value an earlier step is to make
        return []


def _list_artifacts(choice: TaggerChoice) -> list[str]:
    """The options that name files which earlier steps make."""
    return [key for key, value in choice.options.items() if '"artifact:' in json.dumps(value, default=str)]


def _look_up(choice: TaggerChoice, *, surely: bool = False) -> tuple[str, list[str]] | None:
    """(attribute set, its columns) that a tagger will write, from its class if that says so; None: not known yet.

    surely: a class that is not ours is not believed, only an object of it.
    """
    found = find_tagger(choice.tagger)
    kinds = {"name": str, "version": int, "schema": pa.Schema}  # a property of a class is none of them
    is_told = all(isinstance(getattr(found, name, None), kind) for name, kind in kinds.items())
    if is_told and not (surely and found.__module__.partition(".")[0] not in OUR_PACKAGES):
        return name_set(choice, found), list(found.schema.names)
    if _list_artifacts(choice):
        return None
    try:
        tagger = build_tagger(choice.tagger, choice.options)
        return name_set(choice, tagger), list(tagger.schema.names)
    except Exception:  # somebody's class may raise anything, over a file that is yet to come for one
        return None


def _check_sets(
    tag: TagConfig, place: SettingsPlace, found: list[tuple[str, list[str]] | None], earlier: Collection[str]
) -> None:
    """Raise ConfigError for a set that would be written twice, and for rules over what is not there."""
    columns: dict[str, list[str]] = {}
    for name, names in [known for known in found if known is not None]:
        if name in columns:
            raise _name_twice(place.key("taggers"), name)
        columns[name] = names
    is_open = None in found  # a set whose name is not known yet may be the one that a rule means
    known = (lambda rule: rule.attributes in columns) if is_open else (lambda rule: True)
    _check_rules(place, [rule for rule in tag.rules if known(rule)], columns, earlier)


def _name_twice(key: str, name: str) -> ConfigError:
    return ConfigError(key, name, "expected each attribute set once", "Give one a name.")


def _check_rules(
    place: SettingsPlace, rules: list[Rule], columns: Mapping[str, Collection[str]], earlier: Collection[str]
) -> None:
    """A misspelled set or column is found before hours of tagging, not after; columns: of each set."""
    for rule in rules:
        name = find_rule_set(place, rule, columns, earlier)
        if name not in columns:
            continue
        used = [("keep", clause.column) for clause in (parse_rule(rule.keep) if rule.keep else ())]
        for key, column in used + ([("edit", rule.edit)] if rule.edit else []):
            if column not in columns[name]:
                key, hint = place.key(f"rules.{rule.name}.{key}"), name_known(column, columns[name])
                raise ConfigError(key, column, f"no such column of {name}", hint, place.where)


def resolve_options(context: StepContext, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options with artifacts as paths, options with artifacts as checksums): what the tagger gets, what identifies it."""
    paths, identity = {}, {}
    for key, value in options.items():
        values = value if isinstance(value, list) else [value]
        named = [_resolve(context, item) for item in values]
        paths[key] = _fill_corpus(
            [path for path, _ in named] if isinstance(value, list) else named[0][0], context.corpus
        )
        identity[key] = [mark for _, mark in named] if isinstance(value, list) else named[0][1]
    return paths, identity


def _fill_corpus(value: Any, corpus: Corpus) -> Any:
    """The value with the corpus' folder in groups of options, such as where an endpoint keeps its answers."""
    if isinstance(value, dict):
        return {
            key: item.replace("{corpus}", corpus.root) if isinstance(item, str) else item for key, item in value.items()
        }
    return value


def _resolve(context: StepContext, value: Any) -> tuple[Any, Any]:
    if not (isinstance(value, str) and value.startswith("artifact:")):
        return value, checksum_if_file(value)
    path = context.artifact(value.removeprefix("artifact:"))
    return path, storage.checksum_file(path)


def fingerprint_inputs(corpus: Corpus, tag: TagConfig) -> list[Any]:
    """Versions, columns and defaults of the taggers, as far as their classes say, and checksums of files that their options name."""
    marks: list[Any] = []
    for choice in tag.taggers:
        options = [value for _, value in sorted(choice.options.items())]  # however the file has them in order
        values = [item for value in options for item in (value if isinstance(value, list) else [value])]
        found = find_tagger(choice.tagger)
        values += found.list_input_files(choice.options) if hasattr(found, "list_input_files") else []
        schema = getattr(found, "schema", None)
        columns = {field.name: str(field.type) for field in schema} if isinstance(schema, pa.Schema) else None
        checksums = [checksum_if_file(value) for value in values]
        checksums += [mark for mark in identify_options(found, choice.options).values() if mark not in checksums]
        marks.append([getattr(found, "version", None), columns, _list_defaults(found, choice.options), checksums])
    return marks


def _list_defaults(found: type[Any], options: dict[str, Any]) -> dict[str, str]:
    """What the class takes for options that are not given, where it has a pydantic model."""
    fields = getattr(getattr(found, "config_model", None), "model_fields", {})
    return {
        name: repr(field.get_default(call_default_factory=True))
        for name, field in fields.items()
        if name not in options
    }


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("tag", argv)


if __name__ == "__main__":
    sys.exit(main())
