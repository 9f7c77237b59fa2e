"""Lines, paragraphs and signs of a document as datatrove, dolma and FineWeb read them, in one sweep over its characters.

Legend: N documents, B bytes of all texts together, C capacity of the scratch arrays in lines.

Pieces are what runs of line feeds part, as they stand, the empty ones at the ends of the text included (datatrove, dolma); a piece
that is not blank is a line of FineWeb and of `gopher-paper`. Paragraphs are what two or more line feeds part in the stripped text.
Broken lines are those of Python's str.splitlines (datatrove's quality filter).

Source: datatrove 0.10.1 (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter); dolma 1.2.1 taggers/gopher.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import xxh64_kernel
from taggers.character_kernels import decode_kernel
from taggers.repetition_kernels import clear_table_kernel, find_first_kernel
from taggers.spacy_signs_kernels import SPACE, TERMINAL, class_bits_kernel

# columns of out_counts that this file fills
(
    CHARS,
    LINE_FEEDS,
    OTHER_CHARS,
    HASH_SIGNS,
    ELLIPSES,
    PIECES,
    LATER_PIECES,
    LATER_PIECE_CHARS,
    COPIED_PIECES,
    COPIED_PIECE_CHARS,
    STARRED_PIECES,
    DOTTED_PIECES,
    LINES,
    LATER_LINE_CHARS,
    COPIED_LINES,
    COPIED_LINE_CHARS,
    TERMINAL_LINES,
    SHORT_LINES,
    BULLET_LINES,
    ELLIPSIS_LINES,
    PARAGRAPHS,
    LATER_PARAGRAPHS,
    LATER_PARAGRAPH_CHARS,
    COPIED_PARAGRAPHS,
    COPIED_PARAGRAPH_CHARS,
    BROKEN_LINES,
    BROKEN_BULLET_LINES,
    BROKEN_ELLIPSIS_LINES,
) = range(28)
NUM_LINE_COUNTS = 28
SHORT_LINE_CHARS = 30

_SEED = np.uint64(0)
_LINE_FEED, _RETURN, _SPACE, _HASH_SIGN, _STAR, _HYPHEN, _STOP = 10, 13, 32, 35, 42, 45, 46
_ELLIPSIS, _BULLET, _CIRCLE = 0x2026, 0x2022, 0x25CF


def _plain_bytes() -> np.ndarray:
    """bool (256,): characters of ASCII that are neither white space nor control nor one of . # -"""
    table = np.zeros(256, np.bool_)
    table[0x21:0x7F] = True
    table[[_STOP, _HASH_SIGN, _HYPHEN]] = False
    return table


_PLAIN = _plain_bytes()


class LineScratch(NamedTuple):
    """Pieces and paragraphs of one document."""

    hashes: np.ndarray  # uint64 (C,)
    chars: np.ndarray  # int64 (C,)     negative for a blank piece: -1 - chars
    paragraph_hashes: np.ndarray  # uint64 (C,)
    paragraph_chars: np.ndarray  # int64 (C,)
    firsts: np.ndarray  # int32 (C,)
    counts: np.ndarray  # int32 (C,)
    keys: np.ndarray  # uint64 (T,)
    slots: np.ndarray  # int32 (T,)


@njit(inline="always", **KERNEL_BORROWING)
def is_line_end_kernel(code):
    """Whether str.splitlines ends a line at this character."""
    if code <= 0x1E:
        return (10 <= code <= 13) or code >= 0x1C
    return code == 0x85 or code == 0x2028 or code == 0x2029


@njit(**KERNEL_BORROWING_INNER)
def _stripped_end_kernel(data, start, end, classes):
    """Where data[start:end] ends without the white space at its end."""
    while end > start:
        at = end - 1
        while at > start and data[at] & 0xC0 == 0x80:
            at -= 1
        code, _ = decode_kernel(data, at, end)
        if not class_bits_kernel(classes, code) & SPACE:
            return end
        end = at
    return end


