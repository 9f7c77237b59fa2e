"""Gopher repetition statistics: repeated lines, paragraphs and word n-grams of each document, exact up to 64-bit hashes.

Legend: N documents, B bytes of all texts together, W words of one document, C capacity of the scratch arrays in words or
lines, T = slots of the hash table, a power of two, at least 2 C.

An n-gram can only repeat where both its first and its last n - 1 words repeat, so level n looks at the survivors of level
n - 1 alone: after the pairs little is left of ordinary text. n-grams are named by the position of their first occurrence,
and level n + 1 keys them by (name, number of the next word): exact, no hash of hashes.

Source: Rae et al. 2021 (Gopher), section A.1.1; the readings of DCLM (repetition_filter, commit c7ed275).
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import load64_kernel, mix64_kernel
from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import (
    ALNUM_BIT,
    CONNECTOR,
    EXTEND,
    KATAKANA,
    LETTER,
    MID_BOTH,
    MID_LETTER,
    MID_NUMBER,
    NUMBER,
    OTHER,
    SINGLE,
)
from taggers.gopher_kernels import NUM_QUALITY_COUNTS, sweep_document_kernel

# columns of out_counts after those of gopher_kernels
(
    WORDS,
    WORD_CHARS,
    DUP_LINES,
    DUP_LINE_CHARS,
    LINE_CHARS,
    PARAGRAPHS,
    DUP_PARAGRAPHS,
    DUP_PARAGRAPH_CHARS,
    PARAGRAPH_CHARS,
) = range(NUM_QUALITY_COUNTS, NUM_QUALITY_COUNTS + 9)
FIRST_NGRAM = NUM_QUALITY_COUNTS + 9  # chars in the top 2-, 3-, 4-gram, then in duplicated 5- to 10-grams
TOP_NGRAMS = (2, 4)
DUP_NGRAMS = (5, 10)
NUM_COUNTS = FIRST_NGRAM + 9

_SHIFT_3 = np.uint64(3)
_SHIFT_32 = np.uint64(32)
_ONE = np.uint64(1)
_EIGHT = np.uint64(8)
_SHIFT_56 = np.uint64(56)
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


class SegmentScratch(NamedTuple):
    """Lines and paragraphs of one document."""

    line_hashes: np.ndarray  # uint64 (C,)
    line_chars: np.ndarray  # int64 (C,)
    paragraph_hashes: np.ndarray  # uint64 (C,)
    paragraph_chars: np.ndarray  # int64 (C,)


class WordScratch(NamedTuple):
    """Words and n-grams of one document, and the hash table."""

    hashes: np.ndarray  # uint64 (C,)     hash of word i
    char_sums: np.ndarray  # int64 (C + 1,)  chars of the words before word i
    words: np.ndarray  # int32 (C,)     word i is equal to word words[i] <= i, the first of its kind
    grams: np.ndarray  # int32 (C,)     first occurrence of the n-gram at i, or -1 where it stands once
    counts: np.ndarray  # int32 (C,)     occurrences, at the first one
    positions: np.ndarray  # int32 (C,)     where n-grams of this level can still repeat, ascending
    keys: np.ndarray  # uint64 (T,)
    slots: np.ndarray  # int32 (T,)     1 + index of the first holder of the key; 0 is empty


def _joins() -> np.ndarray:
    """int64 (10,): bit c of joins[p] is set when no boundary stands between word classes p and c (UAX 29, WB5 to WB13b)."""
    joins = np.zeros(10, np.int64)
    for left, rights in (
        (LETTER, (LETTER, NUMBER, CONNECTOR)),
        (NUMBER, (LETTER, NUMBER, CONNECTOR)),
        (KATAKANA, (KATAKANA, CONNECTOR)),
        (CONNECTOR, (LETTER, NUMBER, KATAKANA, CONNECTOR)),
    ):
        for right in rights:
            joins[left] |= 1 << right
    # a mark in mid-word joins when the same kind stands on both sides (WB6, WB7, WB11, WB12)
    joins[LETTER] |= 1 << MID_LETTER | 1 << MID_BOTH
    joins[NUMBER] |= 1 << MID_NUMBER | 1 << MID_BOTH
    return joins


JOINS = _joins()


@njit(inline="always", **KERNEL_BORROWING)
def next_class_kernel(data, at, end, table):
    """Word class of the first character in data[at:end] that is not a combining mark; OTHER at the end."""
    while at < end:
        code, width = decode_kernel(data, at, end)
        word_class = character_class_kernel(table, code) & 15
        if word_class != EXTEND:
            return word_class
        at += width
    return OTHER


@njit(inline="always", **KERNEL_BORROWING)
def hash_word_kernel(data, start, end):
    """64-bit hash of data[start:end], made for words of a few bytes: one load and one scrambling per eight bytes.

    For up to 8 bytes it is mix64(number of bytes << 56 ^ mix64(bytes as a little-endian number)): equal bytes, equal hashes.
    """
    at, stop = np.uint64(start), np.uint64(end)
    state = np.uint64(0)
    while stop - at > _EIGHT:
        state = mix64_kernel(state ^ load64_kernel(data, at))
        at += _EIGHT
    left = stop - at
    if at + _EIGHT <= np.uint64(len(data)):
        # one load past the word's end, cut to the word: cheaper than a loop over its bytes
        tail = load64_kernel(data, at) & (_ALL_BITS >> ((_EIGHT - left) << _SHIFT_3))
    else:
        tail = np.uint64(0)
        for i in range(left):
            tail |= np.uint64(data[at + np.uint64(i)]) << (np.uint64(i) << _SHIFT_3)
    return mix64_kernel(mix64_kernel(state ^ tail) ^ (np.uint64(end - start) << _SHIFT_56))


@njit(inline="always", **KERNEL_BORROWING)
def _read_word_kernel(data, at, end, table, last):
    """(end, characters) of a word behind its first character, which is of class `last` and ends at data[at]."""
    chars = np.int64(0)
    while at < end:
        code, width = decode_kernel(data, at, end)
        follows = character_class_kernel(table, code) & 15
        # `last` is the class of the word's last character that is neither mark nor in mid-word
        if follows != EXTEND:
            if not (JOINS[last] >> follows) & 1:
                break
            if follows >= MID_LETTER:
                if next_class_kernel(data, at + width, end, table) != last:
                    break
            else:
                last = follows
        at += width
        chars += 1
    return at, chars


@njit(**KERNEL_BORROWING)
def split_words_kernel(data, start, end, table, out_hashes, out_char_sums):
    """Words of data[start:end] that start with a letter or a number, by the default word boundaries of UAX 29.

    out_hashes : uint64 (C,)         hash of each word's bytes
    out_char_sums : int64 (C + 1,)   chars of the words before word i; out_char_sums[W] is the sum of all

    Returns W; words beyond the capacity are counted and not stored.

    "It's 3.5 _x caf\\u00e9" has the words "It's", "3.5" and "caf\\u00e9" ("_x" starts with neither): 3 and sums 0, 4, 7, 11
    """
    words = np.int64(0)
    char_sum = np.int64(0)
    capacity = len(out_hashes)
    out_char_sums[0] = 0
    at = start
    while at < end:
        code, width = decode_kernel(data, at, end)
        entry = character_class_kernel(table, code)
        word_class = entry & 15
        word_start = at
        at += width
        if not (LETTER <= word_class <= SINGLE):
            continue
        at, chars = _read_word_kernel(data, at, end, table, word_class)
        if entry & ALNUM_BIT:
            char_sum += 1 + chars
            if words < capacity:
                out_hashes[words] = hash_word_kernel(data, word_start, at)
                out_char_sums[words + 1] = char_sum
            words += 1
    return words


@njit(**KERNEL_BORROWING_INNER)
def count_words_kernel(data, start, end, table):
    """How many words split_words_kernel would find in data[start:end]."""
    words = np.int64(0)
    at = start
    while at < end:
        code, width = decode_kernel(data, at, end)
        entry = character_class_kernel(table, code)
        at += width
        if LETTER <= entry & 15 <= SINGLE:
            words += entry & ALNUM_BIT != 0
            at, _ = _read_word_kernel(data, at, end, table, entry & 15)
    return words


@njit(inline="always", **KERNEL_BORROWING)
def clear_table_kernel(slots, num_keys):
    """Empty as many slots as num_keys keys need, at most half full; returns the mask of that part of the table."""
    size = 16
    while size < 2 * num_keys:
        size *= 2
    slots[:size] = 0
    return np.uint64(size - 1)


@njit(inline="always", **KERNEL_BORROWING)
def find_first_kernel(keys, slots, mask, key, index):
    """The index that first came with `key`; `index` itself when it is new."""
    slot = mix64_kernel(key) & mask
    while slots[slot] != 0:
        if keys[slot] == key:
            return slots[slot] - 1
        slot = (slot + _ONE) & mask
    keys[slot] = key
    slots[slot] = index + 1
    return index


@njit(**KERNEL_BORROWING_INNER)
def count_repeated_kernel(hashes, chars, num_segments, scratch):
    """(segments that stand at least twice, their chars, chars of all): every copy counts, the first included.

    hashes 7, 8, 7 with chars 2, 3, 2 give (2, 4, 7)
    """
    mask = clear_table_kernel(scratch.slots, num_segments)
    firsts, counts = scratch.grams, scratch.counts
    all_chars = np.int64(0)
    for i in range(num_segments):
        first = find_first_kernel(scratch.keys, scratch.slots, mask, hashes[i], i)
        firsts[i] = first
        counts[first] = 1 if first == i else counts[first] + 1
        all_chars += chars[i]
    repeated = repeated_chars = np.int64(0)
    for i in range(num_segments):
        if counts[firsts[i]] > 1:
            repeated += 1
            repeated_chars += chars[i]
    return repeated, repeated_chars, all_chars


@njit(**KERNEL_BORROWING_INNER)
def number_words_kernel(num_words, scratch):
    """Level 1: fill words, grams and positions from hashes; returns the number of positions whose word repeats."""
    mask = clear_table_kernel(scratch.slots, num_words)
    words, counts = scratch.words, scratch.counts
    for i in range(num_words):
        first = find_first_kernel(scratch.keys, scratch.slots, mask, scratch.hashes[i], i)
        words[i] = first
        counts[first] = 1 if first == i else counts[first] + 1
    num_positions = 0
    for i in range(num_words):
        scratch.grams[i] = words[i] if counts[words[i]] > 1 else -1
        if counts[words[i]] > 1:
            scratch.positions[num_positions] = i
            num_positions += 1
    return num_positions


@njit(**KERNEL_BORROWING_INNER)
def extend_ngrams_kernel(length, num_words, num_positions, scratch):
    """From repeated (length - 1)-grams to repeated length-grams, in place; returns the number of positions left."""
    grams, counts, positions = scratch.grams, scratch.counts, scratch.positions
    mask = clear_table_kernel(scratch.slots, num_positions)
    for k in range(num_positions):
        i = positions[k]
        # grams[i + 1] still holds level length - 1: positions ascend
        if i + length > num_words or grams[i + 1] < 0:
            grams[i] = -1
            continue
        key = np.uint64(grams[i]) << _SHIFT_32 | np.uint64(scratch.words[i + length - 1])
        first = find_first_kernel(scratch.keys, scratch.slots, mask, key, i)
        counts[first] = 1 if first == i else counts[first] + 1
        grams[i] = first
    kept = 0
    for k in range(num_positions):
        i = positions[k]
        if grams[i] >= 0 and counts[grams[i]] > 1:
            positions[kept] = i
            kept += 1
        else:
            grams[i] = -1
    return kept


@njit(**KERNEL_BORROWING_INNER)
def count_top_chars_kernel(length, num_positions, scratch):
    """Chars of the most frequent repeated n-gram times its count; of equally frequent ones the one with most chars."""
    top_count = top_chars = np.int64(0)
    for k in range(num_positions):
        i = scratch.positions[k]
        if scratch.grams[i] != i:
            continue
        count = np.int64(scratch.counts[i])
        chars = scratch.char_sums[i + length] - scratch.char_sums[i]
        if count > top_count or (count == top_count and chars > top_chars):
            top_count, top_chars = count, chars
    return top_count * top_chars


@njit(**KERNEL_BORROWING_INNER)
def count_top_covered_kernel(length, num_positions, scratch):
    """Chars of the words that lie in the most frequent repeated n-gram, each word once; of equals as count_top_chars_kernel, else the first.

    In "a b a b a" the words of "a b a", which stands twice and overlaps itself, are five, not six
    """
    top = top_count = top_chars = np.int64(0)
    for k in range(num_positions):
        i = np.int64(scratch.positions[k])
        if scratch.grams[i] != i:
            continue
        count = np.int64(scratch.counts[i])
        chars = scratch.char_sums[i + length] - scratch.char_sums[i]
        if count > top_count or (count == top_count and chars > top_chars):
            top, top_count, top_chars = i, count, chars
    covered = all_chars = np.int64(0)  # words before `covered` are counted
    for k in range(num_positions):
        i = np.int64(scratch.positions[k])
        if scratch.grams[i] != top:
            continue
        begin = max(i, covered)
        covered = i + length
        all_chars += scratch.char_sums[covered] - scratch.char_sums[begin]
    return all_chars


@njit(**KERNEL_BORROWING_INNER)
def count_covered_chars_kernel(length, num_positions, scratch):
    """Chars of the words that lie in any repeated n-gram, each word once."""
    covered = np.int64(0)  # words before this one are counted
    chars = np.int64(0)
    for k in range(num_positions):
        i = np.int64(scratch.positions[k])
        begin = max(i, covered)
        covered = i + length
        chars += scratch.char_sums[covered] - scratch.char_sums[begin]
    return chars


@njit(**KERNEL_BORROWING_INNER)
def count_repetition_kernel(
    line_hashes, line_sizes, num_lines, paragraph_hashes, paragraph_sizes, num_paragraphs, num_words, covers_top, words, out
):  # fmt: skip
    """All repetition counts of one document into `out`, from its lines, paragraphs and words.

    covers_top : bool   the top n-gram counts the words that lie in it, each once; else its chars times how often it stands
    words               WordScratch with hashes and char_sums of num_words words

    Two lines "ab" and a line "c": 2 of 3 lines repeat, 4 of 5 chars
    """
    repeated, chars, all_chars = count_repeated_kernel(line_hashes, line_sizes, num_lines, words)
    out[DUP_LINES], out[DUP_LINE_CHARS], out[LINE_CHARS] = repeated, chars, all_chars
    repeated, chars, all_chars = count_repeated_kernel(paragraph_hashes, paragraph_sizes, num_paragraphs, words)
    out[PARAGRAPHS], out[DUP_PARAGRAPHS] = num_paragraphs, repeated
    out[DUP_PARAGRAPH_CHARS], out[PARAGRAPH_CHARS] = chars, all_chars
    num_positions = number_words_kernel(num_words, words)
    for length in range(TOP_NGRAMS[0], DUP_NGRAMS[1] + 1):
        out[FIRST_NGRAM + length - 2] = 0
    for length in range(TOP_NGRAMS[0], DUP_NGRAMS[1] + 1):
        num_positions = extend_ngrams_kernel(length, num_words, num_positions, words)
        if num_positions == 0:
            break
        if length > TOP_NGRAMS[1]:
            found = count_covered_chars_kernel(length, num_positions, words)
        elif covers_top:
            found = count_top_covered_kernel(length, num_positions, words)
        else:
            found = count_top_chars_kernel(length, num_positions, words)
        out[FIRST_NGRAM + length - 2] = found


@njit(**KERNEL_BORROWING)
def gopher_counts_kernel(data, offsets, table, first_row, segments, words, out_counts):
    """All counts of rows first_row, first_row + 1, ... until a document does not fit the scratch arrays.

    data : uint8 (B,)                texts, back to back
    offsets : int64 (N + 1,)         text i is data[offsets[i]:offsets[i + 1]]
    table : uint8 (TABLE_SIZE,)      taggers.characters.character_table
    segments, words                  scratch of capacity C, any content
    out_counts : int64 (N, 26)       columns as named at the top of this file and of gopher_kernels

    Returns the first row that was not counted: N when all were.

    "a b a b a": 5 words; the 2-gram "a b" stands twice (2 chars), "b a" too: top 2-gram 4 of 5 chars; "a b a" twice: 6 of 5
    """
    for row in range(first_row, len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        out = out_counts[row]
        num_lines, num_paragraphs = sweep_document_kernel(data, start, end, table, segments, out)
        num_words = split_words_kernel(data, start, end, table, words.hashes, words.char_sums)
        if max(num_lines, num_words) > len(words.hashes):
            return row
        out[WORDS], out[WORD_CHARS] = num_words, words.char_sums[num_words]
        count_repetition_kernel(
            segments.line_hashes, segments.line_chars, num_lines, segments.paragraph_hashes, segments.paragraph_chars, num_paragraphs,
            num_words, False, words, out,
        )  # fmt: skip
    return np.int64(len(offsets) - 1)
