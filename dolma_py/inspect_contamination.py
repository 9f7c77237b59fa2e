"""Looking at what decontamination found: a table of benchmark x source, and documents with the item beside the place that holds it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dolma_py import parquet_files, storage, views
from dolma_py.corpus import Corpus
from dolma_py.inspect_documents import (
    FIND_COLUMNS,
    InspectOptions,
    Section,
    choose,
    equals,
    is_called,
    match_rows,
    read_with,
)
from dolma_py.listing import Shard, pack_address
from dolma_py.report_contamination import count_findings, load_items
from dolma_py.report_examples import explain_find


def is_contamination(corpus: Corpus, name: str) -> bool:
    """Whether an attribute set was written by decontamination."""
    for shard in corpus.read_listing().shards:
        path = corpus.path(views.attribute_path(name, shard))
        if storage.file_bytes(path) is not None:
            with parquet_files.open_parquet(path) as file:
                return set(FIND_COLUMNS) <= set(file.schema_arrow.names)
    return False


def collect_findings(corpus: Corpus, options: InspectOptions) -> list[Section]:
    """The table over the whole set, and a sample of contaminated documents with their items.

    options.id is a document's id or an item's; options.source a source of documents.
    """
    name = options.set or ""
    items = load_items(corpus, name)
    shards = corpus.read_listing().shards
    addresses = np.concatenate([np.empty(0, np.int64), *(_find_rows(corpus, name, shard, options) for shard in shards)])
    chosen = choose(addresses, options)
    documents = read_with(corpus, name, chosen.tolist())
    examples = [
        explain_find(documents[address], documents[address].attributes[name], items) for address in chosen.tolist()
    ]
    findings = count_findings(corpus, name, items)
    lines: list[tuple[str, ...]] = [("benchmark", "source", "documents", "items")]
    lines += [(one.benchmark, one.source, f"{one.num_documents:,}", f"{one.num_items:,}") for one in findings]
    total = sum(one.num_documents for one in findings)
    return [
        Section(f"{name}: {total:,} contaminated documents", [], lines if findings else None),
        Section(f"{len(chosen):,} of {len(addresses):,} that were asked for", examples),
    ]


def _find_rows(corpus: Corpus, name: str, shard: Shard, options: InspectOptions) -> npt.NDArray[np.int64]:
    """Addresses of a shard's contaminated documents."""
    path = corpus.path(views.attribute_path(name, shard))
    if not shard.rows or storage.file_bytes(path) is None:
        return np.empty(0, np.int64)
    found = parquet_files.read_row_groups(path, None, ["contaminated", "item"])
    flags = found.column("contaminated").fill_null(False).to_numpy()
    if options.source is not None and flags.any():
        flags = flags & match_rows(corpus, shard, "source", options.source)
    if options.id is not None and flags.any():
        flags = flags & (is_called(corpus, shard, options.id) | equals(found.column("item"), options.id))
    return pack_address(shard.number, np.flatnonzero(flags).astype(np.int64))
