"""The texts that `dedup substring` cut most often, with counts and examples: repeats.json of its step, beside the manifest.

Where a task has found the spans of some texts it has the texts in its hands, and writes the anchors inside those spans. Here what they
say of each hash is added up by a shuffle of packed pairs, exactly (dedup/passages.py); each task keeps the hashes that were cut most
often, the driver the first of them all, joins those of one text, and lets tasks read the examples. What is written is a function of
spans and texts: the same for one suffix array, for pools with the same spans, and for a search through the whole corpus.

Memory: a task holds what is left of its pairs when equal hashes are one (pairs_by_split.gather_pairs); the driver MOST_HASHES, and as
many of one task at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.anchors import choose_gram_bytes
from dedup.passages import (
    COUNT,
    Counts,
    Passage,
    add_counts,
    count_anchors,
    decode_whole,
    find_span_anchors,
    join_passages,
    rank_counts,
    read_counts,
    share_text,
)  # fmt: skip
from dedup.substring import Spans
from dolma_py import hashing, parquet_files, storage
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.corpus import Corpus, read_view
from dolma_py.listing import Split, unpack_address
from dolma_py.report_examples import locate
from dolma_py.report_repeats import FORMAT
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.arrow_tasks import map_arrow
from pipelines.packed_pairs import (
    HELD_PAIRS,
    PACKED_SPARK,
    Pairs,
    Parts,
    choose_parts,
    count_parts,
    pack_pairs,
    unpack_pairs,
)
from pipelines.pairs_by_split import ALL, gather_pairs, number_files, table_writer
from pipelines.shuffles import Batches
from pipelines.steps import StepContext, Unit, split_name, split_params

ANCHOR_SCHEMA = pa.schema([
    ("hash", pa.uint64()), ("address", pa.int64()), ("start", pa.int32()), ("span_start", pa.int32()), ("span_end", pa.int32()),
])  # fmt: skip
EXAMPLE_SCHEMA = pa.schema([
    ("address", pa.int64()), ("start", pa.int32()), ("id", pa.string()), ("source", pa.string()), ("before", pa.int32()),
    ("text", pa.large_binary()),
])  # fmt: skip
ROW_BYTES = 28  # of an anchor
CUT_FRAC = 0.3  # of the text, for a plan
FOUND_LAYOUT = "spans, and anchors inside them"  # what a task that finds spans leaves
MOST_PASSAGES = 100  # written
MOST_HASHES = 4096  # from which they are joined: a text of n kB has some 4.6 n
# of a text that are shown at most, before and after the start of its first anchor
BEFORE_BYTES, AFTER_BYTES = 600, 1000
READERS = 8  # of files at once on the driver, a row group of numbers each
LOW = (1 << 32) - 1
Place = tuple[int, int, int, int]  # address, start, span's start, span's end


def write_span_anchors(
    sink: HashingWriter, batches: Iterable[tuple[npt.NDArray[np.int64], TextView, Spans]], min_length_bytes: int
) -> int:
    """A file of ANCHOR_SCHEMA, a row group for each batch of (addresses, texts, their spans) that has any."""
    rows = 0
    with parquet_files.open_writer(sink, ANCHOR_SCHEMA) as writer:
        for addresses, text, spans in batches:
            if not len(spans.start_byte):
                continue
            found = find_span_anchors(*text, spans, min_length_bytes=min_length_bytes)
            address = np.repeat(addresses, np.diff(spans.offsets))[found.span]
            columns = [
                found.hashes,
                address,
                found.start_byte,
                spans.start_byte[found.span],
                spans.end_byte[found.span],
            ]
            table = pa.table([pa.array(column) for column in columns], schema=ANCHOR_SCHEMA)
            parquet_files.write_row_group(writer, table)
            rows += table.num_rows
    return rows


def span_anchors_bytes(text_bytes: int, min_length_bytes: int) -> int:
    """Disk for the anchors inside spans, if CUT_FRAC of the text is in some."""
    window = min_length_bytes - choose_gram_bytes(min_length_bytes) + 1
    return int(CUT_FRAC * ROW_BYTES * (2 * text_bytes // (window + 1)))


def write_passages(context: StepContext, files: list[dict[str, Any]]) -> str:
    """repeats.json from the anchors of spans, `files` in corpus order; its path relative to the corpus."""
    done = context.done("passages")
    relative = f"{context.folder}/repeats.json"
    if ALL not in done.units:
        some = [file for file in files if file["rows"]]
        paths, rows = [file["path"] for file in some], [file["rows"] for file in some]
        counts = count_hashes(context, paths, rows) if some else np.zeros(0, COUNT)
        passages = join_passages(
            counts[:MOST_HASHES], *find_spans_of(context.corpus, paths, counts[:MOST_HASHES]), most=MOST_PASSAGES,
            is_whole=len(counts) <= MOST_HASHES,
        )  # fmt: skip
        content = describe_passages(context, passages, paths)

        def write(sink: HashingWriter) -> int:
            sink.write((json.dumps(content, indent=1) + "\n").encode())  # in ASCII: nothing in it steers a terminal
            return len(passages)

        done.publish(ALL, [write_attempt(context.corpus.root, context.attempts, relative, write)], {})
        done.finish()
    return relative


def count_hashes(context: StepContext, paths: list[str], rows: list[int]) -> Counts:
    """The MOST_HASHES + 1 hashes that were cut most often."""
    session, root, attempts = context.spark(), context.corpus.root, context.attempts
    num_parts = count_parts(4 * sum(rows), int(session.conf.get("spark.sql.shuffle.partitions") or 1))

    def read(batches: Batches) -> Iterator[tuple[Parts, Pairs]]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                first = number << 32
                with parquet_files.open_parquet(storage.join_path(root, paths[number])) as file:
                    for group in range(file.num_row_groups):
                        hashes, address, start, *span = (
                            column.to_numpy() for column in file.read_row_group(group, use_threads=False).columns
                        )
                        pairs = count_anchors(hashes, address, start, (span[0], span[1]), first_place=first)
                        first += len(hashes)
                        yield choose_parts(hashing.mix_keys(pairs[:, 0]), num_parts), pairs

    def spread(batches: Batches) -> Iterator[pa.RecordBatch]:
        yield from pack_pairs(read(batches), num_parts)

    def count(batches: Batches) -> Iterator[pa.RecordBatch]:
        pairs = gather_pairs(unpack_pairs(batches), add_counts, HELD_PAIRS // 2)
        ranked = rank_counts(read_counts(pairs), MOST_HASHES + 1).tobytes()
        file = write_attempt(root, attempts, "counts", lambda sink: len(ranked) if sink.write(ranked) else 0)
        yield pa.RecordBatch.from_pydict({"file": [file.attempt]})

    spread_pairs = map_arrow(number_files(context, len(paths)), spread, PACKED_SPARK)
    counted = map_arrow(spread_pairs.repartitionById(num_parts, "part"), count, "file string").collect()
    ranked = np.zeros(0, COUNT)
    for row in counted:  # one at a time: there may be thousands
        own = np.frombuffer(storage.read_bytes(row.file), COUNT)
        ranked = rank_counts(np.concatenate([ranked, own]), MOST_HASHES + 1)
        storage.remove_file(row.file)
    return ranked


def find_spans_of(
    corpus: Corpus, paths: list[str], counts: Counts
) -> tuple[npt.NDArray[np.int64], dict[int, npt.NDArray[np.int64]]]:
    """(the span of the first place of each hash, which of the hashes are in each such span): see join_passages."""
    first = counts["places"][:, 0]
    order = np.argsort(counts["hash"])
    known = counts["hash"][order]
    span_of, members = np.full(len(counts), -1), dict[int, npt.NDArray[np.int64]]()

    def read(number: int) -> None:
        own = np.flatnonzero(first >> 32 == number)
        rows = first[own] & LOW
        for begin, table in read_groups(corpus, paths[number], rows, ["hash", "address", "span_start"]):
            hashes, address, start = (column.to_numpy() for column in table.columns)
            is_new = np.append(True, (address[1:] != address[:-1]) | (start[1:] != start[:-1]))
            span = (number << 32) + begin + np.maximum.accumulate(np.where(is_new, np.arange(len(hashes)), 0))
            is_here = (rows >= begin) & (rows < begin + len(hashes))
            span_of[own[is_here]] = span[rows[is_here] - begin]
            at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            some = (known[at] == hashes) & np.isin(span, span_of[own[is_here]])
            bounds = np.flatnonzero(np.diff(span[some])) + 1
            for which in np.split(np.flatnonzero(some), bounds):
                members[int(span[which[0]])] = order[at[which]]

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, np.unique(first >> 32).tolist()))
    return span_of, members


def read_groups(
    corpus: Corpus, path: str, rows: npt.NDArray[np.int64], columns: list[str]
) -> Iterator[tuple[int, pa.Table]]:
    """(first row, table) of each row group that has some of the rows; a document's anchors are in one."""
    with parquet_files.open_parquet(corpus.path(path)) as file:
        ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
        for group in np.unique(np.searchsorted(ends, rows, side="right")).tolist():
            table = file.read_row_group(group, columns=columns, use_threads=False)
            yield int(ends[group]) - table.num_rows, table


