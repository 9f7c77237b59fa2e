"""One document of a corpus beside its view: the original text, what edits leave of it, and what each step of the view did.

Memory is the row group that holds the document.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import orjson

from dolma_py import views
from dolma_py.corpus import Corpus, read_group
from dolma_py.errors import DataError
from dolma_py.listing import Shard
from dolma_py.report_examples import failing_clauses, locate
from dolma_py.views import View

# what proves a verdict, beside the columns of its rule
EVIDENCE = ("kept_id", "similarity", "cluster_id", "cluster_size", "item", "score", "benchmark")


class TracedText(NamedTuple):
    """A row of a corpus."""

    shard: Shard
    row: int
    id: str
    source: str
    path: str  # file of origin
    line: int  # in it, from 1
    metadata: dict[str, Any]
    original: bytes
    removed: tuple[tuple[int, int], ...]  # bytes of the original that edits of the view remove, sorted, disjoint
    edited: bytes
    steps: list[dict[str, Any]]  # of the view, in order: name, rule, outcome, and why
    attributes: dict[str, dict[str, Any]]  # set -> column -> value, of the sets that the view asks

    def to_original(self, start: int, end: int) -> list[tuple[int, int]]:
        """Bytes of the original that hold start to end of the edited text; their bytes in order are that text.

        An empty range gives its one place, behind what was removed before it.
        """
        cuts = [0, *(place for span in self.removed for place in span), len(self.original)]
        found, begin = [], 0
        for first, last in zip(cuts[::2], cuts[1::2], strict=True):
            low, high = max(start, begin), min(end, begin + last - first)
            if low < high:
                found.append((first + low - begin, first + high - begin))
            begin += last - first
        return found or [self._place(start)]

    def _place(self, start: int) -> tuple[int, int]:
        place = start
        for first, last in self.removed:
            if first <= place:
                place += last - first
        return place, place

    def describe(self) -> dict[str, Any]:
        """The JSON values of a document."""
        return {
            "id": self.id, "source": self.source, "shard": self.shard.number, "shard_path": self.shard.path, "row": self.row,
            "file": self.path, "line": self.line, "original_bytes": len(self.original), "edited_bytes": len(self.edited),
        }  # fmt: skip


def read_text(corpus: Corpus, view: View, number: int, row: int) -> TracedText:
    """The document at row `row` of shard `number` under a view that covers it.

    Raises
    ------
    DataError       no such row, or the attributes that the view asks for are missing
    """
    shards = views.check_listing(view, corpus.read_listing()).shards
    if not (0 <= number < len(shards) and 0 <= row < shards[number].rows):
        raise DataError(corpus.root, f"view {view.name} covers no row {row} of shard {number}")
    shard = shards[number]
    group, inside = locate(shard, row)
    table = read_group(corpus, shard, group, ["id", "source", "text", "metadata"])
    values = table.slice(inside, 1).to_pylist()[0]
    verdict = views.evaluate_view(view, corpus.root, shard, [group], table.column("source").combine_chunks())
    first, last = verdict.removed.offsets[inside], verdict.removed.offsets[inside + 1]
    starts, ends = verdict.removed.starts[first:last].tolist(), verdict.removed.ends[first:last].tolist()
    original = values["text"].encode()
    cuts = [0, *(place for span in zip(starts, ends, strict=True) for place in span), len(original)]
    edited = b"".join(original[begin:end] for begin, end in zip(cuts[::2], cuts[1::2], strict=True))
    attributes = {name: found.slice(inside, 1).to_pylist()[0] for name, found in verdict.tables.items()}
    metadata = orjson.loads(values["metadata"]) if values["metadata"] else {}
    path, line = find_file(metadata, shard, row)
    chosen = [bool(views.applies(step, table.column("source").combine_chunks())[inside]) for step in view.steps]
    steps = judge_steps(view, chosen, int(verdict.failed[inside]), verdict.bytes_before[:, inside], attributes)
    return TracedText(
        shard, row, values["id"], values["source"], path, line, metadata, original, tuple(zip(starts, ends, strict=True)), edited,
        steps, attributes,
    )  # fmt: skip


def find_file(metadata: dict[str, Any], shard: Shard, row: int) -> tuple[str, int]:
    """File of origin and its line from 1: metadata.origin as file:line where the reader left it, else the shard and row."""
    origin = metadata.get("origin")
    path, _, line = origin.rpartition(":") if isinstance(origin, str) else ("", "", "")
    return (path, int(line)) if path and line.isdigit() else (shard.path, row + 1)


def judge_steps(
    view: View, chosen: list[bool], failed: int, bytes_before: np.ndarray, attributes: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """What each step of a view did to one document.

    Parameters
    ----------
    chosen : bool of each step          whether the step is for the document's source
    failed : int                        the step that dropped it, -1 where none did
    bytes_before : int (steps + 1,)     bytes of text at entry of each step and at the end
    attributes : set -> column -> value

    Returns
    -------
    steps : dicts                       step, attributes, rule, outcome (kept, dropped, cut, not for its source, not reached), and of a
                                        dropped one `reasons` and `evidence`, of one that cut `cut_bytes`
    """
    told = []
    for index, step in enumerate(view.steps):
        rule = step.keep or (f"edit {step.edit}" if step.edit else f"min_text_bytes {step.min_text_bytes}")
        values: dict[str, Any] = {"step": step.name, "attributes": step.attributes, "rule": rule, "outcome": "kept"}
        cut = int(bytes_before[index] - bytes_before[index + 1])
        if 0 <= failed < index:
            values["outcome"] = "not reached"
        elif not chosen[index]:
            values["outcome"] = "not for its source"
        elif failed == index:
            values["outcome"] = "dropped"
            found = attributes.get(step.attributes or "", {})
            values["reasons"] = (
                list(failing_clauses(step.keep, found)) if step.keep
                else [f"{int(bytes_before[index])} bytes of text are left, must be >= {step.min_text_bytes}"]
            )  # fmt: skip
            values["evidence"] = {name: found[name] for name in EVIDENCE if found.get(name) is not None}
        elif cut:
            values |= {"outcome": "cut", "cut_bytes": cut}
        told.append(values)
    return told
