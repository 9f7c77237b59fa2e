"""Words as spaCy's blank English pipeline finds them, over UTF-8 bytes: what datatrove calls words and sentences.

Legend: N documents, B bytes of all texts together, W words of one document, C capacity of the scratch arrays in words.

White space parts chunks. A chunk that is an exception ("don't") has its listed pieces. Else signs are peeled off both ends, one
at each end a round, until none is left or what is left is an exception; the rest is one word if it looks like a URL, else
signs inside it part it. Last, rows of words that together spell an exception (":" ")") are put together again.
A chunk of letters alone, the usual one, needs none of this.

Source: spaCy 3.8 (Tokenizer, lang/punctuation, lang/en), Sentencizer; parity on real text in benchmarks/filter_parity.py.
"""

from __future__ import annotations

from typing import NamedTuple

from dolma_py.numba_options import KERNEL, KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from dolma_py.hashing_kernels import mix64_kernel
from taggers.character_kernels import decode_kernel
from taggers.repetition_kernels import hash_word_kernel

TABLE_SIZE = 0x40000
# bits of the class table
ALPHA, LOWER, UPPER, QUOTE, ICON, AFFIX, PREFIX, CURRENCY = (1 << bit for bit in range(8))
BEFORE_STOP, SENTENCE_END, PUNCTUATION, TERMINAL, SPACE, LETTER, MARK, DIGIT = (1 << bit for bit in range(8, 16))
WORD_SIGN, TRICKY = 1 << 16, 1 << 17
MAX_PIECES = 3
MAX_UNIT_CHARS = 6
MAX_SEQUENCE = 12
NO_RULE, INNER_NODE = -1, -2

_ONE = np.uint64(1)
_STOP, _PLUS, _HYPHEN, _STAR, _CARET, _COMMA, _TILDE = 46, 43, 45, 42, 94, 44, 126
_APOSTROPHE, _RIGHT_QUOTE, _ELLIPSIS, _EN_DASH, _EM_DASH, _DEGREE = 39, 0x2019, 0x2026, 0x2013, 0x2014, 0xB0
_SLASH, _COLON, _AT, _QUESTION, _HASH_SIGN, _DOLLAR = 47, 58, 64, 63, 35, 36


class WordTables(NamedTuple):
    """The rules, made by taggers.spacy_words.word_tables."""

    classes: np.ndarray  # uint32 (TABLE_SIZE,)   bits above, by code point
    keys: np.ndarray  # uint64 (T,)    hashes of exceptions
    rules: np.ndarray  # int32 (T,)     number of the exception with keys[slot], NO_RULE where the slot is empty
    pieces: np.ndarray  # int32 (R, 3)   bytes of the pieces of each exception, 0 for no piece
    max_rule_bytes: int
    node_keys: np.ndarray  # uint64 (U,)    hashes of the beginnings of the sequences
    nodes: np.ndarray  # int32 (U,)     number of the exception that the sequence spells, INNER_NODE, NO_RULE for empty
    changes: np.ndarray  # bool (R,)      whether the sequence of exception r differs from its pieces
    pairs: np.ndarray  # bool (256, 256)  whether a sequence begins with words of these first bytes
    units: np.ndarray  # int32 (K, 6)   code points of units, 0 behind the end


class WordScratch(NamedTuple):
    """Words of one document."""

    starts: np.ndarray  # int64 (C,)     where word i begins in the text buffer
    ends: np.ndarray  # int64 (C,)
    hashes: np.ndarray  # uint64 (C,)
    chars: np.ndarray  # int32 (C,)
    any_bits: np.ndarray  # uint32 (C,)    class bits that some character of the word has
    all_bits: np.ndarray  # uint32 (C,)    class bits that all its characters have
    codes: np.ndarray  # int32 (C,)     code points of a chunk
    bounds: np.ndarray  # int64 (C + 1,) where each begins in the text buffer
    peeled: np.ndarray  # int32 (C,)     chars of the signs peeled off the end
    matches: np.ndarray  # int64 (C, 3)   first word, number of words, exception
    old_ends: np.ndarray  # int64 (C,)     ends before sequences are joined


@njit(inline="always", **KERNEL)
def class_bits_kernel(classes, code):
    """Class bits of any code point; none beyond the table."""
    return np.int64(classes[code]) if code < TABLE_SIZE else np.int64(0)


