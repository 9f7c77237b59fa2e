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
MAX_ELEMENTS = 1_000_000  # 300 bytes each in the tree
MAX_TRAFILATURA_ELEMENTS = 20_000
MAX_REOPENED = 2_000_000  # elements of one page that open again: two seconds; of 38 pages of the sample archives none has more than 11
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
    """ "" for an ordinary page, else too_deep, too_many_attributes or too_many_elements.

    The first look goes over all bytes at once, counting every opening tag up and every closing tag down, which can only
    overrate the depth; the few pages that it stops get a second look with a stack of open elements.
    """
    data = cut_raw(data)
    codes = np.frombuffer(data, np.uint8)
    following = codes[1:][codes[:-1] == ord("<")]
    if len(following) == 0:
        return ""
    lowered = following | 0x20
    steps = ((lowered >= ord("a")) & (lowered <= ord("z"))).astype(np.int8) - (following == ord("/")).astype(np.int8)
    steps = steps[steps != 0]
    if np.count_nonzero(steps == 1) > MAX_ELEMENTS:
        return "too_many_elements"
    if _has_crowded_tag(data):
        return "too_many_attributes"
    if len(steps) > max_depth:
        total = np.cumsum(steps, dtype=np.int64)
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

    True as well for a page of which more than MAX_REOPENED elements open again: a parser takes as many steps for them.
    """
    stack: list[tuple[bytes, bytes]] = []  # (name, whole tag)
    alike: dict[tuple[bytes, bytes], int] = {}  # how many of the stack
    places: dict[bytes, list[int]] = {}  # in the stack, by name
    num_reopened = 0

    def push(element: tuple[bytes, bytes]) -> None:
        alike[element] = alike.get(element, 0) + 1
        places.setdefault(element[0], []).append(len(stack))
        stack.append(element)

    for match in TAG.finditer(data):
        name = match.group(2).lower()
        if name in VOID_ELEMENTS:
            continue
        if not match.group(1):
            if name in SELF_CLOSING and stack and stack[-1][0] == name:
                continue
            push((name, match.group(0)))
            if len(stack) > max_depth:
                return True
        elif places.get(name):
            position = places[name][-1]
            above = stack[position + 1 :]
            for element in stack[position:]:
                alike[element] -= 1
                if not alike[element]:
                    del alike[element]
                places[element[0]].pop()
            del stack[position:]
            for element in above:
                if name in FORMATTING or (element[0] in FORMATTING and alike.get(element, 0) < 3):
                    push(element)
                    num_reopened += 1
            if num_reopened > MAX_REOPENED:
                return True
    return False
