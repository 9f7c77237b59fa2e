"""Documents of a report: what each rule dropped and why, what stayed, and what became of the planted evaluation items.

Reads texts of the few row groups that hold examples. The planted items are looked for in all metadata, but they exist only in
small corpora that `installed_text` made.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py import parquet_files, rules, views
from dolma_py.corpus import Corpus, read_group
from dolma_py.listing import ROW_BITS, Shard, pack_address, unpack_address
from dolma_py.report_contamination import EvaluationItem, Finding, count_findings, list_spans, load_items, show_item
from dolma_py.report_data import Funnel, StepRun, attribute_columns
from dolma_py.report_excerpts import Mark, Part, compare_texts, make_excerpt
from dolma_py.views import Evaluation, View

EXAMPLES = 3  # shown per rule
MAX_SCAN_ROWS = 20_000_000  # rows in which the kept copy of a cluster is searched
# (attribute set, cluster) -> the document that stays for its members; None where all leave, missing where the search ended before
Twins = dict[tuple[str, int], "Document | None"]


class Document(NamedTuple):
    """One document with the view's verdict on it."""

    id: str
    source: str
    text: str
    spans: tuple[tuple[int, int], ...]  # bytes that edits removed before a rule dropped it
    bytes_before: tuple[int, ...]  # text bytes at entry of each step of the view, and at the end
    attributes: dict[str, dict[str, Any]]  # set -> column -> value


class Example(NamedTuple):
    """One document as it is shown; `other` is the document that stayed in its place."""

    id: str
    source: str
    text_bytes: int
    reasons: tuple[str, ...]
    parts: tuple[Part, ...]
    other: Example | None = None
    role: str = ""  # what it is to the other, where two are shown side by side


class Fate(NamedTuple):
    """What became of some documents with planted items."""

    text: str
    is_good: bool
    item_ids: tuple[str, ...]  # one for each document


class Planted(NamedTuple):
    num_planted: int  # documents; an item that is in two counts twice
    num_found: int
    num_searched: int  # those that no rule before dropped
    fates: tuple[Fate, ...]
    num_others: int  # contaminated documents that carry no planted item


def locate(shard: Shard, row: int) -> tuple[int, int]:
    """(row group, row inside it) of a row of a shard."""
    ends = np.cumsum([rows for rows, _ in shard.row_groups])
    group = int(np.searchsorted(ends, row, side="right"))
    return group, row - int(ends[group] - shard.row_groups[group][0])


def read_examples(corpus: Corpus, view: View, addresses: list[int]) -> dict[int, Document]:
    """The documents at packed addresses; every row group is read once."""
    shards = views.check_listing(view, corpus.read_listing()).shards
    wanted: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for address in sorted(set(addresses)):
        number, row = (int(part[0]) for part in unpack_address(np.array([address], np.int64)))
        group, inside = locate(shards[number], row)
        wanted.setdefault((number, group), []).append((address, inside))
    found = {}
    for (number, group), members in wanted.items():
        table = read_group(corpus, shards[number], group, ["id", "text", "source"])
        verdict = views.evaluate_view(
            view, corpus.root, shards[number], [group], table.column("source").combine_chunks()
        )
        for address, row in members:
            found[address] = _make_document(table, verdict, row)
    return found


def _make_document(table: pa.Table, verdict: Evaluation, row: int) -> Document:
    first, last = verdict.removed.offsets[row], verdict.removed.offsets[row + 1]
    starts, ends = verdict.removed.starts[first:last].tolist(), verdict.removed.ends[first:last].tolist()
    values = table.slice(row, 1).to_pylist()[0]
    return Document(
        id=values["id"], source=values["source"], text=values["text"], spans=tuple(zip(starts, ends, strict=True)),
        bytes_before=tuple(verdict.bytes_before[:, row].tolist()),
        attributes={name: attributes.slice(row, 1).to_pylist()[0] for name, attributes in verdict.tables.items()},
    )  # fmt: skip


