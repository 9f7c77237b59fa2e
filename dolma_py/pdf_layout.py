"""A page's characters with their boxes to lines of text: accents put on their letters, tables found by their columns.

The order is pdfium's, which is that of the page's content; it follows columns where the file's writer did. Boxes are in points, y
upwards. Plain Python over some thousand characters a page, run in the process that parses.
"""

from __future__ import annotations

import math
import unicodedata
from typing import NamedTuple

# spacing accents, as TeX fonts print them over a letter of their own -> the combining mark
ACCENTS = {
    "\u00b4": "\u0301", "`": "\u0300", "\u02c6": "\u0302", "\u02dc": "\u0303", "\u00a8": "\u0308", "\u02c7": "\u030c",
    "\u02d8": "\u0306", "\u02da": "\u030a", "\u02d9": "\u0307", "\u00b8": "\u0327", "\u02db": "\u0328", "\u02dd": "\u030b",
    "\u00af": "\u0304",
}  # fmt: skip
SPLIT_HYPHEN = "\x02"  # pdfium's mark of a hyphen that splits a word at a line's end
_DOTLESS = {"\u0131": "i", "\u0237": "j"}
_UPRIGHT_SINE = 0.98
_SPACE_EM = 0.15  # of a line's height: a wider gap is a space


class Glyph(NamedTuple):
    """One character; the box of one that pdfium made (a space, a line's end) says nothing."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    angle: float = 0.0  # radians
    is_made: bool = False


class Line(NamedTuple):
    """A line of a page, or a whole table as HTML."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    kind: str = "line"  # or upright: read from below or from above; or table


def split_lines(glyphs: list[Glyph]) -> list[list[Glyph]]:
    """The glyphs between ends of lines, which are left out; so are split hyphens and control characters."""
    lines: list[list[Glyph]] = [[]]
    for glyph in glyphs:
        if glyph.text in "\r\n":
            lines.append([])
        elif glyph.text >= " " and glyph.text != "\x7f":
            lines[-1].append(glyph)
    return [line for line in lines if line]


def mend_accents(line: list[Glyph]) -> list[Glyph]:
    """Put each spacing accent on the letter over (or under) which it stands, wherever in the line the file has it.

    The spaces that pdfium made around a lone accent go; one comes back where there is a gap.
    """
    if not any(glyph.text in ACCENTS for glyph in line):
        return line
    found = list(line)
    gone: set[int] = set()
    for at, accent in enumerate(line):
        if accent.text not in ACCENTS or accent.is_made:
            continue
        middle = (accent.x0 + accent.x1) / 2
        for other in sorted(range(len(found)), key=lambda number: abs(number - at)):
            letter = found[other]
            base = _DOTLESS.get(letter.text, letter.text)
            if other == at or letter.is_made or not base.isalpha() or not letter.x0 < middle < letter.x1:
                continue
            whole = unicodedata.normalize("NFC", base + ACCENTS[accent.text])
            if len(whole) == 1:
                found[other] = letter._replace(text=whole)
                gone.add(at)
                break
    height = max((glyph.y1 - glyph.y0 for glyph in found if _is_ink(glyph)), default=0.0)
    kept: list[Glyph] = []
    is_torn = False  # an accent was taken from here
    for at, glyph in enumerate(found):
        if at in gone:
            is_torn = True
            while kept and kept[-1].is_made and kept[-1].text == " ":
                kept.pop()
        elif is_torn and glyph.is_made and glyph.text == " ":
            continue
        else:
            if is_torn and kept and _is_ink(glyph) and glyph.x0 - kept[-1].x1 > _SPACE_EM * height:
                kept.append(Glyph(" ", kept[-1].x1, glyph.y0, glyph.x0, glyph.y1, 0.0, True))
            kept.append(glyph)
            is_torn = False
    return kept


def make_line(glyphs: list[Glyph]) -> Line:
    """The text of some glyphs, white space at the ends gone, and the box of those that are printed."""
    ink = [glyph for glyph in glyphs if _is_ink(glyph)]
    text = "".join(glyph.text for glyph in glyphs).strip()
    if not ink:
        return Line(text, 0.0, 0.0, 0.0, 0.0)
    is_upright = len(ink) > 1 and all(abs(math.sin(glyph.angle)) > _UPRIGHT_SINE for glyph in ink)
    return Line(
        text,
        min(glyph.x0 for glyph in ink),
        min(glyph.y0 for glyph in ink),
        max(glyph.x1 for glyph in ink),
        max(glyph.y1 for glyph in ink),
        "upright" if is_upright else "line",
    )


def _is_ink(glyph: Glyph) -> bool:
    return not glyph.is_made and not glyph.text.isspace()