@njit(**KERNEL_BORROWING_INNER)
def sweep_signs_kernel(data, start, end, classes, out):
    """Fill CHARS to ELLIPSES and the broken lines of data[start:end].

    "- a...\\r\\n#" has 9 chars, 1 line feed, 1 hash sign, 1 ellipsis and 2 broken lines, one with a bullet and with an ellipsis
    """
    chars = line_feeds = hash_signs = ellipses = broken = bullets = dotted = np.int64(0)
    dots = np.int64(0)
    open_line = False  # whether a character stands behind the last line end
    at_line_start = True  # whether nothing but white space stands there
    ends_dotted = False  # whether the last character that is no white space ended an ellipsis
    before = np.int64(0)
    at = start
    while at < end:
        if _PLAIN[data[at]]:
            # a run of plain characters says what one of them says
            first = at
            while at < end and _PLAIN[data[at]]:
                at += 1
            chars += at - first
            dots = before = np.int64(0)
            open_line, at_line_start, ends_dotted = True, False, False
            continue
        code, width = decode_kernel(data, at, end)
        at += width
        chars += 1
        if code == _SPACE:
            dots, before, open_line = np.int64(0), code, True
            continue
        if code == _STOP:
            dots += 1
            ellipses += dots % 3 == 0
        elif dots > 0:
            dots = np.int64(0)
        if is_line_end_kernel(code):
            line_feeds += code == _LINE_FEED
            if code != _LINE_FEED or before != _RETURN:
                broken += 1
                dotted += ends_dotted
            open_line, at_line_start, ends_dotted = False, True, False
        else:
            open_line = True
            if not class_bits_kernel(classes, code) & SPACE:
                if at_line_start:
                    bullets += (code == _BULLET) | (code == _HYPHEN)
                    at_line_start = False
                ends_dotted = code == _ELLIPSIS or dots >= 3
                hash_signs += code == _HASH_SIGN
                ellipses += code == _ELLIPSIS
        before = code
    if open_line:
        broken += 1
        dotted += ends_dotted
    out[CHARS], out[LINE_FEEDS], out[OTHER_CHARS] = chars, line_feeds, chars - line_feeds
    out[HASH_SIGNS], out[ELLIPSES] = hash_signs, ellipses
    out[BROKEN_LINES], out[BROKEN_BULLET_LINES], out[BROKEN_ELLIPSIS_LINES] = broken, bullets, dotted


@njit(**KERNEL_BORROWING_INNER)
def _count_chars_kernel(data, start, end):
    """Characters of data[start:end]: bytes that do not continue one."""
    chars = np.int64(0)
    for at in range(start, end):
        chars += data[at] & 0xC0 != 0x80
    return chars


@njit(**KERNEL_BORROWING_INNER)
def _look_at_piece_kernel(data, start, end, classes, out):
    """Add what one piece shows to STARRED_PIECES ... ELLIPSIS_LINES; returns (chars, whether it is blank)."""
    if start == end:
        return np.int64(0), True
    chars = _count_chars_kernel(data, start, end)
    first, last = start, _stripped_end_kernel(data, start, end, classes)
    while first < last:
        code, width = decode_kernel(data, first, last)
        if not class_bits_kernel(classes, code) & SPACE:
            break
        first += width
    out[STARRED_PIECES] += data[start] == _STAR or data[start] == _HYPHEN
    out[DOTTED_PIECES] += end - start >= 3 and data[end - 1] == 0xA6 and data[end - 2] == 0x80 and data[end - 3] == 0xE2
    if first == last:
        return chars, True
    code, _ = decode_kernel(data, first, last)
    out[BULLET_LINES] += (code == _BULLET) | (code == _CIRCLE) | (code == _HYPHEN) | (code == _STAR)
    tail = last - 3
    if tail >= first:
        out[ELLIPSIS_LINES] += (data[tail] == 0xE2 and data[tail + 1] == 0x80 and data[tail + 2] == 0xA6) or (
            data[tail] == _STOP and data[tail + 1] == _STOP and data[tail + 2] == _STOP
        )
    at = end - 1
    while at > start and data[at] & 0xC0 == 0x80:
        at -= 1
    code, _ = decode_kernel(data, at, end)
    out[TERMINAL_LINES] += class_bits_kernel(classes, code) & TERMINAL != 0
    out[SHORT_LINES] += chars <= SHORT_LINE_CHARS
    return chars, False