@njit(**KERNEL_INNER)
def find_rule_kernel(data, start, end, tables):
    """Number of the exception that data[start:end] is, NO_RULE for none."""
    if end - start > tables.max_rule_bytes:
        return np.int64(NO_RULE)
    return probe_kernel(tables.keys, tables.rules, hash_word_kernel(data, start, end))


@njit(**KERNEL)
def next_key_kernel(key, word_hash):
    """Key of a row of words and one more."""
    return mix64_kernel(key) ^ word_hash


@njit(**KERNEL)
def first_slot_kernel(key, size):
    """Where the search for `key` begins in a table of `size` slots, a power of two."""
    return mix64_kernel(key) & np.uint64(size - 1)


@njit(inline="always", **KERNEL)
def probe_kernel(keys, values, key):
    """The value of `key` in a hash table with linear probing, NO_RULE where it has none."""
    mask = np.uint64(len(keys) - 1)
    slot = first_slot_kernel(key, len(keys))
    while values[slot] != NO_RULE:
        if keys[slot] == key:
            return np.int64(values[slot])
        slot = (slot + _ONE) & mask
    return np.int64(NO_RULE)


@njit(**KERNEL_INNER)
def prefix_chars_kernel(codes, first, last, classes):
    """Chars of the sign that stands at the beginning of codes[first:last], 0 for none: "..a" 2, "$5" 1, "+5" 0, "US$5" 3."""
    code = codes[first]
    bits = class_bits_kernel(classes, code)
    if bits & (AFFIX | PREFIX | ICON):
        return 1
    follows = codes[first + 1] if first + 1 < last else 0
    if code == _PLUS:
        return 0 if 48 <= follows <= 57 else 1
    if code == _STOP:
        at = first
        while at < last and codes[at] == _STOP:
            at += 1
        return at - first if at - first > 1 else 0
    if (code == 65 or code == 67) and follows == _DOLLAR:
        return 2
    if code == 85 and follows == 83 and first + 2 < last and codes[first + 2] == _DOLLAR:
        return 3
    return 0


@njit(**KERNEL_INNER)
def _unit_chars_kernel(codes, first, last, units):
    """Chars of the unit at the end of codes[first:last] right behind a digit, 0 for none."""
    at = last - 1
    while at > first and last - at <= MAX_UNIT_CHARS and not 48 <= codes[at - 1] <= 57:
        at -= 1
    width = last - at
    if at == first or width > MAX_UNIT_CHARS or not 48 <= codes[at - 1] <= 57:
        return 0
    for k in range(len(units)):
        same = True
        for i in range(MAX_UNIT_CHARS):
            same &= units[k, i] == (codes[at + i] if i < width else 0)
        if same:
            return width
    return 0


@njit(**KERNEL_INNER)
def suffix_chars_kernel(codes, first, last, tables):
    """Chars of the longest sign at the end of codes[first:last], 0 for none: "it's" 2, "5km" 2, "a." 1, "A." 0."""
    if first >= last:
        return 0
    code = codes[last - 1]
    before = codes[last - 2] if last - 2 >= first else 0
    bits, bits_before = class_bits_kernel(tables.classes, code), class_bits_kernel(tables.classes, before)
    digit_before = 48 <= before <= 57
    found = 0
    if code == _STOP:
        if before == _STOP:
            at = last
            while at > first and codes[at - 1] == _STOP:
                at -= 1
            return last - at
        if last - 2 >= first and bits_before & BEFORE_STOP:
            return 1
        if last - 3 >= first and bits_before & UPPER and class_bits_kernel(tables.classes, codes[last - 3]) & UPPER:
            return 1
        is_scale = before == 70 or before == 102 or before == 67 or before == 99 or before == 75 or before == 107
        return 1 if last - 3 >= first and is_scale and codes[last - 3] == _DEGREE else 0
    if bits & (AFFIX | ICON) or (code == _PLUS and digit_before):
        found = 1
    if code == _ELLIPSIS and before == _ELLIPSIS:
        found = 2
    if (code == 115 or code == 83) and (before == _APOSTROPHE or before == _RIGHT_QUOTE):
        found = 2
    if bits & CURRENCY and digit_before:
        found = max(found, 1)
    if code == _DOLLAR:
        if last - 3 >= first and 48 <= codes[last - 3] <= 57 and (before == 65 or before == 67):
            found = max(found, 2)
        if last - 4 >= first and 48 <= codes[last - 4] <= 57 and before == 83 and codes[last - 3] == 85:
            found = max(found, 3)
    return max(found, _unit_chars_kernel(codes, first, last, tables.units))


