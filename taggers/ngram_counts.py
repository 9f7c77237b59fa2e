"""What evaluation items are made of: numbers of their different tokens, n-grams at their first places, idf.

Legend: W tokens, I items, G n-grams.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from taggers import ngram_counts_kernels as kernels
from taggers.ngram_tokens import Int64, UInt64

Bools = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


class Ngrams(NamedTuple):
    """Distinct n-grams of every item, by item and first place."""

    items: Int64  # int64 (G,)
    hashes: UInt64  # uint64 (G,)
    places: Int64  # int64 (G,)  first token in the item


def number_keys(keys: UInt64) -> tuple[Int32, int]:
    """(int32 (W,): the same number from 0 for equal keys, how many different ones). Hashes, not small numbers: they are their slots."""
    slots = np.zeros(_count_slots(len(keys)), np.int32)
    numbers, firsts = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
    return numbers, kernels.number_keys_kernel(keys, slots, numbers, firsts)


def count_distinct(parts: list[tuple[UInt64, Int64]]) -> Int64:
    """int64 (I,): different tokens of each item in all its parts, (tokens, offsets) each."""
    return _count_words(parts)[0]


def weigh_tokens(tokens: UInt64, offsets: Int64) -> Float64:
    """float64 (W,): idf of each token among the items."""
    _, items_with, numbers = _count_words([(tokens, offsets)])
    return idf(items_with, len(offsets) - 1)[numbers]


def _count_words(parts: list[tuple[UInt64, Int64]]) -> tuple[Int64, Int64, Int32]:
    """(different words of each item, items of each word, the word of each token)."""
    begins = np.cumsum([0, *(len(tokens) for tokens, _ in parts)])
    numbers, num_words = number_keys(np.concatenate([tokens for tokens, _ in parts]))
    places = np.stack([offsets + begin for (_, offsets), begin in zip(parts, begins.tolist(), strict=False)])
    distinct, items_with = np.empty(places.shape[1] - 1, np.int64), np.zeros(num_words, np.int64)
    kernels.count_words_kernel(numbers, places, np.full(num_words, -1, np.int64), distinct, items_with)
    return distinct, items_with, numbers


def first_ngrams(tokens: UInt64, offsets: Int64, length: int, ignored: Bools) -> Ngrams:
    """The distinct n-grams of every item that are not ignored, by item and first place; ignored bool (W,): by their first token."""
    num_slots = _count_slots(int(np.diff(offsets).max(initial=0)))
    table, stamps = np.empty(num_slots, np.uint64), np.full(num_slots, -1, np.int64)
    room = len(tokens)
    grams = Ngrams(np.empty(room, np.int64), np.empty(room, np.uint64), np.empty(room, np.int64))
    count = kernels.first_ngrams_kernel(tokens, offsets, ignored, length, table, stamps, *grams)
    return Ngrams(*(values[:count].copy() for values in grams))


def choose_seeds(
    grams: Ngrams, weights: Float64, num_items: int, *, most: int, hot_items: int, most_hot: int
) -> Ngrams:
    """The `most` n-grams of every item that weigh most, of equal ones the first; of those that more than `hot_items` items have only
    `most_hot`, and only where there are no others.
    """
    numbers, num_keys = number_keys(grams.hashes)
    is_hot = (np.bincount(numbers, minlength=num_keys) > hot_items)[numbers]
    chosen = np.zeros(len(weights), bool)
    kernels.choose_seeds_kernel(weights, is_hot, offsets_of(grams.items, num_items), most, most_hot, chosen)
    return Ngrams(*(values[chosen] for values in grams))


def order_grams(hashes: UInt64, offsets: Int64) -> Int32:
    """int32 (G,): numbers of each item's n-grams in the order of their hashes."""
    order = np.empty(len(hashes), np.int32)
    kernels.order_grams_kernel(hashes, offsets, order)
    return order


def offsets_of(groups: Int64 | Int32, num_groups: int) -> Int64:
    """int64 (groups + 1,): where each group's members begin, once they are in order."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(groups, minlength=num_groups))])


def idf(items_with: Int64, num_items: int) -> Float64:
    """ln((num_items + 1) / items_with) by the C library: numpy's own logarithm differs between processors in the last bit."""
    counts = np.bincount(items_with) if len(items_with) else np.zeros(0, np.int64)
    by_count = np.zeros(len(counts), np.float64)
    for count in np.flatnonzero(counts).tolist():
        by_count[count] = math.log((num_items + 1) / count)
    return by_count[items_with]


def _count_slots(num_keys: int) -> int:
    return 1 << max(2 * num_keys, 1).bit_length()
