"""E-mail and IP addresses at one place of a text. Each kernel answers (kind, start, end), kind NONE where there is none.

Legend: `begin`, `end` bound the text in `data`; `floor` is where the last span ended, and nothing may begin before it.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.pii_bytes import (
    BYTE_BITS,
    DIGIT,
    HEX,
    LOCAL,
    NO_DOMAIN_WORDS,
    NUMBER_WORD,
    VERSION_WORD,
    WORD,
    WORD_CLASSES,
    WORDS,
)

NONE, EMAIL, PHONE, IP, PRIVATE_IP, IBAN, CARD = range(7)
_MAX_LOCAL, _MAX_LABEL, _MAX_TOP = 64, 63, 24
_CONTEXT_BYTES, _CONTEXT_WORDS = 32, 4
_SMALL_OCTET, _TINY_OCTET = 32, 10


@njit(inline="always", **KERNEL_INNER)
def _is(byte, bits):
    return BYTE_BITS[byte] & bits != 0


@njit(inline="always", **KERNEL_INNER)
def _letter_width(data, low, at):
    """Bytes of the letter that ends before data[at], 0 where there is none above `low`."""
    if at <= low:
        return 0
    byte = data[at - 1]
    if byte < 128:
        return 1 if _is(byte, WORD) and not _is(byte, DIGIT) else 0
    return 2 if byte < 0xC0 and at - 2 >= low and 0xC3 <= data[at - 2] <= 0xDF else 0


@njit(**KERNEL_INNER)
def word_class_kernel(data, begin, at):
    """What the nearest known word before data[at] says a number is: PHONE_WORD, VERSION_WORD, NUMBER_WORD, or 0.

    The last four words of the line within 32 bytes are looked at; of a word its last seven bytes count, so that
    "AssemblyVersion" says what "version" does. "#" stands for NUMBER_WORD. Letters are those of ASCII and of two bytes in UTF-8 (Latin
    with accents, Greek, Cyrillic, Hebrew, Arabic); the case of the latter counts.
    """
    low = max(begin, at - _CONTEXT_BYTES)
    words = 0
    while at > low and words < _CONTEXT_WORDS:
        byte = data[at - 1]
        if byte == 10:  # line feed
            return 0
        if byte == 35:  # "#"
            return NUMBER_WORD
        width = _letter_width(data, low, at)
        if width == 0:
            at -= 1
            continue
        packed, shift = np.uint64(0), np.uint64(0)
        while width > 0:
            for _ in range(width):
                if shift < np.uint64(56):
                    packed |= np.uint64(data[at - 1] | 0x20 if width == 1 else data[at - 1]) << shift
                    shift += np.uint64(8)
                at -= 1
            width = _letter_width(data, low, at)
        found = np.searchsorted(WORDS, packed)
        if found < len(WORDS) and WORDS[found] == packed:
            return WORD_CLASSES[found]
        words += 1
    return 0


@njit(**KERNEL_INNER)
def _domain_end(data, at, end):
    """End of the host name that starts at `at`: the last label of letters with another before it; -1 for none."""
    found, labels = np.int64(-1), 0
    while True:
        start, only_letters = at, True
        while at < end and at - start <= _MAX_LABEL and (_is(data[at], WORD) or data[at] == 45):
            only_letters &= not _is(data[at], DIGIT) and data[at] != 45
            at += 1
        stop = at
        while stop > start and data[stop - 1] == 45:  # a hyphen ends no label
            stop -= 1
        if stop == start or stop - start > _MAX_LABEL or data[start] == 45:
            return found
        labels += 1
        if labels > 1 and only_letters and 2 <= stop - start <= _MAX_TOP:
            found = stop
        if stop < at or at + 1 >= end or data[at] != 46:
            return found
        at += 1


@njit(**KERNEL_INNER)
def _is_nobodys(data, start, end):
    """Whether the host name data[start:end] is reserved for examples, or ends in what is a file's ending."""
    at = end
    packed, shift = np.uint64(0), np.uint64(0)
    while data[at - 1] != 46:
        if shift < np.uint64(56):
            packed |= np.uint64(data[at - 1] | 0x20) << shift
            shift += np.uint64(8)
        at -= 1
    found = np.searchsorted(NO_DOMAIN_WORDS, packed)
    if found < len(NO_DOMAIN_WORDS) and NO_DOMAIN_WORDS[found] == packed:
        return True
    # example.com, .org, .net, and hosts below them
    if end - at != 3 or at - 8 < start or (at - 8 > start and data[at - 9] != 46):
        return False
    top = (np.int64(data[at] | 0x20) << 16) | (np.int64(data[at + 1] | 0x20) << 8) | np.int64(data[at + 2] | 0x20)
    if top != 0x636F6D and top != 0x6F7267 and top != 0x6E6574:  # com, org, net
        return False
    name = np.uint64(0)
    for i in range(at - 8, at - 1):
        name = (name << np.uint64(8)) | np.uint64(data[i] | 0x20)
    return name == np.uint64(0x6578616D706C65)  # "example"


