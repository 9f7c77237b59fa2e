"""From the shares of a mix to the bits per byte of a task: one regression per task, and how far it can be trusted.

Form: bits per byte = c + exp(t . w), c >= 0, of the shares w of S sources. Source: "data mixing laws" (Ye et al. 2024, equation 6, which has
k exp(t . w): as shares sum to 1, log k is a part of every t), taken by Olmix for Olmo 3's mixes (report 3.4.4, "generalised linear model";
its released fit is log-linear too). Fit: the sum of Huber losses with delta 0.01 bits per byte, as both of them. Deviation: they run L-BFGS
from many random starts; here c is looked for on a fixed grid and refined with t by damped Gauss-Newton steps, so that a fit needs no
random numbers. Leave-one-out begins at the fit of all.
Legend: M mixes, S sources.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError

Floats = npt.NDArray[np.float64]
HUBER_DELTA = 0.01
NUM_FLOORS = 12  # starts, from c = 0 to c just below the least value
KEPT_STARTS = 3  # of them are refined
MAX_STEPS = 300


class LogLinear(NamedTuple):
    """bits per byte = floor + exp(coefficients . shares)."""

    floor: float
    coefficients: Floats  # float64 (S,); the smaller, the more a source helps

    def predict(self, shares: Floats) -> Floats:
        """Bits per byte of mixes (M, S), float64 (M,)."""
        return self.floor + np.exp(shares @ self.coefficients)


class FitQuality(NamedTuple):
    """How well a regression says what was measured, on mixes that it was or was not fitted to."""

    rmse: float  # root mean squared error, bits per byte
    max_error: float
    rank_correlation: float  # Spearman; NaN where either side is constant


def fit_log_linear(shares: Floats, values: Floats, *, delta: float = HUBER_DELTA) -> LogLinear:
    """The log-linear law of one task.

    Parameters
    ----------
    shares : float64 (M, S)     rows sum to 1; M at least S + 2
    values : float64 (M,)       bits per byte, above 0
    delta : float               errors above it count linearly, in bits per byte

    Raises
    ------
    ConfigError     too few mixes, mixes that cannot tell the sources apart, values that are not above 0

    Examples
    --------
    >>> shares = np.array([[1.0, 0.0], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.0, 1.0]])
    >>> law = fit_log_linear(shares, 1.0 + np.exp(shares @ np.array([0.5, -2.0])))
    >>> round(law.floor, 3), law.coefficients.round(3).tolist()
    (1.0, [0.5, -2.0])
    """
    check_mixes(shares)
    _check_values(values)
    least = float(values.min())
    starts = []
    for gap in np.geomspace(1e-3, 1.0, NUM_FLOORS):
        floor = least * (1.0 - gap)
        start = np.linalg.lstsq(shares, np.log(np.maximum(values - floor, 1e-12)), rcond=None)[0]
        law = LogLinear(floor, start)
        starts.append((huber_loss(values - law.predict(shares), delta), floor, law))
    starts.sort(key=lambda item: item[:2])
    refined = [_refine(law, shares, values, delta) for _, _, law in starts[:KEPT_STARTS]]
    return min(refined, key=lambda law: huber_loss(values - law.predict(shares), delta))


def leave_one_out(shares: Floats, values: Floats, law: LogLinear, *, delta: float = HUBER_DELTA) -> Floats:
    """What a fit to all other mixes says of each, float64 (M,); each begins at `law`, the fit to all."""
    found = np.empty(len(values))
    for left in range(len(values)):
        others = np.arange(len(values)) != left
        found[left] = _refine(law, shares[others], values[others], delta).predict(shares[left : left + 1])[0]
    return found


def measure_fit(predicted: Floats, measured: Floats) -> FitQuality:
    """Errors and rank correlation of two float64 (M,), M at least 1."""
    errors = predicted - measured
    return FitQuality(
        float(np.sqrt(np.mean(errors**2))), float(np.abs(errors).max()), rank_correlation(predicted, measured)
    )


def rank_correlation(left: Floats, right: Floats) -> float:
    """Spearman's rho with mean ranks for equal values; NaN where a side is constant or has fewer than two values.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 9.0]))
    1.0
    """
    if len(left) < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan")
    both = [_mean_ranks(side) for side in (left, right)]
    centred = [ranks - ranks.mean() for ranks in both]
    rho = np.sum(centred[0] * centred[1]) / np.sqrt(np.sum(centred[0] ** 2) * np.sum(centred[1] ** 2))
    return float(np.clip(rho, -1.0, 1.0))


def huber_loss(residuals: Floats, delta: float) -> float:
    """Sum of r^2 / 2 below delta and delta (|r| - delta / 2) above; infinite where a residual is not finite."""
    size = np.abs(residuals)
    if not np.isfinite(size).all():
        return float("inf")
    return float(np.sum(np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))))


def check_mixes(shares: Floats) -> None:
    """ConfigError where the mixes (M, S) are too few or too alike for S coefficients and a floor."""
    num_mixes, num_sources = shares.shape
    if num_mixes < num_sources + 2:
        rule = (
            f"expected at least {num_sources + 2} mixes for {num_sources} sources (about {5 * num_sources} are advised)"
        )
        raise ConfigError("runs", num_mixes, rule)
    never = np.flatnonzero(shares.max(axis=0) <= 0)
    if len(never):
        raise ConfigError("runs", num_mixes, f"expected every source in some mix, source {int(never[0])} is in none")
    rank = int(np.linalg.matrix_rank(shares, tol=1e-6))
    if rank < num_sources:
        rule = f"expected mixes that differ in {num_sources} independent ways, they do in {rank}"
        raise ConfigError("runs", num_mixes, rule, "Try more mixes, or weaker draws (swarm.min_strength).")


def _check_values(values: Floats) -> None:
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        raise ConfigError(
            "bits per byte", float(values[bad[0]]), f"expected numbers above 0, that of mix {int(bad[0])} is not"
        )


def _refine(law: LogLinear, shares: Floats, values: Floats, delta: float) -> LogLinear:
    """Levenberg-Marquardt steps on floor and coefficients, errors above delta weighted down, until the loss stays."""
    parameters = np.concatenate(([law.floor], law.coefficients))
    loss, damping, num_still = _loss_at(parameters, shares, values, delta), 1e-3, 0
    for _ in range(MAX_STEPS):
        grown = np.exp(shares @ parameters[1:])
        residuals = values - parameters[0] - grown
        weights = np.minimum(1.0, delta / np.maximum(np.abs(residuals), 1e-300))
        jacobian = np.column_stack((np.ones(len(values)), grown[:, None] * shares))
        weighted = jacobian * weights[:, None]
        normal, pull = weighted.T @ jacobian, weighted.T @ residuals
        # where the floor would fall below 0 it stays there
        held = parameters[0] <= 0 and pull[0] < 0
        if held:
            normal[0, :] = normal[:, 0] = pull[0] = 0.0
        lift = np.maximum(np.diag(normal), 1e-12)
        step = np.linalg.solve(normal + np.diag(damping * lift), pull)
        tried = parameters + step
        tried[0] = max(tried[0], 0.0)
        new_loss = _loss_at(tried, shares, values, delta)
        if new_loss < loss:
            num_still = num_still + 1 if loss - new_loss <= 1e-12 * loss else 0
            parameters, loss, damping = tried, new_loss, max(damping / 5, 1e-12)
        else:
            damping *= 5
        if damping > 1e12 or num_still == 3:
            break
    return LogLinear(float(parameters[0]), parameters[1:])


def _loss_at(parameters: Floats, shares: Floats, values: Floats, delta: float) -> float:
    with np.errstate(over="ignore"):
        return huber_loss(values - parameters[0] - np.exp(shares @ parameters[1:]), delta)


def _mean_ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2.0)[place]