@njit(**KERNEL_BORROWING_INNER)
def split_pieces_kernel(data, start, end, classes, lines, out):
    """Pieces and paragraphs of data[start:end] into `lines`; returns (pieces, paragraphs), more than fit when they do not."""
    pieces = paragraphs = full = np.int64(0)
    out[STARRED_PIECES], out[DOTTED_PIECES], out[TERMINAL_LINES], out[SHORT_LINES] = 0, 0, 0, 0
    out[BULLET_LINES], out[ELLIPSIS_LINES] = 0, 0
    last = _stripped_end_kernel(data, start, end, classes)
    paragraph = start
    while paragraph < last:
        code, width = decode_kernel(data, paragraph, last)
        if not class_bits_kernel(classes, code) & SPACE:
            break
        paragraph += width
    at = start
    while True:
        begin = at
        while at < end and data[at] != _LINE_FEED:
            at += 1
        stop = at
        while at < end and data[at] == _LINE_FEED:
            at += 1
        chars, is_blank = _look_at_piece_kernel(data, begin, stop, classes, out)
        if pieces < len(lines.hashes):
            lines.hashes[pieces] = xxh64_kernel(data, begin, stop, _SEED)
            lines.chars[pieces] = -1 - chars if is_blank else chars
        pieces += 1
        full += not is_blank
        # a paragraph of the stripped text ends before two line feeds, or where that text ends
        if stop > paragraph and (at - stop >= 2 or stop >= last) and paragraph < last:
            close = min(stop, last)
            if paragraphs < len(lines.paragraph_hashes):
                lines.paragraph_hashes[paragraphs] = xxh64_kernel(data, paragraph, close, _SEED)
                lines.paragraph_chars[paragraphs] = _count_chars_kernel(data, paragraph, close)
            paragraphs += 1
            paragraph = at
        if stop == at:
            break
        if at == end:
            # the text ends in line feeds: an empty piece stands behind them
            if pieces < len(lines.hashes):
                lines.hashes[pieces] = xxh64_kernel(data, end, end, _SEED)
                lines.chars[pieces] = -1
            pieces += 1
            break
    # a text of white space is one empty paragraph to its readers
    out[PIECES], out[LINES], out[PARAGRAPHS] = pieces, full, max(paragraphs, 1)
    return pieces, paragraphs


@njit(**KERNEL_BORROWING_INNER)
def _number_segments_kernel(hashes, num_segments, lines):
    """firsts and counts of equal segments."""
    mask = clear_table_kernel(lines.slots, num_segments)
    for i in range(num_segments):
        first = find_first_kernel(lines.keys, lines.slots, mask, hashes[i], i)
        lines.firsts[i] = first
        lines.counts[first] = 1 if first == i else lines.counts[first] + 1


@njit(**KERNEL_BORROWING_INNER)
def count_duplicates_kernel(lines, num_pieces, num_paragraphs, out):
    """Fill the columns of later and of copied pieces, lines and paragraphs: later ones leave out the first of its kind."""
    out[LATER_PIECES : COPIED_PIECE_CHARS + 1] = 0
    out[LATER_LINE_CHARS : COPIED_LINE_CHARS + 1] = 0
    out[LATER_PARAGRAPHS : COPIED_PARAGRAPH_CHARS + 1] = 0
    _number_segments_kernel(lines.hashes, num_pieces, lines)
    for i in range(num_pieces):
        if lines.counts[lines.firsts[i]] < 2:
            continue
        is_blank = lines.chars[i] < 0
        chars = -1 - lines.chars[i] if is_blank else lines.chars[i]
        is_later = lines.firsts[i] != i
        out[LATER_PIECES] += is_later
        out[LATER_PIECE_CHARS] += chars if is_later else 0
        out[COPIED_PIECES] += 1
        out[COPIED_PIECE_CHARS] += chars
        if not is_blank:
            out[LATER_LINE_CHARS] += chars if is_later else 0
            out[COPIED_LINES] += 1
            out[COPIED_LINE_CHARS] += chars
    _number_segments_kernel(lines.paragraph_hashes, num_paragraphs, lines)
    for i in range(num_paragraphs):
        if lines.counts[lines.firsts[i]] < 2:
            continue
        is_later = lines.firsts[i] != i
        out[LATER_PARAGRAPHS] += is_later
        out[LATER_PARAGRAPH_CHARS] += lines.paragraph_chars[i] if is_later else 0
        out[COPIED_PARAGRAPHS] += 1
        out[COPIED_PARAGRAPH_CHARS] += lines.paragraph_chars[i]
