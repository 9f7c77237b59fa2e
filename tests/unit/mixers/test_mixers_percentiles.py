"""mixers.percentiles against its twin, order independence, edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import SchemaError
from mixers import percentiles
from tests.reference import percentiles as reference

DOCUMENTS = st.lists(
    st.tuples(
        st.one_of(st.just(0.5), st.floats(width=32, allow_nan=False)),
        st.integers(0, 1),
        st.sampled_from([0, 0, 1, 1 << 40]),
    ),
    max_size=40,
)


def columns(documents):
    score = np.array([d[0] for d in documents], np.float32)
    group = np.array([d[1] for d in documents], np.int32)
    tokens = np.array([d[2] for d in documents], np.int64)
    return score, group, tokens, np.random.default_rng(3).permutation(len(documents)).astype(np.uint64)


@given(DOCUMENTS, st.sampled_from([1, 2, 20, 1000]))
def test_buckets_match_reference(documents, num_buckets):
    score, group, tokens, id_hash = columns(documents)
    got = percentiles.assign_buckets(score, group=group, tokens=tokens, id_hash=id_hash, num_buckets=num_buckets)
    expected = reference.assign_buckets(
        score.tolist(), group=group.tolist(), tokens=tokens.tolist(), id_hash=id_hash.tolist(), num_buckets=num_buckets
    )
    assert got.dtype == np.int32 and got.tolist() == expected


@given(DOCUMENTS, st.randoms(use_true_random=False))
def test_buckets_do_not_depend_on_row_order(documents, random):
    score, group, tokens, id_hash = columns(documents)
    order = list(range(len(documents)))
    random.shuffle(order)
    straight = percentiles.assign_buckets(score, group=group, tokens=tokens, id_hash=id_hash)
    shuffled = percentiles.assign_buckets(
        score[order], group=group[order], tokens=tokens[order], id_hash=id_hash[order]
    )
    assert np.array_equal(straight[order], shuffled)


def test_docstring_example_and_token_weights():
    arguments = {"group": np.zeros(3, np.int32), "tokens": np.int64([2, 1, 1]), "id_hash": np.uint64([7, 8, 9])}
    assert percentiles.assign_buckets(np.float32([0.9, 0.1, 0.5]), num_buckets=2, **arguments).tolist() == [1, 0, 0]
    # 19 short documents and one that holds half of all tokens: it alone is the upper half
    tokens = np.array([1] * 19 + [19], np.int64)
    got = percentiles.assign_buckets(
        np.arange(20, dtype=np.float32),
        group=np.zeros(20, np.int32),
        tokens=tokens,
        id_hash=np.arange(20, dtype=np.uint64),
        num_buckets=2,
    )
    assert got.tolist() == [0] * 19 + [1]


def test_all_equal_scores_are_split_evenly_by_hash():
    rng = np.random.default_rng(1)
    id_hash = rng.integers(0, 1 << 63, 2000).astype(np.uint64)
    got = percentiles.assign_buckets(
        np.zeros(2000, np.float32), group=np.zeros(2000, np.int32), tokens=np.ones(2000, np.int64), id_hash=id_hash
    )
    assert np.bincount(got).tolist() == [100] * 20


def test_read_only_and_sliced_input():
    score = np.arange(20, dtype=np.float32)[::2]
    score.flags.writeable = False
    tokens = np.ones(10, np.int64)
    tokens.flags.writeable = False
    got = percentiles.assign_buckets(
        score, group=np.zeros(20, np.int32)[::2], tokens=tokens, id_hash=np.arange(10, dtype=np.uint64), num_buckets=10
    )
    assert got.tolist() == list(range(10))


def test_bad_input_is_refused():
    one = {"group": np.zeros(1, np.int32), "tokens": np.ones(1, np.int64), "id_hash": np.zeros(1, np.uint64)}
    with pytest.raises(SchemaError) as caught:
        percentiles.assign_buckets(np.float32([np.nan]), **one)
    assert caught.value.column == "score"
    with pytest.raises(SchemaError):
        percentiles.assign_buckets(np.zeros(2, np.float32), **one)
    with pytest.raises(SchemaError):
        percentiles.assign_buckets(np.zeros(1, np.float32), num_buckets=0, **one)
    with pytest.raises(SchemaError):
        percentiles.assign_buckets(np.zeros(1, np.float32), **{**one, "tokens": np.int64([-1])})


@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 1 << 55), st.integers(0, 1 << 55)), max_size=40))
def test_cells_match_reference(rows):
    cell = np.array([r[0] for r in rows], np.int32)
    tokens, num_bytes = (np.array([r[k] for r in rows], np.int64) for k in (1, 2))
    table = percentiles.count_cells(
        [("a", ""), ("b", "x"), ("b", "y")], cell=cell, tokens=tokens, num_bytes=num_bytes, num_buckets=2
    )
    got = zip(*(table[name].to_pylist() for name in ("documents", "tokens", "bytes")), strict=True)
    expected = reference.count_cells(cell.tolist(), tokens=tokens.tolist(), num_bytes=num_bytes.tolist(), num_cells=6)
    assert list(got) == expected
    assert table["topic"].to_pylist() == ["", "", "x", "x", "y", "y"] and table["bucket"].to_pylist() == [0, 1] * 3


def test_cells_refuse_foreign_rows_and_unsorted_groups():
    empty = {"tokens": np.ones(1, np.int64), "num_bytes": np.ones(1, np.int64)}
    with pytest.raises(SchemaError):
        percentiles.count_cells([("a", "")], cell=np.int32([20]), **empty)
    with pytest.raises(SchemaError):
        percentiles.count_cells([("b", ""), ("a", "")], cell=np.int32([0]), **empty)
