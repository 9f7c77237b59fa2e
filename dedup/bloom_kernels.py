"""Blocked Bloom filters over 128-bit digests: one cache line per key.

Legend: N keys, M blocks of 512 bits (8 words of 64), K bits set per key, all in one block.
Source: Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (ACM JEA 14, 2009), section 3. Deviation: block and
bits come from the two halves of one xxh3-128, nine bits of the low half for each of the first seven, of mix64(low ^ round) for the next.
"""

from __future__ import annotations

from dolma_py.hashing_kernels import mix64_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

U0, U1, U6, U9, U32, U63, U511 = (np.uint64(value) for value in (0, 1, 6, 9, 32, 63, 511))
BITS_PER_WORD_OF_HASH = 7  # of nine bits each


@njit(**KERNEL)
def insert_keys_kernel(high, low, num_hashes, bits):
    """Set the bits of N keys. high and low uint64 (N,), bits uint64 (M, 8). Cost: O(N K), one cache line per key.

    Example: high 0, low 0, one hash, sets bit 0 of block 0.
    """
    num_blocks = np.uint64(len(bits))
    for i in range(len(high)):
        block = bits[((high[i] >> U32) * num_blocks) >> U32]
        word = low[i]
        for j in range(num_hashes):
            if j > 0 and j % BITS_PER_WORD_OF_HASH == 0:
                word = mix64_kernel(low[i] ^ np.uint64(j // BITS_PER_WORD_OF_HASH))
            place = word & U511
            word >>= U9
            block[place >> U6] |= U1 << (place & U63)


@njit(**KERNEL)
def find_keys_kernel(high, low, num_hashes, bits, out_found):
    """Whether all bits of each of N keys are set, out_found bool (N,); the rest as insert_keys_kernel."""
    num_blocks = np.uint64(len(bits))
    for i in range(len(high)):
        block = bits[((high[i] >> U32) * num_blocks) >> U32]
        word = low[i]
        found = True
        for j in range(num_hashes):
            if j > 0 and j % BITS_PER_WORD_OF_HASH == 0:
                word = mix64_kernel(low[i] ^ np.uint64(j // BITS_PER_WORD_OF_HASH))
            place = word & U511
            word >>= U9
            if (block[place >> U6] >> (place & U63)) & U1 == U0:
                found = False
                break
        out_found[i] = found
