"""What stands outside of comments and scripts, and long tags, by regular expressions."""

from __future__ import annotations

import re

RAW_START = re.compile(rb"<(?:!--|(script|style|textarea|title)\b)", re.IGNORECASE)
RAW_END = {name: re.compile(b"</" + name, re.IGNORECASE) for name in (b"script", b"style", b"textarea", b"title")}
# from a tag's name to its end, quoted values included; possessive, so it takes linear time
WHOLE_TAG = re.compile(rb"<[a-zA-Z](?:[^>\"']++|\"[^\"]*+\"|'[^']*+'|[\"'])*+")


def cut_raw(data: bytes) -> bytes:
    """The page without its comments and the contents of scripts and the like; one that never ends goes to the page's end."""
    pieces = []
    place = 0
    while start := RAW_START.search(data, place):
        pieces.append(data[place : start.end()])
        name = start.group(1)
        if name is None:
            place = data.find(b"-->", start.end())
        else:
            end = RAW_END[name.lower()].search(data, start.end())
            place = end.start() if end else -1
        if place < 0:
            return b"".join(pieces)
    pieces.append(data[place:])
    return b"".join(pieces)


def find_long_tags(data: bytes, min_bytes: int) -> list[tuple[int, int]]:
    """Where tags of more than min_bytes begin and end."""
    spans = [match.span() for match in WHOLE_TAG.finditer(data)]
    return [(start, end) for start, end in spans if end - start > min_bytes]
