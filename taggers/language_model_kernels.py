"""A table of n-grams with their probabilities and backoffs, and what texts score under it.

Legend: S slots of the table, G n-grams of one order, N texts, U units (sentences), W tokens, K order of the model.
An n-gram's key is made from its last word to its first, so that a longer n-gram's key continues a shorter one's. A slot is 16 bytes, so
that a lookup touches one cache line: the key, then log10 probability and log10 backoff, float32 each, in one word.
Source of the recursion: Katz backoff in ARPA form, p(w|c) = prob(c w) where listed, else backoff(c) p(w|c without its first word).
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import PRIME_1, U0, U1, U23, U32, mix64_kernel, rotate_left_kernel

# columns of out_counts and out_sums of score_units_kernel
TOKENS, UNITS, UNKNOWN = range(3)
LOG_PROB, MIN_UNIT, MAX_UNIT, SUM_UNIT = range(4)
_UNLISTED = -100.0  # log10 of an unknown word where the model has no <unk>; KenLM's
MAX_LOG = 100.0  # what a log10 may be away from 0
_ROUNDING = 1e-4  # of a probability of 1
# slots that a search looks at: a table is two thirds full, where chance needs some 300 for three billion n-grams; one that a file fills so
# that searches would go on and on ends them all the same
MAX_PROBES = 1 << 11


@njit(inline="always", **KERNEL)
def first_key_kernel(word):
    """The key of the 1-gram of a word's hash; never 0, which marks an empty slot."""
    key = mix64_kernel(word)
    return U1 if key == U0 else key


@njit(inline="always", **KERNEL)
def longer_key_kernel(key, word):
    """The key of the n-gram `word` + the n-gram of `key`."""
    longer = mix64_kernel((rotate_left_kernel(key, U23) * PRIME_1) ^ word)
    return U1 if longer == U0 else longer


@njit(**KERNEL)
def make_keys_kernel(shorter_keys, suffixes, words, out_keys):
    """out_keys[g] = key of words[g] + the n-gram shorter_keys[suffixes[g]]; without suffixes, of the 1-gram words[g].

    shorter_keys : uint64 (G',)   keys of the next lower order; empty: 1-grams are wanted
    suffixes : int (G,)           rows of shorter_keys
    words : uint64 (G,)           hashes of first words
    """
    for gram in range(len(out_keys)):
        if len(shorter_keys) == 0:
            out_keys[gram] = first_key_kernel(words[gram])
        else:
            out_keys[gram] = longer_key_kernel(shorter_keys[suffixes[gram]], words[gram])


@njit(inline="always", **KERNEL)
def find_slot_kernel(table, key):
    """The slot of a key, else the free slot where it belongs, else -1 (none of both within MAX_PROBES slots)."""
    num_slots = np.uint64(len(table))
    slot = np.int64(((key >> U32) * num_slots) >> U32)  # by the upper half: any number of slots below 2^32
    for _ in range(min(len(table), MAX_PROBES)):
        found = table[slot, 0]
        if found in (key, U0):
            return slot
        slot += 1
        if slot == len(table):
            slot = np.int64(0)
    return np.int64(-1)


@njit(**KERNEL)
def insert_ngrams_kernel(table, values, keys, log_probs, backoffs):
    """Put G n-grams into the table; -1, or the first row whose key is there already or finds no room.

    table : uint64 (S, 2)         empty slots have key 0
    values : float32 (S, 4)       the same memory
    keys : uint64 (G,)            not 0
    log_probs, backoffs : float32 (G,)
    """
    for gram in range(len(keys)):
        slot = find_slot_kernel(table, keys[gram])
        if slot < 0 or table[slot, 0] == keys[gram]:
            return np.int64(gram)
        table[slot, 0] = keys[gram]
        values[slot, 2] = log_probs[gram]
        values[slot, 3] = backoffs[gram]
    return np.int64(-1)


