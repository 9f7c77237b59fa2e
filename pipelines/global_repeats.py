"""Repeats anywhere in a corpus that is larger than one suffix array, the same as one suffix array over all of it would find.

Phase `anchors`: every text is read for its anchors (dedup/anchors.py), 4.6 per kB at L = 500, 20 bytes each on disk.
Phase `marks`: hashes and the anchors' numbers are shuffled, 16 bytes each; a file per split says which of its anchors were seen twice.
Phase `regions`: the bytes around those anchors, up to L - g on either side, are gathered by bucket, a function of the hash. So all
occurrences of a repeat lie in the bucket of its anchor, whole: what is first there is first in the corpus. In other buckets some
of them may lie too, and what is marked there is a repeat as well. This is one of the two places where text moves.
Phase `repeats`: a suffix array over each bucket. Phase `united`: what they found, 16 bytes a span, is shuffled to its splits and united.
Phase `spans`: joined and clipped as one pool's spans are.

Memory of a task: seven times `pool_bytes`. A bucket of more is cut into pieces of half as much, each pair of which is a task of its own: what
an anchor in very many documents costs grows with the square of their number. One region that is longer than a piece is a piece.
Disk: up to (2 L - g) bytes of text for each anchor seen twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.anchors import (
    NOTHING_SEEN,
    choose_gram_bytes,
    find_anchors,
    find_repeated,
    merge_seen,
)  # fmt: skip
from dedup.substring import Spans, clip_spans, join_spans
from dolma_py import config, hashing, parquet_files, storage
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.corpus import Corpus, read_view
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.arrow_tasks import map_arrow
from pipelines.packed_pairs import (
    HELD_FACTOR,
    HELD_PAIRS,
    PACKED_SPARK,
    PAIR_BYTES,
    Pairs,
    Parts,
    choose_parts,
    count_parts,
    hold_pairs,
    pack_pairs,
    unpack_pairs,
)  # fmt: skip
from pipelines.pairs_by_split import ALL, cut_by_file, number_files, share_files, table_writer, write_by_split
from pipelines.repeat_regions import (
    FOUND_SCHEMA,
    LOW,
    ROW_BYTES,
    count_buckets,
    find_bucket,
    pack_spans,
    plan_buckets,
    unite,
    unpack_spans,
    write_region_index,
    write_regions,
)  # fmt: skip
from pipelines.repeated_passages import FOUND_LAYOUT, write_span_anchors
from pipelines.shuffles import Batches
from pipelines.steps import StepContext, Unit, split_name, split_params

if TYPE_CHECKING:
    from pipelines.dedup_substring import DedupSubstringConfig

ANCHOR_SCHEMA = pa.schema([("hash", pa.uint64()), ("address", pa.int64()), ("start", pa.int32())])
MARK_SCHEMA = pa.schema([("number", pa.uint32()), ("hash", pa.uint64())])
INDEX_ROW_BYTES = 110  # measured at its peak, of 2 million rows
SPLIT_BYTES = 32 << 20  # of a recipe, if it says nothing else
# of the anchors, for a plan: what the web has after near copies are gone differs from crawl to crawl
REPEATED_FRAC = 0.3


def find_global(
    context: StepContext, substring: DedupSubstringConfig
) -> tuple[list[dict[str, Any]], dict[str, int], float]:
    """(lines of the units of phase `spans` in corpus order, each with `files` and `facts`; numbers; seconds of the tasks)."""
    splits = context.plan_splits()
    base = {"substring": config.dump_config(substring), "work": context.work}
    units = [Unit(split_name(split), split_params(context, split) | base, split.text_bytes) for split in splits]
    anchors, first_times = context.run_units("anchors", units, write_anchors)
    files = [anchors.units[unit.name]["files"][0] for unit in units]
    marks = write_marks(context, [file["path"] for file in files], [file["rows"] for file in files])
    num_buckets = count_buckets(sum(marks.values()), substring)
    shared = base | {"num_buckets": num_buckets}
    marked = {
        number: unit._replace(params=unit.params | shared | {"number": number})
        for number, unit in enumerate(units) if unit.name in marks
    }  # fmt: skip
    regions, region_times = context.run_units(
        "regions", list(marked.values()), write_regions, layout=[num_buckets, "by number"]
    )
    regions_of = {number: regions.units[unit.name] for number, unit in marked.items()}
    index, sizes = write_region_index(context, regions_of, substring.pool_bytes)
    buckets = plan_buckets(sizes, shared | {"root": context.corpus.root, "index": index})
    repeats, repeat_times = context.run_units("repeats", buckets, find_bucket, layout=num_buckets)
    found = [repeats.units[bucket.name]["files"][0] for bucket in buckets]
    united = write_united(context, found, [marks.get(unit.name, 0) for unit in units])
    last = [unit._replace(params=unit.params | {"has_spans": unit.name in united}) for unit in units]
    spans, span_times = context.run_units("spans", last, finish_spans, layout=FOUND_LAYOUT)
    lines = [
        spans.units[unit.name] | {"facts": anchors.units[unit.name]["facts"] | spans.units[unit.name]["facts"]}
        for unit in units
    ]
    facts = {
        "anchors": sum(file["rows"] for file in files), "anchors_repeated": sum(marks.values()), "buckets": len(sizes),
        "gathered_bytes": sum(line["facts"]["bytes"] for line in regions.units.values()),
    }  # fmt: skip
    seconds = sum(times.task_sec for times in (first_times, region_times, repeat_times, span_times))
    return lines, facts, seconds


def tasks_bytes(text_bytes: int, min_length_bytes: int) -> int:
    """What a task that holds pairs of numbers takes at most, for a corpus of `text_bytes`."""
    window = min_length_bytes - choose_gram_bytes(min_length_bytes) + 1
    return HELD_FACTOR * PAIR_BYTES * min(HELD_PAIRS, 2 * text_bytes // (window + 1) + 1)


def gathered_bytes(text_bytes: int, min_length_bytes: int) -> int:
    """Disk for anchors, two shuffles of them and regions, if REPEATED_FRAC of the anchors were seen twice."""
    gram = choose_gram_bytes(min_length_bytes)
    num_anchors = 2 * text_bytes // (min_length_bytes - gram + 2)
    return int(num_anchors * (20 + 2 * PAIR_BYTES + REPEATED_FRAC * (2 * min_length_bytes - gram + ROW_BYTES)))


def index_bytes(text_bytes: int, substring: DedupSubstringConfig) -> int:
    """What the driver holds to know where the regions of each bucket lie: INDEX_ROW_BYTES for each bucket of each split."""
    gram = choose_gram_bytes(substring.min_length_bytes)
    num_marks = int(REPEATED_FRAC * 2 * text_bytes / (substring.min_length_bytes - gram + 2))
    return INDEX_ROW_BYTES * min(-(-text_bytes // SPLIT_BYTES) * count_buckets(num_marks, substring), num_marks)


def write_anchors(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task of phase anchors: those of a split, a row group for each of its documents' row groups."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    length = params["substring"]["min_length_bytes"]
    facts = {"documents": 0, "text_bytes": 0}

    def write(sink: HashingWriter) -> int:
        rows = 0
        with parquet_files.open_writer(sink, ANCHOR_SCHEMA) as writer:
            for batch in read_view(corpus, view, split, ["text"]):
                text = view_text(batch.documents.column("text"))
                found = find_anchors(*text, min_length_bytes=length)
                address = np.repeat(batch.addresses, np.diff(found.offsets))
                columns = [pa.array(found.hashes), pa.array(address), pa.array(found.start_byte)]
                parquet_files.write_row_group(writer, pa.table(columns, schema=ANCHOR_SCHEMA))
                rows += len(address)
                facts["documents"] += len(batch.addresses)
                facts["text_bytes"] += int(text.offsets[-1] - text.offsets[0])
        return rows

    path = f"{params['work']}/anchors/{split_name(split)}.parquet"
    return [write_attempt(corpus.root, attempts, path, write)], facts


def write_marks(context: StepContext, paths: list[str], rows: list[int]) -> dict[str, int]:
    """Phase marks: for each split that has any, a file of the numbers of its anchors whose hash was seen twice; split -> how many."""
    done = context.done("marks")
    if ALL not in done.units:
        session, root, held_pairs = context.spark(), context.corpus.root, HELD_PAIRS
        num_tasks = int(session.conf.get("spark.sql.shuffle.partitions") or 1)
        num_parts = count_parts(sum(rows), num_tasks)
        mark_parts = min(len(paths), count_parts(sum(rows), num_tasks))  # a file's marks in one of them
        part_of = share_files(rows, mark_parts)

        def read(batches: Batches) -> Iterator[tuple[Parts, Pairs]]:
            for batch in batches:
                for number in batch.column(0).to_pylist():
                    first = np.uint64(number << 32)
                    with parquet_files.open_parquet(storage.join_path(root, paths[number])) as file:
                        for group in range(file.num_row_groups):
                            column = file.read_row_group(group, columns=["hash"], use_threads=False).column("hash")
                            pairs = np.empty((len(column), 2), np.uint64)
                            pairs[:, 0] = hashing.mix_keys(column.to_numpy())  # window minima are small numbers
                            pairs[:, 1] = first + np.arange(len(column), dtype=np.uint64)
                            first += np.uint64(len(column))
                            yield choose_parts(pairs[:, 0], num_parts), pairs

        def spread(batches: Batches) -> Iterator[pa.RecordBatch]:
            yield from pack_pairs(read(batches), num_parts)

        def choose(batches: Batches) -> Iterator[pa.RecordBatch]:
            with hold_pairs(unpack_pairs(batches), held_pairs) as held:
                seen = NOTHING_SEEN
                for pairs in held.go_through():
                    seen = merge_seen(seen, pairs[:, 0])
                marked = (place(pairs[find_repeated(seen, pairs[:, 0])]) for pairs in held.go_through())
                yield from pack_pairs(marked, mark_parts)

        def place(pairs: Pairs) -> tuple[Parts, Pairs]:
            return part_of[(pairs[:, 1] >> np.uint64(32)).astype(np.int64)], pairs

        def write(pairs: Pairs) -> Iterator[tuple[int, pa.Table]]:
            pairs = pairs[np.argsort(pairs[:, 1])]
            for owner, own in cut_by_file(pairs, (pairs[:, 1] >> np.uint64(32)).astype(np.int64)):
                columns = [pa.array((own[:, 1] & LOW).astype(np.uint32)), pa.array(np.ascontiguousarray(own[:, 0]))]
                yield owner, pa.table(columns, schema=MARK_SCHEMA)

        hashes = map_arrow(number_files(context, len(paths)), spread, PACKED_SPARK)
        chosen = map_arrow(hashes.repartitionById(num_parts, "part"), choose, PACKED_SPARK)
        write_by_split(context, done, chosen, mark_parts, write)
    marks: dict[str, int] = done.units[ALL]["facts"]["rows"]
    return marks


def write_united(context: StepContext, found: list[dict[str, Any]], marks: list[int]) -> set[str]:
    """Phase united: the spans of all buckets as a file for each split that has any; names of those splits.

    found: the files of phase repeats; marks: how many anchors of each split were seen twice. A bucket compared by pieces finds a span once
    for each pair of them, so tasks unite as they read. What is left of a split is disjoint, and each span has a marked anchor of its own:
    parts are shared out by these.
    """
    done = context.done("united")
    if ALL not in done.units:
        session, root, paths = context.spark(), context.corpus.root, [file["path"] for file in found]
        firsts = np.array([(split.shard << 40) | split.first_row for split in context.plan_splits()], np.int64)
        num_tasks = int(session.conf.get("spark.sql.shuffle.partitions") or 1)
        num_parts = min(len(firsts), count_parts(sum(marks), num_tasks))
        part_of = share_files(marks, num_parts)

        def find_owner(pairs: Pairs) -> npt.NDArray[np.int64]:
            return np.searchsorted(firsts, pairs.view(np.int64)[:, 0], side="right") - 1

        def read(batches: Batches) -> Iterator[tuple[Parts, Pairs]]:
            for batch in batches:
                for number in batch.column(0).to_pylist():
                    with parquet_files.open_parquet(storage.join_path(root, paths[number])) as file:
                        for group in range(file.num_row_groups):
                            table = file.read_row_group(group, use_threads=False)
                            pairs = pack_spans(*(column.to_numpy() for column in table.columns))
                            yield part_of[find_owner(pairs)], pairs

        def spread(batches: Batches) -> Iterator[pa.RecordBatch]:
            yield from pack_pairs(read(batches), num_parts)

        def write(pairs: Pairs) -> Iterator[tuple[int, pa.Table]]:
            for owner, own in cut_by_file(pairs, find_owner(pairs)):
                yield owner, unpack_spans(own)

        spans = map_arrow(number_files(context, len(paths)), spread, PACKED_SPARK)
        write_by_split(context, done, spans, num_parts, write, shrink=unite)
    return set(done.units[ALL]["facts"]["rows"])


def finish_spans(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task of phase spans: a split's spans of all buckets, joined by the fuzzy rule and clipped to whole characters; anchors inside them."""
    from pipelines.dedup_substring import DedupSubstringConfig

    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    substring = config.build_config(DedupSubstringConfig, params["substring"])
    first, name = (split.shard << 40) | split.first_row, split_name(split)
    facts = {"documents_with_spans": 0, "spans": 0, "repeated_bytes": 0, "first": first, "last": first + split.rows - 1}
    pieces = [FOUND_SCHEMA.empty_table()]

    def find() -> Iterator[tuple[npt.NDArray[np.int64], TextView, Spans]]:
        found = parquet_files.read_row_groups(corpus.path(params["work"], "united", f"{name}.parquet"), None, None)
        for batch in read_view(corpus, view, split, ["text"]):
            text = view_text(batch.documents.column("text"))
            spans = choose_spans(found, batch.addresses)
            if substring.fuzzy != "off":
                spans = join_spans(spans, min_covered_frac=substring.covered_frac, greedy=substring.fuzzy == "released")
            spans = clip_spans(*text, spans)
            counts = np.diff(spans.offsets)
            columns = [np.repeat(batch.addresses, counts), spans.start_byte, spans.end_byte]
            pieces.append(pa.table([pa.array(column) for column in columns], schema=FOUND_SCHEMA))
            facts["documents_with_spans"] += int((counts > 0).sum())
            facts["spans"] += len(spans.start_byte)
            facts["repeated_bytes"] += int((spans.end_byte - spans.start_byte).sum(dtype=np.int64))
            yield batch.addresses, text, spans

    def write_anchors(sink: HashingWriter) -> int:
        return write_span_anchors(sink, find() if params["has_spans"] else [], substring.min_length_bytes)

    path = f"{params['work']}/spans/{name}"
    inside = write_attempt(corpus.root, attempts, f"{path}-anchors.parquet", write_anchors)
    spans = write_attempt(corpus.root, attempts, f"{path}.parquet", table_writer(pa.concat_tables(pieces)))
    return [spans, inside], facts


def choose_spans(found: pa.Table, addresses: npt.NDArray[np.int64]) -> Spans:
    """Those of FOUND_SCHEMA, sorted by address, that lie in the documents at `addresses`, ascending.

    Between the first address and the last every span must be in one of them; spans before and after are left out.
    """
    address = found.column("address").to_numpy()
    offsets = np.searchsorted(address, addresses).astype(np.int64)
    end = np.searchsorted(address, addresses[-1:], side="right") if len(addresses) else np.zeros(1, np.int64)
    offsets = np.concatenate([offsets, end]).astype(np.int64)
    own = found.slice(offsets[0], offsets[-1] - offsets[0])
    return Spans(own.column("start").to_numpy(), own.column("end").to_numpy(), offsets - offsets[0])
