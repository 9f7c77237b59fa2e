"""Scores of near-duplicate detection against a truth: precision, recall, F1 of pairs and of clusters, adjusted Rand index.

Legend: N documents, E pairs. A pair is two different documents, its order does not matter.

Two kinds of score that must not be mixed:
* of PAIRS: which pairs a method names, against the pairs that are true;
* of CLUSTERS: every two documents with the same label are a pair, so one wrong join of two clusters of 100 costs 10,000 pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


class PairScores(NamedTuple):
    """Counts of pairs, and the scores that follow from them."""

    num_right: int  # predicted and true
    num_predicted: int
    num_true: int

    @property
    def precision(self) -> float:
        """Share of the predicted pairs that are true; 1 when none was predicted."""
        return self.num_right / self.num_predicted if self.num_predicted else 1.0

    @property
    def recall(self) -> float:
        """Share of the true pairs that were predicted; 1 when there are none."""
        return self.num_right / self.num_true if self.num_true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two: 2 right / (predicted + true)."""
        total = self.num_predicted + self.num_true
        return 2 * self.num_right / total if total else 1.0


def pair_codes(first: Int64s, second: Int64s) -> Int64s:
    """One number per unordered pair, each once, ascending: smaller document * 2^32 + larger one; loops are left out."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    codes: Int64s = np.unique((low << 32) | high)
    return codes[(codes >> 32) != (codes & 0xFFFFFFFF)]


def score_pairs(predicted: Int64s, true: Int64s) -> PairScores:
    """Scores of predicted pairs against true pairs, both as pair_codes."""
    return PairScores(len(np.intersect1d(predicted, true, assume_unique=True)), len(predicted), len(true))


def score_clusters(predicted: npt.ArrayLike, true: npt.ArrayLike) -> PairScores:
    """Scores over all pairs of N documents of which two labels say who is together: labels (N,) of any values.

    Example: predicted 0 0 1 and true 0 0 0 share 1 of 1 predicted and 3 true pairs.
    """
    both, sizes_predicted, sizes_true = _contingency(predicted, true)
    return PairScores(_count_pairs(both), _count_pairs(sizes_predicted), _count_pairs(sizes_true))


def adjusted_rand_index(predicted: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Agreement of two clusterings beyond chance: 1 for equal ones, about 0 for independent ones, may be negative.

    Source: Hubert and Arabie 1985. (right - expected) / (mean of predicted and true - expected), expected = predicted * true /
    all pairs; 1 when both clusterings are trivial in the same way, and the quotient is 0 / 0.
    """
    counts = score_clusters(predicted, true)
    num_docs = len(np.asarray(true))
    all_pairs = num_docs * (num_docs - 1) // 2
    expected = counts.num_predicted * counts.num_true / all_pairs if all_pairs else 0.0
    best = (counts.num_predicted + counts.num_true) / 2
    return (counts.num_right - expected) / (best - expected) if best != expected else 1.0


class BinScores(NamedTuple):
    """Found pairs per bin of similarity beside what a curve predicts; all (K,)."""

    num_pairs: Int64s
    found: npt.NDArray[np.float64]  # share of the bin's pairs that were found
    predicted: npt.NDArray[np.float64]  # mean probability of the bin's pairs
    error: npt.NDArray[np.float64]  # binomial standard error of `found` if pairs were independent


def score_bins(
    similarity: npt.NDArray[np.float64], is_found: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64], *, edges: list[float]
) -> BinScores:  # fmt: skip
    """Recall per bin [edges[k], edges[k + 1]) of E true pairs, the last bin with its upper edge.

    error = sqrt(sum p (1 - p)) / n. Pairs of one cluster share documents and every pair the permutations, so the true error is larger.
    """
    number = np.clip(np.searchsorted(edges, similarity, side="right") - 1, 0, len(edges) - 2)
    inside = (similarity >= edges[0]) & (similarity <= edges[-1])
    number, is_found, probability = number[inside], is_found[inside], probability[inside]
    size = np.bincount(number, minlength=len(edges) - 1)
    divisor = np.maximum(size, 1)

    def total(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(number, values, len(edges) - 1)

    error = np.sqrt(total(probability * (1 - probability))) / divisor
    return BinScores(size, total(is_found.astype(np.float64)) / divisor, total(probability) / divisor, error)


def _contingency(predicted: npt.ArrayLike, true: npt.ArrayLike) -> tuple[Int64s, Int64s, Int64s]:
    """Sizes of the cells (predicted label, true label) that occur, of the predicted and of the true clusters."""
    _, a = np.unique(np.asarray(predicted), return_inverse=True)
    _, b = np.unique(np.asarray(true), return_inverse=True)
    if len(a) != len(b):
        raise ValueError(f"expected one label per document in both clusterings, got {len(a)} and {len(b)}")
    cells = np.unique(a.astype(np.int64) * (int(b.max(initial=0)) + 1) + b, return_counts=True)[1]
    return cells, np.bincount(a), np.bincount(b)


def _count_pairs(sizes: Int64s) -> int:
    return int((sizes * (sizes - 1) // 2).sum())
