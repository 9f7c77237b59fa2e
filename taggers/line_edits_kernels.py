"""Line edits of web filters: lines dropped, phrases cut, blank lines capped; each document's result is a list of what stays.

Legend: C lines of one document. A line's row is that of web_sweep_kernels; a line is what stands between line feeds. Cutting a phrase is rare,
so it works on a copy of the text in which each byte knows its place in the original; everything else only marks lines.

Source: Penedo et al. 2023 (RefinedWeb), appendix G.2; DCLM baselines/mappers/modifiers.py; allenai/datamap-rs src/map_fxn.rs (021da52).
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import character_class_kernel, decode_kernel, lower_ascii_kernel
from taggers.characters import ALNUM_BIT, CONNECTOR, EXTEND, NUMBER, SPACE_BIT, TABLE_SIZE
from taggers.repetition_kernels import count_words_kernel
from taggers.web_sweep_kernels import (
    DIGITS,
    END,
    FIRST_WORD,
    FLAGS,
    HAS_PHRASE,
    LAST_WORD,
    LINE_SIZE,
    LINE_SPACED,
    START,
    UPPER,
)

DROPPED = 2  # in the column FLAGS, beside HAS_PHRASE

# columns of `options`: what tools read differently, see taggers.web_filter
(
    COUNTER_OPEN,  # a counter at the start of a line is enough
    SPACED_LINE_WORDS,  # the words of a line are those between white space
    PHRASE_MAX_WORDS,  # phrases are cut from lines of at most so many words
    ANY_SIGN,  # "." in a phrase stands for any character
    IGNORES_CASE,  # of ASCII letters in phrases
    LEAVES_SPACE,  # a phrase inside a line leaves a space, and takes the white space behind it too
    STRIPS,  # white space at both ends of the text goes
    TRIMS_RETURNS,  # with each phrase, a return before a line feed and a line feed at the end go
    CAPS_AGAIN,  # line feeds are capped after the edits too
) = range(9)
NUM_OPTIONS = 9

ANY_LENGTH = 2**62  # as PHRASE_MAX_WORDS
MAX_FEEDS = 2
MIN_LINE_WORDS = 2
MAX_UPPER_SHARE, MAX_DIGIT_SHARE = 0.5, 0.999999
_LINE_FEED, _RETURN, _SPACE, _DOT, _COMMA = 10, 13, 32, 46, 44
_CAPITAL_A, _CAPITAL_Z = 65, 90
_KILO, _MEGA, _BILLION = 107, 109, 98

# what a phrase's place in a line is
INSIDE, AT_END, AT_START = np.int64(0), np.int64(1), np.int64(2)  # not int: a kernel would be compiled for each of them
_PHRASES = (b"items in cart", b"Read more...", b"Sign-in")  # INSIDE, AT_END, AT_START
PHRASE_BYTES = np.frombuffer(b"".join(_PHRASES), np.uint8)
PHRASE_OFFSETS = np.cumsum([0, *map(len, _PHRASES)])
_FIRST_AT_START = _PHRASES[AT_START].lower()[0]
_KEPT_SPACE = _PHRASES[INSIDE].index(b" ")  # the space of the phrase that stays for LEAVES_SPACE

_COUNTED = (
    b"likes", b"shares", b"comments", b"retweets", b"reposts", b"quotes", b"bookmarks", b"upvotes", b"downvotes", b"downloads", b"views",
    b"followers",
)  # fmt: skip
COUNTED_BYTES = np.frombuffer(b"".join(_COUNTED), np.uint8)
COUNTED_OFFSETS = np.cumsum([0, *map(len, _COUNTED)])


@njit(**KERNEL_BORROWING_INNER)
def read_character_kernel(data, at, end, table):
    """(code point, entry of the table, width) of the character at data[at]; not inlined, so that what is rare stays small."""
    code, width = decode_kernel(data, at, end)
    return code, character_class_kernel(table, code), width


@njit(inline="always", **KERNEL)
def is_letter_kernel(byte):
    """Whether the byte is an ASCII letter."""
    return _CAPITAL_A <= byte & 0xDF <= _CAPITAL_Z


@njit(**KERNEL_BORROWING_INNER)
def is_word_sign_kernel(data, at, end, table):
    """(whether the character at data[at] is a letter, a number, a mark, a joiner or a connector, its width): \\w of regular expressions."""
    _, entry, width = read_character_kernel(data, at, end, table)
    word_class = entry & 15
    return (entry & ALNUM_BIT != 0) | (word_class == EXTEND) | (word_class == CONNECTOR), width


@njit(**KERNEL_BORROWING)
def is_counter_kernel(data, start, end, table, lower, is_open):
    """Whether the line data[start:end], lower-cased, is a counter: signs, a number with an optional k, m or b, white space, what is counted, signs.

    is_open : bool   what stands behind the counted word does not matter

    "* 1.2K likes *" is a counter, "12 views of it" only when is_open
    """
    at = start
    while at < end:
        _, entry, width = read_character_kernel(data, at, end, table)
        if entry & 15 == NUMBER:
            break
        is_word, width = is_word_sign_kernel(data, at, end, table)
        if is_word:
            return False
        at += width
    if at >= end:
        return False
    while at < end:
        code, entry, width = read_character_kernel(data, at, end, table)
        if entry & 15 != NUMBER and code != _COMMA and code != _DOT:
            break
        at += width
    if at < end:
        code, _, width = read_character_kernel(data, at, end, table)
        if code < TABLE_SIZE:
            code = np.int64(lower[code])
        if (code == _KILO) | (code == _MEGA) | (code == _BILLION):
            at += width
    word_start = at
    while at < end:
        _, entry, width = read_character_kernel(data, at, end, table)
        if not entry & SPACE_BIT:
            break
        at += width
    if at == word_start:
        return False
    for counted in range(len(COUNTED_OFFSETS) - 1):
        behind = at
        matches = True
        for i in range(COUNTED_OFFSETS[counted], COUNTED_OFFSETS[counted + 1]):
            if behind >= end:
                matches = False
                break
            code, _, width = read_character_kernel(data, behind, end, table)
            if code < TABLE_SIZE:
                code = np.int64(lower[code])
            if code != COUNTED_BYTES[i]:
                matches = False
                break
            behind += width
        if not matches:
            continue
        if is_open:
            return True
        while behind < end:
            is_word, width = is_word_sign_kernel(data, behind, end, table)
            if is_word:
                return False
            behind += width
        return True
    return False


@njit(**KERNEL_BORROWING_INNER)
def is_space_kernel(data, at, end, table):
    """Whether the character at data[at] is white space."""
    return read_character_kernel(data, at, end, table)[1] & SPACE_BIT != 0


@njit(**KERNEL_BORROWING_INNER)
def before_kernel(data, start, at):
    """Where the character before data[at] begins, not before `start`."""
    at -= 1
    while at > start and data[at] & 0xC0 == 0x80:
        at -= 1
    return np.int64(at)


@njit(**KERNEL_BORROWING_INNER)
def match_phrase_kernel(data, at, end, phrase, options):
    """Where phrase number `phrase` ends when it stands at data[at]; -1 when it does not, or not before `end`."""
    for i in range(PHRASE_OFFSETS[phrase], PHRASE_OFFSETS[phrase + 1]):
        if at >= end:
            return np.int64(-1)
        wanted = PHRASE_BYTES[i]
        if options[ANY_SIGN] and wanted == _DOT:
            at += decode_kernel(data, at, end)[1]
            continue
        if data[at] != wanted and not (
            options[IGNORES_CASE] and lower_ascii_kernel(data[at]) == lower_ascii_kernel(wanted)
        ):
            return np.int64(-1)
        at += 1
    return np.int64(at)


@njit(**KERNEL_BORROWING_INNER)
def find_phrase_kernel(data, start, end, phrase, options):
    """(first byte, end) of the phrase in data[start:end] where its kind wants it, the leftmost for INSIDE; (-1, -1) without."""
    if phrase == AT_START:
        return np.int64(start), match_phrase_kernel(data, start, end, phrase, options)
    at = np.int64(end)
    if phrase == AT_END:
        # where the phrase would begin: a sign that stands for any may have several bytes
        for i in range(PHRASE_OFFSETS[phrase + 1] - 1, PHRASE_OFFSETS[phrase] - 1, -1):
            if at <= start:
                return np.int64(-1), np.int64(-1)
            at = before_kernel(data, start, at) if options[ANY_SIGN] and PHRASE_BYTES[i] == _DOT else at - 1
        return at, match_phrase_kernel(data, at, end, phrase, options)
    size = PHRASE_OFFSETS[phrase + 1] - PHRASE_OFFSETS[phrase]
    for first in range(start, end - size + 1):
        stop = match_phrase_kernel(data, first, end, phrase, options)
        if stop >= 0:
            return np.int64(first), stop
    return np.int64(-1), np.int64(-1)


@njit(**KERNEL_BORROWING_INNER)
def cap_feeds_kernel(num_lines, lines):
    """Drop blank lines of those that are left, so that no more than two line feeds follow each other."""
    feeds = np.int64(0)
    previous = np.int64(-1)
    for i in range(num_lines):
        if lines[i, FLAGS] & DROPPED:
            continue
        if previous >= 0:
            if feeds == MAX_FEEDS:
                lines[previous, FLAGS] |= DROPPED  # blank: one line feed less
            else:
                feeds += 1
        if lines[i, START] < lines[i, END]:
            feeds = np.int64(0)
        previous = i


@njit(**KERNEL_BORROWING_INNER)
def mark_lines_kernel(data, start, num_lines, lines, table, lower, options):
    """Cap line feeds and mark the lines that rules drop in the column FLAGS; returns whether a line that is left has a phrase or a return to cut.

    Dropped: more than half upper-case letters; digits alone; a counter; fewer than two words. Blank lines stay.
    """
    cap_feeds_kernel(num_lines, lines)
    has_phrase = False
    for i in range(num_lines):
        if lines[i, FLAGS] & DROPPED or lines[i, START] == lines[i, END]:
            continue
        size = lines[i, LINE_SIZE]
        first, last = start + lines[i, START], start + lines[i, END]
        num_words = lines[i, LINE_SPACED] if options[SPACED_LINE_WORDS] else lines[i, LAST_WORD] - lines[i, FIRST_WORD]
        if (
            num_words < MIN_LINE_WORDS
            or lines[i, UPPER] / size > MAX_UPPER_SHARE
            or lines[i, DIGITS] / size > MAX_DIGIT_SHARE
            or (
                not is_letter_kernel(data[first])
                and is_counter_kernel(data, first, last, table, lower, options[COUNTER_OPEN])
            )
        ):
            lines[i, FLAGS] |= DROPPED
            continue
        if has_phrase or (num_words > options[PHRASE_MAX_WORDS]):
            continue
        if options[TRIMS_RETURNS]:
            has_phrase = data[last - 1] == _RETURN
        has_phrase = (
            has_phrase
            or (
                lower_ascii_kernel(data[first]) == _FIRST_AT_START
                and find_phrase_kernel(data, first, last, AT_START, options)[1] >= 0
            )
            or find_phrase_kernel(data, first, last, AT_END, options)[1] >= 0
            or (lines[i, FLAGS] & HAS_PHRASE and find_phrase_kernel(data, first, last, INSIDE, options)[1] >= 0)
        )
    return has_phrase


@njit(**KERNEL_BORROWING_INNER)
def drop_end_feeds_kernel(num_lines, lines, num_times):
    """A line feed at the text's end goes, num_times over: a blank last line is dropped."""
    for i in range(num_lines - 1, -1, -1):
        if lines[i, FLAGS] & DROPPED:
            continue
        if num_times == 0 or lines[i, START] < lines[i, END]:
            return
        lines[i, FLAGS] |= DROPPED
        num_times -= 1


