"""Byte spans that repeat somewhere in a pool of documents, from its suffix array.

Legend: B bytes of N documents back to back, L = min_length_bytes, K spans.
The rule: the L bytes at position p inside one document are a repeat when the same L bytes stand at an earlier position inside one
document (positions in corpus order). Every repeat is marked; the first occurrence is not. Marked positions p become [p, p + L).

Suffixes that begin with the same L bytes are neighbours in the suffix array; a new group begins where PLCP < L. Document borders
are handled per position, not by cutting the LCP at borders and not by separators: a suffix whose document ends within L bytes stands
in the group (its first L bytes are equal, though they run into the next document) but does not count. Cutting its LCP would split the
group there and lose repeats on either side; separators would need a byte that occurs in no text, and texts may hold any byte.
Source: rule of the released deduplication tool of Olmo 3 (arXiv 2512.13961, A.2.2: L = 500, keep the first occurrence).
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

FITS = np.uint8(1)  # L bytes from here stay inside the document
JOINED = np.uint8(2)  # the suffix shares L bytes or more with the one before it in SA order
MARKED = np.uint8(4)  # the L bytes from here are a repeat to be removed
ZERO = np.uint8(0)
MILLION = np.int64(1_000_000)


@njit(**KERNEL)
def flag_positions_kernel(plcp, offsets, min_length_bytes, out_flags):
    """FITS and JOINED of every position: one byte each, since the next step reads them in SA order, that is at random.

    plcp int32 (B,), offsets int64 (N + 1,) from 0 to B, out_flags uint8 (B,). Cost: O(B).
    """
    for d in range(len(offsets) - 1):
        last_start = offsets[d + 1] - min_length_bytes
        for p in range(offsets[d], offsets[d + 1]):
            fits = np.uint8(p <= last_start)
            joined = np.uint8(plcp[p] >= min_length_bytes)
            out_flags[p] = fits | np.uint8(joined << np.uint8(1))


@njit(**KERNEL)
def mark_repeats_kernel(suffixes, keep_first, flags):
    """Set MARKED at every repeat; returns how many.

    suffixes int32 (B,), flags uint8 (B,) as flag_positions_kernel leaves them
    keep_first: the smallest position of a group stays; otherwise all positions of a group of two or more go
    Example: documents "abcx", "yabc", L = 3: "abc" at 0 and 5; 5 is marked, and 0 as well without keep_first.
    Cost: O(B) time, B reads of one byte in random order.
    """
    num_bytes = len(suffixes)
    num_marked = 0
    begin = 0
    while begin < num_bytes:
        end = begin + 1
        while end < num_bytes and flags[suffixes[end]] & JOINED != ZERO:
            end += 1
        if end - begin > 1:
            smallest = np.int64(num_bytes)
            num_fitting = 0
            for r in range(begin, end):
                p = suffixes[r]
                if flags[p] & FITS != ZERO:
                    num_fitting += 1
                    smallest = min(smallest, np.int64(p))
            if num_fitting > 1:
                for r in range(begin, end):
                    p = suffixes[r]
                    if flags[p] & FITS != ZERO and not (keep_first and p == smallest):
                        flags[p] |= MARKED
                        num_marked += 1
        begin = end
    return num_marked


@njit(**KERNEL)
def merge_spans_kernel(flags, offsets, min_length_bytes, out_start, out_end, out_offsets):
    """Marked positions as merged spans [p, p + L) per document, bytes from the document's start; returns K.

    flags uint8 (B,), offsets int64 (N + 1,), out_start and out_end int32 (>= B // L + N,), out_offsets int64 (N + 1,)
    Spans that touch or overlap become one. Example: L = 3, marks at 0, 2, 8 in one document give 0-5 and 8-11. Cost: O(B).
    """
    num_spans = 0
    out_offsets[0] = 0
    for d in range(len(offsets) - 1):
        first = offsets[d]
        begin = np.int64(-1)
        end = np.int64(-1)
        for p in range(first, offsets[d + 1]):
            if flags[p] & MARKED == ZERO:
                continue
            at = p - first
            if begin >= 0 and at <= end:
                end = at + min_length_bytes
                continue
            if begin >= 0:
                out_start[num_spans], out_end[num_spans] = begin, end
                num_spans += 1
            begin, end = at, at + min_length_bytes
        if begin >= 0:
            out_start[num_spans], out_end[num_spans] = begin, end
            num_spans += 1
        out_offsets[d + 1] = num_spans
    return num_spans


@njit(**KERNEL)
def clip_spans_kernel(data, offsets, spans, out_start, out_end, out_offsets):
    """Spans shrunk to whole UTF-8 characters; a span inside one character vanishes; returns the number left.

    data uint8 (B,), offsets int64 (N + 1,); spans = (start, end, offsets) as merge_spans_kernel writes them
    Example: bytes 61 C3 A9 62 with span 0-2 gives 0-1: the first byte of the two-byte character stays with its second.
    Bytes 80-BF never begin a character, in invalid UTF-8 too; so a run of them is not cut either. Cost: O(K).
    """
    start, end, span_offsets = spans
    num_spans = 0
    out_offsets[0] = 0
    for d in range(len(offsets) - 1):
        first, num_bytes = offsets[d], offsets[d + 1] - offsets[d]
        for k in range(span_offsets[d], span_offsets[d + 1]):
            begin, stop = np.int64(start[k]), np.int64(end[k])
            while begin < stop and begin > 0 and (data[first + begin] & np.uint8(0xC0)) == np.uint8(0x80):
                begin += 1
            while stop > begin and stop < num_bytes and (data[first + stop] & np.uint8(0xC0)) == np.uint8(0x80):
                stop -= 1
            if stop > begin:
                out_start[num_spans], out_end[num_spans] = begin, stop
                num_spans += 1
        out_offsets[d + 1] = num_spans
    return num_spans


@njit(**KERNEL)
def reach_farthest_kernel(start, end, min_covered_ppm, out_reach, scratch):
    """For each span i the last span j whose stretch from start[i] to end[j] is covered to the share asked for.

    start, end int32 (K,) of one document; out_reach, scratch int64 (>= K,)
    With c_j the bytes of spans 0..j, stretch i..j passes when c_j - c_(i-1) >= f (end_j - start_i), that is when
    A_j = c_j - f end_j >= B_i = c_(i-1) - f start_i. The last such j is found by bisection in the suffix maxima of A.
    """
    num_spans = len(start)
    covered = np.int64(0)
    for j in range(num_spans):
        covered += end[j] - start[j]
        scratch[j] = covered * MILLION - min_covered_ppm * end[j]
    for j in range(num_spans - 2, -1, -1):
        scratch[j] = max(scratch[j], scratch[j + 1])
    covered = np.int64(0)
    for i in range(num_spans):
        bound = covered * MILLION - min_covered_ppm * start[i]
        low, high = i, num_spans - 1
        while low < high:
            middle = (low + high + 1) // 2
            if scratch[middle] >= bound:
                low = middle
            else:
                high = middle - 1
        out_reach[i] = low
        covered += end[i] - start[i]


@njit(**KERNEL)
def reach_greedy_kernel(start, end, min_covered_ppm, out_reach):
    """Stretches found by two scans, one from each end: a stretch takes the next span while the share holds, else a new one begins.

    Arguments as reach_farthest_kernel. A stretch that would pass only after taking two spans at once is not found.
    """
    num_spans = len(start)
    for i in range(num_spans):
        out_reach[i] = i
    first = 0
    covered = np.int64(0)
    for j in range(num_spans):
        width = np.int64(end[j] - start[j])
        if j > first and (covered + width) * MILLION < min_covered_ppm * np.int64(end[j] - start[first]):
            first = j
            covered = np.int64(0)
        covered += width
        out_reach[first] = max(out_reach[first], j)
    last = num_spans - 1
    covered = np.int64(0)
    for i in range(num_spans - 1, -1, -1):
        width = np.int64(end[i] - start[i])
        if i < last and (covered + width) * MILLION < min_covered_ppm * np.int64(end[last] - start[i]):
            last = i
            covered = np.int64(0)
        covered += width
        out_reach[i] = max(out_reach[i], last)


@njit(**KERNEL)
def join_spans_kernel(spans, min_covered_ppm, greedy, scratch, out_start, out_end, out_offsets):
    """Join spans of a document where a stretch from the first to the last is covered densely enough; returns the number left.

    spans = (start int32 (K,), end int32 (K,), offsets int64 (N + 1,)) disjoint, ascending; min_covered_ppm int64: share in 10^-6
    scratch = two int64 (K,); greedy: two scans instead of all stretches
    Example: spans 0-8, 10-18 at 0.80: 16 of 18 bytes, one span 0-18. At 0.95 they stay two.
    Cost: O(K log K), greedy O(K). Integers throughout: covered * 10^6 >= ppm * length is exact.
    """
    start, end, span_offsets = spans
    reach, maxima = scratch
    num_spans = 0
    out_offsets[0] = 0
    for d in range(len(span_offsets) - 1):
        starts = start[span_offsets[d] : span_offsets[d + 1]]
        ends = end[span_offsets[d] : span_offsets[d + 1]]
        if greedy:
            reach_greedy_kernel(starts, ends, min_covered_ppm, reach)
        else:
            reach_farthest_kernel(starts, ends, min_covered_ppm, reach, maxima)
        i = 0
        while i < len(starts):
            j = i
            last = reach[i]
            while j < last:
                j += 1
                last = max(last, reach[j])
            out_start[num_spans], out_end[num_spans] = starts[i], ends[last]
            num_spans += 1
            i = last + 1
        out_offsets[d + 1] = num_spans
    return num_spans