@njit(**KERNEL_INNER)
def email_kernel(data, begin, floor, at, end):
    """The e-mail address around the "@" at data[at].

    The local part is at most 64 of letters, digits, "._%+'-" without two dots in a row; the host name ends in letters. None:
    "@user@host.org" (a handle), the user of a URL ("ftp://me:secret@host.org"), git@host, file names ("icon@2x.png"), message ids
    ("Message-ID: <1.a@host.org>"), and hosts reserved for examples.
    """
    start = at
    while start > floor and at - start <= _MAX_LOCAL and _is(data[start - 1], LOCAL):
        start -= 1
    if at - start > _MAX_LOCAL or (start > begin and data[start - 1] == 64):
        return NONE, at, at
    for i in range(at - 1, start, -1):
        if data[i] == 46 and data[i - 1] == 46:
            start = i + 1
            break
    while start < at and not (_is(data[start], WORD) or data[start] == 95):
        start += 1
    if start == at or data[at - 1] == 46:
        return NONE, at, at
    stop = _domain_end(data, at + 1, end)
    if stop < 0 or (stop < end and data[stop] == 64) or _is_nobodys(data, at + 1, stop):
        return NONE, at, at
    if at - start == 3 and data[start] == 103 and data[start + 1] == 105 and data[start + 2] == 116:  # git
        return NONE, at, at
    if start > begin and data[start - 1] == 60 and word_class_kernel(data, begin, start - 1) == NUMBER_WORD:
        return NONE, at, at
    i = start
    while i > begin and start - i < _MAX_LOCAL and data[i - 1] > 32 and data[i - 1] != 47:
        i -= 1
    if i - 1 > begin and data[i - 1] == 47 and data[i - 2] == 47:
        return NONE, at, at
    return EMAIL, start, stop


@njit(**KERNEL_INNER)
def read_ipv4_kernel(data, at, end):
    """(end, address as 32 bits) of four octets that start at `at`, end -1 for none; octets have no leading zeros."""
    address = np.int64(0)
    for octet in range(4):
        start, value = at, np.int64(0)
        while at < end and at - start < 3 and _is(data[at], DIGIT):
            value = value * 10 + np.int64(data[at]) - 48
            at += 1
        if at == start or value > 255 or (at - start > 1 and data[start] == 48):
            return np.int64(-1), address
        address = address << 8 | value
        if octet < 3:
            if at >= end or data[at] != 46:
                return np.int64(-1), address
            at += 1
    if at < end and (_is(data[at], WORD) or data[at] == 95 or data[at] == 64):
        return np.int64(-1), address
    # 1.2.3.4.5 and 1.2.3.4-beta are none, 10.0.0.1-10.0.0.9 is a range
    is_joined = at + 1 < end and _is(data[at + 1], WORD)
    if is_joined and (data[at] == 46 or (data[at] == 45 and not _is(data[at + 1], DIGIT))):
        return np.int64(-1), address
    return at, address


@njit(**KERNEL_INNER)
def _is_special(address):
    """Whether an IPv4 address is private, shared, of a loop or link, for documentation or tests, multicast or reserved."""
    top, two, three = address >> 24, address >> 16, address >> 8
    if top == 0 or top == 10 or top == 127 or top >= 224:
        return True
    if two == 0xA9FE or two == 0xC0A8 or address >> 20 == 0xAC1 or address >> 22 == 0x191 or address >> 17 == 0x6309:
        return True
    return three == 0xC00000 or three == 0xC00002 or three == 0xC63364 or three == 0xCB0071


