"""Views: a listing, rules over attributes and edit spans, in order, in one YAML file under views/.

Steps read a view and write attributes for the original shard and row, null outside the view. So no step copies the
corpus, and a changed threshold re-evaluates rules and not taggers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py import config, parquet_files, rules, spans, storage
from dolma_py.config import Config
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
    """The view of a YAML file."""
    view = config.build_config(View, config.parse_yaml(storage.read_bytes(path).decode(), path), where=path)
    for step in view.steps:
        step.check()
    return view


def save_view(view: View, path: str) -> None:
    """Write the view as YAML, whole or not at all."""
    storage.write_bytes(path, config.render_yaml(config.dump_config(view)).encode())


def check_listing(view: View, listing: Listing) -> Listing:
    """The shards that the view covers. ConfigError when the listing is not the one the view was made for."""
    covered = Listing(listing.shards[: view.shards])
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
    names = pa.array(sources.to_pylist()) if len(sources) == 0 else sources
    if step.sources is not None:
        chosen &= np.isin(names.to_numpy(zero_copy_only=False), step.sources)
    if step.except_sources is not None:
        chosen &= ~np.isin(names.to_numpy(zero_copy_only=False), step.except_sources)
    return chosen


def evaluate_view(view: View, root: str, shard: Shard, row_groups: list[int], sources: pa.Array) -> Evaluation:
    """Judge rows of a shard by attributes alone; no text is read.

    sources: string (N,), the rows' sources. Raises DataError when a row that is still in the view has no value in an
    attribute that a rule or edit asks for.
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
        chosen = applies(step, sources) & (failed < 0)
        if step.min_text_bytes is not None:
            failed[chosen & (text_bytes < step.min_text_bytes)] = index
            continue
        name = step.attributes or ""
        if name not in tables:
            tables[name] = read_attributes(root, name, shard, row_groups)
        if step.edit is not None:
            column = tables[name].column(step.edit).combine_chunks()
            _require_values(column.is_null().to_numpy(zero_copy_only=False), chosen, shard, step)
            found = spans.read_spans(column)
            counts = np.diff(found.offsets) * chosen
            keep = np.repeat(chosen, np.diff(found.offsets))
            found = Spans(
                np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), found.starts[keep], found.ends[keep]
            )
            removed = spans.merge_spans(removed, found)
            text_bytes = original_bytes - spans.count_bytes(removed)
            continue
        holds, is_null = rules.evaluate_rule(rules.parse_rule(step.keep or ""), tables[name])
        _require_values(is_null, chosen, shard, step)
        failed[chosen & ~holds] = index
    bytes_before[-1] = text_bytes
    return Evaluation(failed, bytes_before, removed, tables)


def _require_values(is_null: npt.NDArray[np.bool_], chosen: npt.NDArray[np.bool_], shard: Shard, step: Step) -> None:
    missing = np.flatnonzero(is_null & chosen)
    if len(missing):
        raise DataError(
            shard.path,
            f"no value of {step.attributes} for step {step.name}",
            int(missing[0]),
            "Run the tagger over this view.",
        )


def attribute_path(name: str, shard: Shard) -> str:
    """Where the attributes `name` of a shard lie, relative to the corpus."""
    relative = shard.path.removeprefix("documents/")
    if storage.is_remote(relative) or relative.startswith("/"):  # read in place: the name comes from the listing
        relative = f"{shard.source}/in-place-{shard.number:05d}.parquet"
    return f"attributes/{name}/{relative}"


def read_attributes(root: str, name: str, shard: Shard, row_groups: list[int]) -> pa.Table:
    """Attributes of a shard's row groups; the file has the same row groups as the documents."""
    path = storage.join_path(root, attribute_path(name, shard))
    return parquet_files.read_row_groups(path, row_groups, None)
