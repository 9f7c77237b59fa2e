"""The inverted index of evaluation items: hashes of n-grams, and the look-up of one.

Legend: I items, O owners of entries (items; where they are aligned different questions), G distinct n-grams of all questions, E entries:
one per (owner, distinct n-gram of its question, or seed), ordered by owner and then by place in the question, K distinct n-grams of one
other part (answers or passages) of the items, ordered likewise.

Tiers. decon has two: the hash of an n-gram leads to a number, the number to the items that have it. Here they are slots and keys, and
postings. In front of them stands a filter of bits, small enough for a core's own cache: one bit for each n-gram, at its hash. Nearly
all n-grams of a corpus are in no item, and nine of ten of those end at the filter.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import mix64_kernel

_ONE, _THREE, _SEVEN = np.uint64(1), np.uint64(3), np.uint64(7)
_NGRAM_SEED = np.uint64(0x6E6772616D)
NGRAM_BASE = np.uint64(0xBF58476D1CE4E5B9)  # odd


class Grams(NamedTuple):
    """n-grams of the items' answers or passages."""

    offsets: np.ndarray  # int64 (I + 1,)  n-grams of item i in the next two
    hashes: np.ndarray  # uint64 (K,)
    idf: np.ndarray  # float64 (K,)   ln((I + 1) / items with it in this part)
    by_hash: np.ndarray  # int32 (K,)     within each item, its n-grams' numbers in the order of their hashes


class Index(NamedTuple):
    """Items as arrays; built by taggers.ngram_index.build_index."""

    filter: np.ndarray  # uint8 (F / 8,)  F bits, one set for each n-gram
    filter_shift: np.uint64  # hash >> filter_shift is the bit of an n-gram
    passage_filter: np.ndarray  # uint8        likewise for n-grams of the passages
    passage_filter_shift: np.uint64
    slots: np.ndarray  # int32 (T,)      1 + n-gram number, open addressing; T a power of two
    keys: np.ndarray  # uint64 (G,)      hash of each n-gram
    idf: np.ndarray  # float64 (G,)      ln((I + 1) / items with it)
    posting_offsets: (
        np.ndarray
    )  # int64 (G + 1,)  entries of n-gram g: postings[posting_offsets[g]:posting_offsets[g + 1]]
    postings: np.ndarray  # int32 (E,)
    entry_ngrams: np.ndarray  # int32 (E,)
    entry_owners: np.ndarray  # int32 (E,)    the item; aligned: the question, which several items may have
    entry_places: np.ndarray  # int32 (E,)    first token of the n-gram in the question
    entry_offsets: np.ndarray  # int64 (O + 1,)  entries of owner o
    item_idf: np.ndarray  # float64 (O,)     sum of idf over the owner's entries
    token_offsets: np.ndarray  # int64 (I + 1,)  question tokens of item i in the next two
    owner_offsets: np.ndarray  # int64 (O + 1,)  items of owner o in the next; aligned: those whose questions are the same, with the same weights
    owner_items: np.ndarray  # int32 (I,)    ascending within an owner
    question_tokens: np.ndarray  # uint64
    token_idf: np.ndarray  # float64          ln((I + 1) / questions with the token); 0 in a common phrase
    answer_offsets: np.ndarray  # int64 (I + 1,)  answer tokens of item i in answer_tokens
    answer_tokens: np.ndarray  # uint64
    answer_idf: np.ndarray  # float64          ln((I + 1) / answers with the token)
    final_offsets: np.ndarray  # int64 (I + 1,)  tokens of the final answer that a long answer ends in, in final_tokens
    final_tokens: np.ndarray  # uint64
    passage_tokens: np.ndarray  # int64 (I,)       tokens of its passage
    answer_grams: Grams  # of long answers
    passage_grams: Grams
    weights: np.ndarray  # float64 (I, 3)   of question, answer and passage; add up to 1
    needed: np.ndarray  # float64 (I,)     raw score that contaminates
    least_overlap: np.ndarray  # float64 (I,)     of the question; less ends the scoring
    needed_alone: (
        np.ndarray
    )  # float64 (I,)     aligned: overlap of the question that contaminates without its answer; above 1: none


