"""Reading the n-grams of an ARPA file.

Legend: B bytes of the file, G n-grams of one order, K words in each, S slots of a table of n-grams.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import xxh64_kernel
from taggers.language_model_kernels import first_key_kernel, longer_key_kernel, score_word_kernel

_SEED = np.uint64(0)
_FEED, _BACKSLASH = np.uint8(10), np.uint8(92)
_MAX_EXPONENT = 400  # beyond it nothing changes


@njit(inline="always", **KERNEL)
def _is_blank(byte):
    return byte == 32 or byte == 9 or byte == 13


@njit(**KERNEL)
def parse_number_kernel(data, start, end):
    """(is a number, its value) of data[start:end]: [+-]digits[.digits][e[+-]digits], with a digit before or behind the point.

    "-1.5e-1" is -0.15; "", "-", "1x", "nan" and "inf" are none. The value is that of Python's float but for the last bits.
    """
    at = start
    negative = at < end and data[at] == 45
    if at < end and (data[at] == 45 or data[at] == 43):
        at += 1
    value, scale, num_digits = 0.0, 0, 0
    while at < end and 48 <= data[at] <= 57:
        value = value * 10 + (data[at] - 48)
        num_digits += 1
        at += 1
    if at < end and data[at] == 46:
        at += 1
        while at < end and 48 <= data[at] <= 57:
            value = value * 10 + (data[at] - 48)
            num_digits += 1
            scale -= 1
            at += 1
    if num_digits == 0:
        return False, 0.0
    if at < end and (data[at] == 101 or data[at] == 69):
        at += 1
        shrinks = at < end and data[at] == 45
        if at < end and (data[at] == 45 or data[at] == 43):
            at += 1
        if at >= end:
            return False, 0.0
        exponent = 0
        while at < end and 48 <= data[at] <= 57:
            exponent = min(exponent * 10 + (data[at] - 48), _MAX_EXPONENT)
            at += 1
        scale += -exponent if shrinks else exponent
    value = value * 10.0**scale if scale >= 0 else value / 10.0**-scale
    return at == end and np.isfinite(value), -value if negative else value


@njit(**KERNEL)
def parse_ngrams_kernel(data, start, out_log_probs, out_backoffs, out_words, out_stopped):
    """Read G lines "probability words [backoff]"; return how many were understood.

    data : uint8 (B,)
    start : int                                 first byte of the first line
    out_log_probs, out_backoffs : float32 (G,)  no backoff: 0
    out_words : uint64 (G, K)                   xxh64 of each word, first word first
    out_stopped : int64 (1,)                    end of the last line that was understood

    "-1.5\\ta b\\t-0.25\\n" with K = 2 is -1.5, -0.25 and the hashes of "a" and "b"
    """
    num_words = out_words.shape[1]
    at = start
    for gram in range(len(out_words)):
        out_stopped[0] = at
        end = at
        while end < len(data) and data[end] != _FEED:
            end += 1
        field = 0
        pos = at
        while pos < end:
            while pos < end and _is_blank(data[pos]):
                pos += 1
            if pos == end:
                break
            stop = pos
            while stop < end and not _is_blank(data[stop]):
                stop += 1
            if field == 0 or field == num_words + 1:
                is_number, value = parse_number_kernel(data, pos, stop)
                if not is_number:
                    return gram
                if field == 0:
                    out_log_probs[gram] = value
                else:
                    out_backoffs[gram] = value
            elif field <= num_words:
                out_words[gram, field - 1] = xxh64_kernel(data, pos, stop, _SEED)
            field += 1
            pos = stop
        if field < num_words + 1 or field > num_words + 2:
            return gram
        at = end + 1
    out_stopped[0] = min(at, len(data))
    return len(out_words)


@njit(**KERNEL)
def hash_rows_kernel(words, first, out_keys):
    """out_keys[g] = key of the n-gram words[g, first:]; words : uint64 (G, K), first < K, out_keys : uint64 (G,)."""
    for gram in range(len(words)):
        key = first_key_kernel(words[gram, words.shape[1] - 1])
        for n in range(words.shape[1] - 2, first - 1, -1):
            key = longer_key_kernel(key, words[gram, n])
        out_keys[gram] = key


@njit(**KERNEL)
def back_off_kernel(table, values, order, unknown_word, words, out_log_probs):
    """out_log_probs[g] = log10 probability of the last word of words[g] after the others, and after nothing before them.

    table, values, order : as score_units_kernel of language_model_kernels has them
    words : uint64 (G, K)
    """
    before = np.zeros(order + 1, np.uint64)
    backoffs, fresh = np.zeros(order + 1, np.float64), np.zeros(order + 1, np.float64)
    for gram in range(len(words)):
        num_words = num_backoffs = np.int64(0)
        for n in range(words.shape[1]):
            log_prob, _, num_words, num_backoffs = score_word_kernel(
                table, values, order, words[gram, n], unknown_word, before, backoffs, fresh, num_words, num_backoffs
            )
        out_log_probs[gram] = log_prob
