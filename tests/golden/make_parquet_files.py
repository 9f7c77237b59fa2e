"""Writes the files whose checksums stand in parquet_files.json, and that file itself.

    PYTHONPATH=. python tests/golden/make_parquet_files.py

Run it after a change of dolma_py/parquet_files.py or of pyarrow that is meant to change bytes: then every corpus made
before has other bytes than one made now, and the versions of the steps that write Parquet must go up too.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from pathlib import Path

import pyarrow as pa

from dolma_py import parquet_files, storage
from dolma_py.corpus import AttributePiece
from dolma_py.documents import DOCUMENT_SCHEMA, DUPLICATE_SCHEMA, SPANS

RECORD = Path(__file__).parent / "parquet_files.json"
ATTRIBUTE_SCHEMA = pa.schema([("lang", pa.string()), ("score", pa.float32()), ("spans", SPANS), *DUPLICATE_SCHEMA])


def make_documents() -> pa.Table:
    """500 rows with every kind of value: empty text, long text, characters of 1 to 4 bytes, nulls, times."""
    rows = range(500)
    added = dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC)
    return pa.table(
        {
            "id": [f"doc-{row:04d}" for row in rows],
            "text": ["" if row % 7 == 0 else f"Text {row} \u00e9\u4e2d\U0001f600 " * (row % 50) for row in rows],
            "source": [("web", "code", "b\u00fccher")[row % 3] for row in rows],
            "added": [added if row % 2 else None for row in rows],
            "created": [None for row in rows],
            "metadata": [None if row % 5 == 0 else f'{{"n":{row}}}' for row in rows],
        },
        DOCUMENT_SCHEMA,
    )


def make_attributes() -> pa.Table:
    """Attributes of those rows; every third row is outside the view and null."""

    def row(number: int) -> dict[str, object]:
        if number % 3 == 0:
            return dict.fromkeys(ATTRIBUTE_SCHEMA.names)
        spans = [
            {"start": 4 * place, "end": 4 * place + number % 3, "score": 1 / (1 + place)} for place in range(number % 4)
        ]
        kept = {
            "is_duplicate": number % 4 == 0,
            "cluster_id": number << 40 | 5,
            "cluster_size": number % 9,
            "kept_id": f"doc-{number // 2:04d}",
        }
        return {"lang": "en" if number % 2 else "de", "score": number / 7, "spans": spans, **kept, "similarity": 0.8}

    return pa.Table.from_pylist([row(number) for number in range(500)], ATTRIBUTE_SCHEMA)


def write_files(folder: str) -> dict[str, str]:
    """Write both files, two row groups each; returns name -> xxh3-128."""
    written = [
        storage.write_attempt(folder, "", "documents.parquet", write_documents),
        storage.write_attempt(folder, "", "attributes.parquet", write_attributes),
    ]
    return {file.path: file.checksum for file in written}


def write_documents(sink: storage.HashingWriter) -> int:
    table = make_documents()
    with parquet_files.open_writer(sink, DOCUMENT_SCHEMA) as writer:
        for group in (table.slice(0, 300), table.slice(300)):
            parquet_files.write_row_group(writer, group)
    return int(table.num_rows)


def write_attributes(sink: storage.HashingWriter) -> int:
    table = make_attributes()
    with AttributePiece(sink, ATTRIBUTE_SCHEMA) as piece:
        for group in (table.slice(0, 300), table.slice(300)):
            piece.add(group)
    return piece.rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made_in:
        RECORD.write_text(json.dumps({"pyarrow": pa.__version__, "xxh3_128": write_files(made_in)}, indent=1) + "\n")
