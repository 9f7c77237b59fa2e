"""From fastText's hidden vectors to labels: softmax, hierarchical softmax, one sigmoid a label.

Legend: N texts, L labels, D dimension. Scores are the library's: float32 logarithms of the probability plus 1e-5.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

import numpy as np  # isort: skip
from numba import njit  # isort: skip

from taggers.fasttext_file import HIERARCHICAL_SOFTMAX, SOFTMAX

_SMALLEST = 1e-5
_TABLE_SIZE, _TABLE_MAX = 512, 8.0


@njit(inline="always", **KERNEL)
def _log(value):
    return np.float32(np.log(np.float64(value) + _SMALLEST))


@njit(inline="always", **KERNEL)
def _dot(weights, row, vector):
    total = np.float32(0.0)
    for i in range(len(vector)):
        total += weights[row, i] * vector[i]
    return total


@njit(inline="always", **KERNEL)
def _table_sigmoid(value):
    # the library looks losses of one sigmoid a label up in a table of 513 values
    if value < -_TABLE_MAX:
        return np.float32(0.0)
    if value > _TABLE_MAX:
        return np.float32(1.0)
    step = np.int64(
        (value + np.float32(_TABLE_MAX)) * np.float32(_TABLE_SIZE) / np.float32(_TABLE_MAX) / np.float32(2.0)
    )
    place = np.float32(step * 2 * int(_TABLE_MAX)) / np.float32(_TABLE_SIZE) - np.float32(_TABLE_MAX)
    return np.float32(1.0 / (1.0 + np.float64(np.exp(-place))))


@njit(**KERNEL)
def _score_tree(vector, output, scores, nodes):
    num_labels = len(scores)
    lowest = _log(0.0)
    root = len(output.children) - 1
    nodes[:] = -np.inf
    nodes[root] = 0.0
    # children have smaller numbers than their parents
    for node in range(root, num_labels - 1, -1):
        score = nodes[node]
        if score < lowest:
            continue
        value = _dot(output.weights, node - num_labels, vector)
        right = np.float32(1.0 / (1.0 + np.float64(np.exp(-value))))
        nodes[output.children[node, 0]] = score + _log(np.float32(1.0 - np.float64(right)))
        nodes[output.children[node, 1]] = score + _log(right)
    for label in range(num_labels):
        scores[label] = nodes[label] if nodes[label] >= lowest else np.float32(-np.inf)


@njit(**KERNEL)
def score_labels_kernel(hidden, counts, output, scores):
    """Score of every label for every text.

    Parameters
    ----------
    hidden : float32 (N, D), counts : int64 (N,)    of hidden_vectors_kernel
    output : fasttext_file.Output
    scores : float32 (N, L)     filled: log(p + 1e-5); -inf where counts is 0, and for labels that the library's walk through the tree
                                leaves out because their probability is under 1e-5
    """
    num_labels = scores.shape[1]
    nodes = np.empty(max(1, len(output.children)), np.float32)
    for row in range(len(counts)):
        mine = scores[row]
        if counts[row] == 0:
            mine[:] = -np.inf
            continue
        if output.loss == HIERARCHICAL_SOFTMAX:
            _score_tree(hidden[row], output, mine, nodes)
            continue
        for label in range(num_labels):
            mine[label] = _dot(output.weights, label, hidden[row])
        if output.loss == SOFTMAX:
            highest = mine[0]
            for label in range(1, num_labels):
                highest = max(highest, mine[label])
            total = np.float32(0.0)
            for label in range(num_labels):
                mine[label] = np.exp(mine[label] - highest)
                total += mine[label]
            for label in range(num_labels):
                mine[label] = _log(mine[label] / total)
        else:
            for label in range(num_labels):
                mine[label] = _log(_table_sigmoid(mine[label]))


@njit(**KERNEL)
def best_labels_kernel(scores, ranks, chosen, best):
    """The label with the highest score among the chosen ones; of equal ones that of the highest rank, as the library has it.

    scores : float32 (N, L), ranks : int64 (L,), chosen : bool (L,); best : int64 (N,) filled, -1 where every score is -inf
    """
    for row in range(len(best)):
        found = -1
        for label in range(len(ranks)):
            score = scores[row, label]
            if not chosen[label] or score == -np.inf:
                continue
            if found < 0 or score > scores[row, found] or (score == scores[row, found] and ranks[label] > ranks[found]):
                found = label
        best[row] = found
