"""Estimates are unbiased and bands meet as the S-curve says, for every hash family a preset uses; a weak family is caught."""

import numpy as np
import pytest

from dedup import minhash
from dedup.minhash_kernels import fmix32_kernel
from dedup.shingles import ShingleConfig, Shingles

NUM_PAIRS = 10_000
# (unit, hash, who draws): every combination that a preset has, and characters
FAMILIES = [
    ("words", "rolling", "dolma-py"),
    ("words", "sha1", "dolma-py"),
    ("words", "sha1", "datasketch"),
    ("words", "xxh64", "datasketch"),
    ("characters", "rolling", "dolma-py"),
]


def made_texts(unit, num_items):
    """10,000 pairs of texts of 40 distinct n-grams of items with 0 to 40 in common, and their true Jaccard similarities.

    Words are consecutive numbers and characters consecutive code points: what a weak hash stumbles over.
    """
    shared = np.random.default_rng(3).integers(0, 41, NUM_PAIRS)
    texts = []
    for pair, count in enumerate(shared.tolist()):
        for first in (0, 40 - count):
            numbers = range(pair * 80 + first, pair * 80 + first + 39 + num_items)
            if unit == "words":
                texts.append(b" ".join(b"%d" % number for number in numbers))
            else:
                texts.append("".join(chr(0x10000 + number) for number in numbers).encode())
    return texts, shared / (80.0 - shared)


def mean_error(values, truth):
    """(mean of estimate minus truth, its standard error by theory) over pairs of rows."""
    estimates = (values[0::2] == values[1::2]).mean(axis=1)
    variance = (truth * (1.0 - truth) / values.shape[1]).mean()
    return (estimates - truth).mean(), np.sqrt(variance / len(truth))


@pytest.mark.parametrize("num_items", [1, 5])
@pytest.mark.parametrize(("unit", "hash_name", "permutations"), FAMILIES)
def test_estimates_are_unbiased_on_10_000_pairs(unit, hash_name, permutations, num_items):
    texts, truth = made_texts(unit, num_items)
    rules = "dolma-py" if unit == "words" else "none"  # characters of words have a space in common
    config = minhash.MinHashConfig(
        shingles=ShingleConfig(unit=unit, num_items=num_items, hash=hash_name, rules=rules),
        num_bands=16,
        num_rows=8,
        permutations=permutations,
    )
    data = np.frombuffer(b"".join(texts), np.uint8)
    signed = minhash.sign_texts(data, np.cumsum([0, *map(len, texts)]).astype(np.int64), config=config)
    error, allowed = mean_error(signed.values, truth)
    assert abs(error) < 2 * allowed
    spread = ((signed.values[0::2] == signed.values[1::2]).mean(axis=1) - truth).std()
    assert spread == pytest.approx(allowed * np.sqrt(NUM_PAIRS), rel=0.1)


def interval_sets():
    """The same pairs as integers: set 2 i is 40 consecutive numbers, set 2 i + 1 begins a little later."""
    shared = np.random.default_rng(3).integers(0, 41, NUM_PAIRS)
    first = np.repeat(np.arange(NUM_PAIRS) * 80, 2)
    first[1::2] += 40 - shared
    return (first[:, None] + np.arange(40)).astype(np.uint64), shared / (80.0 - shared)


def test_integers_without_any_hash_are_still_estimated_without_bias():
    # fmix32 alone must break up consecutive numbers
    sets, truth = interval_sets()
    multiplier, increment = minhash.draw_permutations(128, seed=1)
    shingles = Shingles(sets.ravel(), np.arange(0, sets.size + 1, 40))
    error, allowed = mean_error(minhash.signatures(shingles, multiplier=multiplier, increment=increment), truth)
    assert abs(error) < 2 * allowed


def test_a_planted_weak_hash_is_caught():
    # the same permutations without fmix32: min of (a x + c) over consecutive x is badly biased
    sets, truth = interval_sets()
    multiplier, increment = minhash.draw_permutations(128, seed=1)
    low = sets.astype(np.uint32)
    values = np.stack([(low * a + c).min(axis=1) for a, c in zip(multiplier, increment, strict=True)], axis=1)
    error, allowed = mean_error(values, truth)
    assert abs(error) > 10 * allowed
    # and with it, the formula here is the kernel's
    mixed = np.vectorize(fmix32_kernel, otypes=[np.uint32])(low[:20])
    rows = np.stack([(mixed * a + c).min(axis=1) for a, c in zip(multiplier, increment, strict=True)], axis=1)
    shingles = Shingles(sets[:20].ravel(), np.arange(0, 801, 40))
    assert rows.tolist() == minhash.signatures(shingles, multiplier=multiplier, increment=increment).tolist()


@pytest.mark.parametrize(
    ("similarity", "union"), [(0.5, 200), (0.6, 200), (0.7, 200), (0.8, 200), (0.85, 200), (0.9, 200)]
)
def test_bands_of_26_by_11_meet_as_the_curve_says(similarity, union):
    num_pairs = 3000
    shared = round(similarity * union)
    generator = np.random.default_rng(round(similarity * 100))
    pools = generator.integers(0, 2**64, (num_pairs, union), dtype=np.uint64)
    own = (union - shared) // 2
    first, second = pools[:, : shared + own], np.concatenate([pools[:, :shared], pools[:, shared + own :]], axis=1)
    rows = [row for pair in zip(first, second, strict=True) for row in pair]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    multiplier, increment = minhash.draw_permutations(286, seed=1)
    signed = minhash.signatures(Shingles(np.concatenate(rows), offsets), multiplier=multiplier, increment=increment)
    keys = minhash.band_keys(signed, num_bands=26, num_rows=11)
    rate = (keys[0::2] == keys[1::2]).any(axis=1).mean()
    expected = float(minhash.candidate_probability(shared / union, num_bands=26, num_rows=11))
    assert abs(rate - expected) < 3 * np.sqrt(expected * (1 - expected) / num_pairs)
