"""Lines of JSON to columns of documents, without an object per line: see json_lines.LineColumns.

Legend: B bytes of a block, N rows of a batch that is being filled, K names of fields.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.formats.iso_times_kernels import read_time_kernel
from dolma_py.formats.json_values_kernels import (
    BACKSLASH,
    CLOSE_LIST,
    CLOSE_OBJECT,
    COLON,
    COMMA,
    DECLINED,
    MAX_DEPTH,
    MAX_KEYS,
    MINUS,
    NINE,
    NO_ROOM,
    NULL,
    OPEN_LIST,
    OPEN_OBJECT,
    QUOTE,
    ROOM,
    ZERO,
    has_key_kernel,
    match_word_kernel,
    put_number_kernel,
    put_string_kernel,
    put_text_kernel,
    put_word_kernel,
    skip_blanks_kernel,
)
from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER
from dolma_py.vector_bytes_kernels import LANES, find_newline

import numpy as np  # isort: skip
from numba import njit  # isort: skip

# roles of a record's fields
ID, TEXT, SOURCE, ADDED, CREATED, METADATA, DROP = range(7)
# how a call ends: the block's end, a line that is for another parser, as many rows as a batch may have, an output without room
AT_END, AT_LINE, AT_LIMIT, AT_ROOM = range(4)
# outputs of bytes, and the one without room
IDS, TEXTS, SOURCES, OBJECTS, OTHERS = range(5)
# state: int64 (STATE_SIZE,); ENDS and NEW_ENDS are one of each output: what is in it, and what the line at hand would make of it
POSITION, STOP, LINE, ROWS, LINE_BYTES, MAX_LINE_BYTES, MAX_ROWS, MAX_BYTES, ROW_BYTES, ROW_OVERHEAD = range(10)
KEEPS_OTHERS, SOURCE_BYTES, HAS_SOURCES, NO_ROOM_IN, SEEN, NUM_KEYS, NUM_OTHERS, KEPT, IS_ODD = range(10, 19)
ENDS, NEW_ENDS, NEW_TIMES, NEW_MARKS, STATE_SIZE = 19, 24, 29, 31, 33
MAX_OTHERS = 60  # fields without a role in a record: bits of KEPT
HAS_ADDED, HAS_CREATED, HAS_METADATA, IS_ODD_ROW = range(4)  # rows of `marks`
LETTER_N = 0x6E


@njit(**KERNEL_BORROWING_INNER)
def put_key_kernel(block, at, out, to, keys, first, num_keys):
    """Write a key that none of the keys `first` to `num_keys` equals, and its colon; the list gets one more key."""
    start = to
    at, to = put_string_kernel(block, at, out, to)
    if at < 0:
        return at, to
    if num_keys >= MAX_KEYS or has_key_kernel(out, start, to, out, keys, first, num_keys):
        return np.int64(DECLINED), to
    keys[MAX_DEPTH + 2 + 2 * num_keys], keys[MAX_DEPTH + 3 + 2 * num_keys] = start, to
    at = skip_blanks_kernel(block, at)
    if block[at] != COLON:
        return np.int64(DECLINED), to
    out[to] = COLON
    return skip_blanks_kernel(block, at + 1), to + 1


@njit(**KERNEL_BORROWING_INNER)
def put_value_kernel(block, at, out, to, keys):
    """Write the value at `at` as orjson would: (position behind it, end in out, keys of the outermost object, is_odd).

    is_odd: numbers in it may be written differently, and only then: it is to be read and written once more.
    keys: int64 (KEY_SLOTS,), scratch; afterwards the keys of the outermost object are its first ones, as places in `out`.
    """
    depth, objects, is_odd = np.int64(0), np.int64(0), False
    num_keys = outermost = np.int64(0)
    while True:
        byte = block[at]
        if byte == QUOTE:
            at, to = put_string_kernel(block, at, out, to)
        elif byte in (OPEN_OBJECT, OPEN_LIST):
            is_object = byte == OPEN_OBJECT
            if depth >= MAX_DEPTH:
                return np.int64(DECLINED), to, outermost, is_odd
            if to > len(out) - ROOM:
                return np.int64(NO_ROOM), to, outermost, is_odd
            out[to] = byte
            to += 1
            at = skip_blanks_kernel(block, at + 1)
            depth += 1
            objects = objects << 1 | is_object
            keys[depth] = num_keys
            if block[at] != (CLOSE_OBJECT if is_object else CLOSE_LIST):
                if is_object:
                    at, to = put_key_kernel(block, at, out, to, keys, num_keys, num_keys)
                    num_keys += 1
                    if at < 0:
                        return at, to, outermost, is_odd
                continue
            # empty: it is closed below
        elif byte == MINUS or ZERO <= byte <= NINE:
            at, to, _, is_odd_number = put_number_kernel(block, at, out, to)
            is_odd |= is_odd_number
        else:
            at, to = put_word_kernel(block, at, out, to)
        if at < 0:
            return at, to, outermost, is_odd
        while depth > 0:
            at = skip_blanks_kernel(block, at)
            byte, is_object = block[at], objects & 1 == 1
            if to > len(out) - ROOM:
                return np.int64(NO_ROOM), to, outermost, is_odd
            if byte == COMMA:
                out[to] = COMMA
                at, to = skip_blanks_kernel(block, at + 1), to + 1
                if is_object:
                    at, to = put_key_kernel(block, at, out, to, keys, keys[depth], num_keys)
                    num_keys += 1
                    if at < 0:
                        return at, to, outermost, is_odd
                break
            if byte != (CLOSE_OBJECT if is_object else CLOSE_LIST):
                return np.int64(DECLINED), to, outermost, is_odd
            out[to] = byte
            at, to = at + 1, to + 1
            outermost = num_keys
            num_keys = keys[depth]
            objects >>= 1
            depth -= 1
        if depth == 0:
            return at, to, outermost, is_odd


@njit(**KERNEL_BORROWING_INNER)
def find_name_kernel(block, at, names, name_offsets):
    """The number of the name that the key with the opening quote at `at` is, K when it is none."""
    num_names = len(name_offsets) - 1
    for number in range(num_names):
        start = name_offsets[number]
        length = name_offsets[number + 1] - start
        place = np.int64(0)
        while place < length and block[at + 1 + place] == names[start + place]:
            place += 1
        if place == length and block[at + 1 + length] == QUOTE:
            return np.int64(number)
    return np.int64(num_names)


@njit(**KERNEL_BORROWING_INNER)
def take_time_kernel(block, at, state, which):
    """A time, or null; returns the position behind it."""
    if block[at] != QUOTE:
        return at + 4 if match_word_kernel(block, at, NULL) else np.int64(DECLINED)
    state[NEW_TIMES + which], at = read_time_kernel(block, at + 1)
    state[NEW_MARKS + which] = 1
    return at


@njit(**KERNEL_BORROWING_INNER)
def take_string_kernel(block, at, state, which, out):
    """A string into one of the outputs; null and a whole number, which only ids may be, are told apart by the caller."""
    at, state[NEW_ENDS + which] = put_text_kernel(block, at + 1, out, state[ENDS + which])
    state[NO_ROOM_IN] = which
    return at


@njit(**KERNEL_BORROWING_INNER)
def take_id_kernel(block, at, state, ids):
    """A string, a whole number or null; returns the position behind it."""
    if block[at] == QUOTE:
        return take_string_kernel(block, at, state, IDS, ids)
    if match_word_kernel(block, at, NULL):
        return at + 4
    at, end, is_integer, is_odd = put_number_kernel(block, at, ids, state[ENDS + IDS])
    state[NO_ROOM_IN], state[NEW_ENDS + IDS] = IDS, end
    return np.int64(DECLINED) if at >= 0 and (is_odd or not is_integer) else at


@njit(**KERNEL_BORROWING_INNER)
def take_metadata_kernel(block, at, state, metadata, keys):
    """An object, or null; returns the position behind it."""
    if block[at] != OPEN_OBJECT:
        return at + 4 if match_word_kernel(block, at, NULL) else np.int64(DECLINED)
    at, end, num_keys, is_odd = put_value_kernel(block, at, metadata, state[ENDS + OBJECTS], keys)
    state[NEW_ENDS + OBJECTS], state[NUM_KEYS], state[IS_ODD], state[NO_ROOM_IN] = end, num_keys, is_odd, OBJECTS
    return at


@njit(**KERNEL_BORROWING_INNER)
def take_other_kernel(block, at, state, source, others, keys):
    """A field without a role, key and value, for metadata: into `others`, where all of them stand without commas between them.

    Null is not kept, nor is a `source` that is the reader's own. keys: as in take_lines_kernel.
    """
    place = at + 1
    while block[place] != QUOTE:
        if block[place] == BACKSLASH or block[place] < 0x20:  # it may be the name of a field, written differently
            return np.int64(DECLINED)
        place += 1
    number = state[NUM_OTHERS]
    start = end = state[NEW_ENDS + OTHERS]
    state[NO_ROOM_IN] = OTHERS
    at, end = put_key_kernel(block, at, others, end, keys[1], 0, number)
    if at < 0 or number >= MAX_OTHERS:
        return at if at < 0 else np.int64(DECLINED)
    is_null = block[at] == LETTER_N
    at, end, _, is_odd = put_value_kernel(block, at, others, end, keys[2])
    if at < 0:
        return at
    own = len(source) - state[SOURCE_BYTES]  # bytes of `"source":"..."`
    is_own = end - start == own
    place = np.int64(0)
    while is_own and place < own:
        is_own = others[start + place] == source[state[SOURCE_BYTES] + place]
        place += 1
    if not is_null and not is_own and state[KEEPS_OTHERS]:
        state[KEPT] |= 1 << number
        state[IS_ODD] |= is_odd
    state[NUM_OTHERS], state[NEW_ENDS + OTHERS] = number + 1, end
    return at


@njit(**KERNEL_BORROWING_INNER)
def add_others_kernel(state, metadata, others, origin, keys):
    """Write the other fields and the origin behind the metadata's own, and close it; returns 0, DECLINED or NO_ROOM."""
    start, to = state[ENDS + OBJECTS], state[NEW_ENDS + OBJECTS]
    state[NO_ROOM_IN] = OBJECTS
    if to + state[NEW_ENDS + OTHERS] + state[NUM_OTHERS] + len(origin) > len(metadata) - ROOM:
        return np.int64(NO_ROOM)
    if to == start:
        metadata[to] = OPEN_OBJECT
        to += 2
    to -= 1  # its closing brace
    has_origin = len(origin) == 0 or has_key_kernel(origin, 0, 8, metadata, keys[0], 0, state[NUM_KEYS])
    for number in range(state[NUM_OTHERS]):
        if not state[KEPT] >> number & 1:
            continue
        first, end = keys[1, MAX_DEPTH + 2 + 2 * number], keys[1, MAX_DEPTH + 3 + 2 * number]
        if has_key_kernel(others, first, end, metadata, keys[0], 0, state[NUM_KEYS]):
            return np.int64(DECLINED)
        has_origin |= has_key_kernel(origin, 0, min(8, len(origin)), others, keys[1], number, number + 1)
        is_last = number + 1 == state[NUM_OTHERS]
        stop = state[NEW_ENDS + OTHERS] if is_last else keys[1, MAX_DEPTH + 4 + 2 * number]
        if to > start + 1:
            metadata[to] = COMMA
            to += 1
        for place in range(first, stop):
            metadata[to + place - first] = others[place]
        to += stop - first
    if not has_origin:
        if to > start + 1:
            metadata[to] = COMMA
            to += 1
        for place in range(len(origin)):
            metadata[to + place] = origin[place]
        to = put_integer_kernel(state[LINE], metadata, to + len(origin))
        metadata[to] = QUOTE
        to += 1
    if to == start + 1:
        to = start
    else:
        metadata[to] = CLOSE_OBJECT
        to += 1
    state[NEW_ENDS + OBJECTS] = to
    return np.int64(0)