def collect_examples(
    corpus: Corpus, view: View, *, funnel: Funnel, items: dict[str, EvaluationItem]
) -> tuple[list[list[Example]], list[Example]]:
    """(examples of each rule of the funnel, in order; examples of what stayed). items: see read_items."""
    first = len(view.steps) - len(funnel.rules)
    dropped = [list(rule.examples[:EXAMPLES]) for rule in funnel.rules]
    kept = list(funnel.kept_examples[:EXAMPLES])
    documents = read_examples(corpus, view, [address for group in [*dropped, kept] for address in group])
    twins = _find_kept_twins(corpus, view, [
        (view.steps[first + index].attributes, documents[address]) for index, group in enumerate(dropped) for address in group
    ])  # fmt: skip
    shown = []
    for index, group in enumerate(dropped):
        step = view.steps[first + index]
        shown.append(
            [explain(documents[address], step, index=first + index, twins=twins, items=items) for address in group]
        )
    return shown, [show(documents[address], (), "cut", documents[address].spans) for address in kept]


def show(document: Document, reasons: tuple[str, ...], mark: Mark, spans: tuple[tuple[int, int], ...]) -> Example:
    """A document with its excerpt."""
    data = document.text.encode()
    return Example(document.id, document.source, len(data), reasons, make_excerpt(data, list(spans), mark))


def explain(
    document: Document, step: views.Step, *, index: int, twins: Twins, items: dict[str, EvaluationItem]
) -> Example:
    """Why step `index` of the view dropped or cut the document, and the place that shows it."""
    if step.edit is not None:
        reason = f"{document.bytes_before[index] - document.bytes_before[index + 1]:,} bytes cut"
        return show(document, (reason,), "cut", document.spans)
    if step.min_text_bytes is not None:
        cut_bytes = sum(end - start for start, end in document.spans)
        cut = f", {cut_bytes:,} bytes were cut" if cut_bytes else ""
        reason = f"{document.bytes_before[index]:,} bytes of text are left{cut}"
        return show(document, (reason,), "cut", document.spans)
    values = document.attributes[step.attributes or ""]
    if "kept_id" in values:
        return explain_copy(document, step.attributes or "", values, twins)
    if "contaminated" in values and "item" in values:
        return explain_find(document, values, items)
    return show(document, failing_clauses(step.keep or "", values), "cut", document.spans)


def explain_find(document: Document, values: dict[str, Any], items: dict[str, EvaluationItem]) -> Example:
    """A contaminated document with what matched, beside the item's own text where that is known."""
    found = list_spans(values)
    spans = tuple((span["start"], span["end"]) for span in found)
    reasons = (f"item {values['item']}, score {values['score']:.3f}",)
    shown = show(document, reasons, "found" if spans else "cut", spans or document.spans)
    item = items.get(values["item"])
    if item is None:
        return shown
    text_bytes = len(item.question.encode()) + len((item.answer or "").encode())
    other = Example(item.id, item.benchmark, text_bytes, (), show_item(item, document.text, found), role="item: ")
    return shown._replace(other=other, role="document: ")


def failing_clauses(rule: str, values: dict[str, Any]) -> tuple[str, ...]:
    """The comparisons that a document breaks, each with the document's value.

    Examples
    --------
    >>> failing_clauses("num_words >= 50 and num_words <= 100", {"num_words": 7})
    ('num_words = 7, must be >= 50',)
    """
    row = pa.Table.from_pylist([values])
    broken = []
    for clause in rules.parse_rule(rule):
        holds, _ = rules.evaluate_rule((clause,), row)
        if not holds[0]:
            must = {"is": "must be true", "not": "must be false"}.get(
                clause.op, f"must be {clause.op} {json.dumps(clause.value)}"
            )
            value = values[clause.column]
            broken.append(f"{clause.column} = {f'{value:.4g}' if isinstance(value, float) else value}, {must}")
    return tuple(broken)


