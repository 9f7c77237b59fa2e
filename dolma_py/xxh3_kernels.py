"""xxh3-128 of byte ranges, for use inside other kernels: no Python call per text, line or paragraph.

Legend: N ranges, B bytes. A 128-bit hash is two uint64, high and low.
Source: xxHash specification 0.2.0, chapter "XXH3 algorithm overview" (Y. Collet), default secret, seed 0. Deviation: none; equality
with the xxhash package is tested at every length around each of its borders.

All arithmetic is modulo 2^64, see hashing_kernels for why every constant is an np.uint64.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.hashing_kernels import PRIME_1, PRIME_2, PRIME_3, PRIME_4, PRIME_5, load32_kernel, load64_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

# the 192 bytes of the specification's default secret
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a"
    "51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8f"
    "f8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
# the little-endian word that starts at each byte of it: SECRET[k] is bytes k to k + 8
SECRET = np.array([int.from_bytes(_SECRET[at : at + 8], "little") for at in range(185)], np.uint64)

PRIME32_1 = np.uint64(0x9E3779B1)
PRIME32_2 = np.uint64(0x85EBCA77)
PRIME32_3 = np.uint64(0xC2B2AE3D)
MIX_1 = np.uint64(0x165667919E3779F9)
MIX_2 = np.uint64(0x9FB21C651E98DF25)
LOW_32 = np.uint64(0xFFFFFFFF)
LOW_8, LOW_16 = np.uint64(0xFF00FF00FF00FF00), np.uint64(0xFFFF0000FFFF0000)
HIGH_8, HIGH_16 = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)

U0, U1, U2, U3, U4, U5, U6, U7, U8 = (np.uint64(value) for value in range(9))
U13, U16, U19, U24, U28, U29, U32, U33 = (np.uint64(value) for value in (13, 16, 19, 24, 28, 29, 32, 33))
U35, U37, U40, U47, U48, U54, U56, U64 = (np.uint64(value) for value in (35, 37, 40, 47, 48, 54, 56, 64))
U96, U128, U160, U240, U1024 = (np.uint64(value) for value in (96, 128, 160, 240, 1024))


@njit(**KERNEL)
def swap64_kernel(value):
    """The 8 bytes in the other order: 1 gives 2^56."""
    value = ((value & LOW_8) >> U8) | ((value & HIGH_8) << U8)
    value = ((value & LOW_16) >> U16) | ((value & HIGH_16) << U16)
    return (value >> U32) | (value << U32)


@njit(**KERNEL)
def multiply_high_kernel(left, right):
    """The upper 64 bits of the product: 2^63 and 6 give 3."""
    left_low, left_high, right_low, right_high = left & LOW_32, left >> U32, right & LOW_32, right >> U32
    low_low = left_low * right_low
    high_low = left_high * right_low
    cross = (low_low >> U32) + (high_low & LOW_32) + left_low * right_high
    return (high_low >> U32) + (cross >> U32) + left_high * right_high


@njit(**KERNEL)
def fold_kernel(left, right):
    """Both halves of the 128-bit product, one xor the other."""
    return (left * right) ^ multiply_high_kernel(left, right)


@njit(**KERNEL)
def finish_kernel(state):
    """The finaliser of XXH3."""
    state = (state ^ (state >> U37)) * MIX_1
    return state ^ (state >> U32)


@njit(**KERNEL)
def finish_xxh64_kernel(state):
    """The finaliser of xxh64, used up to three bytes."""
    state = (state ^ (state >> U33)) * PRIME_2
    state = (state ^ (state >> U29)) * PRIME_3
    return state ^ (state >> U32)


@njit(**KERNEL)
def hash_0_to_3_kernel(data, at, num_bytes):
    """(high, low) of at most three bytes."""
    if num_bytes == U0:
        return finish_xxh64_kernel(SECRET[80] ^ SECRET[88]), finish_xxh64_kernel(SECRET[64] ^ SECRET[72])
    first, middle = np.uint64(data[at]), np.uint64(data[at + (num_bytes >> U1)])
    last = np.uint64(data[at + num_bytes - U1])
    low = (first << U16) | (middle << U24) | last | (num_bytes << U8)
    swapped = swap64_kernel(low) >> U32
    high = ((swapped << U13) | (swapped >> U19)) & LOW_32
    low ^= (SECRET[0] ^ SECRET[4]) & LOW_32
    high ^= (SECRET[8] ^ SECRET[12]) & LOW_32
    return finish_xxh64_kernel(high), finish_xxh64_kernel(low)


@njit(**KERNEL)
def hash_4_to_8_kernel(data, at, num_bytes):
    """(high, low) of 4 to 8 bytes."""
    word = load32_kernel(data, at) | (load32_kernel(data, at + num_bytes - U4) << U32)
    keyed = word ^ (SECRET[16] ^ SECRET[24])
    factor = PRIME_1 + (num_bytes << U2)
    low, high = keyed * factor, multiply_high_kernel(keyed, factor)
    high += low << U1
    low ^= high >> U3
    low = (low ^ (low >> U35)) * MIX_2
    return finish_kernel(high), low ^ (low >> U28)


@njit(**KERNEL)
def hash_9_to_16_kernel(data, at, num_bytes):
    """(high, low) of 9 to 16 bytes."""
    first, last = load64_kernel(data, at), load64_kernel(data, at + num_bytes - U8)
    keyed = first ^ last ^ (SECRET[32] ^ SECRET[40])
    low, high = keyed * PRIME_1, multiply_high_kernel(keyed, PRIME_1)
    low += (num_bytes - U1) << U54
    last ^= SECRET[48] ^ SECRET[56]
    high += last + (last & LOW_32) * (PRIME32_2 - U1)
    low ^= swap64_kernel(high)
    return finish_kernel(multiply_high_kernel(low, PRIME_2) + high * PRIME_2), finish_kernel(low * PRIME_2)


@njit(**KERNEL)
def mix_32_kernel(data, left, right, secret, high, low):
    """(high, low) after 16 bytes at `left` and 16 at `right` under 32 bytes of the secret."""
    left_0, left_1 = load64_kernel(data, left), load64_kernel(data, left + U8)
    right_0, right_1 = load64_kernel(data, right), load64_kernel(data, right + U8)
    low += fold_kernel(left_0 ^ SECRET[secret], left_1 ^ SECRET[secret + U8])
    low ^= right_0 + right_1
    high += fold_kernel(right_0 ^ SECRET[secret + U16], right_1 ^ SECRET[secret + U24])
    high ^= left_0 + left_1
    return high, low


@njit(**KERNEL)
def hash_17_to_240_kernel(data, at, num_bytes):
    """(high, low) of 17 to 240 bytes."""
    end = at + num_bytes
    low, high = num_bytes * PRIME_1, U0
    if num_bytes <= U128:
        step = (num_bytes - U1) >> U5  # pairs of 16 bytes from both ends, the innermost first
        while True:
            inner = step << U4
            high, low = mix_32_kernel(data, at + inner, end - inner - U16, step << U5, high, low)
            if step == U0:
                break
            step -= U1
    else:
        done = U32
        while done < U160:
            high, low = mix_32_kernel(data, at + done - U32, at + done - U16, done - U32, high, low)
            done += U32
        high, low = finish_kernel(high), finish_kernel(low)
        while done <= num_bytes:
            high, low = mix_32_kernel(data, at + done - U32, at + done - U16, done - U160 + U3, high, low)
            done += U32
        high, low = mix_32_kernel(data, end - U16, end - U32, np.uint64(103), high, low)
    mixed = low * PRIME_1 + high * PRIME_4 + num_bytes * PRIME_2
    return U0 - finish_kernel(mixed), finish_kernel(low + high)


@njit(**KERNEL)
def stripe_kernel(data, at, secret, lanes):
    """The 8 lanes after the 64 bytes at `at`: each adds its neighbour's word and a 32 x 32 bit product of its own."""
    for lane in range(8):
        word = load64_kernel(data, at + (np.uint64(lane) << U3))
        keyed = word ^ SECRET[secret + (np.uint64(lane) << U3)]
        lanes[lane ^ 1] += word
        lanes[lane] += (keyed & LOW_32) * (keyed >> U32)


