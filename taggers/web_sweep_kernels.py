"""One sweep over a document for all rules of a web filter: its lines, paragraphs and words, and the Gopher quality counts.

Each line and word is kept with its place, so that repetition, line edits and sentence rules need not look for them again. Words of ASCII
letters, most of English text, are found eight bytes at a time; all others by character.

Legend: N documents, B bytes of all texts together, C capacity of the scratch arrays in words or lines.

Two readings. "characters" is that of taggers.gopher (DCLM): lengths in characters, lines and paragraphs without outer white space.
"bytes" is that of datamap-rs, which filtered Olmo 3's web pages: lengths in bytes, lines and paragraphs as they stand, bullets and ellipses
over its own kinds of lines, `. . .` one word for the symbol ratio.

Source: Rae et al. 2021 (Gopher), table A1; DCLM baselines/mappers (c7ed275); allenai/datamap-rs src/map_fxn.rs (021da52).
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import load64_kernel, mix64_kernel, xxh64_kernel
from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import (
    ALNUM_BIT,
    ALPHA_BIT,
    EXTEND,
    LETTER,
    MID_LETTER,
    SINGLE,
    SPACE_BIT,
)
from taggers.gopher_kernels import (
    ALPHA_WORDS,
    BULLET_LINES,
    ELLIPSIS_LINES,
    LINES,
    NUM_QUALITY_COUNTS,
    SPACED_WORD_CHARS,
    SPACED_WORDS,
    STOP_WORDS,
    SYMBOLS,
    ends_with_ellipsis_kernel,
    is_stop_word_kernel,
    starts_with_bullet_kernel,
)
from taggers.repetition_kernels import JOINS, NUM_COUNTS, WORD_CHARS, WORDS, hash_word_kernel, next_class_kernel

# columns of out_counts after those of gopher_kernels and repetition_kernels
CHARS, LENGTH_WORDS, SYMBOL_WORDS, BULLET_BASE, ELLIPSIS_BASE = range(NUM_COUNTS, NUM_COUNTS + 5)
NUM_SWEEP_COUNTS = NUM_COUNTS + 5

# columns of LineScratch.lines; a line is what stands between line feeds, blank ones included
START, END, FIRST_WORD, LAST_WORD, UPPER, DIGITS, LINE_SIZE, LINE_SPACED, FLAGS = range(9)
NUM_LINE_COLUMNS = 9
# and of sweep_line_kernel's facts of one line, after those
FIRST_BYTE, END_BYTE, FIRST_CHAR, END_CHAR, NUM_CHARS = range(9, 14)
NUM_FACTS = 14
HAS_PHRASE = 1  # the two bytes behind the first space of the phrase stand behind a space of the line

_SEED = np.uint64(0)
_LINE_FEED, _RETURN, _SPACE, _HASH_SIGN, _DOT = 10, 13, 32, 35, 46
_ELLIPSIS = 0x2026
_ZERO, _NINE = 48, 57
_PHRASE_HINT_1, _PHRASE_HINT_2 = 105, 110  # "in" of "items in cart"

_NO_BITS, _ONE = np.uint64(0), np.uint64(1)
_SHIFT_2, _SHIFT_3, _SHIFT_7, _SHIFT_56, _SIXTY_FOUR = (np.uint64(shift) for shift in (2, 3, 7, 56, 64))
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)
_EACH_BYTE = np.uint64(0x0101010101010101)
_BIT_5, _BIT_7 = np.uint64(0x2020202020202020), np.uint64(0x8080808080808080)
_TO_A, _TO_Z = np.uint64(0x1F1F1F1F1F1F1F1F), np.uint64(0x0505050505050505)  # 0x61 and 0x7B, plus these, reach bit 7
_COUNT_DOWN = np.uint64(0x0001020304050607)
_STOP_SHIFT = np.uint64(60)


def _stop_table() -> tuple[np.ndarray, np.uint64]:
    """(uint64 (16,), factor): each stop word, as little-endian bytes, at the top four bits of its product with the factor."""
    keys = [int.from_bytes(word, "little") for word in (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with")]
    factor = 0x9E3779B97F4A7C15
    while len({key * factor % 2**64 >> 60 for key in keys}) < len(keys):
        factor = factor * 0x5851F42D4C957F2D % 2**64  # any odd number would do; a few steps suffice
    table = np.zeros(16, np.uint64)
    for key in keys:
        table[key * factor % 2**64 >> 60] = key
    return table, np.uint64(factor)


_STOP_WORDS, _STOP_FACTOR = _stop_table()


def _letters() -> np.ndarray:
    """uint8 (256,): 1 for a-z, 3 for A-Z, 0 for all other bytes."""
    table = np.zeros(256, np.uint8)
    table[97:123] = 1
    table[65:91] = 3
    return table


_LETTERS = _letters()


class LineScratch(NamedTuple):
    """Lines, paragraphs and the places of words of one document."""

    lines: np.ndarray  # int64 (C, 9)    columns START ... FLAGS; places counted from the document's first byte
    line_hashes: np.ndarray  # uint64 (C,)    of the lines that are not blank
    line_sizes: np.ndarray  # int64 (C,)
    paragraph_hashes: np.ndarray  # uint64 (C,)
    paragraph_sizes: np.ndarray  # int64 (C,)
    facts: np.ndarray  # int64 (14,)    of one line
    word_places: np.ndarray  # int64 (C,)    2 * first byte of word i, + 1 when it starts with an upper-case letter


@njit(inline="always", **KERNEL)
def find_letters_kernel(block):
    """Bit 7 of each byte of an 8-byte block that is an ASCII letter."""
    low = (block | _BIT_5) & ~_BIT_7
    return (low + _TO_A) & ~(low + _TO_Z) & ~block & _BIT_7


@njit(inline="always", **KERNEL)
def count_leading_kernel(bits):
    """How many of eight bytes, from the first, have bit 7 set in `bits`, which has no other bits."""
    rest = bits ^ _BIT_7
    if rest == _NO_BITS:
        return np.int64(8)
    # the lowest bit alone, as 1 << 8 k, moves k to the top byte of a number whose bytes count down
    return np.int64((((rest & (~rest + _ONE)) >> _SHIFT_7) * _COUNT_DOWN) >> _SHIFT_56)


@njit(inline="always", **KERNEL)
def keep_bytes_kernel(run):
    """All bits of the first `run` of eight bytes; run: 1 to 8."""
    return _ALL_BITS >> (_SIXTY_FOUR - (np.uint64(run) << _SHIFT_3))


@njit(inline="always", **KERNEL)
def count_capitals_kernel(block, letters, run):
    """Upper-case ones among the first `run` of eight bytes, whose ASCII letters are marked in `letters`; run: 1 to 8."""
    capitals = letters & ~(block << _SHIFT_2) & keep_bytes_kernel(run)
    return np.int64(((capitals >> _SHIFT_7) * _EACH_BYTE) >> _SHIFT_56)


@njit(**KERNEL_BORROWING_INNER)
def sweep_line_kernel(data, start, end, table, in_bytes, origin, num_words, hashes, char_sums, word_places, out, facts):
    """Add the line that begins at data[start] to the counts `out`, say what it is in `facts`, and store its words behind those before.

    A word of ASCII letters up to a space, the most frequent kind, is taken from one load of eight bytes without a loop. In all others, ASCII
    letters are taken eight at a time and other characters one by one.

    origin : int                  where the document begins in `data`
    num_words : int               words of the lines before; hashes[i] and word_places[i] are of word i, char_sums[i] is the characters
                                  (in_bytes: bytes) of the words before it; words beyond the capacity are counted and not stored
    out : int64 (31,)             added to
    facts : int64 (14,)           set: columns START ... NUM_CHARS; a blank line has FIRST_BYTE == END_BYTE

    Returns (where the line ends, words): the place of its line feed, or `end`.

    b" The # x... " adds 3 words with 8 chars, 2 with letters, 1 stop word, 2 symbols; FIRST_BYTE and FIRST_CHAR are 1, END_BYTE and END_CHAR 11
    """
    at = start
    capacity = len(word_places)
    last_load = len(data) - 8
    size_sum = char_sums[min(num_words, capacity)]
    chars = first_byte = end_byte = first_char = end_char = np.int64(0)
    upper = digits = runs = flags = triples = spaced_dots = np.int64(0)
    spaced = spaced_size = alpha_words = stop_words = symbols = np.int64(0)
    while at < end:
        byte = data[at]
        token_start = at
        block = letters = _NO_BITS
        run = np.int64(0)
        if _LETTERS[byte] and at <= last_load:
            # ---- a word of up to eight ASCII letters and a space behind it
            block = load64_kernel(data, np.uint64(at))
            letters = find_letters_kernel(block)
            run = min(count_leading_kernel(letters), end - at)
            stop = at + run
            if stop == end or data[stop] == _SPACE:
                if num_words < capacity:
                    tail = block & keep_bytes_kernel(run)
                    hashes[num_words] = mix64_kernel(mix64_kernel(tail) ^ (np.uint64(run) << _SHIFT_56))
                    char_sums[num_words + 1] = size_sum + run
                    word_places[num_words] = (at - origin) * 2 + (_LETTERS[byte] >> 1)
                num_words += 1
                size_sum += run
                lower = (block | _BIT_5) & keep_bytes_kernel(run)
                stop_words += _STOP_WORDS[(lower * _STOP_FACTOR) >> _STOP_SHIFT] == lower
                upper += count_capitals_kernel(block, letters, run)
                if spaced == 0:
                    first_byte, first_char = at, chars
                spaced += 1
                alpha_words += 1
                spaced_size += run
                runs += 1
                chars += run
                end_byte, end_char = stop, chars
                at = stop
                if at < end:  # the space
                    at += 1
                    chars += 1
                    if at + 1 < end and data[at] | 0x20 == _PHRASE_HINT_1 and data[at + 1] | 0x20 == _PHRASE_HINT_2:
                        flags = np.int64(HAS_PHRASE)
                continue
        if byte == _LINE_FEED:
            break
        # ---- anything else up to white space, and one character of that
        first_of_token = chars
        has_alpha = was_alnum = False
        dots = np.int64(0)
        last = word_start = word_size = word_entry = np.int64(
            0
        )  # the open word; `last`: class of its last character that joins, 0: none
        while at < end:
            byte = data[at]
            is_run = _LETTERS[byte] != 0 and at <= last_load
            if is_run:
                block = load64_kernel(data, np.uint64(at))
                letters = find_letters_kernel(block)
                size = width = run = min(count_leading_kernel(letters), end - at)
                code, entry, word_class = np.int64(byte), np.int64(table[byte]), np.int64(LETTER)
                num_chars = run
            else:
                code, width = decode_kernel(data, at, end)
                entry = character_class_kernel(table, code)
                if entry & SPACE_BIT:
                    break
                size = width if in_bytes else 1
                word_class = entry & 15
                num_chars = np.int64(1)
            # words by default boundaries
            if last != 0:
                joins = word_class == EXTEND
                if not joins and (JOINS[last] >> word_class) & 1:
                    if word_class >= MID_LETTER:
                        joins = next_class_kernel(data, at + width, end, table) == last
                    else:
                        joins = True
                        last = word_class
                if joins:
                    word_size += size
                else:
                    if word_entry & ALNUM_BIT:
                        size_sum += word_size
                        if num_words < capacity:
                            hashes[num_words] = hash_word_kernel(data, word_start, at)
                            char_sums[num_words + 1] = size_sum
                            word_places[num_words] = (word_start - origin) * 2 + (word_entry >> 7)
                        num_words += 1
                    last = np.int64(0)
            if last == 0 and LETTER <= word_class <= SINGLE:
                last, word_start, word_size, word_entry = word_class, at, np.int64(size), entry
            # symbols
            if code == _DOT:
                dots += 1
                follows = at - start >= 2 and data[at - 1] == _SPACE and data[at - 2] == _DOT
                spaced_dots = spaced_dots + 1 if follows else np.int64(1)
                # like str.count: occurrences do not overlap, so every third one counts
                symbols += dots % 3 == 0
                triples += spaced_dots % 3 == 0
            else:
                dots = np.int64(0)
                symbols += (code == _HASH_SIGN) | (code == _ELLIPSIS)
            has_alpha |= entry & ALPHA_BIT != 0
            is_alnum = entry & ALNUM_BIT != 0
            runs += is_alnum and not was_alnum
            was_alnum = is_alnum
            upper += count_capitals_kernel(block, letters, run) if is_run else entry >> 7
            digits += (code >= _ZERO) & (code <= _NINE)
            spaced_size += size
            at += width
            chars += num_chars
        if at > token_start:
            if last != 0 and word_entry & ALNUM_BIT:
                size_sum += word_size
                if num_words < capacity:
                    hashes[num_words] = hash_word_kernel(data, word_start, at)
                    char_sums[num_words + 1] = size_sum
                    word_places[num_words] = (word_start - origin) * 2 + (word_entry >> 7)
                num_words += 1
            if spaced == 0:
                first_byte, first_char = token_start, first_of_token
            spaced += 1
            alpha_words += has_alpha
            stop_words += is_stop_word_kernel(data, token_start, at)
            end_byte, end_char = at, chars
        if at < end and data[at] != _LINE_FEED:  # the white space
            code, width = decode_kernel(data, at, end)
            at += width
            chars += 1
            if at + 1 < end and data[at] | 0x20 == _PHRASE_HINT_1 and data[at + 1] | 0x20 == _PHRASE_HINT_2:
                flags = np.int64(HAS_PHRASE)
    out[SPACED_WORDS] += spaced
    out[SPACED_WORD_CHARS] += spaced_size
    out[ALPHA_WORDS] += alpha_words
    out[STOP_WORDS] += stop_words
    out[SYMBOLS] += symbols + triples
    out[SYMBOL_WORDS] -= 2 * triples
    out[LENGTH_WORDS] += runs
    facts[START], facts[END] = start - origin, at - origin
    facts[UPPER], facts[DIGITS], facts[FLAGS] = upper, digits, flags
    facts[LINE_SIZE] = at - start if in_bytes else chars
    facts[LINE_SPACED] = spaced
    facts[FIRST_BYTE], facts[END_BYTE], facts[FIRST_CHAR], facts[END_CHAR] = first_byte, end_byte, first_char, end_char
    facts[NUM_CHARS] = chars
    return at, num_words


@njit(**KERNEL_BORROWING_INNER)
def close_paragraph_kernel(data, start, end, size, num_paragraphs, scratch):
    """Store one paragraph, data[start:end]; returns how many there are now."""
    if num_paragraphs < len(scratch.paragraph_hashes):
        scratch.paragraph_hashes[num_paragraphs] = xxh64_kernel(data, start, end, _SEED)
        scratch.paragraph_sizes[num_paragraphs] = size
    return num_paragraphs + 1


@njit(**KERNEL_BORROWING_INNER)
def sweep_text_kernel(data, start, end, table, in_bytes, scratch, words, out):
    """Lines, paragraphs, words and quality counts of one document, data[start:end].

    table : uint8 (TABLE_SIZE,)   taggers.characters.character_table
    in_bytes : bool               the reading, see the top of the file
    scratch : LineScratch         filled; capacity C
    words : WordScratch           hashes and char_sums are filled
    out : int64 (31,)             columns SPACED_WORDS ... ELLIPSIS_LINES, WORDS, WORD_CHARS, CHARS ... ELLIPSIS_BASE are set

    Returns (lines, lines that are not blank, paragraphs, words); what is beyond the capacity is counted and not stored.

    b"The cat.\\n\\n# 1" has 3 lines, 2 of them not blank, 2 paragraphs and the words "The", "cat" and "1"
    """
    out[:NUM_QUALITY_COUNTS] = 0
    out[SYMBOL_WORDS] = out[LENGTH_WORDS] = 0
    lines = full_lines = paragraphs = num_words = np.int64(0)
    facts = scratch.facts
    bullets = ellipses = ellipsis_base = all_chars = np.int64(0)
    words.char_sums[0] = 0
    open_start = open_end = open_size = np.int64(-1)  # the paragraph being read
    open_first = feeds = np.int64(0)  # feeds: line feeds since the last character that is none
    line_start = np.int64(start)
    while line_start <= end:
        line_words = num_words
        line_end, num_words = sweep_line_kernel(
            data,
            line_start,
            end,
            table,
            in_bytes,
            start,
            num_words,
            words.hashes,
            words.char_sums,
            scratch.word_places,
            out,
            facts,
        )
        facts[FIRST_WORD], facts[LAST_WORD] = line_words, num_words
        if lines < len(scratch.lines):
            for column in range(NUM_LINE_COLUMNS):
                scratch.lines[lines, column] = facts[column]
        lines += 1
        first, last = facts[FIRST_BYTE], facts[END_BYTE]
        first_char, end_char, chars = facts[FIRST_CHAR], facts[END_CHAR], facts[NUM_CHARS]
        if in_bytes:
            is_full = line_start < line_end
            size, ellipsis_end = line_end - line_start, line_end
            if is_full:
                first, last = line_start, line_end
                ellipsis_end -= line_end < end and data[line_end - 1] == _RETURN
                ellipsis_base += line_start < ellipsis_end
                # two or more line feeds part paragraphs, a single one belongs to the text on either side
                if open_start < 0:
                    open_start = line_start - 1 if feeds == 1 else line_start
                feeds = np.int64(0)
            feeds += 1
            if open_start >= 0 and (line_end + 1 >= end or data[line_end + 1] == _LINE_FEED):
                stop = end if line_end + 1 == end else line_end
                paragraphs = close_paragraph_kernel(data, open_start, stop, stop - open_start, paragraphs, scratch)
                open_start = np.int64(-1)
        else:
            is_full = first < last
            size, ellipsis_end = end_char - first_char, last
            if is_full:
                if open_start < 0:
                    open_start, open_first = first, all_chars + first_char
                open_end, open_size = last, all_chars + end_char - open_first
            if open_start >= 0 and (line_start == line_end or line_end >= end):
                paragraphs = close_paragraph_kernel(data, open_start, open_end, open_size, paragraphs, scratch)
                open_start = np.int64(-1)
        if is_full:
            if full_lines < len(scratch.line_hashes):
                scratch.line_hashes[full_lines] = xxh64_kernel(data, first, last, _SEED)
                scratch.line_sizes[full_lines] = size
            full_lines += 1
            bullets += starts_with_bullet_kernel(data, first, last)
            ellipses += ends_with_ellipsis_kernel(data, first, ellipsis_end)
        all_chars += chars + 1
        line_start = line_end + 1
    if in_bytes and end - start == 1 and lines == 2:  # a line feed and nothing else is a paragraph of its own
        paragraphs = close_paragraph_kernel(data, start, end, 1, paragraphs, scratch)
    out[LINES], out[BULLET_LINES], out[ELLIPSIS_LINES] = full_lines, bullets, ellipses
    out[WORDS], out[CHARS] = num_words, all_chars - 1
    out[WORD_CHARS] = words.char_sums[min(num_words, len(scratch.word_places))]
    out[BULLET_BASE], out[ELLIPSIS_BASE] = full_lines, full_lines
    spaced = out[SPACED_WORDS]
    # of an ASCII page, as many bytes as characters, datamap-rs counts runs of letters and digits
    if not in_bytes or all_chars - 1 < end - start:
        out[LENGTH_WORDS] = num_words
    out[SYMBOL_WORDS] = out[SYMBOL_WORDS] + spaced if in_bytes else spaced
    if in_bytes:
        out[BULLET_BASE], out[ELLIPSIS_BASE] = lines, ellipsis_base
        if spaced == 1:
            out[ALPHA_WORDS] = 0  # a page of one word has none that counts
    return lines, full_lines, paragraphs, num_words
