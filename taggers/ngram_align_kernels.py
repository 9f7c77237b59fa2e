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
    BEFORE,
    BEFORE_NEXT,
    MIN_PART_SPAN,
    NEARLY_ONE,
    NUM_HITS,
    PASSAGE,
    PASSAGE_END,
    PASSAGE_FIRST,
    QUESTION,
    WINDOW_BEGIN,
    WINDOW_END,
    WINDOW_STAMP,
    count_noted_kernel,
    find_final_kernel,
    find_row_kernel,
    find_short_answer_kernel,
    forget_places_kernel,
    is_noted_kernel,
    note_hits_kernel,
    note_window_kernel,
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
def align_kernel(words, weights, whole, first, end, scratch):
    """(share of `whole` that the words have that stands in tokens[first:end] in their order, its first token, its end).

    words uint64 (n,), weights float64 (n,), whole: of all words, those left out too, which stand nowhere there. The
    heaviest common subsequence; of equal ones the first that ends, and of these the last
    that begins. "a b b c" with weights 1 against the tokens "c b a b x" gives (2 / 4, 2, 4). Time n (end - first).
    """
    row, begins = scratch.row, scratch.begins
    for at in range(end - first + 1):
        row[at] = 0.0
        begins[at] = end
    for k in range(len(words)):
        word, weight = words[k], weights[k]
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
def sum_kernel(weights):
    """Their sum, added up in their order."""
    whole = 0.0
    for weight in weights:
        whole += weight
    return whole


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
    whole = sum_kernel(weights)
    if note_window_kernel(
        begin, aligned_end, scratch
    ):  # a word that stands nowhere changes nothing in the table of the alignment
        kept = 0
        for k in range(len(words)):
            if is_noted_kernel(words[k], scratch.window_words, scratch.window_stamps, scratch.memo[WINDOW_STAMP]):
                scratch.kept_words[kept], scratch.kept_weights[kept] = words[k], weights[k]
                kept += 1
        words, weights = scratch.kept_words[:kept], scratch.kept_weights[:kept]
    overlap, first, last = align_kernel(words, weights, whole, begin, aligned_end, scratch)
    scratch.bounds[ANSWER_FIRST], scratch.bounds[ANSWER_END] = first, last
    return find_final_kernel(item, overlap, begin, end, index, scratch)


@njit(**KERNEL_INNER)
def align_question_kernel(owner, row, first, end, index, scratch):
    """align_kernel for a question, once for all items that have it at one place."""
    window, place = scratch.owner_windows, scratch.owner_places
    low, high = row << 32 | first, row << 32 | end
    if window[owner, 0] != low or window[owner, 1] != high:
        window[owner, 0], window[owner, 1] = low, high
        item = index.owner_items[index.owner_offsets[owner]]
        begin_word, end_word = index.token_offsets[item], index.token_offsets[item + 1]
        words, weights = index.question_tokens[begin_word:end_word], index.token_idf[begin_word:end_word]
        scratch.owner_overlaps[owner], place[owner, 0], place[owner, 1] = align_kernel(
            words, weights, sum_kernel(weights), first, end, scratch
        )
    return scratch.owner_overlaps[owner], place[owner, 0], place[owner, 1]


@njit(**KERNEL_INNER)
def slack_kernel(length):
    """Tokens by which a place may be longer than its question, to each side."""
    return SLACK_TOKENS + length // 8


@njit(**KERNEL_INNER)
def start_classes_kernel(row, owner, index, scratch):
    """All items of a question in one class, at its first seed in a document."""
    scratch.owner_rows[owner] = row
    slot = index.owner_offsets[owner]
    scratch.class_ends[slot] = index.owner_offsets[owner + 1]
    scratch.seen_until[slot] = scratch.slot_hit[slot] = -1


