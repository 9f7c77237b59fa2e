"""Kernels over markdown tables: where they stand, and the same as HTML.

Legend: N documents, B bytes of all texts, T tables. A table is a row of cells, a delimiter row ("|---|:-:|") with as many cells, and the rows
behind it that hold a "|" (GitHub Flavored Markdown, section 4.10); rows stand in lines, "\\|" is no border, and code in fences holds no table.
What is HTML in a cell is told from text by sections 6.3 (code), 6.10 (tags) and 6.2 (references) of the same.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from dolma_py import numba_options

# isort: split
import numba
import numpy as np


@numba.njit(**numba_options.KERNEL_INNER)
def _trim(data: Any, start: int, end: int) -> tuple[int, int]:
    while start < end and (data[start] == 32 or data[start] == 9):
        start += 1
    while end > start and (data[end - 1] == 32 or data[end - 1] == 9 or data[end - 1] == 13):
        end -= 1
    return start, end


@numba.njit(**numba_options.KERNEL_INNER)
def _next_border(data: Any, at: int, end: int) -> int:
    """The next "|" that no backslash hides, `end` for none."""
    while at < end and data[at] != 124:
        at += 2 if data[at] == 92 else 1
    return min(at, end)


@numba.njit(**numba_options.KERNEL_INNER)
def _row_bounds(data: Any, start: int, end: int) -> tuple[int, int]:
    """The row without white space and without its outer borders; (start, start - 1) where it holds no border at all."""
    start, end = _trim(data, start, end)
    if _next_border(data, start, end) == end:
        return start, start - 1
    if data[start] == 124:
        start += 1
    closes = False  # the last border closes the row if nothing stands behind it
    at = start
    while at < end:
        border = _next_border(data, at, end)
        closes = border == end - 1
        at = border + 1
    return start, end - closes


@numba.njit(**numba_options.KERNEL_INNER)
def _count_cells(data: Any, start: int, end: int) -> int:
    """Cells of the line, 0 where it holds no border."""
    start, end = _row_bounds(data, start, end)
    if end < start:
        return 0
    cells = 1
    at = _next_border(data, start, end)
    while at < end:
        cells += 1
        at = _next_border(data, at + 1, end)
    return cells


@numba.njit(**numba_options.KERNEL_INNER)
def _count_delimiters(data: Any, start: int, end: int) -> int:
    """Cells of a delimiter row: each is dashes, with ":" before or behind; 0 for any other line."""
    start, end = _row_bounds(data, start, end)
    if end < start:
        return 0
    cells = 0
    while True:
        stop = _next_border(data, start, end)
        low, high = _trim(data, start, stop)
        if low < high and data[low] == 58:
            low += 1
        if low < high and data[high - 1] == 58:
            high -= 1
        if low == high:
            return 0
        for i in range(low, high):
            if data[i] != 45:
                return 0
        cells += 1
        if stop >= end:
            return cells
        start = stop + 1


@numba.njit(**numba_options.KERNEL_INNER)
def _line_end(data: Any, at: int, end: int) -> int:
    while at < end and data[at] != 10:
        at += 1
    return at


@numba.njit(**numba_options.KERNEL_INNER)
def _is_fence(data: Any, start: int, end: int) -> bool:
    start, end = _trim(data, start, end)
    return (
        end - start >= 3
        and (data[start] == 96 or data[start] == 126)
        and data[start + 1] == data[start]
        and data[start + 2] == data[start]
    )


@numba.njit(**numba_options.KERNEL)
def find_tables_kernel(data: Any, offsets: Any, out_offsets: Any, out_starts: Any, out_ends: Any) -> int:
    """Fill the spans of tables, from the first byte of the first row to the last of the last row; returns T.

    data : uint8 (B,), offsets : int64 (N + 1,)     text i is data[offsets[i]:offsets[i + 1]]
    out_offsets : int64 (N + 1,)                    document i has spans out_offsets[i]:out_offsets[i + 1]
    out_starts, out_ends : int64                    room for a table in every second line; bytes from the text's own start

    "|a|\\n|-|\\nx" -> [0, 7)
    """
    written = 0
    out_offsets[0] = 0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        at = begin
        in_fence = False
        while at < end:
            line_end, has_border = at, False
            while line_end < end and data[line_end] != 10:
                has_border = has_border or data[line_end] == 124
                line_end += 1
            if _is_fence(data, at, line_end):
                in_fence = not in_fence
            elif has_border and not in_fence and line_end < end:
                cells = _count_cells(data, at, line_end)
                below = _line_end(data, line_end + 1, end)
                if cells > 0 and _count_delimiters(data, line_end + 1, below) == cells:
                    stop = below
                    while stop < end:
                        following = _line_end(data, stop + 1, end)
                        if _count_cells(data, stop + 1, following) == 0 or _is_fence(data, stop + 1, following):
                            break
                        stop = following
                    out_starts[written] = at - begin
                    out_ends[written] = stop - begin
                    written += 1
                    line_end = stop
            at = line_end + 1
        out_offsets[row + 1] = written
    return written


@numba.njit(**numba_options.KERNEL_INNER)
def _put(out: Any, at: Any, text: Any) -> Any:
    for byte in text:
        out[at] = byte
        at += 1
    return at


_TABLE, _TABLE_END = np.frombuffer(b"<table>\n", np.uint8), np.frombuffer(b"</table>", np.uint8)
_ROW, _ROW_END = np.frombuffer(b"<tr>", np.uint8), np.frombuffer(b"</tr>\n", np.uint8)
_CELL, _CELL_END = np.frombuffer(b"<td>", np.uint8), np.frombuffer(b"</td>", np.uint8)
_HEAD, _HEAD_END = np.frombuffer(b"<th>", np.uint8), np.frombuffer(b"</th>", np.uint8)


MAX_MARKUP_BYTES = 1_000  # of a tag or a code span; what is longer is text, so that time stays linear
_LT, _GT, _AMP = np.frombuffer(b"&lt;", np.uint8), np.frombuffer(b"&gt;", np.uint8), np.frombuffer(b"&amp;", np.uint8)


@numba.njit(**numba_options.KERNEL_INNER)
def _is_letter(byte: int) -> bool:
    return 97 <= (byte | 32) <= 122


@numba.njit(**numba_options.KERNEL_INNER)
def _is_name(byte: int) -> bool:
    """Letters, digits and "-"."""
    return _is_letter(byte) or 48 <= byte <= 57 or byte == 45


@numba.njit(**numba_options.KERNEL_INNER)
def _skip_blanks(data: Any, at: int, end: int) -> int:
    while at < end and (data[at] == 32 or data[at] == 9):
        at += 1
    return at


@numba.njit(**numba_options.KERNEL_INNER)
def _value_end(data: Any, at: int, end: int) -> int:
    """Behind an attribute's value, in quotes or not; 0 where none stands."""
    if at < end and (data[at] == 34 or data[at] == 39):
        quote = data[at]
        at += 1
        while at < end and data[at] != quote:
            at += 1
        return at + 1 if at < end else 0
    start = at
    # a space, a tab, and any of "'<=>`
    while at < end and data[at] not in (32, 9, 34, 39, 60, 61, 62, 96):
        at += 1
    return at if at > start else 0


