"""Preference losses the slow way: one pair at a time, plain floats. Twin of train_bridge.preference_loss."""

import math


def response_log_prob(logits, ids, mask, first_label=0):
    """(sum of ln p, labels) of one conversation alone. logits: (T, V); a token is a label where the mask says so, from first_label on."""
    total, count = 0.0, 0
    for t in range(1, len(ids)):
        if mask[t] and t >= first_label:
            row = [float(x) for x in logits[t - 1]]
            largest = max(row)
            total += row[ids[t]] - largest - math.log(sum(math.exp(x - largest) for x in row))
            count += 1
    return total, count


def log_sigmoid(x):
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def preference_losses(policy, reference, labels, *, loss, beta, smoothing=0.0, ratio=0.3):
    """(loss, reward of chosen, reward of rejected) of one pair; policy, reference and labels are (chosen, rejected)."""
    by_mean = loss in ("dpo_norm", "simpo")
    own = [policy[i] / labels[i] if by_mean else policy[i] for i in (0, 1)]
    if loss == "simpo":
        rewards = [beta * own[0], beta * own[1]]
        x = beta * (own[0] - own[1] - ratio)
    else:
        known = [reference[i] / labels[i] if by_mean else reference[i] for i in (0, 1)]
        rewards = [beta * (own[i] - known[i]) for i in (0, 1)]
        x = rewards[0] - rewards[1]
    value = -(1 - smoothing) * log_sigmoid(x) - smoothing * log_sigmoid(-x)
    if loss == "wpo":
        value *= min(1.0, math.exp(policy[0] / labels[0] + policy[1] / labels[1]))
    return value, rewards[0], rewards[1]


def preference_slopes(policy, reference, labels, *, loss, beta, smoothing=0.0, ratio=0.3):
    """Derivatives of the loss by the sums of chosen and rejected; the weight of wpo is a constant."""
    by_mean = loss in ("dpo_norm", "simpo")
    scale = [1 / labels[i] if by_mean else 1.0 for i in (0, 1)]
    if loss == "simpo":
        x = beta * (policy[0] * scale[0] - policy[1] * scale[1] - ratio)
    else:
        x = beta * ((policy[0] - reference[0]) * scale[0] - (policy[1] - reference[1]) * scale[1])
    slope = -(1 - smoothing) * math.exp(log_sigmoid(-x)) + smoothing * math.exp(log_sigmoid(x))
    if loss == "wpo":
        slope *= min(1.0, math.exp(policy[0] / labels[0] + policy[1] / labels[1]))
    return beta * scale[0] * slope, -beta * scale[1] * slope


def sum_responses(log_probs, responses, num_responses):
    totals = [0.0] * num_responses
    for value, number in zip(log_probs, responses, strict=True):
        if 0 <= number < num_responses:
            totals[number] += value
    return totals
