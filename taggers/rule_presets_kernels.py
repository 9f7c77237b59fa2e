"""All counts of the presets gopher-paper, gopher-datatrove, gopher-dolma and fineweb, and C4's cuts: words, lines and chunks are found once.

Legend: N documents, B bytes of all texts together, W words or chunks of one document, C capacity of the scratch arrays.

Chunks are what white space parts (dolma, gopher-paper), words those of spaCy (datatrove, FineWeb).
Source: see taggers/rule_presets.py.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.c4_kernels import clean_row_kernel
from taggers.preset_lines_kernels import (
    NUM_LINE_COUNTS,
    count_duplicates_kernel,
    split_pieces_kernel,
    sweep_signs_kernel,
)
from taggers.preset_ngrams_kernels import (
    all_copies_chars_kernel,
    all_ngrams_chars_kernel,
    covered_chars_kernel,
    find_pairs_kernel,
    first_top_chars_kernel,
    lengthen_kernel,
    stream_duplicates_kernel,
    top_covered_chars_kernel,
)
from taggers.spacy_signs_kernels import LETTER, PUNCTUATION, SYMBOL
from taggers.spacy_words_kernels import split_document_kernel
from taggers.stop_words import PACKED_STOP_WORDS

# columns of out_counts behind those of preset_lines_kernels
(
    WORDS,
    SPOKEN_WORDS,
    SPOKEN_WORD_CHARS,
    LETTER_WORDS,
    STOP_WORDS,
    CHUNKS,
    CHUNK_CHARS,
    TWICE_MEDIAN_CHARS,
    SYMBOL_CHUNKS,
    LETTER_CHUNKS,
    STOP_CHUNKS,
    STOP_KINDS,
) = range(NUM_LINE_COUNTS, NUM_LINE_COUNTS + 12)
WORD_TOP = NUM_LINE_COUNTS + 12  # 2- to 4-grams of words (datatrove)
WORD_DUP = WORD_TOP + 3  # 5- to 10-grams
CHUNK_TOP = WORD_DUP + 6  # of chunks (dolma)
CHUNK_DUP = CHUNK_TOP + 3
CHUNK_ALL = CHUNK_DUP + 6  # chars of all n-grams, repeated or not
PAPER_TOP = CHUNK_ALL + 6
PAPER_DUP = PAPER_TOP + 3
TWO = PAPER_DUP + 6  # the number 2, below a doubled median
NUM_COUNTS = TWO + 1
# which families are wanted
WANT_DATATROVE, WANT_FINEWEB, WANT_DOLMA, WANT_PAPER = 1, 2, 4, 8

HISTOGRAM = 256
_THE, _BE, _TO, _OF, _AND, _THAT, _HAVE, _WITH = PACKED_STOP_WORDS


@njit(**KERNEL_BORROWING_INNER)
def stop_word_bit_kernel(data, start, end, case):
    """The bit of data[start:end] among the eight stop words, 0 for none; `case` 0x20 takes capitals for small letters, 0 not."""
    width = end - start
    if width < 2 or width > 4:
        return 0
    packed = 0
    for i in range(width):
        packed |= (np.int64(data[start + i]) | case) << (8 * i)
    if width == 2:
        return (packed == _BE) << 1 | (packed == _TO) << 2 | (packed == _OF) << 3
    if width == 3:
        return (packed == _THE) | (packed == _AND) << 4
    return (packed == _THAT) << 5 | (packed == _HAVE) << 6 | (packed == _WITH) << 7


@njit(**KERNEL_BORROWING_INNER)
def count_bits_kernel(bits):
    """How many bits are set: 5 has 2."""
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count


@njit(**KERNEL_BORROWING_INNER)
def count_words_kernel(data, words, num_words, ngrams, out):
    """Fill WORDS to STOP_WORDS and the sums of chars."""
    spoken = spoken_chars = letters = chars = np.int64(0)
    stops = 0
    for i in range(num_words):
        ngrams.char_sums[i] = chars
        chars += words.chars[i]
        if not words.all_bits[i] & PUNCTUATION:
            spoken += 1
            spoken_chars += words.chars[i]
        letters += words.any_bits[i] & LETTER != 0
        if words.chars[i] <= 4:
            stops |= stop_word_bit_kernel(data, words.starts[i], words.ends[i], 0)
    ngrams.char_sums[num_words] = chars
    out[WORDS], out[SPOKEN_WORDS], out[SPOKEN_WORD_CHARS] = num_words, spoken, spoken_chars
    out[LETTER_WORDS], out[STOP_WORDS] = letters, count_bits_kernel(stops)


@njit(**KERNEL_BORROWING_INNER)
def nth_smallest_kernel(values, num_values, n):
    """The value that n others stand before when values[:num_values], none below 0, are sorted: of 3, 1, 2 the n = 1 is 2."""
    low = high = np.int64(0)
    for i in range(num_values):
        high = max(high, np.int64(values[i]))
    while low < high:
        middle = (low + high) // 2
        count = np.int64(0)
        for i in range(num_values):
            count += values[i] <= middle
        if count > n:
            high = middle
        else:
            low = middle + 1
    return low


@njit(**KERNEL_BORROWING_INNER)
def twice_median_kernel(values, num_values, histogram):
    """The two middle values together, or the middle one twice; 0 for none. 3, 1, 2 give 4 and 3, 1, 2, 7 give 5."""
    if num_values == 0:
        return np.int64(0)
    histogram[:] = 0
    for i in range(num_values):
        histogram[min(values[i], HISTOGRAM - 1)] += 1
    low, high = (num_values - 1) // 2, num_values // 2
    total = np.int64(0)
    seen = np.int64(0)
    for value in range(HISTOGRAM - 1):
        upto = seen + histogram[value]
        total += value * ((seen <= low < upto) + (seen <= high < upto))
        seen = upto
    if high >= seen:
        # a middle value lies among the long ones
        return nth_smallest_kernel(values, num_values, low) + nth_smallest_kernel(values, num_values, high)
    return total


@njit(**KERNEL_BORROWING_INNER)
def count_chunks_kernel(data, chunks, num_chunks, ngrams, histogram, out):
    """Fill CHUNKS to STOP_KINDS and the sums of chars."""
    chars = letters = symbols = stops = np.int64(0)
    kinds = 0
    for i in range(num_chunks):
        ngrams.char_sums[i] = chars
        chars += chunks.chars[i]
        letters += chunks.any_bits[i] & LETTER != 0
        symbols += chunks.any_bits[i] & SYMBOL != 0
        if chunks.chars[i] <= 4:
            stops += stop_word_bit_kernel(data, chunks.starts[i], chunks.ends[i], 0) != 0
            kinds |= stop_word_bit_kernel(data, chunks.starts[i], chunks.ends[i], 0x20)
    ngrams.char_sums[num_chunks] = chars
    out[CHUNKS], out[CHUNK_CHARS], out[LETTER_CHUNKS], out[SYMBOL_CHUNKS] = num_chunks, chars, letters, symbols
    out[STOP_CHUNKS], out[STOP_KINDS] = stops, count_bits_kernel(kinds)
    out[TWO] = 2
    out[TWICE_MEDIAN_CHARS] = twice_median_kernel(chunks.chars, num_chunks, histogram)


@njit(**KERNEL_BORROWING_INNER)
def count_word_ngrams_kernel(data, words, num_words, ngrams, out):
    """Fill WORD_TOP and WORD_DUP."""
    num_positions = find_pairs_kernel(words.hashes, num_words, ngrams)
    for length in range(2, 5):
        if length > 2 and num_positions > 0:
            num_positions = lengthen_kernel(length, words.hashes, num_words, num_positions, ngrams)
        out[WORD_TOP + length - 2] = first_top_chars_kernel(length, num_words, num_positions, 1, ngrams)
    stream_duplicates_kernel(data, words, num_words, ngrams, out[WORD_DUP : WORD_DUP + 6])


@njit(**KERNEL_BORROWING_INNER)
def count_chars_before_kernel(data, start, chunks, num_chunks, out_starts, out_ends):
    """Where each chunk begins and ends, in characters from `start`: white space between chunks counts too."""
    chars = np.int64(0)
    at = start
    for i in range(num_chunks):
        while at < chunks.starts[i]:
            chars += data[at] & 0xC0 != 0x80
            at += 1
        out_starts[i] = chars
        chars += chunks.chars[i]
        out_ends[i] = chars
        at = chunks.ends[i]


@njit(**KERNEL_BORROWING_INNER)
def count_chunk_ngrams_kernel(chunks, num_chunks, want, starts, ends, ngrams, out):
    """Fill CHUNK_TOP to PAPER_DUP; starts and ends of chunks in characters."""
    out[CHUNK_TOP:TWO] = 0
    num_positions = find_pairs_kernel(chunks.hashes, num_chunks, ngrams)
    for length in range(2, 11):
        if length > 2 and num_positions > 0:
            num_positions = lengthen_kernel(length, chunks.hashes, num_chunks, num_positions, ngrams)
        if want & WANT_DOLMA:
            if length < 5:
                out[CHUNK_TOP + length - 2] = first_top_chars_kernel(length, num_chunks, num_positions, 0, ngrams)
            else:
                out[CHUNK_DUP + length - 5] = all_copies_chars_kernel(length, num_positions, ngrams)
                out[CHUNK_ALL + length - 5] = all_ngrams_chars_kernel(length, num_chunks, ngrams.char_sums)
        if want & WANT_PAPER and num_positions > 0:
            if length < 5:
                out[PAPER_TOP + length - 2] = top_covered_chars_kernel(length, num_positions, starts, ends, ngrams)
            else:
                out[PAPER_DUP + length - 5] = covered_chars_kernel(length, num_positions, starts, ends, ngrams)


@njit(**KERNEL_BORROWING)
def count_presets_kernel(
    data, offsets, tables, want, first_row, lines, words, chunks, ngrams, histogram, rules, cleaning, out_counts
):  # fmt: skip
    """All counts of rows first_row, first_row + 1, ... until a document does not fit the scratch arrays, and what C4's presets cut.

    data : uint8 (B,)                texts, back to back
    offsets : int64 (N + 1,)         text i is data[offsets[i]:offsets[i + 1]]
    tables : WordTables              taggers.spacy_words.word_tables
    want                             WANT_... of the families, added up; columns of the others stay as they are
    lines, words, chunks, ngrams     scratch of capacity C, any content
    rules, cleaning                  LineRules and Cleaning of c4_kernels, for P presets of C4 or none
    out_counts : int64 (N, 74)       columns as named at the top of this file and of preset_lines_kernels

    Returns the first row that was not counted: N when all were.
    """
    want_words = want & (WANT_DATATROVE | WANT_FINEWEB) != 0
    want_chunks = want & (WANT_DOLMA | WANT_PAPER) != 0
    for row in range(first_row, len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        out = out_counts[row]
        num_pieces, num_paragraphs = split_pieces_kernel(data, start, end, tables.classes, lines, out)
        num_words, num_chunks = split_document_kernel(data, start, end, tables, words, chunks, want_words)
        if max(num_pieces, num_paragraphs) > len(lines.hashes) or max(num_words, num_chunks) > len(words.starts):
            return np.int64(row)
        sweep_signs_kernel(data, start, end, tables.classes, out)
        count_duplicates_kernel(lines, num_pieces, num_paragraphs, out)
        num_shared = num_words if want_words else np.int64(-1)
        if not clean_row_kernel(data, start, end, row, tables, rules, words, num_shared, cleaning):
            return np.int64(row)
        if want_words:
            count_words_kernel(data, words, num_words, ngrams, out)
            if want & WANT_DATATROVE:
                count_word_ngrams_kernel(data, words, num_words, ngrams, out)
        if want_chunks:
            count_chunks_kernel(data, chunks, num_chunks, ngrams, histogram, out)
            # the places of words are no longer needed
            starts, ends = words.old_ends, words.bounds
            if want & WANT_PAPER:
                count_chars_before_kernel(data, start, chunks, num_chunks, starts, ends)
            count_chunk_ngrams_kernel(chunks, num_chunks, want, starts, ends, ngrams, out)
    return np.int64(len(offsets) - 1)
