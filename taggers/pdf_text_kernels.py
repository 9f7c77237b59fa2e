"""Lines of text that came out of a PDF: pipes and digits in them, and references to URLs.

Legend: N documents, B bytes of all texts, S spans. A line counts if anything but white space stands in it.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import character_class_kernel, decode_kernel, lower_ascii_kernel
from taggers.characters import SPACE_BIT

# columns of out_counts, then those of out_sums
LINES, PIPE_LINES, PIPE_START_LINES, CHARS, DIGITS = range(5)
NUM_COUNTS = 5
_MAX_LINK_BYTES = 2000
_SCHEMES = np.frombuffer(b"https://http://ftp://www.mailto:", np.uint8)
_SCHEME_ENDS = np.array([0, 8, 15, 21, 25, 32], np.int64)
_NUM_BARE = 4  # of the schemes, those that begin a URL in running text


@njit(**KERNEL)
def count_pdf_lines_kernel(data, offsets, table, out_counts, out_sums):
    """Fill one row of counts per document, and the sum over its lines of each line's share of digits.

    data : uint8 (B,), offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    table : uint8 (TABLE_SIZE,)                    taggers.characters.character_table
    out_counts : int64 (N, 5)                      lines, lines that hold "|", lines that begin with it, characters that are not white space,
                                                   digits (of ASCII) among them
    out_sums : float64 (N,)                        digits over characters, white space left out, added up in the order of lines

    "|a|\\n\\n 12" -> (2, 1, 1, 5, 2) and 1.0
    """
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        lines = pipe_lines = start_lines = all_chars = all_digits = np.int64(0)
        total = 0.0
        chars = digits = pipes = np.int64(0)
        starts = False
        while at <= end:
            code, width = (10, 1) if at == end else decode_kernel(data, at, end)
            at += width
            if code == 10:
                if chars > 0:
                    lines += 1
                    pipe_lines += pipes > 0
                    start_lines += starts
                    all_chars += chars
                    all_digits += digits
                    total += digits / chars
                chars = digits = pipes = np.int64(0)
                starts = False
                continue
            if character_class_kernel(table, code) & SPACE_BIT:
                continue
            if code == 124:
                pipes += 1
                starts = starts or chars == 0
            chars += 1
            digits += 48 <= code <= 57
        out_counts[row, LINES] = lines
        out_counts[row, PIPE_LINES] = pipe_lines
        out_counts[row, PIPE_START_LINES] = start_lines
        out_counts[row, CHARS] = all_chars
        out_counts[row, DIGITS] = all_digits
        out_sums[row] = total


@njit(inline="always", **KERNEL_INNER)
def _is_alnum(byte):
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


@njit(**KERNEL_INNER)
def _scheme_end(data, at, end, num_schemes):
    """Behind the scheme of a URL at data[at], case aside; -1 for none."""
    for number in range(num_schemes):
        low, high = _SCHEME_ENDS[number], _SCHEME_ENDS[number + 1]
        same = 0
        while low + same < high and at + same < end:
            if lower_ascii_kernel(data[at + same]) != _SCHEMES[low + same]:
                break
            same += 1
        if low + same == high:
            return np.int64(at + same)
    return np.int64(-1)


@njit(inline="always", **KERNEL_INNER)
def _may_stand_in_url(byte):
    return 33 <= byte <= 126 and byte != 60 and byte != 62 and byte != 34 and byte != 96 and byte != 124 and byte != 92


@njit(**KERNEL_INNER)
def _url_end(data, at, end):
    """Behind the URL in running text at data[at], without the punctuation that closes the sentence around it; -1 for none."""
    start = _scheme_end(data, at, end, _NUM_BARE)
    if start < 0:
        return np.int64(-1)
    stop = start
    opened = np.zeros(3, np.int64)  # brackets that were opened and not closed: round, square, curly
    while stop < end and _may_stand_in_url(data[stop]):
        byte = data[stop]
        kind = 0 if byte == 40 or byte == 41 else 1 if byte == 91 or byte == 93 else 2
        if byte == 40 or byte == 91 or byte == 123:
            opened[kind] += 1
        elif byte == 41 or byte == 93 or byte == 125:
            opened[kind] -= 1
            if opened[kind] < 0:  # it closes what was opened before the URL
                break
        stop += 1
    while stop > start and data[stop - 1] in (33, 39, 42, 44, 46, 58, 59, 63, 95):
        stop -= 1
    return stop if stop > start else np.int64(-1)


@njit(**KERNEL_INNER)
def _target_end(data, at, end):
    """Behind the ")" that closes a link whose target starts at data[at]; -1 for none. A title in quotes may stand behind the target."""
    depth = 0
    while at < end:
        byte = data[at]
        if byte == 40:
            if depth == 1:
                return np.int64(-1)
            depth = 1
        elif byte == 41:
            if depth == 0:
                return np.int64(at + 1)
            depth = 0
        elif byte <= 32 or byte == 60 or byte == 62:
            break
        at += 1
    if depth == 1 or at >= end or (data[at] != 32 and data[at] != 9):
        return np.int64(-1)
    while at < end and (data[at] == 32 or data[at] == 9):
        at += 1
    if at >= end or data[at] != 34:
        return np.int64(-1)
    at += 1
    while at < end and data[at] != 34 and data[at] != 10:
        at += 1
    return np.int64(at + 2) if at + 1 < end and data[at] == 34 and data[at + 1] == 41 else np.int64(-1)


@njit(**KERNEL_INNER)
def _link_parts(data, at, end):
    """(position of "]", behind the link) of "[text](target)" at data[at]; (-1, -1) for none. The text is of one line without brackets."""
    stop = at + 1
    limit = min(end, at + _MAX_LINK_BYTES)
    while stop < limit and data[stop] != 91 and data[stop] != 93 and data[stop] != 10:
        stop += 1
    if stop + 1 >= limit or data[stop] != 93 or data[stop + 1] != 40:
        return np.int64(-1), np.int64(-1)
    behind = _target_end(data, stop + 2, limit)
    return (np.int64(stop), behind) if behind >= 0 else (np.int64(-1), np.int64(-1))


@njit(**KERNEL)
def find_url_references_kernel(data, offsets, first_row, out_offsets, out_starts, out_ends):
    """Fill the spans of documents from first_row on; returns the first row that did not fit, N when all did.

    What a text keeps when they are cut: of "[text](URL)" the text; of images, "<URL>" and URLs in running text nothing.

    data : uint8 (B,), offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    out_offsets : int64 (N + 1,)                   document i has spans out_offsets[i]:out_offsets[i + 1]; [first_row] is given
    out_starts, out_ends : int64 (S,)              bytes from the text's own start

    "see [x](http://a.b)" -> [4, 5) and [6, 19)
    """
    capacity = len(out_starts)
    for row in range(first_row, len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        at = begin
        written = out_offsets[row]
        close = behind = np.int64(-1)  # of the link whose text the sweep is in
        while at < end:
            byte = data[at]
            start, stop = at, np.int64(-1)
            if at == close:
                stop = behind
                close = np.int64(-1)
            elif byte == 33 and at + 1 < end and data[at + 1] == 91:  # "!["
                stop = _link_parts(data, at + 1, end)[1]
            elif byte == 91 and close < 0:
                place, after = _link_parts(data, at, end)
                if place >= 0 and _scheme_end(data, place + 2, end, len(_SCHEME_ENDS) - 1) >= 0:
                    stop, close, behind = np.int64(at + 1), place, after
            elif byte == 60:
                inner = _url_end(data, at + 1, end)
                stop = inner + 1 if inner >= 0 and inner < end and data[inner] == 62 else np.int64(-1)
            elif (byte | 0x20) in (102, 104, 119) and not (
                at > begin and (_is_alnum(data[at - 1]) or data[at - 1] == 95)
            ):
                stop = _url_end(data, at, end)
                if close >= 0 and stop > close:
                    stop = np.int64(-1)
            if stop < 0:
                at += 1
                continue
            if written == capacity:
                return row
            out_starts[written] = start - begin
            out_ends[written] = stop - begin
            written += 1
            at = stop
        out_offsets[row + 1] = written
    return np.int64(len(offsets) - 1)
