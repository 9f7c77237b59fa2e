"""Slow twin of dolma_py.spans: a text is a list of byte positions, a span a set of them."""

from __future__ import annotations

Pairs = list[tuple[int, int]]  # (start, end) of one text


def covered(spans: Pairs) -> set[int]:
    """The positions inside the spans."""
    return {position for start, end in spans for position in range(start, end)}


def cut(text: bytes, spans: Pairs) -> bytes:
    """The text without the bytes of its spans."""
    gone = covered(spans)
    return bytes(byte for position, byte in enumerate(text) if position not in gone)


def restore(spans: Pairs, removed: Pairs, num_bytes: int) -> Pairs:
    """Spans of cut(text, removed) as spans of the text of `num_bytes`: from the first byte's old place to the last one's."""
    gone = covered(removed)
    old_places = [position for position in range(num_bytes) if position not in gone]
    restored = []
    for start, end in spans:
        first = old_places[start] if start < len(old_places) else num_bytes
        restored.append((first, old_places[end - 1] + 1 if end > start else first))
    return restored


def merge(first: Pairs, other: Pairs) -> Pairs:
    """Sorted disjoint spans of the positions in either list; neighbours are joined."""
    positions = covered(first) | covered(other)
    starts = sorted(position for position in positions if position - 1 not in positions)
    ends = sorted(position + 1 for position in positions if position + 1 not in positions)
    return list(zip(starts, ends, strict=True))


def shift(spans: Pairs, removed: Pairs) -> Pairs:
    """Spans of a text as spans of cut(text, removed): a position moves back by the removed bytes before it."""
    gone = covered(removed)
    places = [[place - sum(position < place for position in gone) for place in span] for span in spans]
    return [(start, end) for start, end in places]


def character_starts(text: bytes) -> list[int]:
    """Where characters begin: the first byte, and every later one that is not 10xxxxxx."""
    return [place for place, byte in enumerate(text) if place == 0 or not 0x80 <= byte < 0xC0]


def count_characters(text: bytes) -> int:
    """How many characters begin in the text."""
    return len(character_starts(text))


def find_bytes(text: bytes, positions: list[int]) -> list[int]:
    """The byte where the character of each position begins; the text's length where there is none."""
    starts = character_starts(text)
    return [starts[position] if position < len(starts) else len(text) for position in positions]


def find_characters(text: bytes, positions: list[int]) -> list[int]:
    """How many characters begin before each byte position."""
    return [sum(start < position for start in character_starts(text)) for position in positions]
