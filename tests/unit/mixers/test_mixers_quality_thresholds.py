"""Thresholds found by histograms are those of sorting everything; kernels against their twins; saved thresholds come back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.errors import SchemaError
from mixers import quality_thresholds as thresholds
from mixers.percentiles import assign_buckets
from mixers.quality_thresholds_kernels import assign_by_thresholds_kernel, count_digits_kernel, find_bins_kernel
from tests.reference import quality_thresholds as reference

SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 1.00001, -1.0]), st.floats(width=32), st.floats(0, 1, width=32)
)
DOCUMENTS = st.lists(
    st.tuples(SCORES, st.integers(-1, 2), st.one_of(st.integers(1, 3), st.integers(1, 1 << 40))), max_size=60
)


def make_keys(documents, seed=5):
    group = np.array([d[1] for d in documents], np.int32)
    score = np.array([d[0] for d in documents], np.float32)
    low = np.random.default_rng(seed).permutation(len(documents)).astype(np.uint64) * np.uint64(0x1234567890ABCDEF)
    return thresholds.Keys(group, thresholds.order_scores(score), low, np.array([d[2] for d in documents], np.int64))


def totals(keys, num_groups):
    kept = keys.group >= 0
    weight, docs = np.zeros(num_groups, np.int64), np.zeros(num_groups, np.int64)
    np.add.at(weight, keys.group[kept], keys.weight[kept])
    np.add.at(docs, keys.group[kept], 1)
    return weight, docs


def search(keys, num_groups, num_buckets, levels, parts=3):
    """The search as the job does it: `levels` histogram passes over parts of the documents, then the open bins' documents."""
    total, docs = totals(keys, num_groups)
    bins = thresholds.start_bins(docs)
    for _ in range(levels):
        pieces = [thresholds.count_digits(thresholds.Keys(*(c[i::parts] for c in keys)), bins) for i in range(parts)]
        sums = None
        for i in range(parts):
            sums = thresholds.count_digits(thresholds.Keys(*(c[i::parts] for c in keys)), bins, sums)
        assert all((sum(piece[i] for piece in pieces) == sums[i]).all() for i in (0, 1))
        weights, counts = (sum(piece[i] for piece in pieces) for i in (0, 1))
        bins = thresholds.narrow_bins(bins, weights, counts, total=total, num_buckets=num_buckets)
    inside = thresholds.find_bins(keys, bins) >= 0
    kept = thresholds.Keys(*(c[inside] for c in keys))
    return thresholds.find_thresholds(kept, bins, total=total, num_buckets=num_buckets)


@settings(deadline=None)
@given(DOCUMENTS, st.sampled_from([1, 2, 3, 20, 1000]), st.integers(0, 9))
def test_search_gives_the_buckets_of_sorting_everything(documents, num_buckets, levels):
    keys = make_keys(documents)
    got = thresholds.assign_by_thresholds(keys, search(keys, 3, num_buckets, levels))
    expected = np.full(len(documents), -1)
    for g in range(3):
        names = np.flatnonzero(keys.group == g)
        mine = {i: ((int(keys.high[i]), int(keys.low[i])), int(keys.weight[i])) for i in names.tolist()}
        for name, bucket in (reference.bucket_by_middle(mine, num_buckets) if mine else {}).items():
            expected[name] = bucket
    assert got.tolist() == expected.tolist()


@settings(deadline=None)
@given(DOCUMENTS, st.integers(1, 9))
def test_levels_and_parts_change_nothing(documents, levels):
    keys = make_keys(documents)
    straight, narrowed = search(keys, 3, 20, 0), search(keys, 3, 20, levels, parts=2)
    assert all(np.array_equal(a, b) for a, b in zip(straight, narrowed, strict=True))


@settings(deadline=None)
@given(DOCUMENTS, st.sampled_from([2, 20]))
def test_buckets_are_those_of_assign_buckets(documents, num_buckets):
    documents = [(score, group, weight) for score, group, weight in documents if group >= 0 and score == score]
    keys = make_keys(documents)
    score = np.array([d[0] for d in documents], np.float32)
    expected = assign_buckets(score, group=keys.group, tokens=keys.weight, id_hash=keys.low, num_buckets=num_buckets)
    got = thresholds.assign_by_thresholds(keys, search(keys, 3, num_buckets, 2))
    assert got.tolist() == expected.tolist()


