"""Runs of mixes from one checkpoint: the same tokens, the rate linear to zero, some seeds each.

Source: Olmo 3 report 3.5 (microanneals: candidate and web half and half against web alone; integration tests: whole anneals of a mix).
A seed decides which instances of a source are read and in what order. Weights, and moments where there are some, are the checkpoint's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dolma_py import storage
from dolma_py.config import fingerprint, render_yaml
from dolma_py.errors import ConfigError, DataError
from dolma_py.run_folders import list_steps, split_run
from mixers.anneal_config import AnnealConfig
from mixers.training_runs import RUNS_VERSION, RunOptions, Source, Trial, describe_sources, read_source


class Base(NamedTuple):
    """The checkpoint that runs start from."""

    name: str  # as `train --from` takes it
    identity: str
    config: dict[str, Any] | None  # of its run; None: a folder in Hugging Face's form


class AnnealPlan(NamedTuple):
    """Everything that is decided before a run begins."""

    base: Base
    sources: dict[str, Source]
    mixes: dict[str, dict[str, float]]  # shares by source, which sum to 1
    trials: dict[str, list[Trial]]  # of each mix, a seed each
    config: str  # what is given to `train --config`
    config_text: str | None  # to be written there before the runs
    instances: int  # of each run
    sequence_tokens: int

    @property
    def tokens(self) -> int:
        """Of each run."""
        return self.instances * self.sequence_tokens

    def copies(self, mix: str) -> dict[str, float]:
        """How often a run of the mix reads each of its sources, on average."""
        return {
            name: share * self.instances / self.sources[name].instances
            for name, share in self.mixes[mix].items()
            if share > 0
        }


def plan_anneals(
    base: str, settings: AnnealConfig, shards: Mapping[str, str], mixes: Mapping[str, Mapping[str, float]], output: str
) -> AnnealPlan:
    """What is run; nothing is written.

    Parameters
    ----------
    base : str                RUN@STEP, RUN, or a folder in Hugging Face's form
    shards : by source        folders of token shards
    mixes : by name           weights of sources, 0 or more
    output : str              folder of the command, for the configuration of the runs

    Raises
    ------
    ConfigError     no checkpoint there, no shards, a share that is less than one instance
    """
    found = read_base(base)
    if found.config is None and settings.config is None:
        raise ConfigError("anneal.config", None, "expected a configuration of `dolma-py train`", where=base)
    data = (found.config or {}).get("data", {})
    batch = settings.batch_instances or int(data["batch_instances"])
    tokens = settings.sequence_tokens or int(data["sequence_tokens"])
    sources = {name: read_source(f"{name}.shards", folder, tokens) for name, folder in shards.items()}
    shares = {name: {s: w / sum(mix.values()) for s, w in mix.items() if w > 0} for name, mix in mixes.items()}
    config, text, content = _choose_config(settings, found, output)
    trials = {
        name: [
            _describe_trial(settings, found, sources, mix, (config, content), (batch, tokens), seed, name)
            for seed in list_seeds(settings)
        ]
        for name, mix in shares.items()
    }
    return AnnealPlan(found, sources, shares, trials, config, text, settings.steps * batch, tokens)


def list_seeds(settings: AnnealConfig) -> list[int]:
    """Of the runs of each mix.

    >>> list_seeds(AnnealConfig(steps=1, peak_lr=1, seeds=2, first_seed=5))
    [5, 6]
    """
    return list(range(settings.first_seed, settings.first_seed + settings.seeds))


def run_options(settings: AnnealConfig) -> RunOptions:
    """How the runs are made."""
    return RunOptions(settings.workers, settings.retries, settings.keep_weights)


def read_base(base: str) -> Base:
    """The checkpoint that RUN@STEP or RUN names, or a folder in Hugging Face's form. ConfigError when there is none."""
    folder, step = split_run(base)
    path = folder / "config.json"
    if not path.is_file():
        raise ConfigError("base", base, "expected the folder of a run with a checkpoint", "Run: dolma-py train")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        config = None if "model_type" in values else dict(values["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(str(path), f"is not that of a run ({type(error).__name__}: {error})") from error
    if config is None:
        files = sorted([path, *folder.glob("*.safetensors")])
        return Base(base, fingerprint([[file.name, storage.checksum_file(str(file))] for file in files]), None)
    steps = list_steps(folder)
    if not steps:
        raise ConfigError("base", base, "expected the folder of a run with a checkpoint", "Run: dolma-py train")
    if step is not None and step not in steps:
        raise ConfigError("base", base, f"expected one of the steps {', '.join(map(str, steps))}")
    step = steps[-1] if step is None else step
    return Base(f"{folder}@{step}", fingerprint(values, step), config)


def _choose_config(settings: AnnealConfig, base: Base, output: str) -> tuple[str, str | None, str]:
    """(what `train --config` gets, text to be written there or None, what decides the result)."""
    if settings.config is None:
        text = render_yaml(base.config)
        return str(Path(output) / f"base-{base.identity[:8]}.yaml"), text, text
    path = Path(settings.config)
    return settings.config, None, path.read_text(encoding="utf-8") if path.is_file() else settings.config


def _describe_trial(
    settings: AnnealConfig, base: Base, sources: Mapping[str, Source], shares: dict[str, float], config: tuple[str, str],
    shape: tuple[int, int], seed: int, mix: str,
) -> Trial:  # fmt: skip
    """config: what `train --config` gets, and what it holds; shape: instances of an update, tokens of an instance."""
    schedule = {"kind": "linear", "peak_lr": settings.peak_lr, "warmup_steps": settings.warmup_steps, "final_frac": 0.0}
    mixture = describe_sources(shares, sources, settings.steps * shape[0], key="anneal.steps")
    given = [
        *settings.overrides,
        f"run.steps={settings.steps}",
        f"schedule={json.dumps(schedule)}",
        f"data.batch_instances={shape[0]}",
        f"data.sequence_tokens={shape[1]}",
        f"data.sources={json.dumps(mixture)}",
        f"data.seed={seed}",
        f"data.source_seed={seed}",
    ]
    first = next(iter(sources.values()))
    command = ["train", "--config", config[0], "--shards", first.shards, "--from", base.name]
    command += [word for setting in given for word in ("--set", setting)]
    texts = {name: sources[name].identity for name in shares}
    identity = fingerprint(
        RUNS_VERSION,
        base.identity,
        config[1],
        settings.overrides,
        settings.steps,
        schedule,
        list(shape),
        texts,
        shares,
        seed,
    )
    return Trial(identity, shares, command, f"{mix}, seed {seed}, ")
