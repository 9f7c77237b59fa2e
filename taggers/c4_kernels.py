"""C4's line rules over UTF-8 bytes: which lines go, why, what is cut out of those that stay, how many sentences they have.

Legend: N documents, B bytes of all texts together, S spans of all documents, C capacity of the scratch arrays.

A line goes for the first of these reasons: a word is too long; it does not end in a mark, or ends in "..."; it has too few words;
it says "javascript"; it names a policy. Citation marks ([12], [edit], [citation needed]) are cut before all but the first.
Source: Raffel et al. 2020, section 2.2, in the readings of tensorflow_datasets text/c4_utils and datatrove c4_filters.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.bad_words_kernels import BadWords, count_bad_words_kernel
from taggers.character_kernels import decode_kernel, lower_ascii_kernel
from taggers.preset_lines_kernels import is_line_end_kernel
from taggers.spacy_signs_kernels import DIGIT, MARK, SENTENCE_END, SPACE, class_bits_kernel
from taggers.spacy_words_kernels import ChunkScratch, WordScratch, split_document_kernel

# columns of out_counts: lines, those that stay, those that go by reason, sentences of those that stay, page marks
(
    LINES,
    KEPT_LINES,
    LONG_WORD_LINES,
    NO_END_LINES,
    SHORT_LINES,
    JAVASCRIPT_LINES,
    POLICY_LINES,
    SENTENCES,
    LOREM_IPSUM_LINES,
    CURLY_LINES,
    BAD_WORDS,
) = range(11)
NUM_COUNTS = 11
MAX_PHRASE_BYTES = 16
# columns of LineRules.settings: limits, whether words are counted after citation marks are cut, whether a line must end in a mark, whether an
# apostrophe is one, whether bad words are looked for in lines
MAX_WORD_CHARS, MIN_WORDS, WORDS_AFTER_CUTS, NEEDS_END, APOSTROPHE_ENDS, LINE_BAD_WORDS = range(6)

_LINE_FEED, _QUOTE, _APOSTROPHE, _STOP, _EXCLAMATION, _QUESTION = 10, 34, 39, 46, 33, 63
_OPEN_BRACKET, _CLOSE_BRACKET, _OPEN_BRACE = 91, 93, 123


class LineRules(NamedTuple):
    """Settings of P presets, and what they all look for, made by taggers.c4."""

    settings: np.ndarray  # int64 (P, 6)   columns as named above
    phrases: np.ndarray  # uint8 (K, 16)  small letters, 0 behind the end
    phrase_kinds: np.ndarray  # int32 (K,)     0 lorem ipsum, 1 javascript, 2 policy
    heads: (
        np.ndarray
    )  # bool (256,)    bytes that a phrase may begin with, in small letters or capitals, and the opening brace
    marks: np.ndarray  # uint8 (2, 16)  the citation marks that are words
    bad_words: BadWords  # looked for in the lines that are left, by presets that do so; may be empty


class LineScratch(NamedTuple):
    """One line without its citation marks."""

    text: np.ndarray  # uint8 (C,)
    origins: np.ndarray  # int64 (C + 1,) where byte i stood in the text buffer


class Cleaning(NamedTuple):
    """Scratch for lines that are split by themselves, and what P presets find in N documents."""

    words: WordScratch  # capacity C
    chunks: ChunkScratch
    line: LineScratch
    spans: np.ndarray  # int32 (P, S, 2)   bytes of the text to cut, ascending
    bounds: np.ndarray  # int64 (P, N + 1)  spans of row i are spans[p, bounds[p, i]:bounds[p, i + 1]]
    counts: np.ndarray  # int64 (P, N, 11)  columns as named at the top of this file


@njit(**KERNEL_BORROWING_INNER)
def phrase_at_kernel(text, at, end, phrase):
    """Whether the small letters of text[at:end] begin with `phrase`; the Kelvin sign's small letter is "k"."""
    for k in range(MAX_PHRASE_BYTES):
        wanted = phrase[k]
        if wanted == 0:
            return True
        if at >= end:
            return False
        if wanted == 107 and text[at] == 0xE2 and at + 2 < end and text[at + 1] == 0x84 and text[at + 2] == 0xAA:
            at += 3
        elif lower_ascii_kernel(text[at]) == wanted:
            at += 1
        else:
            return False
    return True


