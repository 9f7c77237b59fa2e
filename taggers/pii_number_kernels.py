"""Account, card and telephone numbers at one place of a text. Each kernel answers (kind, start, end), kind NONE where there is none.

Legend: `begin`, `end` bound the text in `data`; `floor` is where the last span ended. Numbers stand between bytes that are no part of
a longer identifier (GLUE).
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.pii_address_kernels import CARD, IBAN, NONE, PHONE, word_class_kernel
from taggers.pii_bytes import (
    BYTE_BITS,
    DIGIT,
    GLUE,
    IBAN_LENGTH_TABLE,
    IS_CALLING_CODE,
    NUMBER_WORD,
    PHONE_WORD,
    SEPARATOR,
    UPPER,
    VERSION_WORD,
    WORD,
)

_MIN_CARD, _MAX_CARD = 14, 19
_MAX_PHONE, _MIN_PHONE, _MIN_FOREIGN = 15, 7, 9  # E.164 allows 15 digits
_MAX_SEPARATORS = 3


@njit(inline="always", **KERNEL_INNER)
def _is(byte, bits):
    return BYTE_BITS[byte] & bits != 0


@njit(inline="always", **KERNEL_INNER)
def _is_digit_at(data, at, end):
    return at < end and _is(data[at], DIGIT)


@njit(**KERNEL_INNER)
def _ends(data, at, end):
    """Whether a number may end before data[at]: no letter, digit, "_" or "@", no separator or colon with a digit behind."""
    if at >= end:
        return True
    byte = data[at]
    if _is(byte, WORD) or byte == 95 or byte == 64:
        return False
    return not ((byte == 45 or byte == 46 or byte == 47 or byte == 58) and _is_digit_at(data, at + 1, end))


@njit(**KERNEL_INNER)
def iban_kernel(data, begin, floor, at, end):
    """The account number whose check digits start at data[at]: two capitals before, length of the country, remainder 1 by 97.

    Groups of four may be parted by single spaces, all or none.
    """
    start = at - 2
    if start < floor or not (_is(data[start], UPPER) and _is(data[start + 1], UPPER)):
        return NONE, at, at
    if start > begin and (_is(data[start - 1], WORD) or data[start - 1] == 95):
        return NONE, at, at
    length = IBAN_LENGTH_TABLE[(np.int64(data[start]) - 65) * 26 + np.int64(data[start + 1]) - 65]
    if length == 0 or not _is_digit_at(data, at + 1, end):
        return NONE, at, at
    spaced = at + 2 < end and data[at + 2] == 32
    position, remainder, head = start, np.int64(0), np.int64(0)
    for i in range(length):
        if spaced and i > 0 and i % 4 == 0:
            if position >= end or data[position] != 32:
                return NONE, at, at
            position += 1
        if position >= end or not (_is(data[position], DIGIT) or _is(data[position], UPPER)):
            return NONE, at, at
        value = np.int64(data[position])
        value = value - 48 if value < 58 else value - 55
        scale = 10 if value < 10 else 100
        if i < 4:
            head = head * scale + value
        else:
            remainder = (remainder * scale + value) % 97
        position += 1
    # the first four stand last: two letters of two digits each and two digits
    if (remainder * 1_000_000 + head) % 97 != 1 or (
        position < end and (_is(data[position], WORD) or data[position] == 95)
    ):
        return NONE, at, at
    return IBAN, start, position


@njit(**KERNEL_INNER)
def _is_issued(prefix, length):
    """Whether cards of `length` digits that begin with the six digits `prefix` are issued (ISO/IEC 7812 ranges of the large issuers)."""
    one, two, three, four = prefix // 100_000, prefix // 10_000, prefix // 1000, prefix // 100
    if length == 16:
        if one == 4 or 51 <= two <= 55 or 2221 <= four <= 2720:  # Visa, Mastercard
            return True
        if four == 6011 or 644 <= three <= 649 or two == 65 or two == 62:  # Discover, UnionPay
            return True
        return (
            3528 <= four <= 3589 or four == 5018 or four == 5020 or four == 5038 or four == 6304 or 6759 <= four <= 6763
        )
    if length == 15:
        return two == 34 or two == 37  # American Express
    if length == 14:
        return 300 <= three <= 305 or two == 36 or two == 38 or two == 39  # Diners
    return length == 19 and (two == 62 or one == 4)


@njit(**KERNEL_INNER)
def _luhn_holds(digits, length):
    """Whether the last of `length` digits is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for i in range(length):
        value = np.int64(digits[length - 1 - i])
        if i % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


