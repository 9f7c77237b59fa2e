"""Short pieces of long documents for a report: the beginning, the places that were cut or found, or where two texts differ.

Pure functions on bytes; nothing here knows HTML or files. Spans are byte positions that cut no character.
"""

from __future__ import annotations

import difflib
import re
from typing import Literal, NamedTuple

HEAD_CHARS = 300  # of a document without marks
MARK_HEAD_CHARS, MARK_TAIL_CHARS = 200, 60  # of a long marked place
AROUND_CHARS = 90  # on both sides of a mark
MAX_MARKS = 3
BEFORE_DIFFERENCE_CHARS = 80
ITEM_CHARS = 800  # of an evaluation item
Mark = Literal["", "cut", "found", "differs", "gap"]


class Part(NamedTuple):
    """A piece of text with one meaning; "gap" stands for text that is left out and says how much."""

    text: str
    mark: Mark = ""


def make_excerpt(text: bytes, spans: list[tuple[int, int]], mark: Mark) -> tuple[Part, ...]:
    """The surroundings of the first spans, or the beginning when there are none.

    spans: (start, end) bytes, sorted, disjoint.

    Examples
    --------
    >>> make_excerpt(b"good bad good", [(5, 8)], "cut")
    (Part(text='good ', mark=''), Part(text='bad', mark='cut'), Part(text=' good', mark=''))
    """
    if not spans:
        return _keep_ends(_decode(text), "", head=HEAD_CHARS, tail=0)
    shown = spans[:MAX_MARKS]
    parts: list[Part] = []
    position = 0
    for index, (start, end) in enumerate(shown):
        head = AROUND_CHARS if index else 0
        parts.extend(_keep_ends(_decode(text[position:start]), "", head=head, tail=AROUND_CHARS))
        parts.extend(_keep_ends(_decode(text[start:end]), mark, head=MARK_HEAD_CHARS, tail=MARK_TAIL_CHARS))
        position = end
    parts.extend(_keep_ends(_decode(text[position:]), "", head=AROUND_CHARS, tail=0))
    if len(spans) > MAX_MARKS:
        parts.append(Part(f"{len(spans) - MAX_MARKS:,} more places", "gap"))
    return tuple(parts)


def _decode(data: bytes) -> str:
    return data.decode(errors="replace")


def _keep_ends(text: str, mark: Mark, *, head: int, tail: int) -> tuple[Part, ...]:
    left_out = len(text) - head - tail
    if left_out <= 20:  # the note would be as long
        return (Part(text, mark),) if text else ()
    parts = [Part(text[:head], mark), Part(f"{left_out:,} characters", "gap"), Part(text[len(text) - tail :], mark)]
    return tuple(part for part in parts if part.text)


def compare_texts(one: str, other: str) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Both texts from a little before their first difference, words that differ marked; the beginnings when they are equal."""
    start = max(0, _first_difference(one, other) - BEFORE_DIFFERENCE_CHARS)
    if one == other:
        start = 0
    pieces = [re.findall(r"\s+|\w+|[^\w\s]", text[start : start + HEAD_CHARS]) for text in (one, other)]
    lines: tuple[list[Part], list[Part]] = ([], [])
    keys = [
        [" " if word.isspace() else word for word in words] for words in pieces
    ]  # where a line ends is no difference
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    for tag, first, last, other_first, other_last in matcher.get_opcodes():
        mark: Mark = "" if tag == "equal" else "differs"
        for line, words in zip(lines, (pieces[0][first:last], pieces[1][other_first:other_last]), strict=True):
            if words:
                line.append(Part("".join(words), mark))
    sides = []
    for line, text in zip(lines, (one, other), strict=True):
        before = [Part(f"{start:,} characters", "gap")] if start else []
        left_out = len(text) - start - HEAD_CHARS
        after = [Part(f"{left_out:,} characters", "gap")] if left_out > 0 else []
        sides.append((*before, *line, *after))
    return sides[0], sides[1]


def mark_missing(text: str, other: str) -> tuple[Part, ...]:
    """The beginning of a text, its words marked that do not stand in the same order in the other; upper and lower case are one.

    Examples
    --------
    >>> mark_missing("Ann has 3 pens.", "... ann has 4 pens")
    (Part(text='Ann has ', mark=''), Part(text='3', mark='differs'), Part(text=' pens.', mark=''))
    """
    shown = re.findall(r"\s+|\w+|[^\w\s]", text[:ITEM_CHARS])
    words = [index for index, piece in enumerate(shown) if piece[0].isalnum() or piece[0] == "_"]
    matcher = difflib.SequenceMatcher(
        None, [shown[index].lower() for index in words], re.findall(r"\w+", other.lower()), autojunk=False
    )
    met = {words[block.a + step] for block in matcher.get_matching_blocks() for step in range(block.size)}
    parts: list[Part] = []
    for index, piece in enumerate(shown):
        mark: Mark = "differs" if index in words and index not in met else ""
        if parts and parts[-1].mark == mark:
            parts[-1] = Part(parts[-1].text + piece, mark)
        else:
            parts.append(Part(piece, mark))
    left_out = len(text) - ITEM_CHARS
    return (*parts, Part(f"{left_out:,} characters", "gap")) if left_out > 0 else tuple(parts)


def _first_difference(one: str, other: str) -> int:
    """Length of the common beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # binary search: slices compare fast
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
