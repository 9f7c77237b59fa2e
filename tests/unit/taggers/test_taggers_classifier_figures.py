import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taggers import classifier_figures as module
from taggers.classifier_figures import (
    are_scores,
    area_interval,
    area_under_curve,
    calibration_error,
    confusion_table,
    label_f1,
    measure_labels,
    measure_scores,
    reliability_bins,
    resample,
    suggest_threshold,
    wilson_interval,
)

SCORES = st.lists(st.tuples(st.integers(0, 8).map(lambda value: value / 8), st.booleans()), max_size=40)


def count_threshold(pairs, target, least):
    """The twin: every score is tried, lowest first."""
    for threshold in sorted({score for score, _ in pairs}):
        called = [is_positive for score, is_positive in pairs if score >= threshold]
        if len(called) >= least and sum(called) >= target * len(called):
            return threshold, len(called), sum(called)
    return None


@given(SCORES, st.sampled_from([0.5, 0.75, 0.9, 1.0]), st.integers(1, 5))
@settings(deadline=None)
def test_the_suggested_threshold_is_the_lowest_that_holds(pairs, target, least):
    scores = np.array([score for score, _ in pairs])
    truth = np.array([is_positive for _, is_positive in pairs], bool)
    found, expected = suggest_threshold(scores, truth, target, least=least), count_threshold(pairs, target, least)
    if expected is None:
        assert (found.threshold, found.called, found.is_sure) == (None, 0, False)
        assert found.best_precision < target
    else:
        threshold, called, hits = expected
        assert (found.threshold, found.called) == (threshold, called)
        assert found.precision == hits / called >= target
        assert found.recall == (hits / truth.sum() if truth.any() else 0.0)
        assert found.precision_interval == wilson_interval(hits, called)
        assert found.is_sure == (wilson_interval(hits, called)[0] >= target)


def test_a_target_out_of_reach_says_what_the_best_is():
    found = suggest_threshold(np.array([0.9] * 10 + [0.1] * 10), np.array([True, False] * 10), 0.9)
    assert found.threshold is None and found.best_precision == 0.5


def test_wilson_is_the_root_of_its_equation():
    for hits, total in [(1, 10), (5, 10), (37, 120)]:
        share = hits / total
        for edge in wilson_interval(hits, total):
            assert abs(share - edge) == pytest.approx(module.Z95 * math.sqrt(edge * (1 - edge) / total), rel=1e-9)
    assert wilson_interval(0, 7)[0] == 0.0 and wilson_interval(7, 7)[1] == 1.0 and wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("positive", "negative", "area"),
    [([3, 2], [1, 0], 1.0), ([0], [1], 0.0), ([1, 1], [1], 0.5), ([2, 0], [1], 0.5), ([], [1], 0.5)],
)
def test_area_under_curve(positive, negative, area):
    pairs = [(p > n) + 0.5 * (p == n) for p, n in itertools.product(positive, negative)]
    assert area_under_curve(np.array(positive, np.float32), np.array(negative, np.float32)) == area
    assert (sum(pairs) / len(pairs) if pairs else 0.5) == area


def test_delong_is_his_formula_and_near_the_bootstrap():
    generator = np.random.default_rng(3)
    positive, negative = generator.normal(1.0, 1, 120).round(1), generator.normal(0.0, 1, 80).round(1)
    matrix = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    area = matrix.mean()
    variance = matrix.mean(axis=1).var(ddof=1) / 120 + matrix.mean(axis=0).var(ddof=1) / 80
    low, high = area_interval(positive, negative)
    assert (low, high) == pytest.approx((area - module.Z95 * variance**0.5, area + module.Z95 * variance**0.5))
    drawn = [area_under_curve(generator.choice(positive, 120), generator.choice(negative, 80)) for _ in range(1000)]
    assert np.percentile(drawn, [2.5, 97.5]).tolist() == pytest.approx([low, high], abs=0.02)
    assert area_interval(positive[:1], negative) == (0.0, 1.0)
    assert area_interval(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == (1.0, 1.0)


def test_bins_and_calibration_error():
    probabilities, right = np.array([0.0, 0.05, 0.95, 1.0, 0.5]), np.array([False, True, True, True, False])
    bins = reliability_bins(probabilities, right)
    assert [(row.low, row.count, row.share) for row in bins] == [(0.0, 2, 0.5), (0.5, 1, 0.0), (0.9, 2, 1.0)]
    assert calibration_error(bins) == pytest.approx((2 * abs(0.025 - 0.5) + 0.5 + 2 * abs(0.975 - 1)) / 5)
    assert calibration_error([]) == 0.0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=60))
