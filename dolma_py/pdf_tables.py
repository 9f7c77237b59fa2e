"""Tables of a page, found by where their cells stand, as HTML; two columns that a file has row by row, one after the other.

A table is a run of rows of which at least three have three cells or more that fall into the same columns; nothing is asked of ruled
lines, which many tables do not have. Rows with fewer cells belong to it while they keep to its columns. Above the first such row a cell
that stands over several columns, nearer to them than its neighbours do, spans them.
"""

from __future__ import annotations

import html
import math
import re
from typing import NamedTuple

from dolma_py.pdf_layout import Glyph, Line, make_line, mend_accents, split_lines

CELL_GAP = 0.7  # of a line's height: a wider gap is between cells
LEAST_CELLS = 3  # in a row that tells of a table
LEAST_ROWS = 3  # of that kind
ROW_GAP = 3.0  # of a row's height: what is further below is another thing
MAX_CELL_WORDS = 8  # on average; more is prose in columns
LONG_CELL_WORDS = 12  # a row with such a cell is a line of text
ALIGNED_SHARE = (
    0.8  # of the cells of such rows that have a column to themselves, and of the columns that the fullest row fills
)
BODY_SHARE = 0.9  # of the cells of the fullest row: such a row tells where the columns are
COLUMN_ROWS = 6
COLUMN_WORDS = 3
ROWS_BACK = 3  # among which a line looks for its row
COLUMN_GAP = 1.5  # points without ink between two columns
_LEADER = re.compile(r"\.{5}")
_SLANTED = (0.2, 0.98)  # sine of the angle of text that is neither level nor upright


class Cell(NamedTuple):
    """What stands together in one row."""

    text: str
    x0: float
    x1: float


class Row(NamedTuple):
    """Lines of the page at one height."""

    cells: list[Cell]
    lines: list[Line]
    y0: float
    y1: float


def arrange_page(glyphs: list[Glyph], *, tables: bool = True) -> list[Line]:
    """The page's lines in reading order, tables as one line each.

    glyphs : in pdfium's order, ends of lines included
    """
    lines = [mend_accents(glyphs) for glyphs in split_lines(glyphs)]
    lines = [line for line in lines if make_line(line).text]
    if not tables:
        return [make_line(line) for line in lines]
    found: list[Line] = []
    rows = group_rows(lines)
    at = 0
    while at < len(rows):
        end = _find_end(rows, at)
        table = _make_table(rows[at:end]) if end > at else None
        if table is not None:
            found.append(table)
            at = end
            continue
        columns, end = read_columns(rows, at)
        found += columns or rows[at].lines
        at = end if columns else at + 1
    return found


def read_columns(rows: list[Row], start: int) -> tuple[list[Line], int]:
    """(lines of two columns of prose that the file has row by row, the left column first; the row after them); no lines where none begin.

    Such are COLUMN_ROWS rows or more of two cells with one white gutter between them, of COLUMN_WORDS words on average on each side.
    """
    gutter = (0.0, math.inf)
    end = start
    while end < len(rows) and len(rows[end].cells) == 2:
        left, right = sorted(rows[end].cells, key=lambda cell: cell.x0)
        narrower = (max(gutter[0], left.x1), min(gutter[1], right.x0))
        if narrower[1] - narrower[0] < COLUMN_GAP or (end > start and rows[end].y1 > rows[end - 1].y1):
            break
        gutter = narrower
        end += 1
    sides = [[sorted(row.cells, key=lambda cell: cell.x0)[side] for row in rows[start:end]] for side in (0, 1)]
    words = [sum(len(cell.text.split()) for cell in cells) for cells in sides]
    if end - start < COLUMN_ROWS or min(words) < COLUMN_WORDS * (end - start):
        return [], start
    boxes = [(row.y0, row.y1) for row in rows[start:end]]
    return [
        Line(cell.text, cell.x0, y0, cell.x1, y1)
        for cells in sides
        for cell, (y0, y1) in zip(cells, boxes, strict=True)
    ], end  # fmt: skip


