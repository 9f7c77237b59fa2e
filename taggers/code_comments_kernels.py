"""Characters in comments of source code by family of syntax, and characters of HTML that a reader sees.

Legend: N documents, B bytes of all texts. Strings are passed over, so that a marker inside one begins no comment.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import lower_ascii_kernel

# families; NO_FAMILY has no comments that we know
NO_FAMILY, C_LIKE, CSS, PYTHON, HASH, DASH, PERCENT, SEMICOLON, MARKUP = range(9)
_MAX_ENTITY = 12
_SCRIPT, _STYLE = np.frombuffer(b"script", np.uint8), np.frombuffer(b"style", np.uint8)


@njit(inline="always", **KERNEL_INNER)
def _is_letter(byte):
    return 97 <= (byte | 0x20) <= 122


@njit(**KERNEL_INNER)
def _count_chars(data, start, end):
    """Characters that begin in data[start:end]."""
    chars = np.int64(0)
    for i in range(start, end):
        chars += data[i] & 0xC0 != 0x80
    return chars


@njit(**KERNEL_INNER)
def _line_end(data, at, end):
    while at < end and data[at] != 10:
        at += 1
    return at


@njit(**KERNEL_INNER)
def _find_two(data, at, end, first, second):
    """Behind the next `first` `second`; `end` for none."""
    while at + 1 < end:
        if data[at] == first and data[at + 1] == second:
            return at + 2
        at += 1
    return end


@njit(**KERNEL_INNER)
def _string_end(data, at, end, is_python):
    """Behind the string that the quote data[at] opens: at its like, at the line's end, or, in three of them or in backticks, at their like."""
    quote = data[at]
    if is_python and at + 2 < end and data[at + 1] == quote and data[at + 2] == quote:
        at += 3
        while at < end:
            if data[at] == 92:
                at += 2
                continue
            if data[at] == quote and at + 2 < end and data[at + 1] == quote and data[at + 2] == quote:
                return at + 3
            at += 1
        return end
    at += 1
    while at < end:
        if data[at] == 92:
            at += 2
            continue
        if data[at] == quote:
            return at + 1
        if data[at] == 10 and quote != 96:
            return at
        at += 1
    return end


@njit(**KERNEL_INNER)
def _comment_end(data, begin, at, end, family):
    """Behind the comment that starts at data[at], -1 where none does."""
    byte = data[at]
    following = data[at + 1] if at + 1 < end else np.uint8(0)
    if family in (C_LIKE, CSS):
        if byte == 47 and following == 42:
            return _find_two(data, at + 2, end, 42, 47)
        return _line_end(data, at, end) if family == C_LIKE and byte == 47 and following == 47 else np.int64(-1)
    if family == PYTHON:
        return _line_end(data, at, end) if byte == 35 else np.int64(-1)
    if family == HASH:  # "$#" and "${#name}" are no comments
        return _line_end(data, at, end) if byte == 35 and (at == begin or data[at - 1] <= 32) else np.int64(-1)
    if family == DASH:
        return _line_end(data, at, end) if byte == 45 and following == 45 else np.int64(-1)
    if family == PERCENT:
        return _line_end(data, at, end) if byte == 37 and (at == begin or data[at - 1] != 92) else np.int64(-1)
    if family == SEMICOLON:
        return _line_end(data, at, end) if byte == 59 else np.int64(-1)
    if byte == 60 and at + 3 < end and following == 33 and data[at + 2] == 45 and data[at + 3] == 45:
        return _markup_comment_end(data, at, end)
    return np.int64(-1)


@njit(**KERNEL_INNER)
def _markup_comment_end(data, at, end):
    at += 4
    while at + 2 < end:
        if data[at] == 45 and data[at + 1] == 45 and data[at + 2] == 62:
            return at + 3
        at += 1
    return np.int64(end)


