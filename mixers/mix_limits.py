"""What share of a mix each source may have: by its tokens, its repetition and the token budget; and frozen mixes as one virtual source.

A share w of a budget of B tokens repeats a source of T tokens w B / T times on average, so max_repetition bounds w by max_repetition T / B.
Conditional mixing (Olmo 3 report 3.4.4): a mix found earlier goes on as one source whose parts keep their proportions, and only its share and
those of the new sources are searched.
Legend: S sources or virtual sources, in one order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError
from mixers.shares import fill_to_caps

Floats = npt.NDArray[np.float64]
TOLERANCE = 1e-9  # of a sum of shares


class MixLimits(NamedTuple):
    """The bounds of a search: lowest <= share <= highest, and all shares sum to 1."""

    names: tuple[str, ...]
    natural: Floats  # float64 (S,), share of the tokens that there are; sums to 1
    lowest: Floats  # float64 (S,)
    highest: Floats  # float64 (S,)
    parts: dict[str, dict[str, float]]  # virtual source -> share of each of its sources, which sum to 1


def find_limits(
    tokens: Mapping[str, int], *, budget: int, max_repetition: Mapping[str, float], fixed: Mapping[str, float],
    frozen: Mapping[str, Mapping[str, float]],
) -> MixLimits:  # fmt: skip
    """The bounds of every source, or of the virtual source that it is a part of.

    Parameters
    ----------
    tokens : by source             what there is, each above 0
    budget : int                   tokens of the mix to choose
    max_repetition : by source     most copies of a source on average
    fixed : by source              shares that are not searched, of a virtual source too
    frozen : by virtual source     weights of its sources, which it takes over

    Raises
    ------
    ConfigError     a frozen or fixed name that does not exist, shares that do not fit, too few tokens for the budget, with the amount
    """
    parts = _check_frozen(tokens, frozen)
    taken = {source for inner in parts.values() for source in inner}
    names = (*(name for name in tokens if name not in taken), *parts)
    sums = {name: sum(tokens[s] for s in parts.get(name, (name,))) for name in names}
    caps = {source: max_repetition[source] * count / budget for source, count in tokens.items()}
    highest = np.array(
        [min(caps[s] / part for s, part in parts.get(name, {name: 1.0}).items() if part > 0) for name in names]
    )
    natural = np.array([float(sums[name]) for name in names])
    limits = MixLimits(
        names, natural / natural.sum(), np.zeros(len(names)), np.minimum(highest, 1.0), {k: dict(v) for k, v in parts.items()}
    )  # fmt: skip
    return _fix_shares(limits, fixed, budget)


def expand_shares(limits: MixLimits, shares: Floats) -> dict[str, float]:
    """Shares of the sources themselves: a virtual source's is divided among its parts in their proportions.

    >>> limits = find_limits({"web": 8, "code": 1, "math": 1}, budget=1, max_repetition=dict.fromkeys(("web", "code", "math"), 4.0),
    ...                      fixed={}, frozen={"old": {"web": 3, "code": 1}})
    >>> limits.names, expand_shares(limits, np.array([0.2, 0.8]))
    (('math', 'old'), {'math': 0.2, 'web': 0.6000000000000001, 'code': 0.2})
    """
    found = {}
    for name, share in zip(limits.names, shares.tolist(), strict=True):
        for source, part in limits.parts.get(name, {name: 1.0}).items():
            found[source] = share * part
    return found


def natural_shares(limits: MixLimits) -> Floats:
    """The natural distribution within the bounds, float64 (S,): what a cap cuts off goes to the others in proportion."""
    free = 1.0 - float(limits.lowest.sum())
    room = limits.highest - limits.lowest
    filled = fill_to_caps(free, weights=np.where(room > 0, limits.natural, 0.0), caps=room)
    return limits.lowest + filled


def _check_frozen(tokens: Mapping[str, int], frozen: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Parts of each virtual source as shares that sum to 1."""
    parts: dict[str, dict[str, float]] = {}
    for name, weights in frozen.items():
        key = f"frozen.{name}"
        unknown = sorted(set(weights) - set(tokens))
        if unknown:
            raise ConfigError(key, unknown[0], f"expected sources, some of {sorted(tokens)}")
        if name in tokens:
            raise ConfigError(key, name, "expected a name that no source has")
        twice = sorted(set(weights) & {source for inner in parts.values() for source in inner})
        if twice:
            raise ConfigError(key, twice[0], "expected a source that no other frozen mix has")
        total = sum(weights.values())
        if not weights or min(weights.values()) < 0 or total <= 0:
            raise ConfigError(key, dict(weights), "expected weights of 0 or more, one above 0")
        parts[name] = {source: weight / total for source, weight in weights.items()}
    return parts


def _fix_shares(limits: MixLimits, fixed: Mapping[str, float], budget: int) -> MixLimits:
    unknown = sorted(set(fixed) - set(limits.names))
    if unknown:
        raise ConfigError(
            f"sources.{unknown[0]}.fixed_share", fixed[unknown[0]], f"expected one of {limits.names} to fix"
        )
    lowest, highest = limits.lowest.copy(), limits.highest.copy()
    for name, share in fixed.items():
        at = limits.names.index(name)
        if share > highest[at] + TOLERANCE:
            rule = f"max_repetition allows {highest[at]:.6g} of the budget of {budget} tokens"
            hint = f"Lower it, raise max_repetition {share / highest[at]:.4g} times or add text."
            raise ConfigError(f"sources.{name}.fixed_share", share, rule, hint)
        lowest[at] = highest[at] = min(share, highest[at])
    given = float(lowest.sum())
    if given > 1 + TOLERANCE:
        raise ConfigError(
            "sources.fixed_share", given, "the shares sum to at most 1", f"They are {given - 1:.6g} too much."
        )
    most = float(highest.sum())
    if most < 1 - TOLERANCE and len(fixed) == len(limits.names):
        raise ConfigError(
            "sources.fixed_share", most, "the shares of all sources sum to 1", f"{1 - most:.6g} are missing."
        )
    if most < 1 - TOLERANCE:
        each = ", ".join(f"{name} {round(share * budget)}" for name, share in zip(limits.names, highest, strict=True))
        free = float(np.sum(highest - lowest))
        needed = f" {(1 - given) / free:.4g} times" if free > 0 else ""
        rule = f"the sources give at most {round(most * budget)} tokens under their max_repetition and fixed shares ({each})"
        raise ConfigError(
            "budget",
            budget,
            rule,
            f"Lower it by {budget - int(most * budget)}, raise max_repetition{needed} or add text.",
        )
    return limits._replace(lowest=lowest, highest=highest)
