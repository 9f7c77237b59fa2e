"""py3langid's detector over bytes: a walk through its automaton counts byte n-grams, naive Bayes turns counts into probabilities.

Legend: N texts, F n-grams, C classes (labels; some labels have two, one for each script), S states.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

from typing import Any, NamedTuple  # isort: skip

import numpy as np  # isort: skip
from numba import njit  # isort: skip


class Automaton(NamedTuple):
    """The model of py3langid, version 0.4."""

    moves: Any  # uint16 or uint32 (rows * 256,): next state
    rows: Any  # int64 (S,): row of each state, times 256
    features: Any  # int32 (S,): the n-gram that a visit of the state counts; -1: none
    weights: Any  # float32 (F, C)
    priors: Any  # float32 (C,)
    merged: Any  # int64 (C,): the class that a class's probability is added to; itself: none


@njit(**KERNEL)
def langid_scores_kernel(data, offsets, model, scores):
    """Probability of every class for every text; of merged classes the first has it all and the others 0.

    Parameters
    ----------
    data : uint8 (B,)           texts as py3langid encodes them, back to back
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    scores : float32 (N, C)     filled; all equal, but for merged classes, for a text without a known n-gram
    """
    num_features = len(model.weights)
    counts = np.zeros(num_features, np.int64)
    seen = np.empty(num_features, np.int64)
    for text in range(len(offsets) - 1):
        state, num_seen = np.int64(0), 0
        for i in range(offsets[text], offsets[text + 1]):
            state = np.int64(model.moves[model.rows[state] + np.int64(data[i])])
            feature = model.features[state]
            if feature >= 0:
                if counts[feature] == 0:
                    seen[num_seen] = feature
                    num_seen += 1
                counts[feature] += 1
        mine = scores[text]
        mine[:] = np.float32(0.0)
        for place in range(num_seen):
            feature = seen[place]
            factor = np.log1p(np.float32(counts[feature]))
            counts[feature] = 0
            for label in range(len(mine)):
                mine[label] += factor * model.weights[feature, label]
        if num_seen > 0:
            for label in range(len(mine)):
                mine[label] += model.priors[label]
        scale = np.float32(1.0 / np.sqrt(np.float64(max(offsets[text + 1] - offsets[text], 1))))
        highest = np.float32(-np.inf)
        for label in range(len(mine)):
            mine[label] *= scale
            highest = max(highest, mine[label])
        total = np.float32(0.0)
        for label in range(len(mine)):
            mine[label] = np.exp(mine[label] - highest)
            total += mine[label]
        for label in range(len(mine)):
            mine[label] /= total
        for label in range(len(mine)):
            first = model.merged[label]
            if first != label:
                mine[first] += mine[label]
                mine[label] = np.float32(0.0)
