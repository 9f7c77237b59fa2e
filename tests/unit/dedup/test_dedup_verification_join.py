"""Large components through an index: the same answers as comparing all pairs, at nearly linear cost."""

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.minhash import candidate_probability
from dedup.verification import VerificationConfig, count_rules, verify_components
from dedup.verification_join import OLMO3_BANDS, OLMO3_ROWS, join_component, olmo3_keys, prefix_keys
from tests.reference import verification as reference
from tests.reference import verification_join as join_reference
from tests.unit.dedup.test_dedup_verification import SETS, THRESHOLDS, TWINS, to_offsets, to_sets

# overlapping ranges: many pairs on both sides of the threshold
RANGES = st.builds(lambda start, size: set(range(start, start + size)), st.integers(0, 12), st.integers(0, 24))
MEMBERS = st.lists(st.one_of(RANGES, SETS), max_size=24)


@pytest.mark.parametrize("rule", ["representative", "pairs"])
@given(members=MEMBERS, threshold=THRESHOLDS)
def test_the_join_equals_the_twin(rule, members, threshold):
    sets = to_sets(members)
    index = prefix_keys(sets, threshold=float(threshold))
    kept, similarity = join_component(sets, index, rule=rule, threshold=float(threshold))
    expected, fractions = TWINS[rule](members, Fraction(threshold))
    assert kept.tolist() == expected
    assert similarity.tolist() == [np.float32(float(fraction)) for fraction in fractions]


@given(members=MEMBERS, threshold=THRESHOLDS)
def test_prefix_keys_equal_the_twin_and_lose_no_pair(members, threshold):
    index = prefix_keys(to_sets(members), threshold=float(threshold))
    bounds = index.offsets.tolist()
    found = [index.keys[start:end].tolist() for start, end in zip(bounds, bounds[1:], strict=False)]
    assert found == join_reference.prefix_keys(members, Fraction(threshold), index.num_slots)
    for a in range(len(members)):
        for b in range(a):
            if reference.jaccard(members[a], members[b]) >= Fraction(threshold):
                assert set(found[a]) & set(found[b])


@pytest.mark.parametrize("rule", ["representative", "pairs"])
@given(components=st.lists(MEMBERS, max_size=4), threshold=THRESHOLDS)
def test_where_large_begins_changes_nothing(rule, components, threshold):
    sets, offsets = to_sets(sum(components, [])), to_offsets(components)
    plain = VerificationConfig(rule=rule, threshold=float(threshold), large_component=10**6)
    expected = verify_components(sets, offsets, config=plain)
    found = verify_components(sets, offsets, config=plain.model_copy(update={"large_component": 2}))
    assert found.kept.tolist() == expected.kept.tolist()
    assert found.similarity.tolist() == expected.similarity.tolist()


@given(components=st.lists(MEMBERS, max_size=4), threshold=THRESHOLDS, large=st.sampled_from([2, 5, 100]))
def test_both_rules_are_counted_whichever_decides(components, threshold, large):
    sets, offsets = to_sets(sum(components, [])), to_offsets(components)
    twins = {
        rule: [sum(k != d for d, k in enumerate(twin(c, Fraction(threshold))[0])) for c in components]
        for rule, twin in TWINS.items()
    }
    for rule in TWINS:
        config = VerificationConfig(rule=rule, threshold=float(threshold), large_component=large)
        counts = count_rules(sets, offsets, verify_components(sets, offsets, config=config), config=config)
        assert counts["representative"] == sum(twins["representative"])
        hidden = [len(c) >= large and rule == "representative" for c in components]
        assert counts["pairs"] == sum(n for n, is_hidden in zip(twins["pairs"], hidden, strict=True) if not is_hidden)
        assert counts["pairs_not_counted"] == sum(
            len(c) for c, is_hidden in zip(components, hidden, strict=True) if is_hidden
        )


