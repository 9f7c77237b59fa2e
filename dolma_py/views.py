"""Views: a listing, rules over attributes and edit spans, in order, in one YAML file under views/.

Steps read a view and write attributes for the original shard and row, null outside the view. So no step copies the
corpus, and a changed threshold re-evaluates rules and not taggers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dolma_py import config, parquet_files, rules, spans, storage
from dolma_py.config import Config
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError, DataError
from dolma_py.listing import Listing, Shard
from dolma_py.spans import Spans

SIZES = "sizes-v1"  # written with the documents: text_bytes of each


class Step(Config):
    """One line of a view: a rule over attributes, a least size of the edited text, or an edit."""

    name: str = Field(description="what the funnel calls it")
    attributes: str | None = Field(default=None, description="attribute set, <tagger>-v<version>")
    fingerprint: str | None = Field(default=None, description="of the attribute set when the view was made")
    keep: str | None = Field(
        default=None, description="rule of dolma_py.rules over the set's columns; rows that break it leave"
    )
    edit: str | None = Field(default=None, description="a spans column of the set; its bytes leave the text")
    min_text_bytes: int | None = Field(
        default=None, ge=0, description="least size of the text after the edits before, in bytes"
    )
    sources: list[str] | None = Field(default=None, description="the step is for these sources only")
    except_sources: list[str] | None = Field(default=None, description="the step is not for these sources")

    def check(self) -> None:
        """Raise ConfigError unless exactly one of keep, edit and min_text_bytes is given, with its attributes."""
        given = [self.keep is not None, self.edit is not None, self.min_text_bytes is not None]
        if sum(given) != 1:
            raise ConfigError(f"views.{self.name}", given, "expected one of keep, edit and min_text_bytes")
        if self.min_text_bytes is None and not self.attributes:
            raise ConfigError(f"views.{self.name}.attributes", self.attributes, "expected the name of an attribute set")
        if self.keep is not None:
            rules.parse_rule(self.keep)


class View(Config):
    """What a step reads."""

    name: str = Field(description="file name under views/")
    listing: str = Field(description="fingerprint of the listing")
    shards: int = Field(ge=0, description="number of shards at the head of the listing that the view covers")
    steps: list[Step] = Field(default_factory=list, description="rules and edits in order")

    @property
    def fingerprint(self) -> str:
        """Of all that decides rows and text; the name does not."""
        return config.fingerprint(self.listing, self.shards, [config.dump_config(step) for step in self.steps])

    def extend(self, name: str, steps: list[Step]) -> View:
        """A view with more steps at its end."""
        for step in steps:
            step.check()
        return View(name=name, listing=self.listing, shards=self.shards, steps=[*self.steps, *steps])


class Evaluation(NamedTuple):
    """A view's verdict on N rows."""

    failed: npt.NDArray[np.int16]  # (N,) index of the first step that drops the row, -1 when it is kept
    bytes_before: npt.NDArray[np.int64]  # (steps + 1, N) text bytes at entry of each step, and at the end
    removed: Spans  # what edits remove from the N original texts
    tables: dict[str, pa.Table]  # attributes read on the way


def load_view(path: str) -> View:
    """The view of a YAML file; ConfigError names what is wrong in it."""
    try:
        text = storage.read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigError("view", path, f"expected a UTF-8 file ({error})") from error
    view = config.build_config(View, config.parse_yaml(text, path), where=path)
    for step in view.steps:
        step.check()
    return view


def save_view(view: View, path: str) -> None:
    """Write the view as YAML, whole or not at all."""
    storage.write_bytes(path, config.render_yaml(config.dump_config(view)).encode())


def check_listing(view: View, listing: Listing) -> Listing:
    """The shards that the view covers. ConfigError when the listing is not the one the view was made for."""
    covered = listing.first(view.shards)
    if covered.fingerprint != view.listing:
        raise ConfigError(
            "view.listing",
            covered.fingerprint,
            f"expected listing {view.listing} of view {view.name}",
            "Make the view again.",
        )
    return covered


def applies(step: Step, sources: pa.Array) -> npt.NDArray[np.bool_]:
    """Rows whose source the step is for, bool (N,)."""
    chosen = np.ones(len(sources), bool)
    if step.sources is not None:
        chosen &= _is_in(sources, step.sources)
    if step.except_sources is not None:
        chosen &= ~_is_in(sources, step.except_sources)
    return chosen


def _is_in(sources: pa.Array, names: list[str]) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.is_in(sources, pa.array(names, sources.type)).to_numpy(zero_copy_only=False), bool)


