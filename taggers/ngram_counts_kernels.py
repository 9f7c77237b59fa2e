"""Distinct tokens and n-grams of evaluation items, counted by tables of hashes.

Legend: W tokens or n-grams, V different ones, I items, P parts of an item, T slots of a table, a power of two.
A sort of all tokens would tell as much, in ten times the time: most stand in many items.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.ngram_index_kernels import hash_ngram_kernel

_ONE = np.uint64(1)


@njit(**KERNEL)
def number_keys_kernel(keys, slots, out_numbers, out_firsts):
    """Numbers of equal keys, from 0 in the order of their first places; returns V.

    keys uint64 (W,), spread; slots int32 (T,) of 0, T >= 2 V; out_numbers int32 (W,), out_firsts int32 (>= V,): the first place of each
    Example: 7 5 7 9 are 0 1 0 2, first at 0 1 3.
    """
    mask = np.uint64(len(slots) - 1)
    num_keys = 0
    for i in range(len(keys)):
        slot = keys[i] & mask
        while slots[slot] != 0 and keys[out_firsts[slots[slot] - 1]] != keys[i]:
            slot = (slot + _ONE) & mask
        if slots[slot] == 0:
            out_firsts[num_keys] = i
            num_keys += 1
            slots[slot] = num_keys
        out_numbers[i] = slots[slot] - 1
    return num_keys


@njit(**KERNEL)
def count_words_kernel(numbers, offsets, stamps, out_distinct, out_items_with):
    """How many different words each item has, and how many items each word.

    numbers int32 (W,) of number_keys_kernel; offsets int64 (P, I + 1): part p of item i is numbers[offsets[p, i]:offsets[p, i + 1]]; stamps
    int64 (V,) of -1; out_distinct int64 (I,), out_items_with int64 (V,) of 0
    """
    for item in range(offsets.shape[1] - 1):
        num_words = 0
        for part in range(len(offsets)):
            for at in range(offsets[part, item], offsets[part, item + 1]):
                word = numbers[at]
                if stamps[word] != item:
                    stamps[word] = item
                    out_items_with[word] += 1
                    num_words += 1
        out_distinct[item] = num_words


@njit(**KERNEL)
def first_ngrams_kernel(tokens, offsets, ignored, length, table, stamps, out_items, out_hashes, out_places):
    """The different n-grams of each item at their first places, by item and place; returns how many.

    tokens uint64 (W,), offsets int64 (I + 1,), ignored bool (W,): n-grams, by their first token, that do not count
    table uint64 (T,), T >= 2 n-grams of an item; stamps int64 (T,) of -1; out_items, out_places int64 (<= W,), out_hashes uint64 (<= W,)
    """
    mask = np.uint64(len(table) - 1)
    num_grams = 0
    for item in range(len(offsets) - 1):
        for at in range(offsets[item], offsets[item + 1] - length + 1):
            if ignored[at]:
                continue
            key = hash_ngram_kernel(tokens, at, length)
            slot = key & mask
            while stamps[slot] == item and table[slot] != key:
                slot = (slot + _ONE) & mask
            if stamps[slot] == item:
                continue
            stamps[slot], table[slot] = item, key
            out_items[num_grams], out_hashes[num_grams], out_places[num_grams] = item, key, at - offsets[item]
            num_grams += 1
    return num_grams


@njit(**KERNEL)
def choose_seeds_kernel(weights, is_hot, offsets, most, most_hot, out_chosen):
    """The `most` heaviest n-grams of every item that are not hot; of an item that has hot ones alone, `most_hot`; of equal ones the first.

    weights float64 (G,), is_hot bool (G,), offsets int64 (I + 1,) of the items' n-grams, out_chosen bool (G,) of False. Cost: G `most`.
    """
    for item in range(len(offsets) - 1):
        first, end = offsets[item], offsets[item + 1]
        only_hot = True
        for gram in range(first, end):
            only_hot = only_hot and is_hot[gram]
        for _ in range(most_hot if only_hot else most):
            best = np.int64(-1)
            for gram in range(first, end):
                may = not out_chosen[gram] and (only_hot or not is_hot[gram])
                if may and (best < 0 or weights[gram] > weights[best]):
                    best = gram
            if best < 0:
                break
            out_chosen[best] = True


@njit(**KERNEL)
def order_grams_kernel(hashes, offsets, out_by_hash):
    """Numbers of each item's n-grams in the order of their hashes; hashes uint64 (K,), offsets int64 (I + 1,), out_by_hash int32 (K,)."""
    for item in range(len(offsets) - 1):
        first, end = offsets[item], offsets[item + 1]
        order = np.argsort(hashes[first:end])
        for k in range(end - first):
            out_by_hash[first + k] = first + order[k]