def explain_copy(document: Document, name: str, values: dict[str, Any], twins: Twins) -> Example:
    """A duplicate by its row of the attribute set `name`, beside the document that stays for it."""
    similarity, kept_id, key = values["similarity"], values["kept_id"], (name, values["cluster_id"])
    size = f"one of {values['cluster_size']:,} in its cluster"
    twin = twins.get(key)
    if twin is None:
        if kept_id is None:
            reason = "seen before by a filter: what it repeats is not in this corpus, and a filter takes a few new keys for seen"
        elif key in twins:
            reason = f"seen before in an index, as {kept_id}: that text is not in this corpus"
        else:
            reason = f"similarity {similarity:.3f} with {kept_id}, which is not among the {MAX_SCAN_ROWS:,} rows that were read"
        return show(document, (reason, size), "cut", document.spans)
    if twin.text == document.text:
        other = Example(twin.id, twin.source, len(twin.text.encode()), (), ())
        return show(document, ("the same text", size), "cut", document.spans)._replace(other=other)
    mine, theirs = compare_texts(document.text, twin.text)
    shown = Example(
        document.id, document.source, len(document.text.encode()), (f"similarity {similarity:.3f}", size), mine, role="removed: "
    )  # fmt: skip
    return shown._replace(other=Example(twin.id, twin.source, len(twin.text.encode()), (), theirs, role="stays: "))


def _find_kept_twins(corpus: Corpus, view: View, dropped: list[tuple[str | None, Document]]) -> Twins:
    """Of documents and the attribute sets by which they were dropped."""
    clusters: dict[str, set[int]] = {}
    for name, document in dropped:
        values = document.attributes.get(name or "", {})
        if name is not None and "kept_id" in values:
            clusters.setdefault(name, set()).add(values["cluster_id"])
    return read_twins(corpus, view, clusters)


def read_twins(corpus: Corpus, view: View, clusters: dict[str, set[int]]) -> Twins:
    """The documents that stay of clusters, by attribute set."""
    found = {
        (name, cluster): address
        for name, members in clusters.items()
        for cluster, address in find_kept(corpus, view, name, members).items()
    }
    documents = read_examples(corpus, view, [address for address in found.values() if address is not None])
    return {key: None if address is None else documents[address] for key, address in found.items()}


def find_kept(corpus: Corpus, view: View, name: str, clusters: set[int]) -> dict[int, int | None]:
    """Cluster -> address of the document that stays, read from the attribute set until all are found.

    A cluster is named by its first member's address; mostly that is the one kept. None for one whose members all leave: earlier data
    had them. Those that are not found in MAX_SCAN_ROWS are missing.
    """
    found: dict[int, int | None] = {}
    scanned = 0
    wanted = pa.array(sorted(clusters), pa.int64())
    for shard in corpus.read_listing().shards[min(clusters) >> ROW_BITS : view.shards]:
        if not shard.rows:  # it has no attribute files
            continue
        path = corpus.path(views.attribute_path(name, shard))
        table = parquet_files.read_row_groups(path, None, ["cluster_id", "is_duplicate"])
        stays = pc.and_(
            pc.is_in(table.column("cluster_id"), wanted), pc.invert(table.column("is_duplicate"))
        ).fill_null(False)
        rows = np.flatnonzero(stays.to_numpy(zero_copy_only=False))
        addresses = pack_address(shard.number, rows.astype(np.int64)).tolist()
        found |= dict(zip(table.column("cluster_id").take(pa.array(rows)).to_pylist(), addresses, strict=True))
        scanned += table.num_rows
        if len(found) == len(clusters) or scanned > MAX_SCAN_ROWS:
            return found
    return dict.fromkeys(clusters) | found


