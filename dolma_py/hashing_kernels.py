"""64-bit hashes of byte ranges and integers: xxh64 and the splitmix64 finaliser, for use inside other kernels.

Legend: N ranges (texts, words, shingles), B bytes.
Source: xxHash specification 0.1.1, section "XXH64 algorithm description" (Y. Collet); splitmix64: Steele, Lea, Flood,
"Fast splittable pseudorandom number generators" 2014, figure 16. Deviation: none; equality with the xxhash package is tested.

All arithmetic is modulo 2^64. numba types uint64 + 1 as int64, so every constant is an np.uint64 and every position that
is used to load words is an np.uint64 too (an unsigned index also spares numba's test for negative indices).
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

PRIME_1 = np.uint64(0x9E3779B185EBCA87)
PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
PRIME_3 = np.uint64(0x165667B19E3779F9)
PRIME_4 = np.uint64(0x85EBCA77C2B2AE63)
PRIME_5 = np.uint64(0x27D4EB2F165667C5)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)

U0, U1, U2, U3, U4, U5, U6, U7 = (np.uint64(value) for value in range(8))
U8, U11, U12, U16, U18, U23, U24, U27 = (np.uint64(value) for value in (8, 11, 12, 16, 18, 23, 24, 27))
U29, U30, U31, U32, U33, U40, U48, U56, U64 = (np.uint64(value) for value in (29, 30, 31, 32, 33, 40, 48, 56, 64))


@njit(**KERNEL)
def mix64_kernel(key: np.uint64) -> np.uint64:
    """The splitmix64 finaliser, a bijection of 64-bit integers: mix64_kernel(0) == 0xE220A8397B1DCDAF."""
    state = key + GOLDEN
    state = (state ^ (state >> U30)) * MIX_1
    state = (state ^ (state >> U27)) * MIX_2
    return state ^ (state >> U31)


@njit(**KERNEL)
def rotate_left_kernel(value: np.uint64, num_bits: np.uint64) -> np.uint64:
    """`value` rotated by 0 < num_bits < 64."""
    return (value << num_bits) | (value >> (U64 - num_bits))


@njit(**KERNEL)
def load32_kernel(data: np.ndarray, at: np.uint64) -> np.uint64:
    """The little-endian number in data[at:at + 4]; the compiler makes one load of it."""
    return (
        np.uint64(data[at])
        | np.uint64(data[at + U1]) << U8
        | np.uint64(data[at + U2]) << U16
        | np.uint64(data[at + U3]) << U24
    )


@njit(**KERNEL)
def load64_kernel(data: np.ndarray, at: np.uint64) -> np.uint64:
    """The little-endian number in data[at:at + 8]; the compiler makes one load of it."""
    return (
        np.uint64(data[at])
        | np.uint64(data[at + U1]) << U8
        | np.uint64(data[at + U2]) << U16
        | np.uint64(data[at + U3]) << U24
        | np.uint64(data[at + U4]) << U32
        | np.uint64(data[at + U5]) << U40
        | np.uint64(data[at + U6]) << U48
        | np.uint64(data[at + U7]) << U56
    )


@njit(**KERNEL)
def round_kernel(lane: np.uint64, value: np.uint64) -> np.uint64:
    """One xxh64 accumulation step."""
    return rotate_left_kernel(lane + value * PRIME_2, U31) * PRIME_1


@njit(**KERNEL)
def merge_kernel(state: np.uint64, lane: np.uint64) -> np.uint64:
    """One of the four lanes folded into the state."""
    return (state ^ round_kernel(U0, lane)) * PRIME_1 + PRIME_4


@njit(**KERNEL)
def xxh64_kernel(data: np.ndarray, start_byte: int, end_byte: int, seed: np.uint64) -> np.uint64:
    """xxh64 of data[start_byte:end_byte]: the three bytes b"abc" with seed 0 give 0x44BC2CF5AD770999."""
    at = np.uint64(start_byte)
    end = np.uint64(end_byte)
    num_bytes = end - at
    if num_bytes >= U32:
        lane_1 = seed + PRIME_1 + PRIME_2
        lane_2 = seed + PRIME_2
        lane_3 = seed
        lane_4 = seed - PRIME_1
        while at + U32 <= end:
            lane_1 = round_kernel(lane_1, load64_kernel(data, at))
            lane_2 = round_kernel(lane_2, load64_kernel(data, at + U8))
            lane_3 = round_kernel(lane_3, load64_kernel(data, at + U16))
            lane_4 = round_kernel(lane_4, load64_kernel(data, at + U24))
            at += U32
        state = rotate_left_kernel(lane_1, U1) + rotate_left_kernel(lane_2, U7)
        state += rotate_left_kernel(lane_3, U12) + rotate_left_kernel(lane_4, U18)
        state = merge_kernel(state, lane_1)
        state = merge_kernel(state, lane_2)
        state = merge_kernel(state, lane_3)
        state = merge_kernel(state, lane_4)
    else:
        state = seed + PRIME_5
    state += num_bytes
    while at + U8 <= end:
        state = rotate_left_kernel(state ^ round_kernel(U0, load64_kernel(data, at)), U27) * PRIME_1 + PRIME_4
        at += U8
    if at + U4 <= end:
        state = rotate_left_kernel(state ^ load32_kernel(data, at) * PRIME_1, U23) * PRIME_2 + PRIME_3
        at += U4
    while at < end:
        state = rotate_left_kernel(state ^ np.uint64(data[at]) * PRIME_5, U11) * PRIME_1
        at += U1
    state = (state ^ (state >> U33)) * PRIME_2
    state = (state ^ (state >> U29)) * PRIME_3
    return state ^ (state >> U32)


@njit(**KERNEL)
def hash_ranges_kernel(data, start_byte, end_byte, seed, out_hashes):
    """xxh64 of the N ranges data[start_byte[i]:end_byte[i]].

    data uint8 (B,), start_byte and end_byte int64 (N,), seed uint64, out_hashes uint64 (N,)
    Example: data b"abcabc", ranges (0, 3), (3, 6), (2, 2) give 0x44BC2CF5AD770999 twice, then 0xEF46DB3751D8E999 (no bytes).
    Cost: O(bytes hashed + N), no memory.
    """
    for i in range(len(out_hashes)):
        out_hashes[i] = xxh64_kernel(data, start_byte[i], end_byte[i], seed)


@njit(**KERNEL)
def mix_keys_kernel(keys, salt, out_keys):
    """out_keys[i] = mix64(keys[i] ^ salt); keys and out_keys uint64 (N,), salt uint64. Example: key 0, salt 0: 0xE220A8397B1DCDAF."""
    for i in range(len(keys)):
        out_keys[i] = mix64_kernel(keys[i] ^ salt)
