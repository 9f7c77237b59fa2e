"""Near-duplicate detection in one process, from the same functions as the job: what the quality tables and their tests measure.

Legend: N documents, b bands, E pairs or edges.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from benchmarks.dedup_scores import Int64s, pair_codes
from dedup import minhash
from dedup.candidates import Edges, candidate_edges, unique_edges
from dedup.components import Components, connected_components
from dedup.minhash import MinHashConfig
from dedup.shingles import ShingleConfig, Shingles, shingle_documents, unique_sets
from dedup.verification import VerificationConfig, jaccard_pairs, verify_components
from dolma_py import hashing
from dolma_py.arrow_buffers import TextView

_ROLL = np.uint64(0x9E3779B97F4A7C15)


class _WordHashes(dict[str, int]):
    """word -> xxh64, each computed once."""

    def __missing__(self, word: str) -> int:
        self[word] = xxhash.xxh64_intdigest(word.encode("utf-8", "surrogatepass"))
        return self[word]


class Found(NamedTuple):
    """What the steps say about N documents."""

    candidates: Int64s  # pair_codes of all pairs that share a band key
    num_edges: int  # of the stars that the job shuffles in their place
    components: Int64s  # int64 (N,)  label of the candidate component; the document's own number when it has none
    kept: Int64s  # int64 (N,)        number of the document that stays in this one's place


def join_texts(texts: list[str]) -> TextView:
    """Texts as one block of UTF-8 with offsets."""
    rows = [text.encode("utf-8", "surrogatepass") for text in texts]
    return TextView(np.frombuffer(b"".join(rows), np.uint8), np.cumsum([0, *map(len, rows)]).astype(np.int64))


def regex_sets(texts: list[str], *, num_words: int) -> Shingles:
    """Sets of n-grams of the tokens re.findall(r"\\w+", text.lower()): the definition behind the labelled pairs.

    A text of fewer than n tokens is one n-gram of all of them. Hashes are 64 bit: two n-grams of 10^7 meet with chance 10^-5.
    """
    vocabulary = _WordHashes()
    hashes: list[npt.NDArray[np.uint64]] = []
    for text in texts:
        words = [vocabulary[word] for word in re.findall(r"\w+", text.lower())]
        items = np.array(words, np.uint64)
        width = min(num_words, len(items))
        state = np.zeros(max(len(items) - width + 1, 0) if width else 0, np.uint64)
        for k in range(width):
            state = state * _ROLL + items[k : k + len(state)]
        hashes.append(state)
    offsets = np.cumsum([0, *map(len, hashes)]).astype(np.int64)
    return unique_sets(Shingles(hashing.mix_keys(np.concatenate([np.empty(0, np.uint64), *hashes]), seed=0), offsets))


def band_sets(sets: Shingles, config: MinHashConfig) -> minhash.BandKeys:
    """Band keys of sets that are already hashed."""
    multiplier, increment = minhash.draw_permutations(
        config.num_permutations, seed=config.seed, source=config.permutations
    )
    rows = np.ascontiguousarray(minhash.signatures(sets, multiplier=multiplier, increment=increment))
    keys = minhash.band_keys(rows, num_bands=config.num_bands, num_rows=config.num_rows)
    return minhash.BandKeys(keys, np.diff(sets.offsets) > 0)


def candidate_pairs(bands: minhash.BandKeys) -> Int64s:
    """pair_codes of all pairs of documents that share a key in some band; a bucket of n documents gives n (n - 1) / 2."""
    members = np.flatnonzero(bands.is_valid).astype(np.int64)
    codes = [equal_pairs(bands.keys[members, band], members) for band in range(bands.keys.shape[1])]
    return np.unique(np.concatenate([np.empty(0, np.int64), *codes]))


def equal_pairs(values: npt.NDArray[np.generic], members: Int64s) -> Int64s:
    """pair_codes of all pairs of members with equal values; both (M,)."""
    order = np.argsort(values, kind="stable")
    ordered, members = values[order], members[order]
    borders = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])).tolist()
    codes = [np.empty(0, np.int64)]
    for start, end in zip(borders, borders[1:], strict=False):
        if end - start > 1:
            a, b = np.triu_indices(end - start, 1)
            codes.append(pair_codes(members[start + a], members[start + b]))
    return np.unique(np.concatenate(codes))


def candidate_components(bands: minhash.BandKeys) -> tuple[Edges, Components]:
    """Edges as the job makes them, each bucket a star around its first document, and their components."""
    first, member = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for band in range(bands.keys.shape[1]):
        members = np.flatnonzero(bands.is_valid).astype(np.int64)
        keys = bands.keys[members, band]
        order = np.argsort(keys, kind="stable")
        edges = candidate_edges(keys[order], members[order])
        first.append(edges.first)
        member.append(edges.member)
    edges = unique_edges(Edges(np.concatenate(first), np.concatenate(member)))
    return edges, connected_components(edges)


def find_duplicates(bands: minhash.BandKeys, sets: Shingles, *, verification: VerificationConfig) -> Found:
    """Candidates, components and the verified decision; of equals the first document stays."""
    num_docs = len(bands.keys)
    edges, components = candidate_components(bands)
    labels, kept = np.arange(num_docs), np.arange(num_docs)
    labels[components.address] = components.root
    order = np.lexsort((components.address, components.root))
    address, root = components.address[order], components.root[order]
    borders = np.flatnonzero(np.concatenate([[True], root[1:] != root[:-1], [True]])).astype(np.int64)
    if len(address):
        verified = verify_components(take_sets(sets, address), borders, config=verification)
        kept[address] = address[verified.kept]
    return Found(candidate_pairs(bands), len(edges.first), labels, kept)


def take_sets(sets: Shingles, order: Int64s) -> Shingles:
    """The sets of the given documents in that order."""
    rows = [sets.hashes[sets.offsets[d] : sets.offsets[d + 1]] for d in order.tolist()]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Shingles(np.concatenate([np.empty(0, np.uint64), *rows]), offsets)


def text_sets(texts: list[str], shingles: ShingleConfig) -> Shingles:
    """Sets of shingles as the job makes them of texts."""
    return unique_sets(shingle_documents(*join_texts(texts), config=shingles))


def find_in_texts(texts: list[str], config: MinHashConfig, verification: VerificationConfig, sets: Shingles) -> Found:
    """What the job would decide about these texts in this order; `sets` are those that verification compares."""
    return find_duplicates(minhash.hash_bands(*join_texts(texts), config=config), sets, verification=verification)


def exact_similarity(sets: Shingles, codes: Int64s) -> npt.NDArray[np.float32]:
    """Exact Jaccard similarity of each pair of pair_codes."""
    return jaccard_pairs(sets, first=codes >> 32, second=codes & 0xFFFFFFFF)
