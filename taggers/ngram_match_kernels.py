"""Finding evaluation items in documents: n-gram look-up at a stride, expansion of a hit, the best item of each place; and the plain rule.

Legend: N documents, B bytes of all texts together, W tokens of one document, I items, E entries: one per (item, distinct n-gram of its
question), S spans. Positions are token numbers; an n-gram stands where its first token stands.

Source: Olmo 3 report (arXiv 2512.13961), A.5, and decon's documentation; deviations: see taggers/contamination.py.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.ngram_index_kernels import find_ngram_kernel, find_rolled_kernel, roll_kernel, sum_ngram_kernel
from taggers.ngram_score_kernels import (
    ANSWER,
    ANSWER_END,
    ANSWER_FIRST,
    MIN_PART_SPAN,
    PASSAGE,
    PASSAGE_END,
    PASSAGE_FIRST,
    forget_places_kernel,
    score_slot_kernel,
)
from taggers.ngram_tokens_kernels import split_tokens_kernel


class Found(NamedTuple):
    """Output."""

    scores: np.ndarray  # float64 (N,)  best score, 0 without any cluster
    items: np.ndarray  # int64 (N,)    item of the best score, -1 without
    overlaps: np.ndarray  # float64 (N, 3) its question, answer and passage
    span_rows: np.ndarray  # int64 (S,)    spans of contaminated parts, by row and start
    span_starts: np.ndarray  # int64 (S,)    bytes from the document's start
    span_ends: np.ndarray  # int64 (S,)
    span_scores: np.ndarray  # float64 (S,)
    span_items: np.ndarray  # int64 (S,)


@njit(**KERNEL_INNER)
def start_cluster_kernel(ngram, position, row, index, scratch):
    """Open a slot for every item of the n-gram that was not expanded over this position already; returns their number."""
    num_slots = 0
    scratch.state[1] += 1
    for k in range(index.posting_offsets[ngram], index.posting_offsets[ngram + 1]):
        entry = index.postings[k]
        item = index.entry_owners[entry]
        if scratch.seen_until[item] >= (row << 32 | position):
            continue
        scratch.item_slots[item] = num_slots
        scratch.slot_items[num_slots] = item
        scratch.slot_first[num_slots] = scratch.slot_last[num_slots] = position
        scratch.slot_hit[num_slots] = -1
        scratch.stamps[entry] = scratch.state[1]
        num_slots += 1
    return num_slots


@njit(**KERNEL_INNER)
def expand_kernel(position, step, num_ngrams, num_slots, index, settings, scratch):
    """Walk from the hit at `position` in steps of +1 or -1; an item leaves after max_misses n-grams in a row without it."""
    num_active = num_slots
    for slot in range(num_slots):
        scratch.active[slot] = slot
        scratch.slot_misses[slot] = 0
    position += step
    while num_active > 0 and 0 <= position < num_ngrams:
        ngram = find_ngram_kernel(scratch.tokens, position, settings.ngram_tokens, index)
        if ngram >= 0:
            for k in range(index.posting_offsets[ngram], index.posting_offsets[ngram + 1]):
                entry = index.postings[k]
                slot = scratch.item_slots[index.entry_owners[entry]]
                if slot >= 0 and scratch.slot_misses[slot] < settings.max_misses:
                    scratch.stamps[entry] = scratch.state[1]
                    scratch.slot_hit[slot] = position
                    scratch.slot_first[slot] = min(scratch.slot_first[slot], position)
                    scratch.slot_last[slot] = max(scratch.slot_last[slot], position)
        kept = 0
        for k in range(num_active):
            slot = scratch.active[k]
            scratch.slot_misses[slot] = 0 if scratch.slot_hit[slot] == position else scratch.slot_misses[slot] + 1
            if scratch.slot_misses[slot] < settings.max_misses:
                scratch.active[kept] = slot
                kept += 1
        num_active = kept
        position += step


@njit(**KERNEL_INNER)
def close_cluster_kernel(row, num_slots, num_tokens, index, settings, scratch, found):
    """Score all slots, keep the document's best item, free the slots; write the spans of the cluster's best item."""
    best_score, best = -1.0, np.int64(0)
    best_bounds = (np.int64(0), np.int64(0), np.int64(0), np.int64(0))
    for slot in range(num_slots):
        score = score_slot_kernel(slot, scratch.state[1], num_tokens, index, settings, scratch)
        item = scratch.slot_items[slot]
        bounds = scratch.bounds
        if score > best_score:
            best_score, best = score, slot
            has_answer = scratch.overlaps[ANSWER] >= MIN_PART_SPAN
            has_passage = scratch.overlaps[PASSAGE] >= MIN_PART_SPAN
            best_bounds = (
                bounds[ANSWER_FIRST], bounds[ANSWER_END] if has_answer else np.int64(0),
                bounds[PASSAGE_FIRST], bounds[PASSAGE_END] if has_passage else np.int64(0),
            )  # fmt: skip
        if score > found.scores[row] or (score == found.scores[row] and 0 <= item < found.items[row]):
            found.scores[row] = score
            found.items[row] = item
            for part in range(len(scratch.overlaps)):  # assignments of slices take long to compile
                found.overlaps[row, part] = scratch.overlaps[part]
        scratch.seen_until[item] = row << 32 | scratch.slot_last[slot]
        scratch.item_slots[item] = -1
    if best_score >= settings.threshold:
        end = scratch.slot_last[best] + settings.ngram_tokens
        places = (
            (best_bounds[2], best_bounds[3]), (scratch.slot_first[best], end), (best_bounds[0], best_bounds[1]),
        )  # fmt: skip
        for first, last in places:
            if last > 0:
                add_span_kernel(row, first, last, best_score, np.int64(scratch.slot_items[best]), scratch, found)


@njit(**KERNEL_INNER)
def add_span_kernel(row, first, end, score, item, scratch, found):
    """Put tokens[first:end] of `row` among its spans, which stay sorted and disjoint: spans that it meets become one with it.

    One that joins others bears the best score and, of equal ones, the lowest item. Past the capacity spans are counted and not stored.
    """
    num_spans = scratch.state[0]
    if num_spans >= len(found.span_rows):
        scratch.state[0] = num_spans + 1
        return
    start_byte, end_byte = scratch.starts[first], scratch.ends[end - 1]
    high = num_spans  # spans from here on lie behind
    while high > 0 and found.span_rows[high - 1] == row and found.span_starts[high - 1] > end_byte:
        high -= 1
    low = high  # spans low to high meet it
    while low > 0 and found.span_rows[low - 1] == row and found.span_ends[low - 1] >= start_byte:
        low -= 1
        start_byte = min(start_byte, found.span_starts[low])
        end_byte = max(end_byte, found.span_ends[low])
        if found.span_scores[low] > score or (found.span_scores[low] == score and found.span_items[low] < item):
            score, item = found.span_scores[low], found.span_items[low]
    shift = 1 - (high - low)
    if shift > 0:
        for k in range(num_spans - 1, high - 1, -1):
            move_span_kernel(k, k + shift, found)
    elif shift < 0:
        for k in range(high, num_spans):
            move_span_kernel(k, k + shift, found)
    found.span_rows[low] = row
    found.span_starts[low] = start_byte
    found.span_ends[low] = end_byte
    found.span_scores[low] = score
    found.span_items[low] = item
    scratch.state[0] = num_spans + shift


@njit(**KERNEL_INNER)
def move_span_kernel(source, target, found):
    """Copy one span to another place."""
    found.span_rows[target] = found.span_rows[source]
    found.span_starts[target] = found.span_starts[source]
    found.span_ends[target] = found.span_ends[source]
    found.span_scores[target] = found.span_scores[source]
    found.span_items[target] = found.span_items[source]


@njit(**KERNEL_INNER)
def search_row_kernel(row, num_tokens, index, settings, scratch, found):
    """Best item, its score and the contaminated spans of the document whose tokens are in `scratch`.

    With one item, question "one two three four five six" and no answer, n = 5: the text "x One, two three four five six!"
    has the span of "One ... six", bytes 2 to 30.
    """
    num_ngrams = num_tokens - settings.ngram_tokens + 1
    forget_places_kernel(scratch)
    position = np.int64(0)
    while position < num_ngrams:
        ngram = find_ngram_kernel(scratch.tokens, position, settings.ngram_tokens, index)
        if ngram < 0:
            position += settings.stride_tokens
            continue
        if index.posting_offsets[ngram + 1] - index.posting_offsets[ngram] > settings.hot_ngram_items:
            position += 1  # a phrase of very many items starts nothing: look at the next n-gram
            continue
        num_slots = start_cluster_kernel(ngram, position, row, index, scratch)
        if num_slots > 0:
            expand_kernel(position, 1, num_ngrams, num_slots, index, settings, scratch)
            expand_kernel(position, -1, num_ngrams, num_slots, index, settings, scratch)
            close_cluster_kernel(row, num_slots, num_tokens, index, settings, scratch, found)
        position += settings.stride_tokens


@njit(**KERNEL_INNER)
def list_hits_kernel(num_tokens, index, settings, scratch):
    """Position and number of every n-gram of the document that stands in an item, to scratch.hits; returns how many."""
    num_hits = 0
    length = settings.ngram_tokens
    if num_tokens < length:
        return num_hits
    value, power = sum_ngram_kernel(scratch.tokens, length)
    for position in range(num_tokens - length + 1):
        if position > 0:
            value = roll_kernel(value, scratch.tokens, position, length, power)
        ngram = find_rolled_kernel(value, index)
        if ngram >= 0:
            scratch.hits[0, num_hits], scratch.hits[1, num_hits] = position, ngram
            num_hits += 1
    return num_hits


@njit(**KERNEL_INNER)
def search_row_plainly_kernel(row, num_tokens, index, settings, scratch, found):
    """The plain rule: an item is found by the share of its distinct n-grams that stand anywhere in the document.

    Every n-gram of an item whose share reaches settings.threshold marks its bytes, with the largest such share and that item.
    """
    num_hits = list_hits_kernel(num_tokens, index, settings, scratch)
    counts = scratch.slot_first  # distinct n-grams found, per item
    for k in range(num_hits):
        ngram = scratch.hits[1, k]
        for posting in range(index.posting_offsets[ngram], index.posting_offsets[ngram + 1]):
            entry = index.postings[posting]
            if scratch.stamps[entry] == row + 1:
                continue
            scratch.stamps[entry] = row + 1
            item = index.entry_owners[entry]
            if scratch.seen_until[item] != row:
                scratch.seen_until[item] = row
                counts[item] = 0
            counts[item] += 1
            score = counts[item] / (index.entry_offsets[item + 1] - index.entry_offsets[item])
            if score > found.scores[row] or (score == found.scores[row] and item < found.items[row]):
                found.scores[row] = score
                found.items[row] = item
    found.overlaps[row, 0] = found.scores[row]
    if found.scores[row] < settings.threshold:
        return
    for k in range(num_hits):
        position, ngram = scratch.hits[0, k], scratch.hits[1, k]
        best_score, best = -1.0, np.int64(-1)
        for posting in range(index.posting_offsets[ngram], index.posting_offsets[ngram + 1]):
            item = index.entry_owners[index.postings[posting]]
            score = counts[item] / (index.entry_offsets[item + 1] - index.entry_offsets[item])
            if score > best_score or (score == best_score and item < best):
                best_score, best = score, np.int64(item)
        if best_score >= settings.threshold:
            add_span_kernel(row, position, position + settings.ngram_tokens, best_score, best, scratch, found)


@njit(**KERNEL)
def find_items_kernel(data, offsets, tables, index, settings, scratch, found):
    """Findings in word tokens of N documents; scratch.state[0] is the number of spans.

    data : uint8 (B,), offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    found.scores, found.items                      start at 0 and -1

    When there are more spans than found.span_rows has room for, the caller enlarges and calls again.
    """
    for row in range(len(offsets) - 1):
        text = data[offsets[row] : offsets[row + 1]]
        num_tokens = split_tokens_kernel(text, 0, len(text), tables, scratch.tokens, scratch.starts, scratch.ends)
        search_row_kernel(row, num_tokens, index, settings, scratch, found)


@njit(**KERNEL)
def find_items_plainly_kernel(data, offsets, tables, index, settings, scratch, found):
    """find_items_kernel by the plain rule."""
    for row in range(len(offsets) - 1):
        text = data[offsets[row] : offsets[row + 1]]
        num_tokens = split_tokens_kernel(text, 0, len(text), tables, scratch.tokens, scratch.starts, scratch.ends)
        search_row_plainly_kernel(row, num_tokens, index, settings, scratch, found)


@njit(**KERNEL_INNER)
def take_row_kernel(row, tokens, scratch):
    """Copy the tokens of a document to `scratch`; returns how many."""
    first, end = tokens.offsets[row], tokens.offsets[row + 1]
    for k in range(end - first):
        scratch.tokens[k] = tokens.hashes[first + k]
        scratch.starts[k] = tokens.starts[first + k]
        scratch.ends[k] = tokens.ends[first + k]
    return end - first


@njit(**KERNEL)
def find_token_items_kernel(tokens, index, settings, scratch, found):
    """find_items_kernel for documents that are tokens already (taggers.ngram_tokens.Tokens)."""
    for row in range(len(tokens.offsets) - 1):
        search_row_kernel(row, take_row_kernel(row, tokens, scratch), index, settings, scratch, found)


@njit(**KERNEL)
def find_token_items_plainly_kernel(tokens, index, settings, scratch, found):
    """find_token_items_kernel by the plain rule."""
    for row in range(len(tokens.offsets) - 1):
        search_row_plainly_kernel(row, take_row_kernel(row, tokens, scratch), index, settings, scratch, found)
