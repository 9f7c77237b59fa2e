"""Which texts the spans of repeats are made of, and how often each was cut: anchors inside spans are counted and joined to passages.

Spans are unions, so two that hold the same text differ in extent, and nothing says which are equal. But spans that share a stretch of L bytes
share an anchor of it (dedup/anchors.py). Each byte of a span belongs to the last anchor that begins before it, or to the first: bytes
of all anchors together are the bytes of all spans. What is known of a hash are numbers that can be added up and its first places, so it
does not matter which task saw what. Legend: S spans of N documents, A anchors, H hashes.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedup.anchors import find_anchors
from dedup.substring import Spans
from dolma_py import spans as byte_spans
from dolma_py.arrow_buffers import TextView

CLIPPED_BYTES = 6  # by which a span may be shorter than L, three at each end (dedup.substring.clip_spans)
EXAMPLES = 3  # places of a hash that are kept
PLACE, TIMES, DOCUMENTS, BYTES = (np.uint64(kind << 62) for kind in range(4))  # what the value of a pair is
LOW = np.uint64((1 << 62) - 1)
COUNT = np.dtype([
    ("hash", "<u8"), ("times", "<i8"), ("documents", "<i8"), ("num_bytes", "<i8"), ("places", "<i8", (EXAMPLES,))
])  # fmt: skip

Pairs = npt.NDArray[np.uint64]  # (N, 2): a hash, and a value of which the upper two bits say what it is
Counts = npt.NDArray[np.void]  # of dtype COUNT; places ascend, -1 where there are fewer


class SpanAnchors(NamedTuple):
    """Ascending by document and start."""

    hashes: npt.NDArray[np.uint64]  # (A,)
    span: npt.NDArray[np.int64]  # (A,) 0 to S - 1
    start_byte: npt.NDArray[np.int32]  # (A,) of the anchor's gram, from the document's start


class Passage(NamedTuple):
    """A text that was cut in several places, or in one."""

    times: int  # spans that hold it
    documents: int
    num_bytes: int  # of the spans, as far as they belong to its anchors
    places: tuple[int, ...]  # of its first anchor in the first documents, ascending


def find_span_anchors(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], spans: Spans, *, min_length_bytes: int
) -> SpanAnchors:
    """The anchors inside each span, as if it were a document: at least one in each that has L - 6 bytes.

    Parameters
    ----------
    data : uint8 (B,)           texts back to back; any bytes
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    spans : Spans               S disjoint, ascending spans of the N texts, none empty
    min_length_bytes : int      L >= 1

    Guarantees                  spans that share a stretch of L - 6 bytes have an anchor of one hash at the same place of it
    Cost                        O(B)
    """
    document = np.repeat(np.arange(len(offsets) - 1), np.diff(spans.offsets))
    start, end = offsets[document] + spans.start_byte, offsets[document] + spans.end_byte
    # a document for each span: what is between it and the one before, which is cut out, and the span
    borders = np.concatenate([offsets[:1], end]).astype(np.int64)
    gaps = byte_spans.Spans(np.arange(len(end) + 1), np.zeros(len(end), np.int64), start - borders[:-1])
    text = byte_spans.cut_spans(TextView(np.ascontiguousarray(data), borders), gaps)
    found = find_anchors(*text, min_length_bytes=max(1, min_length_bytes - CLIPPED_BYTES))
    span = np.repeat(np.arange(len(end)), np.diff(found.offsets))
    return SpanAnchors(found.hashes, span, spans.start_byte[span] + found.start_byte)


def count_anchors(
    hashes: npt.NDArray[np.uint64], address: npt.NDArray[np.int64], start_byte: npt.NDArray[np.int32],
    spans: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]], *, first_place: int,
) -> Pairs:  # fmt: skip
    """What A anchors say of their hashes, as add_counts leaves it. They are all that their documents have, ascending by address and start.

    spans : start and end of each anchor's span; first_place : number of the first anchor, those after it follow.
    """
    start, end = (side.astype(np.int64) for side in spans)
    is_new = np.append(
        np.ones(min(len(hashes), 1), np.bool_), (address[1:] != address[:-1]) | (start[1:] != start[:-1])
    )
    begin = np.where(is_new, start, start_byte)
    own_bytes = np.where(np.append(is_new[1:], True), end, np.append(begin[1:], 0)) - begin
    in_span, in_document = _is_first(hashes, np.cumsum(is_new)), _is_first(hashes, address)
    place = np.arange(first_place, first_place + len(hashes), dtype=np.uint64)
    values = [
        (in_document, PLACE | place), (in_span, TIMES | np.ones_like(place)), (in_document, DOCUMENTS | np.ones_like(place)),
        (np.ones(len(hashes), np.bool_), BYTES | own_bytes.astype(np.uint64)),
    ]  # fmt: skip
    return add_counts(np.concatenate([np.stack([hashes[some], value[some]], 1) for some, value in values]))


def _is_first(hashes: npt.NDArray[np.uint64], group: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether a hash is the first of its value in its group."""
    order = np.lexsort((hashes, group))  # stable
    is_first = np.ones(len(hashes), np.bool_)
    is_first[order[1:]] = (np.diff(hashes[order]) != 0) | (np.diff(group[order]) != 0)
    return is_first


