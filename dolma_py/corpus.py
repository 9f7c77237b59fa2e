"""A corpus: a folder with documents, attributes, views, tokens, runs and rejected records, and how its parts are read.

Local or remote, the layout is the same. Nothing here knows Spark: tasks call read_view and AttributePiece, the driver plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dolma_py import parquet_files, spans, storage, views
from dolma_py.arrow_buffers import build_text, view_text
from dolma_py.documents import DOCUMENT_SCHEMA, SPANS
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats.in_place import check_unchanged, read_shard
from dolma_py.listing import Listing, Shard, Split, pack_address, read_listing
from dolma_py.spans import Spans
from dolma_py.storage import HashingWriter, WrittenFile
from dolma_py.views import Evaluation, View

SIZES_SCHEMA = pa.schema([pa.field("text_bytes", pa.int64())])
SIZES_VERSION = 1


class ViewBatch(NamedTuple):
    """The rows of one row group that a view keeps, texts edited."""

    shard: Shard
    group: int  # row group in the shard
    group_rows: int  # rows of the whole row group
    rows: npt.NDArray[np.int64]  # (N,) row of each document inside the row group
    addresses: npt.NDArray[np.int64]  # (N,) packed (shard, row)
    documents: pa.RecordBatch  # N documents, texts without what edits remove
    removed: Spans  # (N lists) what edits removed from the original texts


class Corpus:
    """Paths and readers of one corpus folder."""

    def __init__(self, root: str) -> None:
        self.root = storage.resolve_path(root)

    def path(self, *parts: str) -> str:
        """A path inside the corpus."""
        return storage.join_path(self.root, *parts)

    @property
    def listing_path(self) -> str:
        return self.path("listing.jsonl")

    def read_listing(self) -> Listing:
        """The listing as it stands now."""
        return read_listing(self.listing_path)

    def need_listing(self) -> Listing:
        """The listing; ConfigError when nothing was ingested yet."""
        listing = self.read_listing()
        if not listing.shards:
            raise ConfigError(
                "corpus",
                self.root,
                "expected a corpus with documents",
                "Run: dolma-py ingest --corpus DIR --input FILES",
            )
        return listing

    def load_view(self, name: str | None) -> View:
        """A view by name, file or, when None, all documents of the listing."""
        if name is None:
            listing = self.need_listing()
            return View(name="all", listing=listing.fingerprint, shards=len(listing.shards))
        path = name if name.endswith((".yaml", ".yml")) else self.path("views", f"{name}.yaml")
        if storage.file_bytes(path) is None:
            known = [
                info.path.rsplit("/", 1)[-1].removesuffix(".yaml") for info in storage.list_files(self.path("views"))
            ]
            raise ConfigError("view", name, f"expected a view of the corpus, one of {known}, or a file")
        return views.load_view(path)

    def shard_path(self, shard: Shard) -> str:
        """Where a shard's documents lie."""
        return shard.path if storage.is_remote(shard.path) or shard.path.startswith("/") else self.path(shard.path)


def read_group(corpus: Corpus, shard: Shard, group: int, columns: list[str]) -> pa.Table:
    """One row group of a shard's documents."""
    if shard.format == "parquet":
        if not shard.path.startswith("documents/"):
            check_unchanged(corpus.shard_path(shard), shard)
        return parquet_files.read_row_groups(corpus.shard_path(shard), [group], columns)
    table = read_shard(corpus.shard_path(shard), shard)
    first = sum(rows for rows, _ in shard.row_groups[:group])
    return table.select(columns).slice(first, shard.row_groups[group][0])


def evaluate_group(corpus: Corpus, view: View, shard: Shard, group: int) -> tuple[Evaluation, pa.Table]:
    """The view's verdict on one row group, and its ids and sources; reads no text of Parquet shards."""
    keys = read_group(corpus, shard, group, ["id", "source"])
    verdict = views.evaluate_view(view, corpus.root, shard, [group], keys.column("source").combine_chunks())
    return verdict, keys


