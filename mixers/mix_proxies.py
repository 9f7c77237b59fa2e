"""Proxies: small models, one trained on each mix that is tried and measured on every task.

Legend: M mixes, K tasks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dolma_py.config import fingerprint
from mixers.mix_optimize_config import OptimizeConfig
from mixers.training_runs import (
    RunOptions,
    Source,
    TrainingRuns,
    Trial,
    describe_sources,
    identify_evaluations,
    plan_evaluations,
)

Floats = npt.NDArray[np.float64]
PROXY_VERSION = 1  # raised when the same settings may give other results


def leave_out_small(shares: Mapping[str, float], instances: int) -> dict[str, float]:
    """Shares that sum to 1 without those below one of so many instances, which a proxy could not be trained on.

    >>> leave_out_small({"web": 0.25, "code": 0.75, "math": 0.0}, 100)
    {'web': 0.25, 'code': 0.75}
    """
    kept = {source: share for source, share in shares.items() if share * instances >= 1}
    return {source: share / sum(kept.values()) for source, share in kept.items()}


class ProxyRuns:
    """Trains and measures mixes below one folder; what is done there already is read."""

    def __init__(self, settings: OptimizeConfig, sources: Mapping[str, Source], folder: str) -> None:
        self.settings, self.sources = settings, dict(sources)
        proxy = settings.proxy
        evaluations = plan_evaluations(settings.tasks, sources, proxy.sequence_tokens)
        self._training = _training_identity(settings, sources)
        self._runs = TrainingRuns(
            folder,
            evaluations,
            identity=identify_evaluations(evaluations, proxy.sequence_tokens, settings.max_docs),
            max_docs=settings.max_docs,
            options=RunOptions(proxy.workers, proxy.retries, proxy.keep_weights),
        )

    def folder_of(self, shares: Mapping[str, float]) -> Path:
        """Of the run on this mix."""
        return self._runs.folder_of(self._describe_trial(shares))

    def measure(self, mixes: Sequence[Mapping[str, float]]) -> Floats:
        """Bits per byte of every task after training on each mix, float64 (M, K), tasks in the settings' order.

        DataError when a run failed as often as it may; the others are finished before, unless none of them works.
        """
        results = self._runs.run_all([self._describe_trial(shares) for shares in mixes])
        return np.array([[result["values"][task] for task in self.settings.tasks] for result in results])

    def _describe_trial(self, shares: Mapping[str, float]) -> Trial:
        proxy = self.settings.proxy
        instances = proxy.steps * proxy.batch_instances
        given = [
            *proxy.overrides,
            f"run.steps={proxy.steps}",
            f"data.batch_instances={proxy.batch_instances}",
            f"data.sequence_tokens={proxy.sequence_tokens}",
            f"data.sources={json.dumps(describe_sources(shares, self.sources, instances))}",
        ]
        first = next(iter(self.sources.values()))
        command = ["train", "--config", proxy.config, "--shards", first.shards]
        command += [word for setting in given for word in ("--set", setting)]
        identity = fingerprint(self._training, {name: share for name, share in shares.items() if share > 0})
        return Trial(identity, dict(shares), command)


def _training_identity(settings: OptimizeConfig, sources: Mapping[str, Source]) -> str:
    proxy = settings.proxy
    text = Path(proxy.config).read_text(encoding="utf-8") if os.path.isfile(proxy.config) else proxy.config
    shapes = [proxy.steps, proxy.batch_instances, proxy.sequence_tokens, list(proxy.overrides)]
    return fingerprint(PROXY_VERSION, text, shapes, {name: source.identity for name, source in sources.items()})
