"""MinHash signatures and band keys.

Legend: N documents, S shingles of all of them, P permutations, b bands of r rows, P >= b * r.

  x       = fmix32(low 32 bits of the shingle's hash)
  h_p(x)  = multiplier[p] * x + increment[p]  mod 2^32, multiplier[p] odd: a permutation of the 32-bit integers
  signature[p] = min over the document's shingles of h_p(x)
Source: A. Broder 1997 (resemblance); bands: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4; the permutations are
those of datasketch 2.0's "affine32" scheme, so that signatures can be equal bit for bit. fmix32: MurmurHash3's finaliser.
Why 32 bits: 8 lanes of a vector register instead of none (there is no 64-bit vector minimum or product below AVX-512). Two
different shingles of one document share x with chance 2^-32: of 1,000,000 shingles some 0.01%, far below the estimate's error.
"""

from __future__ import annotations

from dolma_py.hashing_kernels import mix64_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

FMIX_1 = np.uint32(0x85EBCA6B)
FMIX_2 = np.uint32(0xC2B2AE35)
S13, S16 = np.uint32(13), np.uint32(16)
ALL_ONES_32 = np.uint32(0xFFFFFFFF)
U32 = np.uint64(32)
BAND_FACTOR = np.uint64(0x9FB21C651E98DF25)  # odd, arbitrary
BLOCK = 8  # shingles per pass over the permutations


@njit(**KERNEL)
def fmix32_kernel(value):
    """MurmurHash3's 32-bit finaliser, a bijection: 1 gives 0x514E28B7."""
    value = np.uint32(value)
    value = np.uint32(value ^ np.uint32(value >> S16)) * FMIX_1
    value = np.uint32(value)
    value = np.uint32(value ^ np.uint32(value >> S13)) * FMIX_2
    value = np.uint32(value)
    return np.uint32(value ^ np.uint32(value >> S16))


@njit(**KERNEL)
def signatures_kernel(shingles, offsets, multiplier, increment, out_signatures):
    """Minimum over each document's shingles of every permutation.

    shingles uint64 (S,)              hashed n-grams of all documents, concatenated
    offsets int64 (N + 1,)            document i owns shingles[offsets[i]:offsets[i + 1]]
    multiplier, increment uint32 (P,) odd, any
    out_signatures uint32 (N, P)      row i belongs to document i; no shingles: all ones

    Example: P = 1, multiplier 1, increment 0 and the shingles 1, 2: fmix32 gives 0x514E28B7 and 0x30F4C306, the smaller stays.
    Cost: O(S P) time, no memory.

    8 shingles are taken per pass over the permutations, so that multiplier, increment and minimum are loaded once per 8; the last
    shingle fills up the last 8, since a minimum does not mind seeing a value twice.
    """
    num_permutations = len(multiplier)
    x = np.empty(BLOCK, np.uint32)
    for i in range(len(offsets) - 1):
        first, last = offsets[i], offsets[i + 1]
        row = out_signatures[i]
        for p in range(num_permutations):
            row[p] = ALL_ONES_32
        for block in range(first, last, BLOCK):
            for k in range(BLOCK):
                x[k] = fmix32_kernel(np.uint32(shingles[min(block + k, last - 1)]))
            x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
            for p in range(num_permutations):
                a = multiplier[p]
                c = increment[p]
                low = row[p]
                low = min(low, np.uint32(a * x0 + c))
                low = min(low, np.uint32(a * x1 + c))
                low = min(low, np.uint32(a * x2 + c))
                low = min(low, np.uint32(a * x3 + c))
                low = min(low, np.uint32(a * x4 + c))
                low = min(low, np.uint32(a * x5 + c))
                low = min(low, np.uint32(a * x6 + c))
                low = min(low, np.uint32(a * x7 + c))
                row[p] = low


@njit(**KERNEL)
def band_keys_kernel(signatures, num_rows, out_keys):
    """One 64-bit key per document and band of num_rows values: equal bands give equal keys.

    signatures uint32 (N, P), out_keys uint64 (N, b), b * num_rows <= P
    key = mix64-chain over the band number and the rows: state = mix64(state * F ^ row), so that band 3 of one document never
    meets band 5 of another. Two unequal bands share a key with chance 2^-64.
    Cost: O(N P).
    """
    num_bands = out_keys.shape[1]
    for i in range(len(out_keys)):
        for band in range(num_bands):
            state = mix64_kernel(np.uint64(band))
            for k in range(num_rows):
                state = mix64_kernel((state * BAND_FACTOR) ^ np.uint64(signatures[i, band * num_rows + k]))
            out_keys[i, band] = state
