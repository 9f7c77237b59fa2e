"""The text around anchors that were seen twice, by bucket, and what repeats in each: phases `regions` and `repeats` of pipelines/global_repeats.py.

A bucket is a function of the anchor's hash, so all occurrences of a repeat lie in one, whole. Each split writes a file of regions, a row group
for each of its buckets; an index says where those of a bucket lie. Buckets of more than `pool_bytes` are compared by pairs of pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dedup.anchors import Anchors, choose_gram_bytes, surround
from dedup.substring import find_repeats, union_spans
from dolma_py import hashing, parquet_files, storage
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.corpus import Corpus, read_view
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.packed_pairs import Pairs
from pipelines.pairs_by_split import table_writer
from pipelines.steps import StepContext, Unit, split_name

if TYPE_CHECKING:
    from pipelines.dedup_substring import DedupSubstringConfig

REGION_SCHEMA = pa.schema([("address", pa.int64()), ("start", pa.int32()), ("text", pa.large_binary())])
PLACE_SCHEMA = pa.schema([("bucket", pa.int32()), ("group", pa.int32()), ("bytes", pa.int64())])
INDEX_SCHEMA = pa.schema([*PLACE_SCHEMA, ("split", pa.int32()), ("piece", pa.int32())])
FOUND_SCHEMA = pa.schema([("address", pa.int64()), ("start", pa.int32()), ("end", pa.int32())])
LOW = np.uint64((1 << 32) - 1)
ROW_BYTES = 28  # of a region beside its text


def count_buckets(num_marks: int, substring: DedupSubstringConfig) -> int:
    """As many as leave the average bucket two thirds of pool_bytes, if the surroundings of no two anchors touch."""
    region = 2 * substring.min_length_bytes - choose_gram_bytes(substring.min_length_bytes) + ROW_BYTES
    return -(-3 * num_marks * region // (2 * substring.pool_bytes))


def plan_buckets(sizes: dict[int, list[int]], params: dict[str, Any]) -> list[Unit]:
    """A unit for each bucket, or for each pair of its pieces; `sizes`: bytes of the pieces of each bucket.

    >>> [unit.name for unit in plan_buckets({3: [5], 7: [2, 2, 2]}, {})]
    ['bucket-00003', 'bucket-00007-00000-00001', 'bucket-00007-00000-00002', 'bucket-00007-00001-00002']
    """
    units = []
    for bucket, pieces in sizes.items():
        name, own = f"bucket-{bucket:05d}", params | {"bucket": bucket}
        if len(pieces) == 1:
            units.append(Unit(name, own | {"pieces": [0]}, pieces[0]))
        units += [
            Unit(f"{name}-{i:05d}-{j:05d}", own | {"pieces": [i, j]}, pieces[i] + pieces[j])
            for i in range(len(pieces)) for j in range(i + 1, len(pieces))
        ]  # fmt: skip
    return units


def name_regions(work: str, split: int) -> str:
    """The file of the regions of a split, by its number in the plan."""
    return f"{work}/regions/split-{split:08d}.parquet"


def write_regions(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task of phase regions: the surroundings of a split's marked anchors by bucket, each in corpus order; and where they lie."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    name, length, num_buckets = split_name(split), params["substring"]["min_length_bytes"], params["num_buckets"]
    marks = parquet_files.read_row_groups(corpus.path(params["work"], "marks", f"{name}.parquet"), None, None)
    number = marks.column("number").to_numpy().astype(np.int64)
    bucket_of = (hashing.mix_keys(marks.column("hash").to_numpy(), seed=1) % np.uint64(num_buckets)).astype(np.int64)
    tables: dict[int, list[pa.Table]] = {}
    first = 0
    with parquet_files.open_parquet(corpus.path(params["work"], "anchors", f"{name}.parquet")) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            low, high = np.searchsorted(number, [first, first + rows]).tolist()
            if low < high:
                found = file.read_row_group(group, columns=["address", "start"], use_threads=False)
                (batch,) = read_view(corpus, view, _one_group(corpus, split, split.first_group + group), ["text"])
                text, anchors = (
                    view_text(batch.documents.column("text")),
                    found.take(pa.array(number[low:high] - first)),
                )
                for bucket, own in cut_regions(batch.addresses, text, anchors, bucket_of[low:high], length):
                    tables.setdefault(bucket, []).append(own)
            first += rows
    places: list[tuple[int, int, int]] = []

    def write(sink: HashingWriter) -> int:
        rows = 0
        with parquet_files.open_writer(sink, REGION_SCHEMA) as writer:
            for bucket in sorted(tables):
                for table, num_bytes in cut_table(
                    pa.concat_tables(tables[bucket]), params["substring"]["pool_bytes"] // 2
                ):
                    parquet_files.write_row_group(writer, table)
                    places.append((bucket, len(places), num_bytes))
                    rows += table.num_rows
        return rows

    path = name_regions(params["work"], params["number"])
    written = write_attempt(corpus.root, attempts, path, write)
    columns = [
        pa.array(column, field.type) for column, field in zip(zip(*places, strict=True), PLACE_SCHEMA, strict=True)
    ]
    listed = write_attempt(
        corpus.root,
        attempts,
        path.replace(".parquet", "-places.parquet"),
        table_writer(pa.table(columns, schema=PLACE_SCHEMA)),
    )
    return [written, listed], {"bytes": sum(size for _, _, size in places) - ROW_BYTES * written.rows}


def _one_group(corpus: Corpus, split: Split, group: int) -> Split:
    shard = corpus.read_listing().shards[split.shard]
    first_row = sum(rows for rows, _ in shard.row_groups[:group])
    return Split(split.shard, group, group, first_row, *shard.row_groups[group])


def cut_regions(
    addresses: npt.NDArray[np.int64], text: TextView, anchors: pa.Table, bucket: npt.NDArray[np.int64], length: int
) -> Iterator[tuple[int, pa.Table]]:
    """(bucket, REGION_SCHEMA of the surroundings of its anchors) of one row group of documents; anchors in corpus order."""
    order = np.argsort(bucket, kind="stable")
    bucket, address = bucket[order], anchors.column("address").to_numpy()[order]
    is_new = (bucket[1:] != bucket[:-1]) | (address[1:] != address[:-1])
    bounds = np.flatnonzero(np.concatenate([[True], is_new, [True]]))
    firsts = bounds[:-1]  # the first anchor of each document in each bucket: they are cut as documents of their own
    rows = np.searchsorted(addresses, address[firsts])
    own = Anchors(np.empty(len(order), np.uint64), anchors.column("start").to_numpy()[order], bounds.astype(np.int64))
    sizes = (text.offsets[rows + 1] - text.offsets[rows]).astype(np.int64)
    borders = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    spans = surround(own, np.ones(len(order), np.bool_), borders, min_length_bytes=length)
    document = np.repeat(np.arange(len(firsts)), np.diff(spans.offsets))
    base = text.offsets[rows[document]]
    starts, ends = base + spans.start_byte, base + spans.end_byte
    cuts = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64)
    data = np.concatenate([text.data[a:b] for a, b in zip(starts, ends, strict=True)])
    texts = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(starts), [None, pa.py_buffer(cuts), pa.py_buffer(data)]
    )
    address_of = pa.array(address[firsts[document]])
    table = pa.table([address_of, pa.array(spans.start_byte), texts], schema=REGION_SCHEMA)
    bucket_of = bucket[firsts[document]]
    borders = np.flatnonzero(np.concatenate([[True], bucket_of[1:] != bucket_of[:-1], [True]]))
    for start, end in zip(borders, borders[1:], strict=False):
        yield int(bucket_of[start]), table.slice(start, end - start)


def cut_table(table: pa.Table, most_bytes: int) -> Iterator[tuple[pa.Table, int]]:
    """Runs of rows of at most `most_bytes`, or one row, and their bytes."""
    lengths = np.concatenate([np.diff(view_text(chunk).offsets) for chunk in table.column("text").chunks])
    ends = np.cumsum(lengths + ROW_BYTES)
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + most_bytes, side="right")), start + 1)
        yield table.slice(start, stop - start), int(ends[stop - 1]) - before
        start = stop


def write_region_index(
    context: StepContext, lines: dict[int, dict[str, Any]], pool_bytes: int
) -> tuple[str, dict[int, list[int]]]:
    """Where the row groups of each bucket lie, in corpus order: (relative path of the file, bytes of the pieces of each bucket).

    lines : number of the split -> the line of its unit, ascending. A bucket that is no larger than pool_bytes is one piece; any other is cut
    into pieces of half as much, of whole row groups.
    """
    corpus = context.corpus

    def read(item: tuple[int, dict[str, Any]]) -> pa.Table:
        table = parquet_files.read_row_groups(corpus.path(item[1]["files"][1]["path"]), None, None)
        split = pa.array(np.full(table.num_rows, item[0], np.int32))
        return table.append_column("split", split).append_column("piece", pa.nulls(table.num_rows, pa.int32()))

    with ThreadPoolExecutor(storage.REQUESTS_AT_ONCE) as pool:
        table = pa.concat_tables([INDEX_SCHEMA.empty_table(), *pool.map(read, lines.items())])
    table = table.take(pa.array(np.argsort(table.column("bucket").to_numpy(), kind="stable")))
    bucket, size = table.column("bucket").to_numpy(), table.column("bytes").to_numpy()
    bounds = np.flatnonzero(np.concatenate([[True], bucket[1:] != bucket[:-1], [True]])) if len(bucket) else []
    pieces, sizes = np.zeros(len(bucket), np.int32), {}
    for start, end in zip(bounds, bounds[1:], strict=False):
        pieces[start:end], sizes[int(bucket[start])] = cut_pieces(size[start:end], pool_bytes)
    relative = f"{context.work}/regions/index.parquet"
    parquet_files.write_table(corpus.path(relative), table.set_column(4, "piece", pa.array(pieces)))
    return relative, sizes


def cut_pieces(sizes: npt.NDArray[np.int64], pool_bytes: int) -> tuple[npt.NDArray[np.int64], list[int]]:
    """(piece of each row group, bytes of each piece) of a bucket.

    >>> cut_pieces(np.array([4, 2, 3, 9, 1]), 10)
    (array([0, 1, 1, 2, 3]), [4, 5, 9, 1])
    >>> cut_pieces(np.array([4, 2]), 10)
    (array([0, 0]), [6])
    """
    pieces, totals = np.zeros(len(sizes), np.int64), [0]
    is_whole = sizes.sum() <= pool_bytes
    for number, size in enumerate(sizes.tolist()):
        if not is_whole and totals[-1] and totals[-1] + size > pool_bytes // 2:
            totals.append(0)
        pieces[number] = len(totals) - 1
        totals[-1] += size
    return pieces, totals


def find_bucket(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task of phase repeats: spans [start, end) of documents by address, disjoint, sorted; of a bucket or two pieces of it."""
    corpus, substring = Corpus(params["root"]), params["substring"]
    filesystem, inner = storage.find_filesystem(corpus.path(params["index"]))
    chosen = [("bucket", "==", params["bucket"]), ("piece", "in", params["pieces"])]
    places = pq.read_table(inner, columns=["split", "group"], filesystem=filesystem, filters=chosen, use_threads=False)
    table = pa.concat_tables(read_places(corpus, params["work"], places)).combine_chunks()
    text = view_text(table.column("text").combine_chunks())
    spans = find_repeats(*text, min_length_bytes=substring["min_length_bytes"], keep_first=substring["keep"] == "first")
    region = np.repeat(np.arange(table.num_rows), np.diff(spans.offsets))
    start = table.column("start").to_numpy()[region]
    address = table.column("address").to_numpy()[region]
    found = unpack_spans(unite(pack_spans(address, start + spans.start_byte, start + spans.end_byte)))
    name = "-".join(
        f"{number:05d}" for number in (params["bucket"], *(params["pieces"] if len(params["pieces"]) > 1 else []))
    )
    path = f"{params['work']}/repeats/bucket-{name}.parquet"
    return [write_attempt(corpus.root, attempts, path, table_writer(found))], {}


