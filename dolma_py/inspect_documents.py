"""`dolma-py inspect`: removed documents beside the ones they repeat, or what a rule dropped beside what it kept.

Reads attributes and the few row groups that hold the chosen documents. The choice is by hash of address and seed: the same
documents every time, whatever the order of reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py import done, hashing, pages, parquet_files, storage, views
from dolma_py.corpus import Corpus, evaluate_group, read_group
from dolma_py.errors import ConfigError
from dolma_py.listing import Shard, pack_address
from dolma_py.report_contamination import load_items
from dolma_py.report_examples import (
    Document,
    Example,
    Twins,
    explain,
    explain_copy,
    locate,
    read_examples,
    read_twins,
    show,
)
from dolma_py.report_repeats import find_repeats
from dolma_py.views import View

VERDICT_COLUMNS = ["is_duplicate", "cluster_id", "cluster_size", "kept_id", "similarity"]
FIND_COLUMNS = ["contaminated", "score", "item", "spans"]
PLAIN_WORK = ".dolma-py"  # the working corpus of a command over plain files
PLAIN_INPUT_SET = "input-v1"


class InspectOptions(NamedTuple):
    """What the command line says."""

    corpus: str | None
    output: str | None  # of a command over plain files
    set: str | None
    view: str | None
    rule: str | None
    source: str | None
    id: str | None
    sample: int
    seed: int
    html: str | None


class Section(NamedTuple):
    """Some documents under one heading."""

    title: str
    examples: list[Example]
    table: list[tuple[str, ...]] | None = None  # its first line is the head


def run_inspect(**values: Any) -> str:
    """Show on the terminal, or write the page; returns the last line."""
    options = InspectOptions(**values)
    if options.html is not None:
        pages.check_place(options.html, "--html")
    corpus = find_corpus(options)
    if options.view is not None and options.rule is None and options.set is None:
        names = [step.name for step in corpus.load_view(options.view).steps]
        raise ConfigError("--rule", None, f"expected a rule of view {options.view} with --view, one of {names}")
    sections = collect_rule(corpus, options) if options.rule else collect_set(corpus, options)
    shown = sum(len(section.examples) for section in sections)
    if not shown and (options.id is not None or options.source is not None):
        from dolma_py.inspect_names import check_names

        check_names(corpus, options)
    count = f"{shown} document" if shown == 1 else f"{shown} documents"
    name = options.output or corpus.root  # the working corpus in an output folder is no name to a user
    if options.html is None:
        from dolma_py.inspect_terminal import print_sections

        print_sections(sections)
        return f"{count} of {pages.name_hidden(name)}"
    page = pages.make_environment({"num": lambda number: f"{number:,}"}).get_template("inspect.html.j2")
    storage.write_bytes(options.html, page.render(sections=sections, corpus=name).encode())
    return f"wrote {options.html} with {count}"


def find_corpus(options: InspectOptions) -> Corpus:
    """The corpus, or the working corpus of an output folder."""
    if (options.corpus is None) == (options.output is None):
        raise ConfigError("--corpus, --output", [options.corpus, options.output], "expected one of the two")
    if options.rule is not None and options.view is None:
        raise ConfigError("--rule", options.rule, "expected --view with it: the view that has the rule")
    if options.output is None:
        corpus = Corpus(options.corpus or "")
        corpus.need_listing()
        return corpus
    corpus = Corpus(storage.join_path(options.output, PLAIN_WORK))
    if not corpus.read_listing().shards:
        rule = "expected a folder that a command over plain files has written to"
        hint = "Run: dolma-py dedup minhash --input FILES --output DIR"
        if storage.path_exists(corpus.root):
            rule, hint = (
                "expected documents there, and the command has read none",
                "Run the command that writes there again.",
            )
        raise ConfigError("--output", options.output, rule, hint)
    return corpus


def collect_set(corpus: Corpus, options: InspectOptions) -> list[Section]:
    """What an attribute set says of documents: that they are duplicates, hold evaluation items, or lost repeats."""
    from dolma_py.inspect_contamination import collect_findings, is_contamination
    from dolma_py.inspect_repeats import list_repeats

    name = options.set or _only_verdict(corpus)
    repeats = find_repeats(corpus, name)
    if repeats is not None:
        return list_repeats(repeats, options._replace(set=name))
    return (collect_findings if is_contamination(corpus, name) else collect_pairs)(corpus, options._replace(set=name))


def collect_pairs(corpus: Corpus, options: InspectOptions) -> list[Section]:
    """Duplicates by the verdicts of an attribute set, each with the document that stays for it."""
    name = options.set or _only_verdict(corpus)
    shards = corpus.read_listing().shards
    addresses = np.concatenate(
        [np.empty(0, np.int64), *(_duplicates(corpus, name, shard, options) for shard in shards)]
    )
    chosen = choose(addresses, options)
    if not len(chosen):
        what = f"{name}: no duplicates" + (f" in source {options.source}" if options.source else "")
        return [Section(what + (f" with id {options.id}" if options.id else ""), [])]
    documents = read_with(corpus, name, chosen.tolist())
    clusters = {document.attributes[name]["cluster_id"] for document in documents.values()}
    twins = read_twins(corpus, corpus.load_view(None), {name: clusters})
    examples = []
    for address in chosen.tolist():
        values = documents[address].attributes[name]
        example = explain_copy(documents[address], name, values, twins)
        reasons = (*example.reasons, f"cluster {values['cluster_id']}")
        examples.append(example._replace(reasons=reasons))
    return [Section(f"{name}: {len(chosen):,} of {len(addresses):,} duplicates", examples)]


def _only_verdict(corpus: Corpus) -> str:
    names = []
    for info in storage.list_files(corpus.path("attributes")):
        if info.path.endswith("/_done.jsonl"):
            files = [file["path"] for line in done.read_done_lines(info.path) for file in line["files"]]
            if files and _has_verdicts(corpus.path(files[0])):
                names.append(info.path.rsplit("/", 2)[1])
    if len(names) != 1:
        what = "expected the name of an attribute set with duplicates or evaluation items, one of"
        raise ConfigError("--set", None, f"{what} {sorted(names)}")
    return names[0]


def _has_verdicts(path: str) -> bool:
    with parquet_files.open_parquet(path) as file:
        names = set(file.schema_arrow.names)
        return set(VERDICT_COLUMNS) <= names or set(FIND_COLUMNS) <= names


def _duplicates(corpus: Corpus, name: str, shard: Shard, options: InspectOptions) -> npt.NDArray[np.int64]:
    """Addresses of a shard's duplicates; with an id, those in the cluster of that document."""
    if not shard.rows:
        return np.empty(0, np.int64)
    path = corpus.path(views.attribute_path(name, shard))
    if storage.file_bytes(path) is None:
        raise ConfigError(
            "--set", name, f"expected an attribute set of {corpus.root} with duplicates or evaluation items"
        )
    found = parquet_files.read_row_groups(path, None, ["is_duplicate", "kept_id"])
    flags = found.column("is_duplicate").fill_null(False).to_numpy()
    if options.source is not None and flags.any():
        flags = flags & match_rows(corpus, shard, "source", options.source)
    if options.id is not None and flags.any():
        flags = flags & (is_called(corpus, shard, options.id) | equals(found.column("kept_id"), options.id))
    return pack_address(shard.number, np.flatnonzero(flags).astype(np.int64))


