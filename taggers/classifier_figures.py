"""How good a classifier is on labelled texts: tables with intervals, calibration, and the threshold for a wanted precision.

All intervals are of 95 % and speak of the texts alone: another sample of the same kind would give figures inside them. Shares have
Wilson's interval (Wilson 1927), the area under the ROC curve DeLong's (DeLong et al. 1988), F1 and accuracy's mean over labels a
percentile bootstrap over texts with a seed. Arrays in, plain values out; no files, no models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.hashing import derive_seed

Floats = npt.NDArray[np.float64]
Z95 = 1.959963984540054  # of the normal distribution
NUM_RESAMPLES = 2000
NUM_BINS = 10
LEAST_CALLED = 10  # texts that a suggested threshold calls at least


class Reliability(NamedTuple):
    """One bin of a calibration table: probabilities from `low` to `high`."""

    low: float
    high: float
    count: int
    mean_probability: float
    share: float  # of its texts that have the label
    interval: tuple[float, float]


class Threshold(NamedTuple):
    """The lowest probability at which `target` holds on these texts, and what it gives; None: no threshold reaches it."""

    target: float
    threshold: float | None
    called: int  # texts at or above it
    precision: float
    precision_interval: tuple[float, float]
    recall: float
    recall_interval: tuple[float, float]
    is_sure: bool  # the interval of precision lies at or above the target
    best_precision: float  # of all thresholds that call at least `least` texts


def wilson_interval(hits: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Interval of a share; (0, 1) of nothing.

    >>> [round(edge, 4) for edge in wilson_interval(9, 10)]
    [0.5958, 0.9821]
    """
    if not total:
        return 0.0, 1.0
    share, square = hits / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    return (0.0 if hits == 0 else max(0.0, middle - half)), (1.0 if hits == total else min(1.0, middle + half))


def area_under_curve(positive: npt.NDArray[Any], negative: npt.NDArray[Any]) -> float:
    """Share of (positive, negative) pairs whose positive scores higher, ties counting half; 0.5 without pairs."""
    if not len(positive) or not len(negative):
        return 0.5
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left").sum(dtype=np.int64)
    up_to = np.searchsorted(ordered, positive, "right").sum(dtype=np.int64)
    return float(below + up_to) / (2.0 * len(positive) * len(negative))


def area_interval(positive: npt.NDArray[Any], negative: npt.NDArray[Any]) -> tuple[float, float]:
    """DeLong's interval of the area, cut to [0, 1]; (0, 1) with fewer than two texts of a side.

    An area of exactly 1 or 0 gives an interval without width: the formula knows of no pair in the wrong order.
    """
    num_positive, num_negative = len(positive), len(negative)
    if num_positive < 2 or num_negative < 2:
        return 0.0, 1.0
    area = area_under_curve(positive, negative)
    of_positive = _placements(positive, negative)
    of_negative = 1.0 - _placements(negative, positive)
    variance = of_positive.var(ddof=1) / num_positive + of_negative.var(ddof=1) / num_negative
    half = Z95 * math.sqrt(variance)
    return max(0.0, area - half), min(1.0, area + half)


def _placements(scores: npt.NDArray[Any], others: npt.NDArray[Any]) -> Floats:
    """Of each score the share of the others below it, ties counting half."""
    ordered = np.sort(others)
    placed: Floats = (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (
        2.0 * len(others)
    )
    return placed


def reliability_bins(
    probabilities: npt.NDArray[Any], is_right: npt.NDArray[np.bool_], num_bins: int = NUM_BINS
) -> list[Reliability]:
    """The calibration table: bins of equal width over [0, 1], the empty ones left out; 1.0 falls into the last."""
    index = np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)
    rows = []
    for number in range(num_bins):
        inside = index == number
        count = int(inside.sum())
        if count:
            hits = int(is_right[inside].sum())
            mean = float(probabilities[inside].mean(dtype=np.float64))
            edges = (number / num_bins, (number + 1) / num_bins)
            rows.append(Reliability(*edges, count, mean, hits / count, wilson_interval(hits, count)))
    return rows


def calibration_error(bins: Sequence[Reliability]) -> float:
    """Expected calibration error: mean over texts of |mean probability - share| of their bin (Naeini et al. 2015); 0 of nothing."""
    total = sum(row.count for row in bins)
    return sum(row.count * abs(row.mean_probability - row.share) for row in bins) / total if total else 0.0