def add_counts(pairs: Pairs) -> Pairs:
    """Pairs of any tasks as at most one of each kind for a hash, and its EXAMPLES smallest places; sorted. May be applied again.

    >>> pairs = np.array([[7, TIMES | np.uint64(2)], [7, 9], [7, TIMES | np.uint64(1)], [5, 3]], np.uint64)
    >>> [(int(key), int(value >> np.uint64(62)), int(value & LOW)) for key, value in add_counts(pairs)]
    [(5, 0, 3), (7, 0, 9), (7, 1, 3)]
    """
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    kind = pairs[:, 1] >> np.uint64(62)
    is_new = np.ones(len(pairs), np.bool_)
    is_new[1:] = (pairs[1:, 0] != pairs[:-1, 0]) | (kind[1:] != kind[:-1])
    starts = np.flatnonzero(is_new)
    if not len(starts):
        return pairs
    sums = np.add.reduceat(pairs[:, 1] & LOW, starts)
    is_place = kind == 0
    rank = np.arange(len(pairs)) - np.repeat(starts, np.diff(np.append(starts, len(pairs))))
    pairs[starts, 1] = np.where(is_place[starts], pairs[starts, 1], kind[starts] << np.uint64(62) | sums)
    return pairs[is_new | (is_place & (rank < EXAMPLES))]


def read_counts(pairs: Pairs) -> Counts:
    """The H hashes of what add_counts left of whole documents, ascending by hash."""
    kind, value = pairs[:, 1] >> np.uint64(62), (pairs[:, 1] & LOW).astype(np.int64)
    times = np.flatnonzero(kind == 1)  # of each hash one, behind its places
    counts = np.zeros(len(times), COUNT)
    counts["hash"], counts["times"] = pairs[times, 0], value[times]
    counts["documents"], counts["num_bytes"] = value[times + 1], value[times + 2]
    first = np.concatenate([[0], times + 3])[:-1]
    for number in range(EXAMPLES):
        at = np.minimum(first + number, times)
        counts["places"][:, number] = np.where(at < times, value[at], -1)
    return counts


def rank_counts(counts: Counts, most: int) -> Counts:
    """The `most` that were cut most often; of equals those that come first in the corpus."""
    return counts[np.lexsort((counts["places"][:, 0], -counts["times"]))[:most]]


def join_passages(
    counts: Counts, span_of: npt.NDArray[np.int64], members: dict[int, npt.NDArray[np.int64]], *, most: int, is_whole: bool
) -> list[Passage]:  # fmt: skip
    """The first `most` passages: hashes of one count whose first places are in one span are one.

    What lies between two hashes of a passage, in the span of its own first place, is a variant of it, as the year in a licence: its bytes
    are added to it.

    Parameters
    ----------
    counts : COUNT (H,)         as rank_counts leaves them
    span_of : int64 (H,)        the span of each one's first place, by any number
    members : span -> int64     which of the H are in it, ascending by place
    is_whole : bool             there are no more; else the last passage may lack some of its hashes, and is left out
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(span_of.tolist(), counts["times"].tolist(), strict=True)):
        groups.setdefault(key, []).append(row)
    if not is_whole and len(groups) > 1:
        groups.popitem()  # rows of one group follow each other
    owner = np.full(len(counts), -1)
    passages: list[Passage] = []
    for (span, times), rows in groups.items():
        number = _find_owner(owner[members[span]], np.isin(members[span], rows))
        num_bytes = int(counts["num_bytes"][rows].sum())
        if number >= 0:
            passages[number] = passages[number]._replace(num_bytes=passages[number].num_bytes + num_bytes)
        elif len(passages) < most:
            number, first = len(passages), counts[rows[0]]
            places = tuple(place for place in first["places"].tolist() if place >= 0)
            passages.append(Passage(times, int(first["documents"]), num_bytes, places))
        owner[rows] = number
    return passages


def _find_owner(owners: npt.NDArray[np.int64], is_own: npt.NDArray[np.bool_]) -> int:
    """The passage that is nearest on both sides of the own anchors of a span, -1 where there is none such."""
    own = np.flatnonzero(is_own)
    before, after = owners[: own[0]], owners[own[-1] :]
    before, after = before[before >= 0], after[after >= 0]
    is_same = len(before) > 0 and len(after) > 0 and before[-1] == after[0]
    return int(before[-1]) if is_same else -1


def share_text(windows: list[bytes], before: list[int]) -> bytes:
    """What windows of several texts have in common around a place, before[i] bytes behind the start of each.

    >>> share_text([b"one cat sat", b"a cat sits"], [5, 3])
    b' cat s'
    """
    left = os.path.commonprefix([window[:place][::-1] for window, place in zip(windows, before, strict=True)])
    right = os.path.commonprefix([window[place:] for window, place in zip(windows, before, strict=True)])
    return bytes(left[::-1] + right)


def decode_whole(text: bytes) -> str:
    """Text without the characters that are cut at its ends.

    >>> decode_whole("\\u00e9t\\u00e9".encode()[1:-1])
    't'
    """
    start = next((place for place, byte in enumerate(text[:3]) if byte & 0xC0 != 0x80), min(3, len(text)))
    end = len(text)
    for back in range(1, min(3, end - start) + 1):
        byte = text[-back]
        if byte & 0xC0 != 0x80:
            needed = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
            end -= back if needed > back and byte < 0xF8 else 0
            break
    return text[start:end].decode(errors="replace")
