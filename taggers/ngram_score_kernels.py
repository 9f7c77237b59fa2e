"""How much of an evaluation item stands at one place of a document: question, answer behind it, passage before it, and the score.

Legend: I items, C tokens of one document at most; positions are token numbers, an n-gram stands where its first token stands.
Source: Olmo 3 report (arXiv 2512.13961), A.5, and decon's documentation; deviations: see taggers/contamination.py.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.ngram_index_kernels import find_gram_kernel, hash_ngram_kernel

# with every tenth word edited about .6 of a question's 5-grams are left, with every fifth about .3
MIN_NGRAM_OVERLAP = 0.2
SURE_NGRAMS = 20  # distinct n-grams from which a question speaks for itself
# of an answer or passage, from which its place is a span of its own
MIN_PART_SPAN = 0.5
NEARLY_ONE = 1.0 - 1e-9  # weights add up to 1 but for rounding
# columns of scratch.overlaps and found.overlaps
QUESTION, ANSWER, PASSAGE = 0, 1, 2
# of scratch.bounds: first token and end of the answer, and of the passage
ANSWER_FIRST, ANSWER_END, PASSAGE_FIRST, PASSAGE_END = 0, 1, 2, 3


class Settings(NamedTuple):
    """Thresholds; what each means and where it comes from stands in taggers.contamination_settings.ContaminationTaggerConfig."""

    ngram_tokens: int
    stride_tokens: int
    max_misses: int
    hot_ngram_items: int
    threshold: float
    decay_start_tokens: int
    decay_end_tokens: int
    short_answer_tokens: int
    answer_window_tokens: int
    answer_ngram_tokens: int
    long_answer_window_tokens: int
    passage_ngram_tokens: int
    passage_window_tokens: int
    passage_max_misses: int
    count_words: bool
    whole_short_questions: bool
    question_alone: float  # above 1: never
    plain: bool


class Scratch(NamedTuple):
    """Working memory of one call."""

    state: np.ndarray  # int64 (3,)   spans found so far, clusters so far, stamp of the last part looked for
    tokens: np.ndarray  # uint64 (C,)  hash of each token
    starts: np.ndarray  # int64 (C,)   byte from the document's start
    ends: np.ndarray  # int64 (C,)
    used: np.ndarray  # uint8 (C,)   1 where a question word was matched to the token
    hits: np.ndarray  # int64 (2, C)  plain rule: position and number of each n-gram found
    stamps: np.ndarray  # int64 (E,)   last cluster that matched the entry; starts at 0, clusters at 1
    answer_stamps: np.ndarray  # int64     likewise for answer n-grams and stamps of state[2]
    passage_stamps: np.ndarray  # int64
    item_slots: np.ndarray  # int32 (I,)   slot of the item in the current cluster, -1 outside it
    seen_until: np.ndarray  # int64 (I,)   row << 32 | last position up to which the item was expanded
    slot_items: np.ndarray  # int32 (I,)
    slot_first: np.ndarray  # int64 (I,)   first and last matched position
    slot_last: np.ndarray  # int64 (I,)
    slot_misses: np.ndarray  # int64 (I,)
    slot_hit: np.ndarray  # int64 (I,)   position of the last hit
    active: np.ndarray  # int32 (I,)
    bounds: np.ndarray  # int64 (4,)   where the answer and the passage of the slot scored last were found
    overlaps: np.ndarray  # float64 (3,) of question, answer and passage of the slot scored last


@njit(**KERNEL_INNER)
def ngram_overlap_kernel(item, cluster, index, scratch):
    """Share of the item's question that the cluster matched: idf of the matched distinct n-grams of all, in [0, 1].

    The sum runs in the order of the question, whatever the order of the finds.
    """
    total = 0.0
    for entry in range(index.item_offsets[item], index.item_offsets[item + 1]):
        if scratch.stamps[entry] == cluster:
            total += index.idf[index.entry_ngrams[entry]]
    return total / index.item_idf[item]


@njit(**KERNEL_INNER)
def word_overlap_kernel(item, first, end, index, scratch):
    """Share of the item's question words that stand in tokens[first:end], by idf; a document word serves one question word.

    Question "a b b c" with weights 1 against the tokens "c b a x" gives 3 / 4.
    """
    for at in range(first, end):
        scratch.used[at] = 0
    found = whole = 0.0
    # neighbours of the question are neighbours in the text, so the search starts where the last word was found
    after = first
    for token in range(index.token_offsets[item], index.token_offsets[item + 1]):
        whole += index.token_idf[token]
        for step in range(end - first):
            at = after + step
            if at >= end:
                at -= end - first
            if scratch.used[at] == 0 and scratch.tokens[at] == index.question_tokens[token]:
                scratch.used[at] = 1
                found += index.token_idf[token]
                after = at
                break
    return found / whole


@njit(**KERNEL_INNER)
def question_overlap_kernel(slot, cluster, num_tokens, index, settings, scratch):
    """How much of a slot's question the cluster holds, in [0, 1].

    By words (settings.count_words): those that stand where the question would stand if the first or the last matched n-gram
    were its end, and max_misses tokens around, once MIN_NGRAM_OVERLAP of the n-grams matched; below that, and without
    count_words, the n-gram overlap.
    """
    item = scratch.slot_items[slot]
    overlap = ngram_overlap_kernel(item, cluster, index, scratch)
    if not settings.count_words or overlap < MIN_NGRAM_OVERLAP:
        return overlap
    # edits close together can end the expansion before the question ends: its length says how far it may reach
    length = index.token_offsets[item + 1] - index.token_offsets[item]
    end_of_match = scratch.slot_last[slot] + settings.ngram_tokens
    first = max(min(scratch.slot_first[slot], end_of_match - length) - settings.max_misses, 0)
    end = min(max(end_of_match, scratch.slot_first[slot] + length) + settings.max_misses, num_tokens)
    return word_overlap_kernel(item, first, end, index, scratch)


@njit(**KERNEL_INNER)
def find_row_kernel(wanted, begin, end, scratch):
    """First place in tokens[begin:end] where the tokens `wanted` stand in a row, or -1."""
    for at in range(begin, end - len(wanted) + 1):
        k = 0
        while k < len(wanted) and scratch.tokens[at + k] == wanted[k]:
            k += 1
        if k == len(wanted):
            return np.int64(at)
    return np.int64(-1)


@njit(**KERNEL_INNER)
def sum_found_kernel(item, grams, stamps, stamp):
    """idf of the item's n-grams that bear the stamp, of all; the sum runs in their order in the item."""
    found = whole = 0.0
    for gram in range(grams.offsets[item], grams.offsets[item + 1]):
        whole += grams.idf[gram]
        if stamps[gram] == stamp:
            found += grams.idf[gram]
    return found / whole


