"""Repeated word n-grams in the readings of datatrove, dolma and the Gopher paper, exact up to 64-bit hashes.

Legend: N documents, B bytes of all texts together, W words of one document, C capacity of the scratch arrays in words, T slots of
the hash table and of the sieve, powers of two, at least 4 C.

An n-gram can only repeat where both its first and its last n - 1 words repeat, so level n looks at the survivors of level n - 1
alone. Pairs are first counted in a sieve of small counters, which tells nearly all pairs that stand once; the rest goes through
the hash table. n-grams are named by the position of their first occurrence.

datatrove compares duplicated n-grams as strings without the spaces, so "1 12" equals "11 2": those are found over the stream of
the words' bytes, not word by word.

Source: datatrove 0.10.1 gopher_repetition_filter; dolma 1.2.1 taggers/gopher; Rae et al. 2021, section A.1.1.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import load64_kernel, mix64_kernel
from taggers.repetition_kernels import clear_table_kernel

_ODD = BASE = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_SHIFT = np.uint64(20)
_EIGHT = np.uint64(8)
# what a load past the last word may read
_SPARE_BYTES = 16
_MIN_STREAM_WORDS, _MAX_STREAM_WORDS = 5, 10


class NgramScratch(NamedTuple):
    """n-grams of one document."""

    grams: np.ndarray  # int32 (C,)     first occurrence of the n-gram at word i, -1 where it stands once
    counts: np.ndarray  # int32 (C,)     occurrences, at the first one
    positions: np.ndarray  # int32 (C,)     where n-grams of this level repeat, ascending
    char_sums: np.ndarray  # int64 (C + 1,) chars of the words before word i
    byte_sums: np.ndarray  # int64 (C + 1,) bytes of the words before word i
    stream: np.ndarray  # uint8 (C8,)    bytes of all words back to back, 16 spare ones at the end
    prefixes: np.ndarray  # uint64 (C + 1,) hash of the stream before word i
    powers: np.ndarray  # uint64 (C8,)   BASE ** i
    last_ends: np.ndarray  # int64 (C,)     for the n-gram at its first occurrence: where the last copy ended, in chars
    covered: np.ndarray  # int64 (C,)     chars that its copies cover
    keys: np.ndarray  # uint64 (T,)
    slots: np.ndarray  # int32 (T,)     1 + index of the first holder of the key; 0 is empty
    sieve: np.ndarray  # uint8 (T,)     how often a key fell here: 0, 1 or 2 for more


@njit(inline="always", **KERNEL_BORROWING)
def _sieve_kernel(sieve, num_keys):
    """Empty as many counters as num_keys keys need; returns the mask of that part."""
    size = 64
    while size < 4 * num_keys:
        size *= 2
    sieve[:size] = 0
    return np.uint64(size - 1)


@njit(inline="always", **KERNEL_BORROWING)
def _find_first_kernel(keys, slots, mask, key, index):
    """The index that first came with `key`, `index` itself when it is new; of keys whose upper bits are mixed already."""
    slot = key >> _SHIFT & mask
    while slots[slot] != 0:
        if keys[slot] == key:
            return slots[slot] - 1
        slot = (slot + _ONE) & mask
    keys[slot] = key
    slots[slot] = index + 1
    return index


@njit(**KERNEL_BORROWING_INNER)
def find_pairs_kernel(hashes, num_words, ngrams):
    """Level 2: fill grams, counts and positions from the words' hashes; returns the number of positions."""
    grams, counts, positions, sieve = ngrams.grams, ngrams.counts, ngrams.positions, ngrams.sieve
    mask = _sieve_kernel(sieve, num_words)
    for i in range(num_words - 1):
        slot = (hashes[i] * _ODD + hashes[i + 1]) >> _SHIFT & mask
        sieve[slot] += sieve[slot] < 2
    num_positions = 0
    for i in range(num_words):
        grams[i] = -1
    for i in range(num_words - 1):
        slot = (hashes[i] * _ODD + hashes[i + 1]) >> _SHIFT & mask
        if sieve[slot] > 1:
            positions[num_positions] = i
            num_positions += 1
    mask = clear_table_kernel(ngrams.slots, num_positions)
    for k in range(num_positions):
        i = positions[k]
        first = _find_first_kernel(ngrams.keys, ngrams.slots, mask, hashes[i] * _ODD + hashes[i + 1], i)
        counts[first] = 1 if first == i else counts[first] + 1
        grams[i] = first
    return _keep_repeated_kernel(num_positions, ngrams)


