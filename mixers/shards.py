"""The global shuffle in two passes of bucket files, and the shards it ends in.

Pass 1, per input: every copy of a document gets an order key (order_hash); bucket_of says which of B ranges of keys it falls
into; its rows go into one file, in order of ranges (mixers.piece_files). Pass 2, per bucket: its rows of all files are read, sorted by
(key, id, copy) and written as part-NNNNN.npy and part-NNNNN.csv.gz (write_part). Bucket b becomes part b, so the parts in order
are one shuffle of all documents, whatever the inputs, files and workers were.

Memory of pass 2: the rows of one bucket twice (as read, and while Arrow joins them), and CHUNK_TOKENS more; choose the number of
buckets with plan_buckets. Legend: N rows (copies of documents), T tokens.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py.errors import ConfigError, DataError, SchemaError
from dolma_py.hashing import derive_seed, mix_keys
from dolma_py.storage import HashingWriter

CHUNK_TOKENS = 1 << 22  # tokens gathered at a time while a part is written

# Of a copy that fill-in-the-middle cut (mixers.fim), null in all others.
FIM_FIELDS = (
    pa.field("fim_mode", pa.string()),  # psm or spm
    pa.field("fim_start", pa.int64()),  # bytes of the document's text before the middle
    pa.field("fim_end", pa.int64()),  # bytes of the document's text before the suffix
)
PIECE_SCHEMA = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),  # order_hash
        pa.field("id", pa.string(), nullable=False),
        pa.field("copy", pa.int32(), nullable=False),  # 0, 1, ...
        pa.field("source", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # file of origin
        pa.field("line", pa.int64(), nullable=False),  # in that file, from 1
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),  # of the UTF-8 text that the tokens encode
        *FIM_FIELDS,
        pa.field("tokens", pa.large_list(pa.uint32()), nullable=False),  # the end-of-text token last
    ]
)

# One row per copy written, sorted by (id, copy): where did this document go.
LINEAGE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("copy", pa.int32(), nullable=False),
        pa.field("part", pa.int32(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),  # token offset in the part
        pa.field("end", pa.int64(), nullable=False),  # exclusive, the end-of-text token included
        pa.field("source", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        *FIM_FIELDS,
    ]
)


def order_hash(
    id_hash: npt.NDArray[np.uint64],
    *,
    copy: npt.NDArray[np.int32],
    copies: npt.NDArray[np.int32] | None = None,
    seed: int,
) -> npt.NDArray[np.uint64]:
    """The place of each copy of a document in the global order, a number in [0, 2^64).

    Without `copies` a hash of (seed, id, copy): every copy falls anywhere. With it, the k copies of a document are spread: copy j
    lies in the first half of the j-th of k equal slots counted from a place drawn by (seed, id), so two copies are at least
    2^64 / (2 k) apart (around the end as around a circle) and each single key is still uniform.

    Parameters
    ----------
    id_hash : uint64 (N,)       hash of each row's document id
    copy : int32 (N,)           0, 1, ...
    copies : int32 (N,)         copies of that document in all, > copy

    Returns
    -------
    key : uint64 (N,)
    """
    base = mix_keys(np.asarray(id_hash, np.uint64), seed=derive_seed(seed, "order"))
    # a second number per (id, copy): mixed again, so that copies of one document are not shifted twins
    jitter = mix_keys(base + copy.astype(np.uint64), seed=derive_seed(seed, "copy"))
    if copies is None:
        return jitter
    if len(copy) and (int(copy.min()) < 0 or bool((copy >= copies).any())):
        raise SchemaError("copy", "0 <= copy < copies", "a copy outside")
    slot = np.uint64((1 << 64) - 1) // copies.astype(np.uint64)
    within = jitter % (slot // np.uint64(2) + np.uint64(1))
    single = copies == 1
    # uint64 addition wraps around: that is the circle
    return np.where(single, base, base + copy.astype(np.uint64) * slot + within)


def bucket_of(order_hash: npt.NDArray[np.uint64], num_buckets: int) -> npt.NDArray[np.int32]:
    """floor(key * num_buckets / 2^64) from the upper 32 bits of the key: ranges of keys, so sorted buckets are the sorted whole.

    Raises
    ------
    ConfigError     num_buckets not in 1 .. 2^20
    """
    if not 1 <= num_buckets <= 1 << 20:
        raise ConfigError("num_buckets", num_buckets, "expected 1 to 2^20")
    upper = np.asarray(order_hash, np.uint64) >> np.uint64(32)
    return ((upper * np.uint64(num_buckets)) >> np.uint64(32)).astype(np.int32)


def plan_buckets(num_tokens: int, *, tokens_per_part: int = 1 << 28) -> int:
    """Number of buckets, and so of parts, for a mix: parts of about `tokens_per_part` (1 GiB of uint32 by default)."""
    return min(1 << 20, max(1, -(-num_tokens // tokens_per_part)))


def build_tokens(ids: npt.NDArray[np.uint32], offsets: npt.NDArray[np.int64]) -> pa.Array:
    """The `tokens` column of rows ids[offsets[i]:offsets[i + 1]] (encode_batch's output); copies nothing."""
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(ids, pa.uint32()))


