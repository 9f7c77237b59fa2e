"""How much of an evaluation item stands at one place of a document: question, answer behind it, passage before it, and the score.

Legend: I items, C tokens of one document at most; positions are token numbers, an n-gram stands where its first token stands.
Source: Olmo 3 report (arXiv 2512.13961), A.5, and decon's documentation; deviations: see taggers/contamination.py.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.ngram_index_kernels import find_gram_kernel, has_bit_kernel, hash_ngram_kernel

SURE_NGRAMS = 20  # distinct n-grams from which a question speaks for itself
# of an answer or passage, from which its place is a span of its own
MIN_PART_SPAN = 0.5
NEARLY_ONE = 1.0 - 1e-9  # weights add up to 1 but for rounding
# columns of scratch.overlaps and found.overlaps
QUESTION, ANSWER, PASSAGE = 0, 1, 2
# of scratch.bounds: first token and end of the answer, and of the passage
ANSWER_FIRST, ANSWER_END, PASSAGE_FIRST, PASSAGE_END = 0, 1, 2, 3
# of scratch.memo: what is known of the place looked at last, for all items that have the same question
WINDOW_BEGIN, WINDOW_END, WINDOW_STAMP, BEFORE, BEFORE_NEXT, NUM_HITS = 0, 1, 2, 3, 4, 5
WINDOW_TOKENS = 2048  # of a longer window nothing is noted
WINDOW_SLOTS = 2 * WINDOW_TOKENS
_ONE = np.uint64(1)


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
    whole_short_questions: bool
    question_alone: float  # above 1: never
    short_question_alone: float
    alone_start_tokens: int
    alone_end_tokens: int
    plain: bool  # one of plain and aligned at most; neither: decon's search
    aligned: bool


class Scratch(NamedTuple):
    """Working memory of one call."""

    state: np.ndarray  # int64 (3,)   spans found so far, clusters so far, stamp of the last part looked for
    tokens: np.ndarray  # uint64 (C,)  hash of each token
    starts: np.ndarray  # int64 (C,)   byte from the document's start
    ends: np.ndarray  # int64 (C,)
    row: np.ndarray  # float64 (C + 1,)  of align_kernel: weight of the best alignment up to each token
    begins: np.ndarray  # int64 (C + 1,)  and its first token
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
    slot_hit: np.ndarray  # int64 (I,)   position of the last hit; aligned: row << 32 | position
    slot_seeds: np.ndarray  # int64 (I,)   aligned, where slots are classes: a bit for each seed of the cluster
    class_ends: (
        np.ndarray
    )  # int64 (I,)   a class: members[slot:class_ends[slot]], items of one question that had the same fate so far
    members: np.ndarray  # int32 (I,)   items by question; within it, by class
    owner_rows: np.ndarray  # int64 (O,)   aligned: the document that a question's classes are of
    owner_windows: np.ndarray  # int64 (O, 2)  where each question was looked for last, row << 32 | token
    owner_places: np.ndarray  # int64 (O, 2)  where it was found
    owner_overlaps: np.ndarray  # float64 (O,)
    active: np.ndarray  # int32 (I,)
    memo: np.ndarray  # int64 (6,)   first token and end of the window noted, its stamp; the question's begin, the token to look at next, hits
    window_words: np.ndarray  # uint64 (WINDOW_SLOTS,)  open addressing: tokens of the window behind the question
    window_stamps: np.ndarray  # int64 (WINDOW_SLOTS,)
    kept_words: np.ndarray  # uint64  of a long answer the tokens that stand in the window
    kept_weights: np.ndarray  # float64
    hit_places: np.ndarray  # int64 (C,)   where n-grams of any passage stand before the question, backwards
    hit_keys: np.ndarray  # uint64 (C,)
    bounds: np.ndarray  # int64 (4,)   where the answer and the passage of the slot scored last were found
    overlaps: np.ndarray  # float64 (3,) of question, answer and passage of the slot scored last


@njit(**KERNEL_INNER)
def ngram_overlap_kernel(item, cluster, index, scratch):
    """Share of the item's question that the cluster matched: idf of the matched distinct n-grams of all, in [0, 1].

    The sum runs in the order of the question, whatever the order of the finds.
    """
    total = 0.0
    for entry in range(index.entry_offsets[item], index.entry_offsets[item + 1]):
        if scratch.stamps[entry] == cluster:
            total += index.idf[index.entry_ngrams[entry]]
    return total / index.item_idf[item]


@njit(**KERNEL_INNER)
def forget_places_kernel(scratch):
    """Before the first place of a document."""
    scratch.memo[WINDOW_BEGIN] = scratch.memo[BEFORE] = -1


@njit(**KERNEL_INNER)
def note_window_kernel(begin, end, scratch):
    """Note the tokens of tokens[begin:end]; whether they are noted: not those of a window of more than WINDOW_TOKENS.

    They stay noted while windows begin there, for whichever items; what a longer window has stays noted too.
    """
    if end - begin > WINDOW_TOKENS:
        return False
    memo, words, stamps, mask = scratch.memo, scratch.window_words, scratch.window_stamps, np.uint64(WINDOW_SLOTS - 1)
    if memo[WINDOW_BEGIN] != begin:
        memo[WINDOW_BEGIN] = memo[WINDOW_END] = begin
        memo[WINDOW_STAMP] += 1
    stamp = memo[WINDOW_STAMP]
    for at in range(memo[WINDOW_END], end):
        word = scratch.tokens[at]
        slot = word & mask
        while stamps[slot] == stamp and words[slot] != word:
            slot = (slot + _ONE) & mask
        stamps[slot], words[slot] = stamp, word
    memo[WINDOW_END] = max(memo[WINDOW_END], end)
    return True


@njit(**KERNEL_INNER)
def is_noted_kernel(word, words, stamps, stamp):
    """Whether a token stands in the window noted under the stamp; words and stamps are those of scratch."""
    mask = np.uint64(WINDOW_SLOTS - 1)
    slot = word & mask
    while stamps[slot] == stamp:
        if words[slot] == word:
            return True
        slot = (slot + _ONE) & mask
    return False


@njit(**KERNEL_INNER)
def count_noted_kernel(wanted, words, stamps, stamp):
    """How many of the tokens stand in the window noted."""
    count = 0
    for word in wanted:
        count += is_noted_kernel(word, words, stamps, stamp)
    return count


@njit(**KERNEL_INNER)
def find_row_kernel(wanted, begin, end, tokens):
    """First place in tokens[begin:end] where the tokens `wanted` stand in a row, or -1."""
    for at in range(begin, end - len(wanted) + 1):
        k = 0
        while k < len(wanted) and tokens[at + k] == wanted[k]:
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
def find_short_answer_kernel(item, begin, end, num_tokens, index, scratch):
    """1 when all tokens of the item's answer stand in a row in tokens[begin:end], else 0; their place goes to scratch.bounds."""
    wanted = index.answer_tokens[index.answer_offsets[item] : index.answer_offsets[item + 1]]
    at = find_row_kernel(wanted, begin, min(end, num_tokens), scratch.tokens)
    if at < 0:
        return 0.0
    scratch.bounds[ANSWER_FIRST], scratch.bounds[ANSWER_END] = at, at + len(wanted)
    return 1.0