@njit(**KERNEL)
def check_table_kernel(table, values):
    """How many slots are filled; -1: one holds a log10 probability above 0 or below -MAX_LOG, a backoff outside [-MAX_LOG, MAX_LOG], or no number.

    table : uint64 (S, 2)         a file's
    values : float32 (S, 4)       the same memory
    """
    filled = np.int64(0)
    for slot in range(len(table)):
        if table[slot, 0] != U0:
            filled += 1
            log_prob, backoff = values[slot, 2], values[slot, 3]
            # NaN is in no range
            if not (-MAX_LOG <= log_prob <= _ROUNDING and -MAX_LOG <= backoff <= MAX_LOG):
                return np.int64(-1)
    return filled


@njit(**KERNEL_BORROWING_INNER)
def score_word_kernel(table, values, order, word, unknown_word, words, backoffs, fresh, num_words, num_backoffs):
    """(log10 probability of a word after its context, is_unknown, num_words and num_backoffs of the next context).

    words : uint64 (K,)            the words before, nearest first, num_words of them; gets the word
    backoffs, fresh : float64 (K,) log10 backoffs of the listed n-grams of 1, 2, ... words that end before the word, num_backoffs of them;
                                   gets those that end with it; fresh is room for them
    """
    key = first_key_kernel(word)
    slot = find_slot_kernel(table, key)
    is_unknown = slot < 0 or table[slot, 0] != key
    if is_unknown:
        word = unknown_word
        key = first_key_kernel(word)
        slot = find_slot_kernel(table, key)
    log_prob = _UNLISTED
    fresh[0] = 0.0
    if slot >= 0 and table[slot, 0] == key:
        log_prob, fresh[0] = np.float64(values[slot, 2]), np.float64(values[slot, 3])
    length = np.int64(1)
    while length <= num_words and length < order:
        key = longer_key_kernel(key, words[length - 1])
        slot = find_slot_kernel(table, key)
        if slot < 0 or table[slot, 0] != key:
            break
        log_prob, fresh[length] = np.float64(values[slot, 2]), np.float64(values[slot, 3])
        length += 1
    # the contexts of `length` words and more had no n-gram with this word
    for n in range(length - 1, num_backoffs):
        log_prob += backoffs[n]
    num_backoffs = min(length, order - 1)
    for n in range(num_backoffs):
        backoffs[n] = fresh[n]
    num_words = min(num_words + 1, order - 1)
    for n in range(num_words - 1, 0, -1):
        words[n] = words[n - 1]
    if num_words:
        words[0] = word
    return log_prob, is_unknown, num_words, num_backoffs


@njit(**KERNEL_BORROWING_INNER)
def _score_block_kernel(
    table,
    values,
    order,
    unknown_word,
    start_backoff,
    num_tokens,
    words,
    places,
    keys,
    lengths,
    backoffs,
    log_probs,
    is_unknown,
):
    """score_word_kernel for a stretch of tokens, n-grams of one length before those of the next: the lookups of a length do not wait for
    each other, so that memory answers many at once. Arrays as score_units_kernel has them; returns what is read ahead, to no use.
    """
    num_slots = np.uint64(len(table))
    ahead = U0
    for i in range(num_tokens):
        keys[i] = first_key_kernel(words[order + i])
        ahead ^= table[np.int64(((keys[i] >> U32) * num_slots) >> U32), 0]
    unknown_key = first_key_kernel(unknown_word)
    unknown_slot = find_slot_kernel(table, unknown_key)
    for i in range(num_tokens):
        lengths[i + 1] = 1
        is_unknown[i] = False
        if places[i] == 0:  # a sentence start is not predicted
            log_probs[i], backoffs[i + 1, 0] = 0.0, start_backoff
            continue
        slot = find_slot_kernel(table, keys[i])
        if slot < 0 or table[slot, 0] != keys[i]:
            is_unknown[i] = True
            words[order + i], keys[i], slot = unknown_word, unknown_key, unknown_slot
        if slot >= 0 and table[slot, 0] == keys[i]:
            log_probs[i], backoffs[i + 1, 0] = np.float64(values[slot, 2]), np.float64(values[slot, 3])
        else:
            log_probs[i], backoffs[i + 1, 0] = _UNLISTED, 0.0
    for length in range(1, order):
        for i in range(num_tokens):
            if lengths[i + 1] == length and places[i] >= length:
                keys[i] = longer_key_kernel(keys[i], words[order + i - length])
                ahead ^= table[np.int64(((keys[i] >> U32) * num_slots) >> U32), 0]
        for i in range(num_tokens):
            if lengths[i + 1] == length and places[i] >= length:
                slot = find_slot_kernel(table, keys[i])
                if slot >= 0 and table[slot, 0] == keys[i]:
                    log_probs[i], backoffs[i + 1, length] = np.float64(values[slot, 2]), np.float64(values[slot, 3])
                    lengths[i + 1] = length + 1
    for i in range(num_tokens):
        if places[i] > 0:
            # the contexts of `lengths` words and more had no n-gram with this word
            for n in range(lengths[i + 1] - 1, min(lengths[i], order - 1)):
                log_probs[i] += backoffs[i, n]
    return ahead