def test_a_bin_holds_few_documents_after_three_levels():
    """What makes the search end: the bits of the score leave 20 bins' worth of ties at most, here none."""
    generator = np.random.default_rng(1)
    num = 200_000
    keys = thresholds.Keys(
        np.zeros(num, np.int32), thresholds.order_scores(generator.random(num, np.float32)),
        generator.integers(0, 1 << 63, num).astype(np.uint64), generator.integers(1, 3000, num),
    )  # fmt: skip
    total, docs = totals(keys, 1)
    bins = thresholds.start_bins(docs)
    open_docs = []
    for _ in range(3):
        weights, counts = thresholds.count_digits(keys, bins)
        bins = thresholds.narrow_bins(bins, weights, counts, total=total, num_buckets=20)
        open_docs.append(int(bins.num_docs.sum()))
    assert len(bins.high) == 19 and open_docs[0] > open_docs[1] > open_docs[2] and open_docs[2] < 100


def test_equal_scores_are_cut_by_the_id():
    keys = make_keys([(0.25, 0, 1)] * 40)
    bucket = thresholds.assign_by_thresholds(keys, search(keys, 1, 20, 5))
    assert np.bincount(bucket).tolist() == [2] * 20
    assert (np.diff(bucket[np.argsort(keys.low)]) >= 0).all()


@given(st.lists(SCORES, max_size=30))
def test_order_of_scores(values):
    score = np.array(values, np.float32)
    high = thresholds.order_scores(score)
    assert np.array_equal(thresholds.restore_scores(high), np.where(score == 0, np.float32(0), score), equal_nan=True)
    for i in range(len(score)):
        for j in range(len(score)):
            a, b = (-np.inf if np.isnan(s) else float(s) for s in (score[i], score[j]))
            both_lowest = np.isnan(score[i]) != np.isnan(score[j]) and a == b  # NaN is below minus infinity too
            assert both_lowest or (high[i] < high[j]) == (a < b)


PAIRS = st.tuples(st.integers(0, 5), st.integers(0, 3))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 2), PAIRS), max_size=30),
    st.lists(st.lists(PAIRS, max_size=6), min_size=3, max_size=3),
)
def test_assign_by_thresholds_kernel(documents, bounds):
    bounds = [sorted(row) for row in bounds]
    flat = [key for row in bounds for key in row]
    group, keys = np.array([d[0] for d in documents], np.int32), [d[1] for d in documents]
    got = np.empty(len(group), np.int32)
    assign_by_thresholds_kernel(
        group, np.array([k[0] for k in keys], np.uint32), np.array([k[1] for k in keys], np.uint64),
        np.cumsum([0, *map(len, bounds)]), np.array([k[0] for k in flat], np.uint64), np.array([k[1] for k in flat], np.uint64), got,
    )  # fmt: skip
    assert got.tolist() == reference.assign_by_thresholds(group.tolist(), keys, bounds)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 2), PAIRS), max_size=30),
    st.sets(st.tuples(st.integers(0, 2), PAIRS), max_size=12),
)
def test_find_bins_kernel(documents, bins):
    ordered = sorted(bins)
    group, keys = np.array([d[0] for d in documents], np.int32), [d[1] for d in documents]
    first = np.array([sum(b[0] < g for b in ordered) for g in range(4)], np.int64)
    got = np.empty(len(group), np.int32)
    find_bins_kernel(
        group, np.array([k[0] for k in keys], np.uint64), np.array([k[1] for k in keys], np.uint64), first,
        np.array([b[1][0] for b in ordered], np.uint64), np.array([b[1][1] for b in ordered], np.uint64), got,
    )  # fmt: skip
    assert got.tolist() == reference.find_bins(group.tolist(), keys, ordered)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 4), st.integers(1, 1 << 40)), max_size=30))
def test_count_digits_kernel(documents):
    weights, counts = np.zeros((3, 5), np.int64), np.zeros((3, 5), np.int64)
    found, digit, weight = (
        np.array([d[i] for d in documents], kind) for i, kind in enumerate((np.int32, np.int64, np.int64))
    )
    count_digits_kernel(found, digit, weight, weights, counts)
    expected = reference.count_digits(found.tolist(), digit.tolist(), weight.tolist(), 3, 5)
    assert (weights.tolist(), counts.tolist()) == expected


