"""ASCII letters eight bytes at a time: which bytes are letters, how many lead, how many are capitals, whether they are a stop word.

A block is eight bytes of text as one little-endian number. What is marked in it is bit 7 of a byte.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_BORROWING

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import load64_kernel, mix64_kernel
from taggers.stop_words import PACKED_STOP_WORDS

_SPACE = 32
_NO_BITS, _ONE = np.uint64(0), np.uint64(1)
_SHIFT_2, _SHIFT_3, _SHIFT_7, _SHIFT_56, _SIXTY_FOUR = (np.uint64(shift) for shift in (2, 3, 7, 56, 64))
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)
_EACH_BYTE = np.uint64(0x0101010101010101)
_BIT_5, _BIT_7 = np.uint64(0x2020202020202020), np.uint64(0x8080808080808080)
_TO_A, _TO_Z = np.uint64(0x1F1F1F1F1F1F1F1F), np.uint64(0x0505050505050505)  # 0x61 and 0x7B, plus these, reach bit 7
_COUNT_DOWN = np.uint64(0x0001020304050607)
_STOP_SHIFT = np.uint64(60)


def _stop_table() -> tuple[np.ndarray, np.uint64]:
    """(uint64 (16,), factor): each stop word as a number, at the top four bits of its product with the factor."""
    keys = PACKED_STOP_WORDS
    factor = 0x9E3779B97F4A7C15
    while len({key * factor % 2**64 >> 60 for key in keys}) < len(keys):
        factor = factor * 0x5851F42D4C957F2D % 2**64  # any odd number would do; a few steps suffice
    table = np.zeros(16, np.uint64)
    for key in keys:
        table[key * factor % 2**64 >> 60] = key
    return table, np.uint64(factor)


_STOP_WORDS, _STOP_FACTOR = _stop_table()


def _letters() -> np.ndarray:
    """uint8 (256,): 1 for a-z, 3 for A-Z, 0 for all other bytes."""
    table = np.zeros(256, np.uint8)
    table[97:123] = 1
    table[65:91] = 3
    return table


LETTERS = _letters()


@njit(inline="always", **KERNEL)
def find_letters_kernel(block):
    """Bit 7 of each byte of an 8-byte block that is an ASCII letter."""
    low = (block | _BIT_5) & ~_BIT_7
    return (low + _TO_A) & ~(low + _TO_Z) & ~block & _BIT_7


@njit(inline="always", **KERNEL)
def count_leading_kernel(bits):
    """How many of eight bytes, from the first, have bit 7 set in `bits`, which has no other bits."""
    rest = bits ^ _BIT_7
    if rest == _NO_BITS:
        return np.int64(8)
    # the lowest bit alone, as 1 << 8 k, moves k to the top byte of a number whose bytes count down
    return np.int64((((rest & (~rest + _ONE)) >> _SHIFT_7) * _COUNT_DOWN) >> _SHIFT_56)


@njit(inline="always", **KERNEL)
def keep_bytes_kernel(run):
    """All bits of the first `run` of eight bytes; run: 1 to 8."""
    return _ALL_BITS >> (_SIXTY_FOUR - (np.uint64(run) << _SHIFT_3))


@njit(inline="always", **KERNEL)
def count_capitals_kernel(block, letters, run):
    """Upper-case ones among the first `run` of eight bytes, whose ASCII letters are marked in `letters`; run: 1 to 8."""
    capitals = letters & ~(block << _SHIFT_2) & keep_bytes_kernel(run)
    return np.int64(((capitals >> _SHIFT_7) * _EACH_BYTE) >> _SHIFT_56)


@njit(inline="always", **KERNEL_BORROWING)
def read_word_kernel(data, at, end):
    """The word of at most eight ASCII letters at data[at], where a space or `end` stands behind it and eight bytes can be read.

    Returns (its letters, its hash as of repetition_kernels.hash_word_kernel, capitals, whether it is a stop word); 0 letters where there is none.
    """
    if not LETTERS[data[at]] or at > len(data) - 8:
        return np.int64(0), _NO_BITS, np.int64(0), False
    block = load64_kernel(data, np.uint64(at))
    letters = find_letters_kernel(block)
    run = min(count_leading_kernel(letters), end - at)
    if at + run < end and data[at + run] != _SPACE:
        return np.int64(0), _NO_BITS, np.int64(0), False
    mask = keep_bytes_kernel(run)
    word_hash = mix64_kernel(mix64_kernel(block & mask) ^ (np.uint64(run) << _SHIFT_56))
    lower = (block | _BIT_5) & mask
    is_stop = _STOP_WORDS[(lower * _STOP_FACTOR) >> _STOP_SHIFT] == lower
    return run, word_hash, count_capitals_kernel(block, letters, run), is_stop
