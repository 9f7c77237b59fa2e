"""Where the sentences of MADLAD-400 lie: the same ones, in the same order, that sentence_rules_kernels counts.

A sentence ends where one or more of . ! ? stand before white space; one of white space alone is none.
Source: allenai/datamap-rs src/map_fxn.rs (021da52).
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import character_class_kernel, decode_kernel
from taggers.characters import SPACE_BIT

_STOP, _EXCLAMATION, _QUESTION = 46, 33, 63


@njit(**KERNEL_BORROWING_INNER)
def _skip_spaces_kernel(data, at, end, table):
    """Where the white space that begins at data[at] ends."""
    while at < end:
        code, width = decode_kernel(data, at, end)
        if not character_class_kernel(table, code) & SPACE_BIT:
            break
        at += width
    return at


@njit(**KERNEL_BORROWING)
def find_sentences_kernel(data, offsets, table, out_starts, out_ends, out_offsets):
    """Sentences of N texts.

    data : uint8 (B,), offsets : int64 (N + 1,)   text i is data[offsets[i]:offsets[i + 1]]
    table : uint8 (TABLE_SIZE,)                   taggers.characters.character_table
    out_starts, out_ends : int64 (B // 2 + N,)    bytes of `data`, without the end marks
    out_offsets : int64 (N + 1,)                  sentences of text i are those from out_offsets[i] up to out_offsets[i + 1]

    b"Buy now! It is so." has "Buy now" and "It is so."
    """
    found = np.int64(0)
    out_offsets[0] = 0
    for row in range(len(offsets) - 1):
        first = at = np.int64(offsets[row])
        end = np.int64(offsets[row + 1])
        while first < end:
            stop = behind = end
            while at < end:
                if data[at] != _STOP and data[at] != _EXCLAMATION and data[at] != _QUESTION:
                    at += 1
                    continue
                stop = at
                while at < end and (data[at] == _STOP or data[at] == _EXCLAMATION or data[at] == _QUESTION):
                    at += 1
                behind = _skip_spaces_kernel(data, at, end, table)
                if behind > at:
                    break
                stop = behind = end
            if _skip_spaces_kernel(data, first, stop, table) < stop:
                out_starts[found], out_ends[found] = first, stop
                found += 1
            first = at = behind
        out_offsets[row + 1] = found