@njit(**KERNEL_INNER)
def answer_overlap_kernel(slot, num_tokens, index, settings, scratch):
    """How much of the item's answer stands behind the question, in [0, 1]; its place goes to scratch.bounds.

    The window starts behind the last matched n-gram, or behind as many tokens as the question has from the first one on when that
    is earlier: an answer that repeats a phrase of the question makes the match longer than the question, and would be cut off
    (decon's excess tokens). It is counted from the later of the two.

    Short answers: 1 when all tokens stand there in a row, else 0. Long ones: idf of the distinct n-grams found, of all; 1 when the
    final answer that they end in stands there, since another may have worked it out.
    """
    item = scratch.slot_items[slot]
    length = index.answer_offsets[item + 1] - index.answer_offsets[item]
    match_end = scratch.slot_last[slot] + settings.ngram_tokens
    question_end = scratch.slot_first[slot] + index.token_offsets[item + 1] - index.token_offsets[item]
    begin, end = min(match_end, question_end), max(match_end, question_end)
    if length <= settings.short_answer_tokens:
        wanted = index.answer_tokens[index.answer_offsets[item] : index.answer_offsets[item + 1]]
        at = find_row_kernel(wanted, begin, min(end + settings.answer_window_tokens, num_tokens), scratch)
        if at >= 0:
            scratch.bounds[ANSWER_FIRST], scratch.bounds[ANSWER_END] = at, at + length
        return 1.0 if at >= 0 else 0.0
    end = min(end + max(settings.long_answer_window_tokens, 2 * length), num_tokens)
    scratch.state[2] += 1
    stamp = scratch.state[2]
    for at in range(begin, end - settings.answer_ngram_tokens + 1):
        key = hash_ngram_kernel(scratch.tokens, at, settings.answer_ngram_tokens)
        gram = find_gram_kernel(key, item, index.answer_grams)
        if gram >= 0:
            scratch.answer_stamps[gram] = stamp
            if scratch.bounds[ANSWER_END] == 0:
                scratch.bounds[ANSWER_FIRST] = at
            scratch.bounds[ANSWER_END] = at + settings.answer_ngram_tokens
    overlap = sum_found_kernel(item, index.answer_grams, scratch.answer_stamps, stamp)
    wanted = index.final_tokens[index.final_offsets[item] : index.final_offsets[item + 1]]
    if len(wanted) == 0 or overlap >= 1.0:
        return overlap
    at = find_row_kernel(wanted, begin, end, scratch)
    if at < 0:
        return overlap
    if overlap < MIN_PART_SPAN:
        scratch.bounds[ANSWER_FIRST], scratch.bounds[ANSWER_END] = at, at + len(wanted)
    return 1.0