@njit(**KERNEL)
def merge_lanes_kernel(lanes, secret, start):
    """64 bits of the 8 lanes."""
    state = start
    for pair in range(4):
        at = secret + (np.uint64(pair) << U4)
        state += fold_kernel(lanes[2 * pair] ^ SECRET[at], lanes[2 * pair + 1] ^ SECRET[at + U8])
    return finish_kernel(state)


@njit(**KERNEL)
def hash_long_kernel(data, at, num_bytes, lanes):
    """(high, low) of more than 240 bytes; lanes uint64 (8,) is scratch."""
    end = at + num_bytes
    lanes[0], lanes[1], lanes[2], lanes[3] = PRIME32_3, PRIME_1, PRIME_2, PRIME_3
    lanes[4], lanes[5], lanes[6], lanes[7] = PRIME_4, PRIME32_2, PRIME_5, PRIME32_1
    secret = U0
    last = end - U1
    while at + U64 <= last:
        stripe_kernel(data, at, secret, lanes)
        at += U64
        secret += U8
        if secret == U128:  # 16 stripes are a block
            for lane in range(8):
                state = lanes[lane]
                state = state ^ (state >> U47) ^ SECRET[U128 + (np.uint64(lane) << U3)]
                lanes[lane] = state * PRIME32_1
            secret = U0
    stripe_kernel(data, end - U64, np.uint64(121), lanes)
    high = merge_lanes_kernel(lanes, np.uint64(117), ~(num_bytes * PRIME_2))
    return high, merge_lanes_kernel(lanes, np.uint64(11), num_bytes * PRIME_1)


@njit(**KERNEL)
def xxh3_128_kernel(data, start_byte, end_byte, lanes):
    """(high, low) of data[start_byte:end_byte]; lanes uint64 (8,) is scratch. b"" gives 0x99AA06D3014798D8, 0x6001C324468D497F."""
    at = np.uint64(start_byte)
    num_bytes = np.uint64(end_byte) - at
    if num_bytes > U240:
        return hash_long_kernel(data, at, num_bytes, lanes)
    if num_bytes > U16:
        return hash_17_to_240_kernel(data, at, num_bytes)
    if num_bytes > U8:
        return hash_9_to_16_kernel(data, at, num_bytes)
    if num_bytes > U3:
        return hash_4_to_8_kernel(data, at, num_bytes)
    return hash_0_to_3_kernel(data, at, num_bytes)


@njit(**KERNEL)
def digest_ranges_kernel(data, start_byte, end_byte, out_high, out_low):
    """xxh3-128 of the N ranges data[start_byte[i]:end_byte[i]].

    data uint8 (B,), start_byte and end_byte int64 (N,), out_high and out_low uint64 (N,)
    Example: an empty range gives 0x99AA06D3014798D8, 0x6001C324468D497F. Cost: O(bytes hashed + N), no memory.
    """
    lanes = np.empty(8, np.uint64)
    for i in range(len(out_high)):
        out_high[i], out_low[i] = xxh3_128_kernel(data, start_byte[i], end_byte[i], lanes)
