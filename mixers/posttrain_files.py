"""The files of post-training data: shards of chats with label masks, preference pairs, prompts for RL.

    chats     token_ids_part_NNNN.npy    ids, back to back, little-endian, no header; an end-of-text token after each conversation
              labels_mask_part_NNNN.npy  one byte for each id, 1: trained on
              token_ids_part_NNNN.csv.gz start, end (exclusive), id, file of origin, line
    pairs     pairs_part_NNNN.parquet    PAIRS_SCHEMA
    prompts   prompts_part_NNNN.parquet  PROMPTS_SCHEMA

Rows come in an order that a hash of (seed, id) gives: one shuffle of all sources. Legend: N rows, T tokens.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py import hashing, parquet_files
from dolma_py.errors import DataError
from dolma_py.storage import HashingWriter
from mixers.chat_rows import Kind

IDS, MASK = pa.list_(pa.uint32()), pa.list_(pa.bool_())
CHATS_SCHEMA = pa.schema([("id", pa.string()), ("ids", IDS), ("mask", MASK), ("source", pa.string())])
PAIRS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("chosen_ids", IDS),
        ("chosen_mask", MASK),
        ("rejected_ids", IDS),
        ("rejected_mask", MASK),
        ("chosen_last", pa.int32()),  # index of the first trained token of the last assistant turn
        ("rejected_last", pa.int32()),
        ("source", pa.string()),
    ]
)
PROMPTS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("messages", pa.string()),  # JSON
        ("prompt_ids", IDS),  # with the header of the answer
        ("verifier", pa.string()),
        ("ground_truth", pa.string()),
        ("source", pa.string()),
    ]
)
SCHEMAS: dict[Kind, pa.Schema] = {"sft": CHATS_SCHEMA, "pairs": PAIRS_SCHEMA, "prompts": PROMPTS_SCHEMA}
# where a row came from; of the files between the two passes
ORIGIN = pa.schema(
    [("path", pa.string()), ("line", pa.int64()), ("tokens", pa.int64()), ("trained_tokens", pa.int64())]
)
GROUP_ROWS = 512  # of a row group: rows may have 32,768 tokens


def work_schema(kind: Kind) -> pa.Schema:
    """Of the rows between the two passes: those of the output, and their origin."""
    return pa.schema([*SCHEMAS[kind], *ORIGIN])


class Plan:
    """Which rows are written, and in which part; see plan_rows."""

    def __init__(self, rows: npt.NDArray[np.int64], ids: list[str], bounds: list[int]) -> None:
        self.rows = rows  # (M,) numbers of the rows that are written, in their order
        self.ids = ids  # (M,) their ids, repeated ones with #2, #3, ...
        self.bounds = bounds  # part p is rows bounds[p]:bounds[p + 1]

    @property
    def num_parts(self) -> int:
        return len(self.bounds) - 1


def plan_rows(
    ids: Sequence[str], sources: Sequence[str], tokens: npt.NDArray[np.int64], *, counts: dict[str, int], seed: int, tokens_per_part: int
) -> Plan:  # fmt: skip
    """Choose, name and order the rows of all files.

    Parameters
    ----------
    ids, sources, tokens : of N rows, in the order of sources, files and lines
    counts : of each source that is not taken whole, how many rows: those with the smallest hash of (seed, id)
    tokens_per_part : a part ends with the row that reaches it

    Guarantees: rows, ids and parts are a function of these arguments alone
    """
    names = name_repeats(ids)
    keys = hashing.hash_ids(pa.array(names, pa.large_string()), seed=seed, name="post-training order")
    order = np.lexsort((np.arange(len(names)), keys))
    left = dict(counts)
    chosen = []
    for row in order.tolist():
        source = sources[row]
        if source in left:
            if left[source] == 0:
                continue
            left[source] -= 1
        chosen.append(row)
    rows = np.array(chosen, np.int64)
    bounds, held = [0], 0
    for place, size in enumerate(tokens[rows].tolist(), 1):
        held += size
        if held >= tokens_per_part or place == len(rows):
            bounds.append(place)
            held = 0
    return Plan(rows, [names[row] for row in chosen], bounds)


def name_repeats(ids: Sequence[str]) -> list[str]:
    """The ids, of those that stand before with #2, #3, ... behind; all are different then.

    >>> name_repeats(["a", "b", "a", "a#2", "a"])
    ['a', 'b', 'a#3', 'a#2', 'a#4']
    """
    taken, seen, last = set(ids), set(), {}
    names = []
    for name in ids:
        own = name
        if name in seen:
            number = last.get(name, 1)
            while own in taken:
                number += 1
                own = f"{name}#{number}"
            last[name] = number
            taken.add(own)
        seen.add(name)
        names.append(own)
    return names


def write_chats(
    table: pa.Table, *, dtype: npt.DTypeLike, eos_token_id: int, sinks: tuple[Any, Any, Any]
) -> dict[str, Any]:
    """Rows of work_schema("sft") as a part; sinks: of ids, mask and sidecar. Returns tokens, documents and trained tokens.

    Raises DataError for ids that do not end in their one end-of-text token, or masks of another length.
    """
    ids, mask = (pc.list_flatten(table.column(name)).combine_chunks() for name in ("ids", "mask"))
    lengths = pc.list_value_length(table.column("ids")).to_numpy().astype(np.int64)
    masked = pc.list_value_length(table.column("mask")).to_numpy().astype(np.int64)
    tokens = ids.to_numpy()
    trained = mask.to_numpy(zero_copy_only=False).astype(np.bool_)
    ends = np.cumsum(lengths)
    is_end = np.zeros(len(tokens), np.bool_)
    is_end[ends[lengths > 0] - 1] = True
    is_whole = np.array_equal(lengths, masked) and bool((lengths > 0).all())
    if not is_whole or not np.array_equal(tokens == eos_token_id, is_end):
        raise DataError(
            "post-training rows", "a conversation does not end in its one end-of-text token, or its mask is not as long"
        )
    if len(tokens) and int(tokens.max()) > np.iinfo(np.dtype(dtype)).max:
        raise DataError("post-training rows", f"token id {int(tokens.max())} does not fit {np.dtype(dtype)}")
    id_sink, mask_sink, sidecar_sink = sinks
    id_sink.write(np.ascontiguousarray(tokens.astype(np.dtype(dtype).newbyteorder("<"))))
    mask_sink.write(np.ascontiguousarray(trained.astype(np.uint8)))
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=sidecar_sink, mtime=0) as packed:
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="")
        columns = (table.column(name).to_pylist() for name in ("id", "path", "line"))
        csv.writer(text, lineterminator="\n").writerows(
            zip((ends - lengths).tolist(), ends.tolist(), *columns, strict=True)
        )
        text.flush()
        text.detach()
    return {"tokens": len(tokens), "documents": table.num_rows, "trained_tokens": int(trained.sum())}


def write_rows(table: pa.Table, kind: Kind, sink: HashingWriter) -> int:
    """Pairs or prompts as a part in Parquet; returns the rows."""
    schema = SCHEMAS[kind]
    return parquet_files.write_rows(sink, schema, [table.select(schema.names).cast(schema)], group_rows=GROUP_ROWS)
