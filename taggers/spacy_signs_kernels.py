"""Signs at the ends of words and inside them, and what looks like a URL, by the rules of spaCy's English tokenizer.

The patterns of spaCy as comparisons of code points: codes[first:last] is what is left of a chunk of text without white space.

Source: spaCy 3.8 (lang/punctuation, lang/char_classes, lang/en, lang/tokenizer_exceptions); see taggers/spacy_words_kernels.py.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL_BORROWING, KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

TABLE_SIZE = 0x40000
# bits of the class table
ALPHA, LOWER, UPPER, QUOTE, ICON, AFFIX, PREFIX, CURRENCY = (1 << bit for bit in range(8))
BEFORE_STOP, SENTENCE_END, PUNCTUATION, TERMINAL, SPACE, LETTER, MARK, DIGIT = (1 << bit for bit in range(8, 16))
TRICKY_SHIFT = 17
WORD_SIGN, TRICKY, SYMBOL, INSIDE, FULL_STOP = 1 << 16, 1 << TRICKY_SHIFT, 1 << 18, 1 << 19, 1 << 20
UNIT_END, ASCII_DIGIT = 1 << 21, 1 << 22  # the last character of some unit; 0 to 9
MAX_UNIT_CHARS = 6

_STOP, _PLUS, _HYPHEN, _STAR, _CARET, _COMMA, _TILDE = 46, 43, 45, 42, 94, 44, 126
_APOSTROPHE, _RIGHT_QUOTE, _ELLIPSIS, _EN_DASH, _EM_DASH, _DEGREE = 39, 0x2019, 0x2026, 0x2013, 0x2014, 0xB0
_SLASH, _COLON, _AT, _QUESTION, _HASH_SIGN, _DOLLAR = 47, 58, 64, 63, 35, 36


@njit(inline="always", **KERNEL_BORROWING)
def class_bits_kernel(classes, code):
    """Class bits of any code point; none beyond the table."""
    return np.int64(classes[code]) if code < TABLE_SIZE else np.int64(0)


@njit(inline="always", **KERNEL_BORROWING)
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


@njit(inline="always", **KERNEL_BORROWING)
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


@njit(inline="always", **KERNEL_BORROWING)
def suffix_chars_kernel(codes, first, last, has_digit, classes, units):
    """Chars of the longest sign at the end of codes[first:last], 0 for none: "it's" 2, "5km" 2, "a." 1, "A." 0."""
    if first >= last:
        return 0
    code = codes[last - 1]
    before = codes[last - 2] if last - 2 >= first else 0
    bits, bits_before = class_bits_kernel(classes, code), class_bits_kernel(classes, before)
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
        if last - 3 >= first and bits_before & UPPER and class_bits_kernel(classes, codes[last - 3]) & UPPER:
            return 1
        is_scale = before == 70 or before == 102 or before == 67 or before == 99 or before == 75 or before == 107
        return 1 if last - 3 >= first and is_scale and codes[last - 3] == _DEGREE else 0
    if bits & (AFFIX | ICON) or (code == _PLUS and digit_before):
        found = 1
    if code == _ELLIPSIS and before == _ELLIPSIS:
        found = 2
    if (code == 115 or code == 83) and ((before == _APOSTROPHE) | (before == _RIGHT_QUOTE)):
        found = 2
    if bits & CURRENCY and digit_before:
        found = max(found, 1)
    if code == _DOLLAR:
        if last - 3 >= first and 48 <= codes[last - 3] <= 57 and (before == 65 or before == 67):
            found = max(found, 2)
        if last - 4 >= first and 48 <= codes[last - 4] <= 57 and before == 83 and codes[last - 3] == 85:
            found = max(found, 3)
    if has_digit and bits & UNIT_END:
        return max(found, _unit_chars_kernel(codes, first, last, units))
    return found


@njit(inline="always", **KERNEL_BORROWING)
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
    if at == first or at + 1 >= last:
        return 0
    before = codes[at - 1]
    bits_before, bits_after = class_bits_kernel(classes, before), class_bits_kernel(classes, follows)
    digit_before = 48 <= before <= 57
    is_operator = (code == _PLUS) | (code == _HYPHEN) | (code == _STAR) | (code == _CARET)
    if is_operator and digit_before and (48 <= follows <= 57 or follows == _HYPHEN):
        return 1
    if code == _STOP:
        return 1 if bits_before & (LOWER | QUOTE) and bits_after & (UPPER | QUOTE) else 0
    if code == _COMMA:
        return 1 if bits_before & ALPHA and bits_after & ALPHA else 0
    if not (digit_before or bits_before & ALPHA):
        return 0
    if (code == _HYPHEN) | (code == _EN_DASH) | (code == _EM_DASH) | (code == _TILDE):
        longest = 3 if code == _HYPHEN else (2 if code == _EM_DASH else 1)
        for width in range(1, longest + 1):
            if at + width >= last:
                return 0
            if class_bits_kernel(classes, codes[at + width]) & ALPHA:
                return width
            if codes[at + width] != code:
                return 0
        return 0
    if (code == _COLON) | (60 <= code <= 62) | (code == _SLASH):
        return 1 if bits_after & ALPHA else 0
    return 0


@njit(**KERNEL_BORROWING_INNER)
def _is_label_code_kernel(code):
    return 48 <= code <= 57 or 65 <= code <= 90 or 97 <= code <= 122 or 0xA1 <= code <= 0xFFFF


@njit(**KERNEL_BORROWING_INNER)
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


@njit(**KERNEL_BORROWING_INNER)
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


@njit(**KERNEL_BORROWING_INNER)
def _octet_kernel(codes, at, last, is_outer):
    """(value, digits) of one part of a dotted address, (-1, 0) if it is none: the outer parts begin with no 0."""
    value = digits = np.int64(0)
    while at + digits < last and 48 <= codes[at + digits] <= 57 and digits < 4:
        value = 10 * value + codes[at + digits] - 48
        digits += 1
    if digits == 0 or digits > 3 or (codes[at] == 48 and (is_outer or digits == 3)) or value > 255:
        return np.int64(-1), np.int64(0)
    return value, digits


@njit(**KERNEL_BORROWING_INNER)
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


@njit(**KERNEL_BORROWING_INNER)
def is_url_kernel(codes, first, last, classes):
    """Whether codes[first:last] is a URL or host by spaCy's pattern: scheme and user are optional, "example.org/x" is one."""
    dots = 0
    ats = 0
    scheme_end = np.int64(-1)
    in_scheme = True
    for at in range(first, last):
        code = codes[at]
        dots += code == _STOP
        ats += code == _AT
        if in_scheme:
            if code == _COLON:
                found = at - first >= 2 and at + 2 < last and codes[at + 1] == _SLASH and codes[at + 2] == _SLASH
                scheme_end = at + 3 if found else np.int64(-1)
                in_scheme = False
            else:
                is_sign = (code == _PLUS) | (code == _HYPHEN) | (code == _STOP)
                in_scheme = is_sign or class_bits_kernel(classes, code) & WORD_SIGN != 0
    if dots == 0:
        return False
    for begin in (first, scheme_end):
        if begin < 0:
            continue
        if _is_host_kernel(codes, begin, last, classes) or _is_address_kernel(codes, begin, last, classes):
            return True
        if ats == 0:
            continue
        # any "@" behind at least one character ends a user
        for at in range(begin + 1, last - 1):
            if codes[at] != _AT:
                continue
            if _is_host_kernel(codes, at + 1, last, classes) or _is_address_kernel(codes, at + 1, last, classes):
                return True
    return False