def test_saved_thresholds_come_back(tmp_path):
    keys = make_keys([(float(i % 7), i % 2, 1 + i) for i in range(50)])
    found = search(keys, 3, 20, 1)
    groups = [("a", "x"), ("a", "y"), ("b", "")]
    values = json.loads(json.dumps(thresholds.dump_thresholds(found, groups[:2], {"weight": "tokens"})))
    loaded, names = thresholds.load_thresholds(values, "file")
    assert names == groups[:2] and values["weight"] == "tokens"
    assert np.array_equal(thresholds.assign_by_thresholds(keys, loaded), thresholds.assign_by_thresholds(keys, found))
    assert values["groups"][0]["scores"] == sorted(values["groups"][0]["scores"])


def test_scores_that_json_does_not_know_are_saved_and_come_back():
    """Of four buckets one each begins at minus infinity, 0, infinity."""
    keys = make_keys([(float("nan"), 0, 1), (-float("inf"), 0, 1), (0.0, 0, 1), (float("inf"), 0, 1)])
    found = search(keys, 1, 4, 2)
    values = json.loads(json.dumps(thresholds.dump_thresholds(found, [("a", "x")], {}), allow_nan=False))
    assert values["groups"][0]["scores"] == ["-inf", 0.0, "inf"]
    loaded, _ = thresholds.load_thresholds(values, "file")
    assert thresholds.assign_by_thresholds(keys, loaded).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"}, {"version": 2}, {"num_buckets": 19}, {"groups": None},
        {"groups": [{"source": "b", "topic": "", "keys": []}]},
        {"groups": [{"source": "a", "topic": "", "keys": ["zz"] * 2}], "num_buckets": 3},
        {"groups": [{"source": "a", "topic": "", "keys": [f"{5:025x}", f"{4:025x}"]}], "num_buckets": 3},
        *({"groups": [{"source": "a", "topic": "", "keys": [key]}], "num_buckets": 2}
          for key in ("0" * 9 + "f" * 20, "-00000001" + "0" * 16, "0" * 24, "0" * 26, " " + "0" * 24, "0x" + "0" * 23, 5, None)),
        {"num_buckets": float("inf")}, {"num_buckets": 20.0}, {"num_buckets": 2.9}, {"num_buckets": True}, {"num_buckets": 0},
        {"num_buckets": 10**400}, {"num_buckets": "20"},
    ],
)  # fmt: skip
def test_other_files_are_refused(change):
    keys = make_keys([(float(i), 0, 1) for i in range(9)])
    values = thresholds.dump_thresholds(search(keys, 1, 20, 0), [("a", "")], {}) | change
    with pytest.raises(SchemaError):
        thresholds.load_thresholds(values, "thresholds.json")


@given(st.integers(1, 9), st.integers(0, 3))
def test_bins_in_parts_narrow_as_all_together(max_bins, seed):
    generator = np.random.default_rng(seed)
    keys = make_keys(
        [
            (float(score), int(group), 1)
            for score, group in zip(generator.normal(size=300), generator.integers(0, 4, 300), strict=True)
        ]
    )
    total, docs = totals(keys, 5)  # the last group is empty
    bins = thresholds.start_bins(docs)
    for _ in range(2):
        whole = thresholds.narrow_bins(bins, *thresholds.count_digits(keys, bins), total=total, num_buckets=5)
        parts = thresholds.part_bins(bins, max_bins)
        assert all(len(part.high) <= max_bins for part in parts)
        narrowed = [
            thresholds.narrow_bins(part, *thresholds.count_digits(keys, part), total=total, num_buckets=5)
            for part in parts
        ]
        joined = thresholds.join_bins(narrowed)
        for column, expected in zip(joined, whole, strict=True):
            assert np.array_equal(column, expected)
        bins = whole


@pytest.mark.parametrize("values", [[1], None, "text", 5])
def test_what_is_no_object_is_refused(values):
    with pytest.raises(SchemaError, match="TypeError"):
        thresholds.load_thresholds(values, "thresholds.json")


def test_missing_documents_and_weights_are_errors():
    keys = make_keys([(float(i), 0, 1) for i in range(9)])
    total, docs = totals(keys, 1)
    bins = thresholds.start_bins(docs)
    with pytest.raises(SchemaError, match="9 documents"):
        thresholds.find_thresholds(thresholds.Keys(*(c[:8] for c in keys)), bins, total=total, num_buckets=4)
    with pytest.raises(SchemaError, match="weight"):
        thresholds.find_thresholds(keys._replace(weight=keys.weight * 0), bins, total=total, num_buckets=4)
