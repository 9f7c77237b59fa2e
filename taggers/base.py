"""What a tagger is: a name, a version, an Arrow schema, and one method from a batch of documents to a batch of attributes."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pydantic

from dolma_py.config import dump_config
from dolma_py.errors import SchemaError


@runtime_checkable
class Tagger(Protocol):
    """One object per process, built from its frozen config; `tag` is called once per batch and keeps no state between calls.

    name        goes into the folder name attributes/<name>-v<version>; lower-case letters, digits, "-" and "_"
    version     raised whenever the same text and options may give other values
    schema      the columns that `tag` writes, in order
    """

    name: str
    version: int
    schema: pa.Schema

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Attributes of the batch's rows, row i of the output belongs to row i of the input."""
        ...


def check_aligned(tagger: Tagger, batch: pa.RecordBatch, output: pa.RecordBatch) -> pa.RecordBatch:
    """Return `output` if it has one row per document and exactly the declared columns.

    Raises
    ------
    SchemaError     other columns, order or types than tagger.schema, or another number of rows than `batch`
    """
    if not output.schema.equals(tagger.schema):
        wrong = [field for field in output.schema if field not in list(tagger.schema)] or list(output.schema)
        column = wrong[0].name if wrong else "(none)"
        raise SchemaError(f"{tagger.name}.{column}", tagger.schema.to_string(), output.schema.to_string())
    if output.num_rows != batch.num_rows:
        raise SchemaError(tagger.name, f"{batch.num_rows} rows", f"{output.num_rows} rows")
    return output


def tag_checked(tagger: Tagger, batch: pa.RecordBatch) -> pa.RecordBatch:
    """tagger.tag(batch), checked by check_aligned. Every caller of taggers goes through here."""
    return check_aligned(tagger, batch, tagger.tag(batch))


def describe_tagger(tagger: Tagger) -> dict[str, Any]:
    """What decides the tagger's output, as plain JSON values: the part of a step's fingerprint that speaks for it.

    Options named in the config model's class variable `NOT_IDENTITY` (file paths, whose fingerprints stand beside them) are
    left out.
    """
    config = getattr(tagger, "config", None)
    options: dict[str, Any] = dump_config(config) if isinstance(config, pydantic.BaseModel) else {}
    for key in getattr(type(config), "NOT_IDENTITY", ()):
        options.pop(key, None)
    columns = {field.name: str(field.type) for field in tagger.schema}
    return {"name": tagger.name, "version": tagger.version, "columns": columns, "options": options}
