"""Which stretches of which texts may repeat each other: anchors by winnowing, and the bytes around those that were seen twice.

A repeat of L bytes has an anchor of the same hash in each of its occurrences, so only hashes and places need to meet; text moves only
where an anchor was seen twice. Legend: B bytes of N documents, L = min_length_bytes, A anchors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedup.anchors_kernels import anchors_kernel, surroundings_kernel
from dedup.substring import Spans
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import check_offsets

GRAM_BYTES = 64  # of one gram, for L of 128 bytes or more; 4.6 anchors per kB at L = 500


class Anchors(NamedTuple):
    """Document i owns anchors offsets[i]:offsets[i + 1], ascending by start."""

    hashes: npt.NDArray[np.uint64]  # (A,), small numbers: mix them before you cut their range
    start_byte: npt.NDArray[np.int32]  # (A,) of the anchor's gram, from the document's start
    offsets: npt.NDArray[np.int64]  # (N + 1,)


def choose_gram_bytes(min_length_bytes: int) -> int:
    """g: 64, or half of a shorter L, so that a window has many grams.

    >>> choose_gram_bytes(500), choose_gram_bytes(20), choose_gram_bytes(1)
    (64, 10, 1)
    """
    return min(GRAM_BYTES, max(1, min_length_bytes // 2))


def find_anchors(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, min_length_bytes: int) -> Anchors:
    """The anchors of each document.

    Parameters
    ----------
    data : uint8 (B,)           texts back to back; any bytes
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    min_length_bytes : int      L >= 1

    Returns
    -------
    anchors : Anchors           none for a document of fewer than L bytes

    Raises
    ------
    ConfigError                 L < 1
    SchemaError                 offsets fall or leave the data, a document of more than 2^31 - 1 bytes

    Guarantees                  two equal stretches of L bytes, inside one document each, hold an anchor of one hash at the same place
    Cost                        O(B); some 2 / (L - g + 2) anchors per byte, 12 bytes each
    """
    if min_length_bytes < 1:
        raise ConfigError("substring.min_length_bytes", min_length_bytes, "expected at least 1", "500 is Olmo 3's.")
    check_offsets(len(data), offsets)
    longest = int(np.diff(offsets).max(initial=0))
    if longest >= 1 << 31:
        raise SchemaError("text", f"at most {(1 << 31) - 1} bytes in one document", longest)
    gram_bytes = choose_gram_bytes(min_length_bytes)
    sizes = (gram_bytes, min_length_bytes - gram_bytes + 1)
    window = sizes[1]
    scratch = (np.empty(window, np.uint64), np.empty(window, np.uint64), np.empty(window, np.int64))
    data, offsets = np.ascontiguousarray(data), np.ascontiguousarray(offsets, np.int64)
    room = 3 * len(data) // (window + 1) + len(offsets)  # a text whose hashes rise has more, and is tried again
    while True:
        found = Anchors(np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(len(offsets), np.int64))
        num_anchors = anchors_kernel(data, offsets, sizes, scratch, *found)
        if num_anchors >= 0:
            return Anchors(found.hashes[:num_anchors].copy(), found.start_byte[:num_anchors].copy(), found.offsets)
        room = min(4 * room, len(data))


def surround(
    anchors: Anchors, is_chosen: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64], *, min_length_bytes: int
) -> Spans:
    """The bytes in which a repeat of L bytes around a chosen anchor may lie, merged per document.

    is_chosen : bool (A,); offsets : int64 (N + 1,) of the texts. SchemaError for other lengths.
    """
    if len(is_chosen) != len(anchors.hashes) or len(offsets) != len(anchors.offsets):
        raise SchemaError(
            "is_chosen, offsets",
            f"{len(anchors.hashes)}, {len(anchors.offsets)} values",
            (len(is_chosen), len(offsets)),
        )
    counts = np.concatenate([[0], np.cumsum(is_chosen)]).astype(np.int64)
    start = np.ascontiguousarray(anchors.start_byte[is_chosen])
    gram_bytes = choose_gram_bytes(min_length_bytes)
    spans = Spans(np.empty(len(start), np.int32), np.empty(len(start), np.int32), np.empty(len(offsets), np.int64))
    sizes = (gram_bytes, min_length_bytes - gram_bytes + 1)
    num_spans = surroundings_kernel(
        start, counts[anchors.offsets], np.ascontiguousarray(offsets, np.int64), sizes, *spans
    )
    return Spans(spans.start_byte[:num_spans].copy(), spans.end_byte[:num_spans].copy(), spans.offsets)


class Seen(NamedTuple):
    """How often each key came: once, or more."""

    keys: npt.NDArray[np.uint64]  # (K,) ascending, each once
    is_repeated: npt.NDArray[np.bool_]  # (K,)


NOTHING_SEEN = Seen(np.empty(0, np.uint64), np.empty(0, np.bool_))


def merge_seen(seen: Seen, keys: npt.NDArray[np.uint64]) -> Seen:
    """What was seen before and M more keys in any order."""
    found, counts = np.unique(keys, return_counts=True)
    merged = np.concatenate([seen.keys, found])
    many = np.concatenate([seen.is_repeated, counts > 1])
    order = np.argsort(merged, kind="stable")
    merged, many = merged[order], many[order]
    is_new = np.ones(len(merged), np.bool_)
    is_new[1:] = merged[1:] != merged[:-1]
    starts = np.flatnonzero(is_new)
    again = np.diff(np.append(starts, len(merged))) > 1
    return Seen(merged[starts], again | (np.logical_or.reduceat(many, starts) if len(starts) else many[:0]))


def find_repeated(seen: Seen, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Of M keys that all were seen, bool (M,): whether one came more than once."""
    return seen.is_repeated[np.searchsorted(seen.keys, keys)]