@njit(**KERNEL_BORROWING_INNER)
def citation_bytes_kernel(data, at, end, classes, marks):
    """Bytes of the citation mark that begins at data[at], an opening bracket; 0 for none: b"[12]" 4, b"[]" 2, b"[a]" 0."""
    inner = at + 1
    while inner < end:
        if data[inner] == _CLOSE_BRACKET:
            return inner + 1 - at
        code, width = decode_kernel(data, inner, end)
        if not class_bits_kernel(classes, code) & DIGIT:
            break
        inner += width
    for m in range(len(marks)):
        same = True
        width = 0
        for k in range(marks.shape[1]):
            if marks[m, k] == 0:
                break
            same &= at + 1 + k < end and data[min(at + 1 + k, end - 1)] == marks[m, k]
            width += 1
        if same and at + 1 + width < end and data[at + 1 + width] == _CLOSE_BRACKET:
            return np.int64(width + 2)
    return np.int64(0)


@njit(**KERNEL_BORROWING_INNER)
def copy_line_kernel(data, start, end, classes, marks, line):
    """data[start:end] without citation marks into `line`; returns its bytes."""
    size = np.int64(0)
    at = start
    while at < end:
        if data[at] == _OPEN_BRACKET:
            skip = citation_bytes_kernel(data, at, end, classes, marks)
            if skip > 0:
                at += skip
                continue
        line.text[size], line.origins[size] = data[at], at
        size += 1
        at += 1
    line.origins[size] = end
    return size


@njit(**KERNEL_BORROWING_INNER)
def count_line_words_kernel(text, start, end, classes):
    """(words, chars of the longest) of text[start:end], parted by white space."""
    words = longest = chars = np.int64(0)
    at = start
    while at < end:
        if text[at] < 0x80:
            bits = np.int64(classes[text[at]])
            at += 1
        else:
            code, width = decode_kernel(text, at, end)
            bits = class_bits_kernel(classes, code)
            at += width
        if bits & SPACE:
            chars = np.int64(0)
        else:
            words += chars == 0
            chars += 1
            longest = max(longest, chars)
    return words, longest


@njit(**KERNEL_BORROWING_INNER)
def ends_line_kernel(text, start, end, apostrophe_ends):
    """Whether text[start:end] ends in . ? ! or a quotation mark, in an apostrophe where the preset has it, but not in "..."."""
    if start == end:
        return False
    last = text[end - 1]
    if last == _STOP:
        return end - start < 3 or text[end - 2] != _STOP or text[end - 3] != _STOP
    is_mark = (last == _QUESTION) | (last == _EXCLAMATION) | (last == _QUOTE)
    return is_mark or (apostrophe_ends != 0 and last == _APOSTROPHE)


@njit(**KERNEL_BORROWING_INNER)
def find_phrases_kernel(text, start, end, rules):
    """Bits of what text[start:end] holds: 1 lorem ipsum, 2 javascript, 4 a policy, 8 an opening brace."""
    found = 0
    for at in range(start, end):
        if not rules.heads[text[at]]:
            continue
        byte = lower_ascii_kernel(text[at])
        if byte == _OPEN_BRACE:
            found |= 8
        for p in range(len(rules.phrases)):
            if rules.phrases[p, 0] == byte and phrase_at_kernel(text, at, end, rules.phrases[p]):
                found |= 1 << rules.phrase_kinds[p]
    return found


@njit(**KERNEL_BORROWING_INNER)
def count_sentences_kernel(text, words, first_word, last_word, end):
    """Sentences of words[first_word:last_word], which end at `end`, as spaCy's Sentencizer parts them.

    A sentence ends behind words that are end marks and all punctuation that follows; white space of more than one space is a word.
    """
    sentences = np.int64(1)
    ended = False
    for i in range(first_word, last_word):
        is_end = words.chars[i] == 1 and words.any_bits[i] & SENTENCE_END != 0
        if ended and not is_end and not words.all_bits[i] & MARK:
            sentences += 1
            ended = False
        elif is_end:
            ended = True
        stop = words.starts[i + 1] if i + 1 < last_word else end
        gap = stop - words.ends[i]
        if ended and gap > 0 and (gap > 1 or text[words.ends[i]] != 32):
            sentences += 1
            ended = False
    return sentences