@njit(**KERNEL_INNER)
def count_seed_kernel(row, position, entry, slot, index, scratch):
    """Note a seed at a position for a class of items; whether they are to be aligned now.

    A cluster: seeds whose places begin within a question's length and its slack of each other, with gaps of no more than that. After an
    alignment that found the items another cluster begins; after one that did not, where seeds lie outside of what was looked at.
    """
    key = row << 32 | position
    if key < scratch.seen_until[slot]:
        return False
    item, owner = scratch.members[slot], index.entry_owners[entry]
    length = index.token_offsets[item + 1] - index.token_offsets[item]
    reach = length + slack_kernel(length)
    begin = position - index.entry_places[entry]
    low, high, count = scratch.slot_first[slot], scratch.slot_last[slot], scratch.slot_misses[slot]
    together = scratch.slot_hit[slot] >= row << 32 and key - scratch.slot_hit[slot] <= reach
    if together and count < 0:
        together = low - slack_kernel(length) <= begin <= high + slack_kernel(length)
    elif together:
        together = high - reach <= begin <= low + reach
    if not together:
        scratch.slot_seeds[slot] = 0
        low = high = begin
        count = 0
    scratch.slot_hit[slot] = key
    seed = np.int64(1) << (entry - index.entry_offsets[owner])  # there are MAX_SEEDS at most
    if scratch.slot_seeds[slot] & seed == 0:
        scratch.slot_seeds[slot] |= seed
        count += 1
    scratch.slot_misses[slot] = count
    if count >= 0:
        scratch.slot_first[slot], scratch.slot_last[slot] = min(low, begin), max(high, begin)
    num_seeds = index.entry_offsets[owner + 1] - index.entry_offsets[owner]
    return count >= (1 if num_seeds <= FEW_SEEDS else 2)


@njit(**KERNEL_INNER)
def close_class_kernel(row, owner, slot, num_tokens, index, settings, scratch, found):
    """Align a question where the seeds of a class say, and score its items there; those that were found become a class of their own."""
    item, end = scratch.members[slot], scratch.class_ends[slot]
    length = index.token_offsets[item + 1] - index.token_offsets[item]
    slack = slack_kernel(length)
    first = max(scratch.slot_first[slot] - slack, 0)
    if scratch.seen_until[slot] >= row << 32:  # what was an occurrence is not one again
        first = max(first, scratch.seen_until[slot] - (row << 32))
    place_end = min(scratch.slot_last[slot] + length + slack, num_tokens)
    scratch.slot_misses[slot] = _TRIED
    place = align_question_kernel(owner, row, first, place_end, index, scratch)
    split = score_members_kernel(row, slot, place, num_tokens, index, settings, scratch, found)
    if slot < split < end:
        scratch.class_ends[slot], scratch.class_ends[split] = split, end
    if split < end:
        scratch.seen_until[split], scratch.slot_hit[split] = row << 32 | place[2], -1


