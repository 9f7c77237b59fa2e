"""A web filter's chain over whole batches: each document goes through sweep, repetition, line edits and sentence rules while it is in the cache.

The order is the chain's own, each part on the text as the parts before left it: capped line feeds -> repetition -> lines dropped, phrases cut
-> line feeds capped again -> sentence rules. Words and lines are found once; where lines are dropped their words move with the text, and only
a document in which a phrase was cut is swept again.

Gates spare the dear parts: after each part a document that breaks one of the part's gates is left there, unless it is to be counted whole.

Legend: N documents, B bytes of all texts together, C capacity of the scratch arrays in words or lines, G gates, S spans.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.line_edits_kernels import (
    CAPS_AGAIN,
    DROPPED,
    STRIPS,
    TRIMS_RETURNS,
    cap_feeds_kernel,
    cap_text_kernel,
    copy_lines_kernel,
    cut_phrases_kernel,
    drop_end_feeds_kernel,
    mark_lines_kernel,
    write_line_spans_kernel,
    write_spans_kernel,
)
from taggers.repetition_kernels import count_repetition_kernel
from taggers.sentence_rules_kernels import NUM_SENTENCE_COUNTS, judge_sentences_kernel
from taggers.web_sweep_kernels import (
    END,
    FIRST_WORD,
    FLAGS,
    LAST_WORD,
    NUM_SWEEP_COUNTS,
    START,
    sweep_text_kernel,
)

# columns of out_counts after those of web_sweep_kernels, then those of sentence_rules_kernels
REMOVED_WORDS = NUM_SWEEP_COUNTS
FIRST_SENTENCE_COUNT = NUM_SWEEP_COUNTS + 1
NUM_COUNTS = FIRST_SENTENCE_COUNT + NUM_SENTENCE_COUNTS

_ZERO = np.int64(0)  # not int: a kernel would be compiled for it

# parts of the chain, in order
SWEEP, REPETITION, EDITS, SENTENCES = range(4)
NUM_PARTS = 4


class TextScratch(NamedTuple):
    """The edited text of one document, as long as the longest."""

    text: np.ndarray  # uint8 (L,)
    places: np.ndarray  # int32 (L,)    where each byte stands in the document
    counts: np.ndarray  # int64 (39,)   of an edited text that is swept again


class Chain(NamedTuple):
    """What a preset decides."""

    table: np.ndarray  # taggers.characters.character_table
    lower: np.ndarray  # taggers.characters.lower_table
    in_bytes: bool  # the reading, see web_sweep_kernels
    options: np.ndarray  # int64 (9,)    see line_edits_kernels; below 0: no repetition counts and no edits
    last_part: int  # SWEEP ... SENTENCES; without edits the sentences are those of the text as it is
    classes: np.ndarray  # uint8 (256,)    patterns that make a sentence cursed, see byte_patterns
    steps: np.ndarray  # int32
    sentence_rules: np.ndarray  # bool (7,)    see sentence_rules_kernels
    foreign: (
        np.ndarray
    )  # bool (S,)    sentences of all documents in another language than theirs; empty when that was not asked
    foreign_offsets: np.ndarray  # int64 (N + 1,)


class Found(NamedTuple):
    """Where the results go."""

    counts: (
        np.ndarray
    )  # int64 (N, 39)    columns of web_sweep_kernels, REMOVED_WORDS, columns of sentence_rules_kernels
    parts: np.ndarray  # int8 (N,)    the last part that each document went through
    span_offsets: np.ndarray  # int64 (N + 1,)    document i lost starts and ends[span_offsets[i]:span_offsets[i + 1]]
    starts: np.ndarray  # int64 (S,)    bytes of the original text
    ends: np.ndarray  # int64 (S,)


class Gates(NamedTuple):
    """low <= counts[top] / max(counts[whole], 1) <= high, or of counts[top] itself where whole is -1; sorted by part."""

    tops: np.ndarray  # int64 (G,)
    wholes: np.ndarray  # int64 (G,)
    lows: np.ndarray  # float64 (G,)
    highs: np.ndarray  # float64 (G,)
    part_ends: np.ndarray  # int64 (4,)    gates before part_ends[p] belong to part p or an earlier one


@njit(**KERNEL_BORROWING_INNER)
def stops_here_kernel(out, part, is_whole, last_part, gates):
    """Whether a document goes no further than `part`: the chain ends, or its counts break a gate of the part and it is not to be counted whole."""
    if part == last_part:
        return True
    first = gates.part_ends[part - 1] if part > 0 else 0
    for i in range(first, 0 if is_whole else gates.part_ends[part]):
        value = np.float64(out[gates.tops[i]])
        if gates.wholes[i] >= 0:
            value /= max(out[gates.wholes[i]], 1)
        if value < gates.lows[i] or value > gates.highs[i]:
            return True
    return False


@njit(**KERNEL_BORROWING_INNER)
def move_words_kernel(num_lines, lines, word_places):
    """Words of the lines that are left, to the front and to their places in the text without the others; returns how many there are."""
    kept = shift = np.int64(0)
    is_first = True
    for i in range(num_lines):
        if lines[i, FLAGS] & DROPPED:
            continue
        if not is_first:
            shift += 1
        is_first = False
        for word in range(lines[i, FIRST_WORD], lines[i, LAST_WORD]):
            word_places[kept] = word_places[word] + 2 * (shift - lines[i, START])
            kept += 1
        shift += lines[i, END] - lines[i, START]
    return kept


@njit(**KERNEL_BORROWING_INNER)
def edit_document_kernel(data, start, num_lines, num_words, chain, scratch, words, text):
    """Drop lines and cut phrases of one document that was swept; its words and lines in the scratch follow.

    Returns (whether lines were dropped, whether the text was cut too, bytes of the edited text in text.text, its words).
    """
    lines, options = scratch.lines, chain.options
    needs_cuts = (
        mark_lines_kernel(data, start, num_lines, lines, chain.table, chain.lower, options) or options[STRIPS] != 0
    )
    if not needs_cuts:
        if options[TRIMS_RETURNS]:
            drop_end_feeds_kernel(num_lines, lines, 3)  # one with each phrase
        if options[CAPS_AGAIN]:
            cap_feeds_kernel(num_lines, lines)
    is_changed = needs_cuts
    for i in range(num_lines):
        is_changed |= lines[i, FLAGS] & DROPPED != 0
    if not is_changed:
        return False, False, np.int64(0), num_words
    size = copy_lines_kernel(data, start, num_lines, lines, needs_cuts, text.text, text.places)
    if not needs_cuts:
        return True, False, size, move_words_kernel(num_lines, lines, scratch.word_places)
    size = cut_phrases_kernel(text.text, text.places, size, chain.table, options)
    if options[CAPS_AGAIN]:
        size = cap_text_kernel(text.text, text.places, size)
    _, _, _, num_words = sweep_text_kernel(
        text.text, _ZERO, size, chain.table, chain.in_bytes, scratch, words, text.counts
    )
    return True, True, size, num_words


@njit(**KERNEL_BORROWING_INNER)
def filter_document_kernel(data, start, end, row, chain, gates, is_whole, scratch, words, text, found):
    """The chain over one document, data[start:end]; returns whether its lines, words and spans fitted."""
    out = found.counts[row]
    num_spans = found.span_offsets[row]
    found.span_offsets[row + 1] = num_spans
    num_lines, num_full, num_paragraphs, num_words = sweep_text_kernel(
        data, start, end, chain.table, chain.in_bytes, scratch, words, out
    )
    if num_lines > len(scratch.lines) or num_words > len(scratch.word_places):
        return False
    found.parts[row] = SWEEP
    if stops_here_kernel(out, SWEEP, is_whole, chain.last_part, gates):
        return True
    edits = chain.options[0] >= 0
    if edits:
        count_repetition_kernel(
            scratch.line_hashes, scratch.line_sizes, num_full, scratch.paragraph_hashes, scratch.paragraph_sizes, num_paragraphs,
            num_words, chain.in_bytes, words, out,
        )  # fmt: skip
    found.parts[row] = REPETITION
    if stops_here_kernel(out, REPETITION, is_whole, chain.last_part, gates):
        return True
    is_changed, size, words_left = False, np.int64(0), num_words
    if edits:
        is_changed, is_cut, size, words_left = edit_document_kernel(
            data, start, num_lines, num_words, chain, scratch, words, text
        )
        out[REMOVED_WORDS] = num_words - words_left if num_words > 0 else 1  # of none, all are gone
        if is_cut:
            num_spans = write_spans_kernel(text.places, size, end - start, found.starts, found.ends, num_spans)
        elif is_changed:
            num_spans = write_line_spans_kernel(
                num_lines, scratch.lines, end - start, found.starts, found.ends, num_spans
            )
        if num_spans > len(found.starts):
            return False
        found.span_offsets[row + 1] = num_spans
    found.parts[row] = EDITS
    if stops_here_kernel(out, EDITS, is_whole, chain.last_part, gates):
        return True
    first, stop = (_ZERO, size) if is_changed else (start, end)
    judge_sentences_kernel(
        text.text if is_changed else data, first, stop, chain.table, chain.in_bytes, scratch.word_places, words_left, chain.classes,
        chain.steps, chain.foreign[chain.foreign_offsets[row] : chain.foreign_offsets[row + 1]], chain.sentence_rules,
        out[FIRST_SENTENCE_COUNT:],
    )  # fmt: skip
    found.parts[row] = SENTENCES
    return True


@njit(**KERNEL_BORROWING)
def filter_documents_kernel(data, offsets, first_row, chain, gates, whole, scratch, words, text, found):
    """The chain over rows first_row, first_row + 1, ... until a document does not fit the scratch arrays or the spans.

    data : uint8 (B,)            texts, back to back, of the type of an array that may be written to
    offsets : int64 (N + 1,)     text i is data[offsets[i]:offsets[i + 1]]
    whole : bool (N,)            documents that no gate stops
    scratch, words, text         LineScratch and WordScratch of capacity C, TextScratch of the longest document's size
    found : Found                span_offsets[first_row] is set

    Returns the first row that was not done: N when all were.
    """
    for row in range(first_row, len(offsets) - 1):
        if not filter_document_kernel(
            data, offsets[row], offsets[row + 1], row, chain, gates, whole[row], scratch, words, text, found
        ):
            return np.int64(row)
    return np.int64(len(offsets) - 1)
