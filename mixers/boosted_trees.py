"""Gradient-boosted trees in place of a law: shares of a mix to bits per byte, and a search where no convexity helps.

Source: RegMix (Liu et al. 2024, section 3): trees by LightGBM, many drawn mixes predicted, the mean of the best hundred taken. Their
settings are for hundreds of runs; leaves of three mixes are allowed here. Trees say nothing beyond the mixes that were tried and are as
good as constant with a dozen of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import MissingDependencyError
from mixers.mix_limits import MixLimits
from mixers.mix_optimum import Law, Optimum, name_bounds, task_parts
from mixers.mix_regression import check_mixes
from mixers.shares import fill_rows

Floats = npt.NDArray[np.float64]
NUM_ROUNDS = 300
SETTINGS = {
    "objective": "regression", "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 3, "min_data_in_bin": 1,
    "deterministic": True, "force_row_wise": True, "num_threads": 1, "seed": 0, "verbosity": -1,
}  # fmt: skip
NUM_CANDIDATES, NUM_BEST = 100_000, 100
STRENGTHS = (3.0, 30.0)  # of two thirds of the candidates, around the natural distribution; a third is uniform


class BoostedTrees(NamedTuple):
    """The trees of one task."""

    booster: Any

    def predict(self, shares: Floats) -> Floats:
        """Bits per byte of mixes (M, S), float64 (M,)."""
        return np.asarray(self.booster.predict(shares, num_threads=1), np.float64)


def fit_boosted_trees(shares: Floats, values: Floats) -> BoostedTrees:
    """Trees of one task from mixes (M, S) and bits per byte (M,); the same input gives the same trees.

    MissingDependencyError without LightGBM; ConfigError for too few mixes or such as cannot tell the sources apart.
    """
    check_mixes(shares)
    return _grow(shares, values)


def leave_one_out_trees(shares: Floats, values: Floats) -> Floats:
    """What trees of all other mixes say of each, float64 (M,)."""
    kept = [np.arange(len(values)) != left for left in range(len(values))]
    return np.array([_grow(shares[k], values[k]).predict(shares[left : left + 1])[0] for left, k in enumerate(kept)])


def _grow(shares: Floats, values: Floats) -> BoostedTrees:
    try:
        import lightgbm
    except ModuleNotFoundError as error:
        raise MissingDependencyError("lightgbm", "trees") from error
    data = lightgbm.Dataset(shares, label=values, params=SETTINGS)
    return BoostedTrees(lightgbm.train(SETTINGS, data, num_boost_round=NUM_ROUNDS))


def search_optimum(laws: Sequence[Law], limits: MixLimits, weights: Floats, *, seed: int) -> Optimum:
    """The mean of the hundred mixes of 100,000 drawn ones within the limits that are predicted best; its gap is not known.

    As the limits are convex, the mean keeps them. weights as in mix_optimum.find_optimum.
    """
    parts = task_parts(laws, weights)
    candidates = _draw_candidates(limits, seed)
    predicted = np.column_stack([law.predict(candidates) for law in laws]) @ parts
    best = np.argsort(predicted, kind="stable")[:NUM_BEST]
    shares = candidates[best].mean(axis=0)
    value = float(np.array([law.predict(shares[None, :])[0] for law in laws]) @ parts)
    return Optimum(shares, value, None, name_bounds(shares, limits))


def _draw_candidates(limits: MixLimits, seed: int) -> Floats:
    """Mixes within the limits, float64 (100,000, S): some around the natural distribution, some anywhere."""
    is_free = limits.highest > limits.lowest
    found = np.tile(limits.lowest, (NUM_CANDIDATES, 1))
    if not is_free.any():
        return found
    rest = 1.0 - float(limits.lowest[~is_free].sum())
    natural = limits.natural[is_free] / limits.natural[is_free].sum()
    generator = np.random.Generator(np.random.PCG64(seed))
    concentrations = [*(strength * natural for strength in STRENGTHS), np.ones(len(natural))]
    sizes = [len(part) for part in np.array_split(np.arange(NUM_CANDIDATES), len(concentrations))]
    drawn = np.concatenate([generator.dirichlet(c, n) for c, n in zip(concentrations, sizes, strict=True)])
    drawn = np.maximum(drawn, 1e-9)  # so that all can take what is above the caps of others
    caps = np.tile(limits.highest[is_free], (NUM_CANDIDATES, 1))
    found[:, is_free] = fill_rows(np.full(NUM_CANDIDATES, rest), weights=drawn, caps=caps)
    return found
