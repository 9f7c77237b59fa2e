"""What a source file holds beside code: encoded data, markers of generated, test and configuration files, words and their letters.

Legend: N documents, B bytes of all texts. Encoded data: the three patterns of StarCoder2's filter, where `\\b` takes bytes above ASCII for letters.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.character_kernels import character_class_kernel, decode_kernel, lower_ascii_kernel
from taggers.characters import ALNUM_BIT, ALPHA_BIT, SPACE_BIT

# columns of out_counts
CHARS, LINES, LINE_FEEDS, LETTERS, TOKENS, CONFIG_WORDS, TEST_WORDS, GENERATED, CONFIG_OR_TEST, XML_HEADER = range(10)
NUM_COUNTS = 10
# columns of out_encoded
LONGEST, MATCHED = range(2)
# phrases in the order of the list
XML_PHRASE, FIRST_GENERATED, FIRST_MARKER = 0, 1, 6
_HEAD_LINES, _XML_CHARS = 5, 100
_MIN_BASE64, _MIN_UNITS = 64, 8

# bits of BYTE_BITS: first letters of the phrases in either case; what base64 is written with; hexadecimal digits; "\\w" of bytes
_PHRASE, _BASE64, _HEX, _WORD = 1, 2, 4, 8


def _byte_bits():
    letters = b"abcdefghijklmnopqrstuvwxyz" + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ" + b"0123456789"
    bits = np.zeros(256, np.uint8)
    for chars, bit in (
        (b"agtucAGTUC<", _PHRASE),
        (letters + b"+/=\n", _BASE64),
        (b"0123456789abcdefABCDEF", _HEX),
        (letters + b"_" + bytes(range(128, 256)), _WORD),
    ):
        bits[list(chars)] |= bit
    return bits


BYTE_BITS = _byte_bits()


@njit(**KERNEL_INNER)
def _stands_at(data, at, end, words, word_offsets, number):
    """Whether data[at:] begins with an ASCII word of the list, case aside."""
    start, size = word_offsets[number], word_offsets[number + 1] - word_offsets[number]
    same = 0
    while same < size and at + same < end and lower_ascii_kernel(data[at + same]) == words[start + same]:
        same += 1
    return same == size


@njit(**KERNEL_INNER)
def _read_head(data, begin, end, words, word_offsets, counts):
    """What the first five lines, and the first 100 characters, hold of the phrases from XML_PHRASE on."""
    at, line_feeds, chars = begin, 0, 0
    counts[GENERATED] = counts[CONFIG_OR_TEST] = counts[XML_HEADER] = 0
    xml_chars = _XML_CHARS - (word_offsets[XML_PHRASE + 1] - word_offsets[XML_PHRASE])
    while at < end and (line_feeds < _HEAD_LINES or chars <= xml_chars):
        byte = data[at]
        if BYTE_BITS[byte] & _PHRASE:
            if byte == 60 and chars <= xml_chars and _stands_at(data, at, end, words, word_offsets, XML_PHRASE):
                counts[XML_HEADER] = 1
            elif line_feeds < _HEAD_LINES:
                for number in range(FIRST_GENERATED, len(word_offsets) - 1):
                    if lower_ascii_kernel(byte) == words[word_offsets[number]] and _stands_at(
                        data, at, end, words, word_offsets, number
                    ):
                        counts[CONFIG_OR_TEST if number >= FIRST_MARKER else GENERATED] = 1
        line_feeds += byte == 10
        chars += byte & 0xC0 != 0x80
        at += 1


@njit(inline="always", **KERNEL_INNER)
def _is_nfig(data, at):
    return (
        data[at] | 0x20 == 110
        and data[at + 1] | 0x20 == 102
        and data[at + 2] | 0x20 == 105
        and data[at + 3] | 0x20 == 103
    )


@njit(**KERNEL)
def count_content_kernel(data, offsets, table, words, word_offsets, out_counts):
    """Fill one row of counts per document.

    data : uint8 (B,), offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    table : uint8 (TABLE_SIZE,)                    taggers.characters.character_table
    words : uint8, word_offsets : int64            phrases in lower case, back to back: "<?xml version=", from FIRST_GENERATED those of generated
                                                   files, from FIRST_MARKER those of configurations and tests
    out_counts : int64 (N, 10)                     chars, lines, line feeds, letters, tokens (runs of letters, numbers and "_", and runs of
                                                   other characters but white space), "config" and "test" in any case, and 0 or 1 for a phrase
                                                   of generated files and one of configurations or tests in the first five lines, and for an
                                                   XML declaration that stands within the first 100 characters

    "x = Test\\n" has 9 chars, 1 line and 1 line feed, 5 letters, 3 tokens and 1 "test"
    """
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        at = begin
        chars = line_feeds = letters = tokens = configs = tests = np.int64(0)
        config_end = test_end = begin
        kind = 0  # of the token that goes on: 1 word, 2 other
        while at < end:
            code, width = decode_kernel(data, at, end)
            lower = code | 0x20
            if lower == 116 and at >= test_end and at + 3 < end and data[at + 1] | 0x20 == 101:  # "te"
                if data[at + 2] | 0x20 == 115 and data[at + 3] | 0x20 == 116:
                    tests, test_end = tests + 1, at + 4
            elif (
                lower == 99
                and at >= config_end
                and at + 5 < end
                and data[at + 1] | 0x20 == 111
                and _is_nfig(data, at + 2)
            ):  # "co"
                configs, config_end = configs + 1, at + 6
            entry = character_class_kernel(table, code)
            letters += entry & ALPHA_BIT != 0
            here = 0 if entry & SPACE_BIT else 1 if entry & ALNUM_BIT or code == 95 else 2
            tokens += here > 0 and here != kind
            kind = here
            line_feeds += code == 10
            chars += 1
            at += width
        _read_head(data, begin, end, words, word_offsets, out_counts[row])
        out_counts[row, CHARS] = chars
        out_counts[row, LINES] = line_feeds + (end > begin and data[end - 1] != 10)
        out_counts[row, LINE_FEEDS] = line_feeds
        out_counts[row, LETTERS] = letters
        out_counts[row, TOKENS] = tokens
        out_counts[row, CONFIG_WORDS] = configs
        out_counts[row, TEST_WORDS] = tests


@njit(inline="always", **KERNEL_INNER)
def _is_hex(byte):
    return BYTE_BITS[byte] & _HEX != 0


@njit(inline="always", **KERNEL_INNER)
def _is_word(byte):
    return BYTE_BITS[byte] & _WORD != 0


@njit(inline="always", **KERNEL_INNER)
def _is_boundary(data, begin, at, end):
    return (at > begin and _is_word(data[at - 1])) != (at < end and _is_word(data[at]))


@njit(inline="always", **KERNEL_INNER)
def _is_space(byte):
    return byte == 32 or 9 <= byte <= 13


@njit(**KERNEL_INNER)
def _hex_unit_end(data, begin, at, end):
    """Behind one unit of the hexadecimal pattern that starts at `at`: two digits, "0x" or "\\x" before, "," or white space after; -1 for none."""
    if not _is_boundary(data, begin, at, end):
        return np.int64(-1)
    if at + 1 < end and data[at + 1] == 120 and (data[at] == 48 or data[at] == 92):
        at += 2
    if at + 1 >= end or not (_is_hex(data[at]) and _is_hex(data[at + 1])):
        return np.int64(-1)
    at += 2
    if at < end and data[at] == 44:
        return np.int64(at + 1)
    if not _is_boundary(data, begin, at, end):
        return np.int64(-1)
    while at < end and _is_space(data[at]):
        at += 1
    return np.int64(at)


@njit(**KERNEL_INNER)
def _unicode_unit_end(data, at, end):
    """Behind "\\u" and four hexadecimal digits; -1 for none."""
    if at + 6 > end or data[at] != 92 or data[at + 1] != 117:
        return np.int64(-1)
    for i in range(at + 2, at + 6):
        if not _is_hex(data[i]):
            return np.int64(-1)
    return np.int64(at + 6)


@njit(**KERNEL)
def find_encoded_kernel(data, offsets, out_encoded):
    """Fill int64 (N, 2): bytes of the longest match of StarCoder2's three patterns for encoded data, and of all their matches together.

    64 or more in a row of letters, digits, "+/=" and line feeds; 8 or more pairs of hexadecimal digits, parted by "," or white space or begun by
    "0x" or "\\x"; 8 or more "\\uXXXX". A match of two patterns counts for both, as in the filter.

    63 times "A" -> (0, 0), 64 times "A" -> (64, 64)
    """
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        longest = matched = np.int64(0)
        run_start = begin
        hex_from = unicode_from = begin
        for at in range(begin, end + 1):
            byte = data[at] if at < end else np.uint8(0)
            if not (
                48 <= byte <= 57
                or 65 <= byte <= 90
                or 97 <= byte <= 122
                or byte == 43
                or byte == 47
                or byte == 10
                or byte == 61
            ):
                if at - run_start >= _MIN_BASE64:
                    longest, matched = max(longest, at - run_start), matched + at - run_start
                run_start = at + 1
            # a digit begins a unit behind what is no letter, a backslash behind what is one
            may_start = at >= hex_from and at < end and (_is_hex(byte) or byte == 92)
            if may_start and (at > begin and _is_word(data[at - 1])) == (byte == 92):
                units, stop, unit_end = 0, at, _hex_unit_end(data, begin, at, end)
                while unit_end >= 0:
                    units, stop = units + 1, unit_end
                    unit_end = _hex_unit_end(data, begin, stop, end)
                if units >= _MIN_UNITS:
                    longest, matched = max(longest, stop - at), matched + stop - at
                hex_from = max(stop, at + 1)
            if at >= unicode_from and byte == 92:
                units, stop, unit_end = 0, at, _unicode_unit_end(data, at, end)
                while unit_end >= 0:
                    units, stop = units + 1, unit_end
                    unit_end = _unicode_unit_end(data, stop, end)
                if units >= _MIN_UNITS:
                    longest, matched = max(longest, stop - at), matched + stop - at
                unicode_from = max(stop, at + 1)
        out_encoded[row, LONGEST] = longest
        out_encoded[row, MATCHED] = matched
