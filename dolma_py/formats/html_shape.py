"""Looks at the bytes of an HTML page for shapes that would make parsing or extraction take minutes.

Extraction takes time quadratic in the depth of nesting (2 s at 10,000 elements) and parsing quadratic in the attributes of one
tag (0.5 s at 8,000); both are measured here without building the tree. trafilatura's time is quadratic in the number of elements:
3 s at 20,000, 33 s at 65,000.
"""

from __future__ import annotations

import re

import numpy as np

from dolma_py.formats.html_shape_kernels import cut_raw_kernel, find_long_tags_kernel

LONG_TAG_BYTES = 4_096
MAX_ATTRIBUTES = 1_024
MAX_TRAFILATURA_ELEMENTS = 20_000
MAX_TAG_WORDS = 20_000  # with what stands in quotes, which a parser may see differently: 4 s if each were an attribute
# elements without content (HTML standard, section 13.1.2)
VOID_ELEMENTS = frozenset(b"area base br col embed hr img input link meta param source track wbr".split())
# elements that the next of their kind closes, with or without a closing tag
SELF_CLOSING = frozenset(b"p li dd dt option tr td th".split())
FORMATTING = frozenset(b"a b big code em font i nobr s small strike strong tt u".split())
TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9]*)[^<>]{0,200}")
QUOTED = re.compile(rb"\"[^\"]*+\"|'[^']*+'")
WORD = re.compile(rb"[^\s/]+")


def find_hazard(data: bytes, max_depth: int) -> str:
    """ "" for an ordinary page, else too_deep or too_many_attributes.

    The first look goes over all bytes at once, counting every opening tag up and every closing tag down, which can only
    overrate the depth; the few pages that it stops get a second look with a stack of open elements.
    """
    data = cut_raw(data)
    codes = np.frombuffer(data, np.uint8)
    starts = np.flatnonzero(codes[:-1] == ord("<"))
    if len(starts) == 0:
        return ""
    if _has_crowded_tag(data):
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


def count_elements(data: bytes) -> int:
    """Opening tags of a page, those in its comments and scripts left out."""
    codes = np.frombuffer(cut_raw(data), np.uint8)
    following = codes[1:][codes[:-1] == ord("<")] | 0x20
    return int(((following >= ord("a")) & (following <= ord("z"))).sum())


def cut_raw(data: bytes) -> bytes:
    """The page without its comments and the contents of scripts and the like; one that never ends goes to the page's end.

    >>> cut_raw(b"<p>a<!-- <b> -->b<script>if (1<a) x</script>c")
    b'<p>a<!---->b<script</script>c'
    """
    if not data:
        return data
    out = np.empty(len(data), np.uint8)
    num_bytes = cut_raw_kernel(np.frombuffer(data, np.uint8), out)
    return out[:num_bytes].tobytes()


def find_long_tags(data: bytes, min_bytes: int) -> list[tuple[int, int]]:
    """(start, end) of tags of more than min_bytes, from `<` and a letter to before the `>` outside of quotes, or to the page's end."""
    if not data:
        return []
    spans = np.empty((len(data) // (min_bytes + 1) + 1, 2), np.int64)
    found = find_long_tags_kernel(np.frombuffer(data, np.uint8), min_bytes, spans)
    return [(start, end) for start, end in spans[:found].tolist()]


def _has_crowded_tag(data: bytes) -> bool:
    for start, end in find_long_tags(data, LONG_TAG_BYTES):
        tag = data[start:end]
        num_words = sum(1 for _ in WORD.finditer(tag))
        if num_words > MAX_TAG_WORDS:
            return True
        if num_words > MAX_ATTRIBUTES and sum(1 for _ in WORD.finditer(QUOTED.sub(b"", tag))) > MAX_ATTRIBUTES:
            return True
    return False


def _is_stack_deeper(data: bytes, max_depth: int) -> bool:
    """Follow the open elements as a parser does (HTML standard, section 13.2.4): a closing tag closes everything opened since its
    opening tag, but formatting elements in between open again behind it (at most three alike), and a formatting element's
    closing tag closes that element alone.
    """
    stack: list[tuple[bytes, bytes]] = []  # (name, whole tag)
    num_open: dict[bytes, int] = {}
    for match in TAG.finditer(data):
        name = match.group(2).lower()
        if name in VOID_ELEMENTS:
            continue
        if not match.group(1):
            if name in SELF_CLOSING and stack and stack[-1][0] == name:
                continue
            stack.append((name, match.group(0)))
            num_open[name] = num_open.get(name, 0) + 1
            if len(stack) > max_depth:
                return True
        elif num_open.get(name):
            position = max(depth for depth, element in enumerate(stack) if element[0] == name)
            above = stack[position + 1 :]
            del stack[position:]
            num_open[name] -= 1
            for element in above:
                if name in FORMATTING or (element[0] in FORMATTING and stack.count(element) < 3):
                    stack.append(element)
                else:
                    num_open[element[0]] -= 1
    return False
