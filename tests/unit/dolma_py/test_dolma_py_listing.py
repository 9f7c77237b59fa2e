"""The listing: what is listed keeps its bytes and numbers, splits follow from it alone, addresses mean one row."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dolma_py import storage
from dolma_py.errors import DataError
from dolma_py.listing import (
    Listing,
    Shard,
    Split,
    append_shards,
    pack_address,
    plan_splits,
    read_listing,
    unpack_address,
)


def make_shard(number: int, groups=((2, 30), (1, 5)), **values) -> Shard:
    rows, text_bytes = (sum(group[side] for group in groups) for side in (0, 1))
    inputs = (("b\u00fccher/a\u2028.jsonl", 99, "0f"),)
    shard = Shard(
        number,
        f"documents/web/part-{number:05d}.parquet",
        "parquet",
        "web",
        rows,
        text_bytes,
        77,
        "c",
        tuple(groups),
        inputs,
    )
    return shard._replace(**values)


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "corpus" / "listing.jsonl")


def test_shards_come_back(path):
    shards = (make_shard(0), make_shard(1, ()), make_shard(2, ((5, 0),)))
    grown = append_shards(path, Listing(()), list(shards))
    assert read_listing(path) == grown == Listing(shards)
    assert (grown.rows, grown.text_bytes) == (8, 35)


def test_no_file_is_an_empty_listing(path):
    assert read_listing(path) == Listing(()) and Listing(()).rows == 0


def test_an_unchanged_file_is_parsed_once_and_a_changed_one_again(path):
    """A task per split asks for the listing: parsing it each time would cost shards x splits."""
    append_shards(path, Listing(()), [make_shard(0), make_shard(1)])
    listing = read_listing(path)
    assert read_listing(path) is listing
    assert listing.first(2) is listing and listing.first(1) is listing.first(1)
    assert listing.first(1) == Listing((make_shard(0),)) and listing.first(1).fingerprint != listing.fingerprint
    grown = append_shards(path, listing, [make_shard(2)])
    assert read_listing(path) == grown != listing
    storage.write_bytes(
        path, storage.read_bytes(path).replace(b'"source":"web"', b'"source":"wob"')
    )  # as long as before
    assert {shard.source for shard in read_listing(path).shards} == {"wob"}
    storage.remove_file(path)
    assert read_listing(path) == Listing(())


def test_append_keeps_earlier_bytes(path):
    """Even where they are not the bytes that we would write today."""
    append_shards(path, Listing(()), [make_shard(0)])
    line = json.loads(storage.read_bytes(path))
    storage.write_bytes(path, json.dumps(line, indent=None, ensure_ascii=False).encode() + b"\n")
    before = storage.read_bytes(path)
    append_shards(path, read_listing(path), [make_shard(1)])
    after = storage.read_bytes(path)
    assert after.startswith(before) and after.count(b"\n") == 2
    append_shards(path, read_listing(path), [make_shard(2), make_shard(3)])
    assert storage.read_bytes(path).startswith(after)
    assert [shard.number for shard in read_listing(path).shards] == [0, 1, 2, 3]


def test_append_of_a_stale_listing_is_refused(path):
    """Somebody else added a shard since it was read: it must not be lost."""
    stale = append_shards(path, Listing(()), [make_shard(0)])
    append_shards(path, stale, [make_shard(1)])
    before = storage.read_bytes(path)
    with pytest.raises(DataError, match="1 shards"):
        append_shards(path, stale, [make_shard(1)])
    assert storage.read_bytes(path) == before


@pytest.mark.parametrize("numbers", [[0], [2], [1, 1], [2, 1], [1, 3]])
def test_a_wrong_number_is_refused(path, numbers):
    listing = append_shards(path, Listing(()), [make_shard(0)])
    with pytest.raises(DataError, match="after 0"):
        append_shards(path, listing, [make_shard(number) for number in numbers])
    assert read_listing(path) == listing


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"number": 5}, "shard number 5"), ({"rows": 4}, "row groups hold"), ({"text_bytes": 34}, "row groups hold"), ({"extra": 1}, "extra"),
        ({"row_groups": 3}, "not a shard"), ({"row_groups": [[1]]}, "not a shard"), ({"inputs": [["a", "b", "c"]]}, "not a shard"),
    ],
)  # fmt: skip
def test_a_changed_line_is_refused_by_number(path, change, problem):
    append_shards(path, Listing(()), [make_shard(0), make_shard(1)])
    first, second = storage.read_bytes(path).splitlines()
    storage.write_bytes(path, first + b"\n" + json.dumps(json.loads(second) | change).encode() + b"\n")
    with pytest.raises(DataError, match=problem) as caught:
        read_listing(path)
    assert (caught.value.path, caught.value.row) == (path, 2)


@pytest.mark.parametrize("line", [b'{"number": 1', b"5", b"[]", b"null", b'"x"', b"{}", b""])
def test_a_broken_line_is_refused_by_number(path, line):
    append_shards(path, Listing(()), [make_shard(0)])
    storage.write_bytes(path, storage.read_bytes(path) + line + b"\n")
    with pytest.raises(DataError) as caught:
        read_listing(path)
    assert caught.value.row == 2


def test_the_fingerprint_sees_path_rows_checksum_and_order():
    shards = [make_shard(0), make_shard(1)]
    changed = [shards[0]._replace(**change) for change in ({"path": "x"}, {"rows": 9}, {"checksum": "d"})]
    listings = [shards, shards[:1], shards[::-1], *([shard, shards[1]] for shard in changed)]
    assert len({Listing(tuple(each)).fingerprint for each in listings}) == len(listings)
    same = [shards[0]._replace(inputs=(), num_bytes=1), shards[1]]
    assert Listing(tuple(same)).fingerprint == Listing(tuple(shards)).fingerprint


# ---- splits


def groups_of_shards():
    group = st.tuples(st.integers(0, 5), st.integers(0, 40))
    return st.lists(st.lists(group, max_size=6), max_size=5)


@given(shards=groups_of_shards(), split_bytes=st.integers(1, 100))
@example(shards=[[], [(0, 0)], [(3, 0), (2, 0)], [(1, 100), (1, 1)]], split_bytes=50)
def test_splits_cover_every_row_once(shards, split_bytes):
    listing = Listing(tuple(make_shard(number, tuple(groups)) for number, groups in enumerate(shards)))
    splits = plan_splits(listing, split_bytes)
    seen = [(split.shard, row) for split in splits for row in range(split.first_row, split.first_row + split.rows)]
    assert seen == [(shard.number, row) for shard in listing.shards for row in range(shard.rows)]
    covered = [(split.shard, group) for split in splits for group in range(split.first_group, split.last_group + 1)]
    assert covered == [(shard.number, group) for shard in listing.shards for group in range(len(shard.row_groups))]
    for split in splits:
        groups = listing.shards[split.shard].row_groups
        mine = groups[split.first_group : split.last_group + 1]
        assert (split.rows, split.text_bytes) == (sum(rows for rows, _ in mine), sum(size for _, size in mine))
        assert split.first_row == sum(rows for rows, _ in groups[: split.first_group])
        assert split.text_bytes >= split_bytes or split.last_group == len(groups) - 1
        assert sum(size for _, size in mine[:-1]) < split_bytes


@given(shards=groups_of_shards(), split_bytes=st.integers(1, 100))
def test_a_shard_added_later_changes_no_earlier_split(shards, split_bytes):
    listing = Listing(tuple(make_shard(number, tuple(groups)) for number, groups in enumerate(shards)))
    grown = Listing((*listing.shards, make_shard(len(shards))))
    splits = plan_splits(listing, split_bytes)
    assert plan_splits(grown, split_bytes)[: len(splits)] == splits
    assert plan_splits(Listing(listing.shards), split_bytes) == splits


def test_splits_by_hand():
    """40 bytes at least: 30 + 20, then 60, then what is left."""
    listing = Listing((make_shard(0, ((3, 30), (2, 20), (6, 60), (1, 9))),))
    assert plan_splits(listing, 40) == [Split(0, 0, 1, 0, 5, 50), Split(0, 2, 2, 5, 6, 60), Split(0, 3, 3, 11, 1, 9)]


# ---- addresses

ROWS = st.integers(0, 2**40 - 1)


@given(shard=st.integers(0, 2**23 - 1), rows=st.lists(ROWS, max_size=5))
@example(shard=0, rows=[0, 2**31, 2**32, 2**40 - 1])
@example(shard=2**23 - 1, rows=[2**31 + 1, 2**40 - 1])
def test_addresses_come_back(shard, rows):
    addresses = pack_address(shard, np.array(rows, np.int64))
    assert addresses.tolist() == [(shard << 40) + row for row in rows]
    assert addresses.dtype == np.int64 and (addresses >= 0).all()
    numbers, found = unpack_address(addresses)
    assert numbers.tolist() == [shard] * len(rows) and found.tolist() == rows


def test_narrow_rows_are_widened_first():
    rows = np.array([2**31 - 1, 2**32 - 1], np.uint32)
    assert pack_address(3, rows).tolist() == [(3 << 40) + int(row) for row in rows]


def test_addresses_sort_as_shard_and_row():
    pairs = [(0, 2**40 - 1), (1, 0), (1, 2**31), (2, 5)]
    addresses = [int(pack_address(shard, np.array([row]))[0]) for shard, row in pairs]
    assert addresses == sorted(addresses)


@pytest.mark.parametrize("shard", [-1, 2**23])
def test_a_shard_without_an_address_is_refused(shard):
    with pytest.raises(AssertionError, match=str(shard)):
        pack_address(shard, np.array([0]))
