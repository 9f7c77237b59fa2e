"""plan.yaml: a plan as text that a person reads and a review compares, one line a source, few lines a group.

The same values give the same bytes; dolma_py.config.parse_yaml reads the values again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from dolma_py.config import render_flow

HEAD = """\
# The plan of a mix. Rates are copies per document on average; buckets go from the lowest quality (or cluster size) to the highest.
# wanted_tokens: by the shares alone; planned_tokens: what max_repetition leaves of them. repetition: planned over available tokens.
# binds: what decides the rates (docs/mixing.md), binds_by_bucket where it is not one thing for all buckets.
"""
WIDE = ("rates", "weights", "planned_by_bucket", "binds_by_bucket", "curve")  # a line of their own


def render_plan(values: Mapping[str, Any]) -> str:
    """Plain values (str keys; None, bool, int, float, str, lists and mappings of such) as YAML; `sources`, `shortages`, `groups` as lists of rows."""
    lines = [HEAD]
    for key, value in values.items():
        if key in ("sources", "shortages") and value:
            lines.append(f"{key}:\n" + "".join(f"- {_flow(row)}\n" for row in value))
        elif key == "groups" and value:
            lines.append(f"\n{key}:\n" + "".join(map(_render_group, value)))
        else:
            lines.append(f"{key}: {_flow(value)}\n")
    return "".join(lines)


def _render_group(row: Mapping[str, Any]) -> str:
    """The short values on one line, each wide one on its own."""
    short = [f"{_text(key)}: {_flow(value)}" for key, value in row.items() if key not in WIDE]
    first, rest = short[:2], short[2:]
    text = f"- {first[0]}\n" + "".join(f"  {part}\n" for part in first[1:])
    text += "".join(f"  {part}\n" for part in rest)
    return text + "".join(f"  {key}: {_flow(row[key])}\n" for key in WIDE if key in row)


def _flow(value: Any) -> str:
    if isinstance(value, str):  # what there is most of comes first
        return _text(value)
    if isinstance(value, float):
        return _number(value)
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(str(key))}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)


def _number(value: float) -> str:
    """YAML 1.1 wants a point in a number with an exponent.

    >>> _number(1e-05), _number(0.0), _number(2.5)
    ('1.0e-05', '0.0', '2.5')
    """
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


@functools.lru_cache(maxsize=100_000)
def _text(value: str) -> str:
    return render_flow(value)