@njit(**KERNEL_BORROWING_INNER)
def put_integer_kernel(number, out, to):
    """Write a whole number that is not negative; returns the end."""
    length, rest = 1, number // 10
    while rest:
        length, rest = length + 1, rest // 10
    for place in range(length):
        out[to + length - 1 - place] = ZERO + number % 10
        number //= 10
    return to + length


@njit(**KERNEL_BORROWING_INNER)
def take_line_kernel(block, at, state, names, name_offsets, roles, source, ids, texts, sources, metadata, others, keys):
    """The record whose brace is at `at`, into the outputs behind their ends: the position of its newline, DECLINED or NO_ROOM."""
    for which in range(5):
        state[NEW_ENDS + which] = state[ENDS + which]
    for which in (NEW_MARKS, NEW_MARKS + 1, SEEN, NUM_KEYS, NUM_OTHERS, KEPT, IS_ODD):
        state[which] = 0
    has_text = False
    at = skip_blanks_kernel(block, at + 1)
    while True:
        if block[at] != QUOTE:
            return np.int64(DECLINED)
        name = find_name_kernel(block, at, names, name_offsets)
        if name == len(roles):
            at = take_other_kernel(block, at, state, source, others, keys)
        else:
            if state[SEEN] >> name & 1:
                return np.int64(DECLINED)
            state[SEEN] |= 1 << name
            at = skip_blanks_kernel(block, at + 2 + name_offsets[name + 1] - name_offsets[name])
            if block[at] != COLON:
                return np.int64(DECLINED)
            at = skip_blanks_kernel(block, at + 1)
            role = roles[name]
            if role == TEXT:
                if block[at] != QUOTE:
                    return np.int64(DECLINED)
                at = take_string_kernel(block, at, state, TEXTS, texts)
                has_text = True
            elif role == ID:
                at = take_id_kernel(block, at, state, ids)
            elif role == SOURCE:
                if block[at] == QUOTE:
                    at = take_string_kernel(block, at, state, SOURCES, sources)
                else:
                    at = at + 4 if match_word_kernel(block, at, NULL) else np.int64(DECLINED)
            elif role == METADATA:
                at = take_metadata_kernel(block, at, state, metadata, keys[0])
            elif role == DROP:
                state[NO_ROOM_IN] = OTHERS
                at = put_value_kernel(block, at, others, state[NEW_ENDS + OTHERS], keys[2])[0]
            else:
                at = take_time_kernel(block, at, state, role - ADDED)
        if at < 0:
            return at
        at = skip_blanks_kernel(block, at)
        if block[at] != COMMA:
            break
        at = skip_blanks_kernel(block, at + 1)
    if block[at] != CLOSE_OBJECT or not has_text:
        return np.int64(DECLINED)
    at = skip_blanks_kernel(block, at + 1)
    return at if block[at] == 0x0A else np.int64(DECLINED)


