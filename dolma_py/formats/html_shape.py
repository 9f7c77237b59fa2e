"""Looks at the bytes of an HTML page for shapes that would make parsing or extraction take minutes.

Extraction takes time quadratic in the depth of nesting (2 s at 10,000 elements) and parsing quadratic in the attributes of one
tag (0.5 s at 8,000); both are measured here without building the tree.
"""

from __future__ import annotations

import re

import numpy as np

LONG_TAG_BYTES = 8_192
MAX_ATTRIBUTES = 1_024
# elements without content (HTML standard, section 13.1.2)
VOID_ELEMENTS = frozenset(b"area base br col embed hr img input link meta param source track wbr".split())
# elements that the next of their kind closes, with or without a closing tag
SELF_CLOSING = frozenset(b"p li dd dt option tr td th".split())
# elements whose content is no markup
RAW_CONTENT = re.compile(rb"<(script|style|textarea|title)\b.*?</\1|<!--.*?-->", re.IGNORECASE | re.DOTALL)
TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
QUOTED = re.compile(rb"\"[^\"]*\"|'[^']*'")
ATTRIBUTE = re.compile(rb"[^\s/]+")


def find_hazard(data: bytes, max_depth: int) -> str:
    """ "" for an ordinary page, else too_deep or too_many_attributes.

    The first look goes over all bytes at once, counting every opening tag up and every closing tag down, which can only
    overrate the depth; the few pages that it stops get a second look with a stack of open elements.
    """
    codes = np.frombuffer(data, np.uint8)
    starts = np.flatnonzero(codes[:-1] == ord("<"))
    if len(starts) == 0:
        return ""
    for start in starts[np.diff(starts, append=len(data)) > LONG_TAG_BYTES].tolist():
        if _count_attributes(data, start) > MAX_ATTRIBUTES:
            return "too_many_attributes"
    if len(starts) > max_depth:
        following = codes[starts + 1]
        lowered = following | 0x20
        steps = np.where(following == ord("/"), -1, ((lowered >= ord("a")) & (lowered <= ord("z"))).astype(np.int64))
        total = np.cumsum(steps)
        highest = int((total - np.minimum.accumulate(np.minimum(total, 0))).max())
        if highest > max_depth and _is_stack_deeper(data, max_depth):
            return "too_deep"
    return ""


def _count_attributes(data: bytes, start: int) -> int:
    """Attributes of the tag at `start`; 0 where no tag starts."""
    if not TAG.match(data, start):
        return 0
    tag = QUOTED.sub(b"", data[start:])
    return sum(1 for _ in ATTRIBUTE.finditer(tag.partition(b">")[0]))


def _is_stack_deeper(data: bytes, max_depth: int) -> bool:
    """Follow the open elements as a parser does: a closing tag closes everything opened since its opening tag."""
    stack: list[bytes] = []
    num_open: dict[bytes, int] = {}
    for match in TAG.finditer(RAW_CONTENT.sub(b"", data)):
        name = match.group(2).lower()
        if name in VOID_ELEMENTS:
            continue
        if match.group(1):
            if num_open.get(name):
                while True:
                    closed = stack.pop()
                    num_open[closed] -= 1
                    if closed == name:
                        break
            continue
        if name in SELF_CLOSING and stack and stack[-1] == name:
            continue
        stack.append(name)
        num_open[name] = num_open.get(name, 0) + 1
        if len(stack) > max_depth:
            return True
    return False
