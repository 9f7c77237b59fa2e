"""The small language of rules: comparisons of one attribute set's columns with values, joined by `and`.

`word_count >= 50 and word_count <= 100000`, `not is_duplicate`, `lang == "en"`, `lang in ["en", "de"]`. A row is kept when
every comparison holds. Nothing else is understood, and nothing is executed.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py.errors import ConfigError

_CLAUSE = re.compile(
    r"^\s*(?:(?P<negated>not\s+)?(?P<flag>[A-Za-z_]\w*)|(?P<column>[A-Za-z_]\w*)\s*(?P<op><=|>=|==|!=|<|>|in\b)\s*(?P<value>.+?))\s*$"
)
_COMPARE = {
    "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal, "==": pc.equal, "!=": pc.not_equal,
}  # fmt: skip


class Clause(NamedTuple):
    column: str
    op: str  # a comparison, "in", "is" (the flag holds) or "not"
    value: Any


def parse_rule(text: str) -> tuple[Clause, ...]:
    """The comparisons of a rule. ConfigError names the part that is not understood."""
    clauses = []
    for part in re.split(r"\band\b(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", text):
        match = _CLAUSE.match(part)
        if not match:
            raise ConfigError(
                "keep", part.strip(), 'expected COLUMN OP VALUE, COLUMN or "not COLUMN"', f"The whole rule: {text}"
            )
        if match["flag"]:
            clauses.append(Clause(match["flag"], "not" if match["negated"] else "is", None))
            continue
        try:
            value = json.loads(match["value"])
        except ValueError:
            raise ConfigError(
                "keep", match["value"], "expected a number, a quoted word, true, false or a list of them", text
            ) from None
        if (match["op"] == "in") != isinstance(value, list):
            raise ConfigError("keep", match["value"], "expected a list after `in` and only there", text)
        clauses.append(Clause(match["column"], match["op"], value))
    return tuple(clauses)


def evaluate_rule(clauses: tuple[Clause, ...], table: pa.Table) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(holds, is_null) of a rule for each row of a table of attributes, bool (N,) each.

    A NaN holds in no comparison. is_null marks rows in which a column has no value; holds is False there.
    """
    holds = np.ones(table.num_rows, bool)
    is_null = np.zeros(table.num_rows, bool)
    for column, op, value in clauses:
        if column not in table.column_names:
            raise ConfigError("keep", column, f"expected a column of the attributes, one of {table.column_names}")
        values = table.column(column)
        is_null |= values.is_null().to_numpy(zero_copy_only=False)
        if op in ("is", "not"):
            if not pa.types.is_boolean(values.type):
                raise ConfigError("keep", column, f"expected a true/false column, it is {values.type}")
            result = values if op == "is" else pc.invert(values)
        elif op == "in":
            result = pc.is_in(values, pa.array(value))
        else:
            result = _COMPARE[op](values, pa.scalar(value))
        holds &= result.fill_null(False).to_numpy(zero_copy_only=False)
    return holds & ~is_null, is_null
