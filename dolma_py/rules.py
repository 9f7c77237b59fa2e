"""The small language of rules: comparisons of one attribute set's columns with values, joined by `and`.

`word_count >= 50 and word_count <= 100000`, `not is_duplicate`, `lang == "en"`, `lang in ["en", "de"]`. A row is kept when
every comparison holds. Nothing else is understood, and nothing is executed. Numbers compare as numbers, exactly: 2^53 + 1
is more than 9007199254740992.0, and a 32-bit 0.1 is not 0.1.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py.errors import ConfigError

_CLAUSE = re.compile(
    r"(?:(?P<negated>not\s+)?(?P<flag>[A-Za-z_]\w*)|(?P<column>[A-Za-z_]\w*)(?:\s*(?P<op><=|>=|==|!=|<|>)|\s+(?P<member>in)\b)\s*(?P<value>.+))",
    re.DOTALL,
)
_QUOTED_OR_AND = re.compile(r'"(?:[^"\\]|\\.)*"|\band\b', re.DOTALL)
_VALUE_RULE = "expected a finite number, a quoted word, true, false or a list of them"
Bools = npt.NDArray[np.bool_]


class Clause(NamedTuple):
    column: str
    op: str  # a comparison, "in", "is" (the flag holds) or "not"
    value: Any  # int, float, str, bool or, for "in", a list of them


def parse_rule(text: str) -> tuple[Clause, ...]:
    """The comparisons of a rule. ConfigError names the part that is not understood."""
    clauses = []
    for part in _split_parts(text):
        match = _CLAUSE.fullmatch(part)
        if not match:
            raise ConfigError(
                "keep", part, 'expected COLUMN OP VALUE, COLUMN or "not COLUMN"', f"The whole rule: {text}"
            )
        if match["flag"]:
            clauses.append(Clause(match["flag"], "not" if match["negated"] else "is", None))
            continue
        value = _parse_value(match["value"], text)
        if bool(match["member"]) != isinstance(value, list):
            raise ConfigError(
                "keep", match["value"], "expected a list after `in` and only there", f"The whole rule: {text}"
            )
        clauses.append(Clause(match["column"], match["op"] or "in", value))
    return tuple(clauses)


def _split_parts(text: str) -> list[str]:
    """The texts between the words `and` that stand outside of quotes, stripped."""
    cuts = [match.span() for match in _QUOTED_OR_AND.finditer(text) if match[0] == "and"]
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def _parse_value(text: str, rule: str) -> Any:
    try:
        value = json.loads(text)
        items = value if isinstance(value, list) else [value]
        usable = len(items) > 0 and all(_is_value(item) for item in items)
    except (ValueError, OverflowError, RecursionError):
        usable = False
    if not usable:
        raise ConfigError("keep", text, _VALUE_RULE, f"The whole rule: {rule}")
    return value


def _is_value(item: Any) -> bool:
    """OverflowError for an integer that no float can hold."""
    return isinstance(item, str | bool) or (isinstance(item, int | float) and math.isfinite(float(item)))


def evaluate_rule(clauses: tuple[Clause, ...], table: pa.Table) -> tuple[Bools, Bools]:
    """(holds, is_null) of a rule for each row of a table of attributes, bool (N,) each.

    A NaN holds in no comparison. is_null marks rows in which a column has no value; holds is False there.

    Raises
    ------
    ConfigError     no such column, or a column that cannot be compared with the rule's value
    """
    holds = np.ones(table.num_rows, bool)
    is_null = np.zeros(table.num_rows, bool)
    for column, op, value in clauses:
        if column not in table.column_names:
            raise ConfigError("keep", column, f"expected a column of the attributes, one of {table.column_names}")
        values = table.column(column)
        is_null |= values.is_null().to_numpy(zero_copy_only=False)
        if op in ("is", "not"):
            holds &= _compare(values, column, "==", op == "is")
        elif op == "in":
            holds &= _is_one_of(values, column, value)
        else:
            holds &= _compare(values, column, op, value)
    return holds & ~is_null, is_null


def _is_one_of(values: pa.ChunkedArray, column: str, items: list[Any]) -> Bools:
    if all(isinstance(item, str) for item in items) and _holds_words(values.type):
        return np.asarray(pc.is_in(values, pa.array(items, values.type)).to_numpy(), bool)
    return np.asarray(np.logical_or.reduce([_compare(values, column, "==", item) for item in items]), bool)


def _holds_words(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _compare(values: pa.ChunkedArray, column: str, op: str, value: Any) -> Bools:
    """`values op value` for each row; False or True, whichever comes out, where there is no value."""
    kind = values.type
    if pa.types.is_null(kind):
        return np.zeros(len(values), bool)
    if isinstance(value, bool):
        if not pa.types.is_boolean(kind) or op not in ("==", "!="):
            raise ConfigError(
                "keep", column, f"expected a true/false column and == or !=, it is {kind}, compared by {op}"
            )
        return _compare_array(values.fill_null(False).to_numpy(), op, value)
    if isinstance(value, str):
        if not _holds_words(kind):
            raise ConfigError("keep", column, f"expected a column of words to compare with {value!r}, it is {kind}")
        result = _WORDS[op](values, pa.scalar(value, kind))
        return np.asarray(result.fill_null(False).to_numpy(), bool)
    if pa.types.is_integer(kind):
        return _compare_integers(values.fill_null(0).to_numpy(), op, value)
    if pa.types.is_floating(kind):
        return _compare_floats(values.fill_null(math.nan).to_numpy().astype(np.float64), op, value)
    raise ConfigError("keep", column, f"expected a column of numbers to compare with {value!r}, it is {kind}")


_WORDS = {
    "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal, "==": pc.equal, "!=": pc.not_equal,
}  # fmt: skip
_NUMBERS = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip


def _compare_array(values: npt.NDArray[Any], op: str, value: int | float) -> Bools:
    return np.asarray(_NUMBERS[op](values, value), bool)


def _compare_integers(values: npt.NDArray[Any], op: str, value: int | float) -> Bools:
    """numpy compares integers of any two widths exactly, but an int64 and a float as two floats: so no float gets there."""
    return _compare_between(values, op, math.floor(value), math.ceil(value))


def _compare_floats(values: npt.NDArray[np.float64], op: str, value: int | float) -> Bools:
    """A NaN holds in no comparison, != included."""
    near = float(value)  # an integer above 2^53 is rounded, up or down; Python compares the two exactly
    below = near if near <= value else math.nextafter(near, -math.inf)
    above = near if near >= value else math.nextafter(near, math.inf)
    return _compare_between(values, op, below, above) & ~np.isnan(values)


def _compare_between(values: npt.NDArray[Any], op: str, below: int | float, above: int | float) -> Bools:
    """Compare with a number of which only the next values of the array's type are given; they are equal where it is one."""
    if op in ("==", "!=") and below != above:
        return np.full(len(values), op == "!=")
    return _compare_array(values, op, below if op in ("<=", ">") else above)
