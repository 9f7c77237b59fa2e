"""Exact duplicates: 128-bit digests of raw or normalised texts.

Legend: N documents.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from pydantic import Field

from dedup.keepers import KeepPolicy
from dedup.normalise import normalise_texts
from dolma_py.config import Config
from dolma_py.errors import SchemaError
from dolma_py.hashing import UInt64s, check_offsets
from dolma_py.xxh3 import digest_ranges


class ExactConfig(Config):
    """What makes two documents equal, and which stays."""

    text: Literal["raw", "normalised"] = Field(
        "raw",
        description="digest of the bytes as they are (Olmo 3 A.2.2), or of lower-cased words joined by single spaces",
    )
    scope: Literal["global", "source"] = Field(
        "global", description="copies across all sources, or within each source alone"
    )
    keep: KeepPolicy = Field(KeepPolicy(), description="which copy stays; default: the first in corpus order")


class Digests(NamedTuple):
    """xxh3-128 of N texts as two columns, because neither Arrow nor numpy has a 128-bit integer."""

    high: UInt64s  # uint64 (N,)
    low: UInt64s  # uint64 (N,)
    is_valid: npt.NDArray[np.bool_]  # bool (N,)  False for a text without content under normalisation


def digest_texts(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, text: str = "raw") -> Digests:
    """xxh3-128 of N texts data[offsets[i]:offsets[i + 1]].

    Under "normalised", texts without any word (punctuation only) are told apart by their raw bytes and marked not valid.

    Raises
    ------
    SchemaError     offsets fall or leave the data

    Guarantees      equal texts, equal digests, on any machine; two unequal of 10^10 texts collide with chance 10^-19
    """
    check_offsets(len(data), offsets)
    offsets = np.ascontiguousarray(offsets, np.int64)
    if text == "raw":
        return Digests(*digest_ranges(data, offsets[:-1], offsets[1:]), np.ones(len(offsets) - 1, np.bool_))
    if text != "normalised":
        raise SchemaError("text", "raw or normalised", text)
    normal = normalise_texts(data, offsets)
    high, low = digest_ranges(normal.data, normal.offsets[:-1], normal.offsets[1:])
    is_valid = np.diff(normal.offsets) > 0
    wordless = np.flatnonzero(~is_valid)
    high[wordless], low[wordless] = digest_ranges(data, offsets[:-1][wordless], offsets[1:][wordless])
    return Digests(high, low, is_valid)


def add_source(digests: Digests, sources: pa.Array) -> Digests:
    """The digests of (source, text): other sources' copies get other digests. sources: string (N,)."""
    encoded = sources.dictionary_encode()
    bits = np.array([xxhash.xxh64_intdigest(name.encode()) for name in encoded.dictionary.to_pylist()], np.uint64)
    return digests._replace(high=digests.high ^ bits[encoded.indices.to_numpy(zero_copy_only=False)])


def number_digests(high: UInt64s, low: UInt64s) -> npt.NDArray[np.int64]:
    """The same number for equal digests and for no others, int64 (N,), 0 and up in the order of the digests."""
    order = np.lexsort((low, high))
    is_new = np.ones(len(order), np.int64)
    is_new[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(is_new) - 1
    return number