def near_copies(generator, num_docs, num_clusters, size):
    """Sets of `size` hashes, each a base of its cluster with 5 hashes replaced; the first half is common to all clusters."""
    common = generator.integers(0, 2**63, size // 2).astype(np.uint64)
    bases = generator.integers(0, 2**63, (num_clusters, size - size // 2)).astype(np.uint64)
    rows = np.concatenate(
        [np.tile(common, (num_docs, 1)), bases[generator.integers(0, num_clusters, num_docs)]], axis=1
    )
    at = generator.integers(size // 2, size, (num_docs, 5))
    np.put_along_axis(rows, at, generator.integers(0, 2**63, (num_docs, 5)).astype(np.uint64), axis=1)
    return np.sort(rows, axis=1)


def to_component(rows):
    from dedup.shingles import Shingles

    return Shingles(rows.reshape(-1), np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1])


@pytest.mark.parametrize("rule", ["representative", "pairs"])
def test_an_index_finds_what_all_pairs_find_among_near_copies(rule):
    rows = near_copies(np.random.default_rng(5), 1500, 40, 100)
    sets, offsets = to_component(rows), np.array([0, len(rows)])
    config = VerificationConfig(rule=rule, large_component=10**6)
    expected = verify_components(sets, offsets, config=config)
    found = verify_components(sets, offsets, config=config.model_copy(update={"large_component": 500}))
    assert found.kept.tolist() == expected.kept.tolist()
    assert found.similarity.tolist() == expected.similarity.tolist()
    assert len(set(found.kept.tolist())) == 40


@pytest.mark.parametrize("rule", ["representative", "pairs"])
@pytest.mark.parametrize("num_clusters", [1, 5000])
def test_a_component_of_100_000_near_copies_takes_seconds(rule, num_clusters):
    """All pairs would be 5 10^9 comparisons, hours; through the index it is 1 to 3 s on one core, most of it sorting."""
    rows = near_copies(np.random.default_rng(6), 100_000, num_clusters, 100)
    sets, offsets = to_component(rows), np.array([0, len(rows)])
    config = VerificationConfig(rule=rule)
    verify_components(to_component(rows[:600]), np.array([0, 600]), config=config)  # compiles
    start = time.perf_counter()
    found = verify_components(sets, offsets, config=config)
    assert time.perf_counter() - start < 60
    assert len(set(found.kept.tolist())) == num_clusters
    assert found.similarity.min() >= np.float32(0.8) or rule == "pairs"


def test_what_olmo3_bands_miss_is_what_the_formula_says():
    """2,000 pairs of similarity 0.8 and as many of 0.9; documents of different pairs share nothing."""
    generator = np.random.default_rng(7)
    found = {}
    for similarity, own in [(0.8, 10), (0.9, 5)]:  # 100 hashes: 90 shared and 10 own are 80/100, 90 and 5 are 90/100
        rows = generator.integers(0, 2**63, (500, 1, 95)).astype(np.uint64)
        shared = np.repeat(rows[:, :, :80] if own == 10 else rows[:, :, :90], 2, axis=1)
        extra = generator.integers(0, 2**63, (500, 2, own)).astype(np.uint64)
        members = np.sort(np.concatenate([shared, extra], axis=2), axis=2).reshape(1000, -1)
        sets, offsets = to_component(members), np.array([0, 1000])
        config = VerificationConfig(threshold=0.7, large_index="olmo3")
        assert reference.jaccard(*map(set, members[:2].tolist())) == Fraction(str(similarity))
        kept = verify_components(sets, offsets, config=config).kept
        found[similarity] = (kept != np.arange(1000)).mean() * 2
    expected = candidate_probability([0.8, 0.9], num_bands=OLMO3_BANDS, num_rows=OLMO3_ROWS)
    assert abs(expected[0] - 0.18) < 0.005 and expected[1] > 0.999
    assert abs(found[0.8] - expected[0]) < 4 * np.sqrt(0.18 * 0.82 / 500)  # four standard errors
    assert found[0.9] > 0.99
    keys = olmo3_keys(to_sets([set(), {1}, {2}, {1}]))  # a key that nobody shares is none
    assert np.diff(keys.offsets).tolist() == [0, OLMO3_BANDS, 0, OLMO3_BANDS] and keys.num_slots == OLMO3_BANDS
    assert keys.keys[:OLMO3_BANDS].tolist() == keys.keys[OLMO3_BANDS:].tolist() == list(range(OLMO3_BANDS))
