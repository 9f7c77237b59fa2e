"""Sentence rules of MADLAD-400 over UTF-8 bytes: list case, length, technical characters, cursed patterns; which are in another language is told.

A sentence ends where one or more of . ! ? stand before white space; neither the signs nor the white space belong to it. Patterns run as one
automaton over the bytes (taggers.byte_patterns), so that their number costs nothing.

Source: Kudugunta et al. 2023 (MADLAD-400), section 2.3; allenai/datamap-rs src/map_fxn.rs (021da52).
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.byte_patterns import FOUND, FOUND_AT_END
from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import SPACE_BIT

# columns of out_counts
SENTENCES, LIST_CASE, ODD_LENGTH, TECHNICAL, CURSED, QUESTIONABLE, FOREIGN = range(7)
NUM_SENTENCE_COUNTS = 7

MIN_CASE_WORDS = 12
MIN_SENTENCE_SIZE, MAX_SENTENCE_SIZE = 20, 500
MIN_SENTENCES = 5

_TERMINATOR, _TECHNICAL_SIGN = 1, 2


def _signs() -> np.ndarray:
    """uint8 (256,): _TERMINATOR for . ! ?, _TECHNICAL_SIGN for digits and { } + / ( ) >."""
    table = np.zeros(256, np.uint8)
    for byte in b".!?":
        table[byte] = _TERMINATOR
    for byte in b"0123456789{}+/()>":
        table[byte] = _TECHNICAL_SIGN
    return table


_SIGNS = _signs()


@njit(**KERNEL_BORROWING_INNER)
def judge_sentence_kernel(num_words, num_capitals, size, num_technical, is_cursed, foreign, rules, out):
    """Add one sentence, of num_words words and `size` characters or bytes, to the counts `out`; rules as in judge_sentences_kernel."""
    is_list = num_words >= MIN_CASE_WORDS and 2 * num_capitals > num_words
    is_odd = size < MIN_SENTENCE_SIZE or size > MAX_SENTENCE_SIZE
    is_technical = 5 * num_technical > size
    is_foreign = out[SENTENCES] < len(foreign) and foreign[out[SENTENCES]]
    out[SENTENCES] += 1
    out[FOREIGN] += is_foreign
    out[LIST_CASE] += is_list
    out[ODD_LENGTH] += is_odd
    out[TECHNICAL] += is_technical
    out[CURSED] += is_cursed
    out[QUESTIONABLE] += (
        (rules[LIST_CASE] and is_list)
        or (rules[ODD_LENGTH] and is_odd)
        or (rules[TECHNICAL] and is_technical)
        or (rules[CURSED] and is_cursed != 0)
        or is_foreign
    )


@njit(**KERNEL_BORROWING_INNER)
def judge_sentences_kernel(
    data, start, end, table, in_bytes, word_places, num_words, classes, steps, foreign, rules, out
):
    """Counts of one document's sentences into `out`.

    table : uint8 (TABLE_SIZE,)   taggers.characters.character_table
    in_bytes : bool               length and share of technical characters in bytes, not in characters
    word_places : int64           2 * first byte of word i, counted from `start`, + 1 when it begins with an upper-case letter; num_words of them
    classes : uint8 (256,), steps : int32   an automaton of taggers.byte_patterns
    foreign : bool (S,)           sentences in another language than the document, which are questionable; empty when that was not asked
    rules : bool (7,)             other columns that make a sentence QUESTIONABLE
    out : int64 (7,)              SENTENCES ... FOREIGN

    b"Buy now! It is so." has the sentences "Buy now" and "It is so.", both of an odd length
    """
    out[:] = 0
    at = np.int64(start)
    first = at  # of the sentence
    begin = np.int64(steps[len(steps) - 1])
    state = bits = begin  # bits: what was found so far, in bit 0
    marks = technical = np.int64(0)  # bytes that continue a character; technical characters
    word = np.int64(0)
    has_text = False
    while True:
        stop = behind = np.int64(end)
        if at < end:
            byte = data[at]
            sign = _SIGNS[byte]
            if sign != _TERMINATOR:
                state = np.int64(steps[(state >> 2) + classes[byte]])
                bits |= state
                technical += sign >> 1
                marks += byte & 0xC0 == 0x80
                at += 1
                continue
            behind = at + 1
            while behind < end and _SIGNS[data[behind]] == _TERMINATOR:
                behind += 1
            width = 0
            if behind < end:
                code, width = decode_kernel(data, behind, end)
                if not character_class_kernel(table, code) & SPACE_BIT:
                    width = 0
            if width == 0:
                # dots inside a sentence
                while at < behind:
                    state = np.int64(steps[(state >> 2) + classes[data[at]]])
                    bits |= state
                    at += 1
                continue
            stop = at
            while behind < end:
                code, width = decode_kernel(data, behind, end)
                if not character_class_kernel(table, code) & SPACE_BIT:
                    break
                behind += width
        # ---- a sentence, data[first:stop]
        has_text = False
        look = first
        while look < stop and not has_text:
            code, width = decode_kernel(data, look, stop)
            has_text = not character_class_kernel(table, code) & SPACE_BIT
            look += width
        words = capitals = np.int64(0)
        while word < num_words and word_places[word] >> 1 < stop - start:
            words += 1
            capitals += word_places[word] & 1
            word += 1
        if has_text:
            bits |= (state & FOUND_AT_END) >> 1
            size = stop - first - (0 if in_bytes else marks)
            judge_sentence_kernel(words, capitals, size, technical, bits & FOUND, foreign, rules, out)
        if at >= end:
            return
        at = first = behind
        state = bits = begin
        marks = technical = np.int64(0)
