"""Where a long text may be cut: before headings, paragraphs, sentences and lines, as byte positions with a rank.

Source: Olmo 3 report 3.6.2, sections "near natural breaks". The released script looks for line starts and list items and can write a section
twice; here every byte of a text is in exactly one piece, because a piece ends where the next begins.
Legend: B bytes of one text, P places.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dolma_py.numba_options import KERNEL, KERNEL_INNER

FORCED, LINE, SENTENCE, PARAGRAPH, HEADING = range(5)
MAX_CAPITALS = 60  # bytes of a line that is a heading because it has no small letter
_LATEX = np.frombuffer(b"\\part{\\chapter\\section\\subsection", np.uint8).copy()
_LATEX_OFFSETS = np.array([0, 6, 14, 22, 33], np.int64)


@njit(**KERNEL_INNER)
def _line_end(data, start):
    """One past the line feed of the line at `start`, or the end of the text."""
    place = start
    while place < len(data) and data[place] != 10:
        place += 1
    return min(place + 1, len(data))


@njit(**KERNEL_INNER)
def _is_white(byte):
    return byte == 32 or byte == 9 or byte == 10 or byte == 13


@njit(**KERNEL_INNER)
def _is_blank(data, start, end):
    place = start
    while place < end and _is_white(data[place]):
        place += 1
    return place == end


@njit(**KERNEL_INNER)
def _is_stop(byte):
    return byte == 46 or byte == 33 or byte == 63  # . ! ?


@njit(**KERNEL_INNER)
def _is_closing(byte):
    return byte == 34 or byte == 39 or byte == 41 or byte == 93  # " ' ) ]


@njit(**KERNEL_INNER)
def _ends_sentence(data, start, end):
    """Whether the line ends with a stop, closing signs and white space behind it allowed."""
    place = end - 1
    while place >= start and _is_white(data[place]):
        place -= 1
    while place >= start and _is_closing(data[place]):
        place -= 1
    return place >= start and _is_stop(data[place])


@njit(**KERNEL_INNER)
def _is_marked_heading(data, start, end):
    """One to six # and a blank, or one of LaTeX's commands."""
    num_signs = 0
    while start + num_signs < end and data[start + num_signs] == 35:
        num_signs += 1
    if 1 <= num_signs <= 6 and start + num_signs < end and data[start + num_signs] == 32:
        return True
    for command in range(len(_LATEX_OFFSETS) - 1):
        first, length = _LATEX_OFFSETS[command], _LATEX_OFFSETS[command + 1] - _LATEX_OFFSETS[command]
        if start + length <= end:
            is_same = True
            for place in range(length):
                is_same = is_same and data[start + place] == _LATEX[first + place]
            if is_same:
                return True
    return False


@njit(**KERNEL_INNER)
def _is_capitals(data, start, end):
    """A short line with capitals A-Z and no small letter a-z."""
    if end - start > MAX_CAPITALS:
        return False
    has_capital = False
    for place in range(start, end):
        if 97 <= data[place] <= 122:
            return False
        has_capital = has_capital or 65 <= data[place] <= 90
    return has_capital


@njit(**KERNEL_INNER)
def _emit(data, state, place, rank, max_piece, out_places, out_ranks):
    """Add a place, and before it forced ones wherever max_piece bytes would be passed. state: int64 (2,), number and place of the last."""
    while place - state[1] > max_piece:
        cut = state[1] + max_piece
        for _ in range(3):  # a character has at most three bytes that continue it
            if (data[cut] & 0xC0) == 0x80 and cut > state[1] + 1:
                cut -= 1
        if state[0] < len(out_places):
            out_places[state[0]] = cut
            out_ranks[state[0]] = FORCED
        state[0] += 1
        state[1] = cut
    if place < len(data):
        if state[0] < len(out_places):
            out_places[state[0]] = place
            out_ranks[state[0]] = rank
        state[0] += 1
        state[1] = place


@njit(**KERNEL)
def find_breaks_kernel(data, max_piece, out_places, out_ranks):
    """Places where a piece of the text begins, the text's start left out, ascending; returns how many.

    data: uint8 (B,), any bytes. max_piece: most bytes between two places, 8 or more. out_places: int64 (P,), out_ranks: int8 (P,); with P = 0
    they are only counted. A line begins a piece unless it is blank: HEADING, PARAGRAPH below a blank line, SENTENCE below a line that ends
    with . ! or ?, else LINE. Inside a line a piece begins behind the blanks that follow . ! or ?. Blank lines end the piece before them.
    Example: of b"One. Two\\n\\nThree" the places are 5 (SENTENCE) and 10 (PARAGRAPH).
    """
    state = np.zeros(2, np.int64)
    start = 0
    is_blank_above, is_stop_above = False, False
    while start < len(data):
        end = _line_end(data, start)
        if _is_blank(data, start, end):
            is_blank_above = True
            start = end
            continue
        if start > 0:
            rank = LINE
            if is_stop_above:
                rank = SENTENCE
            if is_blank_above:
                rank = PARAGRAPH
            is_alone = is_blank_above and _is_blank(data, end, _line_end(data, end))
            if _is_marked_heading(data, start, end) or (is_alone and _is_capitals(data, start, end)):
                rank = HEADING
            _emit(data, state, start, rank, max_piece, out_places, out_ranks)
        place = start
        while place < end:
            if not _is_stop(data[place]):
                place += 1
                continue
            after = place + 1
            while after < end and _is_closing(data[after]):
                after += 1
            begin = after
            while begin < end and (data[begin] == 32 or data[begin] == 9):
                begin += 1
            if begin > after and begin < end and not _is_white(data[begin]):
                _emit(data, state, begin, SENTENCE, max_piece, out_places, out_ranks)
                place = begin
            else:
                place += 1
        is_blank_above, is_stop_above = False, _ends_sentence(data, start, end)
        start = end
    _emit(data, state, len(data), FORCED, max_piece, out_places, out_ranks)
    return state[0]
