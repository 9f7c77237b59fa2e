"""The upsampling curve as the released 6T mix was really made: p = 0.40 and one steepness per topic, fitted to the released rates.

The written rule (mixers.curve) and the released rates differ: the rates of all 24 topics follow C x^0.4 exp(lambda x), x from the first
kept bucket on, with lambda times the kept width from 0.8 to 13, far above the written range, and in four topics the top bucket is repeated more
than 7 times. Only that product can be told from the rates, so a topic's steepness here is lambda * (1 - a), without a unit.
Legend: B buckets that are kept, from the lowest quality to the highest.
"""

from __future__ import annotations

import functools
import importlib.resources
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.config import parse_yaml
from mixers.curve import integrate_curve
from mixers.percentiles import NUM_BUCKETS

Floats = npt.NDArray[np.float64]

RELEASED_POWER = 0.40
MAX_STEEPNESS = 20.0
_GRID = 401


class ReleasedTopic(NamedTuple):
    """What was released of one topic; tokens in units of 1024^3."""

    bucket: list[int]  # (B,) numbers of the kept vigintiles; 19 is none
    tokens: Floats  # (B,) kept
    lowest: Floats  # (B,) least and
    highest: Floats  # (B,) largest rate that is written so
    rate: Floats  # (B,) as written
    mix_tokens: float


class Fit(NamedTuple):
    """One topic's steepness and how well it fits."""

    steepness: float  # lambda * (1 - a)
    rms: float  # root mean square of log(fitted / written) over the buckets, what rounding can explain left out
    rms_as_written: float  # the same against the rounded numbers


@functools.cache
def load_released() -> dict[str, ReleasedTopic]:
    """The 24 topics of the released mix by name."""
    text = (importlib.resources.files("mixers") / "released_rates.yaml").read_text("utf-8")
    topics = {}
    for name, row in parse_yaml(text, "mixers/released_rates.yaml")["topics"].items():
        buckets = row["buckets"]
        written = [str(rate) for _, rate in buckets.values()]
        rate = np.array([float(value) for value in written])
        half = np.array([_half_unit(value) for value in written])
        tokens = np.array([float(kept) for kept, _ in buckets.values()])
        topics[name] = ReleasedTopic(
            [int(bucket) for bucket in buckets], tokens, rate - half, rate + half, rate, float(row["mix"])
        )
    return topics


def _half_unit(value: str) -> float:
    """Half of the last digit's place: a rate that is written `0.04` lies within 0.005 of it.

    >>> _half_unit("0.04"), _half_unit("5e-6")
    (0.005, 5e-07)
    """
    digits, _, exponent = value.partition("e")
    places = len(digits.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - places)


def mean_rates(tokens: Floats, *, power: float, steepness: float, mean: float) -> Floats:
    """Rates of kept buckets, float64 (B,), of the curve x^power exp(steepness x) over the kept width, x from 0 to 1.

    tokens : float64 (B,)       of the kept buckets, > 0
    mean : float                tokens wanted over tokens kept: sum(rates * tokens) / sum(tokens)

    Examples
    --------
    >>> mean_rates(np.array([1.0, 1.0]), power=1.0, steepness=0.0, mean=2.0).tolist()
    [1.0, 3.0]
    """
    edges = np.concatenate([[0.0], np.cumsum(tokens) / tokens.sum()])
    whole = integrate_curve(edges, power=np.float64(power), growth=np.float64(steepness))
    return np.asarray(mean * np.diff(whole) / whole[-1] / np.diff(edges))


@functools.cache
def fit_topic(name: str) -> Fit:
    """The steepness of a released topic: least squares of the log rates, C given by the tokens of the mix.

    A rate counts as met where the fitted one would be rounded to it. KeyError for a topic that was not released.
    """
    topic = load_released()[name]
    low, high = 0.0, MAX_STEEPNESS
    for _ in range(2):  # a coarse look, then a fine one
        grid = np.linspace(low, high, _GRID)
        best = int(np.argmin([_misfit(topic, value)[0] for value in grid]))
        step = grid[1] - grid[0]
        low, high = max(0.0, grid[best] - step), grid[best] + step
    steepness = float(grid[best])
    return Fit(steepness, *_misfit(topic, steepness))


def _misfit(topic: ReleasedTopic, steepness: float) -> tuple[float, float]:
    mean = topic.mix_tokens / float(topic.tokens.sum())
    fitted = mean_rates(topic.tokens, power=RELEASED_POWER, steepness=steepness, mean=mean)
    explained = np.clip(fitted, topic.lowest, topic.highest)
    return tuple(float(np.sqrt(np.mean(np.log(fitted / rate) ** 2))) for rate in (explained, topic.rate))  # type: ignore[return-value]


def compare_rates(name: str, rates: Floats) -> float | None:
    """Root mean square of log(rate / released rate as written) over a topic's released buckets.

    rates : float64 (B,)    of all buckets of quality; None unless there are NUM_BUCKETS of them, and a rate at each released one

    Examples
    --------
    >>> compare_rates("games", np.ones(5)) is None
    True
    """
    topic = load_released()[name]
    if len(rates) != NUM_BUCKETS:
        return None
    got = rates[np.array(topic.bucket) - 1]
    if not (got > 0).all():
        return None
    return float(np.sqrt(np.mean(np.log(got / topic.rate) ** 2)))
