"""The dictionary of a fastText file as arrays, and the hash table in which words are looked up.

Legend: V entries (words, then labels), S slots of the hash table, a power of two.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

# of a slot: hash of the word above, number of the entry + 1 below; 0: free
ENTRY_BITS = np.uint64(32)
ENTRY_MASK = np.uint64(0xFFFFFFFF)
KEY_BYTES = 8
# slots that a search looks at: tables are at most two thirds full, where chance needs some 200 for ten million words; a file that is made
# to collide is refused, and a lookup in one whose entries stand side by side ends
MAX_PROBES = 1 << 10
BUCKET_FACTOR = 2654435761  # of the table of kept buckets
_HASH_START = np.uint64(2166136261)
_HASH_FACTOR = np.uint64(16777619)
_HIGH_BYTES = np.uint64(0xFFFFFF00)


@njit(inline="always", **KERNEL)
def hash_byte_kernel(value, byte):
    """fastText's FNV-1a step: 32 bits in a uint64. A byte of 128 or more is taken for negative, as its signed chars are."""
    wide = np.uint64(byte)
    if byte >= 0x80:
        wide |= _HIGH_BYTES
    return ((value ^ wide) * _HASH_FACTOR) & ENTRY_MASK


@njit(**KERNEL)
def read_entries_kernel(data, num_entries, starts, ends, kinds):
    """Split the dictionary part of a file: each entry is a word, a NUL, int64 count, int8 kind (0 word, 1 label).

    Parameters
    ----------
    data : uint8 (B,)           the file from the first entry on; may hold more behind the dictionary
    starts, ends : int64 (V,)   filled: entry i is data[starts[i]:ends[i]]
    kinds : int8 (V,)           filled

    Returns
    -------
    The first byte behind the dictionary; -1 when the data end inside it.
    """
    place = 0
    for entry in range(num_entries):
        start = place
        while place < len(data) and data[place] != 0:
            place += 1
        if place + 10 > len(data):
            return -1
        starts[entry], ends[entry] = start, place
        kinds[entry] = data[place + 9]
        place += 10
    return place


@njit(**KERNEL)
def fill_slots_kernel(words, starts, ends, slots):
    """Enter every word under its hash, in order; of equal ones the last, as fastText's reader does.

    Parameters
    ----------
    words : uint8 (B,)          bytes of all entries
    starts, ends : int64 (V,)   entry i is words[starts[i]:ends[i]]
    slots : uint64 (S, 2)       zeros; filled: hash and entry + 1, first eight bytes of the word (little-endian, zeros behind it)

    Returns
    -------
    -1, or the first entry that finds no place in MAX_PROBES slots
    """
    mask = np.uint64(len(slots) - 1)
    for entry in range(len(starts)):
        value, key = _HASH_START, np.uint64(0)
        for i in range(starts[entry], ends[entry]):
            value = hash_byte_kernel(value, words[i])
            if i - starts[entry] < KEY_BYTES:
                key |= np.uint64(words[i]) << np.uint64(8 * (i - starts[entry]))
        slot = value & mask
        placed = False
        for _ in range(MAX_PROBES):
            head = slots[slot, 0]
            placed = head == np.uint64(0)
            if not placed and head >> ENTRY_BITS == value and slots[slot, 1] == key:
                other = np.int64(head & ENTRY_MASK) - 1
                placed = ends[other] - starts[other] == ends[entry] - starts[entry]
                i = KEY_BYTES
                while placed and i < ends[entry] - starts[entry]:
                    placed = words[starts[other] + i] == words[starts[entry] + i]
                    i += 1
            if placed:
                break
            slot = (slot + np.uint64(1)) & mask
        if not placed:
            return np.int64(entry)
        slots[slot, 0] = value << ENTRY_BITS | np.uint64(entry + 1)
        slots[slot, 1] = key
    return np.int64(-1)


@njit(**KERNEL)
def fill_buckets_kernel(pairs, table):
    """Enter kept buckets, by open addressing from bucket * BUCKET_FACTOR.

    Parameters
    ----------
    pairs : int32 (P, 2)        bucket and its row behind the words
    table : int32 (T, 2)        zeros; filled: bucket + 1 and its row; T a power of two above 2 P

    Returns
    -------
    -1, or the first pair whose bucket is there already or finds no place in MAX_PROBES slots
    """
    mask = len(table) - 1
    for pair in range(len(pairs)):
        bucket = np.int64(pairs[pair, 0])
        slot = (bucket * BUCKET_FACTOR) & mask
        probes = 0
        while probes < MAX_PROBES and table[slot, 0] != 0 and table[slot, 0] != bucket + 1:
            slot = (slot + 1) & mask
            probes += 1
        if probes == MAX_PROBES or table[slot, 0] != 0:
            return np.int64(pair)
        table[slot, 0] = bucket + 1
        table[slot, 1] = pairs[pair, 1]
    return np.int64(-1)
