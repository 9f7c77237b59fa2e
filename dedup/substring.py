"""Repeated substrings: byte spans of at least L bytes that stand at least twice in a pool, all but the first occurrence marked.

Legend: B bytes of N documents, L = min_length_bytes, K spans.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dedup.substring_kernels import (
    MAX_SHIFT,
    clip_spans_kernel,
    describe_blocks_kernel,
    join_spans_kernel,
    mark_repeats_kernel,
    merge_spans_kernel,
)
from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import check_offsets
from dolma_py.suffix_array import build_suffix_array, permuted_lcp

DEFAULT_COVERED_FRAC = {"off": 1.0, "written": 0.80, "released": 0.95}


class SubstringConfig(Config):
    """What counts as a repeat and what is cut."""

    min_length_bytes: int = Field(
        500, ge=1, lt=1 << 31, description="L: length of the shortest repeat in UTF-8 bytes; 500: Olmo 3 A.2.2"
    )
    keep: Literal["first", "none"] = Field(
        "first",
        description="first: the first occurrence in corpus order stays, as in Olmo 3; none: every occurrence goes",
    )
    fuzzy: Literal["off", "written", "released"] = Field(
        "written",
        description="a stretch that begins and ends with repeats and is covered by them to min_covered_frac goes whole. written: any "
        "such stretch (Olmo 3 A.2.2); released: those that a greedy scan from either end finds; off: repeats alone go",
    )
    min_covered_frac: float | None = Field(
        None,
        gt=0.0,
        le=1.0,
        description="share of a stretch; empty: 0.80 for written (the report), 0.95 for released (its configuration)",
    )

    @property
    def covered_frac(self) -> float:
        """min_covered_frac, or the default that belongs to `fuzzy`."""
        return DEFAULT_COVERED_FRAC[self.fuzzy] if self.min_covered_frac is None else self.min_covered_frac


class Spans(NamedTuple):
    """Byte spans per document, disjoint and ascending; positions count from the start of the document."""

    start_byte: npt.NDArray[np.int32]  # int32 (K,)
    end_byte: npt.NDArray[np.int32]  # int32 (K,)      exclusive
    offsets: npt.NDArray[np.int64]  # int64 (N + 1,)  document i owns spans offsets[i]:offsets[i + 1]


def slice_spans(spans: Spans, first: int, end: int) -> Spans:
    """Those of documents first to end - 1."""
    offsets = spans.offsets[first : end + 1]
    return Spans(
        spans.start_byte[offsets[0] : offsets[-1]], spans.end_byte[offsets[0] : offsets[-1]], offsets - offsets[0]
    )


def find_repeats(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, min_length_bytes: int, keep_first: bool = True
) -> Spans:
    """Every stretch of bytes whose L-byte windows repeat, before characters and the fuzzy rule are looked at.

    The L bytes at a position inside one document are a repeat when the same L bytes stand at an earlier position (keep_first) or
    at any other position of the pool, inside one document each. Occurrences may overlap and may be in the same document.

    Parameters
    ----------
    data : uint8 (B,)               texts in corpus order, back to back; any bytes
    offsets : int64 (N + 1,)        text i is data[offsets[i]:offsets[i + 1]]
    min_length_bytes : int          L >= 1
    keep_first : bool               whether the occurrence at the smallest position stays

    Returns
    -------
    spans : Spans                   every span has at least L bytes; spans that touch are one

    Raises
    ------
    ConfigError                     L < 1
    SchemaError                     offsets fall or leave the data, more than 2^31 - 1 bytes

    Guarantees                      a function of the texts and their order; no span crosses a document's end
    Cost                            the suffix sorter's time plus O(B); memory 5.2 bytes per byte of text, the text included
    Source                          Olmo 3 A.2.2 and its released tool; see substring_kernels for the borders
    """
    if min_length_bytes < 1:
        raise ConfigError("substring.min_length_bytes", min_length_bytes, "expected at least 1", "500 is Olmo 3's.")
    check_offsets(len(data), offsets)
    text = np.ascontiguousarray(data[offsets[0] : offsets[-1]], np.uint8)
    borders = np.ascontiguousarray(offsets - offsets[0], np.int64)
    return cut_repeats(
        text, borders, build_suffix_array(text), min_length_bytes=min_length_bytes, keep_first=keep_first
    )


def cut_repeats(
    text: npt.NDArray[np.uint8],
    borders: npt.NDArray[np.int64],
    suffixes: npt.NDArray[np.int32],
    *,
    min_length_bytes: int,
    keep_first: bool = True,
) -> Spans:
    """find_repeats of a text whose suffix array is there; borders int64 (N + 1,) from 0 to B."""
    shift = min(min_length_bytes.bit_length() - 1, MAX_SHIFT)
    plcp = permuted_lcp(text, suffixes, step=1 << shift)
    blocks, marks = np.empty((len(plcp), 4), np.int8), np.empty((len(plcp), 2), np.int8)
    describe_blocks_kernel(plcp, borders, min_length_bytes, shift, blocks)
    marks[:] = np.iinfo(np.int8).max, -1
    mark_repeats_kernel(text, suffixes, min_length_bytes, keep_first, shift, blocks, marks)
    room = len(text) // min_length_bytes + len(borders)  # spans are disjoint and have L bytes or more
    spans = _make_spans(room, len(borders))
    return _cut(spans, merge_spans_kernel(marks, borders, min_length_bytes, shift, *spans))


def union_spans(
    document: npt.NDArray[np.int64], start_byte: npt.NDArray[np.int32], end_byte: npt.NDArray[np.int32], num_docs: int
) -> Spans:
    """Any M spans, empty ones left out, as those of N documents: bytes that any of them has, spans that touch are one.

    document : int64 (M,)       0 to N - 1, in any order; start_byte, end_byte : int32 (M,)
    """
    is_some = start_byte < end_byte
    document, start, end = document[is_some], start_byte[is_some].astype(np.int64), end_byte[is_some].astype(np.int64)
    order = np.lexsort((start, document))
    begin, reach = (document << 32 | start)[order], np.maximum.accumulate((document << 32 | end)[order])
    is_new = np.ones(len(begin), np.bool_)
    is_new[1:] = begin[1:] > reach[:-1]
    last = np.append(np.flatnonzero(is_new)[1:], len(begin))[: int(is_new.sum())] - 1
    begin, reach = begin[is_new], reach[last]
    counts = np.bincount(begin >> 32, minlength=num_docs)
    low = np.int64((1 << 32) - 1)
    return Spans(
        (begin & low).astype(np.int32),
        (reach & low).astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def join_spans(spans: Spans, *, min_covered_frac: float, greedy: bool = False) -> Spans:
    """Join spans of one document where the stretch between them is mostly covered.

    A stretch from the start of one span to the end of a later one goes whole when spans cover at least `min_covered_frac` of it. All
    such stretches count, and overlapping ones are one (the report's sentence); greedy: only those that a scan from the front or
    from the back finds by taking one span after the other (as the released configuration works).

    Raises
    ------
    ConfigError     a share outside (0, 1]
    """
    if not 0.0 < min_covered_frac <= 1.0:
        raise ConfigError("substring.min_covered_frac", min_covered_frac, "expected a share in (0, 1]")
    ppm = round(min_covered_frac * 1_000_000)
    num_spans = len(spans.start_byte)
    scratch = (np.empty(num_spans, np.int64), np.empty(num_spans, np.int64))
    joined = _make_spans(num_spans, len(spans.offsets))
    return _cut(joined, join_spans_kernel(tuple(spans), ppm, greedy, scratch, *joined))


def clip_spans(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], spans: Spans) -> Spans:
    """Spans shrunk until no UTF-8 character is cut; spans inside one character vanish.

    Raises
    ------
    SchemaError     spans of another number of documents, or spans that leave their document
    """
    check_offsets(len(data), offsets)
    if len(spans.offsets) != len(offsets):
        raise SchemaError("spans", f"spans of {len(offsets) - 1} documents", len(spans.offsets) - 1)
    sizes = np.repeat(np.diff(offsets), np.diff(spans.offsets))
    if np.any((spans.start_byte < 0) | (spans.end_byte > sizes) | (spans.start_byte > spans.end_byte)):
        raise SchemaError("spans", "0 <= start <= end <= bytes of the document", "a span outside its document")
    clipped = _make_spans(len(spans.start_byte), len(offsets))
    return _cut(clipped, clip_spans_kernel(np.ascontiguousarray(data), offsets, tuple(spans), *clipped))


def find_repeated_spans(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, config: SubstringConfig
) -> Spans:
    """The spans to cut from each document: find_repeats, then the fuzzy rule, then clipped to whole characters.

    Parameters, errors, cost as find_repeats. Because of the clipping a span may be up to 6 bytes shorter than L.
    """
    spans = find_repeats(data, offsets, min_length_bytes=config.min_length_bytes, keep_first=config.keep == "first")
    if config.fuzzy != "off":
        spans = join_spans(spans, min_covered_frac=config.covered_frac, greedy=config.fuzzy == "released")
    return clip_spans(data, offsets, spans)


def _make_spans(room: int, num_offsets: int) -> Spans:
    return Spans(np.empty(room, np.int32), np.empty(room, np.int32), np.zeros(num_offsets, np.int64))


def _cut(spans: Spans, num_spans: int) -> Spans:
    return Spans(spans.start_byte[:num_spans].copy(), spans.end_byte[:num_spans].copy(), spans.offsets)
