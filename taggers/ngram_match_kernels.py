"""Finding evaluation items in documents: word tokens, n-gram look-up at a stride, expansion of a hit, weighted overlap.

Legend: N documents, B bytes of all texts together, W tokens of one document, I items, G distinct n-grams of all questions,
E entries: one per (item, distinct n-gram of its question), ordered by item and then by place in the question.
Positions are token numbers; an n-gram stands where its first token stands.

Source: Olmo 3 report (arXiv 2512.13961), A.5, and decon's documentation; deviations: see taggers/contamination.py.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import mix64_kernel
from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import ALNUM_BIT, EXTEND, SINGLE, TABLE_SIZE

_ONE = np.uint64(1)
_NGRAM_SEED = np.uint64(0x6E6772616D)
_TOKEN_SEED = np.uint64(0x746F6B656E)
# with every tenth word edited about .6 of a question's 5-grams are left, with every fifth about .3
MIN_NGRAM_OVERLAP = 0.2


class Tables(NamedTuple):
    """What characters are: taggers.characters.character_table and lower_table."""

    classes: np.ndarray  # uint8 (TABLE_SIZE,)
    lower: np.ndarray  # uint32 (TABLE_SIZE,)


class Index(NamedTuple):
    """Items as arrays; built by taggers.ngram_match.build_index."""

    slots: np.ndarray  # int32 (T,)      1 + n-gram number, open addressing; T a power of two
    keys: np.ndarray  # uint64 (G,)      hash of each n-gram
    idf: np.ndarray  # float64 (G,)      ln((I + 1) / items with it)
    posting_offsets: (
        np.ndarray
    )  # int64 (G + 1,)  entries of n-gram g: postings[posting_offsets[g]:posting_offsets[g + 1]]
    postings: np.ndarray  # int32 (E,)
    entry_ngrams: np.ndarray  # int32 (E,)
    entry_items: np.ndarray  # int32 (E,)
    item_offsets: np.ndarray  # int64 (I + 1,)  entries of item i
    item_idf: np.ndarray  # float64 (I,)     sum of idf over the item's entries
    item_tokens: np.ndarray  # int64 (I,)       tokens of question and answer
    token_offsets: np.ndarray  # int64 (I + 1,)  question tokens of item i in the next two
    question_tokens: np.ndarray  # uint64
    token_idf: np.ndarray  # float64          ln((I + 1) / questions with the word)
    answer_offsets: np.ndarray  # int64 (I + 1,)  answer tokens of item i in answer_tokens
    answer_tokens: np.ndarray  # uint64
    gram_offsets: np.ndarray  # int64 (I + 1,)  distinct answer n-grams of item i, long answers only
    gram_hashes: np.ndarray  # uint64
    gram_idf: np.ndarray  # float64


class Settings(NamedTuple):
    """Thresholds; what each means and where it comes from stands in taggers.contamination.ContaminationTaggerConfig."""

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
    count_words: bool


class Scratch(NamedTuple):
    """Working memory of one call."""

    tokens: np.ndarray  # uint64 (C,)  hash of each token
    starts: np.ndarray  # int64 (C,)   byte in data
    ends: np.ndarray  # int64 (C,)
    used: np.ndarray  # uint8 (C,)   1 where a question word was matched to the token
    stamps: np.ndarray  # int64 (E,)   last cluster that matched the entry; starts at 0, clusters at 1
    item_slots: np.ndarray  # int32 (I,)   slot of the item in the current cluster, -1 outside it
    seen_until: np.ndarray  # int64 (I,)   row << 32 | last position up to which the item was expanded
    slot_items: np.ndarray  # int32 (I,)
    slot_first: np.ndarray  # int64 (I,)   first and last matched position
    slot_last: np.ndarray  # int64 (I,)
    slot_misses: np.ndarray  # int64 (I,)
    slot_hit: np.ndarray  # int64 (I,)   position of the last hit
    active: np.ndarray  # int32 (I,)


class Found(NamedTuple):
    """Output."""

    scores: np.ndarray  # float64 (N,)  best score, 0 without any cluster
    items: np.ndarray  # int64 (N,)    item of the best score, -1 without
    span_rows: np.ndarray  # int64 (S,)    spans of contaminated parts, by row and start
    span_starts: np.ndarray  # int64 (S,)    bytes from the document's start
    span_ends: np.ndarray  # int64 (S,)
    span_scores: np.ndarray  # float64 (S,)


@njit(**KERNEL)
def split_tokens_kernel(data, start, end, tables, out_tokens, out_starts, out_ends):
    """Lower-cased word tokens of data[start:end]: runs of letters, numbers and their marks; all else parts them.

    out_tokens : uint64 (C,)          hash of the token's lower-case code points
    out_starts, out_ends : int64 (C,) bytes in data

    Characters of scripts without spaces are tokens of their own. Returns W <= C; C = 2 (end - start) // 3 + 2 always suffices
    (tokens of one byte have between them a byte, or a token of two bytes or more).

    b"It's 3.5" has the tokens "it", "s", "3", "5"
    """
    num_tokens = np.int64(0)
    at = start
    in_token = False
    token = _TOKEN_SEED
    while at < end:
        code, width = decode_kernel(data, at, end)
        entry = character_class_kernel(tables.classes, code)
        if not (entry & ALNUM_BIT or (in_token and entry & 15 == EXTEND)):
            in_token = False
        else:
            if code < TABLE_SIZE:
                code = np.int64(tables.lower[code])
            single = entry & 15 == SINGLE
            if in_token and not single:
                token = mix64_kernel(token ^ np.uint64(code))
                num_tokens -= 1
            else:
                token = mix64_kernel(_TOKEN_SEED ^ np.uint64(code))
                out_starts[num_tokens] = at
            out_tokens[num_tokens] = token
            out_ends[num_tokens] = at + width
            num_tokens += 1
            in_token = not single
        at += width
    return num_tokens


@njit(**KERNEL)
def hash_ngram_kernel(tokens, position, length):
    """Hash of tokens[position:position + length]: equal tokens in equal order give equal hashes."""
    value = _NGRAM_SEED
    for i in range(position, position + length):
        value = mix64_kernel(value ^ tokens[i])
    return value


@njit(**KERNEL)
def hash_ngrams_kernel(tokens, positions, length, out_hashes):
    """out_hashes[i] = hash of the n-gram at positions[i]; positions int64 (P,), out_hashes uint64 (P,)."""
    for i in range(len(positions)):
        out_hashes[i] = hash_ngram_kernel(tokens, positions[i], length)


@njit(**KERNEL)
def build_slots_kernel(keys, out_slots):
    """Fill an empty open-addressing table: out_slots[s] is 1 + the index of the key that ended in slot s."""
    mask = np.uint64(len(out_slots) - 1)
    for i in range(len(keys)):
        slot = keys[i] & mask
        while out_slots[slot] != 0:
            slot = (slot + _ONE) & mask
        out_slots[slot] = i + 1


@njit(**KERNEL)
def find_ngram_kernel(tokens, position, length, index):
    """Number of the n-gram at `position`, or -1 when no item has it."""
    key = hash_ngram_kernel(tokens, position, length)
    mask = np.uint64(len(index.slots) - 1)
    slot = key & mask
    while index.slots[slot] != 0:
        ngram = np.int64(index.slots[slot]) - 1
        if index.keys[ngram] == key:
            return ngram
        slot = (slot + _ONE) & mask
    return np.int64(-1)


@njit(**KERNEL)
def start_cluster_kernel(ngram, position, row, cluster, index, scratch):
    """Open a slot for every item of the n-gram that was not expanded over this position already; returns their number."""
    num_slots = 0
    for k in range(index.posting_offsets[ngram], index.posting_offsets[ngram + 1]):
        entry = index.postings[k]
        item = index.entry_items[entry]
        if scratch.seen_until[item] >= (row << 32 | position):
            continue
        scratch.item_slots[item] = num_slots
        scratch.slot_items[num_slots] = item
        scratch.slot_first[num_slots] = scratch.slot_last[num_slots] = position
        scratch.slot_hit[num_slots] = -1
        scratch.stamps[entry] = cluster
        num_slots += 1
    return num_slots


@njit(**KERNEL)
def expand_kernel(position, step, num_ngrams, num_slots, cluster, index, settings, scratch):
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
                slot = scratch.item_slots[index.entry_items[entry]]
                if slot >= 0 and scratch.slot_misses[slot] < settings.max_misses:
                    scratch.stamps[entry] = cluster
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


@njit(**KERNEL)
def ngram_overlap_kernel(item, cluster, index, scratch):
    """Share of the item's question that the cluster matched: idf of the matched distinct n-grams of all, in [0, 1].

    The sum runs in the order of the question, whatever the order of the finds.
    """
    total = 0.0
    for entry in range(index.item_offsets[item], index.item_offsets[item + 1]):
        if scratch.stamps[entry] == cluster:
            total += index.idf[index.entry_ngrams[entry]]
    return total / index.item_idf[item]


@njit(**KERNEL)
def word_overlap_kernel(item, first, end, index, scratch):
    """Share of the item's question words that stand in tokens[first:end], by idf; a document word serves one question word.

    Question "a b b c" with weights 1 against the tokens "c b a x" gives 3 / 4.
    """
    scratch.used[first:end] = 0
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


@njit(**KERNEL)
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


@njit(**KERNEL)
def answer_overlap_kernel(slot, num_tokens, index, settings, scratch):
    """How much of the item's answer stands behind the matched part of the question, in [0, 1].

    The window starts behind the last matched n-gram and is counted from there, or from where the question would end if it
    started at the first matched n-gram, whichever is later.

    Short answers: 1 when all tokens stand there in a row, else 0. Long ones: idf of the distinct n-grams found, of all.
    """
    item = scratch.slot_items[slot]
    first, last = index.answer_offsets[item], index.answer_offsets[item + 1]
    length = last - first
    begin = scratch.slot_last[slot] + settings.ngram_tokens
    question_tokens = index.token_offsets[item + 1] - index.token_offsets[item]
    question_end = max(begin, scratch.slot_first[slot] + question_tokens)
    if length <= settings.short_answer_tokens:
        end = min(question_end + settings.answer_window_tokens, num_tokens)
        for at in range(begin, end - length + 1):
            k = 0
            while k < length and scratch.tokens[at + k] == index.answer_tokens[first + k]:
                k += 1
            if k == length:
                return 1.0
        return 0.0
    end = min(question_end + max(settings.long_answer_window_tokens, 2 * length), num_tokens)
    found = whole = 0.0
    for gram in range(index.gram_offsets[item], index.gram_offsets[item + 1]):
        whole += index.gram_idf[gram]
        for at in range(begin, end - settings.answer_ngram_tokens + 1):
            if hash_ngram_kernel(scratch.tokens, at, settings.answer_ngram_tokens) == index.gram_hashes[gram]:
                found += index.gram_idf[gram]
                break
    return found / whole


@njit(**KERNEL)
def score_slot_kernel(slot, cluster, num_tokens, index, settings, scratch):
    """Score of one item in the cluster: contaminated when it reaches settings.threshold.

    raw = (w_q O_q + w_a O_a) / (w_q + w_a), w_q = 0.75 (0.5 + 0.5 min(n-grams / 20, 1)), w_a = 0.25 (0.5 + 0.5 min(tokens / 4, 1));
    without an answer raw = O_q. A text of L tokens needs a raw score of 1 up to decay_start, falling linearly to the threshold at
    decay_end; the score is raw times threshold over what is needed, so that one threshold holds for all lengths.
    """
    item = scratch.slot_items[slot]
    overlap = question_overlap_kernel(slot, cluster, num_tokens, index, settings, scratch)
    num_answer = index.answer_offsets[item + 1] - index.answer_offsets[item]
    raw = overlap
    if num_answer > 0:
        num_ngrams = index.item_offsets[item + 1] - index.item_offsets[item]
        question_weight = 0.75 * (0.5 + 0.5 * min(num_ngrams / 20.0, 1.0))
        answer_weight = 0.25 * (0.5 + 0.5 * min(num_answer / 4.0, 1.0))
        if question_weight * overlap + answer_weight < settings.threshold * (question_weight + answer_weight):
            answer_overlap = 0.0  # even the whole answer would not reach the threshold: spare the search
        else:
            answer_overlap = answer_overlap_kernel(slot, num_tokens, index, settings, scratch)
        raw = (question_weight * overlap + answer_weight * answer_overlap) / (question_weight + answer_weight)
    length = index.item_tokens[item]
    if length <= settings.decay_start_tokens:
        needed = 1.0
    elif length >= settings.decay_end_tokens:
        needed = settings.threshold
    else:
        share = (length - settings.decay_start_tokens) / (settings.decay_end_tokens - settings.decay_start_tokens)
        needed = 1.0 - share * (1.0 - settings.threshold)
    return raw * settings.threshold / needed


@njit(**KERNEL)
def close_cluster_kernel(row, cluster, num_slots, num_tokens, index, settings, scratch, found):
    """Score all slots, keep the document's best item, free the slots; returns (score, first, last position) of the cluster's best."""
    best_score, best_first, best_last = -1.0, np.int64(0), np.int64(0)
    for slot in range(num_slots):
        score = score_slot_kernel(slot, cluster, num_tokens, index, settings, scratch)
        item = scratch.slot_items[slot]
        if score > best_score:
            best_score, best_first, best_last = score, scratch.slot_first[slot], scratch.slot_last[slot]
        if score > found.scores[row] or (score == found.scores[row] and 0 <= item < found.items[row]):
            found.scores[row] = score
            found.items[row] = item
        scratch.seen_until[item] = row << 32 | scratch.slot_last[slot]
        scratch.item_slots[item] = -1
    return best_score, best_first, best_last


@njit(**KERNEL)
def add_span_kernel(row, start_byte, end_byte, score, num_spans, found):
    """Append a span of `row`, joining it with earlier ones of the row that it meets; returns the new number of spans.

    Past the capacity spans are counted and not stored.
    """
    while 0 < num_spans <= len(found.span_rows) and found.span_rows[num_spans - 1] == row:
        if found.span_ends[num_spans - 1] < start_byte:
            break
        start_byte = min(start_byte, found.span_starts[num_spans - 1])
        end_byte = max(end_byte, found.span_ends[num_spans - 1])
        score = max(score, found.span_scores[num_spans - 1])
        num_spans -= 1
    if num_spans < len(found.span_rows):
        found.span_rows[num_spans] = row
        found.span_starts[num_spans] = start_byte
        found.span_ends[num_spans] = end_byte
        found.span_scores[num_spans] = score
    return num_spans + 1


@njit(**KERNEL)
def find_items_kernel(data, offsets, tables, index, settings, scratch, found):
    """Best item, its score and the contaminated spans of every document.

    data : uint8 (B,), offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    found.scores, found.items                      start at 0 and -1

    Returns the number of spans; when it exceeds the capacity of found.span_rows the caller enlarges and calls again.

    With one item, question "one two three four five six" and no answer, n = 5: the text "x One, two three four five six!"
    has the span of "One ... six", bytes 2 to 30.
    """
    num_spans = np.int64(0)
    cluster = np.int64(0)
    for row in range(len(offsets) - 1):
        begin = offsets[row]
        num_tokens = split_tokens_kernel(
            data, begin, offsets[row + 1], tables, scratch.tokens, scratch.starts, scratch.ends
        )
        num_ngrams = num_tokens - settings.ngram_tokens + 1
        position = np.int64(0)
        while position < num_ngrams:
            ngram = find_ngram_kernel(scratch.tokens, position, settings.ngram_tokens, index)
            if ngram < 0:
                position += settings.stride_tokens
                continue
            if index.posting_offsets[ngram + 1] - index.posting_offsets[ngram] > settings.hot_ngram_items:
                position += 1  # a phrase of very many items starts nothing: look at the next n-gram
                continue
            cluster += 1
            num_slots = start_cluster_kernel(ngram, position, row, cluster, index, scratch)
            if num_slots > 0:
                expand_kernel(position, 1, num_ngrams, num_slots, cluster, index, settings, scratch)
                expand_kernel(position, -1, num_ngrams, num_slots, cluster, index, settings, scratch)
                score, first, last = close_cluster_kernel(
                    row, cluster, num_slots, num_tokens, index, settings, scratch, found
                )
                if score >= settings.threshold:
                    start_byte = scratch.starts[first] - begin
                    end_byte = scratch.ends[last + settings.ngram_tokens - 1] - begin
                    num_spans = add_span_kernel(row, start_byte, end_byte, score, num_spans, found)
            position += settings.stride_tokens
    return num_spans


@njit(**KERNEL)
def find_ngrams_kernel(data, offsets, tables, index, settings, scratch, found):
    """The plain rule: every n-gram of a document that stands in any item marks its bytes.

    A document's score is the largest share of an item's distinct n-grams found anywhere in it; spans as in find_items_kernel,
    of every matched n-gram, with score 1. settings.threshold does not matter here: the caller compares.
    """
    num_spans = np.int64(0)
    counts = scratch.slot_first  # distinct n-grams found, per item
    for row in range(len(offsets) - 1):
        begin = offsets[row]
        num_tokens = split_tokens_kernel(
            data, begin, offsets[row + 1], tables, scratch.tokens, scratch.starts, scratch.ends
        )
        for position in range(num_tokens - settings.ngram_tokens + 1):
            ngram = find_ngram_kernel(scratch.tokens, position, settings.ngram_tokens, index)
            if ngram < 0:
                continue
            end_byte = scratch.ends[position + settings.ngram_tokens - 1] - begin
            num_spans = add_span_kernel(row, scratch.starts[position] - begin, end_byte, 1.0, num_spans, found)
            for k in range(index.posting_offsets[ngram], index.posting_offsets[ngram + 1]):
                entry = index.postings[k]
                if scratch.stamps[entry] == row + 1:
                    continue
                scratch.stamps[entry] = row + 1
                item = index.entry_items[entry]
                if scratch.seen_until[item] != row:
                    scratch.seen_until[item] = row
                    counts[item] = 0
                counts[item] += 1
                score = counts[item] / (index.item_offsets[item + 1] - index.item_offsets[item])
                if score > found.scores[row] or (score == found.scores[row] and item < found.items[row]):
                    found.scores[row] = score
                    found.items[row] = item
    return num_spans