def match_rows(corpus: Corpus, shard: Shard, column: str, value: str) -> npt.NDArray[np.bool_]:
    """Rows of a shard whose column has the value."""
    groups = [
        equals(read_group(corpus, shard, group, [column]).column(column), value)
        for group in range(len(shard.row_groups))
    ]
    return np.concatenate(groups)


def equals(column: pa.ChunkedArray, value: str) -> npt.NDArray[np.bool_]:
    """Where a column has the value; a null has none."""
    equal: npt.NDArray[np.bool_] = pc.equal(column, value).fill_null(False).to_numpy(zero_copy_only=False)
    return equal


def is_called(corpus: Corpus, shard: Shard, wanted: str) -> npt.NDArray[np.bool_]:
    """Rows with an id; in plain files the record's own id counts too."""
    named = match_rows(corpus, shard, "id", wanted)
    path = corpus.path(views.attribute_path(PLAIN_INPUT_SET, shard))
    if storage.file_bytes(path) is not None:
        named = named | equals(parquet_files.read_row_groups(path, None, ["given_id"]).column("given_id"), wanted)
    return named


def choose(addresses: npt.NDArray[np.int64], options: InspectOptions) -> npt.NDArray[np.int64]:
    """The sample, ascending."""
    mixed = hashing.mix_keys(addresses.view(np.uint64), seed=options.seed)
    return np.sort(addresses[np.argsort(mixed, kind="stable")[: options.sample]])