@njit(**KERNEL_INNER)
def ipv4_kernel(data, begin, floor, at, end):
    """The IPv4 address that starts at data[at], the start of a run of digits.

    None: after a letter, digit, dot, hyphen (but in a range) or inside a path; after a version operator or a word such as
    "version" or "section"; a public address with all octets below 32 or three below 10, which is nearly always a version or a heading.
    """
    stop, address = read_ipv4_kernel(data, at, end)
    if stop < 0:
        return NONE, at, at
    if at > begin:
        before = data[at - 1]
        earlier = data[at - 2] if at - 1 > begin else np.uint8(32)
        if _is(before, WORD) or before == 95 or before == 46 or before == 126 or before == 94:
            return NONE, at, at
        if before == 45 and not (floor == at - 1 and floor > begin) and earlier > 32:
            return NONE, at, at
        if (before == 47 or before == 92) and earlier != before and earlier > 32:
            return NONE, at, at
        if before == 61 and (earlier == 61 or earlier == 60 or earlier == 62 or earlier == 126 or earlier == 33):
            return NONE, at, at
    if _is_special(address):
        kind = PRIVATE_IP
    else:
        small = tiny = 0
        for shift in (0, 8, 16, 24):
            small += (address >> shift) & 0xFF < _SMALL_OCTET
            tiny += (address >> shift) & 0xFF < _TINY_OCTET
        if small == 4 or tiny >= 3:
            return NONE, at, at
        kind = IP
    if word_class_kernel(data, begin, at) == VERSION_WORD:
        return NONE, at, at
    return kind, at, stop


@njit(**KERNEL_INNER)
def _ipv6_kind(first, second, groups, compressed, mapped):
    """Kind of an address by its first two groups; NONE for what nobody uses, which is text such as "a::b"."""
    if compressed == 0:
        if mapped >= 0 and groups == 3 and first == 0xFFFF:
            return PRIVATE_IP if _is_special(mapped) else IP
        return PRIVATE_IP if groups == 1 and first == 1 else NONE
    if first & 0xFE00 == 0xFC00 or first & 0xFFC0 == 0xFE80 or first & 0xFF00 == 0xFF00:
        return PRIVATE_IP
    if first & 0xE000 != 0x2000:
        return NONE
    if first == 0x2001 and (second < 0x200 or second == 0xDB8):
        return PRIVATE_IP
    return PRIVATE_IP if first == 0x2002 or (first == 0x3FFF and second < 0x1000) else IP


@njit(**KERNEL_INNER)
def ipv6_kernel(data, begin, floor, at, end):
    """The IPv6 address whose first colon is data[at].

    Eight groups of up to four hexadecimal digits, or fewer with one "::"; the last two may be an IPv4 address. Global unicast
    (2000::/3) is IP; unique local, link-local, multicast, "::1", documentation, Teredo and 6to4 are PRIVATE_IP; all else is none.
    """
    start = at
    while start > floor and at - start < 5 and _is(data[start - 1], HEX):
        start -= 1
    if at - start > 4 or (start > begin and (_is(data[start - 1], WORD) or data[start - 1] in (46, 58, 95))):
        return NONE, at, at
    position, groups, compressed, mapped = start, 0, -1, np.int64(-1)
    first = second = np.int64(0)
    while True:
        if position + 1 < end and data[position] == 58 and data[position + 1] == 58:
            if compressed >= 0:
                return NONE, at, at
            compressed = groups
            position += 2
            if position >= end or not _is(data[position], HEX):
                break
        group_start, value = position, np.int64(0)
        while position < end and position - group_start < 5 and _is(data[position], HEX):
            digit = np.int64(data[position])
            value = value << 4 | (digit - 48 if digit < 58 else (digit | 0x20) - 87)
            position += 1
        if position == group_start or position - group_start > 4:
            return NONE, at, at
        if position < end and data[position] == 46 and groups > 0:
            stop, address = read_ipv4_kernel(data, group_start, end)
            if stop >= 0:
                mapped, position = address, stop
                groups += 2
                break
        if groups == 0:
            first = value
        elif groups == 1 and compressed != 1:
            second = value
        groups += 1
        if position + 1 >= end or data[position] != 58 or groups == 8:
            break
        if data[position + 1] == 58:
            continue
        if not _is(data[position + 1], HEX):
            break
        position += 1
    if (groups != 8 if compressed < 0 else groups > 7) or groups == 0:
        return NONE, at, at
    if position < end:
        byte = data[position]
        follows = position + 1 < end and (_is(data[position + 1], WORD) or data[position + 1] == 58)
        if _is(byte, WORD) or byte == 95 or ((byte == 58 or byte == 46) and follows):
            return NONE, at, at
    return _ipv6_kind(first, second, groups, compressed, mapped), start, position