@njit(**KERNEL_BORROWING)
def score_units_kernel(
    hashes, unit_offsets, text_offsets, table, values, order, marks, words, places, keys, lengths, backoffs, log_probs, is_unknown,
    out_counts, out_sums,
):  # fmt: skip
    """What each text's units score, each after a sentence start and with its sentence end; returns a number without meaning.

    hashes, unit_offsets, text_offsets : uint64 (W,), int64 (U + 1,), int64 (N + 1,)   taggers.language_model_tokens.Units
    table, values : uint64 (S, 2), float32 (S, 4)   the same memory
    order : int                    K
    marks : uint64 (3,)            hashes of sentence start, sentence end, unknown word
    words : uint64 (K + B,)        room for B tokens, sentence starts and ends among them, and the K before them
    places : int64 (B,)            words before each in its unit, the sentence start among them
    keys, log_probs, is_unknown : uint64, float64, bool (B,)
    lengths, backoffs : int64 (B + 1,), float64 (B + 1, K)   words of the longest listed n-gram that ends with a token, log10 backoffs of
                                   those of 1, 2, ... words; first of the token before
    out_counts : int64 (N, 3)      tokens (ends of units not among them), units, unknown tokens
    out_sums : float64 (N, 4)      log10 probability of the text; least, largest and sum of the units' -log10 probability per token, their
                                   ends among them; zeros without units
    """
    start_slot = find_slot_kernel(table, first_key_kernel(marks[0]))
    start_backoff = 0.0
    if start_slot >= 0 and table[start_slot, 0] == first_key_kernel(marks[0]):
        start_backoff = np.float64(values[start_slot, 3])
    num_units = len(unit_offsets) - 1
    next_unit = next_place = np.int64(0)  # of the token that is read next
    unit = row = np.int64(0)  # whose scores are added up
    total = 0.0
    ahead = U0
    while next_unit < num_units:
        count = np.int64(0)
        while count < len(places) and next_unit < num_units:
            first, last = unit_offsets[next_unit], unit_offsets[next_unit + 1]
            at = first + next_place - 1
            words[order + count] = marks[0] if next_place == 0 else hashes[at] if at < last else marks[1]
            places[count] = next_place
            count += 1
            next_place += 1
            if at == last:
                next_unit, next_place = next_unit + 1, np.int64(0)
        ahead ^= _score_block_kernel(
            table, values, order, marks[2], start_backoff, count, words, places, keys, lengths, backoffs, log_probs, is_unknown
        )  # fmt: skip
        for i in range(count):
            if places[i] == 0:
                total = 0.0
                while text_offsets[row + 1] <= unit:
                    row += 1
                continue
            total += log_probs[i]
            num_tokens = unit_offsets[unit + 1] - unit_offsets[unit]
            if places[i] <= num_tokens:
                if is_unknown[i]:
                    out_counts[row, UNKNOWN] += 1
                continue
            out_counts[row, TOKENS] += num_tokens
            loss = -total / (num_tokens + 1)
            if out_counts[row, UNITS] == 0 or loss < out_sums[row, MIN_UNIT]:
                out_sums[row, MIN_UNIT] = loss
            if out_counts[row, UNITS] == 0 or loss > out_sums[row, MAX_UNIT]:
                out_sums[row, MAX_UNIT] = loss
            out_sums[row, SUM_UNIT] += loss
            out_sums[row, LOG_PROB] += total
            out_counts[row, UNITS] += 1
            unit += 1
        lengths[0] = lengths[count]
        for n in range(order):
            backoffs[0, n] = backoffs[count, n]
            words[n] = words[count + n]
    return ahead