@njit(**KERNEL_INNER)
def infix_chars_kernel(codes, first, at, last, classes):
    """Chars of the sign inside a word at codes[at], 0 for none; `first` and `last` bound what stands around it."""
    code = codes[at]
    bits = class_bits_kernel(classes, code)
    follows = codes[at + 1] if at + 1 < last else 0
    if code == _STOP and follows == _STOP:
        end = at
        while end < last and codes[end] == _STOP:
            end += 1
        return end - at
    if code == _ELLIPSIS or bits & ICON:
        return 1
    if at == first or at + 1 >= last or not bits & TRICKY and code != _CARET:
        return 0
    before = codes[at - 1]
    bits_before, bits_after = class_bits_kernel(classes, before), class_bits_kernel(classes, follows)
    digit_before = 48 <= before <= 57
    if code == _PLUS or code == _HYPHEN or code == _STAR or code == _CARET:
        if digit_before and (48 <= follows <= 57 or follows == _HYPHEN):
            return 1
    if code == _STOP:
        return 1 if bits_before & (LOWER | QUOTE) and bits_after & (UPPER | QUOTE) else 0
    if code == _COMMA:
        return 1 if bits_before & ALPHA and bits_after & ALPHA else 0
    if not (digit_before or bits_before & ALPHA):
        return 0
    if code == _HYPHEN or code == _EN_DASH or code == _EM_DASH or code == _TILDE:
        longest = 3 if code == _HYPHEN else (2 if code == _EM_DASH else 1)
        for width in range(1, longest + 1):
            if at + width >= last:
                return 0
            if class_bits_kernel(classes, codes[at + width]) & ALPHA:
                return width
            if codes[at + width] != code:
                return 0
        return 0
    if code == _COLON or code == 60 or code == 61 or code == 62 or code == _SLASH:
        return 1 if bits_after & ALPHA else 0
    return 0


@njit(**KERNEL_INNER)
def _is_label_code_kernel(code):
    return 48 <= code <= 57 or 65 <= code <= 90 or 97 <= code <= 122 or 0xA1 <= code <= 0xFFFF


@njit(**KERNEL_INNER)
def _ends_url_kernel(codes, at, last, classes):
    """Whether codes[at:last] is empty, or a port and a path: ":80/x"."""
    if at < last and codes[at] == _COLON:
        digits = 0
        at += 1
        while at < last and class_bits_kernel(classes, codes[at]) & DIGIT and digits < 6:
            at += 1
            digits += 1
        if digits < 2 or digits > 5:
            return False
    return at == last or codes[at] == _SLASH or codes[at] == _QUESTION or codes[at] == _HASH_SIGN


@njit(**KERNEL_INNER)
def _is_host_kernel(codes, at, last, classes):
    """Whether codes[at:last] is labels parted by stops, a top level of 2 to 63 small letters, then a port and a path."""
    labels = 0
    while True:
        begin = at
        while at < last and (_is_label_code_kernel(codes[at]) or codes[at] == 95 or codes[at] == _HYPHEN):
            at += 1
        width = at - begin
        if at < last and codes[at] == _STOP:
            if width < 1 or width > 64:
                return False
            if not (_is_label_code_kernel(codes[begin]) and _is_label_code_kernel(codes[at - 1])):
                return False
            labels += 1
            at += 1
            continue
        at = begin
        while at < last and class_bits_kernel(classes, codes[at]) & LOWER:
            at += 1
        if labels == 0 or at - begin < 2 or at - begin > 63:
            return False
        return _ends_url_kernel(codes, at, last, classes)


@njit(**KERNEL_INNER)
def _octet_kernel(codes, at, last, is_outer):
    """(value, digits) of one part of a dotted address, (-1, 0) if it is none: the outer parts begin with no 0."""
    value = digits = np.int64(0)
    while at + digits < last and 48 <= codes[at + digits] <= 57 and digits < 4:
        value = 10 * value + codes[at + digits] - 48
        digits += 1
    if digits == 0 or digits > 3 or (codes[at] == 48 and (is_outer or digits == 3)) or value > 255:
        return np.int64(-1), np.int64(0)
    return value, digits