@njit(**KERNEL_BORROWING_INNER)
def copy_lines_kernel(data, start, num_lines, lines, with_places, out_bytes, out_places):
    """The lines that are left, joined by line feeds, into out_bytes; returns how many bytes those are.

    with_places : bool   out_places[i] is set to where byte i stands in the document
    """
    written = np.int64(0)
    is_first = True
    for i in range(num_lines):
        if lines[i, FLAGS] & DROPPED:
            continue
        # the line feed before the line comes with it
        first = lines[i, START] - (0 if is_first else 1)
        size = lines[i, END] - first
        for k in range(size):
            out_bytes[written + k] = data[start + first + k]
        if with_places:
            for k in range(size):
                out_places[written + k] = first + k
        written += size
        is_first = False
    return written


@njit(**KERNEL_BORROWING_INNER)
def write_line_spans_kernel(num_lines, lines, num_bytes, out_starts, out_ends, num_spans):
    """As write_spans_kernel, of a document in which lines were dropped and nothing else."""
    expected = np.int64(0)
    is_first = True
    for i in range(num_lines + 1):
        if i < num_lines and lines[i, FLAGS] & DROPPED:
            continue
        first = num_bytes if i == num_lines else lines[i, START] - (0 if is_first else 1)
        if first > expected:
            if num_spans < len(out_starts):
                out_starts[num_spans], out_ends[num_spans] = expected, first
            num_spans += 1
        if i < num_lines:
            expected = lines[i, END]
            is_first = False
    return num_spans