@njit(**KERNEL_BORROWING_INNER)
def judge_line_kernel(data, start, end, classes, rules, settings, line, out):
    """Count the stripped line data[start:end] under its reason; returns the bytes that it keeps in `line`, -1 if it goes."""
    words, longest = count_line_words_kernel(data, start, end, classes)
    if longest > settings[MAX_WORD_CHARS]:
        out[LONG_WORD_LINES] += 1
        return np.int64(-1)
    size = copy_line_kernel(data, start, end, classes, rules.marks, line)
    if settings[NEEDS_END] and not ends_line_kernel(line.text, 0, size, settings[APOSTROPHE_ENDS]):
        out[NO_END_LINES] += 1
        return np.int64(-1)
    if settings[WORDS_AFTER_CUTS] and size < end - start:
        words, _ = count_line_words_kernel(line.text, 0, size, classes)
    if words < settings[MIN_WORDS]:
        out[SHORT_LINES] += 1
        return np.int64(-1)
    found = find_phrases_kernel(line.text, 0, size, rules)
    if found & 1:
        out[LOREM_IPSUM_LINES] += 1
        return np.int64(-1)
    if found & 2:
        out[JAVASCRIPT_LINES] += 1
        return np.int64(-1)
    if found & 8:
        out[CURLY_LINES] += 1
        return np.int64(-1)
    if found & 4:
        out[POLICY_LINES] += 1
        return np.int64(-1)
    if settings[LINE_BAD_WORDS] and len(rules.bad_words.letters) > 0:
        out[BAD_WORDS] += count_bad_words_kernel(line.text, 0, size, classes, rules.bad_words, True)
    out[KEPT_LINES] += 1
    return size


@njit(**KERNEL_BORROWING_INNER)
def _add_cut_kernel(start, end, base, first_span, num_spans, out_spans):
    """Append the span [start, end) of the document at `base`; one that touches the document's last span lengthens it."""
    if end <= start:
        return num_spans
    if first_span < num_spans <= len(out_spans) and out_spans[num_spans - 1, 1] == start - base:
        out_spans[num_spans - 1, 1] = end - base
        return num_spans
    if num_spans < len(out_spans):
        out_spans[num_spans, 0], out_spans[num_spans, 1] = start - base, end - base
    return num_spans + 1


@njit(**KERNEL_BORROWING_INNER)
def _is_space_at_kernel(text, at, end, classes):
    code, width = decode_kernel(text, at, end)
    return class_bits_kernel(classes, code) & SPACE != 0, width


@njit(**KERNEL_BORROWING_INNER)
def _find_line_kernel(data, start, end):
    """(end of the line that begins at `start`, end of what ends it, where a line feed stands in that or -1)."""
    at = start
    while at < end:
        if 0x20 <= data[at] < 0x80:
            at += 1
            continue
        code, width = decode_kernel(data, at, end)
        if is_line_end_kernel(code):
            feed = at if code == _LINE_FEED else np.int64(-1)
            after = at + width
            if code == 13 and after < end and data[after] == _LINE_FEED:
                feed, after = after, after + 1
            return at, after, feed
        at += width
    return end, end, np.int64(-1)


@njit(**KERNEL_BORROWING_INNER)
def _strip_kernel(data, start, end, classes):
    """(start, end) without outer white space."""
    while start < end:
        is_space, width = _is_space_at_kernel(data, start, end, classes)
        if not is_space:
            break
        start += width
    while end > start:
        at = end - 1
        while at > start and data[at] & 0xC0 == 0x80:
            at -= 1
        is_space, _ = _is_space_at_kernel(data, at, end, classes)
        if not is_space:
            break
        end = at
    return start, end


