"""JSON values with every digit of their integers, and an error of its own for those that are nested too deep to be written.

orjson reads 1,024 levels and writes 254; an integer beyond 64 bits becomes a float in it, which the standard library does not do.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

MAX_WRITTEN_DEPTH = 254
FIRST_ROUNDED = 2.0**63  # least absolute value of a float that an integer may have become
LEAST_INT, MOST_INT = -(1 << 63), (1 << 64) - 1  # that orjson writes


class TooDeepError(ValueError):
    """A value is nested deeper than JSON is read or written here."""


def load_json(data: bytes | str) -> Any:
    """The value of a JSON text, integers of any size as such.

    Raises orjson.JSONDecodeError, and TooDeepError where a value with a large number cannot be read a second time.

    >>> load_json('[100000000000000000001, 1e20]')
    [100000000000000000001, 1e+20]
    """
    value = orjson.loads(data)
    if not _may_be_rounded(value):
        return value
    try:
        return json.loads(data if isinstance(data, str) else data.decode())
    except RecursionError:
        raise TooDeepError from None


def dump_json(value: Any) -> str:
    """JSON of a value; bytes become hex, other foreign values their text, NaN and the infinities null.

    Raises TooDeepError beyond MAX_WRITTEN_DEPTH levels.
    """
    try:
        return _dump(value)
    except orjson.JSONEncodeError:
        return _dump(_spell_large(value, 0))


def _dump(value: Any) -> str:
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError as error:
        if "recursion" in str(error).lower():
            raise TooDeepError from None
        raise


def _may_be_rounded(value: Any) -> bool:
    """Whether a float is among the values that was an integer in the text, or may have been."""
    nodes = [[value]]
    while nodes:
        node: Any = nodes.pop()
        for item in node.values() if type(node) is dict else node:
            kind = type(item)
            if kind is float:
                if abs(item) >= FIRST_ROUNDED:
                    return True
            elif kind is dict or kind is list:
                nodes.append(item)
    return False


def _spell_large(value: Any, depth: int) -> Any:
    """The value with integers that orjson does not write as their digits."""
    if depth > MAX_WRITTEN_DEPTH:
        raise TooDeepError
    if isinstance(value, dict):
        return {key: _spell_large(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spell_large(item, depth + 1) for item in value]
    if type(value) is int and not LEAST_INT <= value <= MOST_INT:
        return orjson.Fragment(str(value))
    return value


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)
