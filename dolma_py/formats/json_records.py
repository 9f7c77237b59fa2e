"""JSON lines that have a document's fields and no others, taken apart by type; all else is left to orjson and split_record.

msgspec makes no Python object of what nobody asks for, and decodes into fields without a dict: two thirds of orjson's time on
documents of 4 kB. The records are those of the other way, which the tests compare.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from dolma_py.formats.fields import FieldMap, Record, make_record
from dolma_py.formats.json_values import TooDeepError, load_json

Take = Callable[[bytes], Record | None]


def make_taker(fields: FieldMap, source: str) -> Take | None:
    """A function from a line to its record, None where the line has to be looked at closer; None for a map that it cannot follow."""
    names = (fields.text, fields.id, fields.added, fields.created, fields.metadata)
    is_plain = (
        not (fields.rename or fields.drop or fields.messages)
        and len(set(names) | {"source"}) == 6
        and fields.source in (None, "source")
    )
    if not is_plain or any("." in name or not name for name in names):
        return None
    decoder = msgspec.json.Decoder(_line_type((*names, "source")))

    def take(line: bytes) -> Record | None:
        try:
            found = decoder.decode(line)
            raw = bytes(found.metadata)
            metadata = load_json(raw) if raw else {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, orjson.JSONDecodeError, TooDeepError):
            return None
        if type(metadata) is not dict:
            return None
        times = (found.added, found.created)
        return make_record(found.id, found.text, found.source, times, metadata, fields=fields, source=source)

    return take


@functools.cache
def _line_type(names: tuple[str, ...]) -> Any:
    """A struct of a line's fields under our names; another field, or another type, is an error."""
    optional: list[tuple[str, Any, Any]] = [(name, str | None, None) for name in ("id", "added", "created")]
    made: list[Any] = [("text", str), *optional, ("metadata", msgspec.Raw, msgspec.Raw()), ("source", str | None, None)]
    renamed = dict(zip(("text", "id", "added", "created", "metadata", "source"), names, strict=True))
    return msgspec.defstruct("Line", made, forbid_unknown_fields=True, gc=False, rename=renamed)
