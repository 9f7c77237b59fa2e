"""duplicates.parquet of a command over plain files: the members of clusters of all files, with the record that stays for each.

Pieces of evidence, one per input file, go through a shuffle by cluster, some 100 bytes a row with its file's name and id; executors
write sorted runs, and the driver merges them into the file a row group of each at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py import parquet_files, storage, views
from dolma_py.corpus import Corpus
from dolma_py.done import DoneFile
from dolma_py.listing import Shard
from dolma_py.storage import HashingWriter
from pipelines.arrow_tasks import map_arrow
from pipelines.read_plain_files import INPUT_SET
from pipelines.shuffles import merge_runs, read_frame, write_runs
from pipelines.steps import StepContext, file_lists

EVIDENCE_SCHEMA = pa.schema(
    [
        ("file", pa.string()), ("row", pa.int64()), ("id", pa.string()), ("is_duplicate", pa.bool_()),
        ("cluster_id", pa.int64()), ("cluster_size", pa.int32()), ("kept_file", pa.string()), ("kept_row", pa.int64()),
        ("kept_id", pa.string()), ("similarity", pa.float32()),
    ]
)  # fmt: skip
# of one input: the place of the record that stays is not known, and `kept_id` is what the verdict names
PIECE_SCHEMA = pa.schema([field for field in EVIDENCE_SCHEMA if field.name not in ("kept_file", "kept_row")])
_PIECE_SPARK = "file string, row long, id string, is_duplicate boolean, cluster_id long, cluster_size int, kept_id string, similarity float"
_EVIDENCE_SPARK = (
    "file string, row long, id string, is_duplicate boolean, cluster_id long, cluster_size int, kept_file string, kept_row long, "
    "kept_id string, similarity float"
)
_ORDER = ["cluster_id", "is_duplicate", "file", "row"]  # total; the record that stays is the first of its cluster


def write_pieces(corpus: Corpus, shard: Shard, name: str, verdict: str, sink: HashingWriter) -> int:
    """The piece of the input file `name`: rows of `shard` that have copies or are one, by the attribute set `verdict`."""
    rows = 0
    with parquet_files.open_writer(sink, PIECE_SCHEMA) as writer:
        for group in range(len(shard.row_groups)):
            found = views.read_attributes(corpus.root, verdict, shard, [group])
            origin = views.read_attributes(corpus.root, INPUT_SET, shard, [group])
            where = [pa.repeat(pa.scalar(name), found.num_rows), origin.column("row"), origin.column("given_id")]
            columns = [*where, *(found.column(column) for column in PIECE_SCHEMA.names[len(where) :])]
            is_member = pc.or_(pc.greater(found.column("cluster_size"), 1), found.column("is_duplicate"))
            table = pa.table(columns, schema=PIECE_SCHEMA).filter(is_member)
            if table.num_rows:
                parquet_files.write_row_group(writer, table)
            rows += table.num_rows
    return rows


def write_evidence(context: StepContext, done: DoneFile, folder: str) -> dict[str, Any] | None:
    """duplicates.parquet, sorted by cluster, the record that stays first, from the pieces in `folder`. None without verdicts.

    context: of the output folder. Memory of a task is a batch, of the driver a row group of each run.
    """
    paths = [file["path"] for file in file_lists(done) if file["path"].startswith(f"{folder}/")]
    if not paths:
        return None
    pieces = read_frame(context, paths, PIECE_SCHEMA.names, schema=_PIECE_SPARK)
    clusters = pieces.repartition("cluster_id").sortWithinPartitions(*_ORDER)
    runs = write_runs(context, map_arrow(clusters, name_places, _EVIDENCE_SPARK), by=_ORDER)
    path = context.corpus.path("duplicates.parquet")
    with storage.write_file(path) as stream:
        sink = HashingWriter(stream)
        merged = (table.cast(EVIDENCE_SCHEMA) for table in merge_runs(runs, by=_ORDER))
        parquet_files.write_rows(sink, EVIDENCE_SCHEMA, merged)
    for run, _ in runs:
        storage.remove_file(run)
    return {"path": "duplicates.parquet", "bytes": storage.file_bytes(path), "checksum": sink.checksum}


def name_places(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows of PIECE_SCHEMA sorted by _ORDER, however cut, with file, row and id of the record that stays in their cluster.

    A cluster whose first record is a duplicate repeats earlier data, which an index names: its place is none here, whatever record
    may have the same id.
    """
    first = None  # of the cluster that may go on in the next batch
    for batch in batches:
        if not batch.num_rows:
            continue
        table = pa.Table.from_batches([batch] if first is None else [first, batch]).combine_chunks()
        cluster = table.column("cluster_id").to_numpy()
        starts = np.flatnonzero(np.concatenate([[True], cluster[1:] != cluster[:-1]]))
        head = np.repeat(starts, np.diff(np.append(starts, len(cluster))))
        repeats_here = ~table.column("is_duplicate").to_numpy()[head]
        places = table.take(pa.array(head, mask=~repeats_here))
        named = {
            "kept_file": places.column("file"), "kept_row": places.column("row"),
            "kept_id": pc.if_else(pa.array(repeats_here), places.column("id"), table.column("kept_id")),
        }  # fmt: skip
        columns = [named[name] if name in named else table.column(name) for name in EVIDENCE_SCHEMA.names]
        whole = pa.table(columns, names=EVIDENCE_SCHEMA.names)
        yield from whole.slice(0 if first is None else 1).to_batches()
        first = table.slice(int(starts[-1]), 1).to_batches()[0]
