"""Evaluation items in documents by alignment: a few telling n-grams of each item as seeds, then all words of the question in their order.

Seeds and then an alignment is how sequences are searched in biology (Altschul et al., 1990, BLAST). A seed leads to the items that
have it and to a place where the item would begin; two seeds of an item with places not far apart (one, of an item with FEW_SEEDS or
fewer) start the alignment, the heaviest common subsequence of the question's tokens and those of the place. An edited word costs its own
weight, and words in another order do not count.

The numbers here are not the field's: chosen on items of eleven benchmarks planted in documents with 0 to 20% of their words edited,
beside 20,000 documents that hold none (benchmarks/contamination_quality.py).

Legend: N documents, C tokens of one document at most, I items, E entries: one per (item, seed). Positions are token numbers.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.ngram_index_kernels import find_rolled_kernel, roll_kernel, sum_ngram_kernel
from taggers.ngram_match_kernels import add_span_kernel, take_row_kernel
from taggers.ngram_score_kernels import (
    ANSWER,
    ANSWER_END,
    ANSWER_FIRST,
    MIN_PART_SPAN,
    NEARLY_ONE,
    PASSAGE,
    PASSAGE_END,
    PASSAGE_FIRST,
    QUESTION,
    find_final_kernel,
    find_short_answer_kernel,
    passage_overlap_kernel,
)
from taggers.ngram_tokens_kernels import split_tokens_kernel

LEAST_OVERLAP = 0.6  # of a question, below which neither answer nor passage is looked for
MAX_ANSWER_TOKENS = (
    400  # of a longer answer its beginning is aligned; the time is quadratic, at each place of the question
)
SLACK_TOKENS = 8  # inserted or left out before and behind the place of a question, and an eighth of its length
FEW_SEEDS = (
    6  # of so many or fewer seeds one is enough, of more it takes two: an edited word takes three 3-grams with it
)
_TRIED = np.int64(-(1 << 40))


@njit(**KERNEL_INNER)
def align_kernel(words, weights, first, end, scratch):
    """(share of the words' weight that stands in tokens[first:end] in their order, its first token, its end).

    words uint64 (n,), weights float64 (n,). The heaviest common subsequence; of equal ones the first that ends, and of these the last
    that begins. "a b b c" with weights 1 against the tokens "c b a b x" gives (2 / 4, 2, 4). Time n (end - first).
    """
    row, begins = scratch.row, scratch.begins
    for at in range(end - first + 1):
        row[at] = 0.0
        begins[at] = end
    whole = 0.0
    for k in range(len(words)):
        word, weight = words[k], weights[k]
        whole += weight
        diagonal, diagonal_begin = 0.0, end  # of the words before this one, up to the token before this one
        left, left_begin = 0.0, end
        for at in range(1, end - first + 1):
            best, begin = row[at], begins[at]
            above, above_begin = best, begin
            if left > best or (left == best and left_begin > begin):
                best, begin = left, left_begin
            if scratch.tokens[first + at - 1] == word:
                found = diagonal + weight
                found_begin = diagonal_begin if diagonal > 0.0 else first + at - 1
                if found > best or (found == best and found_begin > begin):
                    best, begin = found, found_begin
            row[at], begins[at] = best, begin
            left, left_begin = best, begin
            diagonal, diagonal_begin = above, above_begin
    last = end - first
    while last > 0 and row[last - 1] == row[end - first]:
        last -= 1
    if whole <= 0.0 or row[last] <= 0.0:
        return 0.0, first, first
    return row[last] / whole, np.int64(begins[last]), first + last


@njit(**KERNEL_INNER)
def align_answer_kernel(item, begin, num_tokens, index, settings, scratch):
    """How much of the item's answer stands in the tokens from `begin` on, in [0, 1]; its place goes to scratch.bounds.

    Short answers: 1 when all tokens stand in a row, else 0. Long ones by alignment; 1 when the final answer that they end in stands there,
    since another may have worked it out.
    """
    first_word, end_word = index.answer_offsets[item], index.answer_offsets[item + 1]
    length = end_word - first_word
    if length <= settings.short_answer_tokens:
        return find_short_answer_kernel(item, begin, begin + settings.answer_window_tokens, num_tokens, index, scratch)
    end = min(begin + max(settings.long_answer_window_tokens, 2 * length), num_tokens)
    end_word = min(end_word, first_word + MAX_ANSWER_TOKENS)
    words, weights = index.answer_tokens[first_word:end_word], index.answer_idf[first_word:end_word]
    aligned_end = min(end, begin + max(settings.long_answer_window_tokens, 2 * MAX_ANSWER_TOKENS))
    overlap, first, last = align_kernel(words, weights, begin, aligned_end, scratch)
    scratch.bounds[ANSWER_FIRST], scratch.bounds[ANSWER_END] = first, last
    return find_final_kernel(item, overlap, begin, end, index, scratch)


@njit(**KERNEL_INNER)
def align_question_kernel(item, row, first, end, index, scratch):
    """align_kernel for an item's question, once for all items with that question (the choices of one) at one place."""
    group = index.question_groups[item]
    window, place = scratch.group_windows, scratch.group_places
    low, high = row << 32 | first, row << 32 | end
    if window[group, 0] != low or window[group, 1] != high:
        window[group, 0], window[group, 1] = low, high
        begin_word, end_word = index.token_offsets[item], index.token_offsets[item + 1]
        words, weights = index.question_tokens[begin_word:end_word], index.token_idf[begin_word:end_word]
        scratch.group_overlaps[group], place[group, 0], place[group, 1] = align_kernel(
            words, weights, first, end, scratch
        )
    return scratch.group_overlaps[group], place[group, 0], place[group, 1]


@njit(**KERNEL_INNER)
def score_place_kernel(item, row, first, end, num_tokens, index, settings, scratch):
    """(score, first token of the question, its end) of an item whose question would stand in tokens[first:end].

    raw = w_q O_q + w_a O_a + w_p O_p with the item's own weights. Where the question's overlap reaches what it needs alone
    (index.needed_alone, whatever the threshold is), the score is threshold + (1 - threshold) raw, else raw. When all is there it is 1.
    """
    for place in range(len(scratch.bounds)):
        scratch.bounds[place] = 0
    overlap, begin, last = align_question_kernel(item, row, first, end, index, scratch)
    scratch.overlaps[QUESTION], scratch.overlaps[ANSWER], scratch.overlaps[PASSAGE] = overlap, 0.0, 0.0
    raw = index.weights[item, 0] * overlap
    if overlap >= LEAST_OVERLAP:
        if index.weights[item, 1] > 0:
            scratch.overlaps[ANSWER] = align_answer_kernel(item, last, num_tokens, index, settings, scratch)
        if index.weights[item, 2] > 0:
            scratch.overlaps[PASSAGE] = passage_overlap_kernel(item, begin, index, settings, scratch)
        raw += index.weights[item, 1] * scratch.overlaps[ANSWER] + index.weights[item, 2] * scratch.overlaps[PASSAGE]
    if raw >= NEARLY_ONE:
        return 1.0, begin, last
    if overlap >= index.needed_alone[item]:
        return settings.threshold + (1.0 - settings.threshold) * raw, begin, last
    return raw, begin, last


@njit(**KERNEL_INNER)
def slack_kernel(length):
    """Tokens by which a place may be longer than its question, to each side."""
    return SLACK_TOKENS + length // 8


@njit(**KERNEL_INNER)
def count_seed_kernel(row, position, entry, index, scratch):
    """Note a seed at a position; whether its item is to be aligned now.

    A cluster of an item: seeds whose places begin within a question's length and its slack of each other, with gaps of no more than that.
    After an alignment that found the item another cluster begins; after one that did not, where seeds lie outside of what was looked at.
    """
    item = index.entry_items[entry]
    key = row << 32 | position
    if key < scratch.seen_until[item]:
        return False
    length = index.token_offsets[item + 1] - index.token_offsets[item]
    reach = length + slack_kernel(length)
    begin = position - index.entry_places[entry]
    low, high, count = scratch.slot_first[item], scratch.slot_last[item], scratch.slot_misses[item]
    together = scratch.slot_hit[item] >= row << 32 and key - scratch.slot_hit[item] <= reach
    if together and count < 0:
        together = low - slack_kernel(length) <= begin <= high + slack_kernel(length)
    elif together:
        together = high - reach <= begin <= low + reach
    if not together:
        scratch.state[1] += 1
        scratch.slot_clusters[item] = scratch.state[1]
        low = high = begin
        count = 0
    scratch.slot_hit[item] = key
    if scratch.stamps[entry] != scratch.slot_clusters[item]:
        scratch.stamps[entry] = scratch.slot_clusters[item]
        count += 1
    scratch.slot_misses[item] = count
    if count >= 0:
        scratch.slot_first[item], scratch.slot_last[item] = min(low, begin), max(high, begin)
    num_seeds = index.item_offsets[item + 1] - index.item_offsets[item]
    return count >= (1 if num_seeds <= FEW_SEEDS else 2)


@njit(**KERNEL_INNER)
def close_place_kernel(row, item, num_tokens, index, settings, scratch, found):
    """Align an item where its seeds say, keep the document's best, write the spans of a contaminated place."""
    length = index.token_offsets[item + 1] - index.token_offsets[item]
    slack = slack_kernel(length)
    first = max(scratch.slot_first[item] - slack, 0)
    if scratch.seen_until[item] >= row << 32:  # what was an occurrence is not one again
        first = max(first, scratch.seen_until[item] - (row << 32))
    end = min(scratch.slot_last[item] + length + slack, num_tokens)
    scratch.slot_misses[item] = _TRIED
    score, begin, last = score_place_kernel(item, row, first, end, num_tokens, index, settings, scratch)
    if score > found.scores[row] or (score == found.scores[row] and 0 <= item < found.items[row]):
        found.scores[row], found.items[row] = score, item
        for part in range(len(scratch.overlaps)):  # assignments of slices take long to compile
            found.overlaps[row, part] = scratch.overlaps[part]
    if score < settings.threshold:
        return
    scratch.seen_until[item], scratch.slot_hit[item] = row << 32 | last, -1
    add_span_kernel(row, begin, last, score, np.int64(item), scratch, found)
    bounds = scratch.bounds
    if scratch.overlaps[ANSWER] >= MIN_PART_SPAN and bounds[ANSWER_END] > 0:
        add_span_kernel(row, bounds[ANSWER_FIRST], bounds[ANSWER_END], score, np.int64(item), scratch, found)
    if scratch.overlaps[PASSAGE] >= MIN_PART_SPAN and bounds[PASSAGE_END] > 0:
        add_span_kernel(row, bounds[PASSAGE_FIRST], bounds[PASSAGE_END], score, np.int64(item), scratch, found)


@njit(**KERNEL_INNER)
def align_row_kernel(row, num_tokens, index, settings, scratch, found):
    """Best item, its score and the contaminated spans of the document whose tokens are in `scratch`.

    With one item, question "one two three four five six" and no answer: the text "x One, two three and four five six!" has the span of
    "One ... six", bytes 2 to 34, with score 1.
    """
    length = settings.ngram_tokens
    if num_tokens < length:
        return
    value, power = sum_ngram_kernel(scratch.tokens, length)
    for position in range(num_tokens - length + 1):
        if position > 0:
            value = roll_kernel(value, scratch.tokens, position, length, power)
        ngram = find_rolled_kernel(value, index)
        if ngram < 0:
            continue
        for k in range(index.posting_offsets[ngram], index.posting_offsets[ngram + 1]):
            entry = index.postings[k]
            if count_seed_kernel(row, position, entry, index, scratch):
                close_place_kernel(row, index.entry_items[entry], num_tokens, index, settings, scratch, found)


@njit(**KERNEL)
def align_items_kernel(data, offsets, tables, index, settings, scratch, found):
    """Findings in word tokens of N documents by alignment; scratch.state[0] is the number of spans.

    data : uint8 (B,), offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    """
    for row in range(len(offsets) - 1):
        text = data[offsets[row] : offsets[row + 1]]
        num_tokens = split_tokens_kernel(text, 0, len(text), tables, scratch.tokens, scratch.starts, scratch.ends)
        align_row_kernel(row, num_tokens, index, settings, scratch, found)


@njit(**KERNEL)
def align_token_items_kernel(tokens, index, settings, scratch, found):
    """align_items_kernel for documents that are tokens already (taggers.ngram_tokens.Tokens)."""
    for row in range(len(tokens.offsets) - 1):
        align_row_kernel(row, take_row_kernel(row, tokens, scratch), index, settings, scratch, found)
