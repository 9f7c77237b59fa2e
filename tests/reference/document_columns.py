"""Metadata with what a reader adds to it, with the standard library alone."""

from __future__ import annotations

import json
from typing import Any


def write_objects(objects: list[str], sources: list[str | None], path: str, first_number: int) -> list[str]:
    """The objects with a source (where one is given) and the origin `path:number` behind their own fields, without blanks.

    A value of their own under the name of the origin, or the source under a name that is taken, goes to the first name with one more
    `top_level_` before it that is free or says the same.
    """
    written = []
    for number, (text, source) in enumerate(zip(objects, sources, strict=True), first_number):
        values = json.loads(text) if text else {}
        if source is not None:
            keep(values, "source", source)
        origin = f"{path}:{number}"
        if values.get("origin", origin) != origin:
            given = values.pop("origin")
            keep(values, "top_level_origin", given)
        values["origin"] = origin
        written.append(json.dumps(values, ensure_ascii=False, separators=(",", ":")))
    return written


def keep(values: dict[str, Any], name: str, value: str) -> None:
    """Set a field unless another value has its name, which then is tried with a prefix."""
    if values.get(name, value) != value:
        keep(values, f"top_level_{name}", value)
    else:
        values[name] = value
