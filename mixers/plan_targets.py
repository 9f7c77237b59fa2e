"""Tokens of every source and group: the budget by shares and sizes, under what each can give.

What rates given by hand take comes off first. Legend: G groups, S sources.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError
from mixers.plan_checks import (
    Shortage,
    check_budget,
    check_shares,
    check_topics,
    describe_shortages,
    refuse_shortages,
)
from mixers.plan_groups import Groups
from mixers.plan_settings import PlanConfig
from mixers.shares import fill_to_caps, round_to_total

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Targets(NamedTuple):
    """What is wanted by shares and sizes alone, and what is planned."""

    source_wanted: Floats  # (S,)
    source_planned: Ints  # (S,)  sums to the budget
    wanted: Floats  # (G,)  of its source's planned tokens
    planned: Ints  # (G,)  sums to source_planned
    shortages: list[Shortage]  # shares that are not met, the largest first


class _Demands(NamedTuple):
    """What the settings say of groups before any budget."""

    fixed: Ints  # (G,)  tokens that rates given by hand take, 0 for other groups
    is_fixed: Bools  # (G,)
    share: Floats  # (G,)  of the source's tokens, NaN for groups in proportion to their tokens
    can_give: Bools  # (G,)  whether any tokens can be asked of the group at all


def divide_budget(groups: Groups, limits: Floats, config: PlanConfig) -> Targets:
    """Tokens wanted and planned of every source and group.

    Parameters
    ----------
    limits : float64 (G,)           most tokens of each group, from rates.limit_tokens

    Raises
    ------
    ConfigError                     shares that cannot be, a budget beyond the limits, and with on_shortage: error a share
                                    beyond them: which one, by how much, what to change
    """
    demands = _read_demands(groups, limits)
    wanted, planned = _divide_between_sources(groups, limits, demands, config)
    group_wanted, group_planned = np.zeros(len(limits)), np.zeros(len(limits), np.int64)
    for source in range(len(groups.sources)):
        mine = groups.of_source(source)
        group_wanted[mine], group_planned[mine] = _divide_between_topics(
            groups, source, int(planned[source]), limits, demands
        )
    shortages = describe_shortages(groups, (wanted, planned), (group_wanted, group_planned), demands.share)
    if config.on_shortage == "error":
        refuse_shortages(shortages)
    return Targets(wanted, planned, group_wanted, group_planned, shortages)


def _read_demands(groups: Groups, limits: Floats) -> _Demands:
    is_fixed = groups.rules == "given"
    fixed = np.where(is_fixed, np.rint(limits), 0).astype(np.int64)
    share = np.full(len(limits), np.nan)
    can_give = np.zeros(len(limits), np.bool_)
    for source, settings in enumerate(groups.configs):
        mine = groups.of_source(source)
        topics = [topic for _, topic in groups.names[mine]]
        check_topics(groups.sources[source], settings, topics, bool(is_fixed[mine].any()))
        share[mine] = [settings.topics.get(topic, np.nan) for topic in topics]
        has_rest = sum(settings.topics.values()) < 1 - 1e-9
        can_give[mine] = np.where(np.isnan(share[mine]), has_rest, share[mine] > 0) & ~is_fixed[mine]
    return _Demands(fixed, is_fixed, share, can_give)


def _sum_by_source(groups: Groups, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    sums = np.zeros(len(groups.sources), values.dtype)
    np.add.at(sums, groups.source_of, values)
    return sums


def _divide_between_sources(
    groups: Groups, limits: Floats, demands: _Demands, config: PlanConfig
) -> tuple[Floats, Ints]:
    """Tokens wanted (S,) by the shares alone, and tokens planned (S,) after the limits; the planned ones sum to the budget."""
    group_tokens = groups.tokens.sum(axis=1)
    tokens = _sum_by_source(groups, group_tokens)
    fixed = _sum_by_source(groups, demands.fixed)
    open_tokens = _sum_by_source(groups, np.where(demands.is_fixed, 0, group_tokens))
    is_whole = (open_tokens == 0) & (fixed > 0)  # rates given by hand settle all of the source
    caps = _sum_by_source(groups, np.where(demands.can_give, limits, 0.0)) + fixed
    shares = np.array([np.nan if c.share is None else c.share for c in groups.configs])
    check_shares(groups, shares, is_whole, fixed, config.token_budget)
    taken = int(fixed[is_whole].sum())
    given = float(np.nansum(shares)) + taken / config.token_budget
    natural_tokens = np.where(np.isnan(shares) & ~is_whole, tokens, 0).astype(np.float64)
    rest = max(0.0, 1 - given) / max(float(natural_tokens.sum()), 1.0)
    weights = np.where(is_whole, 0.0, np.where(np.isnan(shares), natural_tokens * rest, shares))
    wanted = np.where(is_whole, fixed, weights * config.token_budget)
    check_budget(groups, np.where((weights > 0) | is_whole, caps, 0.0), config.token_budget)
    left = config.token_budget - taken
    filled = fill_to_caps(float(left), weights=weights, caps=caps)
    planned = np.where(is_whole, fixed, round_to_total(filled, left))
    short = np.flatnonzero(planned < fixed)
    if len(short):
        s = int(short[0])
        raise ConfigError(
            f"plan.sources.{groups.sources[s]}.rates", int(fixed[s]), f"the source has only {int(planned[s])} tokens of the budget",
            f"The rates take {int(fixed[s] - planned[s])} too many: lower them, or raise the share or plan.token_budget.",
        )  # fmt: skip
    return wanted, planned


def _divide_between_topics(
    groups: Groups, source: int, total: int, limits: Floats, demands: _Demands
) -> tuple[Floats, Ints]:
    """Tokens wanted, float64 (K,), and planned, int64 (K,), of the source's K groups; the planned ones sum to `total`."""
    mine = groups.of_source(source)
    fixed, is_fixed = demands.fixed[mine], demands.is_fixed[mine]
    share = demands.share[mine]
    left = total - int(fixed.sum())
    natural = np.where(np.isnan(share) & ~is_fixed, groups.tokens[mine].sum(axis=1), 0).astype(np.float64)
    rest = max(0.0, 1 - float(np.nansum(share)) - int(fixed.sum()) / max(total, 1))
    weights = np.where(np.isnan(share), rest * natural / max(float(natural.sum()), 1.0), share)
    wanted = np.where(is_fixed, fixed, weights * total)
    if left == 0:
        return wanted, fixed
    filled = fill_to_caps(float(left), weights=weights, caps=limits[mine])
    return wanted, np.where(is_fixed, fixed, round_to_total(filled, left))
