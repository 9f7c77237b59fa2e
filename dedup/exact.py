"""Exact duplicates: 128-bit digests of raw or normalised texts, and which copy stays.

Legend: N documents.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash
from pydantic import Field

from dedup.candidates import Addresses
from dedup.keepers import KeepPolicy, Kept
from dedup.keepers import choose_kept as choose_kept_in_groups
from dedup.normalise import normalise_texts
from dolma_py.config import Config
from dolma_py.errors import SchemaError
from dolma_py.hashing import UInt64s, check_offsets


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
    raw = memoryview(np.ascontiguousarray(data, np.uint8))
    bounds = offsets.tolist()
    is_valid = np.ones(len(offsets) - 1, np.bool_)
    if text == "normalised":
        normal = normalise_texts(data, offsets)
        is_valid = np.diff(normal.offsets) > 0
        normal_raw, normal_bounds = memoryview(normal.data), normal.offsets.tolist()
    elif text != "raw":
        raise SchemaError("text", "raw or normalised", text)
    packed = bytearray()
    for i in range(len(offsets) - 1):  # one C call per document, about 0.3 microseconds beside its bytes
        if text == "normalised" and is_valid[i]:
            packed += xxhash.xxh3_128_digest(normal_raw[normal_bounds[i] : normal_bounds[i + 1]])
        else:
            packed += xxhash.xxh3_128_digest(raw[bounds[i] : bounds[i + 1]])
    columns = np.frombuffer(bytes(packed), ">u8").reshape(-1, 2).astype(np.uint64)
    return Digests(np.ascontiguousarray(columns[:, 0]), np.ascontiguousarray(columns[:, 1]), is_valid)


def choose_kept(
    digest_high: UInt64s, digest_low: UInt64s, *, address: Addresses, place: npt.NDArray[np.int64] | None = None
) -> Kept:
    """In each group of equal digests keep the document with the smallest place.

    Works on any set of rows that holds all copies of each text, such as one hash partition; the rows' order does not matter.

    Parameters
    ----------
    digest_high, digest_low : uint64 (N,)
    address : int64 (N,)                    no repeats
    place : int64 (N,) or None              from keepers.keep_order; None: corpus order

    Returns
    -------
    kept : Kept                             in the rows' order

    Raises
    ------
    SchemaError                             lengths differ or digests are not uint64
    """
    if digest_high.dtype != np.uint64 or digest_low.dtype != np.uint64 or len(digest_high) != len(digest_low):
        raise SchemaError("digest", "two uint64 columns of one length", f"{digest_high.dtype}, {digest_low.dtype}")
    order = np.lexsort((digest_low, digest_high))
    is_new = np.ones(len(order), np.int64)
    high, low = digest_high[order], digest_low[order]
    is_new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(is_new) - 1
    return choose_kept_in_groups(group, address, place=place)