@njit(**KERNEL)
def hash_ngram_kernel(tokens, position, length):
    """Hash of tokens[position:position + length]: equal tokens in equal order give equal hashes.

    mix64 of seed + t_0 b^(n - 1) + t_1 b^(n - 2) + ... + t_(n - 1) modulo 2^64, b = NGRAM_BASE: a hash that can roll.
    """
    value = np.uint64(0)
    for i in range(position, position + length):
        value = value * NGRAM_BASE + tokens[i]
    return mix64_kernel(value + _NGRAM_SEED)


@njit(**KERNEL)
def roll_kernel(value, tokens, position, length, power):
    """The sum of the n-gram at `position` from `value`, that of the one before it; power = NGRAM_BASE^length. Not mixed yet."""
    return value * NGRAM_BASE + tokens[position + length - 1] - tokens[position - 1] * power


@njit(**KERNEL)
def sum_ngram_kernel(tokens, length):
    """(the sum of hash_ngram_kernel before mixing for the n-gram at 0, NGRAM_BASE^length): where rolling starts."""
    value, power = np.uint64(0), np.uint64(1)
    for i in range(length):
        value = value * NGRAM_BASE + tokens[i]
        power = power * NGRAM_BASE
    return value, power


@njit(**KERNEL)
def build_slots_kernel(keys, out_slots):
    """Fill an empty open-addressing table: out_slots[s] is 1 + the index of the key that ended in slot s."""
    mask = np.uint64(len(out_slots) - 1)
    for i in range(len(keys)):
        slot = keys[i] & mask
        while out_slots[slot] != 0:
            slot = (slot + _ONE) & mask
        out_slots[slot] = i + 1


@njit(**KERNEL)
def build_filter_kernel(keys, shift, out_filter):
    """Set the bit of every key in a filter."""
    for key in keys:
        bit = key >> shift
        out_filter[bit >> _THREE] |= np.uint8(_ONE << (bit & _SEVEN))


@njit(**KERNEL_INNER)
def has_bit_kernel(key, bit_filter, shift):
    """Whether the key's bit is set: always for one that is among the filter's."""
    bit = key >> shift
    return (np.uint64(bit_filter[bit >> _THREE]) >> (bit & _SEVEN)) & _ONE != np.uint64(0)


@njit(**KERNEL)
def find_key_kernel(key, index):
    """Number of the n-gram with this hash, or -1 when no item has it."""
    if not has_bit_kernel(key, index.filter, index.filter_shift):
        return np.int64(-1)
    mask = np.uint64(len(index.slots) - 1)
    slot = key & mask
    while index.slots[slot] != 0:
        ngram = np.int64(index.slots[slot]) - 1
        if index.keys[ngram] == key:
            return ngram
        slot = (slot + _ONE) & mask
    return np.int64(-1)


@njit(**KERNEL)
def find_rolled_kernel(value, index):
    """find_key_kernel for a sum of roll_kernel."""
    return find_key_kernel(mix64_kernel(value + _NGRAM_SEED), index)


@njit(**KERNEL)
def find_ngram_kernel(tokens, position, length, index):
    """Number of the n-gram at `position`, or -1 when no item has it."""
    return find_key_kernel(hash_ngram_kernel(tokens, position, length), index)


@njit(**KERNEL)
def find_gram_kernel(key, item, grams):
    """Number of the item's n-gram with this hash among `grams`, or -1."""
    low, high = grams.offsets[item], grams.offsets[item + 1]
    last = high
    while low < high:
        middle = (low + high) // 2
        if grams.hashes[grams.by_hash[middle]] < key:
            low = middle + 1
        else:
            high = middle
    if low < last and grams.hashes[grams.by_hash[low]] == key:
        return np.int64(grams.by_hash[low])
    return np.int64(-1)
