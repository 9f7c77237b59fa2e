"""Texts as units of hashed tokens, for n-gram language models.

Legend: N texts, B bytes of all texts together, V bytes of normalised text, U units that are not blank, W tokens, T = TABLE_SIZE.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import xxh64_kernel
from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import SPACE_BIT, TABLE_SIZE

_BLANK = np.uint8(0x20)
_FEED = np.int64(10)
_SEED = np.uint64(0)


@njit(**KERNEL)
def normalize_units_kernel(
    data, offsets, new_data, new_offsets, classes, feeds, out_data, out_line_ends, out_text_offsets
):
    """Write each text's units, normalised, words parted by one blank; return U.

    data, offsets : uint8 (B,), int64 (N + 1,)          texts, back to back
    new_data, new_offsets : uint8 (R,), int32 (T + 1,)  what each code point becomes; those beyond the table stay
    classes : uint8 (T,)                                taggers.characters.character_table
    feeds : int                                         line feeds in a row that end a unit; 0: none does
    out_data : uint8 (C,)                               gets V bytes, the units back to back
    out_line_ends : int64 (C,)                          end of each unit in out_data
    out_text_offsets : int64 (N + 1,)                   units before each text

    " Ab  c\\n\\nd" with lower case and feeds 1 is the units "ab c" and "d"; with feeds 0 the one unit "ab c d"
    """
    at = np.int64(0)
    num_units = np.int64(0)
    for row in range(len(offsets) - 1):
        pos, end = offsets[row], offsets[row + 1]
        unit_start = at
        pending = False  # white space since the last word of this unit
        num_feeds = np.int64(0)
        while pos < end:
            code, width = decode_kernel(data, pos, end)
            if code < TABLE_SIZE and character_class_kernel(classes, code) & SPACE_BIT:
                pos += width
                pending = True
                if code == _FEED:
                    num_feeds += 1
                    if num_feeds == feeds and at > unit_start:
                        out_line_ends[num_units] = at
                        num_units += 1
                        unit_start = at
                continue
            if code < TABLE_SIZE:
                source, first, last = True, np.int64(new_offsets[code]), np.int64(new_offsets[code + 1])
            else:
                source, first, last = False, pos, pos + width
            pos += width
            for k in range(first, last):
                byte = new_data[k] if source else data[k]
                if byte == _BLANK:
                    pending = True
                    continue
                if pending:
                    if at > unit_start:
                        out_data[at] = _BLANK
                        at += 1
                    pending = False
                num_feeds = np.int64(0)  # not before: a character that goes parts nothing
                out_data[at] = byte
                at += 1
        if at > unit_start:
            out_line_ends[num_units] = at
            num_units += 1
        out_text_offsets[row + 1] = num_units
    return num_units


@njit(**KERNEL)
def hash_units_kernel(
    data, line_offsets, marks, characters, blank_hash, out_hashes, out_starts, out_ends, out_unit_offsets
):
    """Hash the tokens of each unit; return W.

    data, line_offsets : uint8 (V,), int64 (U + 1,)     as normalize_units_kernel writes them
    marks : uint64 (3,)                                 hashes of words that are left out
    characters : bool                                   tokens are characters, a blank between words one of them
    blank_hash : uint64                                 the hash of that token
    out_hashes, out_starts, out_ends : (C,)             of each token: xxh64, first byte and end in data
    out_unit_offsets : int64 (U + 1,)                   tokens before each unit

    The unit "ab c" has the words "ab" and "c", and the characters "a", "b", blank, "c"
    """
    count = np.int64(0)
    for unit in range(len(line_offsets) - 1):
        at, end = line_offsets[unit], line_offsets[unit + 1]
        while at < end:
            stop = at + 1
            if characters:
                _, width = decode_kernel(data, at, end)
                stop = at + width
            else:
                while stop < end and data[stop] != _BLANK:
                    stop += 1
            if characters and data[at] == _BLANK:
                token = blank_hash
            else:
                token = xxh64_kernel(data, at, stop, _SEED)
            if token != marks[0] and token != marks[1] and token != marks[2]:
                out_hashes[count] = token
                out_starts[count] = at
                out_ends[count] = stop
                count += 1
            at = stop if characters else stop + 1
        out_unit_offsets[unit + 1] = count
    return count
