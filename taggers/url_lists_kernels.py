"""Matching URLs against lists: exact hosts and URLs by hash tables, words and substrings by an automaton of all patterns.

Legend: N URLs, B bytes of all of them; L lists of one automaton, P patterns, S states, C classes of bytes; K keys of a table.
The automaton is Aho and Corasick's (1975) with all transitions written out: state * C + class -> state.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
import numpy.typing as npt  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import lower_ascii_kernel

# how a list of patterns counts: matches that do not overlap; whole words; different whole words
SUBSTRINGS, WORDS, DISTINCT_WORDS = range(3)
IGNORED = -1  # class of bytes that are passed over


class Automaton(NamedTuple):
    """All patterns of some lists. Class 0 is every byte that no pattern has; state 0 is the start."""

    classes: npt.NDArray[
        np.int16
    ]  # (256,) class of each byte, both cases alike, IGNORED for bytes that are passed over
    steps: npt.NDArray[np.int32]  # (S * C,)
    links: npt.NDArray[np.int32]  # (S,) the longest proper suffix of the state that ends a pattern, 0 for none
    first: npt.NDArray[np.int32]  # (S,) a pattern that ends here, -1 for none
    following: npt.NDArray[np.int32]  # (P,) another pattern of the same text (in another list), -1 for none
    lengths: npt.NDArray[np.int32]  # (P,) bytes
    lists: npt.NDArray[np.int32]  # (P,)


class KeyTable(NamedTuple):
    """K different keys by their hash, open addressing; the keys themselves are compared, so that no hash collision counts."""

    slots: npt.NDArray[np.int32]  # (power of two above 3 K / 2,) key number, -1 where empty
    data: npt.NDArray[np.uint8]  # keys, back to back
    offsets: npt.NDArray[np.int64]  # (K + 1,)


@njit(inline="always", **KERNEL_INNER)
def _is_word(byte):
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


@njit(inline="always", **KERNEL_INNER)
def _mix(state, byte):
    return (state ^ np.uint64(lower_ascii_kernel(byte))) * np.uint64(0x100000001B3)  # FNV-1a


@njit(inline="always", **KERNEL_INNER)
def _slot(state, num_slots):
    state ^= state >> np.uint64(32)
    state *= np.uint64(0x9E3779B97F4A7C15)
    return np.int64((state >> np.uint64(24)) & np.uint64(num_slots - 1))


@njit(**KERNEL)
def url_parts_kernel(data, start, end):
    """(host start, host end, URL end) of the URL data[start:end]: without scheme, user, "www." and last slashes.

    The host has no port and no last dot, and where nothing follows it the URL ends with it: "https://me@www.B.org:80/a/" -> the host
    "B.org" and the end before the last "/". Total: any bytes have some host, maybe an empty one.
    """
    at = start
    while at < end and (_is_word(data[at]) or data[at] == 43 or data[at] == 45 or data[at] == 46):
        at += 1
    if at + 2 < end and data[at] == 58 and data[at + 1] == 47 and data[at + 2] == 47:
        start = at + 3
    elif start + 1 < end and data[start] == 47 and data[start + 1] == 47:
        start += 2
    stop = start
    while stop < end and not (data[stop] == 47 or data[stop] == 63 or data[stop] == 35 or data[stop] == 92):
        if data[stop] == 64:
            start = stop + 1
        stop += 1
    authority_end, url_end, port = stop, end, stop
    while url_end > stop and data[url_end - 1] == 47:
        url_end -= 1
    while port > start and 48 <= data[port - 1] <= 57:
        port -= 1
    if port > start and data[port - 1] == 58:
        stop = port - 1
    while stop > start and data[stop - 1] == 46:
        stop -= 1
    if url_end == authority_end:
        url_end = stop
    is_www = stop - start > 4 and data[start + 3] == 46
    for i in range(3):
        is_www = is_www and lower_ascii_kernel(data[start + i]) == 119
    return start + 4 if is_www else start, stop, url_end


@njit(**KERNEL)
def read_entries_kernel(data, keep, is_url, out_data, out_offsets):
    """Entries of a list file, a line each, in lower case; returns their number.

    data : uint8 (B,)             the file
    keep : bool (256,)            bytes that stay in an entry; white space around it never does
    is_url : bool                 entries are hosts or URLs: what url_parts_kernel leaves out goes
    out_data : uint8 (B,)         entries, back to back
    out_offsets : int64 (lines + 2,)

    Blank lines, entries with nothing left, and lines that begin with "#" are passed over. "# a\\nB.org \\n" -> "b.org"
    """
    entries = written = 0
    out_offsets[0] = 0
    at = 0
    while at < len(data):
        stop = at
        while stop < len(data) and data[stop] != 10:
            stop += 1
        low, high = at, stop
        at = stop + 1
        while low < high and data[low] <= 32:
            low += 1
        while high > low and data[high - 1] <= 32:
            high -= 1
        if low == high or data[low] == 35:
            continue
        if is_url:
            low, _, high = url_parts_kernel(data, low, high)
        before = written
        for i in range(low, high):
            if keep[data[i]]:
                out_data[written] = lower_ascii_kernel(data[i])
                written += 1
        if written > before:
            entries += 1
            out_offsets[entries] = written
    return entries


@njit(**KERNEL_INNER)
def _find_key(data, start, end, state, table):
    """Whether data[start:end], in lower case, is a key; state is its hash from the last byte to the first."""
    slot = _slot(state, len(table.slots))
    while table.slots[slot] >= 0:
        key = table.slots[slot]
        low, high = table.offsets[key], table.offsets[key + 1]
        if high - low == end - start:
            same = True
            for i in range(end - start):
                if lower_ascii_kernel(data[start + i]) != table.data[low + i]:
                    same = False
                    break
            if same:
                return True
        slot = (slot + 1) & (len(table.slots) - 1)
    return False


@njit(**KERNEL)
def fill_table_kernel(table):
    """Enter all keys of a table whose slots are -1; a repeated key takes no second slot. Returns the number of different keys."""
    different = 0
    for key in range(len(table.offsets) - 1):
        low, high = table.offsets[key], table.offsets[key + 1]
        state = np.uint64(0xCBF29CE484222325)
        for i in range(high - 1, low - 1, -1):
            state = _mix(state, table.data[i])
        if _find_key(table.data, low, high, state, table):
            continue
        slot = _slot(state, len(table.slots))
        while table.slots[slot] >= 0:
            slot = (slot + 1) & (len(table.slots) - 1)
        table.slots[slot] = key
        different += 1
    return different


@njit(**KERNEL)
def find_hosts_kernel(data, offsets, table, with_parents, out_found):
    """Whether each URL's host is a key, or with_parents a domain above it: bool (N,).

    With parents "a.b.org" is found by the keys "a.b.org", "b.org" and "org".
    """
    for row in range(len(offsets) - 1):
        start, end, _ = url_parts_kernel(data, offsets[row], offsets[row + 1])
        out_found[row] = False
        state = np.uint64(0xCBF29CE484222325)
        for i in range(end - 1, start - 1, -1):
            state = _mix(state, data[i])
            is_whole = i == start or (with_parents and data[i - 1] == 46)
            if is_whole and _find_key(data, i, end, state, table):
                out_found[row] = True
                break


@njit(**KERNEL)
def find_urls_kernel(data, offsets, table, out_found):
    """Whether each URL, without scheme, user, "www." and last slashes, is a key: bool (N,)."""
    for row in range(len(offsets) - 1):
        start, _, end = url_parts_kernel(data, offsets[row], offsets[row + 1])
        state = np.uint64(0xCBF29CE484222325)
        for i in range(end - 1, start - 1, -1):
            state = _mix(state, data[i])
        out_found[row] = end > start and _find_key(data, start, end, state, table)


@njit(**KERNEL)
def build_automaton_kernel(data, offsets, automaton):
    """Fill steps, links, first and following of an automaton from its patterns; returns the number of states.

    data : uint8 (bytes,), offsets : int64 (P + 1,)   patterns in lower case, without ignored bytes, none empty
    automaton                                          classes, lengths and lists are given; the others have room for bytes + 1 states
    """
    steps, links, first, following = automaton.steps, automaton.links, automaton.first, automaton.following
    width = len(steps) // len(links)
    steps[:] = 0
    links[:] = 0
    first[:] = -1
    states = 1
    for pattern in range(len(offsets) - 1):
        state = 0
        for i in range(offsets[pattern], offsets[pattern + 1]):
            cell = state * width + automaton.classes[data[i]]
            if steps[cell] == 0:
                steps[cell] = states
                states += 1
            state = steps[cell]
        following[pattern] = first[state]
        first[state] = pattern
    # breadth first: a state's fallback is shorter than the state, so it is complete before
    fallback, queue = np.zeros(states, np.int32), np.empty(states, np.int32)
    head = tail = 0
    for cell in range(width):
        if steps[cell] > 0:
            queue[tail] = steps[cell]
            tail += 1
    while head < tail:
        state = queue[head]
        head += 1
        other = fallback[state]
        links[state] = other if first[other] >= 0 else links[other]
        for symbol in range(width):
            child, across = steps[state * width + symbol], steps[other * width + symbol]
            if child > 0:
                fallback[child] = across
                queue[tail] = child
                tail += 1
            else:
                steps[state * width + symbol] = across
    return states


@njit(**KERNEL)
def count_hits_kernel(data, offsets, automaton, modes, out_counts):
    """Fill out_counts int64 (N, L): how often each list's patterns stand in each URL, by the list's mode.

    SUBSTRINGS counts matches that do not overlap, the one that ends first before others. A word stands between bytes that are no
    letters or digits of ASCII; WORDS counts each place, DISTINCT_WORDS each pattern once.
    """
    width = len(automaton.steps) // len(automaton.links)
    last_end = np.zeros(len(modes), np.int64)
    seen = np.full(len(automaton.lists), -1, np.int64)
    for row in range(len(offsets) - 1):
        out_counts[row] = 0
        last_end[:] = 0
        state, position = np.int64(0), np.int64(0)
        for i in range(offsets[row], offsets[row + 1]):
            symbol = automaton.classes[data[i]]
            if symbol == IGNORED:
                continue
            position += 1
            state = np.int64(automaton.steps[state * width + symbol])
            ending = state if automaton.first[state] >= 0 else np.int64(automaton.links[state])
            while ending > 0:
                pattern = automaton.first[ending]
                while pattern >= 0:
                    which, start = automaton.lists[pattern], position - automaton.lengths[pattern]
                    if modes[which] == SUBSTRINGS:
                        if start >= last_end[which]:
                            out_counts[row, which] += 1
                            last_end[which] = position
                    elif _is_whole(data, offsets[row], offsets[row + 1], i + 1 - automaton.lengths[pattern], i + 1):
                        if modes[which] == WORDS or seen[pattern] != row:
                            out_counts[row, which] += 1
                        seen[pattern] = row
                    pattern = automaton.following[pattern]
                ending = np.int64(automaton.links[ending])


@njit(inline="always", **KERNEL_INNER)
def _is_whole(data, begin, end, start, stop):
    return (start == begin or not _is_word(data[start - 1])) and (stop == end or not _is_word(data[stop]))