def suggest_threshold(
    scores: npt.NDArray[Any], is_positive: npt.NDArray[np.bool_], target: float, *, least: int = LEAST_CALLED
) -> Threshold:
    """The lowest threshold t such that of the texts with score >= t at least `target` are positive: it keeps the most of them.

    Parameters
    ----------
    scores          (N,) P(label), no NaN
    is_positive     (N,) whether the text has the label
    target          precision wanted, in (0, 1]
    least           texts that a threshold must call at least: precision of fewer says nothing

    The threshold is chosen on the texts on which it is measured, so its precision is a little flattered.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(is_positive[order])
    called = np.arange(1, len(scores) + 1)
    # a threshold calls all texts with an equal score
    is_last = np.append(ordered[1:] != ordered[:-1], True) if len(scores) else np.zeros(0, bool)
    possible = is_last & (called >= least)
    precision = hits / called
    best = float(precision[possible].max()) if possible.any() else 0.0
    reached = np.flatnonzero(possible & (precision >= target))
    total = int(is_positive.sum())
    if not len(reached):
        return Threshold(target, None, 0, 0.0, (0.0, 1.0), 0.0, (0.0, 1.0), False, best)
    at = int(reached[-1])
    num_hits, num_called = int(hits[at]), int(called[at])
    interval = wilson_interval(num_hits, num_called)
    return Threshold(
        target, float(ordered[at]), num_called, num_hits / num_called, interval, num_hits / max(total, 1),
        wilson_interval(num_hits, total), interval[0] >= target, best,
    )  # fmt: skip


def confusion_table(
    truth: npt.NDArray[np.int64], called: npt.NDArray[np.int64], num_labels: int
) -> npt.NDArray[np.int64]:
    """(L, L + 1): rows are the labels that texts have, columns those that they got; the last column got none (-1)."""
    columns = np.where(called < 0, num_labels, called)
    flat = np.bincount(truth * (num_labels + 1) + columns, minlength=num_labels * (num_labels + 1))
    return flat.reshape(num_labels, num_labels + 1).astype(np.int64)


def label_f1(confusion: npt.NDArray[Any]) -> Floats:
    """F1 of each label, (..., L) of tables (..., L, L + 1); 0 for a label that neither stands nor was called."""
    square = confusion[..., :-1]
    hits = np.diagonal(square, axis1=-2, axis2=-1)
    both = confusion.sum(axis=-1) + square.sum(axis=-2)
    f1: Floats = 2.0 * hits / np.maximum(both, 1)
    return f1


def resample(confusion: npt.NDArray[np.int64], seed: int, count: int = NUM_RESAMPLES) -> npt.NDArray[np.int64]:
    """(count, L, L + 1) tables of texts drawn with replacement: the bootstrap over texts, of which the table is all that matters."""
    total = int(confusion.sum())
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "classifier", "bootstrap")))
    drawn = generator.multinomial(total, confusion.ravel() / max(total, 1), size=count)
    return drawn.reshape(count, *confusion.shape)


def middle_interval(values: Floats) -> tuple[float, float]:
    """From the 2.5th to the 97.5th percentile."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def measure_labels(
    probabilities: npt.NDArray[Any],
    truth: npt.NDArray[np.int64],
    labels: Sequence[str],
    *,
    seed: int = 0,
    target_precision: float = 0.9,
) -> dict[str, Any]:
    """Every figure of a classifier on labelled texts, as plain JSON values.

    Parameters
    ----------
    probabilities       (N, L) of each label; a row of NaN where the model knows nothing of the text: it got no label, a probability of 0
    truth               (N,) index of the label that each text has
    labels              names, in the order of the columns
    seed                of the bootstrap
    target_precision    for the suggested thresholds

    Figures are None where there is nothing that they could be of: the recall, F1 and AUC of a label that no text has, the precision of one
    that no text got, the AUC where all texts have the label. `macro_f1` is the mean over the labels that some text has.
    """
    num_labels = len(labels)
    known = ~np.isnan(probabilities).any(axis=1)
    filled = np.clip(np.nan_to_num(probabilities.astype(np.float64), nan=0.0), 0.0, 1.0)
    called = np.where(known, filled.argmax(axis=1) if len(filled) else np.zeros(0, np.int64), -1)
    table = confusion_table(truth, called, num_labels)
    drawn = resample(table, seed)
    f1, drawn_f1 = label_f1(table), label_f1(drawn)
    hits = int(np.trace(table[:, :-1]))
    per_label = {}
    for number, label in enumerate(labels):
        scores, has_label = filled[:, number], truth == number
        right, num_true, num_called = int(table[number, number]), int(has_label.sum()), int(table[:, number].sum())
        bins = reliability_bins(scores, has_label)
        per_label[label] = {
            "texts": num_true,
            "called": num_called,
            **_figure("precision", right / max(num_called, 1), wilson_interval(right, num_called), num_called),
            **_figure("recall", right / max(num_true, 1), wilson_interval(right, num_true), num_true),
            **_figure("f1", float(f1[number]), middle_interval(drawn_f1[:, number]), num_true),
            **_figure(
                "auc",
                area_under_curve(scores[has_label], scores[~has_label]),
                area_interval(scores[has_label], scores[~has_label]),
                min(num_true, len(truth) - num_true),
            ),
            "calibration_error": calibration_error(bins),
            "reliability": [_plain(row) for row in bins],
            "threshold": _plain(suggest_threshold(scores, has_label, target_precision)),
        }
    stands = table.sum(axis=1) > 0
    best = filled.max(axis=1) if len(filled) else np.zeros(0)
    bins = reliability_bins(best, called == truth)
    return {
        "texts": len(truth),
        "without_answer": int((~known).sum()),
        "accuracy": hits / max(len(truth), 1),
        "accuracy_interval": list(wilson_interval(hits, len(truth))),
        **_figure(
            "macro_f1",
            float(f1[stands].mean()) if stands.any() else 0.0,
            middle_interval(drawn_f1[:, stands].mean(axis=1)) if stands.any() else (0.0, 1.0),
            int(stands.sum()),
        ),
        "calibration_error": calibration_error(bins),
        "reliability": [_plain(row) for row in bins],
        "labels": per_label,
        "confusion": {"labels": list(labels), "rows": table.tolist()},
    }