@njit(**KERNEL_INNER)
def _is_address_kernel(codes, at, last, classes):
    """Whether codes[at:last] is a public IPv4 address in dotted form, then a port and a path."""
    first = second = np.int64(0)
    for part in range(4):
        value, digits = _octet_kernel(codes, at, last, part == 0 or part == 3)
        if value < 0 or (part == 0 and value > 223) or (part == 3 and value > 254):
            return False
        if part == 0:
            first = value
        elif part == 1:
            second = value
        at += digits
        if part < 3:
            if at >= last or codes[at] != _STOP:
                return False
            at += 1
    private = first == 10 or first == 127 or (first == 169 and second == 254) or (first == 192 and second == 168)
    if private or (first == 172 and 16 <= second <= 31):
        return False
    return _ends_url_kernel(codes, at, last, classes)


@njit(**KERNEL_INNER)
def is_url_kernel(codes, first, last, classes):
    """Whether codes[first:last] is a URL or host by spaCy's pattern: scheme and user are optional, "example.org/x" is one."""
    dots = 0
    scheme_end = np.int64(-1)
    in_scheme = True
    for at in range(first, last):
        code = codes[at]
        dots += code == _STOP
        if in_scheme:
            if code == _COLON:
                found = at - first >= 2 and at + 2 < last and codes[at + 1] == _SLASH and codes[at + 2] == _SLASH
                scheme_end = at + 3 if found else np.int64(-1)
                in_scheme = False
            elif not (class_bits_kernel(classes, code) & WORD_SIGN or code == _PLUS or code == _HYPHEN or code == _STOP):
                in_scheme = False
    if dots == 0:
        return False
    for begin in (first, scheme_end):
        if begin < 0:
            continue
        if _is_host_kernel(codes, begin, last, classes) or _is_address_kernel(codes, begin, last, classes):
            return True
        # any "@" behind at least one character ends a user
        for at in range(begin + 1, last):
            if codes[at] == _AT and at + 1 < last:
                if _is_host_kernel(codes, at + 1, last, classes) or _is_address_kernel(codes, at + 1, last, classes):
                    return True
    return False


@njit(**KERNEL_INNER)
def _add_word_kernel(data, words, count, first, last, classes):
    """Append codes[first:last] of the open chunk as a word; returns the new number of words."""
    if count < len(words.starts):
        any_bits, all_bits = np.int64(0), np.int64(-1)
        for at in range(first, last):
            bits = class_bits_kernel(classes, words.codes[at])
            any_bits |= bits
            all_bits &= bits
        begin, end = words.bounds[first], words.bounds[last]
        words.starts[count], words.ends[count], words.chars[count] = begin, end, last - first
        words.any_bits[count], words.all_bits[count] = any_bits, all_bits & 0xFFFFFFFF
        words.hashes[count] = hash_word_kernel(data, begin, end)
    return count + 1


@njit(**KERNEL_INNER)
def _add_pieces_kernel(data, words, count, first, rule, tables):
    """Append the pieces of an exception that begins at codes[first]."""
    at = first
    for k in range(MAX_PIECES):
        width = tables.pieces[rule, k]
        if width > 0:
            end = at
            while words.bounds[end] < words.bounds[at] + width:
                end += 1
            count = _add_word_kernel(data, words, count, at, end, tables.classes)
            at = end
    return count


