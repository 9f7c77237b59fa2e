"""Where fill-in-the-middle cuts texts: two places between characters, as byte positions."""

from __future__ import annotations

import numpy as np
from numba import njit

from dolma_py.numba_options import KERNEL


@njit(**KERNEL)
def cut_texts_kernel(data, start_byte, end_byte, first_hash, second_hash, out_start, out_end):
    """Two cuts per text, each uniform over the n + 1 places before, between and after its n characters.

    data: uint8 (B,), UTF-8. start_byte, end_byte: int64 (K,), where each text lies. first_hash, second_hash: uint64 (K,), whose upper
    32 bits choose a place each. out_start, out_end: int64 (K,), bytes from the start of the text, start <= end.
    Example: of a text of one byte and a character of two (3 bytes) the places are 0, 1 and 3; hashes 2^64 - 1 and 0 give start 0, end 3.
    """
    shift = np.uint64(32)
    for row in range(len(start_byte)):
        begin, stop = start_byte[row], end_byte[row]
        num_chars = np.uint64(0)
        for place in range(begin, stop):
            num_chars += np.uint64((data[place] & 0xC0) != 0x80)  # every byte but those that continue a character
        one = ((first_hash[row] >> shift) * (num_chars + np.uint64(1))) >> shift
        other = ((second_hash[row] >> shift) * (num_chars + np.uint64(1))) >> shift
        low, high = min(one, other), max(one, other)
        out_start[row] = stop - begin
        out_end[row] = stop - begin
        seen = np.uint64(0)
        for place in range(begin, stop):
            if (data[place] & 0xC0) != 0x80:
                if seen == low:
                    out_start[row] = place - begin
                if seen == high:
                    out_end[row] = place - begin
                    break
                seen += np.uint64(1)
