"""An id or a source that `dolma-py inspect` was asked for and that the corpus does not have: told, with the nearest one that it has."""

from __future__ import annotations

import difflib
from bisect import bisect_left

import pyarrow.compute as pc

from dolma_py import parquet_files, storage, views
from dolma_py.corpus import Corpus, read_group
from dolma_py.errors import ConfigError, name_known
from dolma_py.inspect_documents import PLAIN_INPUT_SET, InspectOptions
from dolma_py.report_contamination import load_items

NEIGHBOURS = (
    500  # ids before and behind the one asked for, in the order of the alphabet, among which the nearest is sought
)


def check_names(corpus: Corpus, options: InspectOptions) -> None:
    """Raise ConfigError for an id or a source that is nowhere in the corpus; reads ids and sources of all documents.

    An id may be a document's, in plain files the record's own, or an evaluation item's.
    """
    ids: set[str] = set()
    sources: set[str] = set()
    for shard in corpus.read_listing().shards:
        for group in range(len(shard.row_groups)):
            table = read_group(corpus, shard, group, ["id", "source"])
            sources |= set(pc.unique(table.column("source")).to_pylist())
            ids |= set(table.column("id").to_pylist()) if options.id is not None else set()
        path = corpus.path(views.attribute_path(PLAIN_INPUT_SET, shard))
        if options.id is not None and shard.rows and storage.file_bytes(path) is not None:
            ids |= set(parquet_files.read_row_groups(path, None, ["given_id"]).column("given_id").to_pylist())
    if options.source is not None and options.source not in sources:
        raise ConfigError(
            "--source", options.source, "expected a source of the corpus", name_known(options.source, sources)
        )
    for name in _list_sets(corpus, options) if options.id is not None else []:
        ids |= set(load_items(corpus, name))
    ids -= {None}
    if options.id is not None and options.id not in ids:
        near = find_nearest(options.id, sorted(ids))
        rule = "expected the id of a document of the corpus, or of an evaluation item that it was searched for"
        raise ConfigError("--id", options.id, rule, f"The nearest is {near}." if near is not None else "")


def _list_sets(corpus: Corpus, options: InspectOptions) -> list[str]:
    """Attribute sets that may have evaluation items: the one asked for, the rule's, else all of the corpus."""
    if options.set is not None:
        return [options.set]
    if options.rule is not None:
        return [
            step.attributes
            for step in corpus.load_view(options.view).steps
            if step.name == options.rule and step.attributes
        ]
    ends = "/_done.jsonl"
    found = [
        info.path.rsplit("/", 2)[1]
        for info in storage.list_files(corpus.path("attributes"))
        if info.path.endswith(ends)
    ]
    return sorted(set(found))


def find_nearest(name: str, known: list[str]) -> str | None:
    """Of names in order the most alike of those around `name`; None of none.

    >>> find_nearest("doc-17x", ["doc-1", "doc-17", "page-17x"])
    'doc-17'
    """
    at = bisect_left(known, name)
    around = known[max(at - NEIGHBOURS, 0) : at + NEIGHBOURS]
    return next(iter(difflib.get_close_matches(name, around, 1, 0.0)), None)
