"""Alarms name the source or cluster, the numbers and the setting."""

import pickle
import shlex

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.alarms import (
    CopyAlarms,
    NearCopyAlarms,
    SourceAlarms,
    SourceCounts,
    add_counts,
    check_clusters,
    check_sources,
    count_sources,
)
from dolma_py.config import apply_overrides
from dolma_py.errors import DedupAlarmError

CONFIG = CopyAlarms(max_source_removed_frac=0.5, min_source_docs=10, max_cluster_size=100)
BAD = SourceCounts(10, 1000, 6, 10)


def test_a_source_beyond_its_share_is_named_with_numbers_and_setting():
    sources = {"good": SourceCounts(10, 1000, 5, 500), "bad": BAD, "worse": SourceCounts(10, 1000, 1, 501)}
    with pytest.raises(DedupAlarmError, match=r"bad loses 6 of 10 documents \(60\.0%\)") as caught:
        check_sources("minhash", sources, CONFIG)
    assert "worse loses 1 of 10" in str(caught.value) and "501 of 1000 bytes" in str(caught.value)
    assert "good" not in str(caught.value) and "alarms.allow" in str(caught.value)
    assert len(caught.value.alarms) == 2
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("change", [{"allow": ("bad",)}, {"max_source_removed_frac": 0.6}, {"min_source_docs": 11}])
def test_each_setting_lifts_the_alarm(change):
    check_sources("minhash", {"bad": BAD, "none": SourceCounts(0, 0, 0, 0)}, CONFIG.model_copy(update=change))


@pytest.mark.parametrize(
    "source", ["web", "2020", "1e-3", "no", "cc: news", "a, b", "it's", "a]b", '"', "# c", "${x}", " "]
)
def test_the_advice_allows_the_source_whatever_its_name_is(source):
    """Typed as it stands: words of the shell, then an override."""
    with pytest.raises(DedupAlarmError) as caught:
        check_sources("minhash", {source: BAD}, CONFIG.model_copy(update={"allow": ("other",)}))
    override = shlex.split(str(caught.value).partition("--set ")[2])[0]
    alarms = CopyAlarms(**apply_overrides({}, [override])["alarms"])
    assert alarms.allow == tuple(sorted(("other", source)))


def test_a_cluster_beyond_the_bound_is_named():
    check_clusters("minhash", [("a", 100)], CONFIG)
    check_clusters("minhash", [("a", 101)], CONFIG.model_copy(update={"max_cluster_size": None}))
    with pytest.raises(DedupAlarmError, match="cluster of b has 101 members.*max_cluster_size"):
        check_clusters("minhash", [("b", 101), ("a", 100)], CONFIG)
    with pytest.raises(DedupAlarmError, match="the cluster that a filter has seen has 101 members"):
        check_clusters("exact", [(None, 101)], CONFIG)


def test_counts_of_tasks_add_up():
    parts = [{"b": [1, 2, 3, 4]}, {}, {"a": [5, 6, 7, 8], "b": [1, 1, 1, 1]}]
    assert add_counts(parts) == {"a": SourceCounts(5, 6, 7, 8), "b": SourceCounts(2, 3, 4, 5)}
    assert list(add_counts(parts)) == ["a", "b"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["web", "b\u00fccher", ""]), st.integers(0, 9), st.booleans(), st.integers(0, 9))
    )
)
def test_counts_are_those_of_a_loop(rows):
    expected = {}
    for source, num_bytes, removed, lost in rows:
        sums = expected.setdefault(source, [0, 0, 0, 0])
        for place, value in enumerate((1, num_bytes, removed, lost)):
            sums[place] += int(value)
    names, sizes, removed, lost = zip(*rows, strict=True) if rows else ([], [], [], [])
    found = count_sources(
        pa.array(names, pa.string()), np.array(sizes, np.int64), np.array(removed, bool), np.array(lost, np.int64)
    )
    assert {source: list(counts) for source, counts in found.items()} == expected


def test_bounds_stand_when_a_source_is_allowed():
    """Settings of a step are built from what the user gives: naming a source must not move the other bounds."""
    given_one = {"allow": ["web"]}
    assert (CopyAlarms(**given_one).max_source_removed_frac, CopyAlarms(**given_one).max_cluster_size) == (0.9, None)
    near = NearCopyAlarms(**given_one)
    assert (near.max_source_removed_frac, near.max_cluster_size) == (0.5, 100_000)
    assert SourceAlarms(**given_one).max_source_removed_frac == 0.9