@njit(**KERNEL_INNER)
def passage_overlap_kernel(slot, index, settings, scratch):
    """How much of the item's passage stands before the question, in [0, 1]: idf of the distinct n-grams found, of all.

    The walk goes back from the first matched n-gram of the question through passage_window_tokens tokens, or twice the passage's
    length when that is more. Once an n-gram was found, more than passage_max_misses in a row that the passage has not end it.
    """
    item = scratch.slot_items[slot]
    end = scratch.slot_first[slot]
    begin = max(end - max(settings.passage_window_tokens, 2 * index.passage_tokens[item]), 0)
    scratch.state[2] += 1
    stamp = scratch.state[2]
    misses = 0
    at = end - settings.passage_ngram_tokens
    while at >= begin and misses <= settings.passage_max_misses:
        key = hash_ngram_kernel(scratch.tokens, at, settings.passage_ngram_tokens)
        gram = find_gram_kernel(key, item, index.passage_grams)
        if gram >= 0:
            scratch.passage_stamps[gram] = stamp
            if scratch.bounds[PASSAGE_END] == 0:
                scratch.bounds[PASSAGE_END] = at + settings.passage_ngram_tokens
            scratch.bounds[PASSAGE_FIRST] = at
            misses = 0
        elif scratch.bounds[PASSAGE_END] > 0:
            misses += 1
        at -= 1
    return sum_found_kernel(item, index.passage_grams, scratch.passage_stamps, stamp)


@njit(**KERNEL_INNER)
def score_slot_kernel(slot, cluster, num_tokens, index, settings, scratch):
    """Score of one item in the cluster, in [0, 1]: contaminated when it reaches settings.threshold.

    raw = w_q O_q + w_a O_a + w_p O_p with the item's own weights. The answer and the passage are looked for only when the question's
    overlap reaches the item's least and the sum can reach what it needs. A question of SURE_NGRAMS distinct n-grams or more of which
    settings.question_alone was found has at least the threshold, even without its answer. The score is raw times threshold over what an
    item of this length needs, so that one threshold holds for all lengths; a perfect one is 1.
    """
    item = scratch.slot_items[slot]
    for place in range(len(scratch.bounds)):
        scratch.bounds[place] = 0
    overlap = question_overlap_kernel(slot, cluster, num_tokens, index, settings, scratch)
    scratch.overlaps[QUESTION], scratch.overlaps[ANSWER], scratch.overlaps[PASSAGE] = overlap, 0.0, 0.0
    weight, answer_weight, passage_weight = index.weights[item, 0], index.weights[item, 1], index.weights[item, 2]
    raw = weight * overlap
    is_enough = overlap >= index.least_overlap[item]
    if is_enough and raw + answer_weight + passage_weight >= index.needed[item] * NEARLY_ONE:
        if answer_weight > 0:
            scratch.overlaps[ANSWER] = answer_overlap_kernel(slot, num_tokens, index, settings, scratch)
        if passage_weight > 0:
            scratch.overlaps[PASSAGE] = passage_overlap_kernel(slot, index, settings, scratch)
        raw += answer_weight * scratch.overlaps[ANSWER] + passage_weight * scratch.overlaps[PASSAGE]
    if raw >= NEARLY_ONE:
        return 1.0
    score = raw * settings.threshold / index.needed[item]
    if overlap >= settings.question_alone and index.item_offsets[item + 1] - index.item_offsets[item] >= SURE_NGRAMS:
        return max(score, settings.threshold)
    # an overlap below the least one is below 1, so that this stays below the threshold
    return score if is_enough else min(score, settings.threshold * overlap)
