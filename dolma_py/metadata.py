"""Fields of the documents' metadata, each document parsed once.

Legend: N documents.
"""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa

from dolma_py.errors import DataError


def read_fields(metadata: pa.Array, fields: list[str]) -> dict[str, list[Any]]:
    """Values of some fields of each document's metadata.

    Parameters
    ----------
    metadata : string (N,)      one JSON object each, or null
    fields : names              `a.b` is the key "a.b" when there is one, else the key "b" of the object under "a"

    Returns
    -------
    values : field -> N values  None where a document has no such field, or no metadata

    Raises
    ------
    DataError                   not a JSON object (names the first row of the batch)
    """
    found: dict[str, list[Any]] = {field: [] for field in fields}
    paths = {field: field.split(".") for field in fields}
    for row, text in enumerate(metadata.to_pylist()):
        try:
            values = {} if text is None else orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise DataError("metadata", f"not JSON ({error})", row, "Ingest the file again.") from error
        if not isinstance(values, dict):
            raise DataError("metadata", f"{type(values).__name__} where an object belongs", row)
        for field, parts in paths.items():
            found[field].append(values[field] if field in values else _walk(values, parts))
    return found


def _walk(value: Any, parts: list[str]) -> Any:
    for part in parts:
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value