@njit(**KERNEL)
def count_comments_kernel(data, offsets, families, out_chars):
    """Fill int64 (N,): characters inside comments, their markers included and the line's end not.

    families : int8 (N,)      syntax of each document; 0 gives 0. Of PYTHON a string in three quotes that begins its line counts as a
                              comment: a docstring. Strings are those of '"', "'" and "`"; in PERCENT, SEMICOLON and MARKUP there are none but
                              SEMICOLON's '"'.

    "x = 1 // y\\n" of family C_LIKE -> 4
    """
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        family = families[row]
        chars = np.int64(0)
        at = begin
        starts_line = True  # nothing but white space before on the line
        while at < end and family != NO_FAMILY:
            byte = data[at]
            stop = _comment_end(data, begin, at, end, family)
            if stop >= 0:
                chars += _count_chars(data, at, stop)
                at, starts_line = stop, False
                continue
            if byte == 10:
                starts_line = True
            elif byte != 32 and byte != 9:
                has_strings = byte == 34 or (family < PERCENT and (byte == 39 or (byte == 96 and family == C_LIKE)))
                if has_strings and family < MARKUP and family != PERCENT:
                    stop = min(_string_end(data, at, end, family == PYTHON), end)
                    if (
                        family == PYTHON
                        and starts_line
                        and stop - at >= 6
                        and data[at + 1] == byte
                        and data[at + 2] == byte
                    ):
                        chars += _count_chars(data, at, stop)
                    at, starts_line = stop, False
                    continue
                starts_line = False
            at += 1
        out_chars[row] = chars


@njit(**KERNEL_INNER)
def _is_tag(data, at, end, name):
    """Whether the tag at data[at] ("<" before it) has that name."""
    if end - at < len(name):
        return False
    for i in range(len(name)):
        if lower_ascii_kernel(data[at + i]) != name[i]:
            return False
    after = at + len(name)
    return after == end or not (_is_letter(data[after]) or 48 <= data[after] <= 57 or data[after] == 45)


@njit(**KERNEL_INNER)
def _tag_end(data, at, end):
    """Behind the ">" of the tag that starts at data[at]; quoted values may hold others."""
    quote = np.uint8(0)
    while at < end:
        byte = data[at]
        if quote:
            quote = np.uint8(0) if byte == quote else quote
        elif byte == 34 or byte == 39:
            quote = byte
        elif byte == 62:
            return at + 1
        at += 1
    return end


@njit(**KERNEL_INNER)
def _element_end(data, at, end, name):
    """At the "</name" that closes a script or style whose text starts at data[at]."""
    while at + 1 < end:
        if data[at] == 60 and data[at + 1] == 47 and _is_tag(data, at + 2, end, name):
            return at
        at += 1
    return end


@njit(**KERNEL_INNER)
def _entity_end(data, at, end):
    """Behind the character reference at data[at] ("&"), or at + 1."""
    stop = at + 1
    while (
        stop < end
        and stop - at < _MAX_ENTITY
        and (_is_letter(data[stop]) or 48 <= data[stop] <= 57 or data[stop] == 35)
    ):
        stop += 1
    return stop + 1 if stop > at + 1 and stop < end and data[stop] == 59 else at + 1


@njit(**KERNEL)
def count_visible_kernel(data, offsets, is_html, out_chars):
    """Fill int64 (N,): characters of HTML outside of tags, comments, scripts and styles. 0 where not is_html.

    A character reference is one character, and white space that fills all between two tags is one, as BeautifulSoup has it.

    "<p title='>'>a &amp; b</p>  <script>x</script>" -> 6
    """
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        chars = part = np.int64(0)  # of the document, and of the text since the last tag
        is_blank = True
        at = begin if is_html[row] else end
        while at < end:
            byte = data[at]
            following = data[at + 1] if at + 1 < end else np.uint8(0)
            if byte == 60 and (_is_letter(following) or following == 47 or following == 33 or following == 63):
                chars += min(part, 1) if is_blank else part
                part, is_blank = np.int64(0), True
                if following == 33 and at + 3 < end and data[at + 2] == 45 and data[at + 3] == 45:
                    at = _markup_comment_end(data, at, end)
                    continue
                name_at = at + 1
                at = _tag_end(data, at + 1, end)
                if _is_tag(data, name_at, end, _SCRIPT):
                    at = _element_end(data, at, end, _SCRIPT)
                elif _is_tag(data, name_at, end, _STYLE):
                    at = _element_end(data, at, end, _STYLE)
            elif byte == 38:
                part += 1
                is_blank = False
                at = _entity_end(data, at, end)
            else:
                part += byte & 0xC0 != 0x80
                is_blank = is_blank and (byte == 32 or byte == 9 or byte == 10 or byte == 12 or byte == 13)
                at += 1
        out_chars[row] = chars + (min(part, 1) if is_blank else part)