@njit(**KERNEL_BORROWING_INNER)
def lengthen_kernel(length, hashes, num_words, num_positions, ngrams):
    """From repeated (length - 1)-grams to repeated length-grams, in place; returns the number of positions left."""
    grams, counts, positions = ngrams.grams, ngrams.counts, ngrams.positions
    mask = clear_table_kernel(ngrams.slots, num_positions)
    for k in range(num_positions):
        i = positions[k]
        # grams[i + 1] still holds level length - 1: positions ascend
        if i + length > num_words or grams[i + 1] < 0:
            grams[i] = -1
            continue
        key = np.uint64(grams[i] + 1) * _ODD ^ hashes[i + length - 1]
        first = _find_first_kernel(ngrams.keys, ngrams.slots, mask, key, i)
        counts[first] = 1 if first == i else counts[first] + 1
        grams[i] = first
    return _keep_repeated_kernel(num_positions, ngrams)


@njit(**KERNEL_BORROWING_INNER)
def _keep_repeated_kernel(num_positions, ngrams):
    kept = 0
    for k in range(num_positions):
        i = ngrams.positions[k]
        if ngrams.grams[i] >= 0 and ngrams.counts[ngrams.grams[i]] > 1:
            ngrams.positions[kept] = i
            kept += 1
        else:
            ngrams.grams[i] = -1
    return kept


@njit(**KERNEL_BORROWING_INNER)
def first_top_chars_kernel(length, num_words, num_positions, space_chars, ngrams):
    """Chars of the most frequent n-gram times its count, the earliest of equals; one that stands once counts too.

    space_chars is what each space inside an n-gram adds: datatrove 1, dolma 0.
    """
    if num_words < length:
        return np.int64(0)
    best, count = np.int64(0), np.int64(1)
    for k in range(num_positions):
        i = ngrams.positions[k]
        if ngrams.grams[i] == i and ngrams.counts[i] > count:
            best, count = np.int64(i), np.int64(ngrams.counts[i])
    return count * (ngrams.char_sums[best + length] - ngrams.char_sums[best] + space_chars * (length - 1))


@njit(**KERNEL_BORROWING_INNER)
def all_copies_chars_kernel(length, num_positions, ngrams):
    """Chars of the words of all n-grams that repeat, each n-gram by itself: overlaps count again (dolma)."""
    chars = np.int64(0)
    for k in range(num_positions):
        i = ngrams.positions[k]
        chars += ngrams.char_sums[i + length] - ngrams.char_sums[i]
    return chars


@njit(**KERNEL_BORROWING_INNER)
def all_ngrams_chars_kernel(length, num_words, char_sums):
    """Chars of the words of all n-grams: "a bb ccc" has for length 2 the pairs "a bb" and "bb ccc", 3 + 5 chars."""
    windows = num_words - length + 1
    chars = np.int64(0)
    if windows < 1:
        return chars
    if windows <= 2 * length:
        for i in range(windows):
            chars += char_sums[i + length] - char_sums[i]
        return chars
    # a word in the middle lies in `length` of them, one near an end in fewer
    chars = length * char_sums[num_words]
    for k in range(length - 1):
        outer = char_sums[k + 1] - char_sums[k] + char_sums[num_words - k] - char_sums[num_words - k - 1]
        chars -= (length - 1 - k) * outer
    return chars


@njit(**KERNEL_BORROWING_INNER)
def covered_chars_kernel(length, num_positions, starts, ends, ngrams):
    """Chars of text, spaces inside included, that lie in any n-gram that repeats, each once; starts and ends of words in chars."""
    reached = chars = np.int64(0)
    for k in range(num_positions):
        i = ngrams.positions[k]
        begin, end = max(starts[i], reached), ends[i + length - 1]
        chars += end - begin
        reached = end
    return chars


@njit(**KERNEL_BORROWING_INNER)
def top_covered_chars_kernel(length, num_positions, starts, ends, ngrams):
    """Chars of text that the copies of the most frequent repeated n-gram cover, each once; of equals the one that covers most."""
    best = best_count = np.int64(0)
    for k in range(num_positions):
        i = ngrams.positions[k]
        first = ngrams.grams[i]
        if first == i:
            ngrams.covered[i] = 0
            ngrams.last_ends[i] = 0
        end = ends[i + length - 1]
        ngrams.covered[first] += end - max(starts[i], ngrams.last_ends[first])
        ngrams.last_ends[first] = end
    for k in range(num_positions):
        i = ngrams.positions[k]
        if ngrams.grams[i] == i:
            count, covered = np.int64(ngrams.counts[i]), ngrams.covered[i]
            if count > best_count or (count == best_count and covered > best):
                best, best_count = covered, count
    return best


