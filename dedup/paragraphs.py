"""Repeated lines and paragraphs: their digests, and which of them leave.

Legend: N documents, B bytes, U units (lines or paragraphs; what they are stands in paragraphs_kernels).

Digests have 128 bits: of 10^12 different lines two collide with a chance of 10^-15, where 64 bits would give 27,000 false repeats.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dedup.exact import number_digests
from dedup.normalise import normalise_texts
from dedup.paragraphs_kernels import count_words_kernel, split_units_kernel
from dolma_py.config import Config
from dolma_py.hashing import UInt64s, check_offsets
from dolma_py.spans import Spans
from dolma_py.xxh3 import digest_ranges

Int64s = npt.NDArray[np.int64]


class ParagraphConfig(Config):
    """What is compared and what leaves."""

    unit: Literal["line", "paragraph"] = Field("paragraph", description="text between newlines, or between blank lines")
    text: Literal["raw", "normalised"] = Field(
        "raw", description="bytes as they are without the line end, or lower-cased words joined by single spaces"
    )
    min_bytes: int = Field(1, ge=1, description="shorter units are never compared and never leave")
    min_words: int = Field(
        10, ge=0, description="units of fewer words neither; FineWeb tried lines of 10 words (arXiv 2406.17557, 3.4)"
    )
    scope: Literal["global", "source"] = Field("global", description="across all sources, or within each source alone")
    keep: Literal["first", "none"] = Field(
        "first",
        description="the first occurrence in corpus order stays, or every occurrence of what is repeated leaves",
    )


class Units(NamedTuple):
    """U units of N documents, in order; positions in bytes from the start of their document."""

    document: Int64s  # (U,) index of the document, does not decrease
    start_byte: Int64s  # (U,)
    cut_byte: Int64s  # (U,) start:cut leaves with the unit: its line end, and the blank lines after a paragraph
    high: UInt64s  # (U,) xxh3-128 of the unit's text
    low: UInt64s  # (U,)


def split_units(data: npt.NDArray[np.uint8], offsets: Int64s, *, unit: str) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """(start, end, cut, offsets) of all units of N documents, int64 (U,) thrice and (N + 1,); positions inside documents.

    Raises
    ------
    SchemaError     offsets fall or leave the data
    """
    check_offsets(len(data), offsets)
    data, offsets = np.ascontiguousarray(data, np.uint8), np.ascontiguousarray(offsets, np.int64)
    room = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == 10)) + len(offsets)
    start, end, cut = (np.empty(room, np.int64) for _ in range(3))
    unit_offsets = np.empty(len(offsets), np.int64)
    count = split_units_kernel(data, offsets, unit == "paragraph", start, end, cut, unit_offsets)
    return start[:count], end[:count], cut[:count], unit_offsets


def digest_units(data: npt.NDArray[np.uint8], offsets: Int64s, *, paragraphs: ParagraphConfig) -> Units:
    """The units of N documents that are long enough to be compared, with their digests.

    Parameters
    ----------
    data : uint8 (B,)               any bytes, UTF-8 or not; may be read-only
    offsets : int64 (N + 1,)        document i is data[offsets[i]:offsets[i + 1]]

    Returns
    -------
    units : Units                   in order; under "normalised" none without a word

    Raises
    ------
    SchemaError                     offsets fall or leave the data

    Guarantees                      a document's units do not depend on the other documents
    Cost                            O(B) time, 40 bytes a unit, and 1.4 B where words are counted or texts normalised
    """
    start, end, cut, unit_offsets = split_units(data, offsets, unit=paragraphs.unit)
    document = np.repeat(np.arange(len(offsets) - 1), np.diff(unit_offsets))
    chosen = np.flatnonzero(end - start >= paragraphs.min_bytes)
    start, end, cut, document = start[chosen], end[chosen], cut[chosen], document[chosen]
    first_byte, last_byte = start + offsets[document], end + offsets[document]
    if paragraphs.text == "raw" and paragraphs.min_words == 0:
        return Units(document, start, cut, *digest_ranges(data, first_byte, last_byte))
    bounds = np.empty(2 * len(start), np.int64)  # units and the gaps between them in turn
    bounds[0::2], bounds[1::2] = first_byte, last_byte
    normal = normalise_texts(data, bounds) if len(bounds) else normalise_texts(data, np.zeros(1, np.int64))
    normal_start, normal_end = normal.offsets[0 : len(bounds) : 2], normal.offsets[1::2]
    words = np.empty(len(start), np.int64)
    count_words_kernel(normal.data, normal_start, normal_end, words)
    least = max(paragraphs.min_words, 1 if paragraphs.text == "normalised" else 0)
    long = np.flatnonzero(words >= least)
    if paragraphs.text == "raw":
        digests = digest_ranges(data, first_byte[long], last_byte[long])
    else:
        digests = digest_ranges(normal.data, normal_start[long], normal_end[long])
    return Units(document[long], start[long], cut[long], *digests)


def count_digests(high: UInt64s, low: UInt64s) -> tuple[UInt64s, UInt64s, Int64s]:
    """(high, low, occurrences) of the different digests, in order of the digests."""
    number = number_digests(high, low)
    counts = np.bincount(number).astype(np.int64)
    some = np.empty(len(counts), np.int64)
    some[number] = np.arange(len(number))
    return high[some], low[some], counts


def mark_repeats(units: Units, lost: tuple[UInt64s, UInt64s], *, keep: str) -> npt.NDArray[np.bool_]:
    """Which of U units leave, bool (U,): those whose digest is in `lost`, and under "first" all but the first of each other digest.

    lost : high and low, uint64 (L,), each digest once
    """
    high, low = (np.concatenate(pair) for pair in zip(lost, (units.high, units.low), strict=True))
    number = number_digests(high, low)
    num_lost = len(lost[0])
    is_lost = np.zeros(int(number.max(initial=-1)) + 1, np.bool_)
    is_lost[number[:num_lost]] = True
    own = number[num_lost:]
    leaves: npt.NDArray[np.bool_] = is_lost[own]
    if keep == "first":
        _, first = np.unique(own, return_index=True)
        is_later = np.ones(len(own), np.bool_)
        is_later[first] = False
        leaves = leaves | is_later
    return leaves


def cut_units(units: Units, leaves: npt.NDArray[np.bool_], num_docs: int) -> Spans:
    """The spans of the units that leave, neighbours joined, of N documents."""
    index = np.flatnonzero(leaves)
    document, start, cut = units.document[index], units.start_byte[index], units.cut_byte[index]
    begins = np.ones(len(index), np.bool_)
    begins[1:] = (document[1:] != document[:-1]) | (start[1:] != cut[:-1])
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts[1:], len(index)) - 1 if len(index) else firsts
    counts = np.bincount(document[firsts], minlength=num_docs)
    return Spans(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), start[firsts], cut[lasts])