def evaluate_view(view: View, root: str, shard: Shard, row_groups: list[int], sources: pa.Array) -> Evaluation:
    """Judge rows of a shard by attributes alone; no text is read.

    sources: string (N,), the rows' sources.

    Raises
    ------
    DataError       a row that is still in the view has no attributes of a set that a step asks for; the set's file is
                    missing or has other rows than the documents; an edit's span lies outside its text
    ConfigError     a rule or edit names a column that is not there, or of the wrong kind
    """
    tables = {SIZES: read_attributes(root, SIZES, shard, row_groups)}
    num_rows = tables[SIZES].num_rows
    original_bytes = tables[SIZES].column("text_bytes").to_numpy().astype(np.int64)
    text_bytes = original_bytes
    if len(sources) != num_rows:
        raise DataError(shard.path, f"{len(sources)} documents but {num_rows} rows of attributes {SIZES}")
    failed = np.full(num_rows, -1, np.int16)
    bytes_before = np.empty((len(view.steps) + 1, num_rows), np.int64)
    removed = spans.no_spans(num_rows)
    for index, step in enumerate(view.steps):
        bytes_before[index] = text_bytes
        is_meant = applies(step, sources)
        if num_rows and not is_meant.any():  # of other sources alone, which need not have the set
            continue
        chosen = is_meant & (failed < 0)
        if step.min_text_bytes is not None:
            failed[chosen & (text_bytes < step.min_text_bytes)] = index
            continue
        name = step.attributes or ""
        if name not in tables:
            tables[name] = read_attributes(root, name, shard, row_groups)
            if tables[name].num_rows != num_rows:
                raise DataError(
                    shard.path, f"{num_rows} documents but {tables[name].num_rows} rows of attributes {name}"
                )
        _require_values(tables[name], chosen, shard, row_groups, step)
        if step.edit is not None:
            found = _select_spans(_read_edit(tables[name], step), chosen)
            spans.check_spans(found, original_bytes, f"{shard.path}, {name}, row groups {row_groups}")
            removed = spans.merge_spans(removed, found)
            text_bytes = original_bytes - spans.count_bytes(removed)
            continue
        holds, _ = rules.evaluate_rule(rules.parse_rule(step.keep or ""), tables[name])
        failed[chosen & ~holds] = index
    bytes_before[-1] = text_bytes
    return Evaluation(failed, bytes_before, removed, tables)


def _read_edit(table: pa.Table, step: Step) -> Spans:
    known = [field.name for field in table.schema if field.type == SPANS]
    if step.edit not in known:
        raise ConfigError(
            f"views.{step.name}.edit", step.edit, f"expected a spans column of {step.attributes}, one of {known}"
        )
    return spans.read_spans(table.column(step.edit))


def _select_spans(found: Spans, chosen: npt.NDArray[np.bool_]) -> Spans:
    """The lists of the chosen rows; the other rows' are empty."""
    counts = np.diff(found.offsets)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts * chosen)])
    keep = np.repeat(chosen, counts)
    return Spans(offsets, found.starts[keep], found.ends[keep])


def _require_values(
    table: pa.Table, chosen: npt.NDArray[np.bool_], shard: Shard, row_groups: list[int], step: Step
) -> None:
    """A row without a value in any column was outside the view when the set was made; one null value breaks a rule, no more."""
    outside = np.ones(table.num_rows, bool)
    for column in table.columns:
        outside &= column.is_null().to_numpy(zero_copy_only=False)
    missing = np.flatnonzero(outside & chosen)
    if len(missing):
        raise DataError(
            shard.path,
            f"no value of {step.attributes} for step {step.name}",
            _find_row(shard, row_groups, int(missing[0])),
            "Run the tagger over this view.",
        )


def _find_row(shard: Shard, row_groups: list[int], index: int) -> int:
    """Row in the shard of the index-th row of some of its row groups."""
    for group in row_groups:
        if index < shard.row_groups[group][0]:
            return sum(rows for rows, _ in shard.row_groups[:group]) + index
        index -= shard.row_groups[group][0]
    raise IndexError(f"row groups {row_groups} of {shard.path} end {index} rows before that row")


def attribute_path(name: str, shard: Shard) -> str:
    """Where the attributes `name` of a shard lie, relative to the corpus."""
    return f"attributes/{name}/{aligned_path(shard)}"


def aligned_path(shard: Shard) -> str:
    """The relative path that everything made for a shard has in its own folder: that of its documents."""
    relative = shard.path.removeprefix("documents/")
    if storage.is_remote(relative) or relative.startswith("/"):  # read in place: the name comes from the listing
        return f"{shard.source}/in-place-{shard.number:05d}.parquet"
    return relative


def read_attributes(root: str, name: str, shard: Shard, row_groups: list[int]) -> pa.Table:
    """Attributes of a shard's row groups; the file has the same row groups as the documents."""
    path = storage.join_path(root, attribute_path(name, shard))
    try:
        return parquet_files.read_row_groups(path, row_groups, None)
    except FileNotFoundError as error:
        raise DataError(path, "no such attributes", hint="Run the step that makes them.") from error