@njit(**KERNEL_INNER)
def split_chunk_kernel(data, start, end, tables, words, count):
    """Words of a chunk, data[start:end] without white space, by all rules; returns the new number of words.

    b"(don't!)" adds "(", "do", "n't", "!", ")"
    """
    codes, bounds = words.codes, words.bounds
    num_codes = np.int64(0)
    at = start
    while at < end:
        if num_codes >= len(codes):
            return np.int64(len(words.starts) + 1)
        code, width = decode_kernel(data, at, end)
        codes[num_codes], bounds[num_codes] = code, at
        num_codes += 1
        at += width
    bounds[num_codes] = end
    first, last = np.int64(0), num_codes
    num_peeled = np.int64(0)
    rule = np.int64(NO_RULE)
    before = np.int64(-1)
    while last > first and last - first != before:
        rule = find_rule_kernel(data, bounds[first], bounds[last], tables)
        if rule != NO_RULE:
            break
        before = last - first
        prefix = prefix_chars_kernel(codes, first, last, tables.classes)
        if 0 < prefix < last - first:
            rule = find_rule_kernel(data, bounds[first + prefix], bounds[last], tables)
            if rule != NO_RULE:
                count = _add_word_kernel(data, words, count, first, first + prefix, tables.classes)
                first += prefix
                break
        suffix = suffix_chars_kernel(codes, first + prefix, last, tables)
        if 0 < suffix < last - first:
            rule = find_rule_kernel(data, bounds[first], bounds[last - suffix], tables)
        if rule == NO_RULE and prefix > 0:
            count = _add_word_kernel(data, words, count, first, first + prefix, tables.classes)
            first += prefix
        if suffix > 0:
            words.peeled[num_peeled] = suffix
            num_peeled += 1
            last -= suffix
        if rule != NO_RULE:
            break
    if last > first:
        if rule != NO_RULE:
            count = _add_pieces_kernel(data, words, count, first, rule, tables)
        elif is_url_kernel(codes, first, last, tables.classes):
            count = _add_word_kernel(data, words, count, first, last, tables.classes)
        else:
            count = _split_inside_kernel(data, words, count, first, last, tables.classes)
    while num_peeled > 0:
        num_peeled -= 1
        width = words.peeled[num_peeled]
        count = _add_word_kernel(data, words, count, last, last + width, tables.classes)
        last += width
    return count


@njit(**KERNEL_INNER)
def _split_inside_kernel(data, words, count, first, last, classes):
    """Part codes[first:last] at the signs inside it; one at its very beginning parts nothing."""
    begin = at = first
    while at < last:
        width = infix_chars_kernel(words.codes, first, at, last, classes)
        if width == 0:
            at += 1
            continue
        if at > first:
            if at > begin:
                count = _add_word_kernel(data, words, count, begin, at, classes)
            count = _add_word_kernel(data, words, count, at, at + width, classes)
            begin = at + width
        at += width
    if begin < last:
        count = _add_word_kernel(data, words, count, begin, last, classes)
    return count


@njit(**KERNEL_INNER)
def joins_kernel(data, words, i):
    """Whether words i and i + 1 stand side by side: with nothing or one space between them."""
    gap = words.starts[i + 1] - words.ends[i]
    return gap == 0 or (gap == 1 and data[words.ends[i]] == 32)


@njit(**KERNEL_INNER)
def find_sequences_kernel(data, tables, words, num_words):
    """Rows of words that together spell an exception, into words.matches; returns their number, those beyond the capacity too."""
    found = np.int64(0)
    for i in range(num_words - 1):
        if not tables.pairs[data[words.starts[i]], data[words.starts[i + 1]]]:
            continue
        key = words.hashes[i]
        k = i
        while True:
            node = probe_kernel(tables.node_keys, tables.nodes, key)
            if node == NO_RULE:
                break
            if node >= 0:
                if found < len(words.matches):
                    words.matches[found, 0], words.matches[found, 1], words.matches[found, 2] = i, k + 1 - i, node
                found += 1
            if k + 1 >= num_words or not joins_kernel(data, words, k):
                break
            k += 1
            key = next_key_kernel(key, words.hashes[k])
    return found


@njit(**KERNEL_INNER)
def choose_sequences_kernel(tables, words, num_words, num_matches):
    """Which matches hold, longest first, then leftmost: 1 + its index in words.codes at its first word, 0 elsewhere.

    Every match bars those that begin or end on its words, also when it is barred itself. Returns whether any changes a word.
    """
    barred, chosen = words.peeled, words.codes
    barred[:num_words] = 0
    chosen[:num_words] = 0
    changed = False
    for length in range(MAX_SEQUENCE, 1, -1):
        for m in range(num_matches):
            first, width, rule = words.matches[m, 0], words.matches[m, 1], words.matches[m, 2]
            if width != length:
                continue
            if barred[first] == 0 and barred[first + width - 1] == 0:
                whole = True  # an exception holds no space
                for k in range(first, first + width - 1):
                    whole &= words.ends[k] == words.starts[k + 1]
                if whole and tables.changes[rule]:
                    chosen[first] = m + 1
                    changed = True
            barred[first : first + width] = 1
    return changed


