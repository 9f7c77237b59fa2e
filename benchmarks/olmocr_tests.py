"""The tests of olmOCR-bench (arXiv 2502.18443, 5) on a page's text: present, absent, order, table, math. Scored by our own code.

Where it differs from the benchmark's: distances are edit distances (there: a ratio of insertions and deletions), a heading is a `th`
above or left, or the outermost cell (there: by relations of cells), and formulas must be equal as LaTeX, white space aside (there: as
pictures of KaTeX). With no differences allowed, as in most tests, the first comes to the same.
"""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

Test = dict[str, Any]
_SIGNS = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"', "\uff3f": "_", "\u2013": "-",
    "\u2014": "-", "\u2011": "-", "\u2012": "-", "\u2212": "-", "\u00b5": "\u03bc",
})  # fmt: skip
_FORMULAS = (r"\\\((.+?)\\\)", r"\\\[(.+?)\\\]", r"\$\$(.+?)\$\$", r"\$(.+?)\$")


def load_tests(path: Path) -> list[Test]:
    """The tests of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def normalise(text: str) -> str:
    """White space to single spaces, marks of emphasis gone, NFC, typographic quotes and dashes to plain ones."""
    text = re.sub(r"<br/?>", " ", text)
    text = re.sub(r"</?[bi]>", "", text)
    for mark in (r"\*\*", "__", r"\*", "_"):
        text = re.sub(f"{mark}(.*?){mark}", r"\1", text)
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", text)).translate(_SIGNS)


def passes(test: Test, text: str) -> bool:
    """Whether a page's text passes one test. KeyError for a kind that is not known."""
    return {"present": _present, "absent": _absent, "order": _order, "table": _table, "math": _math}[test["type"]](
        test, text
    )


def find_near(query: str, text: str, max_diffs: int) -> list[int]:
    """Where the query ends in the text with at most max_diffs insertions, deletions and replacements (Sellers' algorithm)."""
    if max_diffs == 0:
        return [match.end() for match in re.finditer(re.escape(query), text)]
    letters = np.array([ord(letter) for letter in text], np.int64)
    row = np.zeros(len(text) + 1, np.int64)  # of the empty query: it ends anywhere at no cost
    steps = np.arange(len(text) + 1)
    for number, letter in enumerate(query, 1):
        new = np.empty_like(row)
        new[0] = number
        new[1:] = np.minimum(row[:-1] + (letters != ord(letter)), row[1:] + 1)
        row = np.minimum.accumulate(new - steps) + steps  # a letter of the text left out
    return np.flatnonzero(row <= max_diffs).tolist()


def _present(test: Test, text: str) -> bool:
    return bool(find_near(normalise(test["text"]), normalise(text), test.get("max_diffs", 0)))


def _absent(test: Test, text: str) -> bool:
    return not _present(test, text)


def _order(test: Test, text: str) -> bool:
    text = normalise(text)
    before, after = (normalise(test[side]) for side in ("before", "after"))
    allowed = test.get("max_diffs", 0)
    starts = [end - len(before) for end in find_near(before, text, allowed)]
    return any(start < end - len(after) for start in starts for end in find_near(after, text, allowed))


def _math(test: Test, text: str) -> bool:
    wanted = re.sub(r"\s", "", test["math"])
    return any(re.sub(r"\s", "", found) == wanted for form in _FORMULAS for found in re.findall(form, text, re.DOTALL))


Grid = dict[tuple[int, int], tuple[str, bool, int]]  # (row, column) -> text, whether a heading, number of the cell


class _Tables(HTMLParser):
    """Grids of all tables; a cell of several columns or rows stands in each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.grids: list[Grid] = []
        self.row = self.number = 0
        self.cell: list[str] | None = None
        self.place: tuple[int, int, bool] = (1, 1, False)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.grids.append({})
            self.row = -1
        elif tag == "tr":
            self.row += 1
        elif tag in ("td", "th") and self.grids:
            values = dict(attrs)
            self.place = (int(values.get("colspan") or 1), int(values.get("rowspan") or 1), tag == "th")
            self.cell = []

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.cell is not None:
            grid, (columns, rows, is_heading) = self.grids[-1], self.place
            column = next(at for at in range(10_000) if (self.row, at) not in grid)
            self.number += 1
            text = normalise("".join(self.cell)).strip()
            for row in range(rows):
                for at in range(columns):
                    grid[self.row + row, column + at] = (text, is_heading, self.number)
            self.cell = None


def read_tables(text: str) -> list[Grid]:
    """HTML tables, then Markdown tables, whose first row is a heading."""
    parser = _Tables()
    parser.feed(text)
    grids = list(parser.grids)
    for block in re.findall(r"(?:^[ \t]*\|.*\|[ \t]*$\n?){2,}", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.strip().splitlines()]
        rows = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
        grids.append({
            (at, column): (normalise(cell), at == 0, 1000 * at + column) for at, row in enumerate(rows) for column, cell in enumerate(row)
        })  # fmt: skip
    return grids


def _table(test: Test, text: str) -> bool:
    wanted = {
        side: normalise(test[side])
        for side in ("cell", "up", "down", "left", "right", "top_heading", "left_heading")
        if test.get(side)
    }
    steps = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
    for grid in read_tables(text):
        for place, (content, _, _) in grid.items():
            if content == wanted["cell"] and all(
                wanted[side]
                in (_headings(grid, place, side) if side.endswith("heading") else _beside(grid, place, steps[side]))
                for side in wanted
                if side != "cell"
            ):
                return True
    return False


def _beside(grid: Grid, place: tuple[int, int], step: tuple[int, int]) -> list[str]:
    number = grid[place][2]
    while place in grid and grid[place][2] == number:
        place = (place[0] + step[0], place[1] + step[1])
    return [grid[place][0]] if place in grid else []


def _headings(grid: Grid, place: tuple[int, int], side: str) -> list[str]:
    row, column = place
    line = [(at, column) for at in range(row)] if side == "top_heading" else [(row, at) for at in range(column)]
    cells = [grid[at] for at in line if at in grid and grid[at][0]]
    return [text for text, is_heading, _ in cells if is_heading] or [text for text, _, _ in cells[:1]]