def without_fim(num_rows: int) -> list[pa.Array]:
    """The columns of FIM_FIELDS for rows that are not cut."""
    return [pa.nulls(num_rows, field.type) for field in FIM_FIELDS]


class PartSummary(NamedTuple):
    """What write_part wrote."""

    entry: dict[str, Any]  # the manifest's `files` entry
    sources: dict[str, dict[str, int]]  # tokens, documents, bytes by source
    lineage: pa.Table  # LINEAGE_SCHEMA


def write_part(
    pieces: Iterable[pa.Table],
    *,
    part: int,
    dtype: npt.DTypeLike,
    eos_token_id: int,
    token_sink: BinaryIO,
    sidecar_sink: BinaryIO,
) -> PartSummary:
    """Sort the rows of one bucket and write them as a part.

    Parameters
    ----------
    pieces : tables of PIECE_SCHEMA     all pieces of the bucket, in any order and any split
    part : int                          number of the bucket, names the files
    dtype : uint16 or uint32            of the token file (little-endian, no header)
    eos_token_id : int                  must end every row's tokens, and stand nowhere else in them
    token_sink, sidecar_sink            binary streams; left open

    Returns
    -------
    summary : PartSummary

    Raises
    ------
    DataError                           the same copy twice, tokens without their end, an id that dtype cannot hold

    Guarantees                          same bytes for any order and split of the pieces
    """
    table = pa.concat_tables([PIECE_SCHEMA.empty_table(), *pieces])
    table = _sort_rows(table).combine_chunks()
    tokens = table.column("tokens")
    lengths = pc.list_value_length(tokens).to_numpy().astype(np.int64)
    ends = np.cumsum(lengths)
    name = f"part-{part:05d}"
    writer = HashingWriter(token_sink)
    for start, stop in _split_rows(ends):
        chunk = pc.list_flatten(tokens.slice(start, stop - start)).to_numpy()
        _check_tokens(chunk, lengths[start:stop], dtype, eos_token_id, f"{name}.npy")
        writer.write(chunk.astype(np.dtype(dtype).newbyteorder("<"), copy=False))
    sidecar = HashingWriter(sidecar_sink)
    _write_sidecar(table, ends - lengths, ends, sidecar)
    entry = {
        "path": f"{name}.npy",
        "tokens": int(ends[-1]) if len(ends) else 0,
        "documents": table.num_rows,
        "bytes": writer.num_bytes,
        "checksum": writer.checksum,
        "sidecar": {"path": f"{name}.csv.gz", "checksum": sidecar.checksum},
    }
    return PartSummary(entry, count_sources(table, lengths), _build_lineage(table, part, ends - lengths, ends))


def _sort_rows(table: pa.Table) -> pa.Table:
    """Rows by (key, id, copy), without their order of arrival. DataError when a copy is there twice."""
    keys = [("key", "ascending"), ("id", "ascending"), ("copy", "ascending")]
    table = table.take(pc.sort_indices(table, sort_keys=keys))
    if table.num_rows < 2:
        return table
    same = pc.and_(
        pc.equal(table.column("id")[1:], table.column("id")[:-1]),
        pc.equal(table.column("copy")[1:], table.column("copy")[:-1]),
    )
    twice = pc.index(same, True).as_py()
    if twice >= 0:
        raise DataError("piece", f"copy {table['copy'][twice]} of document {table['id'][twice]} is there twice", twice)
    return table


