"""mixers.shards: order, pieces and parts against the twin; the same bytes however the pieces were cut."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, DataError
from dolma_py.hashing import derive_seed, hash_ids
from mixers import shards
from tests.reference import shards as reference

KEYS = st.integers(0, (1 << 64) - 1)
NASTY_ID = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
ROW = st.fixed_dictionaries(
    {
        "key": st.sampled_from([0, 5, (1 << 64) - 1]),
        "id": NASTY_ID,
        "copy": st.integers(0, 2),
        "source": st.sampled_from(["web", "code"]),
        "path": NASTY_ID,
        "line": st.integers(1, 1 << 40),
        "shard": st.integers(0, 9),
        "row": st.integers(0, 1 << 39),
        "bytes": st.integers(0, 1 << 40),
        "tokens": st.lists(st.integers(1, 65_535), max_size=6).map(lambda tokens: [*tokens, 0]),
    }
)
ROWS = st.lists(ROW, max_size=8, unique_by=lambda row: (row["id"], row["copy"]))


def build_table(rows):
    return pa.Table.from_pylist(rows, schema=shards.PIECE_SCHEMA)


def write(tables, part=3, dtype="uint16"):
    tokens, sidecar = io.BytesIO(), io.BytesIO()
    summary = shards.write_part(tables, part=part, dtype=dtype, eos_token_id=0, token_sink=tokens, sidecar_sink=sidecar)
    return tokens.getvalue(), sidecar.getvalue(), summary


@given(st.lists(st.tuples(KEYS, st.integers(0, 9), st.integers(0, 90)), max_size=20), KEYS)
def test_order_matches_reference(rows, seed):
    id_hash = np.array([r[0] for r in rows], np.uint64)
    copy = np.array([r[1] for r in rows], np.int32)
    copies = copy + 1 + np.array([r[2] for r in rows], np.int32)
    seeds = {"order_seed": derive_seed(seed, "order"), "copy_seed": derive_seed(seed, "copy")}
    for spread in (None, copies):
        got = shards.order_hash(id_hash, copy=copy, copies=spread, seed=seed)
        expected = [
            reference.order_hash(r[0], copy=r[1], copies=None if spread is None else r[1] + 1 + r[2], **seeds)
            for r in rows
        ]
        assert got.dtype == np.uint64 and got.tolist() == expected


def test_copies_lie_far_apart_and_keys_are_uniform():
    id_hash = np.repeat(hash_ids([str(i) for i in range(2000)], seed=1, name="test"), 4)
    copy = np.tile(np.arange(4, dtype=np.int32), 2000)
    keys = shards.order_hash(id_hash, copy=copy, copies=np.full(8000, 4, np.int32), seed=9)
    ordered = np.sort(keys.reshape(2000, 4), axis=1)
    circle = np.concatenate([ordered, ordered[:, :1]], axis=1)
    assert int(np.diff(circle, axis=1).min()) >= (1 << 64) // 8 - 1
    counts = np.bincount(shards.bucket_of(keys, 10), minlength=10)
    assert counts.min() > 650 and counts.max() < 950
    # neighbours in the first round are not neighbours in the second
    first, second = np.argsort(keys[copy == 0]), np.argsort(keys[copy == 1])
    pairs = set(zip(first[:-1].tolist(), first[1:].tolist(), strict=True))
    again = sum(pair in pairs for pair in zip(second[:-1].tolist(), second[1:].tolist(), strict=True))
    assert again < 40


@given(st.lists(KEYS, max_size=20), st.integers(1, 1 << 20))
def test_buckets_match_reference_and_keep_the_order(keys, num_buckets):
    got = shards.bucket_of(np.array(keys, np.uint64), num_buckets)
    assert got.tolist() == [reference.bucket_of(key, num_buckets) for key in keys]
    in_order = shards.bucket_of(np.sort(np.array(keys, np.uint64)), num_buckets)
    assert (np.diff(in_order) >= 0).all() and (got >= 0).all() and (got < num_buckets).all()


@pytest.mark.parametrize("num_buckets", [0, -1, (1 << 20) + 1])
def test_bad_bucket_numbers_are_refused(num_buckets):
    with pytest.raises(ConfigError):
        shards.bucket_of(np.zeros(1, np.uint64), num_buckets)


@given(ROWS)
def test_parts_match_reference(rows):
    tokens, sidecar, summary = write([build_table(rows)])
    expected_tokens, expected_text, spans = reference.write_part(rows, dtype="uint16")
    assert tokens == expected_tokens
    assert gzip.decompress(sidecar).decode() == expected_text
    lineage = summary.lineage.select(["id", "copy", "start", "end"]).to_pylist()
    assert [tuple(row.values()) for row in lineage] == spans
    assert summary.entry["tokens"] == len(tokens) // 2 and summary.entry["documents"] == len(rows)
    assert summary.entry["bytes"] == len(tokens)
    assert summary.entry["checksum"] == xxhash.xxh3_128_hexdigest(tokens)
    assert summary.entry["sidecar"] == {
        "path": "part-00003.csv.gz",
        "checksum": xxhash.xxh3_128_hexdigest(sidecar),
    }
    for source, counts in summary.sources.items():
        mine = [row for row in rows if row["source"] == source]
        assert counts == {
            "tokens": sum(len(row["tokens"]) for row in mine),
            "documents": len(mine),
            "bytes": sum(row["bytes"] for row in mine),
        }


@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 5))
def test_parts_do_not_depend_on_order_or_split_of_pieces(rows, random, piece_rows):
    straight = write([build_table(rows)])
    shuffled = list(rows)
    random.shuffle(shuffled)
    pieces = []
    for start in range(0, len(shuffled), piece_rows):
        pieces.append(build_table(shuffled[start : start + piece_rows]))
    again = write(pieces)
    assert again[:2] == straight[:2] and again[2].lineage.equals(straight[2].lineage)


def test_chunks_do_not_change_the_bytes(monkeypatch):
    rows = [{**base_row(i), "tokens": [i % 7 + 1] * (i % 5) + [0]} for i in range(50)]
    whole = write([build_table(rows)])
    monkeypatch.setattr(shards, "CHUNK_TOKENS", 3)
    assert write([build_table(rows)])[:2] == whole[:2]


def base_row(i):
    names = {"id": f"doc-{i}", "source": "web", "path": "a.jsonl"}
    return {"key": i * 31 % 17, "copy": 0, "line": i + 1, "shard": 0, "row": i, "bytes": 4, "tokens": [5, 0], **names}


def test_gzip_has_no_name_and_no_time():
    _, sidecar, _ = write([build_table([base_row(1)])])
    assert sidecar[:3] == b"\x1f\x8b\x08" and sidecar[3] == 0  # no flags: no name
    assert sidecar[4:8] == bytes(4)  # mtime


def test_wide_tokens_and_little_endian():
    tokens, _, _ = write([build_table([{**base_row(1), "tokens": [100_000, 0]}])], dtype="uint32")
    assert tokens == (100_000).to_bytes(4, "little") + bytes(4)


@pytest.mark.parametrize(
    "rows",
    [
        [{**base_row(1), "tokens": [70_000, 0]}],
        [{**base_row(1), "tokens": [5]}],
        [{**base_row(1), "tokens": []}],
        [{**base_row(1), "tokens": [5, 0, 5, 0]}],
        [base_row(1), base_row(1)],
    ],
    ids=["too wide", "no end", "nothing", "end inside", "twice"],
)
def test_what_would_spoil_a_part_is_refused(rows):
    with pytest.raises(DataError):
        write([build_table(rows)])


def cut(table, rows):
    """The table in pieces, an empty one first."""
    return iter([table.slice(0, 0), *(table.slice(start, rows) for start in range(0, table.num_rows, rows))])


@given(st.lists(ROWS, max_size=4), st.integers(1, 3))
def test_lineage_is_sorted_by_id_and_copy_however_parts_are_cut(parts, rows):
    lineages = [write([build_table(part)], part=number)[2].lineage for number, part in enumerate(parts)]
    runs = [cut(shards.sort_lineage(lineage), rows) for lineage in lineages]
    merged = pa.concat_tables([shards.LINEAGE_SCHEMA.empty_table(), *shards.merge_lineage(runs)])
    key = [(row["id"].encode(), row["copy"]) for row in merged.to_pylist()]
    assert key == sorted(key)
    straight = [tuple(row.values()) for lineage in lineages for row in lineage.to_pylist()]
    assert sorted(tuple(row.values()) for row in merged.to_pylist()) == sorted(straight)


def test_merging_reads_no_further_than_it_must():
    ids = [f"doc-{number:04d}" for number in range(400)]
    lineages = [
        write([build_table([{**base_row(0), "id": name, "key": 0} for name in ids[place::4]])])[2].lineage
        for place in range(4)
    ]
    read = []

    def note(table):
        for piece in cut(shards.sort_lineage(table), 10):
            read.append(piece.num_rows)
            yield piece

    given = 0
    for table in shards.merge_lineage([note(lineage) for lineage in lineages]):
        given += table.num_rows
        assert sum(read) <= given + 4 * 10
    assert given == 400


@pytest.mark.parametrize(("num_tokens", "expected"), [(0, 1), (1, 1), (100, 1), (101, 2), (10**18, 1 << 20)])
def test_bucket_plan(num_tokens, expected):
    assert shards.plan_buckets(num_tokens, tokens_per_part=100) == expected
