"""Words of documents as byte positions, and the normalised text that digests and shingles are taken of.

Legend: N documents, B bytes of all of them, W words. The rules (what is a word) stand in normalise_kernels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedup.normalise_kernels import find_words_kernel, normalise_texts_kernel
from dolma_py.arrow_buffers import TextView
from dolma_py.errors import SchemaError
from dolma_py.hashing import check_offsets

MAX_DOCUMENT_BYTES = (1 << 31) - 16  # word positions are int32


class Words(NamedTuple):
    """Words of N documents; positions are bytes from the start of the document's ORIGINAL text."""

    start_byte: npt.NDArray[np.int32]  # int32 (W,)
    end_byte: npt.NDArray[np.int32]  # int32 (W,)      exclusive
    offsets: npt.NDArray[np.int64]  # int64 (N + 1,)  document i owns words offsets[i]:offsets[i + 1]


class Scratch(NamedTuple):
    """Room for the longest document of a batch; its content means nothing between two documents."""

    lower: npt.NDArray[np.uint8]  # uint8 (longest + 8,)
    kind: npt.NDArray[np.uint8]  # uint8 (longest + 72,)
    start_byte: npt.NDArray[np.int32]  # int32 (longest // 2 + 2,)
    end_byte: npt.NDArray[np.int32]  # int32 (longest // 2 + 2,)


def prepare_texts(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], Scratch]:
    """Checked, contiguous data and offsets, and scratch for the longest document.

    Raises
    ------
    SchemaError     offsets fall or leave the data, or a document of 2 GiB or more
    """
    data = np.ascontiguousarray(data, np.uint8)
    offsets = np.ascontiguousarray(offsets, np.int64)
    check_offsets(len(data), offsets)
    longest = int(np.diff(offsets).max(initial=0))
    if longest > MAX_DOCUMENT_BYTES:
        raise SchemaError("text", f"at most {MAX_DOCUMENT_BYTES} bytes per document", f"{longest} bytes")
    scratch = Scratch(
        np.zeros(longest + 8, np.uint8),
        np.zeros(longest + 72, np.uint8),
        np.empty(longest // 2 + 2, np.int32),
        np.empty(longest // 2 + 2, np.int32),
    )
    return data, offsets, scratch


def max_words(offsets: npt.NDArray[np.int64]) -> int:
    """A bound on the words of these documents: (bytes + 1) // 2 each, since a one-character word without a border is wide."""
    return (int(offsets[-1] - offsets[0]) + len(offsets)) // 2 + 1


def find_words(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Words:
    """Words of the documents data[offsets[i]:offsets[i + 1]] as byte positions of the original text.

    Parameters
    ----------
    data : uint8 (B,)               any bytes, UTF-8 or not; may be read-only
    offsets : int64 (N + 1,)        non-decreasing, within 0..B; need not start at 0

    Returns
    -------
    words : Words                   in order; every word has at least one byte

    Raises
    ------
    SchemaError                     offsets fall or leave the data, a document of 2 GiB or more

    Guarantees                      a document's words do not depend on the other documents
    Cost                            O(B) time, about 8 bytes per word and 3 bytes per byte of the longest document
    """
    data, offsets, scratch = prepare_texts(data, offsets)
    room = max_words(offsets) + len(scratch.start_byte)
    start_byte, end_byte = np.empty(room, np.int32), np.empty(room, np.int32)
    word_offsets = np.empty(len(offsets), np.int64)
    find_words_kernel(data, offsets, scratch.lower, scratch.kind, start_byte, end_byte, word_offsets)
    total = int(word_offsets[-1])
    return Words(start_byte[:total].copy(), end_byte[:total].copy(), word_offsets)


def normalise_texts(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> TextView:
    """The words of each document joined by single spaces: " The  CAT!" becomes "the cat".

    Parameters, errors and cost are those of find_words; the result has offsets from 0 and at most as many bytes as the input
    plus one per document. Normalising twice changes nothing.
    """
    data, offsets, scratch = prepare_texts(data, offsets)
    # wide one-character words gain a space between them: 3 bytes become 4
    out_data = np.empty((int(offsets[-1] - offsets[0]) * 4) // 3 + len(offsets) + 8, np.uint8)
    out_offsets = np.empty(len(offsets), np.int64)
    normalise_texts_kernel(data, offsets, *scratch, out_data, out_offsets)
    return TextView(out_data[: out_offsets[-1]].copy(), out_offsets)
