"""Which mixes are tried: draws from a Dirichlet distribution around the natural one, or every mix of an exact grid.

Source: Olmo 3 report 3.4.4 (swarm around the natural distribution, about five runs a source). A draw has a strength, log-uniform
between two bounds, and concentrations strength x natural share, so that the mean of all draws is the natural distribution whatever the
strength; small ones give mixes of few sources, large ones mixes near the natural. Deviations: what is above a cap goes to the other sources in
proportion (a swarm under tight caps would else be drawn for ever), a mix that came before is drawn again.
Legend: M mixes of S sources.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dolma_py.config import Config, OptionError
from dolma_py.errors import ConfigError
from mixers.mix_limits import MixLimits
from mixers.shares import fill_to_caps

Floats = npt.NDArray[np.float64]
MAX_GRID_MIXES = 100_000
MAX_TRIES = 1000  # draws for one mix
SAME = 1e-6  # mixes with all shares within this are the same


class SwarmConfig(Config):
    """How the mixes to try are drawn."""

    seed: int = Field(0, ge=0, description="of the draws; the first mixes stay when more are asked for")
    min_strength: float = Field(1.0, gt=0, description="smallest sum of a draw's concentrations: mixes of few sources")
    max_strength: float = Field(10.0, gt=0, description="largest: mixes near the natural distribution")
    min_share: float = Field(
        0.02, ge=0, lt=1, description="a source drawn below this is left out of the mix; its cap, where that is lower"
    )

    @model_validator(mode="after")
    def _check_strengths(self) -> SwarmConfig:
        if self.min_strength > self.max_strength:
            raise OptionError("min_strength", self.min_strength, f"expected at most max_strength, {self.max_strength}")
        return self


def draw_mixes(limits: MixLimits, settings: SwarmConfig, *, count: int) -> Floats:
    """`count` different mixes within the limits, float64 (M, S), rows sum to 1. ConfigError when so many are not found.

    Sources with a fixed share keep it; the others divide the rest.
    """
    is_free = limits.highest > limits.lowest
    rest = 1.0 - float(limits.lowest[~is_free].sum())
    found = np.empty((count, len(limits.names)))
    if not is_free.any() or rest <= SAME:
        raise ConfigError("sources", list(limits.names), "expected two sources or more whose shares are not fixed")
    concentrations = limits.natural[is_free] / limits.natural[is_free].sum()
    caps = limits.highest[is_free] / rest
    for number in range(count):
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([settings.seed, number])))
        for _ in range(MAX_TRIES):
            mix = _draw_one(generator, settings, concentrations, caps)
            if mix is None:
                continue
            whole = limits.lowest.copy()
            whole[is_free] = mix * rest
            if (np.abs(found[:number] - whole).max(axis=1) >= SAME).all():
                found[number] = whole
                break
        else:
            rule = f"expected settings that give {count} different mixes, {number} were found in {MAX_TRIES} draws each"
            hint = "Ask for fewer, lower swarm.min_share or raise max_repetition."
            raise ConfigError("swarm", settings.model_dump(), rule, hint)
    return found


def _draw_one(generator: np.random.Generator, settings: SwarmConfig, natural: Floats, caps: Floats) -> Floats | None:
    """Shares of the free sources, which sum to 1; None where those that are left cannot give all."""
    low, high = math.log(settings.min_strength), math.log(settings.max_strength)
    strength = math.exp(generator.uniform(low, high))
    drawn = generator.dirichlet(strength * natural)
    kept = np.where(drawn >= np.maximum(np.minimum(settings.min_share, caps), SAME), drawn, 0.0)
    if not kept.any() or caps[kept > 0].sum() < 1.0:
        return None
    filled = fill_to_caps(1.0, weights=kept, caps=np.minimum(caps, 1.0))
    # the sum of a division and a product is one only nearly: the largest takes the difference, unless it stands at its cap
    room = np.where(kept > 0, np.minimum(caps, 1.0) - filled, -1.0)
    filled[int(np.argmax(room))] += 1.0 - filled.sum()
    return filled


def grid_mixes(num_sources: int, parts: int) -> Floats:
    """Every mix whose shares are whole numbers of `parts`-ths, float64 (M, S), first source first: 66 for 3 sources and 10 parts.

    Examples
    --------
    >>> grid_mixes(2, 2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    """
    if num_sources < 1 or parts < 1:
        raise ConfigError("grid", (num_sources, parts), "expected a source and a part or more")
    count = math.comb(num_sources + parts - 1, parts)
    if count > MAX_GRID_MIXES:
        raise ConfigError(
            "grid", parts, f"expected a grid of at most {MAX_GRID_MIXES} mixes, {num_sources} sources give {count}"
        )
    counts = np.empty((count, num_sources), np.int64)
    row = np.zeros(num_sources, np.int64)
    row[-1] = parts
    for number in range(count):
        counts[number] = row
        if number + 1 == count:
            break
        # the next one in order: the last source that has something, but the first, gives one to its neighbour and the rest to the end
        last = int(np.flatnonzero(row)[-1])
        rest = int(row[last])
        row[last - 1] += 1
        row[last] = 0
        row[-1] = rest - 1
    return counts / parts


def fits_limits(mixes: Floats, limits: MixLimits) -> npt.NDArray[np.bool_]:
    """Which of the mixes (M, S) are within the limits, bool (M,); shares may be off by 1e-9."""
    return ((mixes >= limits.lowest - 1e-9) & (mixes <= limits.highest + 1e-9)).all(axis=1)
