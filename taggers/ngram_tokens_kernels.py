"""Texts as hashed tokens with their places: words, and the text that a BPE tokenizer gets, each byte of it with its origin.

Legend: B bytes of all texts together, W tokens, C capacity of an output, V bytes of normalised text.
Places are bytes of the original text; they never cut a character.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import mix64_kernel
from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import ALNUM_BIT, EXTEND, SINGLE, SPACE_BIT, TABLE_SIZE

_TOKEN_SEED = np.uint64(0x746F6B656E)
# odd, so that a step loses nothing; the golden ratio's multiples lie far apart, so that two characters cannot undo each other
_STEP = np.uint64(0x9E3779B97F4A7C15)
_BLANK = np.int64(0x20)


class Tables(NamedTuple):
    """What characters are; see taggers.ngram_tokens.make_tables."""

    ascii: np.ndarray  # uint8 (256,)  the lower-case byte of an ASCII letter or digit, else 0
    classes: np.ndarray  # uint8 (TABLE_SIZE,)  taggers.characters.character_table
    lower: np.ndarray  # uint32 (TABLE_SIZE,)  taggers.characters.lower_table


@njit(**KERNEL)
def split_tokens_kernel(data, start, end, tables, out_tokens, out_starts, out_ends):
    """Lower-cased word tokens of data[start:end]: runs of letters, numbers and their marks; all else parts them.

    out_tokens : uint64 (C,)          hash of the token's lower-case code points
    out_starts, out_ends : int64 (C,) bytes in data

    Characters of scripts without spaces are tokens of their own. Returns W <= C; C = 2 (end - start) // 3 + 2 always suffices
    (tokens of one byte have between them a byte, or a token of two bytes or more).

    b"It's 3.5" has the tokens "it", "s", "3", "5"
    """
    num_tokens = np.int64(0)
    at = start
    in_token = False
    token = _TOKEN_SEED
    while at < end:
        byte = data[at]
        lower = tables.ascii[byte]
        if lower != 0:  # nearly all text goes through here: one load and one multiplication for each byte
            if not in_token:
                token = _TOKEN_SEED
                out_starts[num_tokens] = at
                in_token = True
            while lower != 0:
                token = (token ^ np.uint64(lower)) * _STEP
                at += 1
                if at >= end:
                    break
                lower = tables.ascii[data[at]]
            continue
        width = 1
        belongs = single = False
        code = np.int64(byte)
        if byte >= 0x80:
            code, width = decode_kernel(data, at, end)
            entry = character_class_kernel(tables.classes, code)
            single = entry & 15 == SINGLE and entry & ALNUM_BIT != 0
            belongs = entry & ALNUM_BIT != 0 or (in_token and entry & 15 == EXTEND)
        if in_token and (single or not belongs):
            out_tokens[num_tokens] = mix64_kernel(token)
            out_ends[num_tokens] = at
            num_tokens += 1
            in_token = False
        if belongs:
            if not in_token:
                token = _TOKEN_SEED
                out_starts[num_tokens] = at
            if code < TABLE_SIZE:
                code = np.int64(tables.lower[code])
            token = (token ^ np.uint64(code)) * _STEP
            in_token = True
            if single:
                out_tokens[num_tokens] = mix64_kernel(token)
                out_ends[num_tokens] = at + width
                num_tokens += 1
                in_token = False
        at += width
    if in_token:
        out_tokens[num_tokens] = mix64_kernel(token)
        out_ends[num_tokens] = at
        num_tokens += 1
    return num_tokens


@njit(**KERNEL)
def split_texts_kernel(data, offsets, tables, out_tokens, out_starts, out_ends, out_offsets):
    """split_tokens_kernel of N texts, one after another; places from their text's start.

    data uint8 (B,), offsets int64 (N + 1,); out_tokens uint64 and out_starts, out_ends int64 with room for the most words of every text;
    out_offsets int64 (N + 1,)
    """
    count = np.int64(0)
    out_offsets[0] = 0
    for row in range(len(offsets) - 1):
        first = offsets[row]
        starts, ends = out_starts[count:], out_ends[count:]
        own = split_tokens_kernel(data, first, offsets[row + 1], tables, out_tokens[count:], starts, ends)
        for k in range(own):
            starts[k] -= first
            ends[k] -= first
        count += own
        out_offsets[row + 1] = count


@njit(**KERNEL)
def put_character_kernel(code, at, out_bytes):
    """Write a code point in UTF-8 at out_bytes[at]; returns its width. The code point must be one that UTF-8 has."""
    if code < 0x80:
        out_bytes[at] = code
        return 1
    if code < 0x800:
        out_bytes[at] = 0xC0 | code >> 6
        out_bytes[at + 1] = 0x80 | code & 0x3F
        return 2
    if code < 0x10000:
        out_bytes[at] = 0xE0 | code >> 12
        out_bytes[at + 1] = 0x80 | code >> 6 & 0x3F
        out_bytes[at + 2] = 0x80 | code & 0x3F
        return 3
    out_bytes[at] = 0xF0 | code >> 18
    out_bytes[at + 1] = 0x80 | code >> 12 & 0x3F
    out_bytes[at + 2] = 0x80 | code >> 6 & 0x3F
    out_bytes[at + 3] = 0x80 | code & 0x3F
    return 4


@njit(**KERNEL)
def normalize_kernel(data, offsets, tables, punctuation, out_bytes, out_places, out_offsets):
    """Lower case, punctuation as blanks, runs of blanks as one, one blank in front of every text that is not empty, none at its end.

    punctuation : uint8 (TABLE_SIZE,)  1 where a character counts as a blank besides white space
    out_bytes : uint8 (C,)             valid UTF-8 whatever the input: what is no character is a blank; C = 2 B + N suffices
    out_places : int32 (2, C)          first byte and end of the original character, from its text's start; a blank has none and
                                       stands with the start of the next character
    out_offsets : int64 (N + 1,)       text i is out_bytes[out_offsets[i]:out_offsets[i + 1]]

    b"It's  3." gives b" it s 3"
    """
    size = np.int64(0)
    out_offsets[0] = 0
    for row in range(len(offsets) - 1):
        at = offsets[row]
        pending = True
        while at < offsets[row + 1]:
            code, width = decode_kernel(data, at, offsets[row + 1])
            blank = code == 0xFFFD or 0xD800 <= code < 0xE000 or code > 0x10FFFF
            if code < TABLE_SIZE:
                blank = blank or tables.classes[code] & SPACE_BIT != 0 or punctuation[code] != 0
                code = np.int64(tables.lower[code])
            if blank:
                pending = True
            else:
                place = at - offsets[row]
                if pending:
                    out_bytes[size] = _BLANK
                    out_places[0, size] = out_places[1, size] = place
                    size += 1
                    pending = False
                for _ in range(put_character_kernel(code, size, out_bytes)):
                    out_places[0, size], out_places[1, size] = place, place + width
                    size += 1
            at += width
        out_offsets[row + 1] = size


@njit(**KERNEL)
def hash_ids_kernel(ids, out_tokens):
    """out_tokens[i] = hash of the token id; ids uint32 (W,), out_tokens uint64 (W,)."""
    for i in range(len(ids)):
        out_tokens[i] = mix64_kernel(_TOKEN_SEED ^ np.uint64(ids[i]))