def describe_passages(context: StepContext, passages: list[Passage], paths: list[str]) -> dict[str, Any]:
    """What repeats.json says; of a passage the text that its examples have in common."""
    corpus = context.corpus
    places = find_places(corpus, paths, sorted({place for passage in passages for place in passage.places}))
    examples = read_examples(context, sorted(places.values()))
    shards = corpus.read_listing().shards
    lines = []
    for passage in passages:
        rows = [examples[places[place][:2]] for place in passage.places]
        text = decode_whole(share_text([row["text"] for row in rows], [row["before"] for row in rows]))
        where = [[int(part[0]) for part in unpack_address(np.array([row["address"]]))] for row in rows]
        lines.append({
            "times": passage.times, "documents": passage.documents, "bytes": passage.num_bytes, "text": text,
            "examples": [
                {"id": row["id"], "source": row["source"], "file": shards[shard].path, "row": number}
                for row, (shard, number) in zip(rows, where, strict=True)
            ],
        })  # fmt: skip
    return {"format": FORMAT, "passages": lines}


def find_places(corpus: Corpus, paths: list[str], places: list[int]) -> dict[int, Place]:
    """Where each numbered anchor stands."""
    found: dict[int, Place] = {}
    numbers = np.array(places, np.int64)
    for number in np.unique(numbers >> 32).tolist():
        rows = numbers[numbers >> 32 == number] & LOW
        for begin, table in read_groups(corpus, paths[number], rows, ANCHOR_SCHEMA.names[1:]):
            here = rows[(rows >= begin) & (rows < begin + table.num_rows)]
            lines = table.take(pa.array(here - begin)).to_pylist()
            found |= {
                (number << 32) + row: tuple(line.values()) for row, line in zip(here.tolist(), lines, strict=True)
            }
    return found


