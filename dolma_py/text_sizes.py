"""How much text a file holds, before it is read: for plans, a guide and no bound."""

from __future__ import annotations

from dolma_py import parquet_files
from dolma_py.errors import DataError
from dolma_py.formats.decompress import find_codec
from dolma_py.formats.dispatch import detect_format

COMPRESSED_RATIO = 4  # bytes of plain text per byte of gzip or zstd


def estimate_text_bytes(path: str, num_bytes: int, *, kind: str = "", text_column: str = "text") -> int:
    """Bytes of text in a file of num_bytes: a Parquet footer's size of the text column before compression, COMPRESSED_RATIO
    times a gzip or zstd stream, else the file's own bytes, which are those of its records.

    kind: format, where the name does not tell it. text_column: name or dotted path. A Parquet file whose footer cannot be read, or
    without such a column, counts with its own bytes.
    """
    if (kind or detect_format(path)) == "parquet":
        try:
            with parquet_files.open_parquet(path) as file:
                text_bytes = parquet_files.column_bytes(file.metadata, text_column, range(file.num_row_groups))
        except DataError:
            return num_bytes
        return text_bytes or num_bytes
    return num_bytes * (COMPRESSED_RATIO if find_codec(path) else 1)
