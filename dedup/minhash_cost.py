"""What MinHash deduplication of a corpus will cost, from a sample of its texts: documents, files, shuffle, edges, time.

Legend: N documents of the corpus, n of the sample, f = n / N, b bands.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedup.candidates import Edges, candidate_edges, unique_edges
from dedup.minhash import BandKeys, MinHashConfig, candidate_probability, hash_bands
from dedup.shingles import shingle_documents
from dolma_py.arrow_buffers import TextView

SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)  # where the S-curve is shown
KEY_BYTES = 8
ADDRESS_BYTES = 8
SETS_PER_TEXT = 1.4  # bytes of a text's shingle set per byte of it: 8 for each word of 5 letters and a space
UNSEEN = 3  # what was counted n times is at most n + 3 on the average in 19 of 20 cases, for small n
# of a corpus that no sample was taken of: a web page's text, and the share of candidates among them
TYPICAL_TEXT_BYTES, TYPICAL_CANDIDATE_FRAC, TYPICAL_ID_BYTES = 2000, 0.25, 32
# on disk, each with the document's id: a candidate's root and address; a decision (in its bucket, its shuffle and its shard); the
# attributes of any document
MEMBER_BYTES, DECISION_BYTES, NUM_DECISIONS, ATTRIBUTES_BYTES = 16, 28, 3, 18


class SampleStats(NamedTuple):
    """What a sample of texts measured."""

    num_docs: int
    text_bytes: int
    num_valid: int  # documents with band keys
    num_shingles: int
    id_bytes: int
    found: SampleEdges  # within the sample
    thread_sec: float  # CPU seconds for texts to band keys on one core


class SampleEdges(NamedTuple):
    """Candidates among some documents."""

    num_edges: int
    num_band_edges: int  # those that several bands have as often as bands have them
    num_members: int  # documents with an edge


class CorpusSize(NamedTuple):
    """What is to be deduplicated, and where."""

    num_docs: int
    text_bytes: int
    cores: int


class Expected(NamedTuple):
    """Of a corpus."""

    num_valid: int  # documents with band keys
    text_bytes: int
    num_edges: int
    num_band_edges: int
    num_members: int
    id_bytes: float  # of a document's id, on the average


def measure_sample(batches: Iterable[TextView], *, id_bytes: int = 0, config: MinHashConfig) -> SampleStats:
    """Band keys of the sample's batches, timed; the first call, which compiles, is made on nothing and not timed.

    id_bytes: of all ids of these documents.
    """
    empty = np.empty(0, np.uint8)
    hash_bands(empty, np.zeros(2, np.int64), config=config)
    num_docs = text_bytes = num_shingles = 0
    thread_sec = 0.0
    found: list[BandKeys] = []
    for data, offsets in batches:
        begin = time.thread_time()
        found.append(hash_bands(data, offsets, config=config))
        thread_sec += time.thread_time() - begin
        num_docs += len(offsets) - 1
        text_bytes += int(offsets[-1] - offsets[0])
        num_shingles += len(shingle_documents(data, offsets, config=config.shingles).hashes)
    valid = [bands.keys[bands.is_valid] for bands in found]
    keys = np.concatenate([np.empty((0, config.num_bands), np.uint64), *valid])
    return SampleStats(num_docs, text_bytes, len(keys), num_shingles, id_bytes, count_edges(keys), thread_sec)


def count_edges(keys: npt.NDArray[np.uint64]) -> SampleEdges:
    """Candidate edges among documents with band keys uint64 (n, b): each bucket's first member with each other one."""
    address = np.arange(len(keys), dtype=np.int64)
    pieces = [candidate_edges(np.ascontiguousarray(column), address) for column in keys.T]
    empty = np.empty(0, np.int64)
    first = np.concatenate([empty, *(edges.first for edges in pieces)])
    member = np.concatenate([empty, *(edges.member for edges in pieces)])
    edges = unique_edges(Edges(first, member))
    return SampleEdges(len(edges.first), len(first), len(np.union1d(edges.first, edges.member)))


def expect_least(stats: SampleStats, size: CorpusSize) -> Expected:
    """What a corpus has whose copies lie near each other: counts grow with the documents."""
    share = _sampled_share(stats, size)
    counts = (round(count / share) for count in stats.found)
    return Expected(_count_valid(stats, size), size.text_bytes, *counts, _mean_id_bytes(stats))