def collect_planted(corpus: Corpus, view: View | None, steps: tuple[StepRun, ...]) -> Planted | None:
    """What became of every document that carries a planted item; None when the corpus has none. An item may be in several.

    A step may have written items that no later step ingested: a build over one's own files writes them beside.
    """
    planted = Counter(
        item for step in steps if step.kind == "installed_text" for item in step.manifest["facts"]["planted"]
    )
    if not planted or view is None:
        return None
    shards = views.check_listing(view, corpus.read_listing()).shards
    contamination = find_contamination(corpus, view)
    fates: dict[tuple[str, bool], list[str]] = {}
    num_flagged = num_flagged_planted = 0
    for shard in shards:
        flags = None
        if contamination is not None and shard.rows:
            path = corpus.path(views.attribute_path(contamination, shard))
            flags = parquet_files.read_row_groups(path, None, ["contaminated", "item", "score"])
            num_flagged += int(pc.sum(flags.column("contaminated").cast(pa.int64())).as_py() or 0)
        for row, item, failed in _find_planted(corpus, view, shard):
            flag = flags.slice(row, 1).to_pylist()[0] if flags is not None else {"contaminated": None, "score": None}
            num_flagged_planted += bool(flag["contaminated"])
            fate = _judge(item, flag, failed, view, contamination is not None)
            score = (
                "" if fate[1] or flag["score"] is None else f" (score {flag['score']:.3f})"
            )  # of misses: how near it was
            fates.setdefault(fate, []).append(item + score)
            planted[item] -= 1
    if not fates:
        return None
    lost = +planted
    if lost:
        fates["no document of the corpus names it: not a document, or its metadata were not kept", False] = list(
            lost.elements()
        )
    ordered = sorted(fates.items(), key=lambda fate: (-len(fate[1]), fate[0]))
    found = tuple(Fate(text, is_good, tuple(sorted(items))) for (text, is_good), items in ordered)
    num_found = sum(len(fate.item_ids) for fate in found if fate.text.startswith("found"))
    num_searched = num_found + sum(len(fate.item_ids) for fate in found if fate.text.startswith("missed"))
    return Planted(sum(map(len, fates.values())), num_found, num_searched, found, num_flagged - num_flagged_planted)


def find_contamination(corpus: Corpus, view: View) -> str | None:
    """The attribute set of decontamination that a rule of the view is over."""
    shards = views.check_listing(view, corpus.read_listing()).shards
    return next((
        step.attributes for step in view.steps
        if step.attributes and {"contaminated", "item"} <= set(attribute_columns(corpus, step.attributes, shards))
    ), None)  # fmt: skip


def collect_findings(corpus: Corpus, view: View | None, items: dict[str, EvaluationItem]) -> list[Finding]:
    """What the view's decontamination found, by benchmark and source; empty without one."""
    name = None if view is None else find_contamination(corpus, view)
    return [] if name is None else count_findings(corpus, name, items)


def _judge(item: str, flag: dict[str, Any], failed: int, view: View, was_searched: bool) -> tuple[str, bool]:
    """(what became of a document with a planted item, whether it is out of the mix)."""
    where = f"dropped by {view.steps[failed].name}" if failed >= 0 else "still in the corpus"
    if flag["contaminated"]:
        return f"found{'' if flag['item'] == item else ' as another item'}, {where}", failed >= 0
    if failed >= 0:
        return f"not searched: {where} before", True
    return ("missed, still in the corpus" if was_searched else "not searched yet, still in the corpus"), False


def _find_planted(corpus: Corpus, view: View, shard: Shard) -> list[tuple[int, str, int]]:
    """(row, item, step that dropped it or -1) of the documents whose metadata name a planted item."""
    found = []
    first_row = 0
    for group, (num_rows, _) in enumerate(shard.row_groups):
        table = read_group(corpus, shard, group, ["source", "metadata"])
        rows = np.flatnonzero(
            pc.match_substring(table.column("metadata"), "planted").fill_null(False).to_numpy(zero_copy_only=False)
        )
        if len(rows):
            verdict = views.evaluate_view(view, corpus.root, shard, [group], table.column("source").combine_chunks())
            for row, text in zip(rows.tolist(), table.column("metadata").take(pa.array(rows)).to_pylist(), strict=True):
                item = _planted_item(json.loads(text))
                if item:
                    found.append((first_row + row, item, int(verdict.failed[row])))
        first_row += num_rows
    return found


def _planted_item(metadata: dict[str, Any]) -> str | None:
    """Text documents say it in their metadata, pages in an HTTP header."""
    headers = metadata.get("http_headers")
    item = metadata.get("planted_item") or (headers.get("x-planted-item") if isinstance(headers, dict) else None)
    return item if isinstance(item, str) else None


def read_items(corpus: Corpus, steps: tuple[StepRun, ...]) -> dict[str, EvaluationItem]:
    """The evaluation items that the recipe's steps looked for, by id."""
    names = [
        name
        for step in steps
        for name in step.manifest.get("attributes", {})
        if f"{name}-items" in step.manifest["artifacts"]
    ]
    items: dict[str, EvaluationItem] = {}
    for name in names:
        items |= load_items(corpus, name)
    return items
