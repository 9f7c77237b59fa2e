"""Run taggers over a view in one pass over the text, and add rules over what they wrote.

Reads a view; writes attributes/<tagger>-v<version>/ for every tagger. Rows outside the view are null. Documents in the
view = documents tagged, checked.

    spark-submit pipelines/tag_documents.py --config tag.yaml
"""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
from pydantic import Field

from dolma_py import config, storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.errors import ConfigError
from dolma_py.rules import parse_rule
from pipelines.attribute_sets import write_attribute_sets
from pipelines.steps import Rule, StepContext, StepResult, attribute_set_stands, checksum_if_file, find_rule_set
from taggers.base import Tagger, tag_checked
from taggers.registry import build_tagger, find_tagger

VERSION = 1


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
    rules: list[Rule] = Field(default_factory=list, description="added to the view in order")


class TaggerMaker:
    """The taggers of one worker process."""

    columns = None

    def __init__(self, options: dict[str, Any]) -> None:
        self.taggers: dict[str, Tagger] = {
            choice["set"]: build_tagger(choice["tagger"], choice["options"]) for choice in options["taggers"]
        }
        self.schemas: dict[str, pa.Schema] = {name: tagger.schema for name, tagger in self.taggers.items()}

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """Attributes of the batch by every tagger."""
        made = {}
        for name, tagger in self.taggers.items():
            made[name] = tag_checked(tagger, batch.documents)
        return made


def run(context: StepContext, tag: TagConfig) -> StepResult:
    """Tag the view; sets that stand with the same fingerprint are not made again."""
    chosen, fingerprints = [], {}
    for choice in tag.taggers:
        options, identity = resolve_options(context, choice.options)
        tagger = build_tagger(choice.tagger, options)
        name = name_set(choice, tagger)
        if name in fingerprints:
            raise ConfigError(
                f"steps.{context.name}.taggers", name, "expected each attribute set once", "Give one a name."
            )
        view = context.need_view().fingerprint
        fingerprints[name] = config.fingerprint(VERSION, choice.tagger, tagger.version, identity, view)
        chosen.append({"set": name, "tagger": choice.tagger, "options": options, "fingerprint": fingerprints[name]})
    _check_rules(
        context, tag, {choice["set"]: build_tagger(choice["tagger"], choice["options"]).schema for choice in chosen}
    )
    missing = {
        name: value for name, value in fingerprints.items() if not attribute_set_stands(context.corpus, name, value)
    }
    times: dict[str, Any] = {}
    if missing:
        options = {"taggers": [choice for choice in chosen if choice["set"] in missing]}
        times = write_attribute_sets(context, "pipelines.tag_documents:TaggerMaker", options, missing)._asdict()
    return StepResult(attributes=fingerprints, times=times)


def name_set(choice: TaggerChoice, tagger: Tagger | type[Any]) -> str:
    """The attribute set that a tagger writes."""
    return f"{choice.name or tagger.name}-v{tagger.version}"


def _check_rules(context: StepContext, tag: TagConfig, schemas: dict[str, pa.Schema]) -> None:
    """A misspelled set or column is found before hours of tagging, not after."""
    for rule in tag.rules:
        name = find_rule_set(context.name, rule, schemas)
        for clause in parse_rule(rule.keep) if rule.keep and name is not None else ():
            if clause.column not in schemas[name].names:
                raise ConfigError(
                    f"rules.{rule.name}.keep",
                    clause.column,
                    f"expected a column of {name}, one of {schemas[name].names}",
                )


def resolve_options(context: StepContext, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options with artifacts as paths, options with artifacts as checksums): what the tagger gets, what identifies it."""
    paths, identity = {}, {}
    for key, value in options.items():
        values = value if isinstance(value, list) else [value]
        named = [_resolve(context, item) for item in values]
        paths[key] = [path for path, _ in named] if isinstance(value, list) else named[0][0]
        identity[key] = [mark for _, mark in named] if isinstance(value, list) else named[0][1]
    return paths, identity


def _resolve(context: StepContext, value: Any) -> tuple[Any, Any]:
    if not (isinstance(value, str) and value.startswith("artifact:")):
        return value, checksum_if_file(value)
    path = context.artifact(value.removeprefix("artifact:"))
    return path, storage.checksum_file(path)


def fingerprint_inputs(corpus: Corpus, tag: TagConfig) -> list[Any]:
    """Versions of the taggers, and checksums of files that their options name."""
    marks: list[Any] = []
    for choice in tag.taggers:
        values = [item for value in choice.options.values() for item in (value if isinstance(value, list) else [value])]
        version = getattr(find_tagger(choice.tagger), "version", None)
        marks.append([version, [checksum_if_file(value) for value in values]])
    return marks


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("tag", argv)


if __name__ == "__main__":
    sys.exit(main())
