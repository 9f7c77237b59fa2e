"""Repetition and Chinese characters of answers, counted in one sweep over the bytes of each.

Legend: N texts, B bytes of all texts together.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import mix64_kernel, xxh64_kernel

# columns of out_counts
SENTENCES, PARAGRAPHS, PHRASES, HAN, CHARS = range(5)
NUM_COUNTS = 5
_SEED = np.uint64(0)


@njit(inline="always", **KERNEL_INNER)
def _is_space(byte: Any) -> Any:
    """White space of ASCII: what bytes.split() parts at."""
    return byte == 32 or (byte >= 9 and byte <= 13)


@njit(inline="always", **KERNEL_INNER)
def _ends_sentence(byte: Any, is_ended: Any) -> Any:
    """After . ! ? and closing marks behind them."""
    if byte == 0x2E or byte == 0x21 or byte == 0x3F:
        return True
    return is_ended and (byte == 0x22 or byte == 0x27 or byte == 0x29 or byte == 0x5D)


@njit(inline="always", **KERNEL_INNER)
def _is_full_stop(data: Any, start: Any, at: Any) -> Any:
    """Whether U+3002, U+FF01 or U+FF1F ends with the byte at `at`."""
    if at - start < 2:
        return False
    first, second, third = data[at - 2], data[at - 1], data[at]
    if first == 0xE3:
        return second == 0x80 and third == 0x82
    return first == 0xEF and second == 0xBC and (third == 0x81 or third == 0x9F)


@njit(inline="always", **KERNEL_INNER)
def _is_han(data: Any, at: Any, end: Any) -> Any:
    """Whether a Chinese character begins here: U+3400-4DBF, 4E00-9FFF, F900-FAFF, 20000-3FFFF."""
    lead = data[at]
    if lead == 0xF0:
        return at + 1 < end and data[at + 1] >= 0xA0 and data[at + 1] < 0xC0
    if at + 2 >= end or lead < 0xE3 or lead > 0xEF:
        return False
    code = (np.int64(lead) & 15) << 12 | (np.int64(data[at + 1]) & 63) << 6 | (np.int64(data[at + 2]) & 63)
    return (
        (code >= 0x3400 and code <= 0x4DBF)
        or (code >= 0x4E00 and code <= 0x9FFF)
        or (code >= 0xF900 and code <= 0xFAFF)
    )


@njit(**KERNEL_INNER)
def _count_most(hashes: Any, count: Any) -> Any:
    """How often the most frequent of hashes[:count] stands there; sorts them."""
    found = hashes[:count]
    found.sort()
    most = run = np.int64(0)
    for i in range(count):
        run = run + 1 if i > 0 and found[i] == found[i - 1] else np.int64(1)
        most = max(most, run)
    return most


@njit(**KERNEL_INNER)
def _count_phrases(words: Any, has_letter: Any, num_words: Any, phrase_words: Any, scratch: Any) -> Any:
    """How often the most frequent run of phrase_words words stands there, of those with a letter; they may overlap."""
    count = np.int64(0)
    letters = np.int64(0)
    for i in range(num_words):
        letters += has_letter[i]
        if i >= phrase_words:
            letters -= has_letter[i - phrase_words]
        if i + 1 >= phrase_words and letters > 0:
            state = _SEED
            for word in range(i + 1 - phrase_words, i + 1):
                state = mix64_kernel(state ^ words[word])
            scratch[count] = state
            count += 1
    return _count_most(scratch, count)


@njit(**KERNEL)
def measure_traces_kernel(
    data: Any, offsets: Any, min_sentence_bytes: int, min_paragraph_bytes: int, phrase_words: int, out_counts: Any
) -> None:
    """Fill a row of counts for each text.

    data, offsets : uint8 (B,), int64 (N + 1,)  texts, back to back; bytes that are no UTF-8 give some counts
    out_counts : int64 (N, 5)                   how often the most frequent sentence, paragraph and phrase stands in the text; Chinese
                                                characters; characters that are no white space

    A sentence ends at . ! ? (and closing marks) before white space, at a Chinese full stop, at a line feed; a paragraph at two line feeds with
    nothing but white space between. "A b c. A b c. D" has the sentence "A b c." twice. Equal means equal 64-bit hashes.
    """
    largest = np.int64(0)
    for row in range(len(offsets) - 1):
        largest = max(largest, offsets[row + 1] - offsets[row])
    room = largest // 2 + 2
    sentences, paragraphs = np.empty(room, np.uint64), np.empty(room, np.uint64)
    words, has_letter = np.empty(room, np.uint64), np.empty(room, np.int64)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        num_sentences = num_paragraphs = num_words = han = chars = num_feeds = letters = np.int64(0)
        sentence = paragraph = word = -1
        last = start  # end of the last byte that is no white space
        is_ended = False
        for at in range(start, end + 1):
            byte = data[at] if at < end else np.uint8(10)  # the end is a line feed
            if _is_space(byte):
                num_feeds += byte == 10
                if word >= 0:
                    words[num_words] = xxh64_kernel(data, word, at, _SEED)
                    has_letter[num_words] = letters
                    num_words += 1
                    word = -1
                if sentence >= 0 and (byte == 10 or is_ended):
                    if last - sentence >= min_sentence_bytes:
                        sentences[num_sentences] = xxh64_kernel(data, sentence, last, _SEED)
                        num_sentences += 1
                    sentence = -1
                if paragraph >= 0 and (num_feeds >= 2 or at == end):
                    if last - paragraph >= min_paragraph_bytes:
                        paragraphs[num_paragraphs] = xxh64_kernel(data, paragraph, last, _SEED)
                        num_paragraphs += 1
                    paragraph = -1
                continue
            num_feeds = np.int64(0)
            last = at + 1
            if byte & 0xC0 != 0x80:
                chars += 1
                han += _is_han(data, at, end)
            if word < 0:
                word = at
                letters = np.int64(0)
            if byte >= 0x80 or (byte | 0x20 >= 0x61 and byte | 0x20 <= 0x7A):
                letters = np.int64(1)
            if paragraph < 0:
                paragraph = at
            if sentence < 0:
                sentence = at
                is_ended = False
            is_ended = _ends_sentence(byte, is_ended)
            if _is_full_stop(data, start, at):
                if last - sentence >= min_sentence_bytes:
                    sentences[num_sentences] = xxh64_kernel(data, sentence, last, _SEED)
                    num_sentences += 1
                sentence = -1
        out_counts[row, SENTENCES] = _count_most(sentences, num_sentences)
        out_counts[row, PARAGRAPHS] = _count_most(paragraphs, num_paragraphs)
        out_counts[row, PHRASES] = _count_phrases(words, has_letter, num_words, phrase_words, sentences)
        out_counts[row, HAN] = han
        out_counts[row, CHARS] = chars
