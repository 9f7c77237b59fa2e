"""MinHash signatures and band keys.

Legend: N documents, B bytes and S shingles of all of them, P permutations, b bands of r rows, P >= b * r.

  x       = fmix32(low 32 bits of the shingle's hash)
  h_p(x)  = multiplier[p] * x + increment[p]  mod 2^32, multiplier[p] odd: a permutation of the 32-bit integers
  signature[p] = min over the document's shingles of h_p(x)
Source: A. Broder 1997 (resemblance); bands: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4; the permutations are
those of datasketch 2.0's "affine32" scheme, so that signatures can be equal bit for bit. fmix32: MurmurHash3's finaliser.
Why 32 bits: 8 lanes of a vector register instead of none (there is no 64-bit vector minimum or product below AVX-512). Two
different shingles of one document share x with chance 2^-32: of 1,000,000 shingles some 0.01%, far below the estimate's error.

What limits the speed: a multiplication, an addition and a minimum per shingle and permutation. With 8 lanes, 286 permutations and
8 shingles per pass a shingle costs 36 * 3 vector operations and 36 * 4 / 8 loads and stores: 27 cycles on a core that starts 4
vector operations per cycle, 54 where it starts 2. Finding words and hashing them costs about as much again. Signatures of a
document are made piece by piece from the shingles in the cache: there is never an array of shingles by permutations.
"""

from __future__ import annotations

from dedup.shingles_kernels import (
    EXACT,
    LEAST,
    LENGTH,
    PIECE_BYTES,
    PIECE_SHINGLES,
    SHORT,
    UNIT,
    end_piece_kernel,
    fill_shingles_kernel,
    has_items_kernel,
    make_scratch_kernel,
    shingle_piece_kernel,
    short_shingle_kernel,
    short_text_kernel,
    start_document_kernel,
)
from dolma_py.hashing_kernels import mix64_kernel
from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

FMIX_1 = np.uint32(0x85EBCA6B)
FMIX_2 = np.uint32(0xC2B2AE35)
S13, S16 = np.uint32(13), np.uint32(16)
ALL_ONES_32 = np.uint32(0xFFFFFFFF)
NONE = np.uint64(0)
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
def lower_row_kernel(shingles, num_shingles, multiplier, increment, out_row):
    """Lower out_row uint32 (P,) to the minimum of itself and every permutation of shingles[:num_shingles].

    8 shingles are taken per pass over the permutations, so that multiplier, increment and minimum are loaded once per 8; the last
    shingle fills up the last 8, since a minimum does not mind seeing a value twice.
    """
    x = np.empty(BLOCK, np.uint32)
    for block in range(0, num_shingles, BLOCK):
        for k in range(BLOCK):
            x[k] = fmix32_kernel(np.uint32(shingles[min(block + k, num_shingles - 1)]))
        x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
        for p in range(len(multiplier)):
            a = multiplier[p]
            c = increment[p]
            low = out_row[p]
            low = min(low, np.uint32(a * x0 + c))
            low = min(low, np.uint32(a * x1 + c))
            low = min(low, np.uint32(a * x2 + c))
            low = min(low, np.uint32(a * x3 + c))
            low = min(low, np.uint32(a * x4 + c))
            low = min(low, np.uint32(a * x5 + c))
            low = min(low, np.uint32(a * x6 + c))
            low = min(low, np.uint32(a * x7 + c))
            out_row[p] = low


@njit(**KERNEL)
def signatures_kernel(shingles, offsets, multiplier, increment, out_signatures):
    """Minimum over each document's shingles of every permutation.

    shingles uint64 (S,)              hashed n-grams of all documents, concatenated
    offsets int64 (N + 1,)            document i owns shingles[offsets[i]:offsets[i + 1]]
    multiplier, increment uint32 (P,) odd, any
    out_signatures uint32 (N, P)      row i belongs to document i; no shingles: all ones

    Example: P = 1, multiplier 1, increment 0 and the shingles 1, 2: fmix32 gives 0x514E28B7 and 0x30F4C306, the smaller stays.
    Cost: O(S P) time, no memory.
    """
    for i in range(len(offsets) - 1):
        first = offsets[i]
        out_signatures[i, :] = ALL_ONES_32
        lower_row_kernel(shingles[first:], offsets[i + 1] - first, multiplier, increment, out_signatures[i])


