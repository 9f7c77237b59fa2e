"""Write one shard: its documents and, row-aligned, the sizes of their texts, in one pass and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import config, parquet_files, storage
from dolma_py.arrow_buffers import view_text
from dolma_py.corpus import SIZES_SCHEMA, SIZES_VERSION, AttributePiece
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.storage import WrittenFile
from dolma_py.views import SIZES

SIZES_FINGERPRINT = config.fingerprint("sizes", SIZES_VERSION)


class ShardCounts:
    """Rows and text bytes of a shard, in all and per row group, as the listing keeps them."""

    def __init__(self) -> None:
        self.row_groups: list[list[int]] = []  # [rows, text bytes] of each

    def add(self, lengths: np.ndarray) -> None:
        """One row group; lengths: int (N,), text bytes of its rows."""
        self.row_groups.append([len(lengths), int(lengths.sum())])

    def facts(self) -> dict[str, Any]:
        """JSON values."""
        rows, text_bytes = (sum(group[side] for group in self.row_groups) for side in (0, 1))
        return {"rows": rows, "text_bytes": text_bytes, "row_groups": self.row_groups}


def text_lengths(text: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """UTF-8 bytes of each text, int64 (N,)."""
    return np.diff(view_text(text).offsets).astype(np.int64)


def add_sizes(piece: AttributePiece, lengths: np.ndarray) -> None:
    """The sizes of one row group; lengths: int64 (N,)."""
    piece.add(pa.table({"text_bytes": pa.array(lengths, pa.int64())}))


def write_shard(
    batches: Iterable[pa.RecordBatch], *, root: str, attempts: str, part: str, row_group_text_bytes: int
) -> tuple[list[WrittenFile], dict[str, Any]]:
    """documents/<part>.parquet and attributes/sizes-v1/<part>.parquet as attempt files, and the shard's counts.

    batches: of DOCUMENT_SCHEMA, any number of any size; row groups are cut by text bytes, so the files do not depend on them.
    Both files grow together, one row group at a time: memory is one row group and one batch, whatever the shard holds.
    Returns (files, facts): documents first; facts are rows, text_bytes and row_groups.
    """
    counts = ShardCounts()
    with (
        storage.open_attempt(root, attempts, f"documents/{part}.parquet") as documents,
        storage.open_attempt(root, attempts, f"attributes/{SIZES}/{part}.parquet") as sizes,
        AttributePiece(sizes.sink, SIZES_SCHEMA) as piece,
        parquet_files.open_writer(documents.sink, DOCUMENT_SCHEMA) as writer,
    ):
        for table in parquet_files.cut_row_groups(batches, DOCUMENT_SCHEMA, row_group_text_bytes=row_group_text_bytes):
            parquet_files.write_row_group(writer, table)
            lengths = text_lengths(table.column("text"))
            add_sizes(piece, lengths)
            counts.add(lengths)
    return [documents.written(piece.rows), sizes.written(piece.rows)], counts.facts()
