"""Metadata with what a reader adds to it, with the standard library alone."""

from __future__ import annotations

import json


def write_objects(objects: list[str], sources: list[str | None], path: str, first_number: int) -> list[str]:
    """The objects with a source (where one is given) and the origin `path:number` behind their own fields, without blanks."""
    written = []
    for number, (text, source) in enumerate(zip(objects, sources, strict=True), first_number):
        values = json.loads(text) if text else {}
        if source is not None:
            values["source"] = source
        values.setdefault("origin", f"{path}:{number}")
        written.append(json.dumps(values, ensure_ascii=False, separators=(",", ":")))
    return written