@numba.njit(**numba_options.KERNEL_INNER)
def _tag_end(data: Any, start: int, end: int) -> Any:
    """Behind the tag or comment that begins with the "<" at `start`; 0 where none does."""
    end = min(end, start + MAX_MARKUP_BYTES)
    at = start + 1
    if at + 2 < end and data[at] == 33 and data[at + 1] == 45 and data[at + 2] == 45:
        for at in range(start + 4, end - 2):
            if data[at] == 45 and data[at + 1] == 45 and data[at + 2] == 62:
                return at + 3
        return 0
    closes = at < end and data[at] == 47
    at += closes
    if at >= end or not _is_letter(data[at]):
        return 0
    while at < end and _is_name(data[at]):
        at += 1
    while True:
        blank = at
        at = _skip_blanks(data, at, end)
        if at < end and data[at] == 62:
            return at + 1
        if closes or at >= end:
            return 0
        if data[at] == 47:
            return at + 2 if at + 1 < end and data[at + 1] == 62 else 0
        # an attribute: a letter, "_" or ":", then the same, digits, "." and "-"
        if at == blank or not (_is_letter(data[at]) or data[at] == 95 or data[at] == 58):
            return 0
        while at < end and (_is_name(data[at]) or data[at] in (95, 58, 46)):
            at += 1
        sign = _skip_blanks(data, at, end)
        if sign < end and data[sign] == 61:
            at = _value_end(data, _skip_blanks(data, sign + 1, end), end)
            if at == 0:
                return 0


@numba.njit(**numba_options.KERNEL_INNER)
def _is_reference(data: Any, start: int, end: int) -> bool:
    """Whether the "&" at `start` begins a character reference. Names are not looked up: any of up to 32 letters and digits counts."""
    at = start + 1
    most, is_number, is_hex = 32, False, False
    if at < end and data[at] == 35:
        at, most, is_number = at + 1, 7, True
        if at < end and data[at] | 32 == 120:
            at, most, is_hex = at + 1, 6, True
    elif at >= end or not _is_letter(data[at]):
        return False
    first = at
    while at < end and at - first <= most:
        byte = data[at]
        is_digit = 48 <= byte <= 57
        if not (is_digit or (not is_number and _is_letter(byte)) or (is_hex and 97 <= byte | 32 <= 102)):
            break
        at += 1
    return first < at <= first + most and at < end and data[at] == 59