@njit(**KERNEL_INNER)
def card_kernel(data, begin, at, end, digits):
    """The card number that starts at data[at], the start of a run of digits; digits: uint8 (19,) scratch.

    Digits in one run, or in fours with the last group shorter, or 4-6-5 or 4-6-4, parted by the same space or hyphen. The check
    digit and an issuer's range must fit; a run without groups is none after a word such as "order".
    """
    separator, position, count, prefix, group, groups, first, middle = np.uint8(0), at, 0, np.int64(0), 0, 1, 0, 0
    while True:
        if _is_digit_at(data, position, end):
            if count == _MAX_CARD:
                return NONE, at, at
            digits[count] = data[position] - 48
            prefix = prefix * 10 + np.int64(digits[count]) if count < 6 else prefix
            count, group, position = count + 1, group + 1, position + 1
            continue
        if groups == 1:
            first = group
        elif groups == 2:
            middle = group
        fits = (
            groups == 1
            or (middle == 6 and groups == 3 and 4 <= group <= 5)
            or (middle == 4 and groups > 3 and group <= 4)
        )
        if (
            fits
            and count >= _MIN_CARD
            and _is_issued(prefix, count)
            and _luhn_holds(digits, count)
            and _ends_card(data, position, end)
        ):
            if groups == 1 and word_class_kernel(data, begin, at) & (NUMBER_WORD | VERSION_WORD):
                return NONE, at, at
            return CARD, at, position
        byte = data[position] if position < end else np.uint8(0)
        if first != 4 or (byte != 32 and byte != 45) or (separator != 0 and byte != separator):
            return NONE, at, at
        if (groups > 1 and group != 4 and not (groups == 2 and group == 6)) or not _is_digit_at(
            data, position + 1, end
        ):
            return NONE, at, at
        separator, group, groups, position = byte, 0, groups + 1, position + 1


@njit(inline="always", **KERNEL_INNER)
def _ends_card(data, at, end):
    """As _ends, but "." and ":" with a digit behind part a card from what follows in a list."""
    return at >= end or not (
        _is(data[at], WORD) or data[at] == 95 or data[at] == 64 or (data[at] == 45 and _is_digit_at(data, at + 1, end))
        or (data[at] == 46 and _is_digit_at(data, at + 1, end))
    )  # fmt: skip


@njit(inline="always", **KERNEL_INNER)
def _separator_width(data, at, end):
    """Bytes of the separator at `at`, 0 for none: one of " -./()", a no-break space, or a hyphen or dash from U+2010 to U+2013."""
    if at >= end:
        return 0
    if _is(data[at], SEPARATOR):
        return 1
    if data[at] == 0xC2 and at + 1 < end and data[at + 1] == 0xA0:
        return 2
    return 3 if data[at] == 0xE2 and at + 2 < end and data[at + 1] == 0x80 and 0x90 <= data[at + 2] <= 0x93 else 0


@njit(**KERNEL_INNER)
def _chain(data, at, end, max_digits):
    """(end, digits, runs, first, last, is_odd) of runs of digits that start at `at`, parted by up to three separators.

    first, last: digits of the first and last run. It ends before the run that would pass max_digits. is_odd: it looks like a date, two
    years, a decimal or a number in thousands.
    """
    position, total, runs, first, last, longest_middle = at, 0, 0, 0, 0, 0
    all_thousands, only_dots, years, is_dot = True, True, True, True
    while True:
        stop = position
        while _is_digit_at(data, stop, end):
            stop += 1
        length = stop - position
        if total + length > max_digits:
            # before the separator, which is not part of the number
            while position > at and not _is(data[position - 1], DIGIT):
                position -= 1
            break
        if runs > 0:
            all_thousands &= length == 3
            only_dots &= is_dot
            longest_middle = max(longest_middle, last) if runs > 1 else longest_middle
        else:
            first = length
        century = length == 4 and (
            data[position] == 49 and data[position + 1] == 57 or data[position] == 50 and data[position + 1] == 48
        )
        years &= century
        last, total, runs, position = length, total + length, runs + 1, stop
        gap, separators, width = stop, 0, _separator_width(data, stop, end)
        while width > 0 and separators < _MAX_SEPARATORS:
            gap, separators = gap + width, separators + 1
            width = _separator_width(data, gap, end)
        if gap == stop or not _is_digit_at(data, gap, end):
            break
        is_dot = gap - stop == 1 and data[stop] == 46
        position = gap
    is_date = (
        runs == 3
        and longest_middle <= 2
        and ((first == 4 and last <= 2) or (first <= 2 and last == 4) or (first <= 2 and last == 2))
    )
    # yyyymmdd
    if runs == 1 and total == 8 and (data[at] == 49 and data[at + 1] == 57 or data[at] == 50 and data[at + 1] == 48):
        month = (np.int64(data[at + 4]) - 48) * 10 + np.int64(data[at + 5]) - 48
        day = (np.int64(data[at + 6]) - 48) * 10 + np.int64(data[at + 7]) - 48
        is_date = 1 <= month <= 12 and 1 <= day <= 31
    is_number = runs > 1 and only_dots and data[at] != 48 and (runs == 2 or (all_thousands and first <= 3))
    return position, total, runs, first, last, is_date or is_number or (runs == 2 and years)


