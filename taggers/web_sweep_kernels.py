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

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import load64_kernel, xxh64_kernel
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
from taggers.letter_block_kernels import (
    LETTERS,
    count_capitals_kernel,
    count_leading_kernel,
    find_letters_kernel,
    read_word_kernel,
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
# columns of LineScratch.open, the paragraph being read: its first byte or -1, end, size, first char; line feeds since the last other character
OPEN_START, OPEN_END, OPEN_SIZE, OPEN_FIRST, FEEDS = range(5)
NUM_OPEN = 5
HAS_PHRASE = 1  # the two bytes behind the first space of the phrase stand behind a space of the line

_SEED = np.uint64(0)
_LINE_FEED, _RETURN, _SPACE, _HASH_SIGN, _DOT = 10, 13, 32, 35, 46
_ELLIPSIS = 0x2026
_ZERO, _NINE = 48, 57
_PHRASE_HINT_1, _PHRASE_HINT_2 = 105, 110  # "in" of "items in cart"


class LineScratch(NamedTuple):
    """Lines, paragraphs and the places of words of one document."""

    lines: np.ndarray  # int64 (C, 9)    columns START ... FLAGS; places counted from the document's first byte
    line_hashes: np.ndarray  # uint64 (C,)    of the lines that are not blank
    line_sizes: np.ndarray  # int64 (C,)
    paragraph_hashes: np.ndarray  # uint64 (C,)
    paragraph_sizes: np.ndarray  # int64 (C,)
    facts: np.ndarray  # int64 (14,)    of one line
    open: np.ndarray  # int64 (5,)    the paragraph being read
    word_places: np.ndarray  # int64 (C,)    2 * first byte of word i, + 1 when it starts with an upper-case letter


class Token(NamedTuple):
    """Counts of one word at white space."""

    chars: int
    size: int  # characters, or bytes
    upper: int
    digits: int
    runs: int  # of letters and digits
    symbols: int
    triples: int  # ". . ."
    has_alpha: bool


@njit(inline="always", **KERNEL_BORROWING)
def store_word_kernel(data, start, end, size_sum, is_upper, origin, num_words, hashes, char_sums, word_places):
    """Store word num_words, data[start:end], unless the arrays are full; returns num_words + 1. size_sum: with the word's own size."""
    if num_words < len(word_places):
        hashes[num_words] = hash_word_kernel(data, start, end)
        char_sums[num_words + 1] = size_sum
        word_places[num_words] = (start - origin) * 2 + is_upper
    return num_words + 1


@njit(inline="always", **KERNEL_BORROWING)
def join_word_kernel(data, behind, end, table, last, word_class):
    """What `last` of an open word becomes when a character of word_class follows, 0 when the word ends before it; data[behind] is what comes next."""
    if word_class == EXTEND:
        return last
    if not (JOINS[last] >> word_class) & 1:
        return np.int64(0)
    if word_class < MID_LETTER:
        return word_class
    return last if next_class_kernel(data, behind, end, table) == last else np.int64(0)


@njit(inline="always", **KERNEL_BORROWING)
def sweep_token_kernel(
    data, at, end, table, in_bytes, line_start, origin, num_words, size_sum, spaced_dots, hashes, char_sums, word_places
):  # fmt: skip
    """One word at white space, of any characters, from data[at] on; its words by default boundaries go behind the num_words before.

    Returns (where it ends, its Token, num_words, size_sum, spaced_dots). spaced_dots: length of the run of ". " that the last dot ended.
    """
    chars = token_size = upper = digits = runs = symbols = triples = dots = np.int64(0)
    has_alpha = was_alnum = False
    # the open word; `last`: class of its last character that joins, 0: none is open
    last = word_start = word_size = word_entry = np.int64(0)
    while at < end:
        byte = data[at]
        if LETTERS[byte] != 0 and at <= len(data) - 8:
            # ASCII letters, up to eight of them as one
            block = load64_kernel(data, np.uint64(at))
            letters = find_letters_kernel(block)
            size = width = num_chars = min(count_leading_kernel(letters), end - at)
            code, entry, word_class = np.int64(byte), np.int64(table[byte]), np.int64(LETTER)
            upper += count_capitals_kernel(block, letters, width)
        else:
            code, width = decode_kernel(data, at, end)
            entry = character_class_kernel(table, code)
            if entry & SPACE_BIT:
                break
            size, num_chars, word_class = width if in_bytes else 1, np.int64(1), entry & 15
            upper += entry >> 7
        if last != 0:
            joined = join_word_kernel(data, at + width, end, table, last, word_class)
            if joined != 0:
                word_size += size
                last = joined
            else:
                if word_entry & ALNUM_BIT:
                    size_sum += word_size
                    num_words = store_word_kernel(
                        data,
                        word_start,
                        at,
                        size_sum,
                        word_entry >> 7,
                        origin,
                        num_words,
                        hashes,
                        char_sums,
                        word_places,
                    )
                last = np.int64(0)
        if last == 0 and LETTER <= word_class <= SINGLE:
            last, word_start, word_size, word_entry = word_class, at, np.int64(size), entry
        if code == _DOT:
            dots += 1
            follows = at - line_start >= 2 and data[at - 1] == _SPACE and data[at - 2] == _DOT
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
        digits += (code >= _ZERO) & (code <= _NINE)
        token_size += size
        at += width
        chars += num_chars
    if last != 0 and word_entry & ALNUM_BIT:
        size_sum += word_size
        num_words = store_word_kernel(
            data, word_start, at, size_sum, word_entry >> 7, origin, num_words, hashes, char_sums, word_places
        )
    return (
        at,
        Token(chars, token_size, upper, digits, runs, symbols, triples, has_alpha),
        num_words,
        size_sum,
        spaced_dots,
    )


@njit(**KERNEL_BORROWING_INNER)
def sweep_line_kernel(data, start, end, table, in_bytes, origin, num_words, hashes, char_sums, word_places, out, facts):
    """Add the line that begins at data[start] to the counts `out`, say what it is in `facts`, and store its words behind those before.

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
    size_sum = char_sums[min(num_words, capacity)]
    chars = first_byte = end_byte = first_char = end_char = np.int64(0)
    upper = digits = runs = flags = triples = spaced_dots = np.int64(0)
    spaced = spaced_size = alpha_words = stop_words = symbols = np.int64(0)
    while at < end:
        token_start = at
        run, word_hash, capitals, is_stop = read_word_kernel(data, at, end)
        if run > 0:
            size_sum += run
            if num_words < capacity:
                hashes[num_words] = word_hash
                char_sums[num_words + 1] = size_sum
                word_places[num_words] = (at - origin) * 2 + (LETTERS[data[at]] >> 1)
            num_words += 1
            at += run
            token = Token(run, run, capitals, 0, 1, 0, 0, True)
        elif data[at] == _LINE_FEED:
            break
        else:
            at, token, num_words, size_sum, spaced_dots = sweep_token_kernel(
                data,
                at,
                end,
                table,
                in_bytes,
                start,
                origin,
                num_words,
                size_sum,
                spaced_dots,
                hashes,
                char_sums,
                word_places,
            )
            is_stop = is_stop_word_kernel(data, token_start, at)
        if at > token_start:
            if spaced == 0:
                first_byte, first_char = token_start, chars
            chars += token.chars
            spaced += 1
            spaced_size += token.size
            upper += token.upper
            digits += token.digits
            runs += token.runs
            symbols += token.symbols
            triples += token.triples
            alpha_words += token.has_alpha
            stop_words += is_stop
            end_byte, end_char = at, chars
        if at < end and data[at] != _LINE_FEED:  # the white space
            at += decode_kernel(data, at, end)[1]
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
    facts[LINE_SIZE], facts[LINE_SPACED], facts[NUM_CHARS] = at - start if in_bytes else chars, spaced, chars
    facts[FIRST_BYTE], facts[END_BYTE], facts[FIRST_CHAR], facts[END_CHAR] = first_byte, end_byte, first_char, end_char
    return at, num_words


@njit(**KERNEL_BORROWING_INNER)
def close_paragraph_kernel(data, start, end, size, num_paragraphs, scratch):
    """Store one paragraph, data[start:end]; returns how many there are now."""
    if num_paragraphs < len(scratch.paragraph_hashes):
        scratch.paragraph_hashes[num_paragraphs] = xxh64_kernel(data, start, end, _SEED)
        scratch.paragraph_sizes[num_paragraphs] = size
    return num_paragraphs + 1


@njit(**KERNEL_BORROWING_INNER)
def add_raw_line_kernel(data, line_start, line_end, end, paragraphs, scratch):
    """Add a line as it stands to the paragraph being read, and close that where the text says so; returns the paragraphs closed so far.

    Two or more line feeds part paragraphs, a single one belongs to the text on either side.
    """
    state = scratch.open
    if line_start < line_end:
        if state[OPEN_START] < 0:
            state[OPEN_START] = line_start - 1 if state[FEEDS] == 1 else line_start
        state[FEEDS] = 0
    state[FEEDS] += 1
    if state[OPEN_START] >= 0 and (line_end + 1 >= end or data[line_end + 1] == _LINE_FEED):
        stop = end if line_end + 1 == end else line_end
        paragraphs = close_paragraph_kernel(
            data, state[OPEN_START], stop, stop - state[OPEN_START], paragraphs, scratch
        )
        state[OPEN_START] = -1
    return paragraphs


@njit(**KERNEL_BORROWING_INNER)
def add_line_kernel(data, ends_paragraph, chars_before, paragraphs, scratch):
    """As add_raw_line_kernel for the line of scratch.facts without outer white space; an empty line or the text's end closes a paragraph."""
    state, facts = scratch.open, scratch.facts
    if facts[FIRST_BYTE] < facts[END_BYTE]:
        if state[OPEN_START] < 0:
            state[OPEN_START], state[OPEN_FIRST] = facts[FIRST_BYTE], chars_before + facts[FIRST_CHAR]
        state[OPEN_END], state[OPEN_SIZE] = facts[END_BYTE], chars_before + facts[END_CHAR] - state[OPEN_FIRST]
    if state[OPEN_START] >= 0 and ends_paragraph:
        paragraphs = close_paragraph_kernel(
            data, state[OPEN_START], state[OPEN_END], state[OPEN_SIZE], paragraphs, scratch
        )
        state[OPEN_START] = -1
    return paragraphs


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
    scratch.open[OPEN_START], scratch.open[FEEDS] = -1, 0
    line_start = np.int64(start)
    while line_start <= end:
        line_words = num_words
        line_end, num_words = sweep_line_kernel(
            data, line_start, end, table, in_bytes, start, num_words, words.hashes, words.char_sums, scratch.word_places, out, facts
        )  # fmt: skip
        facts[FIRST_WORD], facts[LAST_WORD] = line_words, num_words
        if lines < len(scratch.lines):
            for column in range(NUM_LINE_COLUMNS):
                scratch.lines[lines, column] = facts[column]
        lines += 1
        first, last = facts[FIRST_BYTE], facts[END_BYTE]
        if in_bytes:
            is_full = line_start < line_end
            size, ellipsis_end = line_end - line_start, line_end
            if is_full:
                first, last = line_start, line_end
                ellipsis_end -= line_end < end and data[line_end - 1] == _RETURN
                ellipsis_base += line_start < ellipsis_end
            paragraphs = add_raw_line_kernel(data, line_start, line_end, end, paragraphs, scratch)
        else:
            is_full = first < last
            size, ellipsis_end = facts[END_CHAR] - facts[FIRST_CHAR], last
            paragraphs = add_line_kernel(
                data, line_start == line_end or line_end >= end, all_chars, paragraphs, scratch
            )
        if is_full:
            if full_lines < len(scratch.line_hashes):
                scratch.line_hashes[full_lines] = xxh64_kernel(data, first, last, _SEED)
                scratch.line_sizes[full_lines] = size
            full_lines += 1
            bullets += starts_with_bullet_kernel(data, first, last)
            ellipses += ends_with_ellipsis_kernel(data, first, ellipsis_end)
        all_chars += facts[NUM_CHARS] + 1
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