@njit(**KERNEL_BORROWING_INNER)
def strip_kernel(text, places, size, table):
    """Move text[:size] without outer white space to the front; returns its size."""
    first, stop = np.int64(0), np.int64(size)
    while first < stop and is_space_kernel(text, first, stop, table):
        first += read_character_kernel(text, first, stop, table)[2]
    while first < stop and is_space_kernel(text, before_kernel(text, first, stop), stop, table):
        stop = before_kernel(text, first, stop)
    for i in range(first, stop):
        text[i - first], places[i - first] = text[i], places[i]
    return stop - first


@njit(**KERNEL_BORROWING_INNER)
def cut_phrase_kernel(text, places, size, phrase, table, options):
    """Cut one phrase out of every short line of text[:size], in place; a line of which nothing is left goes. Returns the new size.

    White space before the phrase goes with it (AT_START: behind it); with LEAVES_SPACE, INSIDE, that on both sides, and a space stays.

    "3 items in cart now" becomes "3 now", "News Read more..." becomes "News", "Sign-in here" becomes "here"
    """
    written = np.int64(0)
    at = np.int64(0)
    is_first = True
    while at <= size:
        stop = at
        while stop < size and text[stop] != _LINE_FEED:
            stop += 1
        next_line = stop + 1
        if options[TRIMS_RETURNS]:
            if at == size:
                break  # behind the last line feed there is no line
            if stop < size and stop > at and text[stop - 1] == _RETURN:
                stop -= 1
        line_written = written
        if not is_first:
            # the line feed before this line
            text[written], places[written] = _LINE_FEED, places[at - 1]
            written += 1
        is_blank = at == stop
        is_long = (
            options[PHRASE_MAX_WORDS] < ANY_LENGTH
            and count_line_words_kernel(text, at, stop, table, options) > options[PHRASE_MAX_WORDS]
        )
        if is_blank or is_long:
            written = move_bytes_kernel(text, places, at, stop, written)
            is_first = False
            at = next_line
            continue
        content = written
        while True:
            first, behind = find_phrase_kernel(text, at, stop, phrase, options)
            if behind < 0:
                break
            before, after = first, behind
            takes_behind = phrase == AT_START or (phrase == INSIDE and options[LEAVES_SPACE])
            if phrase != AT_START and first > at and is_space_kernel(text, before_kernel(text, at, first), stop, table):
                before = before_kernel(text, at, first)
            if takes_behind and behind < stop and is_space_kernel(text, behind, stop, table):
                after += read_character_kernel(text, behind, stop, table)[2]
            written = move_bytes_kernel(text, places, at, before, written)
            if phrase == INSIDE and options[LEAVES_SPACE]:
                text[written], places[written] = _SPACE, places[first + _KEPT_SPACE]
                written += 1
            at = after
            if phrase == AT_START:
                break
        written = move_bytes_kernel(text, places, at, stop, written)
        left = content
        while left < written and is_space_kernel(text, left, written, table):
            left += read_character_kernel(text, left, written, table)[2]
        if left == written:
            written = line_written
        else:
            is_first = False
        at = next_line
    return written