def read_with(corpus: Corpus, name: str, addresses: list[int]) -> dict[int, Document]:
    """Documents with one attribute set's values, whatever the set says of them."""
    view = corpus.load_view(None)
    documents = read_examples(corpus, view, addresses)
    shards = corpus.read_listing().shards
    for address, document in documents.items():
        number, row = address >> 40, address & ((1 << 40) - 1)
        table = _row_of(corpus, name, shards[number], row)
        documents[address] = document._replace(attributes=document.attributes | {name: table})
    return documents


def _row_of(corpus: Corpus, name: str, shard: Shard, row: int) -> dict[str, Any]:
    group, inside = locate(shard, row)
    values: dict[str, Any] = views.read_attributes(corpus.root, name, shard, [group]).slice(inside, 1).to_pylist()[0]
    return values


def collect_rule(corpus: Corpus, options: InspectOptions) -> list[Section]:
    """Documents that a rule of a view dropped or cut, with the reason, and documents that it kept."""
    view = corpus.load_view(options.view)
    names = [step.name for step in view.steps]
    if options.rule not in names:
        raise ConfigError("--rule", options.rule, f"expected a rule of view {view.name}, one of {names}")
    index = names.index(options.rule)
    dropped, kept = np.empty(0, np.int64), np.empty(0, np.int64)
    num_dropped = num_kept = 0
    for addresses, is_dropped in _judge_groups(corpus, view, index, options):
        num_dropped, num_kept = num_dropped + int(is_dropped.sum()), num_kept + int((~is_dropped).sum())
        dropped = choose(np.concatenate([dropped, addresses[is_dropped]]), options)
        kept = choose(np.concatenate([kept, addresses[~is_dropped]]), options)
    documents = read_examples(corpus, view, [*dropped.tolist(), *kept.tolist()])
    twins = _twins_of(corpus, view, index, [documents[address] for address in dropped.tolist()])
    step = view.steps[index]
    items = load_items(corpus, step.attributes) if step.attributes else {}
    shown = [explain(documents[address], step, index=index, twins=twins, items=items) for address in dropped.tolist()]
    stayed = [show(documents[address], (), "cut", documents[address].spans) for address in kept.tolist()]
    did = "cut" if step.edit is not None else "dropped"
    return [
        Section(f"{step.name} {did} {num_dropped:,} documents, {len(shown)} of them", shown),
        Section(f"{step.name} left {num_kept:,} documents as they were, {len(stayed)} of them", stayed),
    ]


def _judge_groups(
    corpus: Corpus, view: View, index: int, options: InspectOptions
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """(addresses, whether the rule dropped or cut them) of the documents that reach the rule, by row group."""
    for shard in views.check_listing(view, corpus.read_listing()).shards:
        first = 0
        for group, (num_rows, _) in enumerate(shard.row_groups):
            verdict, keys = evaluate_group(corpus, view, shard, group)
            reached = (verdict.failed < 0) | (verdict.failed >= index)
            hit = verdict.failed == index
            if view.steps[index].edit is not None:
                hit = verdict.bytes_before[index] != verdict.bytes_before[index + 1]
            reached &= views.applies(view.steps[index], keys.column("source").combine_chunks())
            if options.source is not None:
                reached &= equals(keys.column("source"), options.source)
            if options.id is not None:
                reached &= equals(keys.column("id"), options.id)
            rows = np.flatnonzero(reached).astype(np.int64)
            yield pack_address(shard.number, first + rows), hit[rows]
            first += num_rows


def _twins_of(corpus: Corpus, view: View, index: int, documents: list[Document]) -> Twins:
    name = view.steps[index].attributes or ""
    clusters = {
        document.attributes[name]["cluster_id"]
        for document in documents
        if "kept_id" in document.attributes.get(name, {})
    }
    return read_twins(corpus, view, {name: clusters} if clusters else {})
