"""Anchors of texts by winnowing: in every stretch of W grams the one with the smallest hash.

Legend: B bytes of N documents back to back, g = gram_bytes, W = window_grams, L = g + W - 1, A anchors.
Any two equal stretches of L bytes, wherever they stand, have the same W grams, so the leftmost gram with the smallest hash is the same
in both: each has an anchor of that hash at the same distance from its start. Expected density 2 / (W + 1) anchors per byte. Anchors of one
hash that follow each other, as in a text of one repeated byte, are thinned to the first, the last, and as many between as their
surroundings need to hang together. Source: Schleimer, Wilkerson, Aiken, Winnowing, SIGMOD 2003.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

BASE = np.uint64(0x9E3779B97F4A7C15)  # of the rolling polynomial, modulo 2^64
MIX = np.uint64(0xD6E8FEB86659FD93)
SHIFT = np.uint64(32)
ONE = np.uint64(1)


@njit(**KERNEL)
def mix_gram_kernel(polynomial):
    """The value that grams are compared by: the polynomial's low bits depend on few bytes, so they are folded twice.

    Example: 1 becomes MIX with its upper half folded onto the lower, 0xD6E8FEB8B0B1032B; 0 stays 0, and as each value has its own, no other does.
    """
    value = (polynomial ^ (polynomial >> SHIFT)) * MIX
    return value ^ (value >> SHIFT)


@njit(**KERNEL)
def anchors_kernel(data, offsets, sizes, scratch, out_hash, out_start, out_offsets):
    """Hash and start of each anchor, ascending by start inside a document; returns A, or -1 when it exceeds the room.

    data uint8 (B,), offsets int64 (N + 1,); sizes = (g, W), int64; scratch = two uint64 (W,) and one int64 (W,): hashes of a block,
    smallest hash of each of its suffixes and where it stands; out_hash uint64, out_start int32 (room,), out_offsets int64 (N + 1,)
    Documents of fewer than L bytes have none. Grams are taken in blocks of W: a window is a suffix of one block and a prefix of the
    next, so its minimum is the smaller of two (van Herk 1992, Gil and Werman 1993). Cost: O(B), whatever the text.

    Example: g = 1, W = 3, and bytes whose hashes are 5 3 8 3 9. The windows 5 3 8, 3 8 3 and 8 3 9 have their leftmost smallest at 1, 1 and
    3: anchors (3, 1) and (3, 3). Blocks are 5 3 8 and 3 9: the second window is the suffix 3 8 of the one and the prefix 3 of the other.
    Thinning: seven equal bytes have window minima at 0 1 2 3 4, all of one hash; 0, 3 and 4 stay: the first, what is W away from
    it, and the last.
    """
    gram_bytes, window = sizes
    block_hash, suffix_hash, suffix_at = scratch
    power = ONE  # BASE to the power of g - 1: what the byte that leaves is multiplied by
    for _ in range(gram_bytes - 1):
        power *= BASE
    room = len(out_hash)
    num_anchors = 0
    out_offsets[0] = 0
    for d in range(len(offsets) - 1):
        first = offsets[d]
        own = num_anchors
        num_grams = offsets[d + 1] - first - gram_bytes + 1
        out_offsets[d + 1] = num_anchors
        if num_grams < window:
            continue
        polynomial = np.uint64(0)
        for i in range(gram_bytes):
            polynomial = polynomial * BASE + (np.uint64(data[first + i]) + ONE)
        last_at = np.int64(-1)
        is_last_extra = False  # the last anchor is there only as the last of its hash so far
        for begin in range(0, num_grams, window):
            length = min(window, num_grams - begin)
            prefix_hash, prefix_at = np.uint64(0), np.int64(-1)
            for t in range(length):
                gram = begin + t
                value = mix_gram_kernel(polynomial)
                block_hash[t] = value
                if prefix_at < 0 or value < prefix_hash:
                    prefix_hash, prefix_at = value, gram
                if gram >= window - 1:  # the window that ends with this gram
                    at = prefix_at
                    smallest = prefix_hash
                    if begin > 0 and t + 1 < window and suffix_hash[t + 1] <= prefix_hash:
                        at = suffix_at[t + 1]
                        smallest = suffix_hash[t + 1]
                    if at != last_at:
                        last_at = at
                        is_same = num_anchors > own and out_hash[num_anchors - 1] == smallest
                        if is_same and is_last_extra and at - out_start[num_anchors - 2] <= window:
                            out_start[num_anchors - 1] = at
                        else:
                            if num_anchors == room:
                                return -1
                            is_last_extra = is_same and at - out_start[num_anchors - 1] <= window
                            out_hash[num_anchors], out_start[num_anchors] = smallest, at
                            num_anchors += 1
                if gram + 1 < num_grams:
                    leaves = (np.uint64(data[first + gram]) + ONE) * power
                    polynomial = (polynomial - leaves) * BASE + (np.uint64(data[first + gram + gram_bytes]) + ONE)
            if length == window:
                suffix_hash[window - 1], suffix_at[window - 1] = block_hash[window - 1], begin + window - 1
                for t in range(window - 2, -1, -1):
                    if block_hash[t] <= suffix_hash[t + 1]:
                        suffix_hash[t], suffix_at[t] = block_hash[t], begin + t
                    else:
                        suffix_hash[t], suffix_at[t] = suffix_hash[t + 1], suffix_at[t + 1]
        out_offsets[d + 1] = num_anchors
    return num_anchors


@njit(**KERNEL)
def surroundings_kernel(starts, anchor_offsets, text_offsets, sizes, out_start, out_end, out_offsets):
    """Where a repeat of L bytes around each anchor may lie: [start + g - L, start + L) inside the document, merged; returns K.

    starts int32 (A,) and anchor_offsets int64 (N + 1,) as anchors_kernel leaves them, or some of them; text_offsets int64 (N + 1,);
    sizes = (g, W); out_start, out_end int32 (>= A,), out_offsets int64 (N + 1,). Spans that touch or overlap are one. Cost: O(A + N).

    Example: g = 2, W = 3, so L = 4; anchors at 1, 7 and 10 of a text of 12 bytes have [0, 5), [5, 11) and [8, 12): one span [0, 12).
    Without the anchor at 7 they are two, [0, 5) and [8, 12).
    """
    gram_bytes, window = sizes
    length = gram_bytes + window - 1
    num_spans = 0
    out_offsets[0] = 0
    for d in range(len(text_offsets) - 1):
        num_bytes = text_offsets[d + 1] - text_offsets[d]
        own = num_spans
        for a in range(anchor_offsets[d], anchor_offsets[d + 1]):
            begin = max(np.int64(0), starts[a] + gram_bytes - length)
            end = min(num_bytes, starts[a] + length)
            if num_spans > own and begin <= out_end[num_spans - 1]:
                out_end[num_spans - 1] = end
            else:
                out_start[num_spans], out_end[num_spans] = begin, end
                num_spans += 1
        out_offsets[d + 1] = num_spans
    return num_spans
