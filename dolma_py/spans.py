"""Spans of documents as arrays: reading them from a column, cutting them out of texts, carrying them back.

Legend: N documents, S spans. Byte positions; see spans_kernels for the kernels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py import spans_kernels
from dolma_py.arrow_buffers import TextView
from dolma_py.documents import SPAN, SPANS
from dolma_py.errors import DataError, SchemaError

Int64 = npt.NDArray[np.int64]


class Spans(NamedTuple):
    """Document i has spans offsets[i]:offsets[i + 1], sorted by start, disjoint."""

    offsets: Int64  # (N + 1,), offsets[0] == 0
    starts: Int64  # (S,)
    ends: Int64  # (S,)


def no_spans(num_docs: int) -> Spans:
    """N empty lists."""
    return Spans(np.zeros(num_docs + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


def read_spans(column: pa.Array) -> Spans:
    """A SPANS column as arrays; null rows have no spans. Honours slices. DataError for a span without start or end."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if column.type != SPANS:
        raise SchemaError("spans", SPANS, column.type)
    counts = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    values = column.flatten()
    start, end = values.field("start"), values.field("end")
    if values.null_count + start.null_count + end.null_count:
        raise DataError("spans", "a span without start or end")
    return Spans(offsets, start.to_numpy().astype(np.int64), end.to_numpy().astype(np.int64))


def build_spans(
    spans: Spans, scores: npt.NDArray[np.float32] | pa.Array | None = None, mask: pa.Array | None = None
) -> pa.Array:
    """The SPANS column of arrays; scores are 1 unless given; rows where `mask` is true are null and must have no spans."""
    score = np.ones(len(spans.starts), np.float32) if scores is None else scores
    assert not len(spans.ends) or spans.ends.max() <= np.iinfo(np.int32).max, f"span end {spans.ends.max()} is no int32"
    values = pa.StructArray.from_arrays(
        [pa.array(spans.starts.astype(np.int32)), pa.array(spans.ends.astype(np.int32)), pa.array(score, pa.float32())],
        fields=list(SPAN),
    )
    return pa.ListArray.from_arrays(pa.array(spans.offsets.astype(np.int32)), values, type=SPANS, mask=mask)


def take_spans(spans: Spans, rows: Int64) -> Spans:
    """The lists of the given documents, in that order."""
    counts = (spans.offsets[1:] - spans.offsets[:-1])[rows]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    index = np.repeat(spans.offsets[:-1][rows] - offsets[:-1], counts) + np.arange(offsets[-1])
    return Spans(offsets, spans.starts[index], spans.ends[index])


def check_spans(spans: Spans, lengths: Int64, where: str) -> None:
    """Raise DataError unless every list is sorted, disjoint and inside its text of lengths[i] bytes."""
    document = np.repeat(np.arange(len(lengths)), np.diff(spans.offsets))
    wrong = (spans.starts < 0) | (spans.ends < spans.starts) | (spans.ends > lengths[document])
    if len(document) > 1:
        wrong[1:] |= (document[1:] == document[:-1]) & (spans.starts[1:] < spans.ends[:-1])
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        span = (int(spans.starts[first]), int(spans.ends[first]))
        raise DataError(where, f"span {span} is outside its text or overlaps its neighbour", int(document[first]))


def check_characters(spans: Spans, text: TextView, where: str) -> None:
    """Raise DataError when a span begins or ends inside a UTF-8 character. Spans must pass check_spans."""
    document = np.repeat(np.arange(len(text.offsets) - 1), np.diff(spans.offsets))
    for positions in (spans.starts, spans.ends):
        inside = np.flatnonzero(positions < np.diff(text.offsets)[document])
        cut = (text.data[text.offsets[document[inside]] + positions[inside]] & np.uint8(0xC0)) == 0x80
        if cut.any():
            first = int(inside[np.flatnonzero(cut)[0]])
            span = (int(spans.starts[first]), int(spans.ends[first]))
            raise DataError(where, f"span {span} cuts a UTF-8 character", int(document[first]))


def cut_spans(text: TextView, spans: Spans) -> TextView:
    """The texts without their spans. Spans must pass check_spans, and check_characters where the texts are UTF-8."""
    lengths = int(text.offsets[-1] - text.offsets[0]) if len(text.offsets) else 0
    out_data = np.empty(lengths, np.uint8)
    out_offsets = np.zeros(len(text.offsets), np.int64)
    written = spans_kernels.cut_kernel(
        text.data, text.offsets, spans.offsets, spans.starts, spans.ends, out_data, out_offsets
    )
    return TextView(out_data[:written], out_offsets)


def restore_spans(spans: Spans, removed: Spans) -> Spans:
    """Spans of edited texts as spans of the original texts, given what was removed from each."""
    starts, ends = np.empty_like(spans.starts), np.empty_like(spans.ends)
    spans_kernels.restore_kernel(
        spans.offsets, spans.starts, spans.ends, removed.offsets, removed.starts, removed.ends, starts, ends
    )
    return Spans(spans.offsets, starts, ends)


def shift_spans(spans: Spans, removed: Spans) -> Spans:
    """Spans of original texts as spans of the edited texts, the inverse of restore_spans: what was removed of a span is gone from it."""
    return _convert(spans, removed, spans_kernels.shift_kernel)


def count_characters(text: TextView) -> Int64:
    """Characters (Unicode code points) of each text, int64 (N,). Total: bytes that are no UTF-8 count as the kernel says."""
    counts = np.empty(len(text.offsets) - 1, np.int64)
    spans_kernels.count_characters_kernel(text.data, text.offsets, counts)
    return counts


def to_bytes(spans: Spans, text: TextView) -> Spans:
    """Spans in characters as spans in bytes; positions behind a text's end become its length. Any order, overlaps allowed."""
    return _convert(spans, text, spans_kernels.find_bytes_kernel)


def to_characters(spans: Spans, text: TextView) -> Spans:
    """Spans in bytes as spans in characters. Spans must lie between characters: see check_characters."""
    return _convert(spans, text, spans_kernels.find_characters_kernel)


def _convert(spans: Spans, by: TextView | Spans, kernel: Any) -> Spans:
    """Each kernel walks a document once, so positions go in ascending and come back in their own order."""
    document = np.repeat(np.arange(len(spans.offsets) - 1), np.diff(spans.offsets))
    converted = []
    for positions in (spans.starts, spans.ends):
        order = np.lexsort((positions, document))
        found = np.empty(len(positions), np.int64)
        kernel(*by, spans.offsets, positions[order], found)
        back = np.empty_like(found)
        back[order] = found
        converted.append(back)
    return Spans(spans.offsets, *converted)


def merge_spans(first: Spans, other: Spans) -> Spans:
    """Union of two lists per document, sorted and disjoint."""
    room = len(first.starts) + len(other.starts)
    offsets = np.zeros(len(first.offsets), np.int64)
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    written = spans_kernels.merge_kernel(*first, *other, offsets, starts, ends)
    return Spans(offsets, starts[:written], ends[:written])


def count_bytes(spans: Spans) -> Int64:
    """Bytes inside the spans of each document, int64 (N,)."""
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(spans.ends - spans.starts)])
    counts: Int64 = sums[spans.offsets[1:]] - sums[spans.offsets[:-1]]
    return counts