@njit(**KERNEL_INNER)
def _add_bytes_kernel(data, words, count, start, end, classes):
    """Append data[start:end] as a word; returns the new number of words."""
    if count < len(words.starts):
        chars = np.int64(0)
        any_bits, all_bits = np.int64(0), np.int64(-1)
        at = start
        while at < end:
            code, width = decode_kernel(data, at, end)
            bits = class_bits_kernel(classes, code)
            any_bits |= bits
            all_bits &= bits
            at += width
            chars += 1
        words.starts[count], words.ends[count], words.chars[count] = start, end, chars
        words.any_bits[count], words.all_bits[count] = any_bits, all_bits & 0xFFFFFFFF
        words.hashes[count] = hash_word_kernel(data, start, end)
    return count + 1


@njit(**KERNEL_INNER)
def join_sequences_kernel(data, tables, words, num_words):
    """Put exceptions together that were parted; returns the new number of words, more than the capacity if it is too small."""
    num_matches = find_sequences_kernel(data, tables, words, num_words)
    if num_matches > len(words.matches):
        return np.int64(len(words.starts) + 1)
    if num_matches == 0 or not choose_sequences_kernel(tables, words, num_words, num_matches):
        return num_words
    old_starts, old_ends, chosen = words.bounds, words.old_ends, words.codes
    old_starts[:num_words] = words.starts[:num_words]
    old_ends[:num_words] = words.ends[:num_words]
    count = i = np.int64(0)
    while i < num_words:
        if chosen[i] == 0:
            count = _add_bytes_kernel(data, words, count, old_starts[i], old_ends[i], tables.classes)
            i += 1
            continue
        match = chosen[i] - 1
        at = old_starts[i]
        for k in range(MAX_PIECES):
            width = np.int64(tables.pieces[words.matches[match, 2], k])
            if width > 0:
                count = _add_bytes_kernel(data, words, count, at, at + width, tables.classes)
                at += width
        i += words.matches[match, 1]
    return count


@njit(**KERNEL_INNER)
def split_document_kernel(data, start, end, tables, words):
    """Words of data[start:end] into `words`; returns their number, more than the capacity when they do not fit.

    b"Mr. O'Neil isn't  (yet) at example.org, is he?" has the words "Mr.", "O'Neil", "is", "n't", "(", "yet", ")", "at",
    "example.org", ",", "is", "he", "?"
    """
    classes = tables.classes
    count = np.int64(0)
    at = start
    while at < end:
        begin = at
        chars = np.int64(0)
        any_bits, all_bits = np.int64(0), np.int64(-1)
        digit = False
        width = 1
        while at < end:
            code, width = decode_kernel(data, at, end)
            bits = class_bits_kernel(classes, code)
            if bits & SPACE:
                break
            digit |= 48 <= code <= 57
            any_bits |= bits
            all_bits &= bits
            at += width
            chars += 1
        if chars > 0:
            plain = not any_bits & TRICKY and (not digit or all_bits & DIGIT != 0)
            key = np.uint64(0)
            if plain:
                key = hash_word_kernel(data, begin, at)
                if at - begin <= tables.max_rule_bytes:
                    plain = probe_kernel(tables.keys, tables.rules, key) == NO_RULE
            if not plain:
                count = split_chunk_kernel(data, begin, at, tables, words, count)
            else:
                if count < len(words.starts):
                    words.starts[count], words.ends[count], words.chars[count] = begin, at, chars
                    words.any_bits[count], words.all_bits[count] = any_bits, all_bits & 0xFFFFFFFF
                    words.hashes[count] = key
                count += 1
        at += width
    if count > len(words.starts):
        return count
    return join_sequences_kernel(data, tables, words, count)


@njit(**KERNEL)
def split_words_kernel(data, offsets, tables, first_row, words, out_starts, out_ends, out_counts):
    """Words of rows first_row, first_row + 1, ... until one does not fit `words`; for tests and for whoever wants the words.

    out_starts, out_ends : int64 (B,)   where the words begin and end in `data`, documents back to back
    out_counts : int64 (N,)             words of each row

    Returns the first row that was not split: N when all were.
    """
    filled = np.int64(0)
    for row in range(first_row):
        filled += out_counts[row]
    for row in range(first_row, len(offsets) - 1):
        count = split_document_kernel(data, offsets[row], offsets[row + 1], tables, words)
        if count > len(words.starts):
            return row
        out_starts[filled : filled + count] = words.starts[:count]
        out_ends[filled : filled + count] = words.ends[:count]
        out_counts[row] = count
        filled += count
    return np.int64(len(offsets) - 1)
