"""What of a plan cannot hold, in words: which setting, by how much, and what would do.

Legend: G groups, S sources.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError
from mixers.plan_groups import Groups
from mixers.plan_settings import SourceConfig

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_NAMED = 5  # sources named in one message
ROUNDING_TOKENS = 1  # a part that got this much less than its share got its share


class Shortage(NamedTuple):
    """A share that is not met. Other parts got the missing tokens."""

    source: str
    topic: str | None  # None: of the source as a whole
    wanted_tokens: int
    planned_tokens: int
    max_repetition: float
    binds: str  # empty: no tokens there; max_repetition
    enough_repetition: float | None  # the max_repetition that would have done

    def say(self) -> str:
        """One sentence."""
        name = self.source if self.topic is None else f"{self.source}/{self.topic}"
        missing = self.wanted_tokens - self.planned_tokens
        got = f"{name} gives at most {self.planned_tokens} of the {self.wanted_tokens} tokens of its share, {missing} too few"
        if self.binds == "empty":
            return f"{got}: it has no tokens that the plan may take"
        return f"{got}: max_repetition {self.max_repetition:g} binds, {self.enough_repetition:.4g} would do"

    def key(self) -> str:
        """The setting that is not met."""
        base = f"plan.sources.{self.source}"
        return f"{base}.share" if self.topic is None else f"{base}.topics.{self.topic}"


def check_topics(source: str, settings: SourceConfig, topics: list[str], has_fixed: bool) -> None:
    """Raise ConfigError for shares of topics that cannot be."""
    key, shares = f"plan.sources.{source}.topics", settings.topics
    unknown = sorted(set(shares) - set(topics))
    if unknown:
        raise ConfigError(key, unknown[0], f"expected topics of the source, some of {topics[:30]}")
    given = sum(shares.values())
    if min(shares.values(), default=0.0) < 0 or given > 1 + 1e-9:
        hint = f"They are {given - 1:.6g} too much." if given > 1 else ""
        raise ConfigError(key, given, "the shares are 0 or more and sum to at most 1", hint)
    if topics and set(topics) <= set(shares) and not has_fixed and given < 1 - 1e-6:
        raise ConfigError(key, given, "the shares of all topics sum to 1", f"{1 - given:.6g} are missing.")


def check_shares(groups: Groups, shares: Floats, is_whole: npt.NDArray[np.bool_], fixed: Ints, budget: int) -> None:
    """Raise ConfigError for shares of sources that cannot be, with what rates given by hand take of the budget."""
    both = np.flatnonzero(is_whole & ~np.isnan(shares))
    if len(both):
        s = int(both[0])
        rule = f"expected no share: the rates given by hand take {int(fixed[s])} tokens"
        raise ConfigError(f"plan.sources.{groups.sources[s]}.share", float(shares[s]), rule)
    given, taken = float(np.nansum(shares)), int(fixed[is_whole].sum())
    if given > 1 + 1e-9:
        raise ConfigError(
            "plan.sources.share", given, "the shares sum to at most 1", f"They are {given - 1:.6g} too much."
        )
    if given + taken / budget > 1 + 1e-9:
        rule = f"the rates given by hand take {taken} tokens, and shares {given:.6g} of the budget"
        least = f" at least {int(np.ceil(taken / (1 - given)))}" if given < 1 else ""
        hint = f"Lower them, or set plan.token_budget{least}."
        raise ConfigError("plan.token_budget", budget, rule, hint)
    is_natural = np.isnan(shares) & ~is_whole
    if is_natural.any() or given + taken / budget >= 1 - 1e-6:
        return
    if not taken:
        hint = f"{1 - given:.6g} are missing."
        raise ConfigError("plan.sources.share", given, "the shares of all sources sum to 1", hint)
    rule = f"the rates given by hand take {taken} tokens, shares {given:.6g} of the budget, and nothing takes the rest"
    at = f" {int(np.floor(taken / (1 - given)))}" if given < 1 else ""
    raise ConfigError("plan.token_budget", budget, rule, f"Set it to{at}, or leave a source without a share.")


def check_budget(groups: Groups, caps: Floats, budget: int) -> None:
    """Raise ConfigError for a budget above what the sources can give together; caps: float64 (S,), 0 for those without a share."""
    most = float(caps.sum())
    if budget <= most * (1 + 1e-12):
        return
    order = np.argsort(-caps, kind="stable")[:MAX_NAMED]
    parts = ", ".join(f"{groups.sources[s]} {int(caps[s])}" for s in order if caps[s] > 0)
    rule = f"the sources give at most {int(most)} tokens under their max_repetition"
    factor = f" {budget / most:.4g} times" if most else ""
    raise ConfigError(
        "plan.token_budget", budget, f"{rule} ({parts})" if parts else rule,
        f"Lower it by {budget - int(most)}, raise max_repetition{factor} or add text.",
    )  # fmt: skip


def describe_shortages(
    groups: Groups, of_sources: tuple[Floats, Ints], of_groups: tuple[Floats, Ints], topic_share: Floats
) -> list[Shortage]:
    """Shares that are not met, of sources and of topics that have one; the most tokens missing first.

    of_sources, of_groups : (wanted, planned), of S and G
    """
    found = []
    for s in range(len(groups.sources)):
        mine = groups.of_source(s)
        wanted, planned = float(of_sources[0][s]), int(of_sources[1][s])
        if groups.configs[s].share is not None and planned < wanted - ROUNDING_TOKENS:
            found.append(_make_shortage(groups, s, None, wanted, planned))
        for g in range(mine.start, mine.stop):
            wanted, planned = float(of_groups[0][g]), int(of_groups[1][g])
            if topic_share[g] > 0 and planned < wanted - ROUNDING_TOKENS:
                found.append(_make_shortage(groups, s, groups.names[g][1], wanted, planned))
    return sorted(found, key=lambda one: (one.planned_tokens - one.wanted_tokens, one.source, one.topic or ""))


def _make_shortage(groups: Groups, source: int, topic: str | None, wanted: float, planned: int) -> Shortage:
    limit = groups.configs[source].max_repetition
    # what a group can give is proportional to its max_repetition
    enough = limit * wanted / planned if planned else None
    binds = "max_repetition" if planned else "empty"
    return Shortage(groups.sources[source], topic, round(wanted), planned, limit, binds, enough)


def refuse_shortages(shortages: list[Shortage]) -> None:
    """Raise ConfigError for the largest shortage, when there is one."""
    if not shortages:
        return
    worst = shortages[0]
    more = f"; {len(shortages) - 1} other shares fail too" if len(shortages) > 1 else ""
    share = f"{worst.wanted_tokens} tokens"
    hint = "Lower the share, raise max_repetition, add text or set on_shortage to redistribute."
    raise ConfigError(worst.key(), share, f"{worst.say()}{more}", hint)


def list_shortages(shortages: list[Shortage]) -> list[dict[str, Any]]:
    """As plain data for YAML."""
    rows = []
    for one in shortages:
        enough = None if one.enough_repetition is None else float(f"{one.enough_repetition:.6g}")
        rows.append(one._asdict() | {"enough_repetition": enough, "says": one.say()})
    return rows