def read_examples(context: StepContext, places: list[Place]) -> dict[tuple[int, int], dict[str, Any]]:
    """Rows of EXAMPLE_SCHEMA by address and start; a task for each row group that has some."""
    shards = context.corpus.read_listing().shards
    wanted: dict[Split, list[Place]] = {}
    for place in places:
        shard, row = (int(part[0]) for part in unpack_address(np.array(place[:1])))
        group, inside = locate(shards[shard], row)
        split = Split(shard, group, group, row - inside, *shards[shard].row_groups[group])
        wanted.setdefault(split, []).append(place)
    units = [
        Unit(split_name(split), split_params(context, split) | {"places": own, "work": context.work}, split.text_bytes)
        for split, own in wanted.items()
    ]  # fmt: skip
    done, _ = context.run_units("examples", units, write_examples, layout=[MOST_PASSAGES, MOST_HASHES])
    rows = [
        row for unit in units
        for row in parquet_files.read_row_groups(context.corpus.path(done.units[unit.name]["files"][0]["path"]), None, None).to_pylist()
    ]  # fmt: skip
    return {(row["address"], row["start"]): row for row in rows}


def write_examples(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task of phase examples: the surroundings of some places of one row group, inside their spans."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    (batch,) = read_view(corpus, view, split, ["text"])
    text = view_text(batch.documents.column("text"))
    rows = []
    for address, start, span_start, span_end in params["places"]:
        row = int(np.searchsorted(batch.addresses, address))
        begin, end = max(span_start, start - BEFORE_BYTES), min(span_end, start + AFTER_BYTES)
        first = int(text.offsets[row])
        names = {name: batch.documents.column(name)[row].as_py() for name in ("id", "source")}
        window = text.data[first + begin : first + end].tobytes()
        rows.append({"address": address, "start": start, **names, "before": start - begin, "text": window})
    table = pa.Table.from_pylist(rows, EXAMPLE_SCHEMA)
    path = f"{params['work']}/examples/{split_name(split)}.parquet"
    return [write_attempt(corpus.root, attempts, path, table_writer(table))], {}
