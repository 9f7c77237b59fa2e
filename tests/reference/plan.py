"""Slow twin of mixers.plan: dictionaries and loops; the curve's rates come from tests.reference.curve."""

from __future__ import annotations

import math

from tests.reference import curve


def fill_to_caps(budget, *, weights, caps):
    """Give by weight; whoever would get more than the cap gets the cap and leaves the division; repeat."""
    filled = [0.0] * len(weights)
    open_rows = [i for i in range(len(weights)) if weights[i] > 0]
    left = budget
    while open_rows:
        total = sum(weights[i] for i in open_rows)
        over = [i for i in open_rows if left * weights[i] / total > caps[i]]
        if not over:
            for i in open_rows:
                filled[i] = left * weights[i] / total
            break
        for i in over:
            filled[i] = caps[i]
        left -= sum(caps[i] for i in over)
        open_rows = [i for i in open_rows if i not in over]
    return filled


def round_to_total(values, total):
    """Largest remainder."""
    whole = [math.floor(v) for v in values]
    order = sorted(range(len(values)), key=lambda i: (-(values[i] - whole[i]), i))
    for i in [i for i in order if values[i] > 0][: total - sum(whole)]:
        whole[i] += 1
    return whole


def round_by_one(values, total, most):
    """Largest remainder, then as many rounds as it takes; one token at a time, nobody above `most` or below 0."""
    whole = [math.floor(v) for v in values]
    order = [i for i in sorted(range(len(values)), key=lambda i: (-(values[i] - whole[i]), i)) if values[i] > 0]
    step = 1 if total > sum(whole) else -1
    while sum(whole) != total:
        for i in order[::step]:
            if sum(whole) != total and (whole[i] < most[i] if step > 0 else whole[i] > 0):
                whole[i] += step
    return whole


def make_plan(cells, *, token_budget, sources):
    """Planned tokens by (source, bucket). cells: {source: [tokens by bucket]}; sources: {source: (share or None, cap, curve)}."""
    names = sorted(cells)
    totals = {name: sum(cells[name]) for name in names}
    natural = [name for name in names if sources[name][0] is None]
    rest = 1 - sum(sources[name][0] or 0 for name in names)
    weights = [
        sources[name][0] if name not in natural else rest * totals[name] / sum(totals[n] for n in natural)
        for name in names
    ]
    caps = [most_tokens(cells[name], sources[name]) for name in names]
    targets = round_to_total(fill_to_caps(token_budget, weights=weights, caps=caps), token_budget)
    planned = {}
    for name, target in zip(names, targets, strict=True):
        _, max_rate, has_curve = sources[name]
        rates = [target / totals[name]] * len(cells[name])
        if has_curve:
            possible = min(target, most_tokens(cells[name], sources[name]))  # rounding may go a token above
            rates = curve.solve_curve(cells[name], target_tokens=possible, max_rate=max_rate)[2]
        planned[name] = [r * t for r, t in zip(rates, cells[name], strict=True)]
    return planned


def most_tokens(tokens, settings):
    """What a source can give: every token max_rate times, or the flattest curve whose top bucket is at max_rate."""
    _, max_rate, has_curve = settings
    if not has_curve:
        return max_rate * sum(tokens)
    _, kept = curve.find_edges(tokens)
    return sum(tokens) * max_rate / curve.mean_rate(tokens, kept[-1], power=0.01, growth=0.0, mean=1.0)