@numba.njit(**numba_options.KERNEL_INNER)
def _run_end(data: Any, at: int, end: int) -> int:
    """Behind a run of backticks."""
    while at < end and data[at] == 96:
        at += 1
    return at


@numba.njit(**numba_options.KERNEL_INNER)
def _code_end(data: Any, start: int, end: int) -> Any:
    """Behind the code that the run of backticks at `start` opens, its closing run included; `start` where nothing closes it."""
    opened = _run_end(data, start, end)
    limit = min(end, start + MAX_MARKUP_BYTES)
    at = opened
    while at < limit:
        if data[at] != 96:
            at += 1
            continue
        run = at
        at = _run_end(data, at, end)
        if at - run == opened - start:
            return at
    return start


@numba.njit(**numba_options.KERNEL_INNER)
def _put_text(out: Any, at: Any, byte: int) -> Any:
    """One byte of text as HTML."""
    if byte == 60:
        return _put(out, at, _LT)
    if byte == 62:
        return _put(out, at, _GT)
    if byte == 38:
        return _put(out, at, _AMP)
    out[at] = byte
    return at + 1


@numba.njit(**numba_options.KERNEL_INNER)
def _write_cell(data: Any, low: int, high: int, out: Any, at: Any) -> Any:
    """A cell: tags, comments and character references as they are, "<", ">" and "&" of text and of code escaped, "\\|" as "|"."""
    code_end = low  # before it stands code
    while low < high:
        byte = data[low]
        if byte == 92 and low + 1 < high and data[low + 1] == 124:
            out[at] = 124
            at, low = at + 1, low + 2
        elif low < code_end:
            at, low = _put_text(out, at, byte), low + 1
        elif byte == 92 and low + 1 < high:  # what a backslash hides begins nothing
            out[at] = byte
            at, low = _put_text(out, at + 1, data[low + 1]), low + 2
        elif byte == 96:
            code_end = _code_end(data, low, high)
            run_end = _run_end(data, low, high)
            at, low = _put(out, at, data[low:run_end]), run_end
        elif byte == 60 and _tag_end(data, low, high) > 0:
            tag_end = _tag_end(data, low, high)
            while low < tag_end:
                low += low + 1 < tag_end and data[low] == 92 and data[low + 1] == 124
                out[at] = data[low]
                at, low = at + 1, low + 1
        elif byte == 38 and _is_reference(data, low, high):
            out[at] = byte
            at, low = at + 1, low + 1
        else:
            at, low = _put_text(out, at, byte), low + 1
    return at


@numba.njit(**numba_options.KERNEL_INNER)
def _write_row(data: Any, start: int, end: int, is_head: bool, out: Any, at: Any) -> Any:
    """One row as HTML, with the cells that it has."""
    start, end = _row_bounds(data, start, end)
    at = _put(out, at, _ROW)
    is_first = True
    while is_first or start <= end:
        stop = _next_border(data, start, end)
        low, high = _trim(data, start, stop)
        at = _put(out, at, _HEAD if is_head else _CELL)
        at = _write_cell(data, low, high, out, at)
        at = _put(out, at, _HEAD_END if is_head else _CELL_END)
        is_first = False
        start = stop + 1
    return _put(out, at, _ROW_END)


@numba.njit(**numba_options.KERNEL)
def write_tables_kernel(
    data: Any, offsets: Any, span_offsets: Any, starts: Any, ends: Any, out_data: Any, out_offsets: Any
) -> Any:
    """Copy every text with its tables as HTML; returns the bytes written.

    data, offsets as in find_tables_kernel, and the spans that it found
    out_data : uint8      room for the texts, 16 bytes for each "|", 64 for each line and 4 for each of "<>&"; out_offsets : int64 (N + 1,)

    "|a|\\n|-|\\n|b|\\nx" -> "<table>\\n<tr><th>a</th></tr>\\n<tr><td>b</td></tr>\\n</table>\\nx"
    """
    at = 0
    out_offsets[0] = 0
    for row in range(len(offsets) - 1):
        position = offsets[row]
        for table in range(span_offsets[row], span_offsets[row + 1]):
            start, end = offsets[row] + starts[table], offsets[row] + ends[table]
            at = _put(out_data, at, data[position:start])
            at = _put(out_data, at, _TABLE)
            line_end = _line_end(data, start, end)
            at = _write_row(data, start, line_end, True, out_data, at)
            line = _line_end(data, line_end + 1, end) + 1  # behind the delimiter row
            while line < end:
                line_end = _line_end(data, line, end)
                at = _write_row(data, line, line_end, False, out_data, at)
                line = line_end + 1
            at = _put(out_data, at, _TABLE_END)
            position = end
        at = _put(out_data, at, data[position : offsets[row + 1]])
        out_offsets[row + 1] = at
    return at