@njit(**KERNEL_BORROWING_INNER)
def clean_document_kernel(
    data, start, end, tables, rules, settings, shared, num_shared, words, chunks, line, first_span, out_spans, out
):  # fmt: skip
    """Cuts and counts of one document; returns the number of spans, -1 when the lines that are split here do not fit `words`.

    What stays are the kept lines, stripped, without citation marks, one line feed between two. Where a line that stays ends in
    another line end, that one is left as it is: spans cut and never write.

    shared, num_shared   the words of the whole document where they were found already, else -1: those of a line are the same by itself, for no
                         rule of words reaches over a line end. Lines with citation marks are split without them, into `words`.
    """
    classes = tables.classes
    out[:] = 0
    num_spans = first_span
    cut = solid_end = (
        start  # text from `cut` on is not yet decided; the last kept character that is no white space ends here
    )
    ended, after_end, feed = start, start, np.int64(-1)  # how the last kept line ended
    any_kept = False
    word = np.int64(0)  # shared words before it end before the line
    at = start
    while at < end:
        line_end, after, line_feed = _find_line_kernel(data, at, end)
        first, last = _strip_kernel(data, at, line_end, classes)
        out[LINES] += 1
        size = judge_line_kernel(data, first, last, classes, rules, settings, line, out)
        at = after
        if size < 0:
            continue
        # bytes of `line` before the first character that is no white space and up to the last one
        begin, solid = np.int64(0), size
        if num_shared >= 0 and size == last - first:
            while word < num_shared and shared.starts[word] < first:
                word += 1
            stop = word
            while stop < num_shared and shared.starts[stop] < last:
                stop += 1
            out[SENTENCES] += count_sentences_kernel(data, shared, word, stop, last)
            word = stop
        else:
            num_words, num_chunks = split_document_kernel(line.text, 0, size, tables, words, chunks, True)
            if max(num_words, num_chunks) > len(words.starts):
                return np.int64(-1)
            out[SENTENCES] += count_sentences_kernel(line.text, words, 0, num_words, size)
            begin, solid = (chunks.starts[0], chunks.ends[num_chunks - 1]) if num_chunks > 0 else (size, np.int64(0))
        is_blank = solid == 0
        if is_blank and not any_kept:
            continue
        if any_kept:
            begin = np.int64(0)
            keep_start, keep_end = (ended, after_end) if feed < 0 else (feed, feed + 1)
            num_spans = _add_cut_kernel(cut, keep_start, start, first_span, num_spans, out_spans)
            cut = keep_end
        num_spans = _add_cut_kernel(cut, line.origins[begin], start, first_span, num_spans, out_spans)
        if size < last - first:
            for k in range(begin, size - 1):
                if line.origins[k + 1] != line.origins[k] + 1:
                    cut, stay = line.origins[k] + 1, line.origins[k + 1]
                    num_spans = _add_cut_kernel(cut, stay, start, first_span, num_spans, out_spans)
        cut = line.origins[size - 1] + 1 if size > 0 else line.origins[0]
        if not is_blank:
            solid_end = line.origins[solid - 1] + 1
        ended, after_end, feed, any_kept = line_end, after, line_feed, True
    # the text that is left is stripped at its end too
    while first_span < num_spans <= len(out_spans) and start + out_spans[num_spans - 1, 0] >= solid_end:
        num_spans -= 1
    return _add_cut_kernel(solid_end, end, start, first_span, num_spans, out_spans)


@njit(**KERNEL_BORROWING_INNER)
def clean_row_kernel(data, start, end, row, tables, rules, shared, num_shared, cleaning):
    """Cuts and counts of one document by all presets of `rules`; returns whether they fitted."""
    for p in range(len(rules.settings)):
        num_spans = clean_document_kernel(
            data, start, end, tables, rules, rules.settings[p], shared, num_shared, cleaning.words, cleaning.chunks, cleaning.line,
            cleaning.bounds[p, row], cleaning.spans[p], cleaning.counts[p, row],
        )  # fmt: skip
        if num_spans < 0 or num_spans > cleaning.spans.shape[1]:
            return False
        cleaning.bounds[p, row + 1] = num_spans
    return True


@njit(**KERNEL_BORROWING)
def clean_lines_kernel(data, offsets, tables, rules, first_row, cleaning):
    """Cuts and counts of rows first_row, first_row + 1, ... until one does not fit the scratch arrays or the spans.

    data : uint8 (B,), offsets : int64 (N + 1,)   text i is data[offsets[i]:offsets[i + 1]]
    tables : WordTables, rules : LineRules        of taggers.spacy_words and taggers.c4
    cleaning : Cleaning                           scratch of any content, and the output

    Returns the first row that was not done: N when all were.
    """
    for row in range(first_row, len(offsets) - 1):
        if not clean_row_kernel(
            data, offsets[row], offsets[row + 1], row, tables, rules, cleaning.words, np.int64(-1), cleaning
        ):
            return np.int64(row)
    return np.int64(len(offsets) - 1)
