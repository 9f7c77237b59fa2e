"""Byte spans that repeat somewhere in a pool of documents, from its suffix array.

Legend: B bytes of N documents back to back, L = min_length_bytes, K spans, q = 2^shift <= L bytes of a block, M = ceil(B / q) blocks.
The rule: the L bytes at position p inside one document are a repeat when the same L bytes stand at an earlier position inside one
document (positions in corpus order). Every repeat is marked; the first occurrence is not. Marked positions p become [p, p + L).

Suffixes that begin with the same L bytes are neighbours in the suffix array; a new group begins where PLCP < L. Document borders
are handled per position, not by cutting the LCP at borders and not by separators: a suffix whose document ends within L bytes stands
in the group (its first L bytes are equal, though they run into the next document) but does not count. Cutting its LCP would split the
group there and lose repeats on either side; separators would need a byte that occurs in no text, and texts may hold any byte.

Why blocks: a number for each position, read in SA order, is a line of memory from no cache for each of B positions. Six bytes for
each block of q hold the same, and fit:
- PLCP falls by at most 1 a position, so that of the first position and that of the next block's first decide PLCP >= L for all
  positions of a block but those between two of them: they are compared (of 209 MB at q = 64 0.7%).
- The positions of a block with L bytes to their document's end are one interval: L >= q, so no two documents have some.
- Spans of marked positions less than L apart are one, so the first and the last mark of a block say all.
Source: rule of the released deduplication tool of Olmo 3 (arXiv 2512.13961, A.2.2: L = 500, keep the first occurrence).
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

# of a block, positions within it: the last that may share L bytes with the suffix before it in SA order, and the last up to which all do; the
# first and the last from which L bytes stay inside a document
MAY_JOIN, JOINS, FITS, FITS_TO = 0, 1, 2, 3
FIRST_MARK, LAST_MARK = 0, 1
MAX_SHIFT = 6  # positions within a block are int8
NOTHING = np.int32((1 << 31) - 1)  # above every position
CHUNK = 1024  # suffixes whose blocks are fetched at once
COMPARED = 16  # bytes compared at once
ONE = np.uint64(1)
MILLION = np.int64(1_000_000)


@njit(**KERNEL)
def describe_blocks_kernel(plcp, offsets, min_length_bytes, shift, out_blocks):
    """MAY_JOIN, JOINS, FITS and FITS_TO of every block.

    plcp int32 (M,) of the blocks' first positions, offsets int64 (N + 1,) from 0 to B, out_blocks int8 (M, 4). Cost: O(M + N).
    Example: q = 4, L = 8, PLCP 9 and 6 of two firsts: positions 0 and 1 of the block have 9 and at least 8, positions 2 and 3 at most
    6 + 2 and 6 + 1; so JOINS is 1 and MAY_JOIN 2.
    """
    last = (np.int64(1) << shift) - 1
    num_blocks = len(plcp)
    for k in range(num_blocks):
        joins = max(min(np.int64(plcp[k]) - min_length_bytes, last), -1)
        # behind the last block there is no text, and L bytes from inside it begin at its first position
        may_join = min(np.int64(plcp[k + 1]) + last + 1 - min_length_bytes, last) if k + 1 < num_blocks else np.int64(0)
        out_blocks[k, JOINS] = joins
        # of the first position PLCP is known
        out_blocks[k, MAY_JOIN] = max(may_join, joins) if may_join > 0 else joins
        out_blocks[k, FITS], out_blocks[k, FITS_TO] = 0, -1
    for d in range(len(offsets) - 1):
        first, last_start = offsets[d], offsets[d + 1] - min_length_bytes
        if last_start < first:
            continue
        for k in range(first >> shift, (last_start >> shift) + 1):
            begin = np.int64(k) << shift
            out_blocks[k, FITS] = max(first - begin, 0)
            out_blocks[k, FITS_TO] = min(last_start - begin, last)


@njit(**KERNEL_INNER)
def shares_bytes_kernel(text, first, second, length):
    """Whether text[first:first + length] and text[second:second + length] are equal, and inside the text."""
    if max(first, second) + length > len(text):
        return False
    a, b = np.uint64(first), np.uint64(second)  # no sign: numba looks whether a signed index is below 0
    end = np.uint64(first + length)
    while a + np.uint64(COMPARED) <= end:
        differs = np.uint8(0)
        for i in range(COMPARED):
            differs |= text[a + np.uint64(i)] ^ text[b + np.uint64(i)]
        if differs != np.uint8(0):
            return False
        a += np.uint64(COMPARED)
        b += np.uint64(COMPARED)
    while a < end:
        if text[a] != text[b]:
            return False
        a += ONE
        b += ONE
    return True


@njit(**KERNEL_INNER)
def mark_group_kernel(suffixes, kept, shift, blocks, marks):
    """Note the positions of a group that fit, `kept` left out, as marks of their blocks."""
    for r in range(len(suffixes)):
        position = suffixes[r]
        block, at = np.uint32(position) >> np.uint32(shift), position & np.int32((1 << shift) - 1)
        if blocks[block, FITS] <= at <= blocks[block, FITS_TO] and position != kept:
            marks[block, FIRST_MARK] = min(marks[block, FIRST_MARK], at)
            marks[block, LAST_MARK] = max(marks[block, LAST_MARK], at)


@njit(**KERNEL)
def mark_repeats_kernel(text, suffixes, min_length_bytes, keep_first, shift, blocks, marks):
    """The first and the last repeat of every block.

    text uint8 (B,), suffixes int32 (B,), blocks int8 (M, 4) of describe_blocks_kernel, marks int8 (M, 2): FIRST_MARK at most, LAST_MARK
    at least what is there before
    keep_first: the smallest position of a group stays; otherwise all positions of a group of two or more go
    Example: documents "abcx", "yabc", L = 3: "abc" at 0 and 5; 5 is marked, and 0 as well without keep_first.
    Cost: SA is read once in its order; 4 bytes of a block for each position, and 2 for each mark, in random order. The blocks of many
    suffixes are fetched in a row, where none waits for another's turn.
    """
    num_bytes = len(suffixes)
    words = blocks.view(np.uint32)
    fetched = np.empty(CHUNK, np.uint32)
    fields = fetched.view(np.int8)
    inside = np.int32((1 << shift) - 1)
    begin, num_fitting, smallest = 0, 0, NOTHING
    for start in range(0, num_bytes, CHUNK):
        chunk = suffixes[start : start + CHUNK]
        for i in range(len(chunk)):
            fetched[i] = words[np.uint32(chunk[i]) >> np.uint32(shift), 0]
        for i in range(len(chunk)):
            position, r = chunk[i], start + i
            at = position & inside
            joined = at <= fields[4 * i + MAY_JOIN]
            if joined and at > fields[4 * i + JOINS]:
                joined = r > 0 and shares_bytes_kernel(text, position, suffixes[r - 1], min_length_bytes)
            if not joined:
                if num_fitting > 1:
                    mark_group_kernel(suffixes[begin:r], smallest if keep_first else NOTHING, shift, blocks, marks)
                begin, num_fitting, smallest = r, 0, NOTHING
            fits = fields[4 * i + FITS] <= at <= fields[4 * i + FITS_TO]
            num_fitting += fits
            smallest = min(smallest, position if fits else NOTHING)
    if num_fitting > 1:
        mark_group_kernel(suffixes[begin:], smallest if keep_first else NOTHING, shift, blocks, marks)


@njit(**KERNEL)
def merge_spans_kernel(marks, offsets, min_length_bytes, shift, out_start, out_end, out_offsets):
    """Marked positions as merged spans [p, p + L) per document, bytes from the document's start; returns K.

    marks int8 (M, 2), LAST_MARK below 0 where a block has none; offsets int64 (N + 1,), out_start and out_end int32 (>= B // L + N,),
    out_offsets int64 (N + 1,)
    Spans that touch or overlap become one. Example: L = 3, marks at 0, 2, 8 in one document give 0-5 and 8-11. Cost: O(M + N).
    """
    num_spans = 0
    d = 0
    out_offsets[0] = 0
    begin = np.int64(-1)
    end = np.int64(-1)
    for k in range(len(marks)):
        if marks[k, LAST_MARK] < 0:
            continue
        first = (np.int64(k) << shift) + marks[k, FIRST_MARK]
        if begin >= 0 and (first > end or first >= offsets[d + 1]):
            out_start[num_spans], out_end[num_spans] = begin - offsets[d], end - offsets[d]
            num_spans += 1
            begin = np.int64(-1)
        while first >= offsets[d + 1]:
            d += 1
            out_offsets[d] = num_spans
        if begin < 0:
            begin = first
        end = (np.int64(k) << shift) + marks[k, LAST_MARK] + min_length_bytes
    if begin >= 0:
        out_start[num_spans], out_end[num_spans] = begin - offsets[d], end - offsets[d]
        num_spans += 1
    for empty in range(d + 1, len(offsets)):
        out_offsets[empty] = num_spans
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
