"""ISO 8601 times in a string of JSON to microseconds since 1970, where they are written in the usual way.

    2019-04-12    2019-04-12T10:12:00    2019-04-12 10:12:00.25    2019-04-12T10:12:00.000Z    2019-04-12T10:12:00+02:00

Everything else is DECLINED and left to datetime.fromisoformat, with which these agree (tested).
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs, allow-untyped-decorators, no-warn-return-any

from __future__ import annotations

from dolma_py.formats.json_values_kernels import COLON, DECLINED, DOT, MINUS, NINE, PLUS, QUOTE, SPACE, ZERO
from dolma_py.numba_options import KERNEL_BORROWING_INNER

import numpy as np  # isort: skip
from numba import njit  # isort: skip

MICROSECONDS = 1_000_000
FIRST_MICROSECOND, END_MICROSECOND = -62_135_596_800_000_000, 253_402_300_800_000_000  # of year 1, behind year 9999
MAX_PLACES = 9  # of a second's fraction; those behind the sixth are cut off
MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)
BEFORE_MONTH = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334], np.int64)  # days, in no leap year
UPPER_T, UPPER_Z = 0x54, 0x5A


@njit(**KERNEL_BORROWING_INNER)
def read_digits_kernel(block, at, count, highest):
    """The number of `count` digits at `at`; -1 where they are not, or more than `highest`."""
    number = np.int64(0)
    for place in range(count):
        byte = block[at + place]
        if byte < ZERO or byte > NINE:
            return np.int64(-1)
        number = number * 10 + np.int64(byte - ZERO)
    return number if number <= highest else np.int64(-1)


@njit(**KERNEL_BORROWING_INNER)
def read_date_kernel(block, at):
    """(days since 1970, whether the ten bytes at `at` are a date of the years 1 to 9999)."""
    year = read_digits_kernel(block, at, 4, 9999)
    month = read_digits_kernel(block, at + 5, 2, 12)
    day = read_digits_kernel(block, at + 8, 2, 31)
    if year < 1 or month < 1 or day < 1 or block[at + 4] != MINUS or block[at + 7] != MINUS:
        return np.int64(0), False
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > MONTH_DAYS[month] + (is_leap and month == 2):
        return np.int64(0), False
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 + BEFORE_MONTH[month] + (is_leap and month > 2)
    return days + day - 1 - 719_162, True  # 1970-01-01 is 719,162 days behind the first day


@njit(**KERNEL_BORROWING_INNER)
def read_clock_kernel(block, at):
    """(seconds of the day, position behind it) of `HH:MM:SS` at `at`; position DECLINED where there is none."""
    hours = read_digits_kernel(block, at, 2, 23)
    minutes = read_digits_kernel(block, at + 3, 2, 59)
    seconds = read_digits_kernel(block, at + 6, 2, 59)
    if hours < 0 or minutes < 0 or seconds < 0 or block[at + 2] != COLON or block[at + 5] != COLON:
        return np.int64(0), np.int64(DECLINED)
    return hours * 3600 + minutes * 60 + seconds, at + 8


@njit(**KERNEL_BORROWING_INNER)
def read_zone_kernel(block, at):
    """(seconds east of UTC, position behind it) of `Z`, `+HH:MM`, `-HH:MM` or nothing, which is UTC."""
    sign = block[at]
    if sign == UPPER_Z:
        return np.int64(0), at + 1
    if sign != PLUS and sign != MINUS:
        return np.int64(0), at
    hours = read_digits_kernel(block, at + 1, 2, 23)
    minutes = read_digits_kernel(block, at + 4, 2, 59)
    if hours < 0 or minutes < 0 or block[at + 3] != COLON:
        return np.int64(0), np.int64(DECLINED)
    east = hours * 3600 + minutes * 60
    return (east if sign == PLUS else -east), at + 6


@njit(**KERNEL_BORROWING_INNER)
def read_time_kernel(block, at):
    """(microseconds since 1970, position behind the quote) of the string whose first character is at `at`; or DECLINED."""
    days, is_date = read_date_kernel(block, at)
    if not is_date:
        return np.int64(0), np.int64(DECLINED)
    time = days * 86_400 * MICROSECONDS
    at += 10
    if block[at] == UPPER_T or block[at] == SPACE:
        seconds, at = read_clock_kernel(block, at + 1)
        if at < 0:
            return np.int64(0), at
        time += seconds * MICROSECONDS
        if block[at] == DOT:
            at += 1
            first, unit = at, np.int64(MICROSECONDS)
            while ZERO <= block[at] <= NINE and at - first < MAX_PLACES:
                unit //= 10
                time += unit * np.int64(block[at] - ZERO)
                at += 1
            if at == first:
                return np.int64(0), np.int64(DECLINED)
        east, at = read_zone_kernel(block, at)
        if at < 0:
            return np.int64(0), at
        time -= east * MICROSECONDS
    if block[at] != QUOTE or time < FIRST_MICROSECOND or time >= END_MICROSECOND:
        return np.int64(0), np.int64(DECLINED)
    return time, at + 1
