"""Attention the slow way: loops over heads and tokens, numpy float64. Twin of train_bridge.attention and its back ends.

Legend: T tokens, H query heads, K key/value heads, E head dimension.
"""

import math

import numpy as np


def visible_keys(num_tokens, window):
    rows = []
    for i in range(num_tokens):
        rows.append([j <= i and (window is None or j >= i - window + 1) for j in range(num_tokens)])
    return np.array(rows)


def document_starts(documents):
    starts = []
    for i, document in enumerate(documents):
        starts.append(i if i == 0 or documents[i - 1] != document else starts[-1])
    return starts


def visible_list(i, window, documents):
    """Numbers of the keys that query i sees."""
    keys = [j for j in range(i + 1) if window is None or j > i - window]
    return [j for j in keys if documents is None or documents[j] == documents[i]]


def attend(q, k, v, window, documents=None):
    """q (H, T, E), k and v (K, T, E) -> (H, T, E)."""
    heads, tokens, dim = q.shape
    group = heads // k.shape[0]
    out = np.zeros_like(q)
    for h in range(heads):
        for i in range(tokens):
            keys = visible_list(i, window, documents)
            scores = np.array([q[h, i] @ k[h // group, j] / math.sqrt(dim) for j in keys])
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out[h, i] = sum(w * v[h // group, j] for w, j in zip(weights, keys, strict=True))
    return out


def attend_gradients(q, k, v, out_gradient, window, documents=None):
    """Gradients of sum(out * out_gradient) by q, k and v, by the chain rule."""
    heads, tokens, dim = q.shape
    group = heads // k.shape[0]
    by_q, by_k, by_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for h in range(heads):
        g = h // group
        for i in range(tokens):
            keys = visible_list(i, window, documents)
            scores = np.array([q[h, i] @ k[g, j] / math.sqrt(dim) for j in keys])
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            by_weight = np.array([out_gradient[h, i] @ v[g, j] for j in keys])
            by_score = weights * (by_weight - weights @ by_weight)
            for w, s, j in zip(weights, by_score, keys, strict=True):
                by_v[g, j] += w * out_gradient[h, i]
                by_q[h, i] += s * k[g, j] / math.sqrt(dim)
                by_k[g, j] += s * q[h, i] / math.sqrt(dim)
    return by_q, by_k, by_v