@settings(deadline=None)
def test_the_table_and_f1_are_those_of_counting(pairs):
    truth, called = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    table = confusion_table(truth, called, 3)
    assert table.sum() == len(pairs)
    for row in range(3):
        assert table[row].tolist() == [pairs.count((row, column)) for column in (0, 1, 2, -1)]
        hits = pairs.count((row, row))
        both = sum(a == row for a, _ in pairs) + sum(b == row for _, b in pairs)
        assert label_f1(table)[row] == (2 * hits / both if both else 0.0)


def test_the_bootstrap_repeats_and_its_spread_is_that_of_the_formula():
    table = np.array([[80, 20, 0], [10, 90, 0]])
    drawn = resample(table, 5)
    assert (drawn == resample(table, 5)).all() and not (drawn == resample(table, 6)).all()
    assert (drawn.sum(axis=(1, 2)) == 200).all()
    accuracy = (drawn[:, 0, 0] + drawn[:, 1, 1]) / 200
    assert accuracy.std() == pytest.approx(math.sqrt(0.85 * 0.15 / 200), rel=0.1)


def test_all_figures_of_three_labels_with_a_text_without_answer():
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [np.nan] * 3], np.float32
    )
    found = measure_labels(probabilities, np.array([0, 0, 1, 2, 2]), ["a", "b", "c"], seed=1, target_precision=0.5)
    assert (found["texts"], found["without_answer"], found["accuracy"]) == (5, 1, 0.6)
    assert found["confusion"] == {"labels": ["a", "b", "c"], "rows": [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]}
    rows = found["labels"]
    assert [(rows[name]["precision"], rows[name]["recall"]) for name in "abc"] == [(1.0, 0.5), (0.5, 1.0), (1.0, 0.5)]
    assert rows["c"]["auc"] == pytest.approx((3 + 0) / 6)  # the text without answer is below all others
    assert rows["a"]["texts"] == 2 and rows["a"]["f1_interval"][0] <= rows["a"]["f1"] <= rows["a"]["f1_interval"][1]


def test_nothing_to_measure_is_no_error():
    found = measure_labels(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), ["a", "b"])
    assert (found["texts"], found["accuracy"], found["labels"]["a"]["auc"], found["macro_f1"]) == (0, 0.0, None, None)


def test_there_are_no_figures_of_labels_that_no_text_has():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.4, 0.6, 0.0]], np.float32)
    found = measure_labels(probabilities, np.array([0, 0, 0]), ["a", "b", "c"])
    absent = found["labels"]["b"]
    assert [absent[name] for name in ("precision", "recall", "f1", "auc", "auc_interval")] == [
        0.0,
        None,
        None,
        None,
        None,
    ]
    assert found["labels"]["c"]["precision"] is None  # no text got it
    assert found["labels"]["a"]["auc"] is None and found["labels"]["a"]["recall"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == found["labels"]["a"]["f1"] == pytest.approx(4 / 5)
    assert found["macro_f1_interval"] == found["labels"]["a"]["f1_interval"]


def test_scores_of_one_side_alone_have_no_area():
    found = measure_scores(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]), ["0", "1"], cut=1)
    assert [found[name] for name in ("precision", "recall", "f1", "auc")] == [0.0, None, None, None]


def test_scores_are_measured_by_what_is_expected():
    labels = ["0", "3", "5"]
    probabilities = np.array([[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [np.nan] * 3])
    # expected 0, 3, 4, 2.5 and, without answer, the lowest; real 0, 3, 5, 0, 5
    found = measure_scores(probabilities, np.array([0, 1, 2, 0, 2]), labels, cut=3)
    assert found["mean_absolute_error"] == pytest.approx((0 + 0 + 1 + 2.5 + 5) / 5)
    # called from 2.5 on: 3, 4 and 2.5, of which the last is not good; one good text is not called
    assert (found["called"], found["good"]) == (3, 3)
    assert (found["precision"], found["recall"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found["f1"] == pytest.approx(2 / 3)
    assert are_scores(labels) and not are_scores(["0", "x"]) and not are_scores(["1"]) and not are_scores(["-1", "2"])
