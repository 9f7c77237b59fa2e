"""From the lines of a file's pages to one text: what stands on every page goes, paragraphs and tables keep their borders."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from dolma_py.pdf_layout import Line

EDGE_SHARE = 0.1  # of a page's height: where headers, footers and page numbers are
STAMP_SHARE = 0.025  # of a page's height or width: nearer to the edge than printers print, so somebody's stamp
SIDE_SHARE = 0.1  # of its width: where upright text is no part of the page's
REPEATED_SHARE = 0.4  # of the pages: odd and even pages may have headers of their own
REPEATED_PAGES = 3
PARAGRAPH_PITCH = 1.4  # of the usual distance between two lines
FAR_PITCH = 5  # heights of a line: what is further below is another paragraph
_PAGE_NUMBER = re.compile(r"\W*(page\s+)?(\d{1,5}|[ivxlc]{1,8})(\s*(of|/)\s*\d{1,5})?\W*", re.IGNORECASE)


class SizedPage(NamedTuple):
    """A page's lines with its width and height, points; no lines where it could not be read."""

    lines: list[Line]
    width: float
    height: float


def drop_margins(pages: list[SizedPage]) -> list[SizedPage]:
    """The pages without headers, footers, page numbers and stamps.

    A line in the outer tenth of the page goes when it is a page number, or when it stands there, digits aside, on three pages
    and two fifths of all; a line in the outermost fortieth, and upright text in the outer tenth at the sides, in any case.
    """
    counts: Counter[str] = Counter()
    for page in pages:
        counts.update({_blind(line) for line in page.lines if _edge_share(line, page) < EDGE_SHARE})
    least = max(REPEATED_PAGES, REPEATED_SHARE * len(pages))
    return [
        page._replace(lines=[line for line in page.lines if not _is_margin(line, page, counts[_blind(line)] >= least)])
        for page in pages
    ]


def _is_margin(line: Line, page: SizedPage, is_repeated: bool) -> bool:
    if line.kind == "table":
        return False
    edge = _edge_share(line, page)
    if edge < STAMP_SHARE:
        return True
    if edge < EDGE_SHARE and (is_repeated or _PAGE_NUMBER.fullmatch(line.text)):
        return True
    return line.kind == "upright" and (line.x1 < SIDE_SHARE * page.width or line.x0 > (1 - SIDE_SHARE) * page.width)


def _edge_share(line: Line, page: SizedPage) -> float:
    """How far the line's far side is from the nearer edge, above or below, as a share of the page's height."""
    if page.height <= 0:
        return 1.0
    return min(line.y1, page.height - line.y0) / page.height


def _blind(line: Line) -> str:
    return re.sub(r"\d+", "#", line.text)


def join_lines(page: SizedPage) -> str:
    """The page's text: a line break between lines, an empty line between paragraphs and around tables.

    A paragraph ends where the next line's foot is PARAGRAPH_PITCH times as far away as is usual on the page, or not below it.
    """
    pairs = list(zip(page.lines, page.lines[1:], strict=False))
    pitches = sorted(above.y0 - below.y0 for above, below in pairs if _is_below(above, below))
    usual = pitches[(len(pitches) - 1) // 2] if pitches else 0.0
    parts = [page.lines[0].text] if page.lines else []
    for above, below in pairs:
        is_same = _is_below(above, below) and above.y0 - below.y0 < PARAGRAPH_PITCH * usual
        parts.append("\n" if is_same else "\n\n")
        parts.append(below.text)
    return "".join(parts)


def _is_below(above: Line, below: Line) -> bool:
    is_text = above.kind != "table" and below.kind != "table"
    is_near = 0 < above.y0 - below.y0 < FAR_PITCH * max(above.y1 - above.y0, 1.0)
    return is_text and is_near and below.x0 < above.x1 and below.x1 > above.x0


def join_pages(texts: list[str]) -> tuple[str, list[list[int]]]:
    """(text, page numbers): an empty line between pages; [start, end, page from 1] in characters, as olmOCR has them.

    >>> join_pages(["one", "", "three"])
    ('one\\n\\nthree', [[0, 3, 1], [3, 3, 2], [5, 10, 3]])
    """
    parts: list[str] = []
    numbers = []
    end = 0
    for number, text in enumerate(texts, 1):
        if end and text:
            parts.append("\n\n")
            end += 2
        parts.append(text)
        numbers.append([end, end + len(text), number])
        end += len(text)
    return "".join(parts), numbers
