"""64-bit hashes of word n-grams, straight from the bytes of documents.

Legend: N documents, B bytes of all of them, W words, S shingles, n words per shingle.
A shingle is n words in a row; a document with 1 to n - 1 words is one shingle of all its words; a document without words has no
shingle (and therefore never meets another one by accident).

  word hash   h = num_bytes * K; for each 8 bytes b, zero padded: h = (h ^ b) * M, h = h ^ (h >> 32)
  shingle     mix64( w_1 K^(n-1) + w_2 K^(n-2) + ... + w_n ),  all modulo 2^64
The sum is kept rolling: two multiplications per shingle whatever n is (Karp, Rabin 1987). mix64 is splitmix64's finaliser.
Source: sets of word or token 5-grams, Olmo 3 A.2.2; documents shorter than n as in its released tool. The hash is our own.
"""

from __future__ import annotations

from dedup.normalise_kernels import find_document_words_kernel
from dolma_py.hashing_kernels import load64_kernel, mix64_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

WORD_FACTOR = np.uint64(0xD6E8FEB86659FD93)  # M: odd, from the search for good multipliers behind xmxmx mixers
ROLL_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # K: odd, 2^64 / golden ratio
U0, U1, U8, U32 = np.uint64(0), np.uint64(1), np.uint64(8), np.uint64(32)
ALL_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(**KERNEL)
def hash_word_kernel(data, start_byte, end_byte):
    """The word hash of data[start_byte:end_byte], at least one byte; data must be readable 8 bytes beyond the end."""
    at = np.uint64(start_byte)
    num_bytes = np.uint64(end_byte) - at
    state = num_bytes * ROLL_FACTOR
    while num_bytes > U8:
        state = (state ^ load64_kernel(data, at)) * WORD_FACTOR
        state ^= state >> U32
        at += U8
        num_bytes -= U8
    mask = ALL_ONES >> ((U8 - num_bytes) * U8)
    state = (state ^ (load64_kernel(data, at) & mask)) * WORD_FACTOR
    return state ^ (state >> U32)


@njit(**KERNEL)
def roll_kernel(item_hashes, num_items, n, out_shingles):
    """Shingle hashes of one document's items into out_shingles[0:]; returns how many.

    item_hashes uint64 (>= num_items,). Items may be words, characters or tokens. out_shingles may be item_hashes itself:
    shingle k needs items k and later only, and item k is read before shingle k is written.
    Example: 4 items and n = 3 give 2 shingles; 2 items give 1; none gives 0.
    """
    if num_items == 0:
        return 0
    width = min(n, num_items)
    highest = U1  # K^width
    state = U0
    for k in range(width):
        highest *= ROLL_FACTOR
        state = state * ROLL_FACTOR + item_hashes[k]
    for k in range(num_items - width):
        leaving = item_hashes[k]
        out_shingles[k] = mix64_kernel(state)
        state = state * ROLL_FACTOR + item_hashes[k + width] - leaving * highest
    out_shingles[num_items - width] = mix64_kernel(state)
    return num_items - width + 1


@njit(**KERNEL)
def shingle_texts_kernel(data, offsets, n, lower, kind, start, end, out_shingles):
    """Shingle hashes of N documents, one document after the other; returns their number.

    data uint8 (B,), offsets int64 (N + 1,); lower uint8 (longest + 8,), kind uint8 (longest + 1,), start and end
    int32 (longest // 2 + 2,) scratch; out_shingles is a pair: uint64 (>= (B + N) // 2 + 1,) and int64 (N + 1,) offsets
    Example: "a b c d", "a b" and "" with n = 3 give 2 + 1 + 0 shingles, offsets 0, 2, 3, 3.
    Cost: O(B) time, no memory. A document's scratch stays in the first cache levels, which is why words are not kept.
    """
    hashes, shingle_offsets = out_shingles
    total = 0
    shingle_offsets[0] = 0
    for i in range(len(offsets) - 1):
        num_words = find_document_words_kernel(data, offsets[i], offsets[i + 1], lower, kind, start, end)
        room = hashes[total:]
        for k in range(num_words):
            room[k] = hash_word_kernel(lower, start[k], end[k])
        total += roll_kernel(room, num_words, n, room)
        shingle_offsets[i + 1] = total
    return total


@njit(**KERNEL)
def shingle_items_kernel(item_hashes, item_offsets, n, out_shingles, out_offsets):
    """Shingle hashes of N documents given as item hashes uint64 (W,) with item_offsets int64 (N + 1,)."""
    total = 0
    out_offsets[0] = 0
    for i in range(len(item_offsets) - 1):
        first = item_offsets[i]
        total += roll_kernel(item_hashes[first:], item_offsets[i + 1] - first, n, out_shingles[total:])
        out_offsets[i + 1] = total


@njit(**KERNEL)
def unique_sets_kernel(shingles, offsets, out_hashes, out_offsets):
    """Each document's shingles as a sorted set; returns the number of hashes written.

    shingles uint64 (S,), offsets int64 (N + 1,), out_hashes uint64 (S,), out_offsets int64 (N + 1,)
    Example: one document 5, 3, 5 gives 3, 5. Cost: O(S log S).
    """
    total = 0
    out_offsets[0] = 0
    for i in range(len(offsets) - 1):
        ordered = np.sort(shingles[offsets[i] : offsets[i + 1]])
        for k in range(len(ordered)):
            if k == 0 or ordered[k] != ordered[k - 1]:
                out_hashes[total] = ordered[k]
                total += 1
        out_offsets[i + 1] = total
    return total
