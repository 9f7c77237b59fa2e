"""Slow twin of mixers.instruction_text: one text after the other, bytes by slicing."""

from __future__ import annotations

import re

ROLE_NAME = re.compile(rb"[A-Za-z0-9_-]{0,32}")


def find_markup(text, kinds):
    """(markers, turns, spans, what stays) of UTF-8 text; kinds: marker -> token, header, header_end or role."""
    names = sorted((name.encode() for name in kinds), key=len, reverse=True)
    at = markers = turns = 0
    spans, kept = [], b""
    while at < len(text):
        name = next((name for name in names if text.startswith(name, at)), None)
        if name is None:
            kept += text[at : at + 1]
            at += 1
            continue
        start, at, kind = at, at + len(name), kinds[name.decode()]
        markers += 1
        is_header = kind == "role"
        if kind == "header":
            stop = ROLE_NAME.match(text, at).end()
            closing = next((name for name in names if text.startswith(name, stop)), None)
            if closing is not None and kinds[closing.decode()] == "header_end":
                is_header, at, markers = True, stop + len(closing), markers + 1
            elif stop > at and text[stop : stop + 1] in (b"", b"\n"):
                is_header, at = True, stop
        if is_header:
            turns += 1
            feeds = len(text[at : at + 2]) - len(text[at : at + 2].lstrip(b"\n"))
            at += feeds - (feeds > 0 and kept != b"" and not kept.endswith(b"\n"))
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], at)
        else:
            spans.append((start, at))
    return markers, turns, spans, kept
