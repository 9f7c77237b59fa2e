"""Which evaluation items decontamination looks for, by a registry: a YAML file with one mapping per evaluation set.

    folder: /data/benchmarks          # what {folder} in the paths stands for
    sets:
      - name: gsm8k
        paths: ["{folder}/gsm8k/*.jsonl"]
        fields: {question: question, answer: {value: answer, pattern: '#### (.*)'}}
      - name: arc
        hub: allenai/ai2_arc
        config: ARC-Challenge
        answer_form: label
        fields: {id: id, question: question, answer: answerKey, choices: {value: choices.text, labels: choices.label}}

All splits are read unless `splits` names some, as Olmo 3 does (A.5). A question with choices gives an item per choice, each with
the whole text of the choice as its answer, never its letter. Records that repeat another of their set and very short ones are left
out and counted, as decon does before it builds its index.
"""

from __future__ import annotations

import importlib.resources
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import Field, field_validator, model_validator

from dolma_py import storage
from dolma_py.config import Config, build_config, parse_yaml
from dolma_py.errors import ConfigError, DataError, name_known
from taggers.evaluation_fields import (
    AnswerForm,
    FieldProblem,
    Parts,
    RecordFields,
    find_value,
    list_field_paths,
    take_parts,
)
from taggers.evaluation_files import find_snapshot, find_split, list_paths, read_records
from taggers.ngram_match import Item

REGISTRIES = "evaluation_registries"  # folder of the packaged ones
NO_SPLIT = "all"
_WORDS = re.compile(r"\w+")


class EvaluationSet(Config):
    """One evaluation set: its files, and where their records have what."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="begins the ids of its items; the benchmark of reports")
    paths: tuple[str, ...] = Field(
        (), description="files, folders or globs; relative ones from the registry's folder, or the snapshot's"
    )
    hub: str | None = Field(None, description="owner/name of a data set of the Hugging Face Hub, in place of a folder")
    config: str | None = Field(
        None, description="of the Hub's set: the folder of its files, where `paths` does not say"
    )
    revision: str | None = Field(None, description="branch, tag or commit of the Hub's set; null: its main branch")
    form: Literal["fields", "decon"] = Field(
        "fields", description="decon: records of eval_key, question, answer, ... (decon's own)"
    )
    records: str | None = Field(None, description="dotted path of the list of records in a JSON document")
    columns: tuple[str, ...] = Field((), description="names of the columns of CSV files without a header")
    name_files: bool = Field(
        False, description="whether ids of records that have none begin with the name of their file"
    )
    split: str | None = Field(
        None, description="split of records that do not say theirs; null: as the file's name says, else `all`"
    )
    splits: tuple[str, ...] = Field((), description="splits to read; empty: all")
    fields: RecordFields | None = Field(None, description="where a record has its parts; form fields needs it")
    answer_form: AnswerForm = Field(
        "text", description="what the answer is to the choices: text, index (from 0), number (from 1), letter or label"
    )
    multiple_choice: Literal["each", "right"] = Field(
        "each", description="which choices become items, each with its whole text"
    )

    @model_validator(mode="after")
    def _check_places(self) -> EvaluationSet:
        if self.hub is None and not self.paths:
            raise ValueError("expected paths or hub")
        if self.hub is None and (self.config is not None or self.revision is not None):
            raise ValueError("config and revision say something of a set with hub only")
        if (self.form == "fields") == (self.fields is None):
            raise ValueError("expected fields with form fields, and none with form decon")
        return self


class Registry(Config):
    """The evaluation sets, and which of their records are worth looking for."""

    folder: str | None = Field(
        None, description="what {folder} in paths stands for; the tagger's evaluation_folder wins"
    )
    drop_repeats: bool = Field(
        True, description="whether records of a set with equal question, answer and passage are one; as decon"
    )
    min_words: int = Field(
        15, ge=0, description="least words of question, answer and passage together; decon: 20 BPE tokens"
    )
    min_unique_words: int = Field(4, ge=0, description="least different words of them; decon's default")
    sets: tuple[EvaluationSet, ...] = Field(min_length=1, description="evaluation sets")

    @field_validator("sets")
    @classmethod
    def _check_names(cls, sets: tuple[EvaluationSet, ...]) -> tuple[EvaluationSet, ...]:
        repeated = [name for name, number in Counter(one.name for one in sets).items() if number > 1]
        if repeated:
            raise ValueError(f"expected each name once, {repeated[0]} stands more than once")
        return sets


class EvaluationItems(NamedTuple):
    """What a registry gives."""

    items: list[Item]
    counts: dict[str, dict[str, int]]  # set -> records, other_split, no_question, repeated, short, few_words, items


def find_registry(name: str) -> str:
    """The file of a packaged registry's name, or the path itself."""
    if name.endswith((".yaml", ".yml")):
        return storage.resolve_path(name)
    folder = importlib.resources.files("taggers") / REGISTRIES
    known = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    if name not in known:
        raise ConfigError(
            "evaluation_sets", name, "expected a file ending in .yaml, or a packaged registry", name_known(name, known)
        )
    return str(folder / f"{name}.yaml")


