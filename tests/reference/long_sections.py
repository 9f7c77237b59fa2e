"""Slow twin of mixers/long_sections_kernels.py: lines and regular expressions."""

from __future__ import annotations

import re

FORCED, LINE, SENTENCE, PARAGRAPH, HEADING = range(5)
INSIDE = re.compile(rb"""[.!?]["')\]]*[ \t]+(?=[^ \t\r\n])""")
STOP = re.compile(rb"""[.!?]["')\]]*[ \t\r\n]*\Z""")
MARKED = re.compile(rb"#{1,6} |\\part\{|\\chapter|\\section|\\subsection")


def is_blank(line: bytes) -> bool:
    return not line.strip(b" \t\r\n")


def find_breaks(data: bytes, max_piece: int) -> list[tuple[int, int]]:
    """(place, rank) of every piece but the first."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", data)
    found = []
    start = 0
    for number, line in enumerate(lines):
        if not is_blank(line):
            above = lines[:number]
            if start > 0:
                rank = LINE
                if STOP.search(above[-1]):
                    rank = SENTENCE
                if is_blank(above[-1]):
                    rank = PARAGRAPH
                below = lines[number + 1] if number + 1 < len(lines) else b""
                capitals = len(line) <= 60 and re.search(rb"[A-Z]", line) and not re.search(rb"[a-z]", line)
                if MARKED.match(line) or (capitals and is_blank(above[-1]) and is_blank(below)):
                    rank = HEADING
                found.append((start, rank))
            found += [(start + match.end(), SENTENCE) for match in INSIDE.finditer(line)]
        start += len(line)
    return force_breaks(data, found, max_piece)


def force_breaks(data: bytes, found: list[tuple[int, int]], max_piece: int) -> list[tuple[int, int]]:
    """With forced places wherever more than max_piece bytes would lie between two."""
    result, last = [], 0
    for place, rank in [*found, (len(data), FORCED)]:
        while place - last > max_piece:
            last += max_piece
            for _ in range(3):
                last -= data[last] >> 6 == 2
            result.append((last, FORCED))
        if place < len(data):
            result.append((place, rank))
            last = place
    return result