@njit(**KERNEL_INNER)
def find_final_kernel(item, overlap, begin, end, index, scratch):
    """An answer's overlap, or 1 when the final answer that it ends in stands in tokens[begin:end]: another may have worked it out.

    With less than MIN_PART_SPAN of the answer the place in scratch.bounds becomes that of the final answer.
    """
    wanted = index.final_tokens[index.final_offsets[item] : index.final_offsets[item + 1]]
    if len(wanted) == 0 or overlap >= 1.0:
        return overlap
    at = find_row_kernel(wanted, begin, end, scratch.tokens)
    if at < 0:
        return overlap
    if overlap < MIN_PART_SPAN:
        scratch.bounds[ANSWER_FIRST], scratch.bounds[ANSWER_END] = at, at + len(wanted)
    return 1.0


@njit(**KERNEL_INNER)
def answer_overlap_kernel(slot, num_tokens, index, settings, scratch):
    """How much of the item's answer stands behind the question, in [0, 1]; its place goes to scratch.bounds.

    The window starts behind the last matched n-gram, or behind as many tokens as the question has from the first one on when that
    is earlier: an answer that repeats a phrase of the question makes the match longer than the question, and would be cut off
    (decon's excess tokens). It is counted from the later of the two.

    Short answers: find_short_answer_kernel. Long ones: idf of the distinct n-grams found, of all; then find_final_kernel.
    """
    item = scratch.slot_items[slot]
    length = index.answer_offsets[item + 1] - index.answer_offsets[item]
    match_end = scratch.slot_last[slot] + settings.ngram_tokens
    question_end = scratch.slot_first[slot] + index.token_offsets[item + 1] - index.token_offsets[item]
    begin, end = min(match_end, question_end), max(match_end, question_end)
    if length <= settings.short_answer_tokens:
        return find_short_answer_kernel(item, begin, end + settings.answer_window_tokens, num_tokens, index, scratch)
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
    return find_final_kernel(item, overlap, begin, end, index, scratch)


