"""What decontamination found: contaminated documents by benchmark and source, and an item beside the place that holds it.

Counts come from the attributes and from the column `source` of row groups with a find; no text of a clean document is read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from dolma_py import done, manifest, parquet_files, storage, views
from dolma_py.corpus import Corpus, read_group
from dolma_py.errors import DataError
from dolma_py.report_excerpts import Part, mark_missing

COLUMNS = ["contaminated", "item"]
NO_BENCHMARK = "(none named)"  # of items that name none
BEHIND_BYTES = 600  # of the document behind what matched: where an answer stands
PLACE_BYTES = 20_000  # of the document, at most, that an item is compared with


class EvaluationItem(NamedTuple):
    """An item that was looked for."""

    id: str
    benchmark: str
    question: str
    answer: str | None
    passage: str | None


class Finding(NamedTuple):
    """Contaminated documents of one source whose best item is of one benchmark."""

    benchmark: str
    source: str
    num_documents: int
    num_items: int  # different ones among them


def load_items(corpus: Corpus, name: str) -> dict[str, EvaluationItem]:
    """The items that an attribute set was made with, by id; none where no run of the corpus kept them."""
    path = _find_items_file(corpus, name)
    if path is None or storage.file_bytes(corpus.path(path)) is None:
        return {}
    items = {}
    for number, line in enumerate(storage.read_bytes(corpus.path(path)).splitlines(), 1):
        try:
            item = json.loads(line)
            found = EvaluationItem(
                str(item["id"]), item.get("benchmark") or NO_BENCHMARK, str(item["question"]), item.get("answer"), item.get("passage")
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                corpus.path(path), "no evaluation item", number, "Remove the step's manifest and run it again."
            ) from error
        items[found.id] = found
    return items


def _find_items_file(corpus: Corpus, name: str) -> str | None:
    """The file of the run that made the set as it stands."""
    lines = done.read_done_lines(corpus.path("attributes", name, "_done.jsonl"))
    for step in manifest.iterate_manifests(corpus.path("runs")):
        path = step.get("artifacts", {}).get(f"{name}-items")
        if path and lines and step.get("attributes", {}).get(name) == lines[0]["fingerprint"]:
            return str(path)
    return None


def count_findings(corpus: Corpus, name: str, items: dict[str, EvaluationItem]) -> list[Finding]:
    """Contaminated documents by benchmark and source, most first. Documents of all views that the set was made for."""
    documents: dict[tuple[str, str], int] = defaultdict(int)
    different: dict[tuple[str, str], set[str]] = defaultdict(set)
    for shard in corpus.read_listing().shards:
        path = corpus.path(views.attribute_path(name, shard))
        if not shard.rows or storage.file_bytes(path) is None:
            continue
        table = parquet_files.read_row_groups(path, None, COLUMNS)
        rows = np.flatnonzero(pc.fill_null(table.column("contaminated"), False).to_numpy(zero_copy_only=False))
        ends = np.cumsum([num_rows for num_rows, _ in shard.row_groups])
        for group in np.unique(np.searchsorted(ends, rows, side="right")).tolist():
            first = int(ends[group]) - shard.row_groups[group][0]
            inside = rows[(rows >= first) & (rows < ends[group])]
            sources = read_group(corpus, shard, group, ["source"]).column("source").take(inside - first).to_pylist()
            for source, item in zip(sources, table.column("item").take(inside).to_pylist(), strict=True):
                cell = (name_benchmark(item, items), source)
                documents[cell] += 1
                different[cell].add(item)
    found = [Finding(*cell, number, len(different[cell])) for cell, number in documents.items()]
    return sorted(found, key=lambda finding: (-finding.num_documents, finding))


def name_benchmark(item: str | None, items: dict[str, EvaluationItem]) -> str:
    """The benchmark of an item; of one that is not known, what stands before the first slash of its id."""
    known = items.get(item or "")
    if known is not None:
        return known.benchmark
    return (item or "").partition("/")[0] if "/" in (item or "") else NO_BENCHMARK


def list_spans(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The spans of a document's best item; all of them where the attributes do not say whose they are."""
    spans, owners = values.get("spans") or [], values.get("span_items") or []
    own = [span for span, owner in zip(spans, owners, strict=False) if owner == values["item"]]
    return own or spans


def show_item(item: EvaluationItem, text: str, spans: list[dict[str, Any]]) -> tuple[Part, ...]:
    """The item's question and answer, with words marked that the found place of the document does not have."""
    data = text.encode()
    start = min((span["start"] for span in spans), default=0)
    end = max((span["end"] for span in spans), default=len(data))
    place = data[start : min(end, start + PLACE_BYTES) + BEHIND_BYTES].decode(errors="replace")
    question = mark_missing(item.question, place)
    return question if item.answer is None else (*question, Part("\n\nAnswer: "), *mark_missing(item.answer, place))