def load_registry(name: str, folder: str | None = None) -> Registry:
    """A registry by name or file, its paths resolved; the Hub's sets become the folders of their snapshots.

    folder: what {folder} stands for, in place of the registry's own

    Raises
    ------
    ConfigError     no such registry, a mistake in it, or {folder} without a folder
    """
    path = find_registry(name)
    if storage.file_bytes(path) is None:
        raise ConfigError("evaluation_sets", name, "expected a file", "Check the path.")
    values = parse_yaml(storage.read_bytes(path).decode("utf-8", "replace"), path)
    if not isinstance(values, dict):
        raise ConfigError("evaluation_sets", type(values).__name__, "expected a mapping with the key sets", where=path)
    registry = build_config(Registry, values, where=path, prefix="evaluation_sets")
    base = posixpath.dirname(path)
    root = (
        storage.resolve_path(folder)
        if folder
        else storage.join_path(base, registry.folder)
        if registry.folder
        else None
    )
    return registry.model_copy(update={"sets": tuple(_resolve(one, base, root) for one in registry.sets)})


def _resolve(one: EvaluationSet, base: str, folder: str | None) -> EvaluationSet:
    key = f"evaluation_sets.{one.name}"
    if one.hub is not None:
        base = find_snapshot(one.hub, one.revision, f"{key}.hub")
    patterns = one.paths or ((one.config or ""),)
    if any("{folder}" in pattern for pattern in patterns):
        if folder is None:
            raise ConfigError(
                f"{key}.paths", list(one.paths), "expected a value for {folder}", "Set evaluation_folder."
            )
        patterns = tuple(pattern.replace("{folder}", folder) for pattern in patterns)
    return one.model_copy(update={"paths": tuple(storage.join_path(base, pattern).rstrip("/") for pattern in patterns)})


def list_registry_files(name: str, folder: str | None = None) -> list[str]:
    """The registry's own file and all files that it names: what decides which items there are."""
    registry = load_registry(name, folder)
    return [find_registry(name), *(path for one in registry.sets for path in _list_files(one))]


def read_registry(name: str, folder: str | None = None) -> EvaluationItems:
    """All items of a registry, in the order of its sets and of their sorted files. See read_sets."""
    return read_sets(load_registry(name, folder))


def read_sets(registry: Registry) -> EvaluationItems:
    """Items with ids `<set>/<split>/<id or number>`, and what became of the records.

    A question with choices gives the ids `.../right` and `.../wrong-<number from 0>`; an id that stands before gets #2, #3, ...
    records = other_split + no_question + those that became items; items + repeated + short + few_words of the latter stay and go.

    Raises
    ------
    ConfigError     a set of which no item is left, or a field that no record of a file has
    DataError       a file that cannot be read, or an answer that does not fit its choices; names file and line
    """
    items: list[Item] = []
    counts: dict[str, dict[str, int]] = {}
    ids: Counter[str] = Counter()
    for one in registry.sets:
        count: Counter[str] = Counter(
            dict.fromkeys(("records", "other_split", "no_question", "repeated", "short", "few_words"), 0)
        )
        seen: set[tuple[str, str, str]] = set()
        before = len(items)
        for item in _iterate_items(one, count):
            reason = _find_reason(item, registry, seen)
            if reason:
                count[reason] += 1
                continue
            ids[item.id] += 1
            items.append(item if ids[item.id] == 1 else item._replace(id=f"{item.id}#{ids[item.id]}"))
        counts[one.name] = {**count, "items": len(items) - before}
        if len(items) == before:
            raise ConfigError(
                f"evaluation_sets.{one.name}",
                dict(count),
                "expected at least one item",
                "Look at fields, splits and paths.",
            )
    return EvaluationItems(items, counts)