@njit(**KERNEL_INNER)
def foreign_phone_kernel(data, begin, at, end):
    """The international number that starts with the "+" at data[at]: calling code, 9 to 15 digits (10 in one run), none like a date.

    After +1 exactly ten digits, area and exchange from 200 on.
    """
    is_glued = at > begin and (_is(data[at - 1], WORD) or data[at - 1] in (41, 43, 95))
    # "fax+32" without a space, but no sum
    if is_glued and (_is(data[at - 1], DIGIT) or word_class_kernel(data, begin, at) != PHONE_WORD):
        return NONE, at, at
    start = at + 1
    if not _is_digit_at(data, start, end) or data[start] == 48:
        return NONE, at, at
    stop, total, runs, first, last, is_odd = _chain(data, start, end, 11 if data[start] == 49 else _MAX_PHONE)
    if total < (_MIN_FOREIGN if runs > 1 else _MIN_FOREIGN + 1) or is_odd or not _ends(data, stop, end):
        return NONE, at, at
    head, count, position = 0, 0, start
    area, exchange = np.uint8(0), np.uint8(0)
    while count < 5:
        if _is(data[position], DIGIT):
            if count < 3:
                head = head * 10 + np.int64(data[position]) - 48
            area = data[position] if count == 1 else area
            exchange = data[position] if count == 4 else exchange
            count += 1
        position += 1
    if data[start] == 49 and (total != 11 or area < 50 or exchange < 50):
        return NONE, at, at
    if not IS_CALLING_CODE[head]:
        return NONE, at, at
    return PHONE, at, stop


@njit(**KERNEL_INNER)
def _three(data, at, end):
    """Whether data[at:at + 3] is an area or exchange of North America: 200 to 999, not ending in 11."""
    if not (_is_digit_at(data, at, end) and _is_digit_at(data, at + 1, end) and _is_digit_at(data, at + 2, end)):
        return False
    return data[at] >= 50 and not (data[at + 1] == 49 and data[at + 2] == 49)


@njit(inline="always", **KERNEL_INNER)
def _is_gap(data, at, end):
    return at < end and (data[at] == 32 or data[at] == 45 or data[at] == 46)


@njit(**KERNEL_INNER)
def american_phone_kernel(data, begin, at, end):
    """The North American number that starts at data[at], a digit or "(": [1] area exchange-line, each parted by space, "-" or ".".

    None after a word such as "order" or "version". With spaces alone, no other number may stand beside it unless a word such as "phone"
    stands before it.
    """
    position = at
    if data[position] == 49 and position + 1 < end and _is_gap(data, position + 1, end):
        position += 2
    has_parenthesis = position < end and data[position] == 40
    position += has_parenthesis
    if not _three(data, position, end):
        return NONE, at, at
    position += 3
    if has_parenthesis:
        if position >= end or data[position] != 41:
            return NONE, at, at
        position += 1
    gap = data[position] if _is_gap(data, position, end) else np.uint8(0)
    if gap == 0 and not has_parenthesis:
        return NONE, at, at
    position += gap != 0
    if not _three(data, position, end) or not _is_gap(data, position + 3, end):
        return NONE, at, at
    second = data[position + 3]
    if not has_parenthesis and gap != second and gap != 32:
        return NONE, at, at
    position += 4
    for i in range(4):
        if not _is_digit_at(data, position + i, end):
            return NONE, at, at
    position += 4
    if not _ends(data, position, end):
        return NONE, at, at
    said = word_class_kernel(data, begin, at)
    if said in (NUMBER_WORD, VERSION_WORD):
        return NONE, at, at
    if not has_parenthesis and gap == 32 and second == 32 and said != PHONE_WORD:
        follows = position < end and data[position] == 32 and _is_digit_at(data, position + 1, end)
        precedes = at - 1 > begin and data[at - 1] == 32 and _is(data[at - 2], DIGIT)
        if follows or precedes:
            return NONE, at, at
    return PHONE, at, position


@njit(**KERNEL_INNER)
def local_phone_kernel(data, begin, at, end):
    """A number of another country without its calling code, that starts at data[at], a digit or "(".

    "(0" with an area code in parentheses, or 7 to 15 digits behind a word such as "phone"; none like a date.
    """
    start = at + (data[at] == 40)
    if not _is_digit_at(data, start, end):
        return NONE, at, at
    stop, total, runs, first, last, is_odd = _chain(data, start, end, _MAX_PHONE)
    if total < _MIN_PHONE or is_odd or not _ends(data, stop, end):
        return NONE, at, at
    has_area = start > at and data[start] == 48 and 2 <= first <= 5 and runs > 1 and data[start + first] == 41
    said = word_class_kernel(data, begin, at)
    if said != PHONE_WORD and not (has_area and said == 0):
        return NONE, at, at
    return PHONE, at, stop


@njit(**KERNEL_INNER)
def phone_kernel(data, begin, at, end):
    """The telephone number that starts at data[at], a digit or "("; none inside a longer identifier."""
    if at > begin and _is(data[at - 1], GLUE):
        return NONE, at, at
    kind, start, stop = american_phone_kernel(data, begin, at, end)
    if kind == NONE:
        kind, start, stop = local_phone_kernel(data, begin, at, end)
    return kind, start, stop
