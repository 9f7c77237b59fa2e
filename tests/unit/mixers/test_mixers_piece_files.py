"""mixers.piece_files: every part finds its rows, and reads no others, whatever ranges and parts there are."""

from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import DataError, SchemaError
from dolma_py.storage import HashingWriter
from mixers import piece_files, shards
from tests.reference import piece_files as reference

KEYS = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, 1 << 63, (1 << 64) - 1]),
    st.integers(0, 7).map(lambda n: n << 61),
)


def make_rows(keys):
    names = {"source": "web", "path": "a.jsonl", "shard": 0, "copy": 0}
    return [
        {"key": key, "id": f"d{n}", "line": n + 1, "row": n, "bytes": n, "tokens": [*range(1, n % 5 + 1), 0]} | names
        for n, key in enumerate(keys)
    ]


def build_table(rows):
    return pa.Table.from_pylist(rows, shards.PIECE_SCHEMA)


def write(path, groups, num_ranges):
    parts = [piece_files.sort_by_range(build_table(rows), num_ranges) for rows in groups]
    with open(path, "wb") as stream:
        return piece_files.write_ranges(parts, num_ranges, HashingWriter(stream))


@given(
    groups=st.lists(st.lists(KEYS, max_size=8), max_size=4),
    num_ranges=st.integers(1, 20),
    num_buckets=st.integers(1, 20),
)
def test_every_part_finds_its_rows(tmp_path_factory, groups, num_ranges, num_buckets):
    path = str(tmp_path_factory.mktemp("pieces") / "x.pieces")
    rows = make_rows([key for keys in groups for key in keys])
    left = iter(rows)
    assert write(path, [[next(left) for _ in keys] for keys in groups], num_ranges) == len(rows)
    found = []
    for bucket in range(num_buckets):
        table = piece_files.read_ranges(path, *piece_files.find_ranges(bucket, num_buckets, num_ranges), num_ranges)
        own = piece_files.keep_bucket(table, bucket, num_buckets)
        assert set(shards.bucket_of(own["key"].to_numpy(), num_buckets)) <= {bucket}
        found += own.to_pylist()
    assert sorted(found, key=lambda row: row["row"]) == build_table(rows).to_pylist()


@given(st.lists(KEYS, max_size=12), st.integers(1, 20))
def test_rows_are_sorted_as_the_twin_does(keys, num_ranges):
    rows = build_table(make_rows(keys)).to_pylist()
    made = piece_files.sort_by_range(build_table(rows), num_ranges)
    expected = reference.sort_by_range(rows, num_ranges)
    assert made.place.tolist() == [place for place, _ in expected]
    assert made.rows.to_pylist() == [row for _, row in expected]


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_ranges_of_a_part_are_those_of_its_keys(num_buckets, num_ranges, data):
    """Of 2^12 numbers as of 2^32: the twin goes through all of them."""
    bucket = data.draw(st.integers(0, num_buckets - 1))
    low, end = piece_files.find_ranges(bucket, num_buckets, num_ranges)
    first, last = reference.find_ranges(bucket, num_buckets, num_ranges, 12)
    assert low <= first and last <= end and end - low <= -(-num_ranges // num_buckets) + 1
    if num_ranges == num_buckets:
        assert (low, end) == (bucket, bucket + 1)


@given(
    st.lists(st.lists(KEYS, max_size=8), min_size=1, max_size=4), st.integers(1, 20), st.sampled_from([1, 700, 1 << 26])
)
def test_merged_files_have_the_rows_of_each(tmp_path_factory, groups, num_ranges, window):
    folder = tmp_path_factory.mktemp("pieces")
    rows = make_rows([key for keys in groups for key in keys])
    left = iter(rows)
    paths = [str(folder / f"{number}.pieces") for number in range(len(groups))]
    for path, keys in zip(paths, groups, strict=True):
        write(path, [[next(left) for _ in keys]], num_ranges)
    with pytest.MonkeyPatch.context() as patch, open(folder / "all", "wb") as stream:
        patch.setattr(piece_files, "WINDOW_BYTES", window)
        piece_files.merge_files(paths, num_ranges, HashingWriter(stream))
    for place in range(num_ranges):
        parts = [piece_files.read_ranges(path, place, place + 1, num_ranges) for path in paths]
        merged = piece_files.read_ranges(str(folder / "all"), place, place + 1, num_ranges)
        assert merged.to_pylist() == pa.concat_tables(parts).to_pylist()
    assert piece_files.read_ranges(str(folder / "all"), 0, num_ranges, num_ranges).num_rows == len(rows)


def test_only_the_ranges_asked_for_are_read(tmp_path):
    """The other blocks are overwritten: nobody notices."""
    path = tmp_path / "x.pieces"
    write(path, [make_rows([n << 61 for n in range(8)])], 8)
    content = bytearray(path.read_bytes())
    index = np.frombuffer(content[-72:], "<i8")
    assert (np.diff(index) > 0).all() and index[-1] == len(content) - 72
    content[: index[3]] = bytes(int(index[3]))
    content[index[5] : index[8]] = bytes(int(index[8] - index[5]))
    path.write_bytes(content)
    assert piece_files.read_ranges(str(path), 3, 5, 8)["row"].to_pylist() == [3, 4]


def test_damage_is_told(tmp_path):
    path = tmp_path / "x.pieces"
    write(path, [make_rows([n << 61 for n in range(8)])], 8)
    content = path.read_bytes()
    for damaged in (
        content[:-1],
        content[:50],
        b"",
        content[1:],
        b"\xff" * 40 + content[40:],
        content[:-80] + b"\xff" * 80,
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            piece_files.read_ranges(str(path), 0, 8, 8)
    with pytest.raises(SchemaError):
        piece_files.sort_by_range(pa.table({"a": [1]}), 4)


def test_a_split_of_many_parts_is_one_small_index(tmp_path):
    """3,000 rows over 20,000 ranges: an index of 8 bytes a range, a block for each range that has rows."""
    keys = np.random.default_rng(1).integers(0, 1 << 63, 3000).astype(np.uint64) * np.uint64(2)
    path = tmp_path / "x.pieces"
    write(path, [make_rows(keys.tolist())], 20_000)
    index = np.frombuffer(path.read_bytes()[-8 * 20_001 :], "<i8")
    per_range = collections.Counter(shards.bucket_of(keys, 20_000).tolist())
    assert np.count_nonzero(np.diff(index)) == len(per_range)