@njit(**KERNEL)
def sign_texts_kernel(data, offsets, plan, exact_hashes, multiplier, increment, out_signatures, out_counts):
    """Signatures of N texts under our own words and rolling hash: what signatures_kernel makes of shingle_texts_kernel's shingles.

    data uint8 (B,), offsets int64 (N + 1,), plan int64 (5,), exact_hashes uint64 (N,) or empty, multiplier and increment
    uint32 (P,), out_signatures uint32 (N, P), out_counts int64 (N,) shingles of each document; 0 of those that have none
    Example: n = 1 and the text "a a b" count 3. Cost: O(B + S P) time, memory of one piece of text.
    """
    n = plan[LENGTH]
    scratch = make_scratch_kernel(PIECE_BYTES, n)
    for i in range(len(offsets) - 1):
        at, num_items, kept, count = offsets[i], 0, 0, 0
        row = out_signatures[i]
        row[:] = ALL_ONES_32
        while at < offsets[i + 1]:
            stop = end_piece_kernel(data, at, offsets[i + 1])
            if stop - at + 8 > len(scratch[0]):
                grown = make_scratch_kernel(stop - at, n)
                grown[4][:kept] = scratch[4][:kept]
                scratch = grown
            num_words, num_shingles, kept = shingle_piece_kernel(data, at, stop, n, kept, scratch)
            lower_row_kernel(scratch[5], num_shingles, multiplier, increment, row)
            num_items += num_words
            count += num_shingles
            at = stop
        if num_items < n:
            exact = exact_hashes[i] if plan[SHORT] == EXACT else NONE
            count = short_shingle_kernel(scratch[4], num_items, plan[SHORT], exact, scratch[5])
            lower_row_kernel(scratch[5], count, multiplier, increment, row)
        if num_items < plan[LEAST]:
            count = 0
        out_counts[i] = count
        if count == 0:
            row[:] = ALL_ONES_32


@njit(**KERNEL)
def sign_normal_kernel(text, offsets, plan, exact_hashes, multiplier, increment, out_signatures, out_counts):
    """Signatures of N normalised documents: what signatures_kernel makes of shingle_normal_kernel's shingles.

    text uint8 (B + 8,), the rest as sign_texts_kernel. Example: characters of "aab", n = 2: count 2.
    Cost: O(B + S P) time and more for hashes of bytes; memory of PIECE_SHINGLES hashes.
    """
    n = plan[LENGTH]
    state, items, scratch = np.zeros(n + 2, np.int64), np.zeros(n + 2, np.uint64), np.empty(80, np.uint32)
    shingles = np.empty(PIECE_SHINGLES, np.uint64)
    for i in range(len(offsets) - 1):
        first, last = offsets[i], offsets[i + 1]
        row = out_signatures[i]
        row[:] = ALL_ONES_32
        out_counts[i] = 0
        if not has_items_kernel(text, first, last, plan[UNIT]):
            continue
        start_document_kernel(first, state)
        count = 0
        filled = PIECE_SHINGLES
        while filled == PIECE_SHINGLES:
            filled = fill_shingles_kernel(text, last, plan, state, items, scratch, shingles)
            lower_row_kernel(shingles, filled, multiplier, increment, row)
            count += filled
        if count == 0:
            exact = exact_hashes[i] if plan[SHORT] == EXACT else NONE
            has_one, shingles[0] = short_text_kernel(text, first, last, plan, exact, items, scratch)
            if has_one:
                lower_row_kernel(shingles, 1, multiplier, increment, row)
                count = 1
        if state[1] >= plan[LEAST]:
            out_counts[i] = count
        else:
            row[:] = ALL_ONES_32


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
