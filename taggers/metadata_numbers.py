"""Numbers that documents brought with them, as columns: a score of Stack-Edu or FineMath, a year, a count of stars.

What stands in metadata no rule, plan or partition can ask; a column of an attribute set they can.
"""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
from pydantic import Field, field_validator

from dolma_py.config import Config
from dolma_py.errors import SchemaError
from dolma_py.metadata import read_fields


class MetadataNumbersTaggerConfig(Config):
    """Which fields."""

    columns: dict[str, str] = Field(
        min_length=1,
        description="column -> metadata field, a name or a dotted path; a value that is no finite number, nor the words of one, is null",
    )

    @field_validator("columns")
    @classmethod
    def _check_names(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            if not name.isidentifier():
                raise ValueError(f"expected names of letters, digits and _, got {name!r}")
        return columns


class MetadataNumbersTagger:
    """A float64 column for each of `columns`, null where a document has no such number."""

    config_model = MetadataNumbersTaggerConfig
    name = "metadata-numbers"
    version = 1

    def __init__(self, config: MetadataNumbersTaggerConfig) -> None:
        self.config = config
        self.schema = pa.schema([(name, pa.float64()) for name in config.columns])

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row per document. Raises SchemaError for a batch without metadata, DataError for metadata that are no JSON object."""
        if "metadata" not in batch.schema.names:
            raise SchemaError("metadata", "a column with the documents' fields", f"columns {batch.schema.names}")
        found = read_fields(batch.column("metadata"), list(self.config.columns.values()))
        columns = [
            pa.array([read_number(value) for value in found[field]], pa.float64())
            for field in self.config.columns.values()
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def read_number(value: Any) -> float | None:
    """A finite number, or the words of one, as float64; None for anything else, true and false too.

    >>> [read_number(value) for value in (3, "2.5", True, "many", float("nan"), 10**400)]
    [3.0, 2.5, None, None, None, None]
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
