"""Words as spaCy's blank English pipeline finds them, over UTF-8 bytes: what datatrove calls words and sentences.

Legend: N documents, B bytes of all texts together, W words of one document, C capacity of the scratch arrays in words.

White space parts chunks. A chunk that is an exception ("don't") has its listed pieces. Else signs are peeled off both ends, one
at each end a round, until none is left or what is left is an exception; the rest is one word if it looks like a URL, else
signs inside it part it. Last, rows of words that together spell an exception (":" ")") are put together again.
A chunk of letters alone, the usual one, needs none of this.

Source: spaCy 3.8 (Tokenizer, lang/punctuation, lang/en), Sentencizer; parity on real text in benchmarks/filter_parity.py.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import mix64_kernel
from taggers.character_kernels import decode_kernel
from taggers.repetition_kernels import hash_word_kernel
from taggers.spacy_signs_kernels import (
    AFFIX,
    ASCII_DIGIT,
    BEFORE_STOP,
    DIGIT,
    FULL_STOP,
    ICON,
    INSIDE,
    PREFIX,
    SPACE,
    TRICKY,
    TRICKY_SHIFT,
    class_bits_kernel,
    infix_chars_kernel,
    is_url_kernel,
    prefix_chars_kernel,
    suffix_chars_kernel,
)

MAX_PIECES = 3
MAX_SEQUENCE = 12
MAX_HEAD_BYTES = 31  # longest exception that the tables can hold
NO_RULE, INNER_NODE = -1, -2

_ONE = np.uint64(1)


class WordTables(NamedTuple):
    """The rules, made by taggers.spacy_words.word_tables."""

    classes: np.ndarray  # uint32 (TABLE_SIZE,)   bits above, by code point
    keys: np.ndarray  # uint64 (T,)    hashes of exceptions
    rules: np.ndarray  # int32 (T,)     number of the exception with keys[slot], NO_RULE where the slot is empty
    pieces: np.ndarray  # int32 (R, 3)   bytes of the pieces of each exception, 0 for no piece
    heads: np.ndarray  # uint32 (256, 32) bit l of heads[f, n]: an exception of n bytes begins with byte f and ends with one whose low bits are l
    node_keys: np.ndarray  # uint64 (U,)    hashes of the beginnings of the sequences
    nodes: np.ndarray  # int32 (U,)     number of the exception that the sequence spells, INNER_NODE, NO_RULE for empty
    changes: np.ndarray  # bool (R,)      whether the sequence of exception r differs from its pieces
    pairs: np.ndarray  # bool (256, 256)  whether a sequence begins with words of these first bytes
    units: np.ndarray  # int32 (K, 6)   code points of units, 0 behind the end


class ChunkScratch(NamedTuple):
    """Chunks of one document: what white space parts."""

    starts: np.ndarray  # int64 (C,)     where chunk i begins in the text buffer
    ends: np.ndarray  # int64 (C,)
    hashes: np.ndarray  # uint64 (C,)
    chars: np.ndarray  # int32 (C,)
    any_bits: np.ndarray  # uint32 (C,)    class bits that some character of the chunk has


class WordScratch(NamedTuple):
    """Words of one document."""

    starts: np.ndarray  # int64 (C,)     where word i begins in the text buffer
    ends: np.ndarray  # int64 (C,)
    hashes: np.ndarray  # uint64 (C,)
    chars: np.ndarray  # int32 (C,)
    any_bits: np.ndarray  # uint32 (C,)    class bits that some character of the word has
    all_bits: np.ndarray  # uint32 (C,)    class bits that all its characters have
    codes: np.ndarray  # int32 (C,)     code points of a chunk
    bounds: np.ndarray  # int64 (C + 1,) where each begins in the text buffer
    peeled: np.ndarray  # int32 (C,)     chars of the signs peeled off the end
    lasts: np.ndarray  # int32 (C,)     where the words of a chunk end, in codes
    matches: np.ndarray  # int64 (C, 3)   first word, number of words, exception
    old_ends: np.ndarray  # int64 (C,)     ends before sequences are joined


@njit(**KERNEL_BORROWING)
def next_key_kernel(key, word_hash):
    """Key of a row of words and one more."""
    return mix64_kernel(key) ^ word_hash


@njit(**KERNEL_BORROWING)
def first_slot_kernel(key, size):
    """Where the search for `key` begins in a table of `size` slots, a power of two."""
    return mix64_kernel(key) & np.uint64(size - 1)


@njit(inline="always", **KERNEL_BORROWING)
def probe_kernel(keys, values, key):
    """The value of `key` in a hash table with linear probing, NO_RULE where it has none."""
    mask = np.uint64(len(keys) - 1)
    slot = first_slot_kernel(key, len(keys))
    while values[slot] != NO_RULE:
        if keys[slot] == key:
            return np.int64(values[slot])
        slot = (slot + _ONE) & mask
    return np.int64(NO_RULE)


@njit(inline="always", **KERNEL_BORROWING)
def _may_be_rule_kernel(data, start, end, heads):
    """Whether some exception is as long as data[start:end] and begins and ends like it: few other texts pass."""
    size = end - start
    return size <= MAX_HEAD_BYTES and (np.int64(heads[data[start], size]) >> (data[end - 1] & 31)) & 1 != 0


@njit(inline="always", **KERNEL_BORROWING)
def find_rule_kernel(data, start, end, heads, keys, rules):
    """Number of the exception that data[start:end] is, NO_RULE for none."""
    if not _may_be_rule_kernel(data, start, end, heads):
        return np.int64(NO_RULE)
    return probe_kernel(keys, rules, hash_word_kernel(data, start, end))


@njit(inline="always", **KERNEL_BORROWING)
def split_chunk_kernel(
    data,
    num_codes,
    any_bits,
    has_digit,
    codes,
    bounds,
    classes,
    heads,
    keys,
    rules,
    pieces,
    units,
    peeled,
    out_lasts,
):
    """Where the words of a chunk end, by all rules: word i is codes[out_lasts[i - 1]:out_lasts[i]]; returns their number.

    any_bits, has_digit              class bits that some character has, whether an ASCII digit stands in it
    codes : int32, bounds : int64    the chunk's code points and where each begins in `data`, bounds[num_codes] its end
    peeled, out_lasts : int32 (C,)   scratch, and the output

    "(don't!)" has words that end at 1, 3, 6, 7, 8: "(", "do", "n't", "!", ")"
    """
    first, last = np.int64(0), np.int64(num_codes)
    count = num_peeled = np.int64(0)
    rule = find_rule_kernel(data, bounds[0], bounds[last], heads, keys, rules)
    before = np.int64(-1)
    while rule == NO_RULE and last > first and last - first != before:
        before = last - first
        prefix = prefix_chars_kernel(codes, first, last, classes)
        if 0 < prefix < last - first:
            rule = find_rule_kernel(data, bounds[first + prefix], bounds[last], heads, keys, rules)
            if rule != NO_RULE:
                first += prefix
                out_lasts[count] = first
                count += 1
                break
        suffix = suffix_chars_kernel(codes, first + prefix, last, has_digit, classes, units)
        if 0 < suffix < last - first:
            rule = find_rule_kernel(data, bounds[first], bounds[last - suffix], heads, keys, rules)
        if rule == NO_RULE and prefix > 0:
            first += prefix
            out_lasts[count] = first
            count += 1
        if suffix > 0:
            peeled[num_peeled] = suffix
            num_peeled += 1
            last -= suffix
        # with a sign at both ends, what is left has not been looked up yet
        if rule == NO_RULE and prefix > 0 and suffix > 0 and last > first:
            rule = find_rule_kernel(data, bounds[first], bounds[last], heads, keys, rules)
    if rule != NO_RULE:
        at = first
        for k in range(MAX_PIECES):
            if pieces[rule, k] > 0:
                stop = bounds[at] + pieces[rule, k]
                while bounds[at] < stop:
                    at += 1
                out_lasts[count] = at
                count += 1
    elif last > first:
        if not (any_bits & FULL_STOP and is_url_kernel(codes, first, last, classes)):
            count = _split_inside_kernel(codes, first, last, classes, count, out_lasts)
        if count == 0 or out_lasts[count - 1] < last:
            out_lasts[count] = last
            count += 1
    while num_peeled > 0:
        num_peeled -= 1
        last += peeled[num_peeled]
        out_lasts[count] = last
        count += 1
    return count


@njit(inline="always", **KERNEL_BORROWING)
def _split_inside_kernel(codes, first, last, classes, count, out_lasts):
    """Ends of words before and at the signs inside codes[first:last]; one at its very beginning parts nothing."""
    begin = at = first
    while at < last:
        if not class_bits_kernel(classes, codes[at]) & INSIDE:
            at += 1
            continue
        width = infix_chars_kernel(codes, first, at, last, classes)
        if width > 0 and at > first:
            if at > begin:
                out_lasts[count] = at
                count += 1
            begin = at + width
            out_lasts[count] = begin
            count += 1
        at += max(width, 1)
    return count


@njit(**KERNEL_BORROWING_INNER)
def joins_kernel(data, words, i):
    """Whether words i and i + 1 stand side by side: with nothing or one space between them."""
    gap = words.starts[i + 1] - words.ends[i]
    return gap == 0 or (gap == 1 and data[words.ends[i]] == 32)


@njit(**KERNEL_BORROWING_INNER)
def find_sequences_kernel(data, tables, words, num_words):
    """Rows of words that together spell an exception, into words.matches; returns their number, those beyond the capacity too."""
    found = np.int64(0)
    for i in range(num_words - 1):
        if not tables.pairs[data[words.starts[i]], data[words.starts[i + 1]]]:
            continue
        key = words.hashes[i]
        k = i
        while True:
            node = probe_kernel(tables.node_keys, tables.nodes, key)
            if node == NO_RULE:
                break
            if node >= 0:
                if found < len(words.matches):
                    words.matches[found, 0], words.matches[found, 1], words.matches[found, 2] = i, k + 1 - i, node
                found += 1
            if k + 1 >= num_words or not joins_kernel(data, words, k):
                break
            k += 1
            key = next_key_kernel(key, words.hashes[k])
    return found


@njit(**KERNEL_BORROWING_INNER)
def choose_sequences_kernel(tables, words, num_words, num_matches):
    """Which matches hold, longest first, then leftmost: 1 + its index in words.codes at its first word, 0 elsewhere.

    Every match bars those that begin or end on its words, also when it is barred itself. Returns whether any changes a word.
    """
    barred, chosen = words.peeled, words.codes
    barred[:num_words] = 0
    chosen[:num_words] = 0
    changed = False
    for length in range(MAX_SEQUENCE, 1, -1):
        for m in range(num_matches):
            first, width, rule = words.matches[m, 0], words.matches[m, 1], words.matches[m, 2]
            if width != length:
                continue
            if barred[first] == 0 and barred[first + width - 1] == 0:
                whole = True  # an exception holds no space
                for k in range(first, first + width - 1):
                    whole &= words.ends[k] == words.starts[k + 1]
                if whole and tables.changes[rule]:
                    chosen[first] = m + 1
                    changed = True
            barred[first : first + width] = 1
    return changed


@njit(**KERNEL_BORROWING_INNER)
def _add_bytes_kernel(data, words, count, start, end, classes):
    """Append data[start:end] as a word; returns the new number of words."""
    if count < len(words.starts):
        chars = np.int64(0)
        any_bits, all_bits = np.int64(0), np.int64(-1)
        at = start
        while at < end:
            code, width = decode_kernel(data, at, end)
            bits = class_bits_kernel(classes, code)
            any_bits |= bits
            all_bits &= bits
            at += width
            chars += 1
        words.starts[count], words.ends[count], words.chars[count] = start, end, chars
        words.any_bits[count], words.all_bits[count] = any_bits, all_bits & 0xFFFFFFFF
        words.hashes[count] = hash_word_kernel(data, start, end)
    return count + 1


@njit(**KERNEL_BORROWING_INNER)
def join_sequences_kernel(data, tables, words, num_words):
    """Put exceptions together that were parted; returns the new number of words, more than the capacity if it is too small."""
    num_matches = find_sequences_kernel(data, tables, words, num_words)
    if num_matches > len(words.matches):
        return np.int64(len(words.starts) + 1)
    if num_matches == 0 or not choose_sequences_kernel(tables, words, num_words, num_matches):
        return num_words
    old_starts, old_ends, chosen = words.bounds, words.old_ends, words.codes
    for i in range(num_words):
        old_starts[i], old_ends[i] = words.starts[i], words.ends[i]
    count = i = np.int64(0)
    while i < num_words:
        if chosen[i] == 0:
            count = _add_bytes_kernel(data, words, count, old_starts[i], old_ends[i], tables.classes)
            i += 1
            continue
        match = chosen[i] - 1
        at = old_starts[i]
        for k in range(MAX_PIECES):
            width = np.int64(tables.pieces[words.matches[match, 2], k])
            if width > 0:
                count = _add_bytes_kernel(data, words, count, at, at + width, tables.classes)
                at += width
        i += words.matches[match, 1]
    return count


@njit(inline="always", **KERNEL_BORROWING)
def _add_pieces_kernel(
    data, num_pieces, count, codes, bounds, lasts, classes, starts, ends, hashes, lengths, any_of, all_of
):
    """Append the pieces of a chunk, which end at lasts[:num_pieces]; returns the new number of words."""
    first = np.int64(0)
    for k in range(num_pieces):
        last = np.int64(lasts[k])
        any_bits, all_bits = np.int64(0), np.int64(-1)
        for i in range(first, last):
            bits = class_bits_kernel(classes, codes[i])
            any_bits |= bits
            all_bits &= bits
        if count < len(starts):
            starts[count], ends[count], lengths[count] = bounds[first], bounds[last], last - first
            hashes[count] = hash_word_kernel(data, bounds[first], bounds[last])
            any_of[count], all_of[count] = any_bits, all_bits & 0xFFFFFFFF
        count += 1
        first = last
    return count


@njit(inline="always", **KERNEL_BORROWING)
def _has_rule_kernel(data, begin, at, low, high, heads, keys, rules):
    """Whether data[begin:at], or data[low:high], what is left of it without its sign, is an exception."""
    if find_rule_kernel(data, begin, at, heads, keys, rules) != NO_RULE:
        return True
    return find_rule_kernel(data, low, high, heads, keys, rules) != NO_RULE


@njit(inline="always", **KERNEL_BORROWING)
def _add_word_kernel(words, count, start, end, key, chars, any_bits, all_bits):
    """Store a word, unless the scratch is full; returns the new number of words."""
    if count < len(words.starts):
        words.starts[count], words.ends[count], words.hashes[count] = start, end, key
        words.chars[count], words.any_bits[count], words.all_bits[count] = chars, any_bits, all_bits & 0xFFFFFFFF
    return count + 1


@njit(inline="always", **KERNEL_BORROWING)
def _add_span_kernel(data, words, count, start, end, chars, any_bits, all_bits):
    """Store data[start:end] as a word; returns the new number of words."""
    return _add_word_kernel(words, count, start, end, hash_word_kernel(data, start, end), chars, any_bits, all_bits)


@njit(inline="always", **KERNEL_BORROWING)
def _decode_chunk_kernel(data, begin, end, codes, bounds):
    """The code points of data[begin:end] and where each begins, which fit."""
    chars = np.int64(0)
    at = begin
    while at < end:
        codes[chars], width = decode_kernel(data, at, end)
        bounds[chars] = at
        at += width
        chars += 1
    bounds[chars] = end


@njit(**KERNEL_BORROWING_INNER)
def split_document_kernel(data, start, end, tables, words, chunks, want_words):
    """Words of data[start:end] into `words`, its chunks into `chunks`; returns (words, chunks), more than fit when they do not.

    Without `want_words` the number of words is 0. b"(yet) at example.org, is" has "(", "yet", ")", "at", "example.org", ",", "is".
    """
    classes, heads, keys, rules = tables.classes, tables.heads, tables.keys, tables.rules
    codes, bounds, lasts = words.codes, words.bounds, words.lasts
    count = num_chunks = np.int64(0)
    at = start
    while at < end:
        begin = last_at = at
        chars = num_tricky = first_bits = last_bits = before_bits = any_bits = any_before = np.int64(0)
        all_bits = all_before = np.int64(-1)
        first_width, width = np.int64(0), np.int64(1)
        while at < end:
            if data[at] < 0x80:
                bits, width = np.int64(classes[data[at]]), np.int64(1)
            else:
                code, width = decode_kernel(data, at, end)
                bits = class_bits_kernel(classes, code)
            if bits & SPACE:
                break
            if chars == 0:
                first_bits, first_width = bits, width
            num_tricky += (bits & TRICKY) >> TRICKY_SHIFT
            before_bits, any_before, all_before, last_at = last_bits, any_bits, all_bits, at
            any_bits |= bits
            all_bits &= bits
            last_bits, at, chars = bits, at + width, chars + 1
        if chars >= len(codes):
            return chars + 1, chars + 1
        if chars > 0:
            key = hash_word_kernel(data, begin, at)
            if num_chunks < len(chunks.starts):
                chunks.starts[num_chunks], chunks.ends[num_chunks], chunks.hashes[num_chunks] = begin, at, key
                chunks.chars[num_chunks], chunks.any_bits[num_chunks] = chars, any_bits
            num_chunks += 1
            if want_words:
                digit = any_bits & ASCII_DIGIT != 0
                done = False
                if num_tricky == 0:
                    # letters alone, or digits alone
                    done = not digit or all_bits & DIGIT != 0
                    if done and _may_be_rule_kernel(data, begin, at, heads):
                        done = probe_kernel(keys, rules, key) == NO_RULE
                    if done:
                        count = _add_word_kernel(words, count, begin, at, key, chars, any_bits, all_bits)
                elif num_tricky == 1 and not digit and chars > 1:
                    # letters with one sign before or behind them
                    if last_bits & TRICKY:
                        if last_bits & (AFFIX | ICON) or (last_bits & FULL_STOP and before_bits & BEFORE_STOP):
                            done = not _has_rule_kernel(data, begin, at, begin, last_at, heads, keys, rules)
                        if done:
                            count = _add_span_kernel(
                                data, words, count, begin, last_at, chars - 1, any_before, all_before
                            )
                            count = _add_span_kernel(data, words, count, last_at, at, 1, last_bits, last_bits)
                    elif first_bits & (AFFIX | PREFIX | ICON):
                        middle = begin + first_width
                        if not _has_rule_kernel(data, begin, at, middle, at, heads, keys, rules):
                            done = True
                            count = _add_span_kernel(data, words, count, begin, middle, 1, first_bits, first_bits)
                            count = _add_bytes_kernel(data, words, count, middle, at, classes)
                if not done:
                    _decode_chunk_kernel(data, begin, at, codes, bounds)
                    num_pieces = split_chunk_kernel(
                        data, chars, any_bits, digit, codes, bounds, classes, heads, keys, rules, tables.pieces, tables.units, words.peeled,
                        lasts,
                    )  # fmt: skip
                    if num_pieces > 1:
                        count = _add_pieces_kernel(
                            data, num_pieces, count, codes, bounds, lasts, classes, words.starts, words.ends, words.hashes,
                            words.chars, words.any_bits, words.all_bits,
                        )  # fmt: skip
                    else:
                        count = _add_word_kernel(words, count, begin, at, key, chars, any_bits, all_bits)
        at += width
    if count <= len(words.starts):
        count = join_sequences_kernel(data, tables, words, count)
    return count, num_chunks


@njit(**KERNEL_BORROWING)
def split_spacy_words_kernel(data, offsets, tables, words, chunks, out_starts, out_ends, out_counts):
    """Words of all rows, for whoever wants the words themselves; `words` must fit the longest row.

    out_starts, out_ends : int64 (B,)   where the words begin and end in `data`, documents back to back
    out_counts : int64 (N,)             words of each row
    """
    filled = np.int64(0)
    for row in range(len(offsets) - 1):
        count, _ = split_document_kernel(data, offsets[row], offsets[row + 1], tables, words, chunks, True)
        for i in range(count):
            out_starts[filled + i], out_ends[filled + i] = words.starts[i], words.ends[i]
        out_counts[row] = count
        filled += count
