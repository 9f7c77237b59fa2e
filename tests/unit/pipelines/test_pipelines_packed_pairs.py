"""Pairs come out of a shuffle as they went in, wherever they were cut."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import packed_pairs

NUMBERS = st.integers(0, 3) | st.integers(2**63 - 1, 2**63) | st.just(2**64 - 1)


def place(pairs, num_parts):
    return (pairs[:, 0] % np.uint64(num_parts)).astype(np.int32)


@given(
    st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=9), max_size=5), st.sampled_from([1, 3, 70_000]),
    st.sampled_from([1, 2, 100]), st.sampled_from([1, 4, 100]),
)  # fmt: skip
def test_every_pair_comes_to_its_part(batches, num_parts, flush_pairs, payload_pairs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_pairs, "FLUSH_PAIRS", flush_pairs)
        patch.setattr(packed_pairs, "PAYLOAD_PAIRS", payload_pairs)
        arrays = [np.array(batch, np.uint64).reshape(-1, 2) for batch in batches]
        packed = list(packed_pairs.pack_pairs([(place(pairs, num_parts), pairs) for pairs in arrays], num_parts))
    found = []
    for batch in packed:
        for row in range(batch.num_rows):  # a slice as Spark would hand it over
            (pairs,) = packed_pairs.unpack_pairs([batch.slice(row, 1)])
            assert 0 < len(pairs) <= payload_pairs
            assert set(place(pairs, num_parts).tolist()) == {batch.column("part")[row].as_py()}
            found += list(map(tuple, pairs.tolist()))
    assert sorted(found) == sorted(pair for batch in batches for pair in batch)


@given(st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=9), max_size=5), st.integers(1, 50))
def test_held_pairs_come_back_as_often_as_asked(batches, limit):
    arrays = [np.array(batch, np.uint64).reshape(-1, 2) for batch in batches]
    pairs = [pair for batch in batches for pair in batch]
    with packed_pairs.hold_pairs(iter(arrays), limit) as held:
        for _ in range(2):
            pieces = [piece.copy() for piece in held.go_through()]
            assert [tuple(pair) for piece in pieces for pair in piece.tolist()] == pairs
            assert held.is_whole == (len(pairs) <= limit) and (not held.is_whole or len(pieces) == 1)


def test_columns_of_long_offsets_are_read_too():
    """As spark.sql.execution.arrow.useLargeVarTypes gives them."""
    pairs = np.arange(10, dtype=np.uint64).reshape(-1, 2)
    (batch,) = packed_pairs.pack_pairs([(np.array([0, 0, 1, 1, 1], np.int32), pairs)], 2)
    large = pa.RecordBatch.from_arrays([batch.column(0), batch.column(1).cast(pa.large_binary())], ["part", "pairs"])
    for rows in (large, large.slice(1)):
        (found,) = packed_pairs.unpack_pairs([rows])
        assert found.tolist() == pairs[5 - len(found) :].tolist()
    assert len(found) == 3


def test_no_batches_no_rows():
    empty = np.empty((0, 2), np.uint64)
    assert list(packed_pairs.pack_pairs([(np.empty(0, np.int32), empty)], 3)) == []
    assert list(packed_pairs.unpack_pairs([pa.RecordBatch.from_pylist([], packed_pairs.SCHEMA)])) == []


@given(st.lists(NUMBERS | st.integers(0, 2**64 - 1), min_size=1), st.integers(1, 2**31 - 1))
def test_parts_lie_in_their_range(keys, num_parts):
    parts = packed_pairs.choose_parts(np.array(keys, np.uint64), num_parts).tolist()
    assert parts == [(key >> 32) * num_parts >> 32 for key in keys]


def test_parts_are_even():
    keys = np.random.Generator(np.random.PCG64(1)).integers(0, 2**64, 100_000, np.uint64, endpoint=False)
    counts = np.bincount(packed_pairs.choose_parts(keys, 10), minlength=10)
    assert abs(counts - 10_000).max() < 5 * np.sqrt(9_000)


def test_spark_carries_them(spark):
    """Through two shuffles: all pairs of a part meet in one task."""

    def make(batches):
        for batch in batches:
            numbers = batch.column(0).to_numpy().astype(np.uint64)
            pairs = np.stack([numbers, numbers * np.uint64(7)], axis=1)
            yield from packed_pairs.pack_pairs([((numbers % np.uint64(5)).astype(np.int32), pairs)], 5)

    def total(batches):
        arrays = list(packed_pairs.unpack_pairs(batches))
        if arrays:
            pairs = np.concatenate(arrays)
            values = [int((pairs[0, 0]) % np.uint64(5)), len(pairs), int(pairs[:, 1].sum())]
            yield pa.RecordBatch.from_pylist([dict(zip(["part", "pairs", "total"], values, strict=True))])

    frame = spark.range(0, 1000, 1, 4).mapInArrow(make, packed_pairs.PACKED_SPARK).repartitionById(5, "part")
    rows = sorted(map(tuple, frame.mapInArrow(total, "part long, pairs long, total long").collect()))
    assert rows == [(part, 200, sum(7 * n for n in range(part, 1000, 5))) for part in range(5)]