@njit(**KERNEL_BORROWING_INNER)
def _fill_stream_kernel(data, words, num_words, ngrams):
    """Bytes of the words back to back, where each begins, and the hash of all before it: a polynomial of the bytes in BASE, modulo 2^64.

    So the hash of any row of words is a difference: prefixes[j] - prefixes[i] * powers[bytes between].
    """
    stream, prefixes = ngrams.stream, ngrams.prefixes
    at = np.int64(0)
    prefix = np.uint64(0)
    for i in range(num_words):
        ngrams.byte_sums[i], prefixes[i] = at, prefix
        for k in range(words.starts[i], words.ends[i]):
            stream[at] = data[k]
            prefix = prefix * BASE + np.uint64(data[k]) + _ONE
            at += 1
    ngrams.byte_sums[num_words], prefixes[num_words] = at, prefix
    stream[at : at + _SPARE_BYTES] = 0


@njit(inline="always", **KERNEL_BORROWING)
def _window_kernel(stream, at, num_loads):
    """Hash of 8 * num_loads bytes."""
    state = np.uint64(0)
    start = np.uint64(at)
    for _ in range(num_loads):
        state = mix64_kernel(state ^ load64_kernel(stream, start))
        start += _EIGHT
    return state


@njit(**KERNEL_BORROWING_INNER)
def _find_stream_candidates_kernel(num_words, ngrams):
    """Positions whose n-gram may equal another's as a string, and in ngrams.grams how far: 1 to 3 for 8, 16 or 32 bytes.

    Two n-grams that are equal begin with the same bytes, so one whose first 8 (16, 32) bytes begin at no other word can neither
    be a duplicate nor have one. Shorter n-grams are candidates always.
    """
    byte_sums, positions, sieve, reach = ngrams.byte_sums, ngrams.positions, ngrams.sieve, ngrams.grams
    total = byte_sums[num_words]
    num_positions = 0
    for i in range(num_words):
        reach[i] = 0
        if byte_sums[i] + 8 <= total:
            positions[num_positions] = i
            num_positions += 1
    for step in range(1, 4):
        num_loads = 1 << (step - 1)
        mask = _sieve_kernel(sieve, num_positions)
        for k in range(num_positions):
            slot = _window_kernel(ngrams.stream, byte_sums[positions[k]], num_loads) & mask
            sieve[slot] += sieve[slot] < 2
            ngrams.keys[k] = slot
        kept = 0
        for k in range(num_positions):
            i = positions[k]
            if sieve[ngrams.keys[k]] < 2:
                continue
            reach[i] = step
            # those that have as many bytes again go on
            if byte_sums[i] + 16 * num_loads <= total:
                positions[kept] = i
                kept += 1
        num_positions = kept
    num_positions = 0
    for i in range(num_words - _MIN_STREAM_WORDS + 1):
        if reach[i] > 0 or byte_sums[i + _MIN_STREAM_WORDS] - byte_sums[i] < 8:
            positions[num_positions] = i
            num_positions += 1
    return num_positions


@njit(**KERNEL_BORROWING_INNER)
def stream_duplicates_kernel(data, words, num_words, ngrams, out_chars):
    """Chars of the duplicated 5- to 10-grams as datatrove counts them, into out_chars (6,).

    From the left: an n-gram that equals an earlier one as a string counts and is stepped over as a whole, any other is kept for
    comparison and the next begins one word later. "a b c d e a b c d e a" has for 5-grams the second "abcde": 5 chars.
    """
    out_chars[:] = 0
    if num_words <= _MIN_STREAM_WORDS:
        return
    _fill_stream_kernel(data, words, num_words, ngrams)
    num_positions = _find_stream_candidates_kernel(num_words, ngrams)
    for length in range(_MIN_STREAM_WORDS, _MAX_STREAM_WORDS + 1):
        mask = clear_table_kernel(ngrams.slots, num_positions)
        chars = reached = np.int64(0)
        for k in range(num_positions):
            i = np.int64(ngrams.positions[k])
            if i < reached or i + length > num_words:
                continue
            size = ngrams.byte_sums[i + length] - ngrams.byte_sums[i]
            if ngrams.grams[i] < (size >= 8) + (size >= 16) + (size >= 32):
                continue
            # times an odd number, so that the last bytes reach the upper bits
            key = (ngrams.prefixes[i + length] - ngrams.prefixes[i] * ngrams.powers[size]) * _ODD
            if _find_first_kernel(ngrams.keys, ngrams.slots, mask, key, i) != i:
                chars += ngrams.char_sums[i + length] - ngrams.char_sums[i]
                reached = i + length
        out_chars[length - _MIN_STREAM_WORDS] = chars