def _find_reason(item: Item, registry: Registry, seen: set[tuple[str, str, str]]) -> str:
    """Why an item is left out, "" when it stays."""
    words = [_WORDS.findall((text or "").lower()) for text in (item.question, item.answer, item.passage)]
    together = [word for part in words for word in part]
    if len(together) < registry.min_words:
        return "short"
    if len(set(together)) < registry.min_unique_words:
        return "few_words"
    key = (" ".join(words[0]), " ".join(words[1]), " ".join(words[2]))
    if registry.drop_repeats and key in seen:
        return "repeated"
    seen.add(key)
    return ""


def _iterate_items(one: EvaluationSet, count: Counter[str]) -> Iterator[Item]:
    known = set()
    for path in _list_files(one):
        missing = set(list_field_paths(one.fields)) if one.fields else set()
        num_records = 0
        for number, record in read_records(path, records=one.records, columns=one.columns):
            num_records += 1
            missing = {field for field in missing if find_value(record, field) is None}
            split = _find_split(one, record, path)
            known.add(split)
            count["records"] += 1
            if one.splits and split not in one.splits:
                count["other_split"] += 1
                continue
            yield from _make_items(one, record, (path, number, split), count)
        if num_records and missing:
            rule = "expected fields that some record of the file has"
            raise ConfigError(f"evaluation_sets.{one.name}.fields", sorted(missing), rule, where=path)
    unknown = sorted(set(one.splits) - known)
    if unknown:
        raise ConfigError(f"evaluation_sets.{one.name}.splits", unknown, f"expected some of {sorted(known)}")


def _list_files(one: EvaluationSet) -> list[str]:
    return list_paths(one.paths, f"evaluation_sets.{one.name}.paths")


def _find_split(one: EvaluationSet, record: dict[str, Any], path: str) -> str:
    place = "split" if one.form == "decon" else one.fields.split if one.fields else None
    given = find_value(record, place) if place else None
    return str(given) if given else one.split or find_split(path) or NO_SPLIT


def _make_items(
    one: EvaluationSet, record: dict[str, Any], place: tuple[str, int, str], count: Counter[str]
) -> Iterator[Item]:
    """The items of one record; place: its file, its number there, its split."""
    path, number, split = place
    source = f"{path}:{number}"
    if one.fields is None:
        yield _read_decon(record, path, number, split)
        return
    try:
        parts = take_parts(record, one.fields, one.answer_form)
    except FieldProblem as error:
        raise DataError(
            path, f"evaluation set {one.name}: {error}", number, "Look at answer_form and choices."
        ) from error
    if parts.question is None:
        count["no_question"] += 1
        return
    given = find_value(record, one.fields.id) if one.fields.id else None
    own = f"{posixpath.basename(path).split('.')[0]}:{number}" if one.name_files else str(number)
    name = f"{one.name}/{split}/{own if given is None else given}"
    for suffix, answer in _name_answers(parts, one.multiple_choice):
        yield Item(name + suffix, parts.question, answer, parts.passage, one.name, source)


def _name_answers(parts: Parts, multiple_choice: str) -> list[tuple[str, str | None]]:
    """(end of the id, answer) of a record's items; a record without choices has one, with its answer or none."""
    if len(parts.answers) < 2:
        return [("", parts.answers[0][0] if parts.answers else None)]
    right = [answer for answer, is_right in parts.answers if is_right]
    if multiple_choice == "right":
        return [("", right[0] if right else None)]
    return [
        ("/right" if is_right else f"/wrong-{index}", answer) for index, (answer, is_right) in enumerate(parts.answers)
    ]


def _read_decon(record: dict[str, Any], path: str, number: int, split: str) -> Item:
    """decon's own record: one a question, or one a choice with is_correct."""
    key, question, answer = (record.get(name) for name in ("eval_key", "question", "answer"))
    passage = record.get("passage")
    if not isinstance(key, str) or not isinstance(question, str):
        raise DataError(path, "expected the strings eval_key and question of decon's records", number)
    for name, value in (("answer", answer), ("passage", passage)):
        if not isinstance(value, str | None):
            raise DataError(path, f"expected {name} to be a string or null", number)
    is_correct = record.get("is_correct")
    suffix = "/right" if is_correct is True else "/wrong" if is_correct is False else ""
    name = f"{key}/{split}/{record.get('eval_instance_index', number)}{suffix}"
    return Item(name, question, answer or None, passage or None, key, f"{path}:{number}")


def dump_items(items: list[Item]) -> bytes:
    """Items as JSON lines, as the tagger's items_paths has them."""
    keys = ("id", "question", "answer", "passage", "benchmark")
    return b"".join(orjson.dumps({key: getattr(item, key) for key in keys}) + b"\n" for item in items)
