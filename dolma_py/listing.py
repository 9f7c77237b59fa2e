"""The append-only listing of a corpus: its shards, their sizes and fingerprints, and addresses inside them.

A shard is one file of documents; its number is its line in `listing.jsonl` and never changes. An address is
(shard, row) and means the same for ever; packed into one int64 as shard << 40 | row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py import storage
from dolma_py.config import fingerprint
from dolma_py.errors import DataError

ROW_BITS = 40  # 2^40 rows in a shard, 2^23 shards


class Shard(NamedTuple):
    """One line of the listing. A row counts accepted records only."""

    number: int
    path: str  # relative to the corpus, or absolute / URI when read in place
    format: str  # parquet or jsonl
    source: str
    rows: int
    text_bytes: int
    num_bytes: int  # of the file
    checksum: str  # xxh3-128 of the file
    row_groups: tuple[tuple[int, int], ...]  # (rows, text bytes) of each; jobs split here
    inputs: tuple[tuple[str, int, str], ...] = ()  # (path, bytes, fingerprint) of the files it was made from
    rejected: tuple[tuple[str, int], ...] = ()  # (reason, records) of what could not be read
    renamed: int = 0  # documents whose id an earlier one had
    # of a JSONL file read in place: {"limits", "fields", "added"} under which its rows were counted, and always are read
    reading: dict[str, Any] | None = None
    skipped: tuple[tuple[str, int], ...] = ()  # (reason, records) that were read well and are no documents


class Split(NamedTuple):
    """What one task reads: consecutive row groups of one shard."""

    shard: int
    first_group: int
    last_group: int  # inclusive
    first_row: int
    rows: int
    text_bytes: int


@dataclass(frozen=True)
class Listing:
    """All shards, in order. Fingerprints are computed once for each object: every task asks for them."""

    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def text_bytes(self) -> int:
        return sum(shard.text_bytes for shard in self.shards)

    def first(self, count: int) -> Listing:
        """The listing as it was when it had `count` shards; itself when it has no more."""
        if count >= len(self.shards):
            return self
        if count not in self._shorter:
            self._shorter[count] = Listing(self.shards[:count])
        return self._shorter[count]

    @cached_property
    def _shorter(self) -> dict[int, Listing]:
        return {}

    @cached_property
    def fingerprint(self) -> str:
        """Of every shard's path, rows and checksum, in order, and of how files in place are read."""
        return fingerprint([
            [shard.path, shard.rows, shard.checksum, *([] if shard.reading is None else [shard.reading])]
            for shard in self.shards
        ])  # fmt: skip


_READ_BEFORE: dict[
    str, tuple[storage.FileStamp, Listing]
] = {}  # the last few; a worker serves many tasks of one corpus
_MAX_READ_BEFORE = 4


def read_listing(path: str) -> Listing:
    """The listing of a file; an empty one when there is none yet. Read again only when the file is another one than before."""
    stamp = storage.stamp_file(path)
    if stamp is None:
        return Listing(())
    known = _READ_BEFORE.pop(path, None)
    if known is None or known[0] != stamp:
        known = stamp, _parse_listing(path)
    _READ_BEFORE[path] = known
    while len(_READ_BEFORE) > _MAX_READ_BEFORE:
        _READ_BEFORE.pop(next(iter(_READ_BEFORE)))
    return known[1]


def _parse_listing(path: str) -> Listing:
    shards = []
    for number, line in enumerate(storage.read_bytes(path).splitlines()):
        try:
            values = json.loads(line)
            groups = tuple((int(rows), int(text_bytes)) for rows, text_bytes in values.pop("row_groups"))
            inputs = tuple((str(name), int(size), str(mark)) for name, size, mark in values.pop("inputs"))
            rejected = tuple((str(reason), int(count)) for reason, count in values.pop("rejected"))
            skipped = tuple((str(reason), int(count)) for reason, count in values.pop("skipped", ()))
            shard = Shard(row_groups=groups, inputs=inputs, rejected=rejected, skipped=skipped, **values)
            sums = (sum(rows for rows, _ in groups), sum(text_bytes for _, text_bytes in groups))
            if sums != (shard.rows, shard.text_bytes):
                raise ValueError(f"row groups hold {sums} rows and bytes, not {(shard.rows, shard.text_bytes)}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                path, f"not a shard of a listing ({error})", number + 1, "Restore the file from a copy."
            ) from error
        if shard.number != number:
            raise DataError(
                path, f"shard number {shard.number} out of order", number + 1, "Restore the file from a copy."
            )
        shards.append(shard)
    return Listing(tuple(shards))


def append_shards(path: str, listing: Listing, shards: list[Shard]) -> Listing:
    """The listing with new shards at its end, written at once or not at all. Earlier lines keep their bytes.

    Raises DataError when `listing` is not what the file holds, or a new shard does not have the next number.
    """
    earlier = storage.read_bytes(path) if storage.file_bytes(path) is not None else b""
    if read_listing(path) != listing or (earlier and not earlier.endswith(b"\n")):
        raise DataError(path, f"expected {len(listing.shards)} shards, as when it was read", hint="Run the step again.")
    grown = Listing((*listing.shards, *shards))
    numbers = [shard.number for shard in shards]
    if numbers != list(range(len(listing.shards), len(grown.shards))):
        raise DataError(path, f"new shards are numbered {numbers}, expected the next after {len(listing.shards) - 1}")
    lines = (json.dumps(_dump_shard(shard), sort_keys=True, separators=(",", ":")) + "\n" for shard in shards)
    storage.write_bytes(path, earlier + "".join(lines).encode())
    return grown


def _dump_shard(shard: Shard) -> dict[str, Any]:
    values = shard._asdict()
    if not shard.skipped:
        del values["skipped"]
    return values


def plan_splits(listing: Listing, split_bytes: int) -> list[Split]:
    """Cut every shard between row groups into splits of at least `split_bytes` of text (the last one of a shard may be smaller).

    A function of the listing and the setting alone: never of cores, executors or partitions.
    """
    splits = []
    for shard in listing.shards:
        first, first_row, rows, text_bytes = 0, 0, 0, 0
        for group, (group_rows, group_bytes) in enumerate(shard.row_groups):
            rows, text_bytes = rows + group_rows, text_bytes + group_bytes
            if text_bytes >= split_bytes or group == len(shard.row_groups) - 1:
                splits.append(Split(shard.number, first, group, first_row, rows, text_bytes))
                first, first_row, rows, text_bytes = group + 1, first_row + rows, 0, 0
    return splits


def pack_address(shard: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Addresses of rows of one shard: shard << 40 | row, int64. The shard is below 2^23, rows are below 2^40."""
    assert 0 <= shard < 1 << (63 - ROW_BITS), f"shard {shard} has no address"
    return (np.int64(shard) << np.int64(ROW_BITS)) | rows.astype(np.int64)


def unpack_address(addresses: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(shard numbers, rows) of addresses, int64 each."""
    return addresses >> np.int64(ROW_BITS), addresses & np.int64((1 << ROW_BITS) - 1)
