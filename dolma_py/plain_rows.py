"""What the readers and writers of plain files share: the narrow table that is compared, and the rows that stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from dolma_py.formats.limits import Limits

# of each record that was read, in the order of the file
NARROW_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # row of the table or line of the file, from 0
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("given_id", pa.string()),  # the record's own id, as text
        pa.field(
            "metadata", pa.string()
        ),  # JSON object of the metadata fields that were asked for, null where it has none
    ]
)


class Narrow(NamedTuple):
    """Which parts of a record are read."""

    text_column: str  # name or dotted path
    id_column: str | None  # None: `id` where there is one
    limits: Limits
    metadata_fields: tuple[str, ...] = ()  # names or dotted paths, of a record or of its `metadata`


def render_metadata(fields: tuple[str, ...], values: Iterable[Any]) -> str | None:
    """The fields of one record that have a value as a JSON object; what JSON does not know is written out."""
    pairs = zip(fields, values, strict=True)
    found = {name: value for name, value in pairs if value is not None}
    return orjson.dumps(found, default=str, option=orjson.OPT_PASSTHROUGH_DATETIME).decode() if found else None


class KeptRows:
    """The rows of one file that stay, in ascending order, handed out as a writer goes through the file.

    blocks: tables with a column `row` (int64, ascending over all blocks), and perhaps `text` and others for these rows.
    Memory is one block and what `take` returns.
    """

    def __init__(self, blocks: Iterator[pa.Table], schema: pa.Schema) -> None:
        self.blocks = blocks
        self.held = schema.empty_table()
        self.is_open = True

    def take(self, stop: int) -> pa.Table:
        """The rows below `stop` that were not taken yet, in one chunk."""
        parts = []
        while True:
            rows = self.held.column("row").to_numpy()
            count = int(rows.searchsorted(stop))
            parts.append(self.held.slice(0, count))
            self.held = self.held.slice(count)
            if self.held.num_rows or not self.is_open:
                return pa.concat_tables(parts).combine_chunks()
            block = next(self.blocks, None)
            self.is_open = block is not None
            if block is not None:
                self.held = block.combine_chunks()
