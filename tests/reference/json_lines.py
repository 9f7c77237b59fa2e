"""Records of JSON lines, with the standard library alone: what dolma_py.formats.json_lines_kernels puts into columns."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any


def take_lines(
    data: bytes, names: dict[str, str], path: str, source: str, *, keeps_others: bool = True
) -> list[tuple[Any, ...]]:
    """(id, text, source, added, created, metadata) of each line that is not blank; times in microseconds, metadata as a dict.

    names: role (id, text, source, added, created, metadata) -> name of the field. Every line must be a record with a text, its id a
    string or a whole number, its times ISO 8601, its metadata an object.
    """
    rows = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        record = json.loads(line)
        given = {role: record.pop(name, None) for role, name in names.items()}
        metadata = dict(given["metadata"] or {})
        if keeps_others:
            for key, value in record.items():
                if value is None or (key == "source" and value == source):
                    continue
                metadata[f"top_level_{key}" if key in metadata and metadata[key] != value else key] = value
        metadata.setdefault("origin", f"{path}:{number}")
        rows.append((
            "" if given["id"] is None else str(given["id"]), given["text"], given.get("source") or source,
            count_microseconds(given["added"]), count_microseconds(given["created"]), metadata,
        ))  # fmt: skip
    return rows


def count_microseconds(text: str | None) -> int | None:
    """Microseconds since 1970 of an ISO 8601 time, one without a zone in UTC."""
    if text is None:
        return None
    time = dt.datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=dt.UTC)
    return (time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
