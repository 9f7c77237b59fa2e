"""Lines of Dolma's form for the documents of a view and their attributes, row by row, and the streams that compress them."""

from __future__ import annotations

import gzip
import re
from typing import BinaryIO, NamedTuple

import orjson
import pyarrow as pa
import zstandard

from dolma_py import storage, views
from dolma_py.arrow_buffers import view_text
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats.dolma_attributes import SCORE, dump_rows, list_values
from dolma_py.formats.json_values import dump_json, load_json
from dolma_py.storage import HashingWriter

Sets = dict[str, list[str] | None]  # attribute set -> the columns of it that are written, None for all


class Lines(NamedTuple):
    """What a batch is in a tree."""

    documents: int
    text_bytes: int
    blobs: list[
        bytes
    ]  # JSON lines of the documents, then of each set in the order of `sets`; a line for each document in all of them
    left_out: list[str]  # SET.COLUMN that Dolma's form cannot hold


def dump_batch(corpus: Corpus, sets: Sets, batch: ViewBatch) -> Lines:
    """The lines of one batch of a view: texts edited, spans moved along and in characters."""
    ids, text = batch.documents.column("id").to_pylist(), view_text(batch.documents.column("text"))
    blobs, left_out = [dump_documents(batch.documents)], []
    for name, columns in sets.items():
        table = _read_set(corpus, name, columns, batch)
        columns_read = {key: table.column(key).combine_chunks() for key in table.column_names}
        values = {key: list_values(column, text, batch.removed) for key, column in columns_read.items()}
        left_out += [f"{name}.{key}" for key, found in values.items() if found is None]
        usable = {name_attribute(name, key): found for key, found in values.items() if found is not None}
        blobs.append(dump_rows(ids, usable))
    return Lines(len(ids), int(text.offsets[-1] - text.offsets[0]), blobs, left_out)


def choose_columns(chosen: list[str]) -> Sets:
    """Set -> the columns of it that are written, None for all.

    >>> choose_columns(["lengths-v1", "gopher-v1.num_words", "gopher-v1.fraction"])
    {'lengths-v1': None, 'gopher-v1': ['num_words', 'fraction']}
    """
    sets: Sets = {}
    for name in chosen:
        key, sign, column = name.partition(".")
        columns = sets.setdefault(key, [] if sign else None)
        if bool(sign) != isinstance(columns, list) or (columns is not None and column in columns):
            raise ConfigError("attributes", name, f"expected each set or column once, {key} stands there before")
        if columns is not None:
            columns.append(column)
    return sets


def name_attribute(name: str, column: str) -> str:
    """Dolma's name of a column: <experiment>__<tagger>__<attribute>, the set being both experiment and tagger.

    >>> name_attribute("gopher-dclm-v1", "num_words")
    'gopher_dclm_v1__gopher_dclm_v1__num_words'
    """
    experiment = name_experiment(name)
    return f"{experiment}__{experiment}__{column}"


def name_experiment(name: str) -> str:
    """A set's folder below attributes/: letters, digits and _ alone, so that the name stands in JSONPath as it is."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def name_folders(sets: Sets) -> list[str]:
    """The folder of the documents and that of each set, in the order of Lines.blobs."""
    return ["documents", *(f"attributes/{name_experiment(name)}" for name in sets)]


def check_free(tree: Corpus, parts: list[str], sets: Sets) -> None:
    """Raise ConfigError for files of another origin, which would be taken for part of the export. parts: paths of files below each folder."""
    planned = {tree.path(folder, part) for folder in name_folders(sets) for part in parts}
    for info in [*storage.list_files(tree.path("documents")), *storage.list_files(tree.path("attributes"))]:
        if info.path not in planned:
            raise ConfigError("output", info.path, "expected an empty folder or an earlier export", "Give another.")


def _read_set(corpus: Corpus, name: str, columns: list[str] | None, batch: ViewBatch) -> pa.Table:
    """A set's columns for the batch's documents. ConfigError for a column that is not there."""
    table = views.read_attributes(corpus.root, name, batch.shard, [batch.group])
    if table.num_rows != batch.group_rows:
        raise DataError(
            batch.shard.path, f"{batch.group_rows} documents but {table.num_rows} rows of attributes {name}"
        )
    for column in columns or []:
        if column not in table.column_names:
            raise ConfigError("attributes", f"{name}.{column}", f"expected one of {table.column_names}")
    spans = {field.name for field in table.schema if field.type == SPANS}
    own = [name for name in table.column_names if name.removesuffix(SCORE) not in spans or name in spans]
    table = table.select(columns or own)  # an imported set has each score twice
    return table.take(pa.array(batch.rows))


def dump_documents(documents: pa.RecordBatch) -> bytes:
    """Dolma's JSON lines: id, text, source, and added, created and metadata where there are any; times in UTC."""
    lines = []
    for row in documents.to_pylist():
        metadata = orjson.Fragment(dump_json(load_json(row["metadata"]))) if row["metadata"] else None
        values = row | {"metadata": metadata}
        lines.append(
            orjson.dumps(
                {name: value for name, value in values.items() if value is not None},
                option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z,
            )
        )
    return b"".join(lines)


def open_codec(sink: HashingWriter, path: str) -> BinaryIO:
    """A stream that compresses into `sink` by the file's name: gzip without name and time, or zstd; the same bytes each time."""
    if path.endswith(".zst"):
        compressor = zstandard.ZstdCompressor(level=3, threads=0, write_checksum=True)
        return compressor.stream_writer(sink, closefd=False)  # type: ignore[arg-type, return-value]
    return gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=6, filename="", mtime=0)  # type: ignore[arg-type, return-value]
