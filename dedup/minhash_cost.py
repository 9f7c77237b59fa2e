"""What MinHash deduplication of a corpus will cost, from a sample of its texts: documents, files, shuffle, edges, time.

Legend: N documents of the corpus, n of the sample, b bands.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedup.candidates import candidate_edges, unique_edges
from dedup.components import DRIVER_EDGE_BYTES
from dedup.minhash import BandKeys, MinHashConfig, candidate_probability, hash_bands
from dedup.shingles import shingle_documents
from dolma_py.arrow_buffers import TextView

SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)  # where the S-curve is shown
KEY_BYTES = 8
ADDRESS_BYTES = 8


class SampleStats(NamedTuple):
    """What a sample of texts measured."""

    num_docs: int
    text_bytes: int
    num_valid: int  # documents with band keys
    num_shingles: int
    num_edges: int  # candidate edges within the sample
    thread_sec: float  # CPU seconds for texts to band keys on one core


class CorpusSize(NamedTuple):
    """What is to be deduplicated, and where."""

    num_docs: int
    text_bytes: int
    cores: int


def measure_sample(batches: Iterable[TextView], *, config: MinHashConfig) -> SampleStats:
    """Band keys of the sample's batches, timed; the first call, which compiles, is made on nothing and not timed."""
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
    return SampleStats(num_docs, text_bytes, len(keys), num_shingles, count_edges(keys), thread_sec)


def count_edges(keys: npt.NDArray[np.uint64]) -> int:
    """Candidate edges among documents with band keys uint64 (n, b): each bucket's first member with each other one."""
    num_docs, num_bands = keys.shape
    address = np.tile(np.arange(num_docs, dtype=np.int64), num_bands)
    key = np.ascontiguousarray(keys.T).ravel()
    order = np.lexsort((address, key))
    edges = unique_edges(candidate_edges(key[order], address[order]))
    return len(edges.first)


def estimate_cost(stats: SampleStats, size: CorpusSize, *, config: MinHashConfig) -> dict[str, object]:
    """The details of a plan, by name; names end in their unit.

    Edges grow with the documents when copies lie near each other (low) and with their square when they lie anywhere (high, never
    more than one per document and band). Disk is the band file, shuffle what Spark writes between its stages before compression.

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
    share = stats.num_docs / max(size.num_docs, stats.num_docs)
    num_valid = round(size.num_docs * stats.num_valid / stats.num_docs)
    high = min(stats.num_edges / share**2, float(num_valid * config.num_bands))
    mb_per_sec = stats.text_bytes / 1e6 / max(stats.thread_sec, 1e-9)
    return details | {
        "documents with keys": num_valid,
        "shingles": round(size.text_bytes / stats.text_bytes * stats.num_shingles),
        "band_file_bytes": num_valid * (KEY_BYTES * config.num_bands + ADDRESS_BYTES),
        "shuffle_bytes": num_valid * config.num_bands * (KEY_BYTES + ADDRESS_BYTES),
        "candidate edges, low": round(stats.num_edges / share),
        "candidate edges, high": round(high),
        "driver_edges_bytes": round(high) * DRIVER_EDGE_BYTES,
        "signatures_mb_per_core_sec": round(mb_per_sec, 1),
        "signatures_sec": round(size.text_bytes / 1e6 / mb_per_sec / max(size.cores, 1), 1),
    }