@njit(**KERNEL_BORROWING_INNER)
def move_bytes_kernel(text, places, start, end, to):
    """text[start:end] and its places to text[to:], to <= start; returns where they end there."""
    for i in range(start, end):
        text[to], places[to] = text[i], places[i]
        to += 1
    return to


@njit(**KERNEL_BORROWING_INNER)
def count_line_words_kernel(text, start, end, table, options):
    """Words of a line, of the kind that the options say."""
    if not options[SPACED_LINE_WORDS]:
        return count_words_kernel(text, start, end, table)
    words = np.int64(0)
    is_open = False
    at = start
    while at < end:
        is_space = is_space_kernel(text, at, end, table)
        words += not is_space and not is_open
        is_open = not is_space
        at += read_character_kernel(text, at, end, table)[2]
    return words


@njit(**KERNEL_BORROWING_INNER)
def cut_phrases_kernel(text, places, size, table, options):
    """All three phrases, one after the other, and white space at the ends where the options say so; returns the new size."""
    if options[STRIPS]:
        size = strip_kernel(text, places, size, table)
    for phrase in range(len(PHRASE_OFFSETS) - 1):
        size = cut_phrase_kernel(text, places, size, np.int64(phrase), table, options)
        if options[STRIPS]:
            size = strip_kernel(text, places, size, table)
    return size


@njit(**KERNEL_BORROWING_INNER)
def cap_text_kernel(text, places, size):
    """At most two line feeds in a row, in place; returns the new size."""
    written = feeds = np.int64(0)
    for i in range(size):
        feeds = feeds + 1 if text[i] == _LINE_FEED else np.int64(0)
        if feeds <= MAX_FEEDS:
            text[written], places[written] = text[i], places[i]
            written += 1
    return written


@njit(**KERNEL_BORROWING_INNER)
def write_spans_kernel(places, size, num_bytes, out_starts, out_ends, num_spans):
    """Spans of a document of num_bytes that `places` lack, behind the num_spans before; returns their number; only those that fit are stored."""
    expected = np.int64(0)
    for i in range(size + 1):
        place = np.int64(places[i]) if i < size else np.int64(num_bytes)
        if place > expected:
            if num_spans < len(out_starts):
                out_starts[num_spans], out_ends[num_spans] = expected, place
            num_spans += 1
        expected = place + 1
    return num_spans