@njit(**KERNEL_INNER)
def score_members_kernel(row, slot, place, num_tokens, index, settings, scratch, found):
    """Score the items of a class at a place (overlap, first token, end) of their question; keep the document's best, write the spans.

    Returns where in `members` those begin that were found, which are put behind the others.
    raw = w_q O_q + w_a O_a + w_p O_p with the item's own weights. Where the question's overlap reaches what it needs alone
    (index.needed_alone, whatever the threshold is), the score is threshold + (1 - threshold) raw, else raw. When all is there it is 1.

    Thousands of items may have one question: no kernel that takes the index, which counts references to some hundred arrays, is called for
    one whose answer and passage have nothing in the windows behind and before the question.
    """
    overlap, begin, last = place
    members, memo, threshold = scratch.members, scratch.memo, settings.threshold
    answer_offsets, answer_tokens, weights = index.answer_offsets, index.answer_tokens, index.weights
    final_offsets, final_tokens = index.final_offsets, index.final_tokens
    tokens, noted_words, noted_stamps = scratch.tokens, scratch.window_words, scratch.window_stamps
    is_enough, best_score, best_item = overlap >= LEAST_OVERLAP, -1.0, np.int64(0)
    short_end = min(last + settings.answer_window_tokens, num_tokens)
    long_tokens = max(settings.long_answer_window_tokens, 2 * MAX_ANSWER_TOKENS)
    low, high = slot, scratch.class_ends[slot]
    while low < high:
        item = members[low]
        answer_overlap = passage_overlap = 0.0
        scratch.bounds[ANSWER_END] = scratch.bounds[PASSAGE_END] = 0
        if is_enough and weights[item, 1] > 0:
            wanted = answer_tokens[answer_offsets[item] : answer_offsets[item + 1]]
            is_short = len(wanted) <= settings.short_answer_tokens
            if memo[WINDOW_BEGIN] != last or memo[WINDOW_END] < short_end:
                note_window_kernel(last, short_end, scratch)
            long_end = min(last + max(settings.long_answer_window_tokens, 2 * len(wanted)), num_tokens)
            if not is_short and memo[WINDOW_BEGIN] == last and memo[WINDOW_END] < long_end:
                note_window_kernel(last, min(last + long_tokens, num_tokens), scratch)
            is_noted = memo[WINDOW_BEGIN] == last and memo[WINDOW_END] >= (short_end if is_short else long_end)
            stamp = memo[WINDOW_STAMP]
            if is_noted and is_short:
                if count_noted_kernel(wanted, noted_words, noted_stamps, stamp) == len(wanted):
                    at = find_row_kernel(wanted, last, short_end, tokens)
                    if at >= 0:
                        answer_overlap = 1.0
                        scratch.bounds[ANSWER_FIRST], scratch.bounds[ANSWER_END] = at, at + len(wanted)
            else:
                may = not is_noted or count_noted_kernel(wanted, noted_words, noted_stamps, stamp) > 0
                final = final_tokens[final_offsets[item] : final_offsets[item + 1]]
                if not may and len(final) > 0:
                    may = count_noted_kernel(final, noted_words, noted_stamps, stamp) == len(final)
                if may:
                    answer_overlap = align_answer_kernel(item, last, num_tokens, index, settings, scratch)
        if is_enough and weights[item, 2] > 0:
            before = max(begin - max(settings.passage_window_tokens, 2 * index.passage_tokens[item]), 0)
            if memo[BEFORE] != begin or memo[BEFORE_NEXT] >= before:
                note_hits_kernel(before, begin, index, settings, scratch)
            if memo[NUM_HITS] > 0:
                passage_overlap = passage_overlap_kernel(item, begin, index, settings, scratch)
        raw = weights[item, 0] * overlap
        if is_enough:
            raw += weights[item, 1] * answer_overlap + weights[item, 2] * passage_overlap
        score = 1.0 if raw >= NEARLY_ONE else raw
        if raw < NEARLY_ONE and overlap >= index.needed_alone[item]:
            score = threshold + (1.0 - threshold) * raw
        if score > found.scores[row] or (score == found.scores[row] and 0 <= item < found.items[row]):
            found.scores[row], found.items[row] = score, item
            found.overlaps[row, QUESTION] = overlap
            found.overlaps[row, ANSWER] = answer_overlap
            found.overlaps[row, PASSAGE] = passage_overlap
        if score < threshold:
            low += 1
            continue
        high -= 1
        members[low], members[high] = members[high], item
        if score > best_score or (score == best_score and item < best_item):
            best_score, best_item = score, np.int64(item)
        if answer_overlap >= MIN_PART_SPAN and scratch.bounds[ANSWER_END] > 0:
            first, end = scratch.bounds[ANSWER_FIRST], scratch.bounds[ANSWER_END]
            add_span_kernel(row, first, end, score, np.int64(item), scratch, found)
        if passage_overlap >= MIN_PART_SPAN and scratch.bounds[PASSAGE_END] > 0:
            first, end = scratch.bounds[PASSAGE_FIRST], scratch.bounds[PASSAGE_END]
            add_span_kernel(row, first, end, score, np.int64(item), scratch, found)
    if best_score >= 0.0:
        add_span_kernel(row, begin, last, best_score, best_item, scratch, found)
    return low


@njit(**KERNEL_INNER)
def align_row_kernel(row, num_tokens, index, settings, scratch, found):
    """Best item, its score and the contaminated spans of the document whose tokens are in `scratch`.

    With one item, question "one two three four five six" and no answer: the text "x One, two three and four five six!" has the span of
    "One ... six", bytes 2 to 34, with score 1.
    """
    length = settings.ngram_tokens
    if num_tokens < length:
        return
    forget_places_kernel(scratch)
    value, power = sum_ngram_kernel(scratch.tokens, length)
    for position in range(num_tokens - length + 1):
        if position > 0:
            value = roll_kernel(value, scratch.tokens, position, length, power)
        ngram = find_rolled_kernel(value, index)
        if ngram < 0:
            continue
        for k in range(index.posting_offsets[ngram], index.posting_offsets[ngram + 1]):
            entry = index.postings[k]
            owner = index.entry_owners[entry]
            if scratch.owner_rows[owner] != row:
                start_classes_kernel(row, owner, index, scratch)
            slot = index.owner_offsets[owner]
            while slot < index.owner_offsets[owner + 1]:
                end = scratch.class_ends[slot]
                if count_seed_kernel(row, position, entry, slot, index, scratch):
                    close_class_kernel(row, owner, slot, num_tokens, index, settings, scratch, found)
                slot = end


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