@njit(**KERNEL_INNER)
def note_hits_kernel(begin, end, index, settings, scratch):
    """Note which n-grams of tokens[begin:end] may be some passage's, from the last on backwards: once for all items at one place."""
    memo = scratch.memo
    if memo[BEFORE] != end:
        memo[BEFORE], memo[BEFORE_NEXT], memo[NUM_HITS] = end, end - settings.passage_ngram_tokens, 0
    for at in range(memo[BEFORE_NEXT], begin - 1, -1):
        key = hash_ngram_kernel(scratch.tokens, at, settings.passage_ngram_tokens)
        if has_bit_kernel(key, index.passage_filter, index.passage_filter_shift):
            scratch.hit_places[memo[NUM_HITS]], scratch.hit_keys[memo[NUM_HITS]] = at, key
            memo[NUM_HITS] += 1
    memo[BEFORE_NEXT] = min(memo[BEFORE_NEXT], begin - 1)


@njit(**KERNEL_INNER)
def passage_overlap_kernel(item, end, index, settings, scratch):
    """How much of the item's passage stands before the question at token `end`, in [0, 1]: idf of the distinct n-grams found, of all.

    The walk goes back from there through passage_window_tokens tokens, or twice the passage's
    length when that is more. Once an n-gram was found, more than passage_max_misses in a row that the passage has not end it.
    """
    begin = max(end - max(settings.passage_window_tokens, 2 * index.passage_tokens[item]), 0)
    note_hits_kernel(begin, end, index, settings, scratch)
    scratch.state[2] += 1
    stamp = scratch.state[2]
    last = np.int64(-1)
    for hit in range(scratch.memo[NUM_HITS]):
        at = scratch.hit_places[hit]
        if at < begin or (last >= 0 and last - at - 1 > settings.passage_max_misses):
            break
        gram = find_gram_kernel(scratch.hit_keys[hit], item, index.passage_grams)
        if gram >= 0:
            scratch.passage_stamps[gram] = stamp
            if scratch.bounds[PASSAGE_END] == 0:
                scratch.bounds[PASSAGE_END] = at + settings.passage_ngram_tokens
            scratch.bounds[PASSAGE_FIRST] = last = at
    return sum_found_kernel(item, index.passage_grams, scratch.passage_stamps, stamp)


@njit(**KERNEL_INNER)
def score_slot_kernel(slot, cluster, num_tokens, index, settings, scratch):
    """Score of one item in the cluster, in [0, 1]: contaminated when it reaches settings.threshold.

    raw = w_q O_q + w_a O_a + w_p O_p with the item's own weights. The answer and the passage are looked for only when the question's
    overlap reaches the item's least and the sum can reach what it needs. The score is raw times threshold over what an item of this
    length needs, so that one threshold holds for all lengths; a perfect one is 1.
    """
    item = scratch.slot_items[slot]
    for place in range(len(scratch.bounds)):
        scratch.bounds[place] = 0
    overlap = ngram_overlap_kernel(item, cluster, index, scratch)
    scratch.overlaps[QUESTION], scratch.overlaps[ANSWER], scratch.overlaps[PASSAGE] = overlap, 0.0, 0.0
    weight, answer_weight, passage_weight = index.weights[item, 0], index.weights[item, 1], index.weights[item, 2]
    raw = weight * overlap
    is_enough = overlap >= index.least_overlap[item]
    if is_enough and raw + answer_weight + passage_weight >= index.needed[item] * NEARLY_ONE:
        if answer_weight > 0:
            scratch.overlaps[ANSWER] = answer_overlap_kernel(slot, num_tokens, index, settings, scratch)
        if passage_weight > 0:
            scratch.overlaps[PASSAGE] = passage_overlap_kernel(item, scratch.slot_first[slot], index, settings, scratch)
        raw += answer_weight * scratch.overlaps[ANSWER] + passage_weight * scratch.overlaps[PASSAGE]
    if raw >= NEARLY_ONE:
        return 1.0
    score = raw * settings.threshold / index.needed[item]
    # an overlap below the least one is below 1, so that this stays below the threshold
    return score if is_enough else min(score, settings.threshold * overlap)