def _figure(name: str, value: float, interval: tuple[float, float], count: int) -> dict[str, Any]:
    """A figure and its interval; None where there are no texts (`count` 0) that it could be of."""
    return {name: value if count else None, f"{name}_interval": list(interval) if count else None}


def measure_scores(
    probabilities: npt.NDArray[Any], truth: npt.NDArray[np.int64], labels: Sequence[str], cut: int
) -> dict[str, Any]:
    """Figures of labels that are whole numbers, such as educational scores of 0 to 5, by the score expected of each text.

    The expected score is the mean of the labels weighted by their probabilities; a text of which the model knows nothing has the lowest
    label. `cut`: texts expected to have that score or more are called good, as those with such a label are; a published classifier of
    this kind rounds its score, so `called` here is a score of at least cut - 0.5.
    """
    values = np.array([int(label) for label in labels], np.float64)
    known = ~np.isnan(probabilities).any(axis=1)
    weights = np.nan_to_num(probabilities.astype(np.float64), nan=0.0)
    total = weights.sum(axis=1)
    expected = np.where(known & (total > 0), weights @ values / np.maximum(total, 1e-12), values.min())
    real = values[truth]
    positive, predicted = real >= cut, expected >= cut - 0.5
    hits, num_positive, num_predicted = (int(rows.sum()) for rows in (positive & predicted, positive, predicted))
    table = np.array([[hits, num_positive - hits, 0], [num_predicted - hits, int((~positive & ~predicted).sum()), 0]])
    spread = float(expected.std() * real.std())
    return {
        "mean_absolute_error": float(np.abs(expected - real).mean()) if len(real) else 0.0,
        "correlation": float(((expected - expected.mean()) * (real - real.mean())).mean() / spread) if spread else 0.0,
        "cut": cut,
        "good": num_positive,
        "called": num_predicted,
        **_figure("precision", hits / max(num_predicted, 1), wilson_interval(hits, num_predicted), num_predicted),
        **_figure("recall", hits / max(num_positive, 1), wilson_interval(hits, num_positive), num_positive),
        **_figure("f1", float(label_f1(table)[0]), middle_interval(label_f1(resample(table, 0))[:, 0]), num_positive),
        **_figure(
            "auc",
            area_under_curve(expected[positive], expected[~positive]),
            area_interval(expected[positive], expected[~positive]),
            min(num_positive, len(real) - num_positive),
        ),
    }


def are_scores(labels: Sequence[str]) -> bool:
    """Whether all labels are whole numbers, two or more."""
    return len(labels) > 1 and all(label.isdigit() and label.isascii() for label in labels)


def _plain(row: Any) -> dict[str, Any]:
    values = row._asdict()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
