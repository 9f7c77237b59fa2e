"""Verification against Python sets and fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.shingles import Shingles
from dedup.verification import VerificationConfig, jaccard_pairs, verify_components
from dolma_py.errors import SchemaError
from tests.reference import verification as reference

# large bases: a hash must be compared as unsigned
SETS = st.sets(st.one_of(st.integers(0, 5), st.integers(2**63 - 2, 2**63 + 2)), max_size=8)
COMPONENTS = st.lists(st.lists(SETS, max_size=6), max_size=4)
THRESHOLDS = st.sampled_from(["0.2", "0.5", "0.6", "0.75", "0.8", "1"])
TWINS = {"representative": reference.verify_representatives, "pairs": reference.verify_pairs}


def to_sets(sets):
    hashes = np.array([h for members in sets for h in sorted(members)], np.uint64)
    hashes.flags.writeable = False
    return Shingles(hashes, np.concatenate([[0], np.cumsum([len(members) for members in sets])]).astype(np.int64))


def to_offsets(components):
    return np.concatenate([[0], np.cumsum([len(c) for c in components])]).astype(np.int64)


@pytest.mark.parametrize("rule", ["representative", "pairs"])
@given(components=COMPONENTS, threshold=THRESHOLDS)
def test_verify_components_equals_twin(rule, components, threshold):
    config = VerificationConfig(rule=rule, threshold=float(threshold))
    found = verify_components(to_sets(sum(components, [])), to_offsets(components), config=config)
    assert found.kept.dtype == np.int64
    assert found.similarity.dtype == np.float32
    kept, similarity = [], []
    for component in components:
        numbers, fractions = TWINS[rule](component, Fraction(threshold))
        kept += [len(similarity) + number for number in numbers]
        similarity += [np.float32(float(fraction)) for fraction in fractions]
    assert found.kept.tolist() == kept
    assert found.similarity.tolist() == similarity


@given(st.lists(SETS, min_size=1, max_size=6), st.data())
def test_jaccard_pairs_equals_twin(sets, draw):
    number = st.integers(0, len(sets) - 1)
    pairs = draw.draw(st.lists(st.tuples(number, number), max_size=8))
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    found = jaccard_pairs(to_sets(sets), first=first, second=second)
    assert found.tolist() == [np.float32(float(reference.jaccard(sets[a], sets[b]))) for a, b in pairs]


@given(COMPONENTS, THRESHOLDS)
def test_components_do_not_depend_on_their_neighbours(components, threshold):
    config = VerificationConfig(threshold=float(threshold))
    whole = verify_components(to_sets(sum(components, [])), to_offsets(components), config=config)
    parts = [verify_components(to_sets(c), np.array([0, len(c)]), config=config) for c in components]
    starts = to_offsets(components)[:-1]
    assert whole.kept.tolist() == [int(k + start) for part, start in zip(parts, starts, strict=True) for k in part.kept]


def test_docstring_examples():
    one, two = [{1, 2, 3}, {1, 2, 3, 4}, {3, 4}], [{1, 2, 3, 4}, {1, 2, 3}, {1, 2}]
    found = verify_components(to_sets(one), np.array([0, 3]), config=VerificationConfig(threshold=0.7))
    assert (found.kept.tolist(), found.similarity.tolist()) == ([0, 0, 2], [1.0, 0.75, 1.0])
    found = verify_components(to_sets(two), np.array([0, 3]), config=VerificationConfig(rule="pairs", threshold=0.6))
    assert (found.kept.tolist(), found.similarity.tolist()) == ([0, 0, 0], [1.0, 0.75, 0.5])


def test_a_chain_is_cut_where_similarity_to_the_kept_one_ends():
    chain = [set(range(i, i + 20)) for i in range(0, 40, 2)]  # neighbours 18/22, two apart 16/24
    offsets = np.array([0, len(chain)])
    representative = verify_components(to_sets(chain), offsets, config=VerificationConfig())
    assert representative.kept.tolist() == [d - d % 2 for d in range(20)]
    assert representative.similarity.min() >= np.float32(0.8)
    assert not verify_components(to_sets(chain), offsets, config=VerificationConfig(rule="pairs")).kept.any()


def test_a_similarity_equal_to_the_threshold_counts():
    sets = [{1, 2, 3, 4, 5}, {1, 2, 3, 4}]
    assert verify_components(to_sets(sets), np.array([0, 2]), config=VerificationConfig()).kept.tolist() == [0, 0]


@pytest.mark.parametrize("rule", ["representative", "pairs"])
def test_empty_sets_are_never_duplicates(rule):
    found = verify_components(to_sets([set(), set()]), np.array([0, 2]), config=VerificationConfig(rule=rule))
    assert found.kept.tolist() == [0, 1]


def test_bad_input_is_refused_with_the_value():
    config = VerificationConfig()
    with pytest.raises(SchemaError, match=r"0\.\.1"):
        verify_components(to_sets([{1}, {2}]), np.array([0, 1]), config=config)
    unsorted = Shingles(np.array([2, 1], np.uint64), np.array([0, 2]))
    with pytest.raises(SchemaError, match="after 0"):
        verify_components(unsorted, np.array([0, 1]), config=config)
    with pytest.raises(SchemaError, match=r"0\.\.5"):
        jaccard_pairs(to_sets([{1}]), first=np.array([0]), second=np.array([5]))