def group_rows(lines: list[list[Glyph]]) -> list[Row]:
    """Rows of the page: a line to the right of one of the last rows, at its height, belongs to that row."""
    rows: list[Row] = []
    for glyphs in lines:
        line, cells = make_line(glyphs), split_cells(glyphs)
        for back in range(1, min(ROWS_BACK, len(rows)) + 1):
            row = rows[-back]
            if _is_beside(line, row):
                y0, y1 = min(row.y0, line.y0), max(row.y1, line.y1)
                rows[-back] = Row(row.cells + cells, [*row.lines, line], y0, y1)
                break
        else:
            rows.append(Row(cells, [line], line.y0, line.y1))
    return rows


def _is_beside(line: Line, row: Row) -> bool:
    left = row.lines[-1]
    overlap = left.x1 - line.x0  # slanted headings reach over each other
    if line.x0 <= left.x0 or overlap >= 0.3 * (line.x1 - line.x0):
        return False
    has_same_foot = abs(line.y0 - left.y0) < 0.2 * min(line.y1 - line.y0, left.y1 - left.y0)
    return has_same_foot or left.y0 < (line.y0 + line.y1) / 2 < left.y1


def split_cells(glyphs: list[Glyph]) -> list[Cell]:
    """A line cut at its wide gaps; one whole where dots lead from a title to a page number, or nothing but signs is on it."""
    ink = [glyph for glyph in glyphs if not glyph.is_made and not glyph.text.isspace()]
    if not ink:
        return []
    heights = sorted(glyph.y1 - glyph.y0 for glyph in ink if glyph.text.isalnum())
    if not heights or _LEADER.search("".join(glyph.text for glyph in ink)):
        return [_make_cell(glyphs)]
    gap = CELL_GAP * heights[len(heights) * 3 // 4]  # dots and dashes are low, and say nothing of the font
    cells: list[Cell] = []
    group: list[Glyph] = []
    right = ink[0].x0
    for glyph in glyphs:
        is_ink = not glyph.is_made and not glyph.text.isspace()
        if is_ink and group and glyph.x0 - right > gap:
            cells.append(_make_cell(group))
            group = []
        group.append(glyph)
        if is_ink:
            right = glyph.x1
    cells.append(_make_cell(group))
    return cells


def _make_cell(glyphs: list[Glyph]) -> Cell:
    line = make_line(glyphs)
    ink = [glyph for glyph in glyphs if not glyph.is_made]
    if len(ink) > 1 and all(_SLANTED[0] < abs(math.sin(glyph.angle)) < _SLANTED[1] for glyph in ink):
        return Cell(line.text, line.x0, min(line.x1, line.x0 + ink[0].x1 - ink[0].x0))  # it stands where it begins
    return Cell(line.text, line.x0, line.x1)


def _find_end(rows: list[Row], start: int) -> int:
    """Where a run of rows that may be a table ends; `start` when none begins here."""
    if len(rows[start].cells) < LEAST_CELLS:
        return start
    end = last_wide = start
    while end + 1 < len(rows):
        above, below = rows[end], rows[end + 1]
        gap = above.y0 - below.y1
        if not -0.5 * (above.y1 - above.y0) <= gap <= ROW_GAP * (below.y1 - below.y0):
            break
        if any(len(cell.text.split()) > LONG_CELL_WORDS for cell in below.cells):
            break
        end += 1
        if len(below.cells) >= LEAST_CELLS:
            last_wide = end
        elif end - last_wide > 2:
            break
    return last_wide + 1


def _make_table(rows: list[Row]) -> Line | None:
    """The rows as one HTML table; None when they make none."""
    wide = [row for row in rows if len(row.cells) >= LEAST_CELLS]
    most = max(len(row.cells) for row in wide)
    body = [row for row in wide if len(row.cells) >= BODY_SHARE * most]
    words = sum(len(cell.text.split()) for row in body for cell in row.cells)
    if len(body) < LEAST_ROWS or words > MAX_CELL_WORDS * sum(len(row.cells) for row in body):
        return None
    columns = _find_columns(body)
    num_placed = [len(_place(row, columns)) for row in body]
    is_aligned = sum(num_placed) >= ALIGNED_SHARE * sum(len(row.cells) for row in body) and most >= ALIGNED_SHARE * len(
        columns
    )
    if not is_aligned or sum(number >= LEAST_CELLS for number in num_placed) < LEAST_ROWS:
        return None
    first = next(number for number, row in enumerate(rows) if any(row is other for other in body))
    is_header = [number < first or not _has_digit(row) for number, row in enumerate(rows)]
    num_header = is_header.index(False) if False in is_header else len(rows)
    parts = ["<table>"]
    for number, row in enumerate(rows):
        placed = _span_header(row, columns) if number < first else _place(row, columns)
        parts.append(_render_row(placed, len(columns), "th" if number < num_header else "td"))
    parts.append("</table>")
    boxes = [line for row in rows for line in row.lines]
    return Line(
        "\n".join(parts), min(b.x0 for b in boxes), min(b.y0 for b in boxes), max(b.x1 for b in boxes), max(b.y1 for b in boxes), "table"
    )  # fmt: skip


def _has_digit(row: Row) -> bool:
    return any(letter.isdigit() for cell in row.cells for letter in cell.text)


def _find_columns(rows: list[Row]) -> list[tuple[float, float]]:
    """Ranges of x with ink in some row; the white between them is white in all."""
    spans = sorted((cell.x0, cell.x1) for row in rows for cell in row.cells)
    columns = [spans[0]]
    for x0, x1 in spans[1:]:
        if x0 - columns[-1][1] > COLUMN_GAP:
            columns.append((x0, x1))
        else:
            columns[-1] = (columns[-1][0], max(columns[-1][1], x1))
    return columns


def _columns_of(cell: Cell, columns: list[tuple[float, float]]) -> tuple[int, int]:
    """(first column, number of columns) that the cell lies over; a cell between two belongs to the nearer one."""
    over = [number for number, (x0, x1) in enumerate(columns) if cell.x0 < x1 and cell.x1 > x0]
    if over:
        return over[0], over[-1] - over[0] + 1
    middle = (cell.x0 + cell.x1) / 2
    return min(range(len(columns)), key=lambda number: abs(sum(columns[number]) / 2 - middle)), 1


def _place(row: Row, columns: list[tuple[float, float]]) -> list[tuple[int, int, str]]:
    """(column, span, text) of each cell, in order; cells that meet in a column become one."""
    placed: list[tuple[int, int, str]] = []
    for cell in sorted(row.cells, key=lambda cell: cell.x0):
        column, span = _columns_of(cell, columns)
        if placed and column < placed[-1][0] + placed[-1][1]:
            before = placed.pop()
            span = max(before[0] + before[1], column + span) - before[0]
            placed.append((before[0], span, f"{before[2]} {cell.text}"))
        else:
            placed.append((column, span, cell.text))
    return placed


def _span_header(row: Row, columns: list[tuple[float, float]]) -> list[tuple[int, int, str]]:
    """As _place for a row above the body: each column goes to the cell whose middle is nearest, if it is near enough."""
    cells = sorted(row.cells, key=lambda cell: cell.x0)
    if len(cells) < 2:
        return _place(row, columns)
    middles = [(cell.x0 + cell.x1) / 2 for cell in cells]
    reach = [
        min(abs(middle - other) for other in middles if other != middle or len(set(middles)) == 1) / 2
        for middle in middles
    ]
    groups: list[list[int]] = [[] for _ in cells]
    for column, (x0, x1) in enumerate(columns):
        middle = (x0 + x1) / 2
        near = min(range(len(cells)), key=lambda number: abs(middles[number] - middle))
        if abs(middles[near] - middle) <= reach[near]:
            groups[near].append(column)
    if any(not group for group in groups):
        return _place(row, columns)
    return [(group[0], group[-1] - group[0] + 1, cell.text) for group, cell in zip(groups, cells, strict=True)]


def _render_row(placed: list[tuple[int, int, str]], num_columns: int, tag: str) -> str:
    parts = []
    at = 0
    for column, span, text in placed:
        parts += [f"<{tag}></{tag}>"] * (column - at)
        spans = f' colspan="{span}"' if span > 1 else ""
        parts.append(f"<{tag}{spans}>{html.escape(text, quote=False)}</{tag}>")
        at = column + span
    parts += [f"<{tag}></{tag}>"] * (num_columns - at)
    return "<tr>" + "".join(parts) + "</tr>"