@njit(**KERNEL_BORROWING)
def take_lines_kernel(
    block, state, names, name_offsets, roles, origin, source, ids, texts, sources, metadata, others, offsets, times, marks, keys
):  # fmt: skip
    """Add the records of whole lines to a batch, until something stops it; returns how it ended, AT_END to AT_ROOM.

    block : uint8 (B,)                 the lines are block[state[POSITION]:state[STOP]], each with its newline; valid UTF-8; ROOM bytes follow
    state : int64 (STATE_SIZE,)        where it stands and what the limits are; a line that stops it stands at POSITION, LINE_BYTES long
    names : uint8, name_offsets : int64 (K + 1,), roles : int64 (K,)   fields with a role
    origin : uint8                     `"origin":"path:`, empty where none is wanted
    source : uint8                     the reader's source, SOURCE_BYTES long, and behind it `"source":"..."`
    ids, texts, sources, metadata : uint8   bytes of the columns; others : uint8, scratch
    offsets : int64 (4, N + 1)         of ids, texts, sources and metadata; an id that is missing has no bytes
    times : int64 (2, N)               added and created, microseconds since 1970
    marks : uint8 (4, N)               HAS_ADDED, HAS_CREATED, HAS_METADATA, IS_ODD_ROW: metadata to be read and written once more
    keys : int64 (3, KEY_SLOTS)        scratch: keys of metadata, of other fields, of objects below them
    """
    while state[POSITION] < state[STOP]:
        begin = state[POSITION]
        at = skip_blanks_kernel(block, begin)
        if block[at] == 0x0A:
            state[POSITION] = at + 1
            state[LINE] += 1
            continue
        if state[ROWS] >= state[MAX_ROWS] or state[ROW_BYTES] >= state[MAX_BYTES]:
            return AT_LIMIT
        row = state[ROWS]
        if row + 1 >= offsets.shape[1]:
            state[NO_ROOM_IN] = -1
            return AT_ROOM
        end = np.int64(DECLINED)
        if block[at] == OPEN_OBJECT:
            end = take_line_kernel(
                block, at, state, names, name_offsets, roles, source, ids, texts, sources, metadata, others, keys
            )
        if end >= 0 and end - begin <= state[MAX_LINE_BYTES]:
            added = add_others_kernel(state, metadata, others, origin, keys)
            if added == 0 and state[HAS_SOURCES]:
                added = add_source_kernel(state, source, sources)
            end = end if added == 0 else added
        else:
            end = min(end, np.int64(DECLINED))
        if end == NO_ROOM:
            return AT_ROOM
        if end < 0:
            stop = begin
            run = np.int64(LANES)
            while run == LANES:
                run = find_newline(block, stop)
                stop += run
            state[LINE_BYTES] = stop - begin
            return AT_LINE
        for which in range(4):
            state[ENDS + which] = offsets[which, row + 1] = state[NEW_ENDS + which]
        for which in range(2):
            times[which, row], marks[which, row] = state[NEW_TIMES + which], state[NEW_MARKS + which]
        marks[HAS_METADATA, row] = offsets[OBJECTS, row + 1] > offsets[OBJECTS, row]
        marks[IS_ODD_ROW, row] = state[IS_ODD]
        state[ROWS] = row + 1
        state[ROW_BYTES] += end - begin + state[ROW_OVERHEAD]
        state[LINE] += 1
        state[POSITION] = end + 1
    return AT_END


@njit(**KERNEL_BORROWING_INNER)
def add_source_kernel(state, source, sources):
    """The reader's source for a record that has none, or an empty one; returns 0 or NO_ROOM."""
    to = state[NEW_ENDS + SOURCES]
    if to > state[ENDS + SOURCES]:
        return np.int64(0)
    state[NO_ROOM_IN] = SOURCES
    if to + state[SOURCE_BYTES] > len(sources):
        return np.int64(NO_ROOM)
    for place in range(state[SOURCE_BYTES]):
        sources[to + place] = source[place]
    state[NEW_ENDS + SOURCES] = to + state[SOURCE_BYTES]
    return np.int64(0)
