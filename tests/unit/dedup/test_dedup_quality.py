"""How good detection is: scores against twins over all pairs, then recall and precision on made texts and on labelled ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.dedup_quality import CURVE_EDGES, bands_config, datasketch_pairs, score_threshold
from benchmarks.dedup_scores import adjusted_rand_index, pair_codes, score_bins, score_clusters, score_pairs
from benchmarks.made_texts import make_near_copies
from benchmarks.near_duplicate_sets import made_labelled_pairs, read_labelled_pairs, read_labelled_sets
from benchmarks.near_duplicates import (
    band_sets,
    candidate_pairs,
    equal_pairs,
    exact_similarity,
    find_duplicates,
    find_in_texts,
    regex_sets,
    text_sets,
)
from dedup.minhash import BandKeys, MinHashConfig, candidate_probability
from dedup.shingles import ShingleConfig
from dedup.verification import VerificationConfig
from tests.reference import dedup_scores as reference

CLUSTERINGS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=14)


@given(CLUSTERINGS)
def test_cluster_scores_equal_twin(rows):
    predicted, true = [row[0] for row in rows], [row[1] for row in rows]
    assert tuple(score_clusters(predicted, true)) == reference.score_clusters(predicted, true)
    by_labels = score_pairs(
        *(equal_pairs(np.array(labels, np.int64), np.arange(len(rows))) for labels in (predicted, true))
    )
    assert tuple(by_labels) == tuple(score_clusters(predicted, true))


@given(CLUSTERINGS)
def test_adjusted_rand_index_equals_twin(rows):
    predicted, true = [row[0] for row in rows], [row[1] for row in rows]
    expected = reference.adjusted_rand_index(predicted, true)
    assert adjusted_rand_index(predicted, true) == pytest.approx(
        1.0 if expected is None else float(expected), abs=1e-12
    )


def test_adjusted_rand_index_by_hand():
    # 1 pair right of 2 predicted and 3 true among 6: expected 2 * 3 / 6 = 1, (1 - 1) / (2.5 - 1) = 0
    assert adjusted_rand_index([0, 0, 1, 1], [0, 0, 0, 1]) == 0.0
    # equal clusterings under other names
    assert adjusted_rand_index([5, 5, 7], ["b", "b", "a"]) == 1.0


def test_scores_of_nothing():
    nothing = np.empty(0, np.int64)
    assert (score_pairs(nothing, nothing).precision, score_pairs(nothing, nothing).recall) == (1.0, 1.0)
    one = pair_codes(np.array([3]), np.array([1]))
    assert score_pairs(nothing, one).recall == 0.0
    assert score_pairs(one, nothing).precision == 0.0
    assert score_pairs(one, nothing).f1 == 0.0


def test_pair_codes_know_no_order_and_no_loops():
    assert pair_codes(np.array([3, 1, 2]), np.array([1, 3, 2])).tolist() == [(1 << 32) | 3]


def test_bins_count_each_pair_once():
    similarity, probability = np.array([0.4, 0.5, 0.55, 0.6, 1.0]), np.array([0.0, 0.5, 0.5, 0.8, 1.0])
    bins = score_bins(similarity, np.array([1, 1, 0, 0, 1], bool), probability, edges=[0.5, 0.6, 1.0])
    assert bins.num_pairs.tolist() == [2, 2]
    assert bins.found.tolist() == [0.5, 0.5]
    assert bins.predicted.tolist() == [0.5, 0.9]
    assert bins.error.tolist() == pytest.approx([0.5**0.5 / 2, 0.16**0.5 / 2])


@given(st.lists(st.text("ab ._\u00e9", max_size=12), max_size=6), st.integers(1, 3))
def test_exact_similarity_equals_twin(texts, num_words):
    a, b = np.triu_indices(len(texts), 1)
    codes = pair_codes(a.astype(np.int64), b.astype(np.int64))
    found = exact_similarity(regex_sets(texts, num_words=num_words), codes)
    expected = reference.jaccard_pairs(texts, num_words, 0)
    pairs = zip((codes >> 32).tolist(), (codes & 0xFFFFFFFF).tolist(), strict=True)
    assert found.tolist() == [np.float32(float(expected.get(pair, 0))) for pair in pairs]


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), max_size=8))
def test_candidate_pairs_are_all_that_share_a_key(rows):
    keys = np.array(rows, np.uint64).reshape(-1, 2)
    is_valid = keys[:, 0] != 3
    expected = [
        (a << 32) | b
        for a in range(len(rows)) for b in range(a + 1, len(rows))
        if is_valid[a] and is_valid[b] and (rows[a][0] == rows[b][0] or rows[a][1] == rows[b][1])
    ]  # fmt: skip
    assert candidate_pairs(BandKeys(keys, is_valid)).tolist() == expected


def test_made_copies_are_the_same_every_time_and_spread_over_similarities():
    texts = make_near_copies(num_texts=20, num_copies=4, seed=3)
    assert texts == make_near_copies(num_texts=20, num_copies=4, seed=3)
    similarity = [float(value) for value in reference.jaccard_pairs(texts[:40], 5, 0.5).values()]
    assert len(similarity) > 10
    assert min(similarity) < 0.7 < 0.9 < max(similarity)


@pytest.fixture(scope="module")
def made():
    return made_labelled_pairs()


def test_made_pairs_are_those_of_exhaustive_comparison(made):
    expected = reference.jaccard_pairs(made.texts[:60], 5, 0.5)
    first = made.codes[(made.codes & 0xFFFFFFFF) < 60]
    assert {(code >> 32, code & 0xFFFFFFFF) for code in first.tolist()} == set(expected)


@pytest.mark.parametrize(("num_bands", "num_rows"), [(32, 8), (26, 11), (14, 8)])
def test_recall_follows_the_s_curve(made, num_bands, num_rows):
    assert_recall_follows_curve(made, num_bands, num_rows, num_seeds=16)


def assert_recall_follows_curve(labelled, num_bands, num_rows, num_seeds):
    """Every bin of at least 100 pairs within 2 points of the S-curve, every bin within 5 binomial errors."""
    probability = candidate_probability(labelled.similarity, num_bands=num_bands, num_rows=num_rows)
    is_found = np.zeros(len(labelled.codes))
    for seed in range(1, num_seeds + 1):
        pairs = candidate_pairs(band_sets(labelled.sets, bands_config(num_bands, num_rows, seed)))
        is_found += np.isin(labelled.codes, pairs) / num_seeds
    bins = score_bins(labelled.similarity, is_found, probability, edges=CURVE_EDGES)
    difference = np.abs(bins.found - bins.predicted)
    assert (bins.num_pairs >= 100).sum() >= 1
    assert difference[bins.num_pairs >= 100].max() < 0.02
    assert (difference <= 5 * bins.error / np.sqrt(num_seeds) + 1e-3).all()


def test_verified_removals_are_right_and_few_are_missed(made):
    scores = score_threshold(made, lambda: band_sets(made.sets, bands_config(26, 11)))
    assert scores.verified.precision == scores.components.precision == 1.0
    assert scores.wrong == 0
    assert scores.removed > 80
    assert scores.components.recall > 0.96
    assert scores.left <= 0.04 * scores.components.num_true
    more = score_threshold(made, lambda: band_sets(made.sets, bands_config(32, 8)))
    assert more.components.recall > 0.995
    assert more.components.precision == 1.0


def test_bands_beat_those_of_datasketch_at_the_same_threshold(made):
    true = made.codes[made.similarity >= 0.8]
    peer = score_pairs(datasketch_pairs(made.sets, threshold=0.8, num_perm=128), true)
    scores = score_threshold(made, lambda: band_sets(made.sets, bands_config(26, 11)))
    assert peer.recall < scores.verified.recall
    assert peer.precision < 1.0
    assert len(true) == scores.verified.num_true > 100


def test_keys_of_other_documents_score_badly(made):
    """The measure itself: every document with the keys of the one before it."""
    bands = band_sets(made.sets, bands_config(26, 11))
    shifted = BandKeys(np.roll(bands.keys, 1, axis=0), bands.is_valid)
    assert score_threshold(made, lambda: shifted).verified.recall < 0.9


@pytest.fixture(scope="module", params=["docs_powershell", "law_de"])
def real(request):
    folder = request.getfixturevalue("data_dir")
    return read_labelled_pairs(folder, request.param)


@pytest.mark.slow  # reads 65 MB and cuts it into words with `re`: 40 s
@pytest.mark.timeout(300)
def test_real_pairs_are_found_as_predicted(real):
    for num_bands, num_rows in ((26, 11), (32, 8)):
        assert_recall_follows_curve(real, num_bands, num_rows, num_seeds=12)
    scores = score_threshold(real, lambda: band_sets(real.sets, bands_config(26, 11)))
    assert scores.components.precision == 1.0
    assert scores.wrong == 0
    assert scores.components.recall > 0.985
    more = score_threshold(real, lambda: band_sets(real.sets, bands_config(32, 8)))
    assert more.verified.recall > 0.995
    assert more.verified.precision == 1.0
    exact = find_duplicates(
        band_sets(real.sets, bands_config(32, 8)), real.sets, verification=VerificationConfig(threshold=0.8)
    )
    assert exact.num_edges > 400


def test_labelled_news_pairs_are_found_and_nothing_else(data_dir):
    news = read_labelled_sets(data_dir)[2]
    shingles = ShingleConfig()
    found = find_in_texts(
        news.texts, MinHashConfig(), VerificationConfig(threshold=0.8), text_sets(news.texts, shingles)
    )
    assert adjusted_rand_index(found.kept, news.labels) == 1.0
    assert (found.kept != np.arange(1000)).sum() == 10


def test_copied_answers_are_told_from_written_ones(data_dir):
    answers = read_labelled_sets(data_dir)[0]
    shingles = ShingleConfig(num_items=2)
    config = MinHashConfig(shingles=shingles, num_bands=128, num_rows=2)
    found = find_in_texts(
        answers.texts, config, VerificationConfig(rule="pairs", threshold=0.2), text_sets(answers.texts, shingles)
    )
    scores = score_pairs(np.intersect1d(equal_pairs(found.kept, np.arange(60)), answers.pairs), answers.true)
    assert scores.precision == 1.0
    assert scores.recall > 0.4
