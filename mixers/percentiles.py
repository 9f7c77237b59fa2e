"""Which quality bucket is each document in: token-weighted percentiles inside a group, and the table of cells.

A group is a (source, topic) pair; a cell is a bucket of a group. Legend: N documents, G groups, B buckets per group.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.errors import SchemaError

NUM_BUCKETS = 20  # vigintiles (Olmo 3 report, section 3.4.1)

# One row per cell, sorted by (source, topic, bucket); cells without documents are there with zeros.
CELL_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("topic", pa.string(), nullable=False),  # "" where a source has no topics
        pa.field("bucket", pa.int32(), nullable=False),  # 0 is the lowest quality
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)


def assign_buckets(
    score: npt.NDArray[np.float32],
    *,
    group: npt.NDArray[np.int32],
    tokens: npt.NDArray[np.int64],
    id_hash: npt.NDArray[np.uint64],
    num_buckets: int = NUM_BUCKETS,
) -> npt.NDArray[np.int32]:
    """The bucket of every document by its exact token-weighted percentile inside its group.

    A group's documents are laid side by side in order of (score, id_hash), each as wide as its tokens; a document belongs to
    the bucket that holds its middle: floor(B * (2 * tokens before + own tokens) / (2 * tokens of the group)), in integers.

    Parameters
    ----------
    score : float32 (N,)        higher is better; no NaN
    group : int32 (N,)          group of each document, any non-negative numbers
    tokens : int64 (N,)         non-negative; a group whose documents all have 0 tokens is split by number of documents
    id_hash : uint64 (N,)       breaks ties of the score; ids with equal hashes and scores keep their order here
    num_buckets : int           1 to 2^20

    Returns
    -------
    bucket : int32 (N,)         0 (lowest score) to num_buckets - 1

    Raises
    ------
    SchemaError                 lengths differ, a NaN score, a negative count, num_buckets out of range

    Guarantees                  independent of row order (apart from colliding id hashes)
    Cost                        O(N log N) time, about 60 N bytes
    Source                      Olmo 3 report section 3.4.1 (vigintiles inside a topic); deviation: exact, where the released
                                tool takes percentiles from a reservoir sample

    Examples
    --------
    >>> assign_buckets(np.float32([.9, .1, .5]), group=np.int32([0, 0, 0]), tokens=np.int64([2, 1, 1]),
    ...                id_hash=np.uint64([7, 8, 9]), num_buckets=2)
    array([1, 0, 0], dtype=int32)
    """
    num_docs = len(score)
    for name, column in (("group", group), ("tokens", tokens), ("id_hash", id_hash)):
        if len(column) != num_docs:
            raise SchemaError(name, f"{num_docs} rows, one per score", len(column))
    if not 1 <= num_buckets <= 1 << 20:
        raise SchemaError("num_buckets", "1 to 2^20", num_buckets)
    if np.isnan(score).any():
        raise SchemaError("score", "no NaN", f"{int(np.isnan(score).sum())} of {num_docs} NaN")
    if num_docs and int(tokens.min()) < 0:
        raise SchemaError("tokens", "non-negative counts", int(tokens.min()))
    if num_docs == 0:
        return np.empty(0, np.int32)
    order = np.lexsort((id_hash, score, group))
    starts = find_group_starts(group[order])
    width = _widths(tokens[order].astype(np.int64), starts)
    before = np.cumsum(width) - width
    counts = np.diff(np.append(starts, num_docs))
    total = np.repeat(np.add.reduceat(width, starts), counts)
    before -= np.repeat(before[starts], counts)
    ranked = num_buckets * (2 * before + width) // (2 * total)
    bucket = np.empty(num_docs, np.int32)
    # a document without tokens at the very end has its middle at 1.0
    bucket[order] = np.minimum(ranked, num_buckets - 1)
    return bucket


def find_group_starts(sorted_group: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Positions, int64 (G,), where a new value begins in a non-empty sorted array; the first is 0."""
    return np.concatenate([[0], np.flatnonzero(np.diff(sorted_group)) + 1]).astype(np.int64)


def _widths(tokens: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Tokens, or 1 per document in groups that have no token at all."""
    counts = np.diff(np.append(starts, len(tokens)))
    empty = np.repeat(np.add.reduceat(tokens, starts) == 0, counts)
    return np.where(empty, 1, tokens)


def count_cells(
    groups: Sequence[tuple[str, str]],
    *,
    cell: npt.NDArray[np.int32],
    tokens: npt.NDArray[np.int64],
    num_bytes: npt.NDArray[np.int64],
    num_buckets: int = NUM_BUCKETS,
) -> pa.Table:
    """The table of cells (CELL_SCHEMA), G * B rows; row g * B + b is bucket b of groups[g].

    Parameters
    ----------
    groups : G pairs (source, topic)    sorted, unique
    cell : int32 (N,)                   group * num_buckets + bucket; -1 for a document that cannot be sampled (held out)
    tokens, num_bytes : int64 (N,)      of each document; tokens include the end-of-text token

    Raises
    ------
    SchemaError                         groups not sorted or repeated, a cell out of range, lengths differ
    """
    if list(groups) != sorted(set(groups)):
        raise SchemaError("groups", "unique pairs in sorted order", groups)
    num_cells = len(groups) * num_buckets
    check_cells(cell, num_cells, tokens, num_bytes)
    kept = cell >= 0
    columns = []
    for values in (np.ones(len(cell), np.int64), tokens, num_bytes):
        sums = np.zeros(num_cells, np.int64)
        np.add.at(sums, cell[kept], values[kept])
        columns.append(pa.array(sums))
    sources = [source for source, _ in groups for _ in range(num_buckets)]
    topics = [topic for _, topic in groups for _ in range(num_buckets)]
    buckets = np.tile(np.arange(num_buckets, dtype=np.int32), len(groups))
    arrays = [pa.array(sources, pa.string()), pa.array(topics, pa.string()), pa.array(buckets), *columns]
    return pa.Table.from_arrays(arrays, schema=CELL_SCHEMA)


def check_cells(cell: npt.NDArray[np.int32], num_cells: int, *columns: npt.NDArray[np.int64]) -> None:
    """Raise SchemaError unless every cell lies in -1..num_cells - 1 and all columns are as long as `cell`."""
    for column in columns:
        if len(column) != len(cell):
            raise SchemaError("cell", f"{len(column)} rows like the other columns", len(cell))
    if len(cell) and not (int(cell.min()) >= -1 and int(cell.max()) < num_cells):
        raise SchemaError("cell", f"-1 to {num_cells - 1}", f"{int(cell.min())} to {int(cell.max())}")
