"""What the language tagger asks of bytes: how many characters a text has, where its lines and paragraphs lie, which scripts it is written in.

Legend: N texts, B bytes of all texts together, K scripts.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

from numba import njit  # isort: skip

from taggers.character_kernels import decode_kernel
from taggers.characters import SPACE_BIT, TABLE_SIZE

_LINE_FEED = 10


@njit(inline="always", **KERNEL)
def _is_space(classes, code):
    return code < TABLE_SIZE and classes[code] & SPACE_BIT != 0


@njit(**KERNEL)
def long_enough_kernel(data, starts, ends, classes, weights, min_chars, found):
    """Whether each data[start:end] has a character and, outer white space apart, characters that count for at least min_chars.

    classes : uint8 (TABLE_SIZE,) of taggers.characters; weights : uint8 (TABLE_SIZE,) what each character counts for, those past
    the table for 1; found : bool (N,) filled

    Example: "a \u65e5 " with weights of 1 and 3 counts for 5, the blank at its end for nothing.
    """
    for row in range(len(starts)):
        place, end = starts[row], ends[row]
        chars = visible = 0  # since the first that is no white space; up to the last such one
        while place < end and (visible < min_chars or visible == 0):
            code, width = decode_kernel(data, place, end)
            place += width
            is_space = _is_space(classes, code)
            if chars > 0 or not is_space:
                chars += weights[code] if code < TABLE_SIZE else 1
            if not is_space:
                visible = chars
        found[row] = visible > 0 and visible >= min_chars


@njit(inline="always", **KERNEL)
def _is_inside(data, place, last):
    # whether a character that began before goes on here; at most three bytes do, whatever the text holds
    return place < last and data[place] & 0xC0 == 0x80


@njit(**KERNEL)
def sample_pieces_kernel(data, starts, ends, max_bytes, num_pieces, out, out_offsets):
    """Copy of each text longer than max_bytes pieces of max_bytes // num_pieces bytes, of others all; pieces are parted by a line feed.

    Piece k of P begins at (length - piece) * k // (P - 1), and goes on to where a character begins, three bytes further at most; where a
    piece would end inside a character, it ends before it.

    Parameters
    ----------
    starts, ends : int64 (N,)       text i is data[starts[i]:ends[i]]
    out : uint8                     filled; room for all of a text that is copied whole, else for max_bytes + num_pieces
    out_offsets : int64 (N + 1,)    filled
    """
    count = 0
    out_offsets[0] = 0
    size = max_bytes // num_pieces
    for row in range(len(starts)):
        first, last = starts[row], ends[row]
        is_whole = last - first <= max_bytes
        for piece in range(1 if is_whole else num_pieces):
            start, end = first, last
            if not is_whole:
                if num_pieces > 1:
                    start = first + (last - first - size) * piece // (num_pieces - 1)
                end = start + size
                for _ in range(3 if piece > 0 else 0):
                    if _is_inside(data, start, last):
                        start += 1
                for _ in range(3):
                    if end > start and _is_inside(data, end, last):
                        end -= 1
                if piece > 0:
                    out[count] = _LINE_FEED
                    count += 1
            for place in range(start, end):
                out[count] = data[place]
                count += 1
        out_offsets[row + 1] = count


@njit(**KERNEL)
def split_segments_kernel(data, offsets, by_lines, starts, ends, segment_offsets):
    """Lines, or paragraphs parted by blank lines, that are not blank; without the white space (spaces, tabs, returns) around them.

    Parameters
    ----------
    offsets : int64 (N + 1,)            text i is data[offsets[i]:offsets[i + 1]]
    by_lines : bool                     lines; else paragraphs
    starts, ends : int64                filled as far as there is room
    segment_offsets : int64 (N + 1,)    filled: segments of text i

    Returns
    -------
    The number of segments, those without room included.
    """
    count = 0
    segment_offsets[0] = 0
    for row in range(len(offsets) - 1):
        first, last = -1, -1  # of the segment that is open
        line_is_blank = True
        for place in range(offsets[row], offsets[row + 1] + 1):
            at_end = place == offsets[row + 1]
            byte = _LINE_FEED if at_end else data[place]
            if byte == _LINE_FEED:
                if first >= 0 and (by_lines or line_is_blank or at_end):
                    if count < len(starts):
                        starts[count], ends[count] = first, last + 1
                    count += 1
                    first = -1
                line_is_blank = True
            elif byte != 32 and byte != 9 and byte != 13 and byte != 11 and byte != 12:
                line_is_blank = False
                if first < 0:
                    first = place
                last = place
        segment_offsets[row + 1] = count
    return count


@njit(**KERNEL)
def count_scripts_kernel(data, offsets, scripts, counts):
    """Characters of each script.

    scripts : uint8 (TABLE_SIZE,) number of each character's script; counts : int64 (N, K) filled; characters past the table count as 0
    """
    counts[:] = 0
    for row in range(len(offsets) - 1):
        place, end = offsets[row], offsets[row + 1]
        while place < end:
            code, width = decode_kernel(data, place, end)
            place += width
            counts[row, scripts[code] if code < TABLE_SIZE else 0] += 1
