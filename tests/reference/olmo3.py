"""Olmo 3 the slow way: loops over tokens and heads, numpy float64. Twin of train_bridge.model, rope, loss.

Legend: T tokens, D width, H query heads, K key/value heads, E head dimension, F MLP width, V vocabulary.
"""

import math

import numpy as np

from tests.reference.attention import attend


def count_parameters(d, ff, layers, heads, kv_heads, head_dim, vocab):
    """All parameters; per layer 4 projections, 2 norms of q and k, 3 MLP matrices, 2 norms; outside 2 matrices, 1 norm."""
    per_layer = (
        2 * d * heads * head_dim + 2 * d * kv_heads * head_dim + (heads + kv_heads) * head_dim + 3 * d * ff + 2 * d
    )
    return layers * per_layer + d + 2 * vocab * d


def inverse_frequencies(head_dim, theta, yarn=None):
    """yarn = (factor, beta_fast, beta_slow, original context)."""
    values = []
    for i in range(head_dim // 2):
        f = theta ** (-2 * i / head_dim)
        if yarn is not None:
            factor, fast, slow, context = yarn
            low = math.floor(head_dim * math.log(context / (2 * math.pi * fast)) / (2 * math.log(theta)))
            high = math.ceil(head_dim * math.log(context / (2 * math.pi * slow)) / (2 * math.log(theta)))
            low, high = max(low, 0), min(high, head_dim - 1)  # a pair's number, whatever the context
            ramp = min(max((i - low) / (high - low), 0), 1)
            f = f / factor * ramp + f * (1 - ramp)
        values.append(f)
    return np.array(values)


def rotate(x, position, frequencies, factor=1.0):
    """One head's vector; pair i is (x[i], x[i + E/2])."""
    half = len(x) // 2
    out = np.empty_like(x)
    for i in range(half):
        c, s = factor * math.cos(position * frequencies[i]), factor * math.sin(position * frequencies[i])
        out[i] = x[i] * c - x[i + half] * s
        out[i + half] = x[i + half] * c + x[i] * s
    return out


def rms_norm(x, weight, eps):
    return x / math.sqrt(float((x * x).mean()) + eps) * weight


def logits(state, ids, *, layers, heads, kv_heads, head_dim, theta, eps, windows, yarn=None, documents=None):
    """state: parameters by name as float64 arrays; windows: one per layer, None for full. Returns (T, V)."""
    x = state["embeddings.weight"][ids]
    tokens = len(ids)
    for n in range(layers):
        p = {key.removeprefix(f"blocks.{n}."): value for key, value in state.items() if key.startswith(f"blocks.{n}.")}
        scaled = yarn if windows[n] is None else None
        frequencies = inverse_frequencies(head_dim, theta, scaled)
        factor = 1.0 if scaled is None else 0.1 * math.log(scaled[0]) + 1
        q = np.zeros((heads, tokens, head_dim))
        k, v = np.zeros((kv_heads, tokens, head_dim)), np.zeros((kv_heads, tokens, head_dim))
        for t in range(tokens):
            qt = rms_norm(p["attention.w_q.weight"] @ x[t], p["attention.q_norm.weight"], eps)
            kt = rms_norm(p["attention.w_k.weight"] @ x[t], p["attention.k_norm.weight"], eps)
            vt = p["attention.w_v.weight"] @ x[t]
            for h in range(heads):
                q[h, t] = rotate(qt[h * head_dim : (h + 1) * head_dim], t, frequencies, factor)
            for h in range(kv_heads):
                k[h, t] = rotate(kt[h * head_dim : (h + 1) * head_dim], t, frequencies, factor)
                v[h, t] = vt[h * head_dim : (h + 1) * head_dim]
        out = attend(q, k, v, windows[n], documents)
        for t in range(tokens):
            branch = p["attention.w_out.weight"] @ out[:, t].reshape(-1)
            x[t] = x[t] + rms_norm(branch, p["attention_norm.weight"], eps)
            gate = p["feed_forward.w1.weight"] @ x[t]
            hidden = gate / (1 + np.exp(-gate)) * (p["feed_forward.w3.weight"] @ x[t])
            x[t] = x[t] + rms_norm(p["feed_forward.w2.weight"] @ hidden, p["feed_forward_norm.weight"], eps)
    rows = [state["lm_head.w_out.weight"] @ rms_norm(row, state["lm_head.norm.weight"], eps) for row in x]
    return np.array(rows)


def losses(logits_rows, labels, z_weight):
    """(sum of cross-entropy, sum of z_weight * lse^2, number of labels); label -100 is left out."""
    total = z = 0.0
    count = 0
    for row, label in zip(logits_rows, labels, strict=True):
        if label == -100:
            continue
        top = max(row)
        lse = top + math.log(sum(math.exp(value - top) for value in row))
        total += lse - row[label]
        z += z_weight * lse * lse
        count += 1
    return total, z, count
