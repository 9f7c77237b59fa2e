"""The plan of a MinHash step from a sample of the view: a few row groups chosen by hash, a few MB of each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dedup.components import DRIVER_EDGE_BYTES
from dedup.minhash import MinHashConfig
from dedup.minhash_cost import (
    CorpusSize,
    SampleStats,
    describe_sample,
    disk_bytes,
    expect_most,
    measure_sample,
    signatures_mb_per_sec,
)
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.corpus import Corpus, read_view
from dolma_py.hashing import hash_ids
from dolma_py.listing import Listing, Split
from dolma_py.views import View
from pipelines.candidate_graph import rounds_disk_bytes
from pipelines.costs import Estimate
from pipelines.dedup_minhash import DedupMinhashConfig, bound_driver_bytes
from pipelines.session import count_cores

MAX_GROUPS = 4  # row groups read
GROUP_BYTES = 2 << 20  # of text taken from each
REST_MB_PER_CORE_SEC = 20.0  # of all that is not signatures: reading, shuffles, verification, attributes


def estimate(minhash: DedupMinhashConfig, corpus: Corpus, view: View, text_bytes: int) -> Estimate:
    """What the step will take for `text_bytes` of text of which the corpus' documents are a part, or all.

    The driver's edges are those of the sample's high estimate, and never more than the settings let it hold.
    """
    stats, size = sample_view(minhash.settings, corpus, view, text_bytes)
    details = describe_sample(stats, size, config=minhash.settings)
    if stats.num_docs == 0 or stats.text_bytes == 0:
        return Estimate(details, None, None, None)
    bound = bound_driver_bytes(minhash, size.num_docs)
    expected = expect_most(stats, size, num_bands=minhash.settings.num_bands)
    on_driver = min(DRIVER_EDGE_BYTES * expected.num_edges, bound)
    details |= {"edges on the driver, high_bytes": on_driver, "edges on the driver, as the settings allow_bytes": bound}
    rest_sec = size.text_bytes / 1e6 / REST_MB_PER_CORE_SEC / size.cores
    signatures_sec = size.text_bytes / 1e6 / signatures_mb_per_sec(stats) / size.cores
    disk = sum(disk_bytes(expected, num_bands=minhash.settings.num_bands).values())
    if rounds := rounds_disk_bytes(expected.num_edges, way=minhash.components, max_edges=minhash.max_edges):
        details |= {"components by Spark, high_bytes": rounds}
    return Estimate(details, signatures_sec + rest_sec, disk + rounds, on_driver)


def sample_view(
    settings: MinHashConfig, corpus: Corpus, view: View, text_bytes: int | None = None
) -> tuple[SampleStats, CorpusSize]:
    """What a sample of the view measured, and the view's size; its documents are taken to be kept in the sample's proportion.

    text_bytes: of all documents, where more are to come than the listing has; those will be like these.
    Reads at most MAX_GROUPS row groups; the same ones each time, since they are chosen by a hash of shard path and number.
    """
    listing = corpus.read_listing()
    kept_docs = kept_bytes = read_docs = read_bytes = 0
    batches: list[TextView] = []
    id_bytes = 0
    for split in choose_groups(listing):
        for batch in read_view(corpus, view, split, ["text", "id"]):
            texts = view_text(batch.documents.column("text"))
            read_docs += batch.group_rows
            read_bytes += split.text_bytes
            kept_docs += len(texts.offsets) - 1
            kept_bytes += int(texts.offsets[-1] - texts.offsets[0])
            last = int(np.searchsorted(texts.offsets, texts.offsets[0] + GROUP_BYTES, side="right"))
            batches.append(TextView(texts.data, texts.offsets[: max(last, 2)]))
            ids = batch.documents.column("id").slice(0, max(last - 1, 1))
            id_bytes += pa.compute.sum(pa.compute.binary_length(ids)).as_py() or 0
    growth = 1.0 if text_bytes is None else text_bytes / max(listing.text_bytes, 1)
    size = CorpusSize(
        round(growth * listing.rows * kept_docs / max(read_docs, 1)),
        round(growth * listing.text_bytes * kept_bytes / max(read_bytes, 1)),
        count_cores(),
    )
    return measure_sample(batches, id_bytes=id_bytes, config=settings), size


def choose_groups(listing: Listing, max_groups: int = MAX_GROUPS) -> Iterator[Split]:
    """Up to max_groups row groups, each as a split of its own, in the order of a hash of where they lie."""
    places = [(shard, group) for shard in listing.shards for group in range(len(shard.row_groups))]
    names = pa.array([f"{shard.path}:{group}" for shard, group in places], pa.large_string())
    order = np.argsort(hash_ids(names, seed=0, name="minhash-plan"), kind="stable")
    for place in order[:max_groups].tolist():
        shard, group = places[place]
        first_row = sum(rows for rows, _ in shard.row_groups[:group])
        yield Split(shard.number, group, group, first_row, *shard.row_groups[group])