def read_view(corpus: Corpus, view: View, split: Split, columns: list[str] | None = None) -> Iterator[ViewBatch]:
    """The kept rows of a split, one batch per row group, in order; row groups without kept rows give empty batches.

    columns: which columns of a document are read, id and source always, all when None. Memory is one row group.
    """
    names = (
        DOCUMENT_SCHEMA.names
        if columns is None
        else [n for n in DOCUMENT_SCHEMA.names if n in {"id", "source", *columns}]
    )
    shard = views.check_listing(view, corpus.read_listing()).shards[split.shard]
    first_row = split.first_row
    for group in range(split.first_group, split.last_group + 1):
        table = read_group(corpus, shard, group, names)
        sources = table.column("source").combine_chunks()
        verdict = views.evaluate_view(view, corpus.root, shard, [group], sources)
        rows = np.flatnonzero(verdict.failed < 0).astype(np.int64)
        yield _keep_rows(shard, group, table, rows, first_row, verdict)
        first_row += table.num_rows


def _keep_rows(
    shard: Shard, group: int, table: pa.Table, rows: npt.NDArray[np.int64], first_row: int, verdict: Evaluation
) -> ViewBatch:
    documents = table.take(pa.array(rows)).combine_chunks() if len(rows) < table.num_rows else table.combine_chunks()
    batches = documents.to_batches(max_chunksize=max(1, documents.num_rows))
    batch = batches[0] if batches else pa.RecordBatch.from_pylist([], documents.schema)
    removed = spans.take_spans(verdict.removed, rows)
    if len(removed.starts) and "text" in batch.schema.names:
        text = view_text(batch.column("text"))
        where = f"{shard.path}, edits in row group {group}"
        spans.check_spans(removed, np.diff(text.offsets), where)
        spans.check_characters(removed, text, where)
        edited = build_text(*spans.cut_spans(text, removed))
        index = batch.schema.get_field_index("text")
        batch = batch.set_column(index, batch.schema.field("text"), edited)
    return ViewBatch(shard, group, table.num_rows, rows, pack_address(shard.number, first_row + rows), batch, removed)


def spread_rows(batch: pa.RecordBatch, rows: npt.NDArray[np.int64], num_rows: int, schema: pa.Schema) -> pa.Table:
    """Attributes of kept rows as attributes of the whole row group: null where the view has no row."""
    index = np.full(num_rows, -1, np.int64)
    index[rows] = np.arange(batch.num_rows)
    table = pa.Table.from_batches([batch]).take(pa.array(index, mask=index < 0))
    return table.cast(pa.schema([field.with_nullable(True) for field in schema]))


def restore_span_columns(batch: pa.RecordBatch, removed: Spans) -> pa.RecordBatch:
    """A tagger's SPANS columns, found in edited texts, as spans of the original texts."""
    if not len(removed.starts):
        return batch
    for index, field in enumerate(batch.schema):
        if field.type == SPANS:
            column = batch.column(index)
            found = spans.read_spans(column)
            restored = spans.restore_spans(found, removed)
            scores = column.flatten().field("score")
            batch = batch.set_column(index, field, spans.build_spans(restored, scores, column.is_null()))
    return batch


class AttributePiece:
    """Writes the attributes of one split as an attempt file, one row group per row group of the documents; a context.

    `rows` counts them; the file is complete when the block has ended.
    """

    def __init__(self, sink: HashingWriter, schema: pa.Schema) -> None:
        self.schema = pa.schema([field.with_nullable(True) for field in schema])
        self.writer = parquet_files.open_writer(sink, self.schema)
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the writer on an error too: one that is left open would write its footer when its file is long closed."""
        self.writer.close()

    def add(self, table: pa.Table) -> None:
        """One row group."""
        if table.schema != self.schema:
            table = table.cast(self.schema)
        parquet_files.write_row_group(self.writer, table)
        self.rows += table.num_rows


def stitch_pieces(root: str, pieces: list[str], path: str, attempts: str) -> WrittenFile:
    """One attribute file from the pieces of a shard's splits, in order, row group by row group: the bytes one task would have written."""

    def write(sink: HashingWriter) -> int:
        writer: AttributePiece | None = None
        with ExitStack() as stack:
            for piece in pieces:
                with parquet_files.open_parquet(storage.join_path(root, piece)) as file:
                    writer = writer or stack.enter_context(AttributePiece(sink, file.schema_arrow))
                    for group in range(file.num_row_groups):
                        writer.add(file.read_row_group(group, use_threads=False))
        if writer is None:
            raise DataError(path, "no pieces to put together")
        return writer.rows

    return storage.write_attempt(root, attempts, path, write)


def count_rows(path: str) -> int:
    """Rows of a Parquet file, from its footer."""
    with parquet_files.open_parquet(path) as file:
        metadata: pq.FileMetaData = file.metadata
        return int(metadata.num_rows)
