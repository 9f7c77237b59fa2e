"""SHA-1 of byte ranges, for signatures that equal those of tools which hash shingles with it.

Legend: the 80 words of the message schedule are 32 bits each, all arithmetic modulo 2^32.
Source: FIPS 180-4, sections 5.1.1, 5.3.1 and 6.1.2; deviation: none (equality with hashlib is tested). Not for security.
"""

from __future__ import annotations

from dolma_py.hashing_kernels import load32_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

START = tuple(np.uint32(value) for value in (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0))
ROUND = tuple(np.uint32(value) for value in (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6))
BLOCK = 64  # bytes


@njit(**KERNEL)
def rotate32_kernel(value, num_bits):
    """A 32-bit value rotated left by 0 < num_bits < 32."""
    return np.uint32(np.uint32(value << np.uint32(num_bits)) | np.uint32(value >> np.uint32(32 - num_bits)))


@njit(**KERNEL)
def swap32_kernel(value):
    """The four bytes of a 32-bit value in the other order: 0x01020304 gives 0x04030201."""
    low, high = np.uint32(value & np.uint32(0x00FF00FF)), np.uint32(value & np.uint32(0xFF00FF00))
    return np.uint32(rotate32_kernel(low, 24) | rotate32_kernel(high, 8))


@njit(**KERNEL)
def step_kernel(a, e, mixed, added):
    """What a round puts first: the mixed function of b, c, d and the round's constant plus schedule word are given."""
    return np.uint32(rotate32_kernel(a, 5) + mixed + e + added)


@njit(**KERNEL)
def mix_block_kernel(state, schedule):
    """The state (five 32-bit values) after one block, whose 16 words are schedule[:16]."""
    for t in range(16, 80):
        schedule[t] = rotate32_kernel(schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16], 1)
    a, b, c, d, e = state
    for t in range(20):
        new = step_kernel(a, e, np.uint32(d ^ (b & (c ^ d))), np.uint32(ROUND[0] + schedule[t]))
        a, b, c, d, e = new, a, rotate32_kernel(b, 30), c, d
    for t in range(20, 40):
        new = step_kernel(a, e, np.uint32(b ^ c ^ d), np.uint32(ROUND[1] + schedule[t]))
        a, b, c, d, e = new, a, rotate32_kernel(b, 30), c, d
    for t in range(40, 60):
        new = step_kernel(a, e, np.uint32((b & c) | (d & (b | c))), np.uint32(ROUND[2] + schedule[t]))
        a, b, c, d, e = new, a, rotate32_kernel(b, 30), c, d
    for t in range(60, 80):
        new = step_kernel(a, e, np.uint32(b ^ c ^ d), np.uint32(ROUND[3] + schedule[t]))
        a, b, c, d, e = new, a, rotate32_kernel(b, 30), c, d
    return (
        np.uint32(state[0] + a),
        np.uint32(state[1] + b),
        np.uint32(state[2] + c),
        np.uint32(state[3] + d),
        np.uint32(state[4] + e),
    )


@njit(**KERNEL)
def load_block_kernel(data, start_byte, num_bytes, schedule):
    """The next block into schedule[:16], big-endian: at most 64 bytes of data, the closing bit where fewer are left."""
    num_words = max(min(num_bytes, BLOCK), 0) // 4
    for word in range(num_words):
        schedule[word] = swap32_kernel(np.uint32(load32_kernel(data, np.uint64(start_byte + 4 * word))))
    for word in range(num_words, 16):
        schedule[word] = np.uint32(0)
    if 0 <= num_bytes < BLOCK:
        last = np.uint32(0x80)
        for k in range(num_bytes - 1, 4 * num_words - 1, -1):
            last = np.uint32(np.uint32(last << np.uint32(8)) | np.uint32(data[start_byte + k]))
        schedule[num_words] = swap32_kernel(last)


@njit(**KERNEL)
def sha1_kernel(data, start_byte, end_byte, schedule):
    """The first 8 bytes of SHA-1 of data[start_byte:end_byte] as a little-endian number; schedule uint32 (80,) is scratch.

    Its low 32 bits are what datasketch's sha1_hash32 gives. Example: of b"abc" 0x6A810647363E99A9.
    """
    state = START
    num_bytes = np.int64(end_byte - start_byte)
    num_blocks = (num_bytes + 8) // BLOCK + 1
    for block in range(num_blocks):
        # a last block without data (the length did not fit the one before) may lack the closing bit: num_bytes is then negative
        load_block_kernel(data, start_byte + block * BLOCK, num_bytes - block * BLOCK, schedule)
        if block == num_blocks - 1:
            schedule[14] = np.uint32(num_bytes >> 29)
            schedule[15] = np.uint32(num_bytes << 3)
        state = mix_block_kernel(state, schedule)
    return np.uint64(swap32_kernel(state[0])) | (np.uint64(swap32_kernel(state[1])) << np.uint64(32))
