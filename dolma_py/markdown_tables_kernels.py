"""Kernels over markdown tables: where they stand, and the same as HTML.

Legend: N documents, B bytes of all texts, T tables. A table is a row of cells, a delimiter row ("|---|:-:|") with as many cells, and the rows
behind it that hold a "|" (GitHub Flavored Markdown, section 4.10); rows stand in lines, "\\|" is no border, and code in fences holds no table.
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
        while low < high:
            if data[low] == 92 and low + 1 < high and data[low + 1] == 124:  # "\|" is a bar
                low += 1
            out[at] = data[low]
            low, at = low + 1, at + 1
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
    out_data : uint8      room for the texts and 16 bytes for each "|" and 64 for each line; out_offsets : int64 (N + 1,)

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
