"""Documents as sets of hashed word n-grams.

Legend: N documents, B bytes, W items (words, characters or tokens), S shingles, n items per shingle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedup.normalise import max_words, prepare_texts
from dedup.shingles_kernels import shingle_items_kernel, shingle_texts_kernel, unique_sets_kernel
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import check_offsets


class Shingles(NamedTuple):
    """Hashed n-grams of N documents."""

    hashes: npt.NDArray[np.uint64]  # uint64 (S,)
    offsets: npt.NDArray[np.int64]  # int64 (N + 1,)  document i owns hashes[offsets[i]:offsets[i + 1]]


def shingle_texts(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, num_words: int) -> Shingles:
    """Hashes of every `num_words` consecutive words of each document, in text order, repeats included.

    A document of fewer words is one shingle of all of them; a document without words has no shingle.

    Parameters
    ----------
    data : uint8 (B,)               UTF-8 texts or any bytes
    offsets : int64 (N + 1,)        text i is data[offsets[i]:offsets[i + 1]]
    num_words : int                 n >= 1; 5 for candidates and 3 for verification in Olmo 3 (there: tokens), A.2.2

    Returns
    -------
    shingles : Shingles             equal word sequences give equal hashes; unequal ones differ but with chance 2^-64

    Raises
    ------
    ConfigError                     num_words < 1
    SchemaError                     offsets fall or leave the data, a document of 2 GiB or more

    Guarantees                      same hashes for any batch split and machine
    Cost                            O(B) time; up to 4 bytes of address space per byte, 8 bytes per word touched
    """
    _check_num_items("num_words", num_words)
    data, offsets, scratch = prepare_texts(data, offsets)
    hashes, shingle_offsets = np.empty(max_words(offsets), np.uint64), np.empty(len(offsets), np.int64)
    total = shingle_texts_kernel(data, offsets, num_words, *scratch, (hashes, shingle_offsets))
    return Shingles(hashes[:total], shingle_offsets)


def shingle_items(
    item_hashes: npt.NDArray[np.uint64], item_offsets: npt.NDArray[np.int64], *, num_items: int
) -> Shingles:
    """Hashes of every `num_items` consecutive items (characters, tokens: any uint64 hashes); rules as shingle_texts."""
    _check_num_items("num_items", num_items)
    if item_hashes.dtype != np.uint64:
        raise SchemaError("item_hashes", "uint64", item_hashes.dtype)
    check_offsets(len(item_hashes), item_offsets, "item_offsets")
    hashes, offsets = np.empty(len(item_hashes), np.uint64), np.empty(len(item_offsets), np.int64)
    shingle_items_kernel(item_hashes, np.ascontiguousarray(item_offsets, np.int64), num_items, hashes, offsets)
    return Shingles(hashes[: offsets[-1]], offsets)


def unique_sets(shingles: Shingles) -> Shingles:
    """Each document's shingles as a sorted set without repeats: the form that verification compares."""
    check_offsets(len(shingles.hashes), shingles.offsets)
    hashes, offsets = np.empty(len(shingles.hashes), np.uint64), np.empty(len(shingles.offsets), np.int64)
    total = unique_sets_kernel(shingles.hashes, shingles.offsets, hashes, offsets)
    return Shingles(hashes[:total], offsets)


def shingle_sets(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, num_words: int) -> Shingles:
    """unique_sets of shingle_texts: what a document is for exact Jaccard similarity."""
    return unique_sets(shingle_texts(data, offsets, num_words=num_words))


def _check_num_items(key: str, value: int) -> None:
    if value < 1:
        raise ConfigError(key, value, "expected at least 1", "5 is Olmo 3's for candidates, 3 for verification.")