def read_places(corpus: Corpus, work: str, places: pa.Table) -> Iterator[pa.Table]:
    """The regions of some row groups, ascending by split and group; each split's file is opened once."""
    split, group = (places.column(name).to_numpy() for name in ("split", "group"))
    for own in np.split(np.arange(len(split)), np.flatnonzero(np.diff(split)) + 1):
        with parquet_files.open_parquet(corpus.path(name_regions(work, int(split[own[0]])))) as file:
            yield file.read_row_groups(group[own].tolist(), use_threads=False).cast(REGION_SCHEMA)


def pack_spans(address: npt.NDArray[np.int64], start: npt.NDArray[np.int32], end: npt.NDArray[np.int32]) -> Pairs:
    """(address, start << 32 | end) of M spans."""
    pairs = np.empty((len(address), 2), np.uint64)
    pairs[:, 0] = address.view(np.uint64)
    pairs[:, 1] = start.astype(np.uint64) << np.uint64(32) | end.astype(np.uint64)
    return pairs


def unpack_spans(pairs: Pairs) -> pa.Table:
    """FOUND_SCHEMA of what pack_spans made."""
    columns = [
        pairs[:, 0].astype(np.int64),
        (pairs[:, 1] >> np.uint64(32)).astype(np.int32),
        (pairs[:, 1] & LOW).astype(np.int32),
    ]
    return pa.table([pa.array(column) for column in columns], schema=FOUND_SCHEMA)


def unite(pairs: Pairs) -> Pairs:
    """Spans in any order as disjoint ones, sorted by address and start: what bytes they have, spans that touch are one.

    >>> spans = pack_spans(np.array([7, 5, 7, 7]), *np.array([[4, 0, 0, 12], [9, 3, 6, 15]], np.int32))
    >>> unpack_spans(unite(spans)).to_pydict()
    {'address': [5, 7, 7], 'start': [0, 0, 12], 'end': [3, 9, 15]}
    """
    pairs = pairs[np.argsort(pairs[:, 0])]
    is_new = np.append(np.ones(min(len(pairs), 1), np.bool_), pairs[1:, 0] != pairs[:-1, 0])
    known = pairs[is_new, 0].view(np.int64)
    start, end = (pairs[:, 1] >> np.uint64(32)).astype(np.int32), (pairs[:, 1] & LOW).astype(np.int32)
    spans = union_spans(np.cumsum(is_new) - 1, start, end, len(known))
    return pack_spans(np.repeat(known, np.diff(spans.offsets)), spans.start_byte, spans.end_byte)