def _split_rows(ends: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of rows with about CHUNK_TOKENS tokens each; every row in exactly one."""
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK_TOKENS, side="right")))
        yield start, stop
        start = stop


def _check_tokens(
    tokens: npt.NDArray[np.uint32], lengths: npt.NDArray[np.int64], dtype: npt.DTypeLike, eos_token_id: int, path: str
) -> None:
    if len(tokens) and int(tokens.max()) > np.iinfo(np.dtype(dtype)).max:
        raise DataError(path, f"token id {int(tokens.max())} does not fit {np.dtype(dtype)}")
    is_end = np.zeros(len(tokens), np.bool_)
    if len(lengths) and int(lengths.min()) > 0:
        is_end[np.cumsum(lengths) - 1] = True
    if not np.array_equal(tokens == eos_token_id, is_end) or (len(lengths) and int(lengths.min()) == 0):
        raise DataError(path, f"a document does not end in its one end token {eos_token_id}")


def _write_sidecar(
    table: pa.Table, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], sink: HashingWriter
) -> None:
    """start,end,id,path,line per row, as OLMo-core and dolma read it; gzip without name and time."""
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=sink, mtime=0) as packed:
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="")
        rows = csv.writer(text, lineterminator="\n")
        names = (table.column(name).to_pylist() for name in ("id", "path", "line"))
        rows.writerows(zip(starts.tolist(), ends.tolist(), *names, strict=True))
        text.flush()
        text.detach()


def count_sources(table: pa.Table, lengths: npt.NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Tokens, documents (copies) and bytes of text by source, of N rows with these numbers of tokens."""
    counted = pa.table({"source": table.column("source"), "tokens": lengths, "bytes": table.column("bytes")})
    sums = counted.group_by("source").aggregate([("tokens", "sum"), ("bytes", "sum"), ("tokens", "count")])
    rows = sorted(sums.to_pylist(), key=lambda row: row["source"])
    return {
        row["source"]: {"tokens": row["tokens_sum"], "documents": row["tokens_count"], "bytes": row["bytes_sum"]}
        for row in rows
    }


def _build_lineage(table: pa.Table, part: int, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> pa.Table:
    columns = {name: table.column(name) for name in LINEAGE_SCHEMA.names if name in PIECE_SCHEMA.names}
    columns["part"] = pa.array(np.full(table.num_rows, part, np.int32))
    columns["start"], columns["end"] = pa.array(starts), pa.array(ends)
    return pa.Table.from_arrays([columns[name] for name in LINEAGE_SCHEMA.names], schema=LINEAGE_SCHEMA)


def sort_lineage(lineage: pa.Table) -> pa.Table:
    """Rows sorted by (id, copy)."""
    return lineage.sort_by([("id", "ascending"), ("copy", "ascending")]).combine_chunks()


def merge_lineage(runs: Sequence[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """The rows of all runs sorted by (id, copy), as tables that follow each other; each run is sorted and cut anyhow.

    Of what is held, rows up to the least of the tables' last rows come before all that is still to be read.
    Memory: a table of every run, three times over.
    """
    held = {place: table for place, run in enumerate(runs) if (table := _next_rows(run)) is not None}
    while held:
        last_id, last_copy = min((table["id"][-1].as_py(), table["copy"][-1].as_py()) for table in held.values())
        ready = []
        for place, table in list(held.items()):
            same = pc.and_(pc.equal(table["id"], last_id), pc.less_equal(table["copy"], last_copy))
            stop = pc.sum(pc.or_(pc.less(table["id"], last_id), same)).as_py()
            ready.append(table.slice(0, stop))
            rest = table.slice(stop) if stop < table.num_rows else _next_rows(runs[place])
            if rest is None:
                del held[place]
            else:
                held[place] = rest
        yield sort_lineage(pa.concat_tables(ready))


def _next_rows(run: Iterator[pa.Table]) -> pa.Table | None:
    """The next table that has rows, None at the end."""
    return next((table for table in run if table.num_rows), None)