def expect_most(stats: SampleStats, size: CorpusSize, *, num_bands: int) -> Expected:
    """What a corpus has whose copies lie anywhere: counts grow with the square of the documents, up to an edge per document and band.

    Of a sample that is not the corpus, UNSEEN more than were counted are taken, so that one in which no copies met promises nothing.
    """
    share, num_valid = _sampled_share(stats, size), _count_valid(stats, size)
    edges, band_edges, members = ((count + UNSEEN * (1.0 - share)) / share**2 for count in stats.found)
    most = float(num_valid * num_bands)
    return Expected(
        num_valid,
        size.text_bytes,
        round(min(edges, most)),
        round(min(band_edges, most)),
        round(min(members, num_valid)),
        _mean_id_bytes(stats),
    )


def expect_typical(text_bytes: int, *, num_bands: int) -> Expected:
    """What a corpus of web pages would have, where there is nothing to take a sample of."""
    num_docs = -(-text_bytes // TYPICAL_TEXT_BYTES)
    num_members = round(TYPICAL_CANDIDATE_FRAC * num_docs)
    return Expected(num_docs, text_bytes, num_members, num_members * num_bands // 2, num_members, TYPICAL_ID_BYTES)


def _sampled_share(stats: SampleStats, size: CorpusSize) -> float:
    return stats.num_docs / max(size.num_docs, stats.num_docs)


def _mean_id_bytes(stats: SampleStats) -> float:
    return stats.id_bytes / max(stats.num_docs, 1)


def _count_valid(stats: SampleStats, size: CorpusSize) -> int:
    return round(size.num_docs * stats.num_valid / stats.num_docs)


def disk_bytes(expected: Expected, *, num_bands: int) -> dict[str, int]:
    """What a run writes, by name; together a bound of its peak, since a shuffle's files stay until Spark's cleaner takes them.

    Band files and attributes stay after it. The shuffles lie in Spark's local folders.
    """
    num_valid, members = expected.num_valid, expected.num_members
    set_bytes = SETS_PER_TEXT * expected.text_bytes * members / max(num_valid, 1)
    return {
        "band_file": num_valid * (KEY_BYTES * num_bands + ADDRESS_BYTES),
        "shuffle": num_valid * num_bands * (KEY_BYTES + ADDRESS_BYTES),
        "edges": 2 * ADDRESS_BYTES * (expected.num_band_edges + expected.num_edges),
        "sets of candidates": round(set_bytes + (MEMBER_BYTES + expected.id_bytes) * members),
        "decisions": round(NUM_DECISIONS * (DECISION_BYTES + expected.id_bytes) * members),
        "attributes": round((ATTRIBUTES_BYTES + expected.id_bytes) * num_valid),
    }


def describe_sample(stats: SampleStats, size: CorpusSize, *, config: MinHashConfig) -> dict[str, object]:
    """The details of a plan, by name; names end in their unit. Low: copies lie near each other; high: anywhere.

    Source: docs/dedup.md "What it costs"; the curve is dedup.minhash.candidate_probability.
    """
    curve = candidate_probability(SIMILARITIES, num_bands=config.num_bands, num_rows=config.num_rows)
    details: dict[str, object] = {
        "bands x rows": f"{config.num_bands} x {config.num_rows}",
        "chance to be candidates at Jaccard": {
            f"{similarity:.2f}": round(float(chance), 4) for similarity, chance in zip(SIMILARITIES, curve, strict=True)
        },
        "sampled_docs": stats.num_docs,
        "sampled_bytes": stats.text_bytes,
    }
    if stats.num_docs == 0 or stats.text_bytes == 0:
        return details
    low, high = expect_least(stats, size), expect_most(stats, size, num_bands=config.num_bands)
    least, most = (disk_bytes(expected, num_bands=config.num_bands) for expected in (low, high))
    return details | {
        "documents with keys": high.num_valid,
        "shingles": round(size.text_bytes / stats.text_bytes * stats.num_shingles),
        "band_file_bytes": most["band_file"],
        "shuffle_bytes": most["shuffle"],
        "candidate edges, low": low.num_edges,
        "candidate edges, high": high.num_edges,
        "edges on disk, high_bytes": most["edges"],
        "sets of candidates, low_bytes": least["sets of candidates"],
        "sets of candidates, high_bytes": most["sets of candidates"],
        "decisions, high_bytes": most["decisions"],
        "attributes_bytes": most["attributes"],
        "signatures_mb_per_core_sec": round(signatures_mb_per_sec(stats), 1),
        "signatures_sec": round(size.text_bytes / 1e6 / signatures_mb_per_sec(stats) / max(size.cores, 1), 1),
    }


def signatures_mb_per_sec(stats: SampleStats) -> float:
    """10^6 bytes of text to band keys, per second of one core."""
    return stats.text_bytes / 1e6 / max(stats.thread_sec, 1e-9)
