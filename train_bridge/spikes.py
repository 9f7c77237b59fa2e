"""Spikes of loss and gradient norm, and the share of steps that are one.

A step's value is a spike when it is more than `sigma` deviations from the mean of the values before it, of which the last
`window` are remembered; the spike score is the share of the last `score_steps` steps that are spikes. Source: OLMo-core's
StabilityMonitorCallback (6 deviations, 128 values, 10,000 steps; it counts values above the mean only), after OLMo 2 (arXiv
2501.00656: values 7 deviations away from the average of the last 1,000).
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any


class SpikeWatch:
    """One series: what came, and which of it stood out."""

    def __init__(
        self,
        history: Iterable[float],
        *,
        last_step: int,
        spike_steps: Sequence[int],
        sigma: float,
        window: int,
        min_values: int,
        score_steps: int,
    ) -> None:
        """
        Parameters
        ----------
        history : float            values of the last steps, oldest first; a resumed run gives those of its checkpoint
        last_step : int            the step of the newest of them
        spike_steps : int          steps up to it that were spikes
        sigma, window, min_values  deviations; values remembered; no spike before so many are
        score_steps : int          steps that the score is of
        """
        self.sigma, self.min_values = sigma, min_values
        self.values = deque(history, maxlen=window)
        seen = min(score_steps, last_step)
        spikes = set(spike_steps)
        self.is_spike = deque(
            (step in spikes for step in range(last_step - seen + 1, last_step + 1)), maxlen=score_steps
        )

    @property
    def score(self) -> float:
        """Share of the last `score_steps` steps that were spikes; 0 before the first step."""
        return sum(self.is_spike) / len(self.is_spike) if self.is_spike else 0.0

    def observe(self, value: float) -> dict[str, Any] | None:
        """Takes the next step's value; what stands out is described: value, mean, and distance in deviations.

        Examples
        --------
        >>> watch = SpikeWatch([1.0, 3.0], last_step=2, spike_steps=[], sigma=6, window=4, min_values=2, score_steps=4)
        >>> watch.observe(16.0)  # 2 + 6 * 1.414 = 10.49
        {'value': 16.0, 'mean': 2.0, 'deviations': 9.9}
        >>> watch.score  # one of three steps
        0.3333333333333333
        """
        found = self._describe(value)
        self.values.append(value)
        self.is_spike.append(found is not None)
        return found

    def _describe(self, value: float) -> dict[str, Any] | None:
        if len(self.values) < max(self.min_values, 2):
            return None
        mean, deviation = statistics.fmean(self.values), statistics.stdev(self.values)
        if not abs(value - mean) > self.sigma * deviation:
            return None
        distance = abs(value - mean) / deviation if deviation else math.inf
        return {"value": value, "mean": mean, "deviations": round(distance, 1) if math.isfinite(distance) else None}
