"""Cheap rules spare dear taggers: rows that a rule of the step drops are not given to what comes after it.

A share of the documents, by hash of id, goes through everything whatever the rules say, so that the funnel can count what each rule would
drop by itself. What is null was dropped by an earlier rule of the same step, so the view's decisions are those of the step without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import hashing, rules, views
from dolma_py.errors import ConfigError
from dolma_py.rules import Clause
from pipelines.steps import Rule, SettingsPlace
from taggers.base import Tagger, check_aligned, tag_checked

Bools = np.ndarray


def choose_whole(ids: pa.Array | pa.ChunkedArray, *, seed: int, frac: float) -> Bools:
    """The documents that get every attribute, bool (N,): a function of seed and id alone."""
    keys = hashing.hash_ids(ids, seed=seed, name="short-circuit")
    return np.asarray(keys / 2.0**64 < frac, bool)


def check_order(place: SettingsPlace, step_rules: Sequence[Rule], taggers: Mapping[str, Tagger]) -> None:
    """Raise ConfigError unless rules come in the order in which their columns are made: else a rule would see what an earlier one spared.

    taggers: attribute set -> its tagger, in the step's order.
    """
    order = list(taggers)
    reached, before = (0, 0), ""
    for rule in step_rules:
        if rule.attributes is None and rule.min_text_bytes is None:
            rule = rule.model_copy(update={"attributes": order[0]})
        if rule.attributes not in taggers:
            continue
        parts: Mapping[str, int] = getattr(taggers[rule.attributes], "parts", {})
        columns = [clause.column for clause in rules.parse_rule(rule.keep)] if rule.keep else [str(rule.edit)]
        places = [(order.index(rule.attributes), parts.get(column, 0)) for column in columns]
        if min(places) < reached:
            key, hint = place.key(f"rules.{rule.name}"), f"Put it before {before}, or leave short_circuit out."
            expected = "expected rules in the order of the taggers, and of the parts of each, with short_circuit"
            raise ConfigError(key, rule.keep or rule.edit, expected, hint, place.where)
        if max(places) > reached:
            reached, before = max(places), rule.name


class ShortCircuit:
    """The rules of one step, as they thin out a batch between its taggers."""

    def __init__(self, step_rules: Sequence[Mapping[str, Any]], *, seed: int, whole_frac: float) -> None:
        self.rules = [Rule(**rule) for rule in step_rules]
        self.seed, self.whole_frac = seed, whole_frac

    def tag(self, taggers: Mapping[str, Tagger], documents: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
        """Attributes of the batch by every tagger, null where an earlier rule dropped the row."""
        whole = choose_whole(documents.column("id"), seed=self.seed, frac=self.whole_frac)
        sources = documents.column("source")
        alive = np.ones(documents.num_rows, bool)
        made = {}
        for name, tagger in taggers.items():
            mine = [rule for rule in self.rules if rule.attributes == name and rule.keep]
            clauses = [rules.parse_rule(rule.keep or "") for rule in mine]
            chosen = [views.applies(views.Step(name=rule.name, attributes=name, keep=rule.keep, sources=rule.sources,
                                               except_sources=rule.except_sources), sources) for rule in mine]  # fmt: skip
            rows = np.flatnonzero(alive | whole)
            given = documents if len(rows) == documents.num_rows else documents.take(pa.array(rows))
            # a gate knows no sources: a row that some rule is not for goes through the whole tagger
            free = whole | ~np.logical_and.reduce(chosen) if chosen else np.ones(documents.num_rows, bool)
            made[name] = _spread(_tag(tagger, given, clauses, free[rows]), rows, documents.num_rows)
            table = pa.Table.from_batches([made[name]])
            for rule, its_rows in zip(clauses, chosen, strict=True):
                alive &= rules.evaluate_rule(rule, table)[0] | ~its_rows
        return made


def _tag(tagger: Any, documents: pa.RecordBatch, clauses: list[tuple[Clause, ...]], free: Bools) -> pa.RecordBatch:
    if not documents.num_rows:
        return pa.RecordBatch.from_pylist([], tagger.schema)
    if hasattr(tagger, "tag_gated"):
        return check_aligned(tagger, documents, tagger.tag_gated(documents, clauses, free))
    return tag_checked(tagger, documents)


def _spread(batch: pa.RecordBatch, rows: np.ndarray, num_rows: int) -> pa.RecordBatch:
    if batch.num_rows == num_rows:
        return batch
    index = np.full(num_rows, -1, np.int64)
    index[rows] = np.arange(batch.num_rows)
    return batch.take(pa.array(index, mask=index < 0))
