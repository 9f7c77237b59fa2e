"""The details of a MinHash step's plan, from a sample of the view: a few row groups chosen by hash, a few MB of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dedup.minhash import MinHashConfig
from dedup.minhash_cost import CorpusSize, estimate_cost, measure_sample
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.corpus import Corpus, read_view
from dolma_py.hashing import hash_ids
from dolma_py.listing import Listing, Split
from dolma_py.views import View
from pipelines.session import count_cores

MAX_GROUPS = 4  # row groups read
GROUP_BYTES = 2 << 20  # of text taken from each


def plan_details(settings: MinHashConfig, corpus: Corpus, view: View) -> dict[str, Any]:
    """estimate_cost for the view, whose documents are taken to be kept in the sample's proportion.

    Reads at most MAX_GROUPS row groups; the same ones each time, since they are chosen by a hash of shard path and number.
    """
    listing = corpus.read_listing()
    kept_docs = kept_bytes = read_docs = read_bytes = 0
    batches: list[TextView] = []
    for split in choose_groups(listing):
        for batch in read_view(corpus, view, split, ["text"]):
            texts = view_text(batch.documents.column("text"))
            read_docs += batch.group_rows
            read_bytes += split.text_bytes
            kept_docs += len(texts.offsets) - 1
            kept_bytes += int(texts.offsets[-1] - texts.offsets[0])
            last = int(np.searchsorted(texts.offsets, texts.offsets[0] + GROUP_BYTES, side="right"))
            batches.append(TextView(texts.data, texts.offsets[: max(last, 2)]))
    stats = measure_sample(batches, config=settings)
    size = CorpusSize(
        round(listing.rows * kept_docs / max(read_docs, 1)),
        round(listing.text_bytes * kept_bytes / max(read_bytes, 1)),
        count_cores(),
    )
    return estimate_cost(stats, size, config=settings)


def choose_groups(listing: Listing) -> Iterator[Split]:
    """Up to MAX_GROUPS row groups, each as a split of its own, in the order of a hash of where they lie."""
    places = [(shard, group) for shard in listing.shards for group in range(len(shard.row_groups))]
    names = pa.array([f"{shard.path}:{group}" for shard, group in places], pa.large_string())
    order = np.argsort(hash_ids(names, seed=0, name="minhash-plan"), kind="stable")
    for place in order[:MAX_GROUPS].tolist():
        shard, group = places[place]
        first_row = sum(rows for rows, _ in shard.row_groups[:group])
        yield Split(shard.number, group, group, first_row, *shard.row_groups[group])
